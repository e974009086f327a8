"""The stream: a source encoded once, driver frames in batches, animated frames out; reading ahead; layouts."""

import warnings
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Literal, TypeVar, get_args

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from animask.devices import DTYPES
from animask.errors import AnimaskError
from animask.images import fit, to_images, to_tensor
from animask.model import Animator, Trace
from animask.perturb import Threshold

COLUMNS = ("source", "m_s", "driver", "m(d)", "perturbed", "refined", "coarse", "final")
# The tensors of a trace in the order in which they are computed, so that the first one that is bad is to blame.
TENSORS = ("source mask m_s", "driver mask m(d)", "perturbed mask", "refined mask", "coarse frame", "final frame")

Layout = Literal["result", "compare", "strip"]
LAYOUTS = get_args(Layout)
Item = TypeVar("Item")


def at_precision(model: Animator, precision: str) -> Animator:
    """The model with its weights cast once to "fp32", "bf16" or "fp16", channels-last; the model itself is changed."""
    return model.to(DTYPES[precision]).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def device_of(model: Animator) -> torch.device:
    """Where the model's weights are."""
    return next(model.parameters()).device


@torch.inference_mode()
def encode_source(model: Animator, image: np.ndarray) -> tuple[Tensor, Tensor]:
    """Of a picture, RGB uint8 (R, R, 3), what no driver changes: s (1, 3, R, R) and its mask m_s (1, 1, R/4, R/4)."""
    s = to_tensor(image, device_of(model))
    return s, model.m(s)  # eq. (1)


@torch.inference_mode()
def trace_frames(
    model: Animator,
    source: tuple[Tensor, Tensor],
    frames: list[np.ndarray],
    threshold: Threshold | None = None,
    scale: float | None = None,
) -> Trace:
    """The trace of driver frames, RGB uint8 (R, R, 3) each, of a source; FloatingPointError if it is not finite."""
    d = to_tensor(frames, device_of(model))
    trace = model.drive(*source, d, threshold=threshold, scale=scale)
    if not trace.f.sum().isfinite():  # what is not finite on the way is not in f either
        bad = next(name for name, x in zip(TENSORS, trace, strict=True) if not x.isfinite().all())
        raise FloatingPointError(f"the {bad} holds values that are not finite")
    return trace


def animate(
    model: Animator,
    source: np.ndarray,
    driver: Iterable[np.ndarray],
    *,
    batch: int = 8,
    layout: Layout = "result",
    threshold: Threshold | None = None,
    scale: float | None = None,
) -> Generator[np.ndarray, None, None]:
    """Animate a source picture with driver frames, one by one; memory does not grow with the driver's length.

    source: RGB uint8 (H, W, 3), driver: frames of the same kind; both become centred squares of the model's resolution
    R. Yields RGB uint8 (R, R, 3) frames, or wider ones, see `lay_out`. threshold (ρ), scale: of P_test, None for what
    the weights say. With a warning batches are halved where the GPU's memory does not suffice, and a model whose
    half-precision output is not finite goes on in float32. Raises AnimaskError if float32 is not finite either, or one
    frame is too much.
    """
    side = model.config.resolution
    picture = fit(source, side)
    encoded = encode_source(model, picture)
    frames = (fit(frame, side) for frame in driver)
    waiting: list[np.ndarray] = []
    while waiting := waiting or list(islice(frames, batch)):
        try:
            trace = trace_frames(model, encoded, waiting[:batch], threshold, scale)
        except FloatingPointError as error:
            if next(model.parameters()).dtype == torch.float32:
                raise AnimaskError(f"{error}: the weights are damaged or do not fit.") from error
            warnings.warn(f"{error} in reduced precision: going on in fp32", stacklevel=2)
            encoded = encode_source(at_precision(model, "fp32"), picture)
        except torch.OutOfMemoryError as error:
            batch = min(batch, len(waiting))
            if batch == 1:
                hint = "Close other programs that use the GPU, or use --device cpu."
                raise AnimaskError("The GPU has not enough memory for one frame.", hint) from error
            warnings.warn(f"the GPU has not enough memory for {batch} frames: going on with {batch // 2}", stacklevel=2)
            batch //= 2
        else:
            yield from lay_out(trace, picture, waiting[:batch], layout)
            waiting = waiting[batch:]


def prefetch(items: Generator[Item, None, None], room: int) -> Generator[Item, None, None]:
    """The items of a generator, made in a thread of its own, at most `room` of them before they are wanted.

    What the generator raises is raised here; closing this closes it, in its thread, after the item that it is at.
    """
    end: Any = object()
    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(next, items, end) for _ in range(room))
        try:
            while (item := waiting.popleft().result()) is not end:
                waiting.append(thread.submit(next, items, end))
                yield item
        finally:
            for future in waiting:
                future.cancel()
            thread.submit(items.close)


def lay_out(trace: Trace, source: np.ndarray, driver: list[np.ndarray], layout: Layout) -> Iterator[np.ndarray]:
    """The frames of a trace as they are shown, RGB uint8. source: (R, R, 3), driver: frames of the same size.

    "result": (R, R, 3); "compare": source, driver and result side by side; "strip": COLUMNS, with their names.
    """
    results = to_images(trace.f)
    if layout == "result":
        yield from results
    elif layout == "compare":
        for frame, result in zip(driver, results, strict=True):
            yield np.hstack([source, frame, result])
    else:
        drawn = (x.expand(len(results), -1, -1, -1) for x in (trace.m_s, trace.m_d, trace.m_dp, trace.m_dr, trace.c))
        m_s, m_d, m_dp, m_dr, c = (to_images(functional.interpolate(x, source.shape[:2])) for x in drawn)
        for i, frame in enumerate(driver):
            yield label(COLUMNS, [source, m_s[i], frame, m_d[i], m_dp[i], m_dr[i], c[i], results[i]])


def label(names: tuple[str, ...], images: list[np.ndarray]) -> np.ndarray:
    """Images of one size side by side under a line with their names."""
    side = images[0].shape[1]
    height = 2 * max(6, side // 24)
    line = np.full((height, side * len(images), 3), 255, np.uint8)
    for i, name in enumerate(names):
        place = (i * side + height // 4, height - height // 3)
        cv2.putText(line, name, place, cv2.FONT_HERSHEY_SIMPLEX, height / 40, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([line, np.hstack(images)])
