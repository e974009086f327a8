"""The losses against answers worked out by hand."""

import pytest
import torch
from torch.nn import functional

from animask.losses import (
    LooksLoss,
    PerceptualLoss,
    VGGFeatures,
    clay_loss,
    clay_weight,
    make_loss,
    mask_loss,
    pixel_loss,
    pyramid,
)

# torchvision's `vgg19().features`: index of each convolution, its inputs and outputs
CONVOLUTIONS = (
    *((0, 3, 64), (2, 64, 64)),
    *((5, 64, 128), (7, 128, 128)),
    *((10, 128, 256), (12, 256, 256), (14, 256, 256), (16, 256, 256)),
    *((19, 256, 512), (21, 512, 512), (23, 512, 512), (25, 512, 512)),
    *((28, 512, 512), (30, 512, 512), (32, 512, 512), (34, 512, 512)),
)


def noise(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def vgg(relus):
    """A VGG with random weights."""
    network = VGGFeatures(relus)
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return network


def losses():
    return [PerceptualLoss(vgg((1, 3)), (1, 2)), LooksLoss((1, 2))]


def compare(loss, a, b):
    return loss.distance(loss.features(a), loss.features(b))


# the mask loss


def test_mask_loss_is_the_mean_absolute_difference():
    m_dr = torch.tensor([0.0, 0.5, 1.0, 0.25]).view(1, 1, 2, 2)
    m_d = torch.tensor([0.5, 0.5, 0.0, 0.75]).view(1, 1, 2, 2)
    assert mask_loss(m_dr, m_d) == (0.5 + 0 + 1 + 0.5) / 4


# the pyramid and the distance


def test_pyramid_averages_blocks():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    full, half, quarter = pyramid(x, (1, 2, 4))
    assert torch.equal(full, x)
    assert torch.equal(half[0, 0], torch.tensor([[2.5, 4.5], [10.5, 12.5]]))
    assert quarter.flatten().tolist() == [7.5]


def test_distance_lets_the_gradient_through_to_the_image_only():
    for loss in losses():
        x = noise(1, 3, 32, 32).requires_grad_()
        compare(loss, x, torch.zeros(1, 3, 32, 32)).backward()
        assert x.grad.abs().max() > 0
        assert not any(parameter.requires_grad for parameter in loss.parameters())


# taught masks


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


# VGG-19


def test_vgg_takes_all_weights_of_torchvision_under_their_names():
    state = {"classifier.0.weight": torch.zeros(1)}
    for index, inputs, outputs in CONVOLUTIONS:
        state[f"features.{index}.weight"] = torch.tensor(index + 0.5).expand(outputs, inputs, 3, 3)
        state[f"features.{index}.bias"] = torch.tensor(-float(index)).expand(outputs)
    network = make_loss("vgg19", range(1, 17), (1, 2, 4), state).network
    assert network.state_dict().keys() == state.keys() - {"classifier.0.weight"}
    for index, _, _ in CONVOLUTIONS:
        assert network.features[index].weight.unique().tolist() == [index + 0.5]
        assert network.features[index].bias.unique().tolist() == [-index]
    sides = [32] * 2 + [16] * 2 + [8] * 4 + [4] * 4 + [2] * 4
    assert [x.shape[2] for x in network(torch.zeros(1, 3, 32, 32))] == sides


# the perceptual losses


def test_perceptual_loss_sums_scales_and_layers_by_hand():
    network = vgg((1, 3))
    first, second, third = (network.features[index] for index in (0, 2, 5))
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def relus(x):
        one = first((x - mean) / std).relu()
        return one, third(functional.max_pool2d(second(one).relu(), 2)).relu()

    a, b = noise(2, 3, 16, 16), noise(2, 3, 16, 16).flip(3)
    halves = [functional.avg_pool2d(x, 2) for x in (a, b)]
    pairs = [*zip(relus(a), relus(b), strict=True), *zip(*map(relus, halves), strict=True)]
    expected = sum((x - y).abs().mean() for x, y in pairs)
    assert compare(PerceptualLoss(network, (1, 2)), a, b) == pytest.approx(expected.item(), rel=1e-5)


def test_looks_are_lpips_and_pixels_at_every_scale():
    a, b = noise(2, 3, 32, 32), noise(2, 3, 32, 32).flip(3)
    loss = LooksLoss((1, 2))
    pixels = (a - b).abs().mean() + functional.avg_pool2d(a - b, 2).abs().mean()
    assert compare(loss, a, b) == pytest.approx((pixels + loss.lpips(a, b).mean()).item(), rel=1e-5)
