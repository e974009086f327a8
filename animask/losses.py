"""The losses of section 3.1: the mask loss (eq. 8) and the perceptual pyramid (eq. 9); those of taught masks; and the
networks within them: VGG-19, and LPIPS, the learned distance of two pictures."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from animask.files import bundled

VGG19 = [64] * 2 + [128] * 2 + [256] * 4 + [512] * 8  # channels of its 3×3 convolutions (Simonyan and Zisserman, 2015)
POOLED = (2, 4, 8, 12)  # those, counted from 0, that follow on a 2×2 max pooling
IMAGENET_NORM = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and standard deviation of pictures in [0, 1]
LPIPS_NORM = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # the same of pictures in [-1, 1]
EPSILON = 1e-10


def mask_loss(m_dr: Tensor, m_d: Tensor) -> Tensor:
    """L_mask = L1(m_dr, m(A(d))), eq. (8); (B, 1, H, W) both; the trace carries m_d without gradient."""
    return functional.l1_loss(m_dr, m_d)


def pyramid(x: Tensor, scales: Sequence[int]) -> list[Tensor]:
    """x at 1/scale of its size for every scale; averaging each block of pixels, so nothing aliases."""
    return [x if scale == 1 else functional.avg_pool2d(x, scale) for scale in scales]


class PerceptualLoss(nn.Module):
    """Eq. (9): Σ over scales and layers of mean |N_j(a) - N_j(b)|; N_j are ReLUs of VGG-19, counted from 1. Frozen.

    In two parts, so that the features of a batch are computed once for all that is compared with it.
    """

    def __init__(self, relus: Sequence[int], scales: Sequence[int], state: dict[str, Tensor]) -> None:
        """state: ImageNet's weights, under torchvision's names."""
        super().__init__()
        self.scales, self.network, self.chosen = tuple(scales), nn.Sequential(), set[int]()
        for number, (inputs, outputs) in enumerate(pairwise([3, *VGG19[: max(relus)]])):
            if number in POOLED:
                self.network.append(nn.MaxPool2d(2))
            self.network.extend([nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()])
            if number + 1 in relus:
                self.chosen.add(len(self.network) - 1)
        self.network.load_state_dict({name: state[f"features.{name}"] for name in self.network.state_dict()})
        self.requires_grad_(False)
        self.register_buffer("norm", torch.tensor(IMAGENET_NORM).view(2, 1, 3, 1, 1), persistent=False)

    def features(self, x: Tensor) -> list[Tensor]:
        """All N_j of all scales of one batch of images (B, 3, H, W) in [0, 1], normalised here as for ImageNet."""
        kept, (mean, std) = [], self.get_buffer("norm")
        for level in pyramid(x, self.scales):
            y = (level - mean) / std
            for place, layer in enumerate(self.network):
                y = layer(y)
                if place in self.chosen:
                    kept.append(y)
        return kept

    @staticmethod
    def distance(a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Σ mean |a_j - b_j|."""
        return sum((functional.l1_loss(x, y) for x, y in zip(a, b, strict=True)), torch.zeros(()).to(a[0]))


# Of each convolution with its ReLU: stride, padding, max pooling (side, stride) before it, is its output compared
Layer = tuple[int, int, tuple[int, int] | None, bool]
LPIPS: dict[str, list[Layer]] = {
    "alex": [(4, 2, None, True), (1, 2, (3, 2), True), (1, 1, (3, 2), True), (1, 1, None, True), (1, 1, None, True)],
    "vgg16": [(1, 1, (2, 2) if number in (2, 4) else None, number in (1, 3, 6)) for number in range(7)],
}
FILES = {"alex": "lpips-alex.safetensors", "vgg16": "lpips-vgg16-7.safetensors"}


