"""P_test, P_train and A against answers worked out by hand."""

import colorsys

import pytest
import torch

from animask import perturb
from animask.perturb import augment, cut_below, hue_shift, p_test, p_train, resampling, strips


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape):
    return torch.rand(shape, generator=seeded())


def box(low, high, size=64):
    """A mask with a bright square from pixel `low` to before pixel `high`."""
    mask = torch.zeros(1, 1, size, size)
    mask[..., low:high, low:high] = 1
    return mask


# P_test


def test_exactly_half_of_a_ramp_survives_the_median():
    ramp = torch.arange(64.0 * 64).view(1, 1, 64, 64) / (64 * 64)
    cut = cut_below(ramp, "median")
    assert cut.count_nonzero() == 64 * 64 / 2
    assert torch.equal(cut[:, :, 32:], ramp[:, :, 32:])  # the upper half, as it was
    assert cut[:, :, :32].eq(0).all()


def test_half_of_an_odd_number_of_pixels_and_its_middle_survive_the_median():
    assert cut_below(torch.arange(1.0, 10).view(1, 1, 3, 3), "median").count_nonzero() == 5


def test_number_as_threshold_keeps_what_is_equal():
    mask = torch.tensor([0.1, 0.25, 0.5, 0.9]).view(1, 1, 2, 2)
    assert torch.equal(cut_below(mask, 0.25).flatten(), torch.tensor([0, 0.25, 0.5, 0.9]))
    assert torch.equal(cut_below(mask, 0.0), mask)
    assert cut_below(mask, 1.0).eq(0).all()


def test_each_image_has_its_own_median():
    ramp = torch.arange(16.0).view(1, 1, 4, 4) / 32
    both = cut_below(torch.cat((ramp, ramp + 0.5)), "median")
    assert both.flatten(1).count_nonzero(dim=1).tolist() == [8, 8]


def test_a_48_pixel_box_shrinks_to_36_about_the_centre():
    assert torch.allclose(p_test(box(8, 56), "median", 0.75), box(14, 50), atol=1e-5)


def test_the_shrunk_mask_stays_about_the_centre():
    """Centre of gravity 2 pixels right of the centre becomes 1.5 pixels right of it."""
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 24:40, 26:42] = 1
    columns = p_test(mask, 0.5, 0.75)[0, 0].sum(0)
    at = (torch.arange(64.0) + 0.5 - 32) * columns
    assert at.sum() / columns.sum() == pytest.approx(1.5, abs=1e-4)
    assert columns.sum() == pytest.approx(16 * 16 * 0.75**2, rel=0.02)


def test_outside_of_the_shrunk_mask_is_zero():
    shrunk = p_test(torch.ones(1, 1, 64, 64), "median", 0.75)
    assert torch.allclose(shrunk, box(8, 56), atol=1e-5)


def test_scale_above_one_enlarges():
    assert torch.equal(p_test(box(24, 40), 0.5, 2.0)[..., 18:46, 18:46], torch.ones(1, 1, 28, 28))


def test_scale_one_and_threshold_zero_are_the_identity():
    mask = noise(3, 1, 16, 16)
    assert torch.equal(p_test(mask, 0.0, 1.0), mask)
    assert torch.equal(p_test(mask, "median", 1.0), cut_below(mask, "median"))


def test_the_cut_comes_before_the_shrinking():
    """Interpolation makes values below the threshold at the border of the box, and they stay."""
    shrunk = p_test(box(9, 55), 0.9, 0.75)
    assert shrunk[(shrunk > 0) & (shrunk < 0.9)].numel() > 0


@pytest.mark.parametrize("threshold", ["median", 0.4])
def test_p_test_of_a_batch_is_that_of_each_image(threshold):
    masks = noise(4, 1, 16, 16) * torch.linspace(0.25, 1, 4).view(-1, 1, 1, 1)
    alone = torch.cat([p_test(mask[None], threshold, 0.75) for mask in masks])
    assert torch.equal(p_test(masks, threshold, 0.75), alone)


