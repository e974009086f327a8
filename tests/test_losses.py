"""The losses against answers worked out by hand."""

import math

import pytest
import torch
from torch.nn import functional

from animask.losses import (
    IMAGENET_MEAN,
    PerceptualLoss,
    PixelLoss,
    RandomPerceptualLoss,
    VGGFeatures,
    make_loss,
    mask_loss,
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


def losses():
    return [make_loss("random", (1, 3), (1, 2), None), make_loss("pixels", (1,), (1, 2, 4), None)]


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


def test_distance_is_the_sum_of_the_means():
    a = [torch.zeros(1, 2), torch.zeros(2, 2, 2)]
    b = [torch.tensor([[1.0, -3.0]]), torch.full((2, 2, 2), 0.5)]
    assert PerceptualLoss.distance(a, b) == 2 + 0.5
    with pytest.raises(ValueError, match="shorter"):
        PerceptualLoss.distance(a, b[:1])


def test_equal_images_are_at_distance_zero_and_others_are_not():
    x = noise(2, 3, 16, 16)
    for loss in losses():
        assert compare(loss, x, x) == 0
        assert compare(loss, x, x.flip(3)) > 0.01


def test_distance_lets_the_gradient_through_to_the_image_only():
    for loss in losses():
        x = noise(1, 3, 16, 16).requires_grad_()
        compare(loss, x, torch.zeros(1, 3, 16, 16)).backward()
        assert x.grad.abs().max() > 0
        assert not any(parameter.requires_grad for parameter in loss.parameters())


# pixels


def test_pixel_loss_of_a_constant_offset():
    x = noise(2, 3, 16, 16) / 2
    assert compare(PixelLoss((1, 2, 4)), x, x + 0.25) == pytest.approx(3 * 0.25, rel=1e-5)


def test_pixel_loss_of_a_ramp():
    """Values 0, .1, .2, .3 in every row: mean .15, steps of .1 to the right and none downwards."""
    ramp = (torch.arange(4.0) / 10).expand(1, 3, 4, 4)
    zero = torch.zeros(1, 3, 4, 4)
    assert compare(PixelLoss((1,)), ramp, zero) == pytest.approx(0.15 + 0.1)
    assert compare(PixelLoss((1,)), ramp.mT, zero) == pytest.approx(0.15 + 0.1)
    assert compare(PixelLoss((2,)), ramp, zero) == pytest.approx(0.15 + 0.2)


# VGG-19


def test_relus_one_three_five_are_the_first_of_three_stages():
    features = VGGFeatures((1, 3, 5))(noise(2, 3, 32, 32))
    assert [tuple(x.shape) for x in features] == [(2, 64, 32, 32), (2, 128, 16, 16), (2, 256, 8, 8)]
    for x in features:
        assert x.min() == 0
        assert 0.2 < x.gt(0).float().mean() < 0.8


def test_no_more_layers_than_needed():
    network = VGGFeatures((1, 3, 5))
    convolutions = [layer for layer in network.features if isinstance(layer, torch.nn.Conv2d)]
    assert len(convolutions) == 5
    assert list(network.state_dict()) == [
        f"features.{index}.{part}" for index, _, _ in CONVOLUTIONS[:5] for part in ("weight", "bias")
    ]


def test_all_sixteen_relus_have_the_layout_of_vgg_19():
    with torch.device("meta"):
        x = torch.empty(1, 3, 32, 32)
    network = VGGFeatures(range(1, 17)).to("meta")
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    expected = {}
    for index, inputs, outputs in CONVOLUTIONS:
        expected |= {
            f"features.{index}.weight": (outputs, inputs, 3, 3),
            f"features.{index}.bias": (outputs,),
        }
    assert shapes == expected
    sides = [32] * 2 + [16] * 2 + [8] * 4 + [4] * 4 + [2] * 4
    found = [(x.shape[1], x.shape[2]) for x in network(x)]
    assert found == [(outputs, side) for (_, _, outputs), side in zip(CONVOLUTIONS, sides, strict=True)]


def test_features_are_those_of_the_convolutions_by_hand():
    network = VGGFeatures((1, 3), seed=3)
    state = network.state_dict()
    x = noise(1, 3, 8, 8)
    mean = torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1)
    std = torch.tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1)

    def layer(y, index):
        weight, bias = state[f"features.{index}.weight"], state[f"features.{index}.bias"]
        return functional.relu(functional.conv2d(y, weight, bias, padding=1))

    first = layer((x - mean) / std, 0)
    third = layer(functional.max_pool2d(layer(first, 2), 2), 5)
    found = network(x)
    assert torch.allclose(found[0], first)
    assert torch.allclose(found[1], third)


