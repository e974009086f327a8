"""Shots: where one ends and the next begins, the fixed square of each in a driver, and what should be said of them."""

from collections.abc import Generator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, islice, pairwise
from typing import NamedTuple

import cv2
import numpy as np

from animask.crops import Crop, Square, crop_head
from animask.errors import InputError, MissingError
from animask.faces import Box, find_boxes
from animask.images import Colour, crop_resize
from animask.video import VideoInfo, read_frames

# Mean plus histogram difference of small frames. Measured: inside 66 talking-head shots (16,687 frames) all but
# 5 frames stay below 0.14; between news readers of the same studios (7,658 pairs) 99 % lie above 0.24.
CUT = 0.2
SIDE = 32  # pixels of the frames that are compared
LEVELS = 4  # of each colour in the histogram
# What is left of the frames in the middle of a span when the best mixture of its ends is taken away, as a share of the
# difference of the ends. Measured: of 1,924 spans inside 212 shots whose ends differ by CUT none is below 0.35; all
# of 240 dissolves of 1 to 25 frames, and 57 of 60 of 40 frames, between two people who move are below it in one span.
MIXTURE = 0.3
SPANS = (8, 24)  # frames
EDGE = 0.1  # of the way from one end to the other: there the middle begins
# Seconds between two looks: this share of the part, within bounds. A look takes as long as two frames' networks.
LOOK_SHARE, LOOK_LEAST, LOOK_MOST = Fraction(1, 16), Fraction(1, 4), Fraction(2)
SEEN = 1280  # pixels of the longer side of frames that are only looked at
ALIKE = 0.06  # of a square's side: the squares of two shots that differ by less become one

Look = tuple[np.ndarray, np.ndarray]


class CutFinder:
    """Looks at successive frames for cuts, dissolves and fades.

    A cut lies between two pairs of frames when each frame of the one differs from each of the other by more than CUT:
    a flash of one frame is none, nor is a fast movement.
    """

    def __init__(self) -> None:
        self.cuts: list[int] = []  # numbers of the frames that begin a new shot
        self.mixed: set[int] = set()  # of those in dissolves and fades: mixtures of others, which belong to no shot
        self.count = 0
        self.recent: list[Look] = []

    def add(self, frame: np.ndarray) -> None:
        """The next frame, RGB uint8 (H, W, 3)."""
        self.count += 1
        self.recent = recent = [*self.recent[-max(SPANS) :], look_at(frame)]
        if len(recent) < 4:
            return
        place = self.count - 2
        is_new = not self.cuts or place - self.cuts[-1] > 2  # a fade that begins at once is one cut
        if is_new and min(difference(a, b) for a in recent[-4:-2] for b in recent[-2:]) > CUT:
            self.cuts.append(place)
        for span in SPANS:
            if len(recent) > span:
                self.mixed |= {self.count - 1 - span + number for number in find_mixtures(recent[-span - 1 :])}


def find_mixtures(looks: list[Look]) -> list[int]:
    """Which of successive frames are mixtures of the first and the last, if all that are not like one of them are."""
    if difference(looks[0], looks[-1]) <= CUT:
        return []
    small = np.stack([look[0].ravel() for look in looks]) - looks[0][0].ravel()
    way = small[-1]
    share = small @ way / (way @ way)
    rest = np.linalg.norm(small - share[:, None] * way, axis=1) / np.linalg.norm(way)
    middle = np.flatnonzero((share > EDGE) & (share < 1 - EDGE))
    return middle.tolist() if (rest[middle] < MIXTURE).all() else []


def list_dissolves(mixed: set[int]) -> list[tuple[int, int]]:
    """Frames `start` to `end` (exclusive) of each dissolve: mixed frames, and what little lies between them."""
    found: list[tuple[int, int]] = []
    for number in sorted(mixed):
        is_same = bool(found) and number - found[-1][1] < SPANS[0]
        start = found.pop()[0] if is_same else number
        found.append((start, number + 1))
    return found