@pytest.mark.parametrize("size", [16, 24, 32, 96])
def test_p_test_at_other_sizes(size):
    edge = size // 8
    shrunk = p_test(torch.ones(2, 1, size, size), "median", 0.75)
    assert torch.allclose(shrunk[1:], box(edge, size - edge, size), atol=1e-5)


# P_train: strips


def one_part(size):
    return torch.zeros(1, size, dtype=torch.long)


def test_stretch_of_a_line_by_hand():
    line = torch.arange(4.0)
    wide = resampling(4, one_part(4), torch.tensor([[2.0]]))
    assert torch.allclose(wide @ line, torch.tensor([0.75, 1.25, 1.75, 2.25]))
    narrow = resampling(4, one_part(4), torch.tensor([[0.5]]))  # takes from -1.5, 0.5, 2.5 and 4.5
    assert torch.allclose(narrow @ line, torch.tensor([0, 0.5, 2.5, 0]))


def test_a_narrowed_strip_keeps_its_width_and_is_filled_with_zeros():
    matrix = resampling(12, one_part(12), torch.tensor([[0.75]]))
    expected = torch.tensor([0, 0.5, 1, 1, 1, 1, 1, 1, 1, 1, 0.5, 0])  # 9 of 12, about the centre
    assert torch.allclose(matrix @ torch.ones(12), expected, atol=1e-5)


def test_a_narrowed_strip_takes_nothing_from_its_neighbours():
    part = torch.tensor([[0] * 4 + [1] * 6 + [2] * 4])
    matrix = resampling(14, part, torch.tensor([[1.0, 0.75, 1.0]]))
    neighbours = torch.ones(14)
    neighbours[4:10] = 0
    assert torch.allclose(matrix @ neighbours, neighbours, atol=1e-5)


def test_a_widened_strip_keeps_its_width():
    part = torch.tensor([[0] * 4 + [1] * 6 + [2] * 4])
    matrix = resampling(14, part, torch.tensor([[1.0, 1.25, 1.0]]))
    strip = torch.zeros(14)
    strip[4:10] = 1
    assert torch.allclose(matrix @ strip, strip, atol=1e-5)


def test_a_strip_with_factor_one_is_unchanged_whatever_its_neighbours_do():
    part = torch.tensor([[0] * 4 + [1] * 6 + [2] * 4])
    matrix = resampling(14, part, torch.tensor([[0.75, 1.0, 1.25]]))
    line = noise(14)
    assert torch.allclose((matrix @ line)[0, 4:10], line[4:10])
    assert not torch.allclose((matrix @ line)[0, :4], line[:4])
    assert not torch.allclose((matrix @ line)[0, 10:], line[10:])


def drawn_strips(monkeypatch, like, cuts):
    """The parts and factors that `strips` draws."""
    seen = []
    monkeypatch.setattr(perturb, "resampling", lambda size, part, factor: seen.append((part, factor)))
    strips(like, cuts, seeded())
    return seen[0]


@pytest.mark.parametrize(("cuts", "low", "high"), [((0.0, 1.0), 1, 63), ((15 / 64, 45 / 64), 15, 45)])
def test_six_strips_whose_borders_respect_their_range(monkeypatch, cuts, low, high):
    part, _ = drawn_strips(monkeypatch, torch.zeros(500, 1, 64, 64), cuts)
    steps = part.diff(dim=1)
    assert part[:, 0].eq(0).all()
    assert part[:, -1].eq(5).all()
    assert set(steps.unique().tolist()) == {0, 1}  # so every part is at least a column wide
    borders = steps.nonzero()[:, 1] + 1  # the first column of each part but the first
    assert (borders.min(), borders.max()) == (low, high)


