"""The four networks of the paper: m, r, ℓ and h (section 3, "Architecture"), and the blocks that they are built from.

NCHW, float, values in [0, 1]. Each network computes in the precision of its weights (or of autocast) and answers in
float32: the steps of bfloat16 near 1 would show as bands.
"""

from collections import OrderedDict
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from animask.config import ModelConfig


def down(x: Tensor, factor: int) -> Tensor:
    """D: bilinear shrinking by an integer factor, (B, C, H, W) to (B, C, H/factor, W/factor)."""
    return functional.interpolate(x, scale_factor=1 / factor, mode="bilinear", align_corners=False)


def up(x: Tensor, factor: int) -> Tensor:
    """U: bilinear enlarging by an integer factor, (B, C, H, W) to (B, C, H·factor, W·factor)."""
    return functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def move(x: Tensor, flow: Tensor) -> Tensor:
    """Each pixel from where the flow says: x (1 or B, C, H, W), flow (B, 2, H, W) as ℓ draws it; borders continued."""
    at = [torch.linspace(1 / n - 1, 1 - 1 / n, n, device=x.device) for n in x.shape[2:]]
    places = flow.permute(0, 2, 3, 1) + torch.stack(torch.meshgrid(*at, indexing="ij")[::-1], dim=2)
    x = x.float().expand(flow.shape[0], -1, -1, -1)  # len() would fix the number of frames in ONNX
    return functional.grid_sample(x, places, padding_mode="border", align_corners=False)


def gaussian_blur(x: Tensor, size: int, sigma: float) -> Tensor:
    """Separable Gaussian blur with replicated borders; shape unchanged."""
    at = torch.arange(size, device=x.device, dtype=torch.float32) - (size - 1) / 2
    weights = torch.exp(-(at**2) / (2 * sigma**2))
    weights = (weights / weights.sum()).to(x.dtype)
    n, half = x.shape[1], size // 2
    x = functional.pad(x, (half, half, half, half), mode="replicate")
    x = functional.conv2d(x, weights.view(1, 1, 1, size).expand(n, 1, 1, size), groups=n)
    return functional.conv2d(x, weights.view(1, 1, size, 1).expand(n, 1, size, 1), groups=n)


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
    enlarge, conv = nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(inputs, outputs, 3, padding=1)
    return nn.Sequential(OrderedDict(up=enlarge, conv=conv, norm=nn.BatchNorm2d(outputs), relu=nn.ReLU()))


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


class EncoderDecoder(nn.Module):
    """Encoder and mirrored decoder: (B, inputs, H, W) to (B, self.outputs, H, W).

    skips: connections "from each of the encoding layers" to the decoder, as h has them; outputs is then width + inputs.
    paper: skips from the layers; here: the input itself is skipped to the end as well, because the first-order model's
    hourglass, which the paper follows, does so (the 37.64 M parameters of h need it).
    """

    def __init__(self, inputs: int, width: int, blocks: int, limit: int, order: str, skips: bool) -> None:
        super().__init__()
        sizes = [min(limit, width * 2**i) for i in range(blocks + 1)]  # channels: the width, then after each block
        falling, rising = [inputs, *sizes[1:]], sizes[::-1]
        joined = [0, *rising[1:-1]] if skips else [0] * blocks  # channels that join the input of each decoding block
        self.skips, self.outputs = skips, width + inputs if skips else width
        self.encoder = nn.ModuleList(encoding_block(a, b, order) for a, b in pairwise(falling))
        self.decoder = nn.ModuleList(decoding_block(rising[i] + joined[i], rising[i + 1]) for i in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        kept = [x]
        for block in self.encoder:
            kept.append(block(kept[-1]))
        y = kept.pop()
        for block in self.decoder:
            y = torch.cat((block(y), kept.pop()), dim=1) if self.skips else block(y)
        return y


class MaskNetwork(nn.Module):
    """What m and r have in common: an encoder-decoder and a head, (B, inputs, S, S) to masks (B, 1, S, S) in [0, 1].

    released: the head of m has no padding and its output is padded with zeros (a black frame of three pixels in
    every published mask); here: padding inside the head, because the border is part of the picture.
    """

    def __init__(self, inputs: int, width: int, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        # paper: no skips; here, with mask_skips: taught masks show eyes and lips, which do not fit through 4×4 pixels.
        order, limit, skips = config.encoder_order, config.max_channels, config.mask_skips
        self.body = EncoderDecoder(inputs, width, config.mask_blocks, limit, order, skips)
        self.head = nn.Conv2d(self.body.outputs, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.head.weight.dtype)
        return torch.sigmoid(self.head(self.body(x)).float() / self.config.temperature)


class MaskGenerator(MaskNetwork):
    """m: (B, 3, R, R) frames to (B, 1, R/4, R/4) masks in [0, 1]; the same network for source and driver."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(3, config.mask_width, config)

    def forward(self, x: Tensor) -> Tensor:
        if self.config.mask_shrink == "gaussian":
            x = gaussian_blur(x, 13, 1.5)
        return super().forward(down(x, self.config.reduction))


class MaskRefiner(MaskNetwork):
    """r: D(s), m_s and a perturbed driver mask, (B, 5, R/4, R/4), to the refined mask (B, 1, R/4, R/4)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(5, config.refiner_width, config)


class LowResGenerator(nn.Module):
    """ℓ: D(s), m_s and the driver's mask, (B, 5, R/4, R/4), to the coarse frame c, (B, 3, R, R).

    With flow two more channels follow: how far from each pixel, along x and y and in half sides, its source lies.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = 4 * config.width
        self.first = nn.Conv2d(5, width, 7, padding=3)
        self.norm = nn.BatchNorm2d(width)
        self.residual = nn.Sequential(*(ResidualBlock(width, dilation) for dilation in config.dilations))
        ups = config.reduction.bit_length() - 1  # log2: two up-blocks for a reduction of 4
        self.decoder = nn.Sequential(*(decoding_block(width >> i, width >> (i + 1)) for i in range(ups)))
        self.head = nn.Conv2d(width >> ups, 3 + 2 * config.flow, 7, padding=3)
        for x in self.head.parameters():
            nn.init.zeros_(x[3:])  # at first nothing moves

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x.to(self.head.weight.dtype))))
        x = self.head(self.decoder(self.residual(x))).float()
        return torch.cat((torch.sigmoid(x[:, :3]), x[:, 3:]), dim=1)


class HighResGenerator(nn.Module):
    """h: s, U(m_s), U(driver's mask) and c, (B, 8, R, R), to the final frame f, (B, 3, R, R).

    With flow, s and U(m_s) are moved.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.body = EncoderDecoder(8, config.width, config.blocks, config.max_channels, config.encoder_order, True)
        self.head = nn.Conv2d(self.body.outputs, 3 + config.flow, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.sigmoid(self.head(self.body(x.to(self.head.weight.dtype))).float())
        painted, share = y[:, :3], y[:, 3:]
        if not share.shape[1]:
            return painted
        # paper: all is painted; here, with flow: what the source shows is the source itself, in all its detail.
        return torch.lerp(painted, x[:, :3].float(), share)
