"""`animate`: a source picture and driver frames to animated frames, streaming; and the same from files to a file."""

import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from animask.devices import DTYPES, pick_device, pick_precision
from animask.errors import AnimaskError, InputError
from animask.images import centre_square, crop_resize, read_image, to_images, to_tensor
from animask.model import Animator, Trace
from animask.video import VideoInfo, VideoWriter, clean_partials, probe, read_frames
from animask.weights import DEFAULT, find_weights, load_model, sha256

LAYOUTS = ("result", "compare", "strip")
COLUMNS = ("source", "m_s", "driver", "m(d)", "perturbed", "refined", "coarse", "final")

Layout = Literal["result", "compare", "strip"]


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
    """The trace of some driver frames, RGB uint8 (R, R, 3) each. Raises AnimaskError for values that are not finite."""
    trace = model.drive(source.s, source.m_s, to_tensor(frames, device_of(model)))
    if not torch.stack([trace.m_dr.sum(), trace.c.sum(), trace.f.sum()]).isfinite().all():
        names = ("refined mask", "coarse frame", "final frame")
        bad = [name for name, x in zip(names, (trace.m_dr, trace.c, trace.f), strict=True) if not x.isfinite().all()]
        raise FloatingPointError(f"the {bad[0]} holds values that are not finite")
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
) -> Iterator[np.ndarray]:
    """Animate a source picture with driver frames, one by one; memory does not grow with the driver's length.

    source: RGB uint8 (H, W, 3), driver: frames of the same kind; what is not a square of the model's resolution R
    is cropped about its centre and resized, never stretched. Yields RGB uint8 (R, R, 3) frames, or wider ones:
    layout "compare" is source, driver and result side by side, "strip" the columns of the paper's figure 3.
    A model whose half-precision output is not finite goes on in float32 with a warning; if float32 is not finite
    either, AnimaskError is raised.
    """
    side = model.config.resolution
    picture = fit(source, side)
    encoded = encode_source(model, picture)
    frames = (fit(frame, side) for frame in driver)
    while chunk := list(islice(frames, batch)):
        try:
            trace = trace_frames(model, encoded, chunk)
        except FloatingPointError as error:
            if next(model.parameters()).dtype == torch.float32:
                raise AnimaskError(f"{error}: the weights are damaged or do not fit") from error
            warnings.warn(f"{error} in reduced precision: going on in fp32", stacklevel=2)
            at_precision(model, "fp32")
            encoded = encode_source(model, picture)
            trace = trace_frames(model, encoded, chunk)
        yield from lay_out(trace, picture, chunk, layout)


def fit(image: np.ndarray, side: int) -> np.ndarray:
    """An image as a square of `side` pixels: as it is, or cropped about its centre and resized."""
    if image.shape[:2] == (side, side):
        return image
    return crop_resize(image, centre_square(*image.shape[:2]), side)


def lay_out(trace: Trace, source: np.ndarray, driver: list[np.ndarray], layout: Layout) -> Iterator[np.ndarray]:
    """The frames of a trace as they are shown, see `animate`."""
    results = to_images(trace.f)
    if layout == "result":
        yield from results
    elif layout == "compare":
        for frame, result in zip(driver, results, strict=True):
            yield np.hstack([source, frame, result])
    else:
        masks = [to_images(x.expand(len(results), -1, -1, -1)) for x in (trace.m_s, trace.m_d, trace.m_dp, trace.m_dr)]
        coarse = to_images(trace.c)
        for i, frame in enumerate(driver):
            m_s, m_d, m_dp, m_dr = (enlarge(mask[i], len(source)) for mask in masks)
            yield label(COLUMNS, [source, m_s, frame, m_d, m_dp, m_dr, coarse[i], results[i]])


def enlarge(mask: np.ndarray, side: int) -> np.ndarray:
    """A mask image at the size of a frame, its pixels visible."""
    return cv2.resize(mask, (side, side), interpolation=cv2.INTER_NEAREST)


