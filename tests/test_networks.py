"""The four networks: sizes, cost, shapes, ranges and heads; and their blocks against answers worked out by hand."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from training_cases import TINY, noise

from animask import networks
from animask.config import MODEL_PRESETS
from animask.model import Animator
from animask.networks import EncoderDecoder, HighResGenerator, LowResGenerator, MaskGenerator, MaskRefiner


@pytest.fixture(autouse=True)
def same_weights():
    """The random weights of every test are the same in every run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def gflop_per_frame(config):
    """Of one driver frame, the source's mask being there; on the meta device, which computes shapes only."""
    side = config.resolution
    with torch.device("meta"):
        model = Animator(config).eval()
        s, d = torch.empty(1, 3, side, side), torch.empty(1, 3, side, side)
        m_s = torch.empty(1, 1, config.mask_size, config.mask_size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.drive(s, m_s, d)
    return counter.get_total_flops() / 1e9


@pytest.mark.parametrize(
    ("preset", "millions", "gflop"),
    [
        ("paper", (12.56, 31.36, 7.53, 37.64), 204),  # as the released networks have
        ("released", (12.56, 31.36, 7.53, 37.64), 204),
        ("compact", (0.88, 1.534, 0.488, 2.361), 14.85),
    ],
)
def test_parameters_of_m_r_l_h_and_what_a_driver_frame_costs(preset, millions, gflop):
    with torch.device("meta"):
        model = Animator(MODEL_PRESETS[preset])
    counts = [sum(x.numel() for x in network.parameters()) / 1e6 for network in (model.m, model.r, model.l, model.h)]
    assert counts == pytest.approx(millions, rel=0.01)
    assert gflop_per_frame(MODEL_PRESETS[preset]) == pytest.approx(gflop, rel=0.01)


# shapes and ranges

CONFIGS = {
    "tiny-64": TINY,
    "paper-128": replace(MODEL_PRESETS["paper"], resolution=128, width=4),
    "paper-96": replace(MODEL_PRESETS["paper"], resolution=96, width=4, blocks=3, mask_blocks=3),
    "compact-64": replace(MODEL_PRESETS["compact"], resolution=64, width=4),
    "released-128": replace(MODEL_PRESETS["released"], resolution=128, width=4),
    "reduction-8": replace(TINY, reduction=8, resolution=96),
    "reduction-1": replace(TINY, reduction=1),
}


def all_four(config):
    """Each with its input channels and their side, and its output channels and theirs."""
    side, small = config.resolution, config.mask_size
    yield MaskGenerator(config), 3, side, 1, small
    yield MaskRefiner(config), 5, small, 1, small
    yield LowResGenerator(config), 5, small, 3 + 2 * config.flow, side
    yield HighResGenerator(config), 8, side, 3, side


@torch.no_grad()
@pytest.mark.parametrize("name", CONFIGS)
def test_shapes_and_ranges(name):
    for network, inputs, side, outputs, size in all_four(CONFIGS[name]):
        x = network(noise(2, inputs, side, side))
        assert (x.shape, x.dtype) == ((2, outputs, size, size), torch.float32)
        assert 0 <= x[:, :3].min() <= x[:, :3].max() <= 1
        assert x.std() > 1e-3, "BatchNorm keeps untrained networks alive"


def test_weights_in_half_precision_answer_in_float32():
    for network, inputs, side, *_ in all_four(TINY):
        x = noise(1, inputs, side, side)
        exact = network.eval()(x)
        half = network.to(torch.bfloat16)(x)
        assert half.dtype == torch.float32
        assert torch.allclose(half, exact, atol=0.03)


# D, U and the Gaussian


def test_down_takes_the_mean_of_the_two_middle_pixels():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    assert torch.equal(networks.down(ramp, 4), torch.tensor([1.5, 5.5]).expand(1, 1, 2, 2))
    assert torch.equal(networks.down(ramp.mT, 4), torch.tensor([1.5, 5.5]).expand(1, 1, 2, 2).mT)


def test_up_interpolates_between_pixel_centres():
    x = torch.tensor([0.0, 1.0]).expand(1, 1, 2, 2)
    assert torch.equal(networks.up(x, 2), torch.tensor([0, 0.25, 0.75, 1]).expand(1, 1, 4, 4))
    assert networks.up(x, 4).shape == (1, 1, 8, 8)


def test_gaussian_has_its_width_and_keeps_the_sum():
    x = torch.zeros(1, 2, 33, 33)
    x[:, :, 16, 16] = 1
    y = networks.gaussian_blur(x, 13, 1.5)
    at = torch.arange(33.0) - 16
    assert y.sum((2, 3)).tolist() == [[pytest.approx(1), pytest.approx(1)]]
    for line in (y[0, 0].sum(0), y[0, 1].sum(1)):
        assert (line * at).sum() == pytest.approx(0, abs=1e-5)
        assert (line * at**2).sum() == pytest.approx(1.5**2, rel=0.01)
        assert line.count_nonzero() == 13
    assert torch.allclose(networks.gaussian_blur(torch.full((1, 3, 16, 16), 0.7), 13, 1.5), torch.tensor(0.7)), (
        "at borders too"
    )


# heads


@pytest.mark.parametrize(("network", "inputs", "side"), [(MaskGenerator, 3, 64), (MaskRefiner, 5, 16)])
def test_temperature_divides_the_logits(network, inputs, side):
    warm = network(TINY).eval()
    cold = network(replace(TINY, temperature=0.1)).eval()
    cold.load_state_dict(warm.state_dict())
    x = noise(1, inputs, side, side)
    assert torch.allclose(cold(x).logit(), warm(x).logit() * 10, atol=1e-3)


@pytest.mark.parametrize("shrink", ["bilinear", "gaussian"])
def test_m_shrinks_its_input_as_configured(shrink):
    """Stripes of two bright, two dark columns: sampling meets the bright ones only, the Gaussian makes grey."""
    stripes, seen = torch.tensor([0.0, 1, 1, 0]).repeat(16).expand(1, 3, 64, 64), []
    m = MaskGenerator(replace(TINY, mask_shrink=shrink)).eval()
    m.body.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0][..., 2:-2]))
    m(stripes)
    assert torch.allclose(seen[0], torch.tensor(1.0 if shrink == "bilinear" else 0.5), atol=0.05)


