"""Folders of videos, rendered toons and single pictures to training pairs.

Every sample is a pure function of `(seed, number)`, so a run resumes at any number, on any number of workers
and ranks, with the samples that it would have seen without the stop.
"""

import hashlib
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from animask.config import ModelConfig, TrainConfig
from animask.errors import AnimaskError, InputError
from animask.images import centre_square, crop_resize, read_image
from animask.partials import partial_path
from animask.toons import render, sample_identity, sample_pose
from animask.video import read_frames

NAMES = ("vox", "taichi", "bair")
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg"}
VIDEO_SUFFIXES = {".mp4", ".gif", ".mov", ".avi", ".webm"}
HELD_OUT_CLIPS = 64  # of the test split, for the previews while training
POSES_PER_TOON = 6  # of a pool that is rendered once
FRAMES_PER_CLIP = 64  # kept in the cache, spread over the clip: 12.6 MB a clip at 256²
TOON_IDENTITIES = 1_000_000  # this many from this seed on are for training; those below are held out


Report = Callable[[str], None]


class Batch(NamedTuple):
    """Source, driver and target frames, uint8 (B, 3, R, R); the driver is the target, perhaps degraded."""

    s: Tensor
    d: Tensor
    target: Tensor


@dataclass(frozen=True)
class Clip:
    """One item of a data set: a video, a folder of frames, or one strip of frames side by side."""

    path: Path
    identity: str