def test_strips_are_drawn_for_each_image_from_the_whole_range(monkeypatch):
    part, factor = drawn_strips(monkeypatch, torch.zeros(500, 1, 64, 64), (0.0, 1.0))
    assert len(part.unique(dim=0)) > 490
    assert factor.shape == (500, 6)
    assert len(factor.unique()) > 2900
    assert 0.75 <= factor.min() < 0.76
    assert 1.24 < factor.max() <= 1.25
    assert factor.mean() == pytest.approx(1, abs=0.01)


def test_fewer_strips_where_the_range_is_narrow(monkeypatch):
    part, _ = drawn_strips(monkeypatch, torch.zeros(2, 1, 64, 64), (31 / 64, 33 / 64))
    assert part.tolist() == [[0] * 31 + [1] + [2] + [3] * 31] * 2


def test_strips_in_x_and_the_whole_in_y_then_the_same_turned(monkeypatch):
    matrices = {name: list(noise(2, 3, 5, 5)) for name in ("strips", "stretch")}
    matrices["stretch"] = [matrix + 1 for matrix in matrices["stretch"]]
    left = {name: list(kept) for name, kept in matrices.items()}
    monkeypatch.setattr(perturb, "strips", lambda *_: left["strips"].pop(0))
    monkeypatch.setattr(perturb, "stretch", lambda *_: left["stretch"].pop(0))
    monkeypatch.setattr(perturb, "POISSON", 0.0)
    mask = noise(3, 1, 5, 5) / 1000
    once = torch.einsum("byi,bij,bxj->byx", matrices["stretch"][0], mask[:, 0], matrices["strips"][0])
    twice = torch.einsum("byi,bij,bxj->byx", matrices["strips"][1], once, matrices["stretch"][1])
    assert twice.max() < 1
    assert torch.allclose(p_train(mask, 0.0)[:, 0], twice, rtol=1e-4)


def test_strips_and_stretches_move_a_grid(monkeypatch):
    """Without noise: the rows stay straight and the columns too, for each is moved as a whole."""
    monkeypatch.setattr(perturb, "POISSON", 0.0)
    rows, columns = noise(64, 1), noise(1, 64)
    product = p_train((rows * columns).expand(1, 1, 64, 64), 0.0, generator=seeded())[0, 0]
    assert not torch.allclose(product, rows * columns, atol=0.1)
    assert torch.linalg.matrix_rank(product, rtol=1e-4) == 1


# P_train: cut and noise


def test_noise_on_zeros_is_poisson_with_mean_20_of_255():
    y = p_train(torch.zeros(16, 1, 64, 64), "median", generator=seeded()) * 255
    assert y.mean() == pytest.approx(20, rel=0.01)
    assert y.var() == pytest.approx(20, rel=0.03)
    assert torch.allclose(y, y.round(), atol=1e-3)


def test_cut_comes_before_the_noise(monkeypatch):
    monkeypatch.setattr(perturb, "STRETCH", 0.0)
    mask = torch.full((1, 1, 64, 64), 0.4)
    mask[..., 32:] = 0.6
    y = p_train(mask, 0.5, generator=seeded())
    assert y[..., :32].mean() == pytest.approx(20 / 255, rel=0.03)
    assert y[..., 32:].mean() == pytest.approx(0.6 + 20 / 255, rel=0.01)


def test_cut_comes_after_the_stretches(monkeypatch):
    """The narrowed border of a bright mask lies between 0 and 1; what stays of it is above the threshold."""
    monkeypatch.setattr(perturb, "POISSON", 0.0)
    y = p_train(torch.ones(16, 1, 64, 64), 0.5, generator=seeded())
    assert y[(y > 0) & (y < 0.5)].numel() == 0
    assert y[(y >= 0.5) & (y < 0.99)].numel() > 0


def test_the_median_of_p_train_is_that_of_the_stretched_mask(monkeypatch):
    monkeypatch.setattr(perturb, "STRETCH", 0.0)
    monkeypatch.setattr(perturb, "POISSON", 0.0)
    mask = noise(3, 1, 16, 16)
    assert torch.allclose(p_train(mask, "median"), cut_below(mask, "median"), atol=1e-6)


