"""Decoded frames and rendered toons on disk, so that any two of them are at hand at once."""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from animask.datasets.clips import Clip, read_clip
from animask.errors import AnimaskError, InputError
from animask.partials import clean_partials, partial_path
from animask.toons import render, sample_identity, sample_pose
from animask.video.probing import list_pictures

FRAMES_PER_CLIP = 64  # kept in the cache, spread over the clip: 12.6 MB a clip at 256²
POSES_PER_TOON = 6  # of a pool that is rendered once
TROUPE = 8  # toons of a pool that strike the same poses
TOON_IDENTITIES = 1_000_000  # this many from this seed on are for training; those below are held out
REPORT_SECONDS = 10

Report = Callable[[str], None]
Item = TypeVar("Item")
Result = TypeVar("Result")


class CacheError(AnimaskError):
    """The cache cannot be written: no clip is to blame."""


def cache_folder() -> Path:
    """Where decoded frames are kept: $ANIMASK_CACHE, or animask in the user's cache folder."""
    if os.environ.get("ANIMASK_CACHE"):
        return Path(os.environ["ANIMASK_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "animask"


def cached(clip: Clip, resolution: int, folder: Path) -> Path:
    """The cache file of a clip: FRAMES_PER_CLIP frames at most, uint8 (T, R, R, 3); made if it is not there.

    Its name depends on the clip's path, size, time of change and the resolution, so a changed clip is decoded anew.
    Raises InputError or AnimaskError for a clip that cannot be read or has fewer than two frames.
    """
    key = f"{clip.path.resolve()}|{stamp(clip.path)}|{resolution}|{FRAMES_PER_CLIP}"
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npy"
    if is_whole(path):
        return path
    frames = thin(read_clip(clip.path, resolution), FRAMES_PER_CLIP)
    if len(frames) < 2:
        raise InputError(f"{clip.path} has {len(frames)} frames; a clip needs two")
    save_array(path, np.stack(frames))
    return path


def stamp(path: Path) -> str:
    """Size and time of change of a file, or of all pictures of a folder."""
    items = list_pictures(path) if path.is_dir() else [path]
    stats = [item.stat() for item in items]
    return f"{sum(stat.st_size for stat in stats)}|{max(stat.st_mtime_ns for stat in stats)}"


def is_whole(path: Path) -> bool:
    """Whether a cache file is there and as long as it says; a full disk or a lost mount may have cut it."""
    try:
        np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return True


def save_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file under a temporary name, then rename it; CacheError where that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    try:
        with partial.open("wb") as file:
            np.save(file, array)
        partial.replace(path)
    except OSError as error:
        reason = error.strerror or f"the disk may be full ({error})"  # numpy counts the bytes
        raise CacheError(f"{path} could not be written: {reason}", "make room, or set ANIMASK_CACHE") from error
    finally:
        partial.unlink(missing_ok=True)


def thin(frames: Iterable[np.ndarray], limit: int) -> list[np.ndarray]:
    """At most `limit` frames, evenly spread, of a stream whose length is not known: halve whenever full."""
    kept, stride = [], 1
    for number, frame in enumerate(frames):
        if number % stride:
            continue
        kept.append(frame)
        if len(kept) == 2 * limit:
            kept, stride = kept[::2], stride * 2
    picks = np.linspace(0, len(kept) - 1, limit).round().astype(int) if len(kept) > limit else range(len(kept))
    return [kept[i] for i in picks]


def fill_cache(clips: list[Clip], resolution: int, folder: Path, workers: int, report: Report) -> dict[str, list[Path]]:
    """Decode all clips once; returns the cache files by identity, both in the order of `clips`.

    A broken clip is reported once with its name and left out. Raises InputError if none is left.
    """

    def attempt(clip: Clip) -> Path | AnimaskError | OSError:
        try:
            return cached(clip, resolution, folder)
        except CacheError:
            raise
        except (AnimaskError, OSError) as error:
            return error

    clean_partials(folder)
    found: dict[str, list[Path]] = {}
    broken, shown = 0, time.monotonic()
    for number, result in enumerate(in_threads(attempt, clips, workers)):
        clip = clips[number]
        if isinstance(result, Path):
            found.setdefault(clip.identity, []).append(result)
        else:
            broken += 1
            report(f"skipped {clip.path.name}: {result}")
        if time.monotonic() - shown > REPORT_SECONDS:
            shown = time.monotonic()
            report(f"{number + 1} of {len(clips)} clips are decoded")
    if broken:
        report(f"{broken} of {len(clips)} clips could not be read and are left out")
    if not found:
        raise InputError("none of the clips could be read", "the lines above say why")
    return found


def in_threads(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """The results of a function in the order of its items; Ctrl-C waits only for the items that have begun."""
    with ThreadPoolExecutor(max(1, workers)) as pool:
        yield from pool.map(function, items)


def toon_pool(count: int, resolution: int, folder: Path, workers: int) -> tuple[Path, ...]:
    """Render `count` identities in POSES_PER_TOON poses each into the cache, once; for machines with few cores.

    TROUPE identities in a row share their poses.
    """

    def make(number: int) -> Path:
        path = folder / f"toon-{number}-{resolution}-{POSES_PER_TOON}-{TROUPE}.npy"
        if not is_whole(path):
            rng = np.random.default_rng((TOON_IDENTITIES, number // TROUPE))
            identity = sample_identity(TOON_IDENTITIES + number)
            frames = [render(identity, sample_pose(rng), resolution) for _ in range(POSES_PER_TOON)]
            save_array(path, np.stack(frames))
        return path

    return tuple(in_threads(make, range(count), workers))
