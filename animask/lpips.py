"""LPIPS, the learned distance of two pictures, offline: Zhang et al., "The Unreasonable Effectiveness of Deep Features
as a Perceptual Metric" (CVPR 2018), version 0.1."""

from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from animask.files import bundled

MEAN, STD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of pictures in [-1, 1]
EPSILON = 1e-10


class Layer(NamedTuple):
    """A convolution with its ReLU, the max pooling (side, stride) before it, and whether its output is compared."""

    stride: int
    padding: int
    pool: tuple[int, int] | None
    compared: bool


NETS = {
    "alex": [Layer(4, 2, None, True), *[Layer(1, n, (3, 2), True) for n in (2, 1)], *[Layer(1, 1, None, True)] * 2],
    "vgg16": [Layer(1, 1, (2, 2) if number in (2, 4) else None, number in (1, 3, 6)) for number in range(7)],
}
FILES = {"alex": "lpips-alex.safetensors", "vgg16": "lpips-vgg16-7.safetensors"}


class Lpips(nn.Module):
    """The distance of two batches of pictures (B, 3, H, W) in [0, 1]: (B,), 0 for equal ones, to about 1.

    net: "alex", the published metric; or "vgg16", VGG-16's first seven convolutions with three of the published five
    layers: a loss, not the metric. Frozen; gradients pass to the pictures. Under autocast the convolutions run in its
    precision, the rest in float32. Raises MissingError without its file.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: str = "alex") -> None:
        super().__init__()
        self.layers = NETS[net]
        for name, tensor in load_file(bundled(FILES[net])).items():
            self.register_buffer(name.removeprefix(f"{net}.").replace(".", "_"), tensor.float(), persistent=False)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def features(self, x: Tensor) -> list[Tensor]:
        """The compared layers of pictures (B, 3, H, W) in [0, 1], each of length 1 over its channels, float32."""
        x = (x * 2 - 1 - self.mean) / self.std
        kept = []
        for number, layer in enumerate(self.layers):
            if layer.pool:
                x = functional.max_pool2d(x, *layer.pool)
            weight, bias = self.get_buffer(f"conv{number}_weight"), self.get_buffer(f"conv{number}_bias")
            x = functional.conv2d(x, weight, bias, layer.stride, layer.padding).relu()
            if layer.compared:
                y = x.float()
                length = (y.square().sum(1, keepdim=True) + EPSILON**2).sqrt()  # above 0: it has a gradient everywhere
                kept.append(y / (length + EPSILON))
        return kept

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Of two lists of features: Σ over layers of the weighted squared difference, mean over places: (B,)."""
        total = torch.zeros(len(a[0]), device=a[0].device)
        for number, (x, y) in enumerate(zip(a, b, strict=True)):
            weight = self.get_buffer(f"lin{number}_weight").view(1, -1, 1, 1)
            total = total + ((x - y).square() * weight).sum(1).mean((1, 2))
        return total

    def forward(self, output: Tensor, truth: Tensor) -> Tensor:
        return self.distance(self.features(output), self.features(truth))
