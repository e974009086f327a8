"""The losses of section 3.1: the perceptual pyramid (eq. 9) and the mask loss (eq. 8); and those of taught masks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from animask.lpips import Lpips

# VGG-19 (Simonyan and Zisserman, 2015): channels of its 3×3 convolutions, "M" a 2×2 max pooling.
VGG19 = (64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M", 512, 512, 512, 512, "M", 512, 512, 512, 512)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def mask_loss(m_dr: Tensor, m_d: Tensor) -> Tensor:
    """L_mask = L1(m_dr, m(A(d))), eq. (8); (B, 1, H, W) both; the trace carries m_d without gradient."""
    return functional.l1_loss(m_dr, m_d)


def pyramid(x: Tensor, scales: Sequence[int]) -> list[Tensor]:
    """x at 1/scale of its size for every scale; averaging each block of pixels, so nothing aliases."""
    return [x if scale == 1 else functional.avg_pool2d(x, scale) for scale in scales]


class VGGFeatures(nn.Module):
    """The outputs of the chosen ReLUs of VGG-19, counted from 1: N_j of eq. (9). Frozen.

    x: (B, 3, H, W) in [0, 1], normalised here as for ImageNet. Keys are those of torchvision's `features`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, relus: Sequence[int]) -> None:
        super().__init__()
        self.relus = frozenset(relus)
        self.features = nn.Sequential()
        inputs, count = 3, 0
        for item in VGG19:
            if count == max(relus):
                break
            if isinstance(item, str):
                self.features.append(nn.MaxPool2d(2))
                continue
            self.features.append(nn.Conv2d(inputs, item, 3, padding=1))
            self.features.append(nn.ReLU())
            inputs, count = item, count + 1
        self.requires_grad_(False)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = (x - self.mean) / self.std
        kept, count = [], 0
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                count += 1
                if count in self.relus:
                    kept.append(x)
        return kept


class PerceptualLoss(nn.Module):
    """Σ over scales and layers of mean |N_j(a) - N_j(b)|, for images in [0, 1]."""

    def __init__(self, network: VGGFeatures, scales: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.scales = tuple(scales)

    def features(self, x: Tensor) -> list[Tensor]:
        """All N_j of all scales of one batch of images."""
        return [feature for level in pyramid(x, self.scales) for feature in self.network(level)]

    @staticmethod
    def distance(a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Σ mean |a_j - b_j|."""
        return sum((functional.l1_loss(x, y) for x, y in zip(a, b, strict=True)), torch.zeros(()).to(a[0]))


class LooksLoss(nn.Module):
    """LPIPS (AlexNet, bundled) plus the L1 of the pixels at every scale, for images in [0, 1]."""

    def __init__(self, scales: Sequence[int]) -> None:
        super().__init__()
        self.lpips = Lpips()
        self.scales = tuple(scales)

    def features(self, x: Tensor) -> list[Tensor]:
        """Pixels at all scales, then the layers of LPIPS."""
        return [*pyramid(x, self.scales), *self.lpips.features(x)]

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Σ mean |a_j - b_j| over the scales, and LPIPS."""
        n = len(self.scales)
        return PerceptualLoss.distance(a[:n], b[:n]) + self.lpips.distance(a[n:], b[n:]).mean()


Reconstruction = PerceptualLoss | LooksLoss


def make_loss(
    kind: str, layers: Sequence[int], scales: Sequence[int], state: dict[str, Tensor] | None
) -> Reconstruction:
    """The reconstruction loss of found masks: "vgg19" (state: its ImageNet weights) or "lpips".

    It has `features(x)` and `distance(a, b)`, so that the features of a batch are computed once for all that is
    compared with it.
    """
    if kind == "lpips":
        return LooksLoss(scales)
    assert state is not None, "vgg19 needs its weights"
    network = VGGFeatures(layers)
    network.load_state_dict({name: state[name] for name in network.state_dict()})
    return PerceptualLoss(network, scales)


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
    """Weighted L1 of an error (B, 3, H, W) and of its differences to the right and lower neighbour, at three scales.

    weight: (B, 1, H, W).
    """
    total = torch.zeros((), device=error.device)
    for e, w in zip(pyramid(error, (1, 2, 4)), pyramid(weight, (1, 2, 4)), strict=True):
        total = total + (e.abs() * w).mean()
        total = total + ((e[..., 1:] - e[..., :-1]).abs() * w[..., 1:]).mean()
        total = total + ((e[..., 1:, :] - e[..., :-1, :]).abs() * w[..., 1:, :]).mean()
    return total


def roughness(flow: Tensor) -> Tensor:
    """How much a flow (B, 2, H, W) differs between neighbours, in half sides."""
    return (flow[..., 1:] - flow[..., :-1]).abs().mean() + (flow[..., 1:, :] - flow[..., :-1, :]).abs().mean()