class Lpips(nn.Module):
    """LPIPS, version 0.1: the distance of two batches of pictures (B, 3, H, W) in [0, 1], (B,), 0 for equal ones, to
    about 1; Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (CVPR 2018).

    net: "alex", the published metric; or "vgg16", VGG-16's first seven convolutions with three of the published five
    layers: a loss, not the metric. Frozen; gradients pass to the pictures. Under autocast the convolutions run in its
    precision, the rest in float32. Raises MissingError without its file.
    """

    def __init__(self, net: str = "alex") -> None:
        super().__init__()
        self.layers = LPIPS[net]
        for name, tensor in load_file(bundled(FILES[net])).items():
            self.register_buffer(name.removeprefix(f"{net}.").replace(".", "_"), tensor.float(), persistent=False)
        self.register_buffer("norm", torch.tensor(LPIPS_NORM).view(2, 1, 3, 1, 1), persistent=False)

    def features(self, x: Tensor) -> list[Tensor]:
        """The compared layers of pictures (B, 3, H, W) in [0, 1], each of length 1 over its channels, float32."""
        kept, (mean, std) = [], self.get_buffer("norm")
        x = (x * 2 - 1 - mean) / std
        for number, (stride, padding, pool, compared) in enumerate(self.layers):
            if pool:
                x = functional.max_pool2d(x, *pool)
            weight, bias = self.get_buffer(f"conv{number}_weight"), self.get_buffer(f"conv{number}_bias")
            x = functional.conv2d(x, weight, bias, stride, padding).relu()
            if compared:
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


class LooksLoss(nn.Module):
    """LPIPS (AlexNet, bundled) plus the L1 of the pixels at every scale, for images in [0, 1]."""

    def __init__(self, scales: Sequence[int]) -> None:
        super().__init__()
        self.lpips, self.scales = Lpips(), tuple(scales)

    def features(self, x: Tensor) -> list[Tensor]:
        """Pixels at all scales, then the layers of LPIPS."""
        return [*pyramid(x, self.scales), *self.lpips.features(x)]

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Σ mean |a_j - b_j| over the scales, and LPIPS."""
        n = len(self.scales)
        return PerceptualLoss.distance(a[:n], b[:n]) + self.lpips.distance(a[n:], b[n:]).mean()


def detail(x: Tensor) -> Tensor:
    """What is finer than 5×5 pixels: x minus its mean there; (B, C, H, W) to the same shape."""
    return x - functional.avg_pool2d(x, 5, 1, 2, count_include_pad=False)


def clay_loss(y: Tensor, clay: Tensor) -> Tensor:
    """Masks against their clay, (B, 1, S, S) both: L1, more where the clay has detail, and L1 of the detail."""
    sharp = detail(clay)
    return ((y - clay).abs() * (1 + 16 * sharp.abs())).mean() + 2 * (detail(y) - sharp).abs().mean()


def clay_weight(clay: Tensor) -> Tensor:
    """How much the pixels count: 1 where the clay is black, 2 on the object, up to 6 where the clay has detail."""
    return 1 + (clay > 0.1).float() + 16 * detail(clay).abs().clamp(max=0.25)


def pixel_loss(error: Tensor, weight: Tensor) -> Tensor:
    """L1 of an error (B, 3, H, W) and of its differences to neighbours, at three scales, by a weight (B, 1, H, W)."""
    total = torch.zeros((), device=error.device)
    for e, w in zip(pyramid(error, (1, 2, 4)), pyramid(weight, (1, 2, 4)), strict=True):
        total = total + (e.abs() * w).mean()
        total = total + ((e[..., 1:] - e[..., :-1]).abs() * w[..., 1:]).mean()
        total = total + ((e[..., 1:, :] - e[..., :-1, :]).abs() * w[..., 1:, :]).mean()
    return total


def roughness(flow: Tensor) -> Tensor:
    """How much a flow (B, 2, H, W) differs between neighbours, in half sides."""
    return (flow[..., 1:] - flow[..., :-1]).abs().mean() + (flow[..., 1:, :] - flow[..., :-1, :]).abs().mean()
