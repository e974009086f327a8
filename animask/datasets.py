"""Data sets: their folders, the clips in them, and the cache, where any two frames are at hand at once."""

import hashlib
import os
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TypeVar

import numpy as np

from animask.clay import find_clay, read_clay
from animask.config import CLAY_SIZE
from animask.errors import AnimaskError, InputError
from animask.files import replacing
from animask.images import crop_resize, read_image
from animask.probing import list_pictures
from animask.toons import clay, render, sample_identity, sample_pose
from animask.video import read_frames

# What these files promise they must keep: a broken one is named. Of others, videos are told by what is in them.
VIDEO_SUFFIXES = {".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif", ".mpg", ".ts", ".mts", ".flv", ".wmv"}
STRIP_SUFFIXES = {".png", ".jpg", ".jpeg"}
FRAMES_PER_CLIP = 64  # kept in the cache, spread over the clip: 12.8 MB a clip at 256²
POSES_PER_TOON = 6
TROUPE = 8  # toons in a row that strike the same poses
TOON_IDENTITIES = 1_000_000  # this many from this seed on are for training; those below are held out

Report = Callable[[str], None]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Clip:
    """A video, a folder of frames, or a strip of frames side by side; and its clay, where masks are taught."""

    path: Path
    identity: str
    clay: Path | None = None


def locate(name: str, data: Path | str | None) -> Path:
    """The folder of a data set: `data` if given, else $ANIMASK_DATA/NAME, else the folder `name`; else InputError."""
    root = os.environ.get("ANIMASK_DATA")
    places = [Path(data)] if data else [*([Path(root) / name] if root else []), Path(name)]
    for place in places:
        if place.is_dir():
            return place
    looked = " or ".join(str(place.absolute()) for place in places)
    hint = "Give its folder with --data or ANIMASK_DATA, or make one with `animask prepare VIDEOS -o FOLDER`."
    raise InputError(f"The data set {name!r} was not found: looked for {looked}.", hint)


