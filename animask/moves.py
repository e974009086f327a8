"""Flips, movements and warps of frames with their clay, and of masks; torch, on any device, one draw per image.

Images are (B, C, H, W), values in [0, 1]; positions are those of `grid_sample` without aligned corners, -1 to 1.
"""

import torch
from torch import Tensor
from torch.nn import functional

from animask.perturb import uniform

BEND = 0.09  # of a warped picture: its 4×4 points move by up to this part of half its side
STRETCH = 0.18, 0.15  # of a warped mask, along x and y
WAVE = 0.035  # of a warped mask: spread of its 4×4 points
SKIN = 0.38  # clay of a face is brighter, that of hair and clothes darker
BODY = 68 / 255  # clay of a real person outside the face
SMALLEST = 0.015  # part of a mask that a face covers at least

Generator = torch.Generator | None


def flip(images: list[Tensor], how: str, generator: Generator) -> list[Tensor]:
    """Source, target and what belongs to them, flipped sample by sample as TrainConfig.flips says.

    In time, source and target change places (for lists of these two alone); in space, all of a sample is mirrored.
    Later images may be fewer than the sources, of the first samples.
    """
    chance = uniform((len(images[0]), 1, 1, 1), 0, 1, images[0], generator)
    if how == "time-or-mirror":
        s, target = images
        images = [torch.where(chance < 0.5, target, s), torch.where(chance < 0.5, s, target)]
    mirrored = {"none": chance < 0, "mirror": chance < 0.5, "time-or-mirror": chance >= 0.75}[how]
    return [torch.where(mirrored[: len(x)], x.flip(3), x) for x in images]


def move(x: Tensor, amount: Tensor, bend: Tensor, generator: Generator) -> Tensor:
    """Shift by up to `amount` of the side, scale by 1 ± amount, turn by up to `amount` radians; reflected borders.

    amount: (B,), 0 leaves an image as it is. bend: (B,), 1 for those that are warped smoothly as well, else 0.
    """
    dx, dy, zoom, turn = uniform((4, len(x)), -1, 1, x, generator) * amount
    cos, sin = torch.cos(turn) / (1 + zoom), torch.sin(turn) / (1 + zoom)
    points = uniform((len(x), 2, 4, 4), -BEND, BEND, x, generator) * bend.view(-1, 1, 1, 1)
    return sample(x, (cos, -sin, 2 * dx, sin, cos, 2 * dy), points, "reflection")


def sample(x: Tensor, matrix: tuple[Tensor, ...], points: Tensor, borders: str) -> Tensor:
    """Images at the places of an affine map, six numbers (B,) row by row, plus a smooth field through (B, 2, 4, 4)."""
    grid = functional.affine_grid(torch.stack(matrix, dim=1).view(-1, 2, 3), list(x.shape), align_corners=False)
    field = functional.interpolate(points, size=x.shape[2:], mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    return functional.grid_sample(x, grid + field, padding_mode=borders, align_corners=False)


def centre(mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Centre of mass x and y, each (B,), in [-1, 1], and the mass, of masks (B, 1, S, S)."""
    at = torch.linspace(-1, 1, mask.shape[3], device=mask.device)
    mass = mask.sum((1, 2, 3)).clamp(min=1e-6)
    return (mask.sum((1, 2)) * at).sum(1) / mass, (mask.sum((1, 3)) * at).sum(1) / mass, mass


def smooth_warp(mask: Tensor, generator: Generator) -> Tensor:
    """A mask (B, 1, S, S) as of a person of another build: stretched about its centre of mass, and bent smoothly."""
    x, y, _ = centre(mask)
    sx, sy = (1 + uniform((len(mask),), -s, s, mask, generator) for s in STRETCH)
    zero = torch.zeros_like(x)
    wave = torch.randn((len(mask), 2, 4, 4), device=mask.device, generator=generator) * WAVE
    return sample(mask, (sx, zero, x * (1 - sx), zero, sy, y * (1 - sy)), wave, "border").clamp(0, 1)


def face(mask: Tensor) -> Tensor:
    """Where the face is in masks (B, 1, S, S), 1 or 0, its holes closed."""
    size = mask.shape[3] // 8 | 1
    grown = functional.max_pool2d((mask > SKIN).float(), size, 1, size // 2)
    return -functional.max_pool2d(-grown, size, 1, size // 2)


def borrow_outline(own: Tensor, other: Tensor, generator: Generator) -> Tensor:
    """The face of `own` within the outline of `other`, whose face is laid over it; masks (B, 1, S, S).

    Where one of the two shows no face, `own` as it is.
    """
    mine, lent = face(own), face(other)
    (x, y, mass), (x_lent, y_lent, mass_lent) = centre(mine), centre(lent)
    k = (mass_lent / mass).sqrt() * (1 + uniform((len(own),), -0.1, 0.1, own, generator))
    dx, dy = uniform((2, len(own)), -0.06, 0.06, own, generator)
    zero = torch.zeros_like(k)
    matrix = (k, zero, x_lent - k * (x + dx), zero, k, y_lent - k * (y + dy))
    outline = sample(torch.where(lent > 0.5, BODY, other), matrix, own.new_zeros((len(own), 2, 4, 4)), "border")
    soft = functional.avg_pool2d(mine, 3, 1, 1)
    shown = torch.minimum(mass, mass_lent) > SMALLEST * own[0].numel()
    return torch.where(shown.view(-1, 1, 1, 1), soft * own + (1 - soft) * outline, own)
