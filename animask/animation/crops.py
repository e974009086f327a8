"""Which square of a picture, and of a whole clip, the networks see."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from math import ceil

import numpy as np
import torch

from animask.animation.moments import Square, measure, object_above
from animask.errors import InputError, MissingError
from animask.faces import Box, face_square, find_faces, fit_square, join_faces
from animask.images import centre_square, crop_resize, to_images, to_tensor
from animask.model import Animator
from animask.video import VideoInfo, read_frames
from animask.weights import cached_yunet

NAMES = ("auto", "none", "centre")
TIGHT = 0.75  # a head's square with this share of a square picture's side: the picture is a crop already
NEARLY_SQUARE = 1.02
BACKGROUND = 50.0  # percent of a whole picture in which nothing is marked; P_test takes the same
OBJECT_SIDE = 6.0  # standard deviations of the mask's mass that the square spans: a disc, and half of it around
BEYOND = 3  # longer sides of the picture that a given square may have
SAMPLES = 16  # frames of a clip that are looked at ...
SAMPLES_AT_LEAST, SAMPLES_PER_SECOND = 2, 2  # ... or fewer of a short one
LONG_SECONDS = 60.0  # decoding all of a longer clip takes longer than going to SAMPLES places in it


@dataclass(frozen=True)
class Crop:
    """A square (x, y, size) in pixels of the picture, why it, and the faces found, the largest first.

    The square may reach beyond the picture, which its edge pixels then continue.
    """

    square: Square
    reason: str
    faces: tuple[Box, ...] = ()


def parse_crop(text: str, name: str = "crop") -> str | Square:
    """ "auto", "none" or "centre", or X,Y,SIZE as numbers. Raises InputError with `name` for anything else."""
    if text in NAMES:
        return text
    try:
        x, y, size = (int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"the {name} {text!r} is not understood", f"give {', '.join(NAMES)} or X,Y,SIZE") from None
    if size < 1:
        raise InputError(f"the {name} {text} has no pixels", "SIZE must be at least 1")
    return x, y, size


def choose_crop(text: str, height: int, width: int, look: Callable[[], Crop]) -> Crop:
    """The square of a height × width picture that a setting names; `look` is asked for "auto".

    "centre": the largest centred square. "none": the smallest one with the whole picture in it, its edges continued.
    """
    choice = parse_crop(text)
    if choice == "auto":
        return look()
    if choice == "centre":
        return Crop(centre_square(height, width), "centre")
    if choice == "none":
        return Crop(around(height, width), "the whole picture")
    assert isinstance(choice, tuple)
    x, y, size = choice
    outside = x >= width or y >= height or x + size <= 0 or y + size <= 0
    if outside or size > BEYOND * max(height, width):
        raise InputError(f"the crop {text} does not fit the picture of {width}×{height} pixels")
    return Crop((x, y, size), "given")


def around(height: int, width: int) -> Square:
    """The smallest square around a whole picture."""
    size = max(height, width)
    return (width - size) // 2, (height - size) // 2, size


def look_for_face(picture: np.ndarray, number: int | None, side: int, name: str) -> Crop:
    """The square around the head of face `number` of a picture, None for the largest.

    With None, a picture that is such a square already stays whole: one of side × side pixels, as the networks take
    them, or a square one which the head fills. Raises MissingError where there is no face, InputError where there
    are fewer than `number`.
    """
    height, width = picture.shape[:2]
    if number is None and (height, width) == (side, side):
        return Crop((0, 0, side), "a crop already")
    faces = tuple(find_faces(picture, cached_yunet()))
    if not faces:
        raise MissingError(f"no face was found in {name}", "--source-crop centre, or --source-crop X,Y,SIZE")
    if number is not None and number > len(faces):
        listed = ", ".join(f"{i} at {box.x},{box.y}" for i, box in enumerate(faces, 1))
        raise InputError(f"{name} has no face {number}", f"the faces found: {listed}")
    square = face_square(faces[(number or 1) - 1], height, width)
    if number is None and is_tight(square, height, width):
        return Crop(centre_square(height, width), "a crop already", faces)
    return Crop(square, f"face {number or 1} of {len(faces)}", faces)


def look_for_head(frames: Iterator[np.ndarray], height: int, width: int, side: int, name: str) -> Crop:
    """One fixed square for a clip around its largest head, from sampled frames; some may lack a face.

    A clip of such squares stays whole, see `look_for_face`. Raises MissingError where no frame has a face.
    """
    if (height, width) == (side, side):
        return Crop((0, 0, side), "a crop already")
    found = [find_faces(frame, cached_yunet()) for frame in frames]
    square = join_faces(found, height, width)
    if square is None:
        hint = "--driver-crop centre, or --driver-crop X,Y,SIZE"
        raise MissingError(f"no face was found in {len(found)} sampled frames of {name}", hint)
    with_face = [tuple(faces) for faces in found if faces]
    reason = f"a face in {len(with_face)} of {len(found)} sampled frames"
    if is_tight(square, height, width):
        return Crop(centre_square(height, width), f"a crop already, {reason}", with_face[0])
    return Crop(square, reason, with_face[0])


def look_for_object(frames: Iterator[np.ndarray], height: int, width: int, model: Animator) -> Crop:
    """One square around what the model's own mask marks in some frames, OBJECT_SIDE wide, inside the picture.

    m sees the whole frame, its edges continued to a square; the masks are averaged. Where the mass lies all over
    the picture, the square is the largest there is.
    """
    side = model.config.resolution
    if (height, width) == (side, side):
        return Crop((0, 0, side), "a crop already")
    x, y, size = around(height, width)
    device = next(model.parameters()).device
    masks = []
    with torch.inference_mode():
        for frame in frames:
            mask = model.m(to_tensor(crop_resize(frame, (x, y, size), side), device))
            masks.append(to_images(mask)[0, :, :, 0].astype(np.float64))
    mass = object_above(np.mean(masks, axis=0), BACKGROUND)
    if mass is None:
        return Crop(centre_square(height, width), "centre, as the mask marks nothing")
    shape = measure(mass)
    square = fit_square(x + shape.x * size, y + shape.y * size, OBJECT_SIDE * shape.spread * size, height, width)
    if is_tight(square, height, width):
        return Crop(centre_square(height, width), "a crop already")
    return Crop(square, "the mask's mass")


def is_tight(square: Square, height: int, width: int) -> bool:
    """Whether a picture is nearly square and so little larger than the square that it is a crop already."""
    shorter, longer = sorted((height, width))
    return longer <= NEARLY_SQUARE * shorter and square[2] >= TIGHT * shorter


def sample_frames(
    info: VideoInfo, start: float = 0.0, end: float | None = None, background: Sequence[int] = (255, 255, 255)
) -> Iterator[np.ndarray]:
    """Up to SAMPLES whole frames, spread evenly over a part (seconds) of a clip: RGB uint8 (H, W, 3)."""
    red, green, blue = background
    stop = min(info.duration, info.duration if end is None else end)
    length = max(stop - start, float(1 / info.fps))
    count = min(SAMPLES, SAMPLES_AT_LEAST + ceil(length * SAMPLES_PER_SECOND))
    if info.is_folder:
        every = max(1, round(length * info.fps / count))
        yield from islice(read_frames(info, start=start, end=end), 0, None, every)
    elif length <= LONG_SECONDS:
        rate = Fraction(count) / Fraction(length)
        yield from read_frames(info, fps=rate, start=start, end=end, background=(red, green, blue))
    else:
        for number in range(count):
            at = start + length * (number + 0.5) / count
            yield from islice(read_frames(info, start=at, background=(red, green, blue)), 1)