def test_p_train_stays_in_range():
    for mask in (torch.ones(2, 1, 64, 64), noise(2, 1, 64, 64), torch.zeros(2, 1, 64, 64)):
        y = p_train(mask, "median", generator=seeded())
        assert y.shape == mask.shape
        assert y.min() >= 0
        assert y.max() <= 1
    assert p_train(torch.ones(2, 1, 64, 64), 0.0, generator=seeded()).max() == 1


def test_p_train_is_reproducible_with_a_generator_only():
    mask = noise(2, 1, 32, 32)
    before = torch.get_rng_state()
    y = p_train(mask, "median", generator=seeded(1))
    assert torch.equal(y, p_train(mask, "median", generator=seeded(1)))
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(y, p_train(mask, "median", generator=seeded(2)))
    assert not torch.equal(p_train(mask, "median"), p_train(mask, "median"))


def test_p_train_draws_for_each_image(monkeypatch):
    monkeypatch.setattr(perturb, "POISSON", 0.0)
    y = p_train(noise(1, 1, 32, 32).expand(3, 1, 32, 32), "median", generator=seeded())
    assert not torch.allclose(y[0], y[1], atol=0.1)
    assert not torch.allclose(y[1], y[2], atol=0.1)


def test_p_train_computes_in_float32_under_autocast():
    mask = noise(2, 1, 32, 32)
    exact = p_train(mask, "median", generator=seeded())
    with torch.autocast("cpu", torch.bfloat16):
        y = p_train(mask, "median", generator=seeded())
    assert torch.equal(y, exact)
    assert p_train(mask.bfloat16(), "median").dtype == torch.float32


# A

RED, GREEN, BLUE = (torch.tensor(x, dtype=torch.float32).view(1, 3, 1, 1) for x in torch.eye(3).tolist())
CYAN = 1 - RED


def turned(x, shift):
    return hue_shift(x, torch.full((len(x), 1, 1), shift))


@pytest.mark.parametrize(
    ("colour", "shift", "expected"),
    [
        (RED, 1 / 3, GREEN),
        (RED, -1 / 3, BLUE),
        (GREEN, 1 / 3, BLUE),
        (BLUE, 1 / 3, RED),
        (RED, 1 / 2, CYAN),
        (RED, 1 / 6, RED + GREEN),
    ],
)
def test_hue_turns(colour, shift, expected):
    assert torch.allclose(turned(colour, shift), expected, atol=1e-6)


def test_no_turn_and_a_full_turn_change_nothing():
    x = noise(2, 3, 16, 16)
    assert torch.allclose(turned(x, 0.0), x, atol=1e-5)
    assert torch.allclose(turned(x, 1.0), x, atol=1e-5)
    assert not torch.allclose(turned(x, 0.1), x, atol=0.1)


def test_hue_turns_as_in_the_standard_library():
    x = noise(1, 3, 8, 8)
    for shift in (-0.1, -0.03, 0.07, 0.1, 0.45):
        y = turned(x, shift)
        for before, after in zip(x[0].flatten(1).T.tolist(), y[0].flatten(1).T.tolist(), strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*before)
            expected = colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value)
            assert after == pytest.approx(expected, abs=1e-5)


def with_draws(monkeypatch, brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0):
    """Let A draw these values; returns the ranges that it asked for."""
    asked = []

    def uniform(shape, low, high, like, generator):
        asked.append((low, high))
        if len(shape) == 3:
            return torch.full(shape, hue)
        values = torch.tensor([brightness, contrast, saturation]).view(3, 1, 1, 1, 1)
        return values.expand(shape)

    monkeypatch.setattr(perturb, "uniform", uniform)
    return asked


