"""Frames of a video as a stream of RGB images on an exact grid of time."""

import subprocess
from collections.abc import Generator
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np

from animask.errors import AnimaskError, InputError
from animask.images import composite, crop_resize, read_image
from animask.video.ffmpeg import Child, file_input
from animask.video.probing import DISPLAY, VideoInfo, list_pictures, probe, same_clock

SEEK_MARGIN = 1.0  # seconds decoded before the start, so that the frame shown at the start is known
# eval=frame: the picture may change its size on the way
_ACCURATE = "eval=frame:flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
_TONE_MAP = "zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt709,tonemap=mobius,zscale=t=bt709:m=bt709:r=tv"


def read_frames(
    path: Path | VideoInfo,
    *,
    fps: Fraction | None = None,
    start: float = 0.0,
    end: float | None = None,
    crop: tuple[int, int, int] | None = None,
    size: int | None = None,
    background: tuple[int, int, int] = (255, 255, 255),
) -> Generator[np.ndarray, None, None]:
    """Frames of a video, GIF or folder of pictures, one by one: RGB uint8 (H, W, 3), upright, square pixels.

    path: a file, a folder, or what `probe` said of it. fps: the rate to resample to by time stamps (default:
    its own; for a folder, the rate that its pictures have). start, end: seconds. crop: a square x, y, size in
    displayed pixels, which may reach beyond the picture; size: pixels of the result (with no crop: of the
    centred square). Raises InputError for bad input at once, and AnimaskError where decoding breaks off
    later.
    """
    info = path if isinstance(path, VideoInfo) else probe(path)
    rate = info.fps if fps is None else Fraction(fps)
    if rate <= 0:
        raise InputError(f"A frame rate must be above 0, not {rate}.")
    duration = info.frames / rate if info.is_folder else Fraction(info.duration)
    first, stop = _frame_range(info, rate, duration, start, end)
    frames = _read_pictures(info, first, stop) if info.is_folder else _decode(info, rate, first, stop, background)
    if crop is None and size is not None:
        side = min(info.width, info.height)
        crop = (info.width - side) // 2, (info.height - side) // 2, side
    if crop is None:
        return frames
    return _cropped(frames, crop, size or crop[2])


def _frame_range(
    info: VideoInfo, rate: Fraction, duration: Fraction, start: float, end: float | None
) -> tuple[int, int]:
    """First frame, and one past the last, on the grid of `rate` between start and end (seconds)."""
    if start < 0 or (end is not None and end <= start):
        raise InputError(f"The part from {start} to {end} seconds is empty.", "--end must come after --start.")
    total = max(1, round(duration * rate))
    # A start that was computed as k / fps must give k: rounding to the nearest frame does.
    first = round(start * rate)
    if first >= total:
        raise InputError(f"{info.path} ends at {float(duration):.2f} seconds, before the start {start}.")
    stop = total if end is None else min(total, max(first + 1, round(end * rate)))
    return first, stop


def _read_pictures(info: VideoInfo, first: int, stop: int) -> Generator[np.ndarray, None, None]:
    for path in list_pictures(info.path)[first:stop]:
        image = read_image(path, max_pixels=info.max_pixels)
        if image.shape[:2] != (info.height, info.width):
            raise InputError(f"{path} has another size than the first picture of its folder.")
        yield image


def _decode(
    info: VideoInfo, rate: Fraction, first: int, stop: int, background: tuple[int, int, int]
) -> Generator[np.ndarray, None, None]:
    """Frames `first` to `stop` of the grid at `rate`, decoded by one ffmpeg child."""
    count, margin = stop - first, min(first, ceil(SEEK_MARGIN * rate))
    seek = float((first - margin) / rate)
    arguments = ["-ss", f"{seek:.6f}"] if seek > 0 else []
    # One filter graph for all frames: a new one after a change of size would start its time grid again.
    arguments += [
        "-reinit_filter",
        "0",
        *file_input(info.path, info.max_pixels),
        "-map",
        "0:V:0",
        "-frames:v",
        str(count),
    ]
    arguments += ["-vf", _filters(info, rate, margin), "-fps_mode", "passthrough"]
    arguments += ["-f", "rawvideo", "-pix_fmt", "rgba" if info.has_alpha else "rgb24", "pipe:1"]
    arguments += same_clock(info.has_audio, length=float((margin + count) / rate))
    shape = (info.height, info.width, 4 if info.has_alpha else 3)
    done = 0
    with Child(arguments, stdout=subprocess.PIPE) as child:
        while (frame := _read_frame(child, shape)) is not None:
            done += 1
            yield composite(frame, background) if info.has_alpha else frame
        if child.wait() != 0:
            raise AnimaskError(f"Reading {info.path} broke off after {done} frames: {child.complaint()}.")
    if done < 0.9 * count - 2:
        raise InputError(f"Only {done} of {count} frames of {info.path} could be read.", "Convert it to MP4 first.")


def _filters(info: VideoInfo, rate: Fraction, skip: int) -> str:
    """The filter chain: time grid, tone mapping, displayed shape, one fixed size whatever the stream does."""
    size = f"{info.width}:{info.height}"
    matrix = f":in_color_matrix={info.matrix}" if info.matrix else ""
    return ",".join(
        [
            f"fps={rate.numerator}/{rate.denominator}:start_time=0",
            f"trim=start_frame={skip}",
            *([_TONE_MAP] if info.transfer else []),
            DISPLAY.replace(":ih", f":ih:{_ACCURATE}"),
            f"scale={size}:force_original_aspect_ratio=decrease:{_ACCURATE}{matrix}",
            "format=rgba" if info.has_alpha else "format=rgb24",
            f"pad={size}:-1:-1:eval=frame",
        ]
    )


def _read_frame(child: Child, shape: tuple[int, int, int]) -> np.ndarray | None:
    """The next frame from the pipe, or None at the end; a broken frame at the end counts as the end."""
    frame = np.empty(shape, np.uint8)
    view = memoryview(frame.data).cast("B")
    while len(view):
        read = child.stdout.readinto(view)  # type: ignore[attr-defined]
        if not read:
            return None
        view = view[read:]
    return frame


def _cropped(
    frames: Generator[np.ndarray, None, None], box: tuple[int, int, int], size: int
) -> Generator[np.ndarray, None, None]:
    try:
        for frame in frames:
            yield crop_resize(frame, box, size)
    finally:
        frames.close()
