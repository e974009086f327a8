"""The building blocks against answers worked out by hand."""

import pytest
import torch
from torch import nn

from animask.layers import EncoderDecoder, ResidualBlock, decoding_block, encoding_block


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def pass_through(conv):
    """A convolution that returns its input."""
    nn.init.dirac_(conv.weight)
    nn.init.zeros_(conv.bias)


@pytest.mark.parametrize("order", ["relu-bn", "bn-relu"])
def test_encoding_block_cuts_negative_values_and_averages_blocks_of_four(order):
    block = encoding_block(1, 1, order).eval()
    pass_through(block.conv)
    x = torch.tensor([[1.0, 2, 10, 20], [3, 4, 30, -40]]).view(1, 1, 2, 4)
    assert torch.allclose(block(x), torch.tensor([2.5, 15.0]).view(1, 1, 1, 2), rtol=1e-4)


def test_paper_normalises_after_the_relu():
    """Then each channel has mean 0 and the output has both signs; as released, nothing is negative."""
    x = noise(8, 3, 8, 8)
    paper, released = encoding_block(3, 5, "relu-bn"), encoding_block(3, 5, "bn-relu")
    released.load_state_dict(paper.state_dict())
    y = paper(x)
    assert y.shape == (8, 5, 4, 4)
    assert torch.allclose(y.mean((0, 2, 3)), torch.zeros(5), atol=1e-5)
    assert released(x).min() >= 0
    assert released(x).mean() > 0.1


def test_decoding_block_repeats_pixels_and_cuts_negative_values():
    block = decoding_block(1, 1).eval()
    pass_through(block.conv)
    y = block(torch.tensor([[1.0, -2.0], [3.0, 4.0]]).view(1, 1, 2, 2))
    expected = torch.tensor([[1.0, 1, 0, 0], [1, 1, 0, 0], [3, 3, 4, 4], [3, 3, 4, 4]])
    assert torch.allclose(y[0, 0], expected, rtol=1e-4)


def test_residual_block_adds_its_input_and_ends_without_a_relu():
    block = ResidualBlock(2).eval()
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
    net, x = EncoderDecoder(5, 4, 3, 16, "bn-relu", skips).eval(), noise(2, 5, 16, 24)
    nn.init.zeros_(net.encoder[-1].conv.weight)
    y, other = net(x), net(-x)
    assert y.shape == (2, net.outputs, 16, 24)
    assert torch.equal(y[:, 4:], x[:, : 5 * skips])
    assert (y[:, :4] - other[:, :4]).abs().max().gt(1e-6) == skips


def test_a_dilated_block_sees_further():
    for dilation in (1, 4):
        block = ResidualBlock(1, dilation).eval().requires_grad_(False)
        for conv in (block.conv1, block.conv2):
            conv.weight.fill_(1.0)
            conv.bias.fill_(0.0)
        x = torch.zeros(1, 1, 33, 33)
        x[..., 16, 16] = 1
        columns = block(x)[0, 0].amax(0).nonzero().flatten() - 16
        assert columns.tolist() == [-2 * dilation, -dilation, 0, dilation, 2 * dilation]
