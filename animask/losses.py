"""The losses of section 3.1: the perceptual pyramid (eq. 9 and its sum) and the mask loss (eq. 8)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

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

    x: (B, 3, H, W) in [0, 1], normalised here as for ImageNet. The weights are random (He) from a fixed seed
    until a state is loaded; keys are those of torchvision's `features`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, relus: Sequence[int], seed: int = 0) -> None:
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
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if name.endswith("weight"):
                nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=generator)
            else:
                nn.init.zeros_(parameter)
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


class RandomPerceptualLoss(PerceptualLoss):
    """The same with random weights, plus the L1 of the pixels at every scale.

    Liu et al., "A Generic Perceptual Loss for Modeling Structured Output Dependencies" (CVPR 2021): the
    structure of the network carries most of the benefit.
    """

    def features(self, x: Tensor) -> list[Tensor]:
        return [*super().features(x), *pyramid(x, self.scales)]


class PixelLoss(nn.Module):
    """Σ over scales of the L1 of the pixels and of their differences to the right and lower neighbour.

    No network: for CPUs, where VGG-19 would cost several times what a compact model does.
    """

    def __init__(self, scales: Sequence[int]) -> None:
        super().__init__()
        self.scales = tuple(scales)

    def features(self, x: Tensor) -> list[Tensor]:
        """Pixels and differences at all scales; differences of float32."""
        kept = []
        for level in pyramid(x.float(), self.scales):
            kept += [level, level[..., 1:] - level[..., :-1], level[..., 1:, :] - level[..., :-1, :]]
        return kept

    distance = staticmethod(PerceptualLoss.distance)


Reconstruction = PerceptualLoss | PixelLoss


def make_loss(
    kind: str, layers: Sequence[int], scales: Sequence[int], state: dict[str, Tensor] | None
) -> Reconstruction:
    """The reconstruction loss that a configuration names.

    kind: "vgg19" (state: its ImageNet weights), "random" or "pixels". It has `features(x)` and
    `distance(a, b)`, so that the features of a batch are computed once for all that is compared with it.
    """
    if kind == "pixels":
        return PixelLoss(scales)
    network = VGGFeatures(layers)
    if kind == "random":
        return RandomPerceptualLoss(network, scales)
    assert state is not None, "vgg19 needs its weights"
    needed = network.state_dict()
    network.load_state_dict({name: state[name] for name in needed})
    return PerceptualLoss(network, scales)
