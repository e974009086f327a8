"""Each metric against answers worked out by hand, and SSIM also against scikit-image's."""

import math

import pytest
import torch
from torch import Tensor

from animask.metrics import KeyPoints, aed, akd, csim, identity_leak, l1, mkr, psnr, ssim


def grey(*levels: float, height: int = 16, width: int = 20) -> Tensor:
    """One flat frame for each level: (B, 3, height, width)."""
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 3, height, width).clone()


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def points(xy: list[list[tuple[float, float]]], visible: list[list[int]]) -> KeyPoints:
    return KeyPoints(torch.tensor(xy), torch.tensor(visible, dtype=torch.bool))


def equals(values: Tensor, *expected: float, abs: float = 1e-6) -> bool:
    """Whether the per-frame values are as expected; NaN (skipped) equals NaN."""
    assert values.shape == (len(expected),)
    assert values.dtype == torch.float32
    return values.tolist() == pytest.approx(list(expected), rel=1e-6, abs=abs, nan_ok=True)


# frames


def test_l1_is_a_mean_over_channels_and_pixels():
    output = grey(0.0, height=2, width=2)
    output[0, 1, 0, 0] = 0.6  # one of the 12 values
    assert equals(l1(output, grey(0.0, height=2, width=2)), 0.05)
    assert equals(l1(grey(0.25, 0.5, 1.0), grey(0.5, 0.25, 0.0)), 0.25, 0.25, 1.0)


def test_psnr_of_known_errors():
    # squared errors 0.01, 0.0001, 1: 20, 40 and 0 dB
    assert equals(psnr(grey(0.6, 0.51, 0.0), grey(0.5, 0.5, 1.0)), 20, 40, 0, abs=1e-4)
    output = grey(0.0, height=1, width=4)
    output[0, :, 0, 0] = 0.2  # the logarithm is of the frame's mean square, 0.04 / 4
    assert equals(psnr(output, grey(0.0, height=1, width=4)), 20, abs=1e-4)


def test_ssim_of_flat_frames_is_the_luminance_term():
    # no variance, so only (2 x y + 0.0001) / (x² + y² + 0.0001) is left
    expected = [(2 * 0.5 * 0.25 + 1e-4) / (0.25 + 0.0625 + 1e-4), 1e-4 / (1 + 1e-4)]
    assert equals(ssim(grey(0.5, 1.0), grey(0.25, 0.0)), *expected, abs=1e-5)


def test_ssim_of_an_inverted_checkerboard():
    """11×11 pixels, so a single window; e is the Gaussian mean of the signs ±1 over it, near 0."""
    sign = torch.tensor([(-1.0) ** i for i in range(11)])
    weights = torch.tensor([math.exp(-(i**2) / 4.5) for i in range(-5, 6)])
    e = float((weights / weights.sum() * sign).sum()) ** 2
    board = (0.5 + 0.5 * sign.outer(sign)).expand(1, 3, 11, 11)
    x, y, variance = 0.5 + 0.5 * e, 0.5 - 0.5 * e, 0.25 * (1 - e**2)
    luminance = (2 * x * y + 1e-4) / (x**2 + y**2 + 1e-4)
    structure = (-2 * variance + 9e-4) / (2 * variance + 9e-4)
    assert structure < -0.99
    assert equals(ssim(board, 1 - board), luminance * structure, abs=1e-5)


@pytest.mark.parametrize("amount", [0.02, 0.3, 1.0])
def test_ssim_agrees_with_scikit_image(amount):
    skimage = pytest.importorskip("skimage.metrics", reason="scikit-image is a test dependency")
    ramp = torch.linspace(0, 1, 40).expand(2, 3, 33, 40)
    output = (1 - amount) * ramp + amount * noise(2, 3, 33, 40)
    as_in_the_paper = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    pairs = zip(output.double().numpy(), ramp.double().numpy(), strict=True)
    expected = [skimage.structural_similarity(x, y, channel_axis=0, **as_in_the_paper) for x, y in pairs]
    assert equals(ssim(output, ramp), *expected, abs=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1.01, -0.01])
def test_frames_with_bad_values_are_refused_not_skipped(bad):
    frames = grey(0.5, 0.5)
    broken = frames.clone()
    broken[1, 2, 3, 4] = bad
    for metric in (l1, psnr, ssim):
        for output, truth in [(broken, frames), (frames, broken)]:
            with pytest.raises(ValueError):
                metric(output, truth)


def test_shapes_that_would_broadcast_and_other_types_are_refused():
    for metric in (l1, psnr, ssim):
        for output, truth in [(grey(0.5, 0.5), grey(0.5)), (grey(0.5)[:, :1],) * 2, (grey(0.0).byte(),) * 2]:
            with pytest.raises(ValueError):
                metric(output, truth)
    for metric in (akd, mkr):
        with pytest.raises(ValueError):
            metric(TRUTH, KeyPoints(TRUTH.xy[:, :2], TRUTH.visible[:, :2]))
    for metric in (aed, csim):
        with pytest.raises(ValueError):
            metric(noise(2, 4), noise(1, 4))