def test_a_without_strength_is_the_identity(monkeypatch):
    monkeypatch.setattr(perturb, "COLOUR", 0.0)
    x = noise(3, 3, 16, 16)
    assert torch.allclose(augment(x), x, atol=1e-5)


def test_a_draws_from_the_ranges_of_the_paper(monkeypatch):
    asked = with_draws(monkeypatch)
    augment(noise(1, 3, 4, 4))
    assert asked == [(0.9, 1.1), (-0.1, 0.1)]


def test_brightness_is_a_factor_and_clipped(monkeypatch):
    with_draws(monkeypatch, brightness=1.1)
    x = torch.tensor([0.2, 0.5, 0.95]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    assert torch.allclose(augment(x)[0, 0, 0], torch.tensor([0.22, 0.55, 1.0]))


def test_brightness_is_clipped_before_the_contrast(monkeypatch):
    with_draws(monkeypatch, brightness=1.1, contrast=0.9)
    x = torch.tensor([1.0, 0.5]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    expected = torch.tensor([0.775 + 0.9 * 0.225, 0.775 - 0.9 * 0.225])  # of 1 and 0.55, mean 0.775
    assert torch.allclose(augment(x)[0, 0, 0], expected)


def test_contrast_is_about_the_mean_grey_of_each_image(monkeypatch):
    with_draws(monkeypatch, contrast=1.1)
    x = torch.tensor([[0.2, 0.6], [0.5, 0.9]]).view(2, 1, 1, 2).expand(2, 3, 1, 2)
    expected = torch.tensor([[0.18, 0.62], [0.48, 0.92]])
    assert torch.allclose(augment(x)[:, 1, 0], expected)


def test_saturation_is_about_the_grey_of_each_pixel(monkeypatch):
    with_draws(monkeypatch, saturation=0.9)
    x = torch.tensor([0.6, 0.4, 0.2]).view(1, 3, 1, 1)
    grey = 0.299 * 0.6 + 0.587 * 0.4 + 0.114 * 0.2
    expected = torch.tensor([grey + 0.9 * (value - grey) for value in (0.6, 0.4, 0.2)]).view(1, 3, 1, 1)
    assert torch.allclose(augment(x), expected, atol=1e-6)


def test_grey_stays_grey(monkeypatch):
    with_draws(monkeypatch, saturation=1.1, hue=0.1)
    x = noise(2, 1, 8, 8).expand(2, 3, 8, 8)
    assert torch.allclose(augment(x), x, atol=1e-5)


def test_hue_comes_last(monkeypatch):
    """Saturation of pure red first (to 1, 0, 0 clipped of itself), then a turn by a tenth."""
    with_draws(monkeypatch, saturation=0.9, hue=0.1)
    grey = 0.299
    high, low = grey + 0.9 * (1 - grey), grey - 0.9 * grey
    expected = torch.tensor([high, low + 0.6 * (high - low), low]).view(1, 3, 1, 1)
    assert torch.allclose(augment(RED), expected, atol=1e-5)


def test_a_stays_in_range_and_draws_for_each_image():
    x = noise(1, 3, 8, 8).expand(64, 3, 8, 8)
    y = augment(x, seeded())
    assert y.shape == x.shape
    assert y.min() >= 0
    assert y.max() <= 1
    assert len(y.flatten(1).unique(dim=0)) == 64


def test_brightness_of_many_images_fills_its_range():
    grey = augment(torch.full((500, 3, 2, 2), 0.5), seeded())[:, 0, 0, 0] / 0.5
    assert 0.9 <= grey.min() < 0.905
    assert 1.095 < grey.max() <= 1.1 + 1e-6


def test_a_is_reproducible_with_a_generator_only():
    x = noise(2, 3, 8, 8)
    before = torch.get_rng_state()
    y = augment(x, seeded(1))
    assert torch.equal(y, augment(x, seeded(1)))
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(y, augment(x, seeded(2)))
    assert not torch.equal(augment(x), augment(x))
