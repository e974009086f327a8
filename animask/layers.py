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

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(torch.relu(self.norm1(x)))
        y = self.conv2(torch.relu(self.norm2(y)))
        return x + y


def channels(width: int, blocks: int, limit: int) -> list[int]:
    """Channels after each encoding block, min(limit, width·2^(i+1)), preceded by the width itself."""
    return [min(limit, width * 2**i) for i in range(blocks + 1)]


class EncoderDecoder(nn.Module):
    """Encoder and mirrored decoder: (B, inputs, H, W) to (B, self.outputs, H, W).

    skips: connections "from each of the encoding layers" to the decoder, as h has them; outputs is then width + inputs.
    paper: skips from the layers; here: the input itself is skipped to the end as well, because the first-order model's
    hourglass, which the paper follows, does so (the 37.64 M parameters of h need it).
    """

    def __init__(self, inputs: int, width: int, blocks: int, limit: int, order: str, skips: bool) -> None:
        super().__init__()
        sizes = channels(width, blocks, limit)
        down, up = [inputs, *sizes[1:]], sizes[::-1]
        joined = [0, *up[1:-1]] if skips else [0] * blocks  # channels that join the input of each decoding block
        self.skips, self.outputs = skips, width + inputs if skips else width
        self.encoder = nn.ModuleList(encoding_block(a, b, order) for a, b in pairwise(down))
        self.decoder = nn.ModuleList(decoding_block(up[i] + joined[i], up[i + 1]) for i in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        kept = [x]
        for block in self.encoder:
            kept.append(block(kept[-1]))
        y = kept.pop()
        for block in self.decoder:
            y = torch.cat((block(y), kept.pop()), dim=1) if self.skips else block(y)
        return y
