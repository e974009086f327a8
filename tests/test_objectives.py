"""Both kinds of steps: what each network is shown, which part of the loss moves which, and what bends masks."""

from dataclasses import replace

import pytest
import torch
from training_cases import TINY, centre, disc, make_batch, make_model, make_trainer, moved, numbers, seeded, settings

from animask import objectives
from animask.objectives import Taught, borrow_outline, choose_masks, measure, perturb_masks, smooth_warp, window
from animask.pairs import Batch, shake
from animask.perturb import p_test

SETTINGS = settings(masks="taught", lambda_looks=1.0)


def shaken(count: int = 4, toons: int = 2) -> Batch:
    return shake(make_batch(count, toons=toons), SETTINGS, TINY.mask_size, seeded())


@pytest.mark.parametrize(("jitter", "widths"), [("driver", [64]), ("all", [64, 128])])
def test_jitter_of_the_driver_alone_and_of_all(jitter, widths, monkeypatch):
    seen = []
    monkeypatch.setattr(objectives, "augment", lambda x, generator: seen.append(x.shape[3]) or x)
    make_trainer(jitter=jitter).learn(make_batch())
    assert seen == widths, "the pair shares a draw"


@pytest.mark.parametrize(
    ("weights", "networks"),
    [
        ({"lambda_mask": 1.0, "lambda_rec": 0.0, "lambda_looks": 0.0}, {"m", "r"}),
        ({"lambda_mask": 0.0, "lambda_rec": 1.0, "lambda_looks": 0.0}, {"l", "h"}),
        ({"lambda_mask": 0.0, "lambda_rec": 0.0, "lambda_looks": 1.0}, {"l", "h"}),
    ],
)
@pytest.mark.parametrize("toons", [0, 2, 4])
def test_masks_teach_m_and_r_and_frames_teach_l_and_h(weights, networks, toons):
    model = make_model().train()
    loss, figures = Taught(settings(masks="taught", **weights))(model, shaken(4, toons), seeded())
    loss.backward()
    assert moved(model) == networks
    assert all(value.isfinite() for value in figures.values())


def test_measures_by_hand():
    def mask(*values: float) -> torch.Tensor:
        return torch.tensor(values).view(2, 1, 1, 2)

    m_s, m_d = mask(0, 0, 0.5, 0.5), mask(0, 1, 0.5, 0.75)
    c, f, s, target = (torch.full((2, 3, 4, 4), value) for value in (0.5, 0.25, 0.0, 1.0))
    spread = (0.5**0.5 + 0.25 * 0.5**0.5) / 2  # of two values: their distance / √2
    wanted = {"l1_c": 0.5, "l1_f": 0.25, "l1_copy": 1.0}
    wanted |= {"mask_mean": 2.25 / 4, "mask_spread": spread, "mask_motion": 1.25 / 4}
    assert numbers(measure(s, target, m_s, m_d, c, f, target / 2)) == pytest.approx(wanted)


def test_a_flow_is_taught_where_the_source_lies():
    """The target is the source seen four pixels further right: that flow scores better than its opposite, or rest."""
    model = make_model(replace(TINY, flow=True))
    batch = shaken(4, 2)
    batch = batch._replace(target=batch.s.roll(-4, 3))
    loss = {}
    for pixels in (-4, 0, 4):
        model.l.head.bias.data[3] = 2 * pixels / TINY.resolution
        loss[pixels] = Taught(SETTINGS)(model, batch, seeded())[1]["loss_c"].item()
    assert loss[4] < 0.9 * loss[0] < loss[-4]


def test_r_gets_the_others_masks_of_toons_and_changed_own_ones_of_clips(monkeypatch):
    model, batch = make_model(), shaken(4, 2)
    m_d, m_o = torch.rand(4, 1, 16, 16, generator=seeded()), torch.rand(2, 1, 16, 16, generator=seeded(1))
    monkeypatch.setattr(objectives, "OTHER_CLAY", 0.0)
    monkeypatch.setattr(objectives, "OWN_CLAY", 0.0)
    found = perturb_masks(model, batch, m_d, m_o, seeded())
    assert torch.equal(found[:2], p_test(m_o, TINY.threshold, TINY.scale))
    assert not torch.allclose(found[2:], p_test(m_d[2:], TINY.threshold, TINY.scale), atol=0.05)
    monkeypatch.setattr(objectives, "OTHER_CLAY", 1.0)
    found = perturb_masks(model, batch, m_d, m_o, seeded())
    assert torch.equal(found[:2], p_test(batch.clay_o, TINY.threshold, TINY.scale))
    monkeypatch.setattr(objectives, "OWN_CLAY", 1.0)
    assert not torch.equal(perturb_masks(model, batch, m_d, m_o, seeded())[2:], found[2:])


def test_l_and_h_see_clay_raw_masks_and_answers_in_their_shares():
    batch = shaken(4, 2)
    many = Batch(*(torch.cat([x] * 500) for x in batch))
    m_d, m_dr = torch.full((2000, 1, 16, 16), 2.0), torch.full((2000, 1, 16, 16), 3.0)
    chosen = choose_masks(many, m_d, m_dr, seeded()).amax((1, 2, 3))
    shares = [[float((chosen[many.kinds == kind] == value).float().mean()) for value in (2, 3)] for kind in (0, 1)]
    assert shares[0] == pytest.approx([0.27, 0.65], abs=0.05), "toons"
    assert shares[1] == pytest.approx([0.52, 0.40], abs=0.05), "clips"


def test_a_window_lies_around_the_face_and_is_the_same_of_every_image():
    clay = torch.zeros(200, 1, 64, 64)
    clay[:, :, 40:48, 8:16] = 0.8
    frames = torch.arange(256 * 256.0).view(1, 1, 256, 256).expand(200, 3, -1, -1)
    view = window(clay, 256, 128, seeded())
    parts = view(frames)
    assert parts.shape == (200, 3, 128, 128)
    y, x = (parts[:, 0, 0, 0] // 256), (parts[:, 0, 0, 0] % 256)
    around = (y - (4 * 44 - 64)).abs().le(16) & (x - 0).abs().le(16)  # the face's centre is (48, 176); 0 at the border
    assert 0.5 < around.float().mean() < 0.8
    assert (y.max(), x.max()) <= (128, 128)
    assert torch.equal(view(frames[:, :1]), parts[:, :1])
    assert torch.equal(parts[0, 0, 0] - parts[0, 0, 0, 0], torch.arange(128.0))
    assert window(clay, 256, 256, seeded())(frames) is frames


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


def test_a_taught_model_learns_the_clay():
    model = make_model().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    objective, batch, errors = Taught(SETTINGS), shaken(4, 2), []
    for step in range(30):
        loss, figures = objective(model, batch, seeded(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append([figures[name].item() for name in ("m", "r", "l1_c", "l1_f")])
    first, last = (torch.tensor(x).mean(0) for x in (errors[:5], errors[-5:]))
    assert (last < 0.8 * first).all(), (first, last)
