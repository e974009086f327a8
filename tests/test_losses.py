"""The losses against answers worked out by hand."""

import pytest
import torch
from torch.nn import functional
from training_cases import noise, seeded

from animask.losses import LooksLoss, Lpips, PerceptualLoss, clay_loss, clay_weight, mask_loss, pixel_loss, pyramid

# torchvision's `vgg19().features`: index of each convolution, its inputs and outputs
CONVOLUTIONS = (
    *((0, 3, 64), (2, 64, 64)),
    *((5, 64, 128), (7, 128, 128)),
    *((10, 128, 256), (12, 256, 256), (14, 256, 256), (16, 256, 256)),
    *((19, 256, 512), (21, 512, 512), (23, 512, 512), (25, 512, 512)),
    *((28, 512, 512), (30, 512, 512), (32, 512, 512), (34, 512, 512)),
)


def perceptual(relus, scales):
    """With random weights of VGG-19."""
    generator, state = seeded(), {}
    for index, inputs, outputs in CONVOLUTIONS[: max(relus)]:
        state[f"features.{index}.weight"] = torch.randn((outputs, inputs, 3, 3), generator=generator) * 0.1
        state[f"features.{index}.bias"] = torch.randn((outputs,), generator=generator) * 0.1
    return PerceptualLoss(relus, scales, state)


def compare(loss, a, b):
    return loss.distance(loss.features(a), loss.features(b))


def test_mask_loss_is_the_mean_absolute_difference():
    m_dr = torch.tensor([0.0, 0.5, 1.0, 0.25]).view(1, 1, 2, 2)
    m_d = torch.tensor([0.5, 0.5, 0.0, 0.75]).view(1, 1, 2, 2)
    assert mask_loss(m_dr, m_d) == (0.5 + 0 + 1 + 0.5) / 4


def test_pyramid_averages_blocks():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    full, half, quarter = pyramid(x, (1, 2, 4))
    assert torch.equal(full, x)
    assert torch.equal(half[0, 0], torch.tensor([[2.5, 4.5], [10.5, 12.5]]))
    assert quarter.flatten().tolist() == [7.5]


def test_clay_loss_of_a_constant_offset_and_of_a_point():
    flat = torch.full((2, 1, 8, 8), 0.25)
    assert clay_loss(flat + 0.5, flat) == pytest.approx(0.5), "borders are no detail"
    point = torch.zeros(1, 1, 9, 9)
    point[..., 4, 4] = 1.0
    # the mask misses the point: |y - clay| = 1 there, of weight 1 + 16 · 24/25; detail is 24/25 there and 1/25 around
    wanted = (1 + 16 * 24 / 25) / 81 + 2 * (24 / 25 + 24 / 25) / 81
    assert clay_loss(torch.zeros_like(point), point) == pytest.approx(wanted, rel=1e-5)


def test_pixels_count_once_twice_or_six_times():
    flat = torch.full((1, 1, 8, 8), 0.5)
    assert clay_weight(flat).unique().tolist() == pytest.approx([2.0])
    assert clay_weight(flat * 0).unique().tolist() == [1.0]
    flat[..., 4, 4] = 1.0
    assert clay_weight(flat).max() == 6


def test_pixel_loss_of_an_offset_and_a_ramp():
    ones = torch.ones(1, 1, 8, 8)
    assert pixel_loss(torch.full((1, 3, 8, 8), -0.25), ones) == pytest.approx(3 * 0.25)
    assert pixel_loss(torch.full((1, 3, 8, 8), -0.25), 2 * ones) == pytest.approx(6 * 0.25)
    ramp = (torch.arange(8.0) / 10).expand(1, 3, 8, 8)  # mean .35; steps of .1, .2 and .4 at the three scales
    assert pixel_loss(ramp, ones) == pytest.approx(3 * 0.35 + 0.1 + 0.2 + 0.4, rel=1e-5)
    assert pixel_loss(ramp.mT, ones) == pytest.approx(3 * 0.35 + 0.1 + 0.2 + 0.4, rel=1e-5)


