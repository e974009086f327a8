"""P_test, P_train and A against answers worked out by hand."""

import colorsys

import pytest
import torch
from training_cases import noise, seeded

from animask import perturb
from animask.perturb import augment, cut_below, hue_shift, p_test, p_train, resampling, stretch, strips


def box(low, high, size=64):
    """A mask with a bright square from pixel `low` to before pixel `high`."""
    mask = torch.zeros(1, 1, size, size)
    mask[..., low:high, low:high] = 1
    return mask


# P_test


def test_half_of_the_pixels_survive_the_median_of_their_own_image():
    ramp = torch.arange(16.0).view(1, 1, 4, 4) / 32
    both = torch.cat((ramp, ramp + 0.5))
    cut = cut_below(both, "median")
    assert torch.equal(cut[:, :, 2:], both[:, :, 2:])
    assert cut[:, :, :2].eq(0).all()
    odd = torch.arange(1.0, 10).view(1, 1, 3, 3)
    assert cut_below(odd, "median").count_nonzero() == 5, "the middle one survives"


def test_number_as_threshold_keeps_what_is_equal():
    mask = torch.tensor([0.1, 0.25, 0.5, 0.9]).view(1, 1, 2, 2)
    assert torch.equal(cut_below(mask, 0.25).flatten(), torch.tensor([0, 0.25, 0.5, 0.9]))
    assert torch.equal(cut_below(mask, 0.0), mask)
    assert cut_below(mask, 1.0).eq(0).all()


def test_a_box_is_scaled_about_the_centre():
    assert torch.allclose(p_test(box(8, 56), "median", 0.75), box(14, 50), atol=1e-5)
    assert torch.equal(p_test(box(24, 40), 0.5, 2.0)[..., 18:46, 18:46], torch.ones(1, 1, 28, 28))
    assert torch.allclose(p_test(torch.ones(1, 1, 24, 24), "median", 0.75), box(3, 21, 24), atol=1e-5), "zero outside"
    mask = noise(3, 1, 16, 16)
    assert torch.equal(p_test(mask, "median", 1.0), cut_below(mask, "median"))


def test_the_cut_comes_before_the_shrinking():
    """Interpolation makes values below the threshold at the border of the box, and they stay."""
    shrunk = p_test(box(9, 55), 0.9, 0.75)
    assert shrunk[(shrunk > 0) & (shrunk < 0.9)].numel() > 0


# P_train: strips


def test_stretch_of_a_line_by_hand():
    line, one_part = torch.arange(4.0), torch.zeros(1, 4, dtype=torch.long)
    wide = resampling(4, one_part, torch.tensor([[2.0]]))
    assert torch.allclose(wide @ line, torch.tensor([0.75, 1.25, 1.75, 2.25]))
    narrow = resampling(4, one_part, torch.tensor([[0.5]]))  # takes from -1.5, 0.5, 2.5 and 4.5
    assert torch.allclose(narrow @ line, torch.tensor([0, 0.5, 2.5, 0]))


@pytest.mark.parametrize("factors", [(1.0, 0.75, 1.0), (0.75, 1.0, 1.25), (1.0, 1.25, 1.0)])
def test_a_strip_takes_nothing_from_its_neighbours(factors):
    part = torch.tensor([[0] * 4 + [1] * 6 + [2] * 4])
    matrix = resampling(14, part, torch.tensor([factors]))
    own = (part[0][:, None] == part[0]).float()
    assert torch.equal(matrix[0], matrix[0] * own)
    line = noise(14)
    for number, factor in enumerate(factors):
        inside = part[0] == number
        same = torch.allclose((matrix @ line)[0][inside], line[inside])
        assert same == (factor == 1.0)


def drawn_strips(monkeypatch, like, cuts):
    """The parts and factors that `strips` draws."""
    seen = []
    monkeypatch.setattr(perturb, "resampling", lambda size, part, factor: seen.append((part, factor)))
    strips(like, cuts, seeded())
    return seen[0]


@pytest.mark.parametrize(("cuts", "low", "high"), [((0.0, 1.0), 1, 63), ((15 / 64, 45 / 64), 15, 45)])
def test_six_strips_whose_borders_respect_their_range(monkeypatch, cuts, low, high):
    part, factor = drawn_strips(monkeypatch, torch.zeros(500, 1, 64, 64), cuts)
    steps = part.diff(dim=1)
    assert (part[:, 0].max(), part[:, -1].min()) == (0, 5)
    assert set(steps.unique().tolist()) == {0, 1}  # so every part is at least a column wide
    borders = steps.nonzero()[:, 1] + 1  # the first column of each part but the first
    assert (borders.min(), borders.max()) == (low, high)
    assert len(part.unique(dim=0)) > 400, "drawn for each image"
    assert factor.shape == (500, 6)
    assert (factor.min(), factor.max()) == (pytest.approx(0.75, abs=0.01), pytest.approx(1.25, abs=0.01))


def test_fewer_strips_where_the_range_is_narrow(monkeypatch):
    part, _ = drawn_strips(monkeypatch, torch.zeros(2, 1, 64, 64), (31 / 64, 33 / 64))
    assert part.tolist() == [[0] * 31 + [1] + [2] + [3] * 31] * 2


def test_strips_in_x_and_the_whole_in_y_then_the_same_turned(monkeypatch):
    monkeypatch.setattr(perturb, "POISSON", 0.0)
    mask, generator = noise(3, 1, 16, 16), seeded()
    y1, x1 = stretch(mask, generator), strips(mask, (0.0, 1.0), generator)
    y2, x2 = strips(mask, (0.0, 1.0), generator), stretch(mask, generator)
    twice = torch.einsum("bvy,byi,bij,bxj,bux->bvu", y2, y1, mask[:, 0], x1, x2)
    assert torch.allclose(p_train(mask, 0.0, generator=seeded())[:, 0], twice, atol=1e-5)