@torch.no_grad()
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_h_mixes_in_what_it_sees_of_the_source(share):
    """Where all is the source's share the answer is the source itself, exactly; where nothing is, it is painted."""
    config = replace(TINY, flow=True)
    network, x = HighResGenerator(config).eval(), noise(1, 8, config.resolution, config.resolution)
    network.head.weight[3:], network.head.bias[3:] = 0.0, 200 * share - 100
    painted = torch.sigmoid(network.head(network.body(x)))[:, :3]
    assert torch.equal(network(x), x[:, :3] if share else painted)


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (3, 0), (0, -2)])
def test_a_flow_says_where_each_pixel_comes_from(dx, dy):
    x, size = noise(1, 3, 16, 16), 16
    flow = torch.tensor([2 * dx / size, 2 * dy / size]).view(1, 2, 1, 1).expand(2, 2, size, size)
    moved, inner = networks.move(x, flow), slice(4, 12)
    assert moved.shape == (2, 3, size, size)  # one source, two drivers
    expected = x[..., 4 + dy : 12 + dy, 4 + dx : 12 + dx].expand(2, -1, -1, -1)
    assert torch.allclose(moved[..., inner, inner], expected, atol=1e-5)
    if not dx and not dy:
        assert torch.equal(moved[:1], x)


def test_a_flow_beyond_the_border_gives_the_border():
    x = noise(1, 3, 16, 16)
    assert torch.allclose(networks.move(x, torch.full((1, 2, 16, 16), -9.0)), x[..., :1, :1].expand_as(x))


