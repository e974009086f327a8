"""Small named blocks that the four networks are built from."""

from collections import OrderedDict
from itertools import pairwise

import torch
from torch import Tensor, nn


def encoding_block(inputs: int, outputs: int, order: str) -> nn.Sequential:
    """conv3×3 - ReLU - BatchNorm - average pool 2×2: (B, inputs, H, W) to (B, outputs, H/2, W/2).

    order: "relu-bn" as the paper writes it, or "bn-relu" as released.
    """
    norm, relu = nn.BatchNorm2d(outputs), nn.ReLU()
    middle = OrderedDict(relu=relu, norm=norm) if order == "relu-bn" else OrderedDict(norm=norm, relu=relu)
    conv = nn.Conv2d(inputs, outputs, 3, padding=1)
    return nn.Sequential(OrderedDict(conv=conv, **middle, pool=nn.AvgPool2d(2)))


def decoding_block(inputs: int, outputs: int) -> nn.Sequential:
    """up-sample 2×2 (nearest) - conv3×3 - BatchNorm - ReLU: (B, inputs, H, W) to (B, outputs, 2H, 2W)."""
    return nn.Sequential(
        OrderedDict(
            up=nn.Upsample(scale_factor=2, mode="nearest"),
            conv=nn.Conv2d(inputs, outputs, 3, padding=1),
            norm=nn.BatchNorm2d(outputs),
            relu=nn.ReLU(),
        )
    )


class ResidualBlock(nn.Module):
    """BatchNorm - ReLU - conv3×3 - BatchNorm - ReLU - conv3×3, plus the input; shape unchanged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(torch.relu(self.norm1(x)))
        y = self.conv2(torch.relu(self.norm2(y)))
        return x + y


def channels(width: int, blocks: int, limit: int) -> list[int]:
    """Channels after each encoding block, min(limit, width·2^(i+1)), preceded by the width itself."""
    return [min(limit, width * 2**i) for i in range(blocks + 1)]


class EncoderDecoder(nn.Module):
    """Encoder, mirrored decoder without skips: (B, inputs, H, W) to (B, width, H, W); used by m and r."""

    def __init__(self, inputs: int, width: int, blocks: int, limit: int, order: str) -> None:
        super().__init__()
        sizes = channels(width, blocks, limit)
        down = [inputs, *sizes[1:]]
        self.encoder = nn.Sequential(*(encoding_block(a, b, order) for a, b in pairwise(down)))
        up = sizes[::-1]
        self.decoder = nn.Sequential(*(decoding_block(a, b) for a, b in pairwise(up)))

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class UNet(nn.Module):
    """The same encoder and decoder with skip connections: (B, inputs, H, W) to (B, width + inputs, H, W).

    paper: skips "from each of the encoding layers"; here: the input itself is skipped to the end as well,
    because the first-order model's hourglass, which the paper follows, does so (37.64 M parameters need it).
    """

    def __init__(self, inputs: int, width: int, blocks: int, limit: int, order: str) -> None:
        super().__init__()
        sizes = channels(width, blocks, limit)
        down = [inputs, *sizes[1:]]
        self.encoder = nn.ModuleList(encoding_block(a, b, order) for a, b in pairwise(down))
        up = sizes[::-1]
        skips = [0, *up[1:-1]]  # channels that join the input of each decoding block
        self.decoder = nn.ModuleList(decoding_block(up[i] + skips[i], up[i + 1]) for i in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        kept = [x]
        for block in self.encoder:
            kept.append(block(kept[-1]))
        y = kept.pop()
        for block in self.decoder:
            y = torch.cat((block(y), kept.pop()), dim=1)
        return y