def test_vgg_takes_all_weights_of_torchvision_under_their_names():
    state = {"classifier.0.weight": torch.zeros(1)}
    for index, inputs, outputs in CONVOLUTIONS:
        state[f"features.{index}.weight"] = torch.tensor(index + 0.5).expand(outputs, inputs, 3, 3)
        state[f"features.{index}.bias"] = torch.tensor(-float(index)).expand(outputs)
    loss = PerceptualLoss(range(1, 17), (1,), state)
    assert len(loss.network.state_dict()) == len(state) - 1
    for index, _, _ in CONVOLUTIONS:
        assert loss.network[index].weight.unique().tolist() == [index + 0.5]
        assert loss.network[index].bias.unique().tolist() == [-index]
    sides = [32] * 2 + [16] * 2 + [8] * 4 + [4] * 4 + [2] * 4
    assert [x.shape[2] for x in loss.features(torch.zeros(1, 3, 32, 32))] == sides


def test_perceptual_loss_sums_scales_and_layers_by_hand():
    loss = perceptual((1, 3), (1, 2))
    first, second, third = (loss.network[index] for index in (0, 2, 5))
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def relus(x):
        one = first((x - mean) / std).relu()
        return one, third(functional.max_pool2d(second(one).relu(), 2)).relu()

    a, b = noise(2, 3, 16, 16), noise(2, 3, 16, 16).flip(3)
    halves = [functional.avg_pool2d(x, 2) for x in (a, b)]
    pairs = [*zip(relus(a), relus(b), strict=True), *zip(*map(relus, halves), strict=True)]
    expected = sum((x - y).abs().mean() for x, y in pairs)
    assert compare(loss, a, b) == pytest.approx(expected.item(), rel=1e-5)


def test_looks_are_lpips_and_pixels_at_every_scale():
    a, b = noise(2, 3, 32, 32), noise(2, 3, 32, 32).flip(3)
    loss = LooksLoss((1, 2))
    pixels = (a - b).abs().mean() + functional.avg_pool2d(a - b, 2).abs().mean()
    assert compare(loss, a, b) == pytest.approx((pixels + loss.lpips(a, b).mean()).item(), rel=1e-5)


RAMP = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
PUBLISHED = [  # lpips.LPIPS(net="alex", version="0.1") of the package lpips 0.1.4 says this of each
    (torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64), 0.81379),
    (RAMP, RAMP.transpose(2, 3), 0.51098),
]


@pytest.fixture(scope="module")
def lpips() -> Lpips:
    return Lpips()


@pytest.mark.parametrize("a, b, expected", PUBLISHED)
def test_it_answers_what_the_published_package_answers(lpips, a, b, expected):
    assert lpips(a, b).item() == pytest.approx(expected, abs=2e-4)  # ours is kept in half precision


def test_half_precision_by_autocast_moves_it_by_less_than_a_hundredth(lpips):
    with torch.autocast("cpu", torch.bfloat16):
        value = lpips(RAMP, RAMP.transpose(2, 3))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(0.51098, rel=0.01)


@pytest.mark.parametrize("loss", [perceptual((1, 3), (1, 2)), LooksLoss((1, 2))])
def test_gradients_reach_the_picture_alone_and_are_finite_on_black(loss):
    picture = torch.zeros(1, 3, 64, 64, requires_grad=True)
    compare(loss, picture, RAMP).backward()
    assert picture.grad.isfinite().all() and picture.grad.abs().max() > 0
    assert not any(parameter.requires_grad for parameter in loss.parameters())


def test_the_form_of_vgg_is_zero_for_equal_pictures_only():
    values = Lpips("vgg16")(torch.cat([RAMP, RAMP]), torch.cat([RAMP, RAMP.flip(3)]))
    assert values.shape == (2,)
    assert values[0] == 0 < values[1]