def list_shots(cuts: list[int], count: int, longest: int, dissolves: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Frames `start` to `end` (exclusive) of each shot between dissolves; one longer than `longest` in equal parts."""
    shots = []
    for start, end in pairwise(sorted({0, count, *cuts, *chain(*dissolves)})):
        if any(first <= start < stop for first, stop in dissolves):
            continue
        parts = max(1, -(-(end - start) // longest))
        marks = np.linspace(start, end, parts + 1).round().astype(int).tolist()
        shots += list(pairwise(marks))
    return shots


def look_at(frame: np.ndarray) -> Look:
    """The small frame in [0, 1] and its colour histogram, which sums to 1."""
    small = cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    levels = (small.astype(np.int64) * LEVELS // 256) @ np.array([LEVELS**2, LEVELS, 1])
    histogram = np.bincount(levels.ravel(), minlength=LEVELS**3) / levels.size
    return small.astype(np.float32) / 255, histogram


def difference(a: Look, b: Look) -> float:
    """The mean absolute difference of colours in [0, 1], plus half the sum of those of the histograms."""
    return float(np.abs(a[0] - b[0]).mean() + np.abs(a[1] - b[1]).sum() / 2)


# drivers


class Part(NamedTuple):
    """A part of a driver: its frames `first` to `stop` (exclusive) at `rate` frames a second."""

    info: VideoInfo
    rate: Fraction
    first: int
    stop: int
    background: Colour

    def seconds(self, number: int) -> float:
        """When a frame is shown, by its number from the part's beginning on."""
        return float((self.first + number) / self.rate)

    def read(self) -> Generator[np.ndarray, None, None]:
        """Its frames, RGB uint8 (H, W, 3)."""
        return read_frames(self.info, fps=self.rate, first=self.first, stop=self.stop, background=self.background)


@dataclass(frozen=True)
class Shot:
    """Frames `first` to `stop` (exclusive, from the part's beginning) that have one square."""

    first: int
    stop: int
    crop: Crop


def watch(part: Part) -> tuple[int, list[int], dict[int, tuple[Box, ...]]]:
    """How many frames a part has, which of them begin a new shot, and the faces in some, by number and in its pixels.

    Faces are looked for every now and then, and in each shot. A video is read at SEEN pixels at most, in half the time.
    Of a dissolve or a fade the middle frame is the cut.
    """
    info, finder, looks, due = part.info, CutFinder(), dict[int, tuple[Box, ...]](), 0
    scale = 1.0 if info.kind == "folder" else min(1.0, SEEN / max(info.width, info.height))
    between = min(max((part.stop - part.first) / part.rate * LOOK_SHARE, LOOK_LEAST), LOOK_MOST)
    small = replace(info, width=max(1, round(info.width * scale)), height=max(1, round(info.height * scale)))
    for number, frame in enumerate(part._replace(info=small).read()):
        known = len(finder.cuts)
        finder.add(frame)
        if number >= due or len(finder.cuts) > known:
            larger = info.width / frame.shape[1]
            looks[number] = tuple(Box(*(round(x * larger) for x in box)) for box in find_boxes(frame))
            due = number + max(1, round(between * part.rate))
    mixed = list_dissolves(finder.mixed)
    sharp = [cut for cut in finder.cuts if not any(first <= cut <= stop for first, stop in mixed)]
    return finder.count, sorted(sharp + [(first + stop) // 2 for first, stop in mixed]), looks


def follow_head(part: Part, number: int, side: int) -> tuple[list[Shot], list[str]]:
    """The shots of a part with one head in their squares, and what should be said of it.

    number: 1 for the largest head. A shot without a face gets the square of the one before it. A clip of side × side
    pixels without a face stays whole. Raises MissingError for others, InputError for fewer faces.
    """
    size, (count, cuts, looks) = (part.info.height, part.info.width), watch(part)
    most = max(len(boxes) for boxes in looks.values())
    if not most and size != (side, side):
        hint = "Give --driver-crop centre, or --driver-crop X,Y,SIZE."
        raise MissingError(f"No face was found in {len(looks)} sampled frames of {part.info.path}.", hint)
    if most and most < number:
        raise InputError(f"{part.info.path} has no face {number}.", f"At most {most} were found in a frame.")
    spans = list(pairwise([0, *cuts, count]))
    seen = [{at: boxes for at, boxes in looks.items() if first <= at < stop} for first, stop in spans]
    crops = [crop_head(list(found.values()), number, *size) for found in seen]
    last = next((crop for crop in crops if crop), Crop((0, 0, side), "a crop already, without a face"))
    shots, outside = [], []
    for (first, stop), found, crop in zip(spans, seen, crops, strict=True):
        crop = crop or Crop(last.square, "no face: the square of another shot")
        is_alike = np.abs(np.subtract(crop.square, last.square)).max() <= ALIKE * last.square[2]
        last = replace(crop, square=last.square) if is_alike else crop  # so that nothing jumps in a fade
        shots.append(Shot(first, stop, last))
        outside += [at for at, boxes in found.items() if boxes and not any(lies_in(box, last.square) for box in boxes)]
    return shots, describe(part, cuts, looks, outside)


def describe(part: Part, cuts: list[int], looks: dict[int, tuple[Box, ...]], outside: list[int]) -> list[str]:
    """What should be said of a part: its cuts, looks at no face, and those at which the head leaves the square."""
    said, faceless = [], [at for at, boxes in looks.items() if not boxes]
    if cuts:
        times = ", ".join(f"{part.seconds(cut):.2f}" for cut in cuts[:5]) + ", ..." * (len(cuts) > 5)
        said.append(f"{part.info.path} is cut at {times} s: each shot has its own square")
    for what, numbers in (("no face", faceless), ("the head leaves the square", outside)):
        if numbers:
            of = f"{len(numbers)} of {len(looks)} sampled frames of {part.info.path}"
            first, last = part.seconds(numbers[0]), part.seconds(numbers[-1])
            said.append(f"{what} in {of}, between {first:.2f} and {last:.2f} s")
    return said


def lies_in(box: Box, square: Square) -> bool:
    """Whether the middle nine tenths of a face lie in a square."""
    x, y, size = square
    slack = box.size / 20
    across = x <= box.x + slack and box.x + box.width - slack <= x + size
    return across and y <= box.y + slack and box.y + box.height - slack <= y + size


def read_squares(part: Part, shots: list[Shot], side: int) -> Generator[np.ndarray, None, None]:
    """The squares of a part's frames, RGB uint8 (side, side, 3)."""
    frames = part.read()
    for shot in shots:
        for frame in islice(frames, shot.stop - shot.first):
            yield crop_resize(frame, shot.crop.square, side)