def list_clips(root: Path, split: str, identities: str = "prefix") -> list[Clip]:
    """The clips of `split` ("train" or "test"), sorted by name.

    root has the folders train and test, or one of them; with neither, a random tenth of the identities is the
    test split (of one identity, nothing is). identities: "prefix", the name up to the first #, or "file".
    Raises InputError if there is no clip.
    """
    divided = any((root / name).is_dir() for name in ("train", "test"))
    folder = root / split if divided else root
    visible = [path for path in folder.iterdir() if path.name[0] != "."] if folder.is_dir() else []
    known = VIDEO_SUFFIXES | STRIP_SUFFIXES
    paths = sorted(x for x in visible if (list_pictures(x) if x.is_dir() else x.suffix.lower() in known))
    clips = [Clip(x, x.name.split("#")[0] if identities == "prefix" else x.name) for x in paths]
    if not divided:
        names = sorted({clip.identity for clip in clips})
        random.Random(0).shuffle(names)
        test = set(names[: max(1, len(names) // 10)]) if len(names) > 1 else set()
        clips = [clip for clip in clips if (clip.identity in test) == (split == "test")]
    if not clips:
        raise InputError(f"There are no clips in {folder}.", "Expected videos, folders of frames, or png/jpg strips.")
    return clips


def with_clay(clips: list[Clip]) -> list[Clip]:
    """The clips that have clay, with it."""
    return [replace(clip, clay=clay) for clip in clips if (clay := find_clay(clip.path))]


def spread(items: Iterable[Item], identity: Callable[[Item], str]) -> list[Item]:
    """The first item of every identity, then the second, and so on, so that any beginning holds many identities."""
    turns: dict[str, count[int]] = defaultdict(count)
    return sorted(items, key=lambda item: next(turns[identity(item)]))


def read_clip(path: Path, resolution: int) -> Iterator[np.ndarray]:
    """All frames of a clip, RGB uint8 (R, R, 3), centred squares; InputError, also on the way, for what is damaged."""
    if path.is_dir() or path.suffix.lower() not in STRIP_SUFFIXES:
        return read_frames(path, size=resolution)
    strip = read_image(path)  # H × W·T; its frames are square, since nothing else says where one ends
    side, width = strip.shape[:2]
    if width % side:
        raise InputError(f"{path} is not a strip of square frames: {width}×{side} pixels.")
    return (crop_resize(strip, (x, 0, side), resolution) for x in range(0, width, side))


def thin(frames: Iterable[Item], limit: int) -> list[Item]:
    """At most `limit` frames, evenly spread, of a stream whose length is not known: halve whenever full."""
    kept, stride = [], 1
    for number, frame in enumerate(frames):
        if number % stride == 0:
            kept.append(frame)
        if len(kept) == 2 * limit:
            kept, stride = kept[::2], stride * 2
    return [kept[i] for i in np.linspace(0, len(kept) - 1, min(limit, len(kept))).round().astype(int)]


def pack(frames: list[np.ndarray], clays: list[np.ndarray]) -> np.ndarray:
    """Frames (R, R, 3) and their clay (64, 64), if any, as rows of one uint8 array, one row a frame."""
    return np.concatenate([np.stack(x).reshape(len(x), -1) for x in (frames, clays) if x], axis=1)


def cache_folder() -> Path:
    """Where decoded frames are kept: $ANIMASK_CACHE, or animask in the user's cache folder."""
    if os.environ.get("ANIMASK_CACHE"):  # then there need be no home
        return Path(os.environ["ANIMASK_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "animask"


def cached(clip: Clip, resolution: int, folder: Path) -> Path:
    """The cache file of a clip: FRAMES_PER_CLIP rows of `pack` at most; made if it is not there.

    Of a clip with clay, frames without a face are left out. The file's name depends on the clip's path, size, time of
    change and clay and on the resolution, so a changed clip is decoded anew. Raises InputError or OSError for a clip
    that cannot be read or has fewer than two frames, AnimaskError where the cache cannot be written.
    """
    key = f"{clip.path.resolve()}|{stamp(clip.path)}|{clip.clay and stamp(clip.clay)}|{resolution}|{FRAMES_PER_CLIP}"
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npy"
    if is_whole(path):
        return path
    kept, clays = thin(enumerate(read_clip(clip.path, resolution)), FRAMES_PER_CLIP), []
    if clip.clay:
        array = read_clay(clip.clay)
        if kept and kept[-1][0] >= len(array):
            raise InputError(f"{clip.clay} is of {len(array)} frames, but the clip has more.", "Prepare it anew.")
        kept = [(number, frame) for number, frame in kept if array[number].any()]
        clays = [array[number] for number, _ in kept]
    if len(kept) < 2:
        raise InputError(f"{clip.path} has {len(kept)} frames{' with a face' if clip.clay else ''}; a clip needs two.")
    save_array(path, pack([frame for _, frame in kept], clays))
    return path


def stamp(path: Path) -> str:
    """Size and time of change of a file, or of all pictures of a folder."""
    stats = [item.stat() for item in (list_pictures(path) if path.is_dir() else [path])]
    return f"{sum(stat.st_size for stat in stats)}|{max(stat.st_mtime_ns for stat in stats)}"


def is_whole(path: Path) -> bool:
    """Whether a cache file is there and as long as it says; a full disk or a lost mount may have cut it."""
    try:
        np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return True


def save_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file, whole or not at all; AnimaskError where that fails, from its folder on."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            np.save(temporary, array)
    except (OSError, AnimaskError) as error:
        hint = "Make room, or set ANIMASK_CACHE to a folder that can be written."
        raise AnimaskError(f"The cache {path.parent} cannot be written: {error}", hint) from error


def fill_cache(clips: list[Clip], resolution: int, folder: Path, workers: int, report: Report) -> dict[str, list[Path]]:
    """Clips, decoded once, to cache files by identity, in order; broken ones are reported; InputError if all are."""

    def attempt(clip: Clip) -> Path | InputError | OSError:
        try:
            return cached(clip, resolution, folder)
        except (InputError, OSError) as error:
            return error

    found: dict[str, list[Path]] = {}
    shown = time.monotonic()
    for number, (clip, result) in enumerate(zip(clips, in_threads(attempt, clips, workers), strict=True), 1):
        if isinstance(result, Path):
            found.setdefault(clip.identity, []).append(result)
        else:
            report(f"skipped {clip.path.name}: {result}")
        if time.monotonic() - shown > 10:  # seconds
            shown = time.monotonic()
            report(f"{number} of {len(clips)} clips are decoded")
    if broken := len(clips) - sum(map(len, found.values())):
        report(f"{broken} of {len(clips)} clips could not be read and are left out")
    if not found:
        raise InputError("None of the clips could be read.", "The lines above say why.")
    return found


def in_threads(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """The results of a function in the order of its items; Ctrl-C waits only for the items that have begun."""
    with ThreadPoolExecutor(max(1, workers)) as pool:
        yield from pool.map(function, items)


def toon_pool(first: int, count: int, resolution: int, folder: Path, workers: int) -> tuple[Path, ...]:
    """At least `count` toons from `first` on, whole troupes, in POSES_PER_TOON poses: rows of `pack`, rendered once."""

    def make(number: int) -> Path:
        path = folder / f"toon-{first + number}-{resolution}-{POSES_PER_TOON}-{TROUPE}-clay.npy"
        if not is_whole(path):
            rng = np.random.default_rng((first, number // TROUPE))
            who, poses = sample_identity(first + number), [sample_pose(rng) for _ in range(POSES_PER_TOON)]
            frames = [render(who, pose, resolution) for pose in poses]
            save_array(path, pack(frames, [clay(who, pose, CLAY_SIZE) for pose in poses]))
        return path

    return tuple(in_threads(make, range(-(-count // TROUPE) * TROUPE), workers))