def test_reduced_precision_is_measured_in_float32():
    output, truth = noise(1, 3, 16, 20).bfloat16(), grey(0.5).bfloat16()
    for metric in (l1, psnr, ssim):
        assert equals(metric(output, truth), *metric(output.float(), truth.float()).tolist())


# key points

TRUTH = points([[(10, 20), (30, 40), (50, 60)]], [[1, 1, 1]])


def test_akd_is_per_coordinate_and_scaled_and_takes_integers():
    output = points([[(13, 16), (33, 36), (53, 56)]], [[1, 1, 1]])  # all off by (3, -4)
    assert equals(akd(output, TRUTH), 3.5)
    assert equals(akd(output, TRUTH, scale=256 / 64), 14)
    assert equals(akd(KeyPoints(output.xy.int(), output.visible), TRUTH), 3.5)


def test_one_missing_joint_is_left_out_of_akd_and_counts_in_mkr():
    output = points([[(12, 20), (30, 44), (999, math.nan)]], [[1, 1, 0]])
    assert equals(akd(output, TRUTH), (1 + 2) / 2)
    assert equals(mkr(output, TRUTH), 1 / 3)


def test_a_joint_that_the_truth_lacks_is_left_out_of_both():
    truth = points([[(10, 20), (30, 40), (math.nan, math.nan)]], [[1, 1, 0]])
    output = points([[(12, 20), (30, 40), (0, 0)]], [[1, 0, 1]])
    assert equals(akd(output, truth), 1)
    assert equals(mkr(output, truth), 1 / 2)


def test_missing_all_joints_is_the_worst_mkr_and_a_truth_without_any_skips_both():
    none = TRUTH._replace(visible=~TRUTH.visible)
    assert equals(akd(none, TRUTH), math.nan)
    assert equals(mkr(none, TRUTH), 1)
    assert equals(akd(TRUTH, none), math.nan)
    assert equals(mkr(TRUTH, none), math.nan)


def test_used_frames_weigh_the_same_and_skipped_frames_can_be_counted():
    truth = points([[(0, 0), (0, 0)]] * 3, [[1, 1], [1, 1], [1, 1]])
    output = points([[(2, 2), (4, 4)], [(9, 9), (9, 9)], [(5, 5), (7, 7)]], [[1, 1], [0, 0], [1, 0]])
    values = akd(output, truth)
    assert equals(values, 3, math.nan, 5)
    assert values.nanmean().item() == 4  # the three joints pooled would give 11 / 3
    assert values.isnan().sum().item() == 1


# embeddings

EAST, NORTH = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
MISSED = torch.full((1, 2), math.nan)


def at(degrees: float) -> Tensor:
    return torch.tensor([[math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]])


def test_aed_is_the_squared_distance():
    assert equals(aed(torch.tensor([[3.0, 4.0], [1.0, 1.0]]), torch.tensor([[0.0, 0.0], [1.0, 1.0]])), 25, 0)
    assert equals(aed(EAST, NORTH), 2)
    assert equals(aed(EAST, -EAST), 4)


def test_csim_of_known_angles_and_of_none():
    others = torch.cat([EAST, NORTH, -EAST, at(60), 0 * EAST])
    assert equals(csim(others, EAST.expand(5, 2)), 1, 0, -1, 0.5, math.nan)


def test_csim_ignores_length_and_aed_does_not():
    assert equals(csim(7 * EAST, 5 * EAST), 1)
    assert equals(aed(7 * EAST, EAST), 36)


def test_identity_leak_of_known_angles():
    driver, truth = EAST, NORTH  # cos(truth, driver) = 0
    assert equals(identity_leak(truth, truth, driver), 0)
    assert equals(identity_leak(driver, truth, driver), 1)
    assert equals(identity_leak(at(60), truth, driver), 0.5)
    assert equals(identity_leak(at(60), at(45), driver), 0.5 - math.sqrt(0.5))
    assert equals(identity_leak(-driver, driver, driver), -2)
    for triple in [(MISSED, EAST, EAST), (EAST, MISSED, EAST), (EAST, EAST, MISSED)]:
        assert equals(identity_leak(*triple), math.nan)


@pytest.mark.parametrize("metric", [aed, csim])
def test_a_missed_face_skips_its_frame_only(metric):
    both, one_missed = torch.cat([EAST, EAST]), torch.cat([EAST, MISSED])
    best = metric(EAST, EAST).item()
    assert equals(metric(one_missed, both), best, math.nan)
    assert equals(metric(both, one_missed), best, math.nan)
