"""Two small networks of our own for toons: where the key points are, and whose head it is."""

from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from animask.toons import KEYPOINTS

EMBEDDING = 64  # numbers of an identity


class Found(NamedTuple):
    """What the key-point network answers; pixels are those of its input, whole numbers at their centres."""

    places: Tensor  # (B, K, 2) float32 x, y
    visible: Tensor  # (B, K) float32 logits
    heat: Tensor  # (B, K, S/2, S/2) float32 logits of the place


def unit(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """conv3×3 - BatchNorm - ReLU: (B, inputs, H, W) to (B, outputs, H/stride, W/stride)."""
    conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(outputs), relu=nn.ReLU()))


def stage(inputs: int, outputs: int) -> nn.Sequential:
    """Half the size, then once more at that size."""
    return nn.Sequential(unit(inputs, outputs, 2), unit(outputs, outputs))


class KeyPointNet(nn.Module):
    """Frames (B, 3, S, S) in [0, 1] to `Found`: heat maps of half the size, their mean place, and visibility.

    An hourglass with additive skips; S is a multiple of 16. The place is the mean of the softmax over the map
    (integral regression, Sun et al., ECCV 2018), which is finer than a cell.
    """

    def __init__(self, points: int = len(KEYPOINTS)) -> None:
        super().__init__()
        self.stem = unit(3, 16, 2)
        self.down1, self.down2, self.down3 = stage(16, 48), stage(48, 80), stage(80, 128)
        self.skip0 = nn.Conv2d(16, 32, 1)
        self.up3, self.up2, self.up1 = nn.Conv2d(128, 80, 1), nn.Conv2d(80, 48, 1), nn.Conv2d(48, 32, 1)
        self.mix2, self.mix1, self.mix0 = unit(80, 80), unit(48, 48), unit(32, 32)
        self.head = nn.Conv2d(32, points, 1)
        self.seen = nn.Linear(128, points)

    def forward(self, frames: Tensor) -> Found:
        x0 = self.stem(frames - 0.5)
        x1 = self.down1(x0)
        x2 = self.down2(x1)
        x3 = self.down3(x2)
        y = self.mix2(x2 + functional.interpolate(self.up3(x3), scale_factor=2))
        y = self.mix1(x1 + functional.interpolate(self.up2(y), scale_factor=2))
        y = self.mix0(self.skip0(x0) + functional.interpolate(self.up1(y), scale_factor=2))
        heat = self.head(y).float()
        return Found(mean_place(heat), self.seen(x3.mean((2, 3))).float(), heat)


def mean_place(heat: Tensor) -> Tensor:
    """The mean place (B, K, 2) under the softmax of maps (B, K, H, W), in pixels of a picture of twice the size."""
    share, columns, rows = spread_out(heat)
    return torch.stack([(share.sum(2) * columns).sum(2), (share.sum(3) * rows).sum(2)], dim=2)


def deviation(heat: Tensor) -> Tensor:
    """How far (B, K) the softmax of maps spreads about its mean place, in the same pixels: the root mean square.

    Small where the network sees the point, large where it can only guess.
    """
    share, columns, rows = spread_out(heat)
    x, y = (mean_place(heat)[..., i, None] for i in (0, 1))
    variance = (share.sum(2) * (columns - x).square()).sum(2) + (share.sum(3) * (rows - y).square()).sum(2)
    return variance.sqrt()


def spread_out(heat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The softmax of maps (B, K, H, W), and the places of its columns and rows in a picture of twice the size."""
    share = heat.flatten(2).softmax(2).unflatten(2, heat.shape[2:])
    rows, columns = (2 * torch.arange(n, device=heat.device) + 0.5 for n in heat.shape[2:])
    return share, columns, rows


class IdentityNet(nn.Module):
    """Frames (B, 3, S, S) in [0, 1] to embeddings (B, EMBEDDING) of length 1: near for one identity."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 4, 4)
        self.body = nn.Sequential(unit(32, 64), stage(64, 128), stage(128, 192))
        self.head = nn.Linear(192, EMBEDDING)

    def forward(self, frames: Tensor) -> Tensor:
        x = self.body(torch.relu(self.stem(frames - 0.5)))
        return functional.normalize(self.head(x.mean((2, 3))).float(), dim=1)
