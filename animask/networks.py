"""The four networks of the paper: m, r, ℓ and h (section 3, "Architecture"). NCHW, float, values in [0, 1].

Each computes in the precision of its weights (or of autocast) and answers in float32: the steps of bfloat16
near 1 would show as bands.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from animask.config import ModelConfig
from animask.layers import EncoderDecoder, ResidualBlock, decoding_block


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


class MaskGenerator(nn.Module):
    """m: (B, 3, R, R) frames to (B, 1, R/4, R/4) masks in [0, 1]; the same network for source and driver.

    released: the head has no padding and its output is padded with zeros (a black frame of three pixels in
    every published mask); here: padding inside the head, because the border is part of the picture.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.body = mask_body(3, config.mask_width, config)
        self.head = nn.Conv2d(self.body.outputs, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        if self.config.mask_shrink == "gaussian":
            x = gaussian_blur(x, 13, 1.5)
        x = down(x, self.config.reduction).to(self.head.weight.dtype)
        return torch.sigmoid(self.head(self.body(x)).float() / self.config.temperature)


class MaskRefiner(nn.Module):
    """r: D(s), m_s and a perturbed driver mask, (B, 5, R/4, R/4), to the refined mask (B, 1, R/4, R/4)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.body = mask_body(5, config.refiner_width, config)
        self.head = nn.Conv2d(self.body.outputs, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.head.weight.dtype)
        return torch.sigmoid(self.head(self.body(x)).float() / self.config.temperature)


def mask_body(inputs: int, width: int, config: ModelConfig) -> EncoderDecoder:
    """The encoder-decoder of m and r."""
    # paper: without skips; here, with mask_skips: taught masks show eyes and lips, which do not fit through 4×4 pixels.
    order, limit = config.encoder_order, config.max_channels
    return EncoderDecoder(inputs, width, config.mask_blocks, limit, order, config.mask_skips)


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
