"""The stream: a source encoded once, driver frames in batches, animated frames out."""

import warnings
from collections.abc import Callable, Generator, Iterable
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from animask.animation.layouts import Layout, lay_out
from animask.devices import DTYPES
from animask.errors import AnimaskError
from animask.images import centre_square, crop_resize, to_tensor
from animask.model import Animator, Trace

# The tensors of a trace in the order in which they are computed, so that the first one that is bad is to blame.
TENSORS = ("source mask m_s", "driver mask m(d)", "perturbed mask", "refined mask", "coarse frame", "final frame")


class Source(NamedTuple):
    """A source picture as the networks see it: s (1, 3, R, R) and its mask m_s (1, 1, R/4, R/4)."""

    s: Tensor
    m_s: Tensor


def at_precision(model: Animator, precision: str) -> Animator:
    """The model with its weights cast once to "fp32", "bf16" or "fp16", channels-last; the model itself is changed."""
    return model.to(DTYPES[precision]).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@torch.inference_mode()
def encode_source(model: Animator, image: np.ndarray) -> Source:
    """Everything about the source that does not depend on the driver. image: RGB uint8 (R, R, 3)."""
    s = to_tensor(image, device_of(model))
    return Source(s, model.m(s))  # eq. (1)


@torch.inference_mode()
def trace_frames(model: Animator, source: Source, frames: list[np.ndarray]) -> Trace:
    """The trace of some driver frames, RGB uint8 (R, R, 3) each. Raises FloatingPointError if it is not finite."""
    trace = model.drive(source.s, source.m_s, to_tensor(frames, device_of(model)))
    if not torch.stack([x.sum() for x in trace]).isfinite().all():
        bad = next(name for name, x in zip(TENSORS, trace, strict=True) if not x.isfinite().all())
        raise FloatingPointError(f"the {bad} holds values that are not finite")
    return trace


def device_of(model: Animator) -> torch.device:
    """Where the model's weights are."""
    return next(model.parameters()).device


def animate(
    model: Animator,
    source: np.ndarray,
    driver: Iterable[np.ndarray],
    *,
    batch: int = 8,
    layout: Layout = "result",
    exact: Callable[[], Animator] | None = None,
) -> Generator[np.ndarray, None, None]:
    """Animate a source picture with driver frames, one by one; memory does not grow with the driver's length.

    source: RGB uint8 (H, W, 3), driver: frames of the same kind; what is not a square of the model's resolution R
    is cropped about its centre and resized, never stretched. Yields RGB uint8 (R, R, 3) frames, or wider ones, see
    `lay_out`. Where the GPU's memory does not suffice for a batch, batches are halved, with a warning. A model
    whose half-precision output is not finite goes on in float32 with a warning: as what `exact` gives, which should
    have the weights before they were rounded, or else with the rounded ones. AnimaskError is raised if float32 is not
    finite either, or one frame is too much.
    """
    side = model.config.resolution
    picture = fit(source, side)
    encoded = encode_source(model, picture)
    frames = (fit(frame, side) for frame in driver)
    waiting: list[np.ndarray] = []
    while waiting := waiting or list(islice(frames, batch)):
        try:
            trace = trace_frames(model, encoded, waiting[:batch])
        except FloatingPointError as error:
            model = widen(model, error, exact)
            encoded = encode_source(model, picture)
        except torch.OutOfMemoryError as error:
            batch = halve(min(batch, len(waiting)), error)
        else:
            yield from lay_out(trace, picture, waiting[:batch], layout)
            waiting = waiting[batch:]


def widen(model: Animator, error: FloatingPointError, exact: Callable[[], Animator] | None) -> Animator:
    """The model in float32 in place of one in reduced precision; warns. AnimaskError if it is in float32 already."""
    if next(model.parameters()).dtype == torch.float32:
        raise AnimaskError(f"{error}: the weights are damaged or do not fit") from error
    warnings.warn(f"{error} in reduced precision: going on in fp32", stacklevel=3)
    return exact() if exact else at_precision(model, "fp32")


def halve(batch: int, error: torch.OutOfMemoryError) -> int:
    """The next smaller batch, with a warning; AnimaskError if there is none."""
    if batch == 1:
        hint = "close other programs that use the GPU, or use --device cpu"
        raise AnimaskError("the GPU has not enough memory for one frame", hint) from error
    warnings.warn(f"the GPU has not enough memory for {batch} frames: going on with {batch // 2}", stacklevel=3)
    return batch // 2


def fit(image: np.ndarray, side: int) -> np.ndarray:
    """An image as a square of `side` pixels: as it is, or cropped about its centre and resized."""
    if image.shape[:2] == (side, side):
        return image
    return crop_resize(image, centre_square(*image.shape[:2]), side)
