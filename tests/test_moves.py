"""Flips, movements and warps against answers known by hand."""

import pytest
import torch

from animask.moves import borrow_outline, flip, move, smooth_warp


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def disc(x: float, y: float, radius: float, value: float = 0.8, side: int = 64) -> torch.Tensor:
    """A bright disc on black, (1, 1, side, side); places and radius in pixels."""
    at = torch.arange(side) + 0.5
    return value * ((at[None] - x) ** 2 + (at[:, None] - y) ** 2 < radius**2).float().view(1, 1, side, side)


def centre(mask: torch.Tensor) -> tuple[float, float]:
    at = torch.arange(mask.shape[3]) + 0.5
    return tuple(float((mask.sum(axis).flatten() * at).sum() / mask.sum()) for axis in ((0, 1, 2), (0, 1, 3)))


def test_mirrored_samples_are_mirrored_in_every_image_and_others_are_left():
    s = torch.rand((64, 3, 4, 4), generator=seeded())
    pair = flip([s, s + 1, s[:10] + 2], "mirror", seeded(1))
    chosen = [bool(torch.equal(x, y.flip(2))) for x, y in zip(pair[0], s, strict=True)]
    assert 20 < sum(chosen) < 44
    for i, mirrored in enumerate(chosen):
        wanted = s[i].flip(2) if mirrored else s[i]
        assert torch.equal(pair[0][i], wanted)
        assert torch.equal(pair[1][i], wanted + 1)
        assert i >= 10 or torch.equal(pair[2][i], wanted + 2)
    assert torch.equal(flip([s], "none", seeded())[0], s)


def test_time_runs_backwards_for_half_and_a_quarter_is_mirrored():
    s, target = torch.zeros(400, 1, 1, 2), torch.ones(400, 1, 1, 2)
    s[..., 1] = 0.5
    a, b = flip([s, target], "time-or-mirror", seeded())
    swapped = (a == 1).all(3).flatten()
    mirrored = (a[..., 0] == 0.5).flatten()
    assert 160 < swapped.sum() < 240
    assert 70 < mirrored.sum() < 130
    assert not (swapped & mirrored).any()
    assert (b[swapped] < 1).all()


def test_a_movement_stays_within_its_amount_and_none_leaves_the_image():
    images = disc(32, 32, 3).expand(200, -1, -1, -1).contiguous()
    still = torch.zeros(200)
    assert torch.allclose(move(images, still, still, seeded()), images, atol=1e-4)
    moved = move(images, still + 0.1, still, seeded())
    offsets = torch.tensor([[abs(v - 32) for v in centre(x[None])] for x in moved])
    assert 5 < offsets.max() < 6.5 * 1.12
    assert (move(images, still, still + 1, seeded()) - images).abs().amax((1, 2, 3)).min() > 0.1, "bent"
    flat = move(images * 0 + 0.3, still + 0.12, still + 1, seeded())
    assert torch.allclose(flat, torch.full_like(flat, 0.3), atol=1e-5), "no black borders"


def test_a_warped_mask_keeps_its_place_and_changes_its_form():
    masks = disc(20, 40, 10).expand(100, -1, -1, -1)
    warped = smooth_warp(masks, seeded())
    places = torch.tensor([centre(x[None]) for x in warped])
    assert (places.mean(0) - torch.tensor([20.0, 40.0])).abs().max() < 1
    sizes = warped.sum((1, 2, 3)) / masks[0].sum()
    assert 0.6 < sizes.min() < 0.85 < 1.15 < sizes.max() < 1.7
    assert warped.min() >= 0
    assert warped.max() <= 1


def test_a_borrowed_outline_has_the_own_face_and_the_others_hair():
    """Own: a face of radius 8 without hair. Other: a face of radius 16 within hair of radius 24."""
    own = disc(24, 32, 8, 0.8)
    own[..., 30:32, 22:24] = 0.1  # an eye, which is dark: a hole that belongs to the face
    other = torch.maximum(disc(40, 32, 24, 0.33), disc(40, 32, 16, 0.7))
    found = borrow_outline(own, other, seeded())
    inside = disc(24, 32, 6) > 0
    assert torch.allclose(found[inside], own[inside], atol=1e-6)
    ring = (disc(24, 32, 11) - disc(24, 32, 10)) > 0
    assert (found[ring] - 0.33).abs().median() < 0.05, "hair at half its size around the face"
    assert not (found > 0.81).any()
    assert torch.equal(borrow_outline(own, other * 0.4, seeded()), own), "of a mask without a face nothing is lent"


@pytest.mark.parametrize("function", [smooth_warp, lambda x, g: move(x, x[:, 0, 0, 0], x[:, 0, 0, 0], g)])
def test_draws_follow_the_generator(function):
    x = torch.rand((2, 1, 32, 32), generator=seeded(9))
    assert torch.equal(function(x, seeded(1)), function(x, seeded(1)))
    assert not torch.equal(function(x, seeded(1)), function(x, seeded(2)))
