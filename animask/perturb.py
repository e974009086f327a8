"""The identity perturbations P_test and P_train and the colour augmentation A, one draw per image."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

STRIPS = 6  # P_train breaks the mask into six parts
STRETCH = 0.25  # of every part and of the whole: factors from [0.75, 1.25]
POISSON = 20.0  # λ of the noise, on the 0..255 scale
COLOUR = 0.1  # A: factors from [0.9, 1.1], hue shift from [-0.1, 0.1] of the circle

Threshold = float | Literal["median"]


def uniform(shape: tuple[int, ...], low: float, high: float, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """float32 values from [low, high) on the device of `like`."""
    return torch.rand(shape, device=like.device, generator=generator) * (high - low) + low


def cut_below(mask: Tensor, threshold: Threshold) -> Tensor:
    """Pixels below ρ become 0; (B, 1, H, W) to the same shape.

    threshold: ρ in [0, 1], or "median": the median of each mask, the mean of the two middle values, so that
    exactly half of the pixels of a mask without ties survive.
    """
    if threshold == "median":
        flat = mask.flatten(1).sort(dim=1).values
        n = flat.shape[1]
        rho = ((flat[:, (n - 1) // 2] + flat[:, n // 2]) / 2).view(-1, 1, 1, 1)
        return torch.where(mask < rho, 0.0, mask)
    return torch.where(mask < threshold, 0.0, mask)


def p_test(mask: Tensor, threshold: Threshold, scale: float) -> Tensor:
    """P_test of section 3: cut below ρ, then scale the mask about its centre; outside is zero.

    mask: (B, 1, H, W) in [0, 1]. scale: 0.75 in the paper, 1.0 leaves the size alone. Returns the same shape.
    """
    cut = cut_below(mask, threshold)
    if scale == 1.0:
        return cut
    theta = torch.tensor([[1 / scale, 0.0, 0.0], [0.0, 1 / scale, 0.0]], device=mask.device)
    grid = functional.affine_grid(theta.expand(mask.shape[0], 2, 3), list(mask.shape), align_corners=False)
    return functional.grid_sample(cut.float(), grid, align_corners=False).to(mask.dtype)


def resampling(size: int, part: Tensor, factor: Tensor) -> Tensor:
    """Matrices that stretch the parts of a line, each about its own centre, keeping its length (zero fill).

    part: (B, size), the number of the part that each pixel belongs to, rising from 0. factor: (B, parts), the
    stretch of each part. Returns (B, size, size): output = matrix @ input, linear interpolation.
    """
    at = torch.arange(size, device=part.device, dtype=torch.float32)
    same = (part[:, :, None] == part[:, None, :]).float()  # pixel pairs within one part
    centre = (same * at).sum(2) / same.sum(2)
    source = centre + (at - centre) / factor.gather(1, part)
    return (1 - (source[:, :, None] - at).abs()).clamp(min=0) * same


def strips(like: Tensor, cuts: tuple[float, float], generator: torch.Generator | None) -> Tensor:
    """Matrices that break a line into six parts at random cuts and stretch each by U[0.75, 1.25].

    Where the range of the cuts holds fewer than five columns, the parts are fewer.
    """
    batch, size = like.shape[0], like.shape[-1]
    low, high = max(1, round(cuts[0] * size)), min(size - 1, round(cuts[1] * size))
    order = torch.rand((batch, high - low + 1), device=like.device, generator=generator).argsort(dim=1)
    borders = (order[:, : STRIPS - 1] + low).sort(dim=1).values  # five different columns
    at = torch.arange(size, device=like.device).expand(batch, size).contiguous()
    part = torch.searchsorted(borders.contiguous(), at, right=True)
    factor = uniform((batch, STRIPS), 1 - STRETCH, 1 + STRETCH, like, generator)
    return resampling(size, part, factor)


def stretch(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Matrices that stretch a whole line about its centre by U[0.75, 1.25]."""
    batch, size = like.shape[0], like.shape[-1]
    factor = uniform((batch, 1), 1 - STRETCH, 1 + STRETCH, like, generator)
    return resampling(size, torch.zeros((batch, size), dtype=torch.long, device=like.device), factor)


def p_train(
    mask: Tensor, threshold: Threshold, cuts: tuple[float, float] = (0.0, 1.0), generator: torch.Generator | None = None
) -> Tensor:
    """P_train of section 3.1: strips and stretches in x and y, cut below ρ, Poisson noise (λ = 20 of 255).

    mask: (B, 1, S, S) in [0, 1]. cuts: range of the strip borders as fractions of the side (paper: none).
    Returns float32 of the same shape in [0, 1].
    """
    rows = mask.float().squeeze(1)
    with torch.autocast(mask.device.type, enabled=False):  # bfloat16 would blur the positions in the matrices
        # (i) strips in x and the whole in y, then strips in y and the whole in x
        rows = stretch(mask, generator) @ rows @ strips(mask, cuts, generator).mT
        rows = strips(mask, cuts, generator) @ rows @ stretch(mask, generator).mT
    cut = cut_below(rows.unsqueeze(1), threshold)  # (ii)
    noise = torch.poisson(torch.full_like(cut, POISSON), generator=generator) / 255  # (iii)
    return (cut + noise).clamp(0, 1)


def hue_shift(x: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue: x (B, 3, H, W) in [0, 1], shift (B, 1, 1) as fraction of the hue circle; same shape."""
    value, chroma = x.amax(1), x.amax(1) - x.amin(1)
    r, g, b = x.unbind(1)
    safe = chroma.clamp(min=1e-8)
    hue = torch.where(value == r, (g - b) / safe, torch.where(value == g, (b - r) / safe + 2, (r - g) / safe + 4))
    hue = hue + 6 * shift
    sectors = [(hue + n).remainder(6) for n in (5.0, 3.0, 1.0)]
    return torch.stack([value - chroma * torch.minimum(k, 4 - k).clamp(0, 1) for k in sectors], dim=1)


def augment(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """A of section 3.1: brightness, contrast, saturation × U[0.9, 1.1]; hue + U[-0.1, 0.1] of its circle.

    x: (B, 3, H, W) in [0, 1]. Contrast is about the mean grey of each image, saturation about the grey of
    each pixel (ITU-R 601 luma). Returns the same shape, clipped to [0, 1].
    """
    brightness, contrast, saturation = uniform((3, len(x), 1, 1, 1), 1 - COLOUR, 1 + COLOUR, x, generator)
    weights = torch.tensor([0.299, 0.587, 0.114], device=x.device).view(1, 3, 1, 1)
    x = (x * brightness).clamp(0, 1)
    grey = (x * weights).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    x = (grey + (x - grey) * contrast).clamp(0, 1)
    grey = (x * weights).sum(1, keepdim=True)
    x = (grey + (x - grey) * saturation).clamp(0, 1)
    return hue_shift(x, uniform((len(x), 1, 1), -COLOUR, COLOUR, x, generator))
