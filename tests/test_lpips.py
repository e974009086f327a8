"""LPIPS: the answers of the package lpips 0.1.4 with the same network, and what a loss needs."""

import pytest
import torch
from torch import Tensor

from animask.lpips import Lpips

RAMP = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
PAIRS = [  # lpips.LPIPS(net="alex", version="0.1") of that package says this of each
    (torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64), 0.81379),
    (RAMP, RAMP.transpose(2, 3), 0.51098),
]


@pytest.fixture(scope="module")
def lpips() -> Lpips:
    return Lpips()


@pytest.mark.parametrize("a, b, expected", PAIRS)
def test_it_answers_what_the_published_package_answers(lpips: Lpips, a: Tensor, b: Tensor, expected: float) -> None:
    assert lpips(a, b).item() == pytest.approx(expected, abs=2e-4)  # ours is kept in half precision


def test_half_precision_by_autocast_moves_it_by_less_than_a_hundredth(lpips: Lpips) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        value = lpips(RAMP, RAMP.transpose(2, 3))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(0.51098, rel=0.01)


def test_gradients_reach_the_picture_and_are_finite_on_black(lpips: Lpips) -> None:
    picture = torch.zeros(1, 3, 64, 64, requires_grad=True)
    lpips(picture, RAMP).sum().backward()
    assert picture.grad is not None and picture.grad.isfinite().all() and picture.grad.abs().max() > 0
    assert not list(lpips.parameters())  # nothing of its own to learn


def test_the_form_of_vgg_is_zero_for_equal_pictures_only() -> None:
    values = Lpips("vgg16")(torch.cat([RAMP, RAMP]), torch.cat([RAMP, RAMP.flip(3)]))
    assert values.shape == (2,)
    assert values[0] == 0 < values[1]