def label(names: tuple[str, ...], images: list[np.ndarray]) -> np.ndarray:
    """Images of one size side by side under a line with their names."""
    side = images[0].shape[1]
    height = 2 * max(6, side // 24)
    line = np.full((height, side * len(images), 3), 255, np.uint8)
    size = height / 40
    for i, name in enumerate(names):
        place = (i * side + height // 4, height - height // 3)
        cv2.putText(line, name, place, cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([line, np.hstack(images)])


@dataclass(frozen=True)
class Settings:
    """How files are animated; the flags of `animask animate`.

    threshold, scale: of P_test, None for what the weights say. batch: driver frames at a time.
    """

    weights: str = DEFAULT
    device: str = "auto"
    precision: str = "auto"
    batch: int = 8
    threshold: float | Literal["median"] | None = None
    scale: float | None = None
    audio: bool = True
    layout: Layout = "result"
    overwrite: bool = False


@dataclass(frozen=True)
class Report:
    """What was made, of what and how: the fields of `--json`. fps is a fraction such as "30000/1001"."""

    source: str
    driver: str
    output: str
    frames: int
    fps: str
    width: int
    height: int
    audio: bool
    device: str
    precision: str
    seconds: float
    weights: str
    weights_sha256: str
    threshold: float | str
    scale: float
    warnings: list[str]


def open_model(settings: Settings) -> tuple[Animator, str, str]:
    """The model that the settings name, on its device and in its precision; and the names of both."""
    device = pick_device(settings.device).name
    precision = pick_precision(settings.precision, device).name
    model = load_model(settings.weights, device)
    changes: dict[str, Any] = {"threshold": settings.threshold, "scale": settings.scale}
    model.config = replace(model.config, **{key: value for key, value in changes.items() if value is not None})
    return at_precision(model, precision), device, precision


def check_output(output: Path, inputs: tuple[Path, ...], overwrite: bool) -> None:
    """Raise InputError if the output exists (and may not be replaced) or is one of the inputs."""
    for path in inputs:
        if output.exists() and path.exists() and output.samefile(path):
            raise InputError(f"{output} is an input", "choose another name for the output")
    if output.exists() and not overwrite and not (output.is_dir() and not any(output.iterdir())):
        raise InputError(f"{output} exists already", "choose another name, or replace it with --overwrite")


def animate_file(
    source: Path,
    driver: Path,
    output: Path,
    settings: Settings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Animate the picture in one file with the video in another; the result is at `output` only when it is whole.

    progress(done, total) is called after every frame. Raises InputError for files that cannot be read or an output
    that exists, MissingError for weights that are not there, AnimaskError for what fails on the way.
    """
    settings = settings or Settings()
    started = time.monotonic()
    check_output(output, (source, driver), settings.overwrite)
    picture = read_image(source)
    info = probe(driver)
    model, device, precision = open_model(settings)
    config = model.config
    clean_partials(output.parent)
    frames = animate(
        model,
        fit(picture, config.resolution),
        read_frames(info, size=config.resolution),
        batch=settings.batch,
        layout=settings.layout,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        count, width, height = write_frames(frames, info, output, settings.audio, progress)
    path = find_weights(settings.weights)
    return Report(
        source=str(source),
        driver=str(driver),
        output=str(output),
        frames=count,
        fps=str(info.fps),
        width=width,
        height=height,
        audio=settings.audio and info.has_audio,
        device=device,
        precision=precision,
        seconds=round(time.monotonic() - started, 3),
        weights=str(settings.weights),
        weights_sha256=sha256(path),
        threshold=config.threshold,
        scale=config.scale,
        warnings=[str(warning.message) for warning in caught],
    )


def write_frames(
    frames: Iterator[np.ndarray],
    info: VideoInfo,
    output: Path,
    audio: bool,
    progress: Callable[[int, int], None] | None,
) -> tuple[int, int, int]:
    """Write a stream of frames at the driver's rate and with its sound; returns count, width and height."""
    first = next(frames, None)
    if first is None:
        raise InputError(f"{info.path} has no frames")
    height, width = first.shape[:2]
    sound = info.path if audio and info.has_audio else None
    with VideoWriter(output, Fraction(info.fps), (width, height), audio=sound) as writer:
        writer.write(first)
        for frame in frames:
            if progress:
                progress(writer.frames, info.frames)
            writer.write(frame)
        if progress:
            progress(writer.frames, info.frames)
    return writer.frames, width, height
