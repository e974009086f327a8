"""What a data set is on disk: its folder, the clips in it, and their frames."""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from animask.errors import InputError
from animask.images import centre_square, crop_resize, read_image
from animask.video import read_frames
from animask.video.probing import PICTURE_SUFFIXES, list_pictures

NAMES = ("vox", "taichi", "bair")
STRIP_SUFFIXES = {".png", ".jpg", ".jpeg"}
VIDEO_SUFFIXES = {".mp4", ".gif", ".mov", ".avi", ".webm"}


@dataclass(frozen=True)
class Clip:
    """One item of a data set: a video, a folder of frames, or one strip of frames side by side."""

    path: Path
    identity: str


def locate(name: str, data: Path | None) -> Path:
    """The folder of a data set: `data` if given, else $ANIMASK_DATA/<name>, or `name` itself if that is a folder.

    Raises InputError with the places that were looked at and the way to make a data set.
    """
    places = [data] if data else []
    if not data and os.environ.get("ANIMASK_DATA"):
        places.append(Path(os.environ["ANIMASK_DATA"]) / name)
    if not data:
        places.append(Path(name))
    for place in places:
        if place.is_dir():
            return place
    looked = " or ".join(str(place.absolute()) for place in places)
    hint = "give its folder with --data or ANIMASK_DATA, or make one with `animask prepare VIDEOS -o FOLDER`"
    raise InputError(f"data set {name!r} was not found: looked for {looked}", hint)


def list_clips(root: Path, split: str, identities: str = "prefix", seed: int = 0) -> list[Clip]:
    """The clips of `split` ("train" or "test"), sorted by name.

    root has the folders train and test, or one of them; with neither, a seeded tenth of the identities is the
    test split (of one identity, nothing is). identities: "prefix", the name up to the first #, or "file".
    Raises InputError if there is no clip.
    """
    divided = any((root / name).is_dir() for name in ("train", "test"))
    folder = root / split if divided else root
    paths = sorted(path for path in folder.iterdir() if is_clip(path)) if folder.is_dir() else []
    clips = [Clip(path, path.name.split("#")[0] if identities == "prefix" else path.name) for path in paths]
    if not divided:
        test = held_out_identities(clips, seed)
        clips = [clip for clip in clips if (clip.identity in test) == (split == "test")]
    if not clips:
        raise InputError(f"no clips in {folder}", "expected videos, folders of frames, or png/jpg strips of frames")
    return clips


def held_out_identities(clips: list[Clip], seed: int) -> set[str]:
    """A seeded tenth of the identities, at least one; none where there is only one."""
    names = sorted({clip.identity for clip in clips})
    random.Random(seed).shuffle(names)
    return set(names[: max(1, len(names) // 10)]) if len(names) > 1 else set()


def is_clip(path: Path) -> bool:
    """A video, a strip, or a folder that holds pictures."""
    if path.name.startswith("."):
        return False
    if path.is_dir():
        return any(item.suffix.lower() in PICTURE_SUFFIXES and item.name[0] != "." for item in path.iterdir())
    return path.suffix.lower() in VIDEO_SUFFIXES | STRIP_SUFFIXES


def read_clip(path: Path, resolution: int) -> Iterator[np.ndarray]:
    """All frames of a clip in order, as square RGB uint8 (R, R, 3), centre-cropped where they are not square.

    Raises InputError, also on the way, for what cannot be read.
    """
    if path.is_dir():
        frames: Iterator[np.ndarray] = (read_image(item) for item in list_pictures(path))
    elif path.suffix.lower() in STRIP_SUFFIXES:
        frames = cut_strip(path)
    else:
        frames = read_frames(path)
    for frame in frames:
        yield crop_resize(frame, centre_square(*frame.shape[:2]), resolution)


def cut_strip(path: Path) -> Iterator[np.ndarray]:
    """The frames of a strip H × W·T; they are square, since nothing else says where one ends."""
    strip = read_image(path)
    side, width = strip.shape[:2]
    if width % side:
        raise InputError(f"{path} is not a strip of square frames: {width}×{side} pixels")
    yield from (strip[:, x : x + side] for x in range(0, width, side))
