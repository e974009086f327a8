"""Each metric against answers worked out by hand, and SSIM also against scikit-image's."""

import math

import pytest
import torch
from torch import Tensor

from animask.metrics import Score, aed, akd, average, csim, l1, mkr, psnr, ssim


def grey(*levels: float, height: int = 16, width: int = 20) -> Tensor:
    """One flat frame for each level: (B, 3, height, width)."""
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 3, height, width).clone()


def equals(values: Tensor, *expected: float, abs: float = 1e-6) -> bool:
    """Whether the per-frame values are as expected; NaN (skipped) equals NaN."""
    assert values.shape == (len(expected),)
    assert values.dtype == torch.float32
    return values.tolist() == pytest.approx(list(expected), rel=1e-6, abs=abs, nan_ok=True)


def test_l1_is_a_mean_over_channels_and_pixels():
    output = grey(0.0, height=2, width=2)
    output[0, 1, 0, 0] = 0.6  # one of the 12 values
    assert equals(l1(output, 0 * output), 0.05)
    assert equals(l1(grey(0.25, 0.5, 1.0), grey(0.5, 0.25, 0.0)), 0.25, 0.25, 1.0)
    assert equals(l1(grey(0.25).bfloat16(), grey(0.5).bfloat16()), 0.25)  # in float32


def test_psnr_of_known_errors():
    # squared errors 0.01, 0.0001, 1: 20, 40 and 0 dB
    assert equals(psnr(grey(0.6, 0.51, 0.0), grey(0.5, 0.5, 1.0)), 20, 40, 0, abs=1e-4)
    output = grey(0.0, height=1, width=4)
    output[0, :, 0, 0] = 0.2  # the logarithm is of the frame's mean square, 0.04 / 4
    assert equals(psnr(output, 0 * output), 20, abs=1e-4)


def test_ssim_of_flat_frames_is_the_luminance_term():
    # no variance, so only (2 x y + 0.0001) / (x² + y² + 0.0001) is left
    expected = [(2 * 0.5 * 0.25 + 1e-4) / (0.25 + 0.0625 + 1e-4), 1e-4 / (1 + 1e-4)]
    assert equals(ssim(grey(0.5, 1.0), grey(0.25, 0.0)), *expected, abs=1e-5)


def test_ssim_agrees_with_scikit_image():
    skimage = pytest.importorskip("skimage.metrics", reason="scikit-image is a test dependency")
    ramp = torch.linspace(0, 1, 40).expand(2, 3, 33, 40)
    output = 0.7 * ramp + 0.3 * torch.rand(2, 3, 33, 40, generator=torch.Generator().manual_seed(0))
    as_in_the_paper = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    pairs = zip(output.double().numpy(), ramp.double().numpy(), strict=True)
    expected = [skimage.structural_similarity(x, y, channel_axis=0, **as_in_the_paper) for x, y in pairs]
    assert equals(ssim(output, ramp), *expected, abs=1e-5)


@pytest.mark.parametrize("metric", [l1, psnr, ssim])
def test_frames_with_bad_values_are_refused_not_skipped(metric):
    for bad in (math.nan, 1.01, -0.01):
        for output, truth in ((bad, 0.5), (0.5, bad)):
            with pytest.raises(ValueError):
                metric(grey(0.5, output), grey(0.5, truth))


@pytest.mark.parametrize(
    ("metric", "shape"), [(l1, (3, 16, 16)), (akd, (3, 2)), (mkr, (3, 2)), (aed, (4,)), (csim, (4,))]
)
def test_shapes_that_would_broadcast_are_refused(metric, shape):
    with pytest.raises(ValueError):
        metric(torch.zeros(2, *shape), torch.zeros(1, *shape))


NONE = (math.nan, math.nan)  # a key point that is not visible
TRUTH = torch.tensor([[(10.0, 20.0), (30.0, 40.0), (50.0, 60.0)]])


@pytest.mark.parametrize(
    ("output", "truth", "distance", "missing"),
    [
        (TRUTH + torch.tensor([3.0, -4.0]), TRUTH, 3.5, 0),  # per coordinate
        (torch.tensor([[(12.0, 20.0), (30.0, 44.0), NONE]]), TRUTH, (1 + 2) / 2, 1 / 3),
        (  # what the truth lacks is left out of both
            torch.tensor([[(12.0, 20.0), NONE, (0.0, 0.0)]]),
            torch.tensor([[(10.0, 20.0), (30.0, 40.0), NONE]]),
            *(1, 1 / 2),
        ),
        (TRUTH * math.nan, TRUTH, math.nan, 1),
        (TRUTH, TRUTH * math.nan, math.nan, math.nan),
    ],
)
def test_a_missing_joint_is_left_out_of_akd_and_counts_in_mkr(output, truth, distance, missing):
    assert equals(akd(output, truth), distance)
    assert equals(mkr(output, truth), missing)


EAST, NORTH, AT_60 = (torch.tensor([xy]) for xy in ([1.0, 0.0], [0.0, 1.0], [0.5, 0.75**0.5]))


def test_aed_is_the_squared_distance():
    outputs, truths = torch.cat([3 * EAST + 4 * NORTH, EAST, EAST, EAST]), torch.cat([0 * EAST, EAST, NORTH, -EAST])
    assert equals(aed(outputs, truths), 25, 0, 2, 4)


def test_csim_of_known_angles_and_of_none():
    others = torch.cat([EAST, NORTH, -EAST, AT_60, 0 * EAST])
    assert equals(csim(7 * others, EAST.expand(5, 2)), 1, 0, -1, 0.5, math.nan)


@pytest.mark.parametrize("metric", [aed, csim])
def test_a_missed_face_skips_its_frame_only(metric):
    both, one_missed, best = torch.cat([EAST, EAST]), torch.cat([EAST, EAST * math.nan]), metric(EAST, EAST).item()
    assert equals(metric(one_missed, both), best, math.nan)
    assert equals(metric(both, one_missed), best, math.nan)


def test_a_mean_is_of_the_means_of_groups_and_skipped_frames_are_counted():
    assert average([[1.0, 2.0, 6.0, math.nan]]) == Score(3.0, 3, 1)
    assert average([[1.0, 2.0], [6.0], [math.nan]]) == Score(3.75, 3, 1)
    assert math.isnan(average([[math.nan]]).mean)
