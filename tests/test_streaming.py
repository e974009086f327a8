"""The stream: the equations applied, batches, fall-backs, reading ahead, layouts."""

import threading
from collections.abc import Generator, Iterator
from copy import deepcopy
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from training_cases import SIDE

from animask.errors import AnimaskError
from animask.images import to_images, to_tensor
from animask.model import Animator
from animask.streaming import COLUMNS, Layout, animate, at_precision, prefetch


def noise(count: int, height: int = SIDE, width: int = SIDE) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8))


@pytest.mark.parametrize("how", [{}, {"threshold": 0.3, "scale": 0.5}])
def test_frames_are_the_equations_applied_one_by_one(tiny_model: Animator, how: dict[str, Any]) -> None:
    source, *frames = noise(4)
    results = list(animate(tiny_model, source, frames, batch=2, **how))
    for frame, result in zip(frames, results, strict=True):
        s, d = to_tensor(source, "cpu"), to_tensor(frame, "cpu")
        trace = tiny_model.drive(s, tiny_model.m(s), d, **how)
        assert np.abs(result.astype(int) - to_images(trace.f)[0]).max() <= 1


def test_long_drivers_do_not_fill_the_memory(tiny_model: Animator) -> None:
    """No more than one batch is held, however long the driver is."""
    read = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal read
        while True:
            read += 1
            yield np.zeros((SIDE, SIDE, 3), np.uint8)

    stream = animate(tiny_model, np.zeros((SIDE, SIDE, 3), np.uint8), endless(), batch=3)
    for _ in range(7):
        next(stream)
    assert read == 9


@pytest.mark.parametrize(("layout", "columns"), [("result", 1), ("compare", 3), ("strip", 8)])
def test_layouts(tiny_model: Animator, layout: Layout, columns: int) -> None:
    source, driver = noise(2)
    (frame,) = animate(tiny_model, source, [driver], layout=layout)
    assert frame.shape[1] == columns * SIDE
    picture = frame[-SIDE:]  # below the names
    if layout != "result":
        at = {"compare": 1, "strip": COLUMNS.index("driver")}[layout]
        assert np.array_equal(picture[:, :SIDE], source)
        assert np.array_equal(picture[:, at * SIDE : (at + 1) * SIDE], driver)
        (result,) = animate(tiny_model, source, [driver])
        assert np.array_equal(picture[:, -SIDE:], result)


def test_wide_pictures_are_cropped_not_stretched(tiny_model: Animator) -> None:
    wide = np.zeros((SIDE, 3 * SIDE, 3), np.uint8)
    wide[:, SIDE : 2 * SIDE] = noise(1)[0]
    (frame,) = animate(tiny_model, wide, [wide], layout="compare")
    assert np.array_equal(frame[:, :SIDE], wide[:, SIDE : 2 * SIDE])


# what goes wrong on the way


def broken(model: Animator) -> Animator:
    """The model with an output that is not finite below float32."""
    copy = deepcopy(model)
    copy.h.head.register_forward_hook(lambda module, inputs, x: x * torch.nan if x.dtype != torch.float32 else x)
    return copy


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_that_is_not_finite_goes_on_in_fp32(tiny_model: Animator, precision: str) -> None:
    source, *frames = noise(3)
    rounded = at_precision(at_precision(deepcopy(tiny_model), precision), "fp32")
    with pytest.warns(UserWarning, match="fp32"):
        results = list(animate(at_precision(broken(tiny_model), precision), source, frames, batch=1))
    assert np.array_equal(results, list(animate(rounded, source, frames, batch=1)))


def test_weights_that_give_no_numbers_are_an_error(tiny_model: Animator) -> None:
    model = deepcopy(tiny_model)
    model.l.head.bias.data.fill_(torch.nan)
    with pytest.raises(AnimaskError, match="coarse frame"):
        list(animate(model, *noise(1), noise(1)))


def scarce(model: Animator, limit: int) -> Animator:
    """The model on a device with memory for `limit` frames at a time."""
    copy = deepcopy(model)

    def check(module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        if len(inputs[0]) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    copy.h.register_forward_pre_hook(check)
    return copy


def test_out_of_memory_halves_the_batch_and_says_so(tiny_model: Animator) -> None:
    source, *frames = noise(12)
    expected = list(animate(tiny_model, source, frames, batch=1))
    with pytest.warns(UserWarning, match="memory") as caught:
        results = list(animate(scarce(tiny_model, 2), source, frames, batch=8))
    assert len(caught) == 2, "8 to 4, and 4 to 2"
    assert np.abs(np.stack(results).astype(int) - np.stack(expected)).max() <= 1
    with pytest.raises(AnimaskError, match="one frame"):
        list(animate(scarce(tiny_model, 0), source, frames, batch=1))


# reading ahead


@pytest.mark.parametrize("room", [1, 100])
def test_items_come_in_order_from_another_thread_and_errors_after_them(room: int) -> None:
    threads = set()

    def torn() -> Generator[int, None, None]:
        for number in range(20):
            threads.add(threading.current_thread())
            yield number
        raise ValueError("torn")

    items = prefetch(torn(), room)
    assert [next(items) for _ in range(20)] == list(range(20))
    with pytest.raises(ValueError, match="torn"):
        next(items)
    (thread,) = threads
    assert thread is not threading.current_thread() and not thread.is_alive()


def test_no_more_is_made_than_there_is_room_for_and_closing_ends_it() -> None:
    made, closed = [], threading.Event()

    def endless() -> Generator[int, None, None]:
        try:
            for number in count():
                made.append(number)
                yield number
        finally:
            closed.set()

    items = prefetch((2 * item for item in prefetch(endless(), 2)), 3)
    assert [next(items) for _ in range(3)] == [0, 2, 4]
    closed.wait(0.2)
    assert len(made) <= 3 + 3 + 1 + 2 + 1
    items.close()
    assert closed.wait(5)
