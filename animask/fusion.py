"""The fast form of a model: the same function, derived from the plain networks by replacing layers within them.

Every rewrite is exact, borders included; only rounding differs. The classes and equations of the plain networks
stay the one definition: the copy runs their code.
"""

import copy
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from animask.model import Animator

# A decoding block becomes a transposed convolution where its channels in × channels out are at most this many times
# the pixels of its input; beyond, bringing 16 instead of 9 taps to the processor costs more than the saved
# multiplications. Measured on one core with AVX512-BF16: up to 1024 always faster (1.1 to 2.3 times; batch 1 and 4,
# bf16 and fp32), at 2048 mostly, at 4096 and beyond often slower. On cores with AMX: even at 256, slower at 4096.
TAPS_PER_PIXEL = 1024

# Convolutions on CPUs compute channels in groups of this many; a head with one or three computes the rest in vain.
LANES = 16

Blocks = Any  # a Sequential or ModuleList of Sequentials with named layers, which no type describes

# Rows: taps of the transposed convolution; columns: the taps of the 3×3 one that they are the sum of.
TAP_SUMS = ((0.0, 0.0, 1.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0))


def fuse(model: Animator) -> Animator:
    """A copy of a model for inference that computes the same with less work; the model itself stays as it is.

    Fuse in float32 and cast afterwards, because sums of rounded weights are off. The copy is in eval mode and does
    not learn; its parameters have other names and shapes than the model's, so it is not for saving.
    """
    fast: Any = copy.deepcopy(model).eval().requires_grad_(False)
    full, small = model.config.resolution, model.config.mask_size
    fast.l.first, fast.l.norm = fold(fast.l.first, fast.l.norm), nn.Identity()
    for block in fast.l.residual:
        block.conv1, block.norm2 = fold(block.conv1, block.norm2), nn.Identity()
    fuse_decoder(fast.l.decoder, small)
    mask_blocks, blocks = model.config.mask_blocks, model.config.blocks
    for network, side in ((fast.m, small >> mask_blocks), (fast.r, small >> mask_blocks), (fast.h, full >> blocks)):
        fuse_encoder(network.body.encoder)
        fuse_decoder(network.body.decoder, side)
    for network, side in ((fast.m, small), (fast.r, small), (fast.l, full), (fast.h, full)):
        network.head = SpreadConv(network.head, side)
        network.register_forward_pre_hook(arrange)
    return fast  # type: ignore[no-any-return]


def arrange(network: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    """The input of a network channels-last, as its convolutions want it: else each would copy what it joins."""
    return inputs[0].contiguous(memory_format=torch.channels_last)


def fold(conv: nn.Conv2d, norm: nn.Module) -> nn.Conv2d:
    """The convolution with the BatchNorm that directly follows it; as it is if that is an Identity."""
    return fuse_conv_bn_eval(conv, norm) if isinstance(norm, nn.BatchNorm2d) else conv


def fuse_encoder(blocks: Blocks) -> None:
    """BatchNorm into the convolution; where ReLU lies between, behind the pool: the same there, on a quarter."""
    for i, block in enumerate(blocks):
        order = [name for name, _ in block.named_children()]
        if order.index("norm") < order.index("relu"):
            layers = [fold(block.conv, block.norm), nn.ReLU(inplace=True), block.pool]
        else:
            layers = [block.conv, nn.ReLU(inplace=True), block.pool, block.norm]
        blocks[i] = nn.Sequential(*layers)


def fuse_decoder(blocks: Blocks, side: int) -> None:
    """BatchNorm into the convolutions, and up-sampling where that pays. side: of the first block's input."""
    for i, block in enumerate(blocks):
        conv = fold(block.conv, block.norm)
        pays = conv.in_channels * conv.out_channels <= TAPS_PER_PIXEL * (side << i) ** 2
        layers = [transposed(conv)] if pays else [block.up, conv]
        blocks[i] = nn.Sequential(*layers, nn.ReLU(inplace=True))


def transposed(conv: nn.Conv2d) -> nn.ConvTranspose2d:
    """Nearest ×2 up-sampling and a 3×3 convolution, padding 1, as one with 4/9 of the multiplications."""
    sums = conv.weight.new_tensor(TAP_SUMS)
    result = nn.ConvTranspose2d(conv.in_channels, conv.out_channels, 4, stride=2, padding=1)
    result.weight = nn.Parameter(torch.einsum("ya,xb,oiab->ioyx", sums, sums, conv.weight), requires_grad=False)
    result.bias = conv.bias
    return result


class SpreadConv(nn.Conv2d):
    """A convolution with few outputs, n×n pixels at a time: as one with stride n and n² as many outputs, see LANES."""

    def __init__(self, conv: nn.Conv2d, side: int) -> None:
        """conv: k×k with stride 1 and "same" padding. side: of its input in pixels."""
        size, outputs = conv.kernel_size[0], conv.out_channels
        cost = {n: ((size + n - 1) / n) ** 2 * ceil(outputs * n**2 / LANES) for n in (1, 2, 4) if side % n == 0}
        n = min(cost, key=cost.__getitem__)
        super().__init__(conv.in_channels, outputs * n**2, size + n - 1, stride=n, padding=size // 2)
        weight = conv.weight.new_zeros(outputs, n, n, *self.weight.shape[1:])
        for y in range(n):
            for x in range(n):
                weight[:, y, x, :, y : y + size, x : x + size] = conv.weight
        self.weight = nn.Parameter(weight.flatten(0, 2), requires_grad=False)
        assert conv.bias is not None
        self.bias = nn.Parameter(conv.bias.repeat_interleave(n**2), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        return functional.pixel_shuffle(super().forward(x), self.stride[0])