def locate(name: str, data: Path | None) -> Path:
    """The folder of a data set: `data`, or $ANIMASK_DATA/<name>, or `name` itself if that is a folder.

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

    root has the folders train and test; without them a seeded tenth of the identities is the test split.
    identities: "prefix", the name up to the first #, or "file". Raises InputError if there is no clip.
    """
    folder = root / split if (root / split).is_dir() else root
    paths = sorted(path for path in folder.iterdir() if is_clip(path))
    clips = [Clip(path, path.name.split("#")[0] if identities == "prefix" else path.name) for path in paths]
    if folder == root and clips:
        names = sorted({clip.identity for clip in clips})
        random.Random(seed).shuffle(names)
        test = set(names[: max(1, len(names) // 10)]) if len(names) > 1 else set()
        clips = [clip for clip in clips if (clip.identity in test) == (split == "test")]
    if not clips:
        raise InputError(f"no videos in {folder}", "expected videos, folders of frames, or png/jpg strips of frames")
    return clips


def is_clip(path: Path) -> bool:
    """A video, a strip, or a folder that holds pictures."""
    if path.name.startswith("."):
        return False
    if path.is_dir():
        return any(item.suffix.lower() in IMAGE_SUFFIXES for item in path.iterdir())
    return path.suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES


def read_clip(path: Path, resolution: int) -> Iterator[np.ndarray]:
    """All frames of a clip as square RGB uint8 (R, R, 3), centre-cropped where they are not square."""
    if path.is_dir():
        images = sorted(item for item in path.iterdir() if item.suffix.lower() in IMAGE_SUFFIXES)
        frames: Iterator[np.ndarray] = (read_image(item) for item in images)
    elif path.suffix.lower() in IMAGE_SUFFIXES:
        strip = read_image(path)
        side = strip.shape[0]
        if strip.shape[1] % side:
            raise InputError(f"{path} is not a strip of square frames: {strip.shape[1]}×{side} pixels")
        frames = (strip[:, x : x + side] for x in range(0, strip.shape[1], side))
    else:
        frames = read_frames(path)
    for frame in frames:
        yield crop_resize(frame, centre_square(*frame.shape[:2]), resolution)


def cache_folder() -> Path:
    """Where decoded frames are kept: $ANIMASK_CACHE, or animask in the user's cache folder."""
    if os.environ.get("ANIMASK_CACHE"):
        return Path(os.environ["ANIMASK_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "animask"


def cached(clip: Clip, resolution: int, folder: Path) -> Path:
    """The cache file of a clip: FRAMES_PER_CLIP frames at most, uint8 (T, R, R, 3); made if it is not there.

    Its name depends on the clip's path, size, time of change and the resolution, so a changed clip is decoded anew.
    """
    stat = clip.path.stat()
    key = f"{clip.path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{resolution}|{FRAMES_PER_CLIP}"
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npy"
    if path.exists():
        return path
    frames = thin(read_clip(clip.path, resolution), FRAMES_PER_CLIP)
    if len(frames) < 2:
        raise InputError(f"{clip.path} has {len(frames)} frames; a clip needs two")
    save_array(path, np.stack(frames))
    return path


def save_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file under a temporary name, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    with partial.open("wb") as file:
        np.save(file, array)
    partial.replace(path)


def thin(frames: Iterator[np.ndarray], limit: int) -> list[np.ndarray]:
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


def fill_cache(
    clips: list[Clip],
    resolution: int,
    folder: Path,
    workers: int,
    report: Report,
) -> dict[str, list[Path]]:
    """Decode all clips once; returns the cache files by identity, both sorted by name.

    A broken clip is reported once with its name and left out. Raises InputError if none is left.
    """

    def attempt(clip: Clip) -> Path | AnimaskError | OSError:
        try:
            return cached(clip, resolution, folder)
        except (AnimaskError, OSError) as error:
            return error

    found: dict[str, list[Path]] = {}
    broken = 0
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for clip, result in zip(clips, pool.map(attempt, clips), strict=True):
            if isinstance(result, Path):
                found.setdefault(clip.identity, []).append(result)
                continue
            broken += 1
            report(f"skipped {clip.path.name}: {result}")
    if broken:
        report(f"{broken} of {len(clips)} clips could not be read and are left out")
    if not found:
        raise InputError("none of the clips could be read")
    return found


@dataclass(frozen=True)
class Pairs(Dataset):
    """Sample number n to (s, d, target), each uint8 (R, R, 3); see TrainConfig for the settings.

    clips: cache files by identity. pictures: single squares that are made to move. pool: toons rendered ahead;
    when empty every toon is rendered anew. toons, stills: shares of the samples. first_toon: the identities are
    seeds from this on. far: the two frames of a clip lie at least this fraction of its length apart (0 to 0.5).
    """

    resolution: int
    clips: dict[str, list[Path]]
    pictures: tuple[np.ndarray, ...] = ()
    pool: tuple[Path, ...] = ()
    repeats: int = 1
    toons: float = 0.0
    stills: float = 0.0
    far: float = 0.0
    flips: str = "none"
    shift: float = 0.0
    degrade: float = 0.0
    first_toon: int = TOON_IDENTITIES
    seed: int = 0

    def __len__(self) -> int:
        """Samples of an epoch: every identity once × repeats."""
        return max(1, len(self.clips)) * self.repeats

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng((self.seed, number))
        kind = rng.random()
        if kind < self.stills:
            s, d = self.still(rng)
        elif kind < self.stills + self.toons or not self.clips:
            s, d = self.toon(rng)
        else:
            s, d = self.clip(rng, number)
        s, d = flip(s, d, self.flips, rng)
        if self.shift:
            s, d = move(s, self.shift, rng), move(d, self.shift, rng)
        return s, degrade(d, self.degrade, rng), d

    def clip(self, rng: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Two frames of one random clip of an identity; every identity has its turn in an epoch."""
        epoch, place = divmod(number, len(self))
        order = np.random.default_rng((self.seed, 1, epoch)).permutation(len(self)) % len(self.clips)
        files = self.clips[list(self.clips)[order[place]]]
        frames = np.load(files[rng.integers(len(files))], mmap_mode="r")
        count = len(frames)
        first = int(rng.integers(count))
        apart = np.abs(np.arange(count) - first)
        second = int(rng.choice(np.flatnonzero(apart >= max(1, min(self.far, 0.5) * (count - 1)))))
        return np.array(frames[first]), np.array(frames[second])

    def toon(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One rendered identity in two random poses."""
        if self.pool:
            frames = np.load(self.pool[rng.integers(len(self.pool))], mmap_mode="r")
            first, second = rng.permutation(len(frames))[:2]
            return np.array(frames[first]), np.array(frames[second])
        identity = sample_identity(self.first_toon + int(rng.integers(TOON_IDENTITIES)))
        s, d = (render(identity, sample_pose(rng), self.resolution) for _ in range(2))
        return s, d

    def still(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One picture, warped twice."""
        picture = self.pictures[rng.integers(len(self.pictures))]
        s, d = (warp(picture, rng) for _ in range(2))
        return s, d


def toon_pool(count: int, resolution: int, folder: Path, workers: int) -> tuple[Path, ...]:
    """Render `count` identities in POSES_PER_TOON poses each into the cache, once; for machines with few cores."""

    def make(number: int) -> Path:
        path = folder / f"toon-{number}-{resolution}-{POSES_PER_TOON}.npy"
        if not path.exists():
            rng = np.random.default_rng((TOON_IDENTITIES, number))
            identity = sample_identity(TOON_IDENTITIES + number)
            frames = [render(identity, sample_pose(rng), resolution) for _ in range(POSES_PER_TOON)]
            save_array(path, np.stack(frames))
        return path

    with ThreadPoolExecutor(max(1, workers)) as threads:
        return tuple(threads.map(make, range(count)))


def flip(s: np.ndarray, d: np.ndarray, how: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Flip a pair in time (swap) or space (mirror) as TrainConfig.flips says."""
    if how == "time-or-mirror" and rng.random() < 0.5:
        return d, s
    if how != "none" and rng.random() < 0.5:
        return s[:, ::-1], d[:, ::-1]
    return s, d


def move(image: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Shift by up to `amount` of the side, scale by 1 ± amount, turn by up to `amount` radians; reflected borders."""
    side = image.shape[0]
    dx, dy, zoom, turn = rng.uniform(-amount, amount, 4)
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2,) * 2, float(np.degrees(turn)), 1 + zoom)
    matrix[:, 2] += (dx * side, dy * side)
    return cv2.warpAffine(np.ascontiguousarray(image), matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101)


def warp(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A single picture made to move: a random affine map and a thin-plate warp; reflected borders.

    The thin-plate spline (Bookstein, 1989) moves 4×4 control points by up to 5 % of the side.
    """
    side = image.shape[0]
    moved = move(image, 0.12, rng)
    knots = np.stack(np.meshgrid(*[np.linspace(-0.75, 0.75, 4)] * 2), -1).reshape(-1, 2)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 33)] * 2), -1).reshape(-1, 2)

    def kernel(a: np.ndarray) -> np.ndarray:
        squared = ((a[:, None] - knots) ** 2).sum(2)
        return np.hstack([squared * np.log(squared + 1e-9), np.ones((len(a), 1)), a])

    system = np.vstack([kernel(knots), np.hstack([np.vstack([np.ones(16), knots.T]), np.zeros((3, 3))])])
    offsets = np.vstack([rng.uniform(-0.1, 0.1, (16, 2)), np.zeros((3, 2))])
    field = (grid + kernel(grid) @ np.linalg.solve(system, offsets)).reshape(33, 33, 2)
    field = cv2.resize(field.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
    at = ((field + 1) * (side - 1) / 2).astype(np.float32)
    return cv2.remap(moved, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def degrade(image: np.ndarray, chance: float, rng: np.random.Generator) -> np.ndarray:
    """With this chance a mild blur or JPEG noise, as in compressed drivers."""
    if rng.random() >= chance:
        return image
    if rng.random() < 0.5:
        return cv2.GaussianBlur(np.ascontiguousarray(image), (0, 0), float(rng.uniform(0.3, 1.2)) * len(image) / 256)
    quality = int(rng.integers(30, 80))
    coded = cv2.imencode(".jpg", np.ascontiguousarray(image), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))


def read_pictures(folder: Path, resolution: int) -> tuple[np.ndarray, ...]:
    """All pictures of a folder as centred squares, sorted by name; InputError if there is none."""
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise InputError(f"no pictures in {folder}", "stills needs a folder of png or jpg files")
    pictures = [read_image(path) for path in paths]
    return tuple(crop_resize(picture, centre_square(*picture.shape[:2]), resolution) for picture in pictures)


class Numbers(Sampler[int]):
    """Sample numbers of one rank: rank, rank + world, ... from `start` (of all ranks) on, without end."""

    def __init__(self, start: int, rank: int = 0, world: int = 1) -> None:
        self.start, self.rank, self.world = start, rank, world

    def __iter__(self) -> Iterator[int]:
        number = self.start + self.rank
        while True:
            yield number
            number += self.world


def collate(samples: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Batch:
    """Samples to a Batch of uint8 tensors, channels-last in memory."""
    columns = zip(*samples, strict=True)
    return Batch(*(torch.from_numpy(np.stack(column)).permute(0, 3, 1, 2) for column in columns))


def open_pairs(
    dataset: str, data: Path | None, model: ModelConfig, config: TrainConfig, limit: int | None, report: Report
) -> tuple[Pairs, Pairs]:
    """The training stream of a data set and a held-out stream of plain pairs, decoded into the cache.

    dataset: "toons", or what `locate` finds. limit: clips that are used at most. report: takes lines for people.
    Raises InputError if there is no data.
    """
    size, folder, workers = model.resolution, cache_folder(), max(1, config.workers)
    test = Pairs(size, {}, far=config.far, first_toon=0, seed=config.seed)
    found: dict[str, list[Path]] = {}
    if dataset != "toons":
        root = locate(dataset, data)
        clips = list_clips(root, "train", config.identities, config.seed)[:limit]
        report(f"{len(clips)} training clips in {root}; decoding what is not in the cache yet")
        found = fill_cache(clips, size, folder, workers, report)
        test = replace(test, clips=held_out_clips(root, found, config, size, folder, report))
    train = Pairs(
        resolution=size,
        clips=found,
        pictures=read_pictures(Path(config.stills_dir), size) if config.stills else (),
        pool=toon_pool(config.toon_pool, size, folder, workers),
        repeats=config.repeats,
        toons=config.toons,
        stills=config.stills,
        far=config.far,
        flips=config.flips,
        shift=config.shift,
        degrade=config.degrade,
        seed=config.seed,
    )
    return train, test


def held_out_clips(
    root: Path, found: dict[str, list[Path]], config: TrainConfig, size: int, folder: Path, report: Report
) -> dict[str, list[Path]]:
    """Clips of the test split for the previews; the training clips, and a word, if there is no test split."""
    try:
        clips = list_clips(root, "test", config.identities, config.seed)
    except InputError:
        report("no test split: held-out figures are of training clips")
        return found
    return fill_cache(clips[:HELD_OUT_CLIPS], size, folder, max(1, config.workers), report)