# P_train: cut and noise


def test_noise_on_zeros_is_poisson_with_mean_20_of_255():
    y = p_train(torch.zeros(16, 1, 64, 64), "median", generator=seeded()) * 255
    assert y.mean() == pytest.approx(20, rel=0.01)
    assert y.var() == pytest.approx(20, rel=0.03)
    assert torch.allclose(y, y.round(), atol=1e-3)


def test_the_cut_comes_after_the_stretches_and_before_the_noise(monkeypatch):
    """The narrowed border of a bright mask lies between 0 and 1; what stays of it is above the threshold."""
    mask = torch.ones(16, 1, 64, 64)
    noisy = p_train(mask / 2, 0.45, generator=seeded())
    assert ((noisy > 0) & (noisy < 0.45)).sum() > 0
    monkeypatch.setattr(perturb, "POISSON", 0.0)
    y = p_train(mask, 0.5, generator=seeded())
    assert y[(y > 0) & (y < 0.5)].numel() == 0
    assert y[(y >= 0.5) & (y < 0.99)].numel() > 0


def test_p_train_computes_in_float32_under_autocast():
    mask = noise(2, 1, 32, 32)
    exact = p_train(mask, "median", generator=seeded())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(p_train(mask, "median", generator=seeded()), exact)
    assert p_train(mask.bfloat16(), "median").dtype == torch.float32


# A


def test_hue_turns_as_in_the_standard_library():
    x = torch.cat((noise(1, 3, 8, 8), torch.eye(3).view(1, 3, 1, 3).expand(1, 3, 8, 3)), dim=3)
    for shift in (-0.1, -0.03, 0.0, 0.07, 1 / 3, 0.45, 1.0):
        y = hue_shift(x, torch.full((1, 1, 1), shift))
        for before, after in zip(x[0].flatten(1).T.tolist(), y[0].flatten(1).T.tolist(), strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*before)
            expected = colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value)
            assert after == pytest.approx(expected, abs=1e-5)


def let_draw(monkeypatch, brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0):
    """Let A draw these values; returns the ranges that it asks for."""
    asked = []

    def uniform(shape, low, high, like, generator):
        asked.append((low, high))
        if len(shape) == 3:
            return torch.full(shape, hue)
        return torch.tensor([brightness, contrast, saturation]).view(3, 1, 1, 1, 1).expand(shape)

    monkeypatch.setattr(perturb, "uniform", uniform)
    return asked


def grey(*values):
    """A line of grey pixels."""
    return torch.tensor(values).view(1, 1, 1, -1).expand(1, 3, 1, -1)


def colour(*values):
    """One pixel."""
    return torch.tensor(values).view(1, 3, 1, 1)


LUMA = 0.299 * 0.6 + 0.587 * 0.4 + 0.114 * 0.2
HIGH, LOW = 0.299 + 0.9 * 0.701, 0.299 - 0.9 * 0.299  # pure red at a saturation of 0.9


@pytest.mark.parametrize(
    ("drawn", "x", "expected"),
    [
        ({}, colour(0.6, 0.4, 0.2), colour(0.6, 0.4, 0.2)),
        ({"brightness": 1.1}, grey(0.2, 0.5, 0.95), grey(0.22, 0.55, 1.0)),
        ({"brightness": 1.1, "contrast": 0.9}, grey(1.0, 0.5), grey(0.775 + 0.2025, 0.775 - 0.2025)),  # of 1 and 0.55
        (
            {"contrast": 1.1},
            torch.cat((grey(0.2, 0.6), grey(0.5, 0.9))),
            torch.cat((grey(0.18, 0.62), grey(0.48, 0.92))),
        ),
        ({"saturation": 0.9}, colour(0.6, 0.4, 0.2), colour(*(LUMA + 0.9 * (x - LUMA) for x in (0.6, 0.4, 0.2)))),
        ({"saturation": 1.1, "hue": 0.1}, grey(0.2, 0.7), grey(0.2, 0.7)),
        ({"saturation": 0.9, "hue": 0.1}, colour(1.0, 0.0, 0.0), colour(HIGH, LOW + 0.6 * (HIGH - LOW), LOW)),
    ],
    ids=["nothing", "brightness", "clipped first", "of each image", "of each pixel", "grey stays", "hue last"],
)
def test_a_by_hand(monkeypatch, drawn, x, expected):
    asked = let_draw(monkeypatch, **drawn)
    assert torch.allclose(augment(x), expected, atol=1e-5)
    assert asked == [(0.9, 1.1), (-0.1, 0.1)], "the ranges of the paper"


@pytest.mark.parametrize("change", [augment, lambda x, y=None: p_train(x[:, :1], "median", generator=y)])
def test_draws_are_for_each_image_and_from_the_generator_only_and_stay_in_range(change):
    x = noise(1, 3, 32, 32).expand(16, 3, 32, 32)
    before = torch.get_rng_state()
    y = change(x, seeded(1))
    assert torch.equal(y, change(x, seeded(1)))
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(y, change(x, seeded(2)))
    assert not torch.equal(change(x), change(x))
    assert len(y.flatten(1).unique(dim=0)) == 16
    for extreme in (torch.zeros_like(x), torch.ones_like(x), x):
        assert 0 <= change(extreme, seeded()).min() <= change(extreme, seeded()).max() <= 1