def test_l_draws_a_flow_in_two_channels_more():
    network = LowResGenerator(replace(TINY, flow=True)).eval()
    x = noise(2, 5, TINY.mask_size, TINY.mask_size)
    assert not network(x)[:, 3:].any(), "at first nothing moves"
    network.head.bias.data.fill_(-2.0)
    c = network(x)
    assert c.shape == (2, 5, TINY.resolution, TINY.resolution)
    assert c[:, :3].min() >= 0
    assert c[:, 3:].min() < -1, "to the left, and up"


# blocks


def pass_through(conv):
    """A convolution that returns its input."""
    nn.init.dirac_(conv.weight)
    nn.init.zeros_(conv.bias)


@pytest.mark.parametrize("order", ["relu-bn", "bn-relu"])
def test_encoding_block_cuts_negative_values_and_averages_blocks_of_four(order):
    block = networks.encoding_block(1, 1, order).eval()
    pass_through(block.conv)
    x = torch.tensor([[1.0, 2, 10, 20], [3, 4, 30, -40]]).view(1, 1, 2, 4)
    assert torch.allclose(block(x), torch.tensor([2.5, 15.0]).view(1, 1, 1, 2), rtol=1e-4)


def test_paper_normalises_after_the_relu():
    """Then each channel has mean 0 and the output has both signs; as released, nothing is negative."""
    x = noise(8, 3, 8, 8) - 0.5
    paper, released = networks.encoding_block(3, 5, "relu-bn"), networks.encoding_block(3, 5, "bn-relu")
    released.load_state_dict(paper.state_dict())
    y = paper(x)
    assert y.shape == (8, 5, 4, 4)
    assert torch.allclose(y.mean((0, 2, 3)), torch.zeros(5), atol=1e-5)
    assert released(x).min() >= 0
    assert released(x).mean() > 0.1


def test_decoding_block_repeats_pixels_and_cuts_negative_values():
    block = networks.decoding_block(1, 1).eval()
    pass_through(block.conv)
    y = block(torch.tensor([[1.0, -2.0], [3.0, 4.0]]).view(1, 1, 2, 2))
    expected = torch.tensor([[1.0, 1, 0, 0], [1, 1, 0, 0], [3, 3, 4, 4], [3, 3, 4, 4]])
    assert torch.allclose(y[0, 0], expected, rtol=1e-4)


def test_residual_block_adds_its_input_and_ends_without_a_relu():
    block = networks.ResidualBlock(2).eval()
    pass_through(block.conv1)
    pass_through(block.conv2)
    x = torch.tensor([1.0, -3.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    expected = torch.tensor([2.0, -3.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)  # x + relu(x)
    assert torch.allclose(block(x), expected, rtol=1e-4)
    block.conv1.weight.data.neg_()  # now one ReLU or the other stops every value
    assert torch.allclose(block(x), x, rtol=1e-4)
    nn.init.zeros_(block.conv2.weight)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("skips", [False, True])
def test_only_the_unet_returns_its_input_and_sees_past_its_deepest_block(skips):
    """With a silent deepest block, the plain network says the same for every input, the U-Net does not.

    Their widths follow from the numbers of parameters in test_networks.
    """
    net, x = EncoderDecoder(5, 4, 3, 16, "bn-relu", skips).eval(), noise(2, 5, 16, 24) - 0.5
    nn.init.zeros_(net.encoder[-1].conv.weight)
    y, other = net(x), net(-x)
    assert y.shape == (2, net.outputs, 16, 24)
    assert torch.equal(y[:, 4:], x[:, : 5 * skips])
    assert (y[:, :4] - other[:, :4]).abs().max().gt(1e-6) == skips


def test_a_dilated_block_sees_further():
    for dilation in (1, 4):
        block = networks.ResidualBlock(1, dilation).eval().requires_grad_(False)
        for conv in (block.conv1, block.conv2):
            conv.weight.fill_(1.0)
            conv.bias.fill_(0.0)
        x = torch.zeros(1, 1, 33, 33)
        x[..., 16, 16] = 1
        columns = block(x)[0, 0].amax(0).nonzero().flatten() - 16
        assert columns.tolist() == [-2 * dilation, -dilation, 0, dilation, 2 * dilation]