def test_the_mean_colour_is_zero_to_the_network():
    x = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    assert all(feature.abs().max() < 1e-5 for feature in VGGFeatures((1, 3))(x))


def test_features_of_a_batch_are_those_of_each_image():
    x = noise(3, 3, 16, 16)
    for loss in losses():
        together = loss.features(x)
        for i in range(3):
            for a, b in zip(together, loss.features(x[i : i + 1]), strict=True):
                assert torch.allclose(a[i : i + 1], b, atol=1e-5)


def test_random_weights_are_the_same_for_the_same_seed():
    before = torch.get_rng_state()
    first, again, other = VGGFeatures((3,)), VGGFeatures((3,)), VGGFeatures((3,), seed=1)
    torch.set_rng_state(before)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
        if name.endswith("weight"):
            assert not torch.equal(value, other.state_dict()[name])
        else:
            assert value.eq(0).all()


def test_random_weights_keep_the_scale_of_the_features():
    """He's initialisation: variance 2 / (9 · inputs), so that deep features neither vanish nor explode."""
    network = VGGFeatures((5,))
    for index, inputs, _ in CONVOLUTIONS[:5]:
        weight = network.state_dict()[f"features.{index}.weight"]
        assert weight.std() == pytest.approx(math.sqrt(2 / (9 * inputs)), rel=0.1)


# the perceptual losses


def test_perceptual_loss_sums_scales_and_layers():
    network = VGGFeatures((1, 3))
    a, b = noise(2, 3, 16, 16), noise(2, 3, 16, 16).flip(3)
    expected = sum(
        (x - y).abs().mean()
        for size in (1, 2)
        for x, y in zip(network(functional.avg_pool2d(a, size)), network(functional.avg_pool2d(b, size)), strict=True)
    )
    assert compare(PerceptualLoss(network, (1, 2)), a, b) == pytest.approx(expected.item(), rel=1e-5)


def test_random_loss_adds_the_pixels_at_every_scale():
    network = VGGFeatures((1, 3))
    a, b = noise(2, 3, 16, 16), noise(2, 3, 16, 16).flip(3)
    added = compare(RandomPerceptualLoss(network, (1, 2)), a, b) - compare(PerceptualLoss(network, (1, 2)), a, b)
    expected = (a - b).abs().mean() + functional.avg_pool2d(a - b, 2).abs().mean()
    assert added == pytest.approx(expected.item(), rel=1e-4)


def test_make_loss_gives_what_is_named():
    assert type(make_loss("pixels", (1,), (1, 2), None)) is PixelLoss
    random = make_loss("random", (1, 2), (1, 2), None)
    assert type(random) is RandomPerceptualLoss
    assert (random.network.relus, random.scales) == ({1, 2}, (1, 2))


def test_vgg_weights_come_from_a_state_of_torchvision():
    """Each convolution gets the weights under its own name; the rest of the file is left alone."""
    state = {"classifier.0.weight": torch.zeros(1)}
    for index, inputs, outputs in CONVOLUTIONS:
        state[f"features.{index}.weight"] = torch.tensor(index + 0.5).expand(outputs, inputs, 3, 3)
        state[f"features.{index}.bias"] = torch.tensor(-float(index)).expand(outputs)
    loss = make_loss("vgg19", (1, 3, 5), (1, 2, 4), state)
    assert type(loss) is PerceptualLoss
    for index, _, _ in CONVOLUTIONS[:5]:
        assert loss.network.features[index].weight.unique().tolist() == [index + 0.5]
        assert loss.network.features[index].bias.unique().tolist() == [-index]
    assert not any(parameter.requires_grad for parameter in loss.parameters())


def test_vgg_without_weights_is_no_random_network():
    with pytest.raises(AssertionError, match="vgg19 needs its weights"):
        make_loss("vgg19", (1,), (1,), None)
    with pytest.raises(KeyError, match=r"features\.0\.weight"):
        make_loss("vgg19", (1,), (1,), {})
