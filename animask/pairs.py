"""A data set and its settings to the streams of samples that a run draws from, and samples to batches.

Every sample is a pure function of `(seed, number)`, so a run resumes at any number, on any number of processes, with
the samples that it would have seen without the stop. What moves and flips them is drawn by the training step.
"""

from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from animask import datasets
from animask.clay import find_clay, read_clay
from animask.config import CLAY_SIZE, ModelConfig, TrainConfig
from animask.errors import InputError
from animask.images import fit, read_image
from animask.perturb import uniform

HELD_OUT_CLIPS = 64  # of the test split, for the previews while training
TOON, CLIP, STILL = range(3)  # kinds of samples
FAR = 0.25  # taught: the two frames of a clip lie at least this part of its length apart, or r would answer m_s
MOVING = 0.4  # share of the frames of clips that are moved; where neither is, h learns what rests
SHIFT, SHIFT_STILL = 0.08, 0.12  # how far, of clips and of stills
BEND = 0.09  # of a still: its 4×4 points move by up to this part of half its side


class Sample(NamedTuple):
    """Its kind, and rows of `pack`: source, target, and of toons with clay another toon in the target's pose."""

    kind: int
    rows: tuple[np.ndarray, ...]


class Batch(NamedTuple):
    """Samples, those of toons first: uint8 as they are loaded, float in [0, 1] in a step."""

    kinds: Tensor  # (B,)
    s: Tensor  # source frames (B, 3, R, R)
    target: Tensor  # (B, 3, R, R)
    other: Tensor  # (K, 3, R, R), with clay: other identities in the poses of the first K targets, all the toons
    clay_s: Tensor  # (B, 1, S, S), the clay of s; no rows where masks are found
    clay_d: Tensor  # (B, 1, S, S), of target
    clay_o: Tensor  # (K, 1, S, S), of other


@dataclass(frozen=True)
class Pairs(Dataset):
    """Sample number n to a Sample, as the settings say."""

    resolution: int
    config: TrainConfig
    clips: dict[str, list[Path]]  # cache files by identity
    pictures: tuple[np.ndarray, ...] = ()  # rows of `pack`, made to move later
    pool: tuple[Path, ...] = ()  # cache files of toons

    @property
    def clay(self) -> bool:
        """Whether all rows have clay."""
        return self.config.masks == "taught"

    def __len__(self) -> int:
        """Samples of an epoch: every identity once × repeats."""
        return max(1, len(self.clips)) * self.config.repeats

    def __getitem__(self, number: int) -> Sample:
        rng = np.random.default_rng((self.config.seed, number))
        kind = rng.random()
        if kind < self.config.stills:
            row = self.pictures[rng.integers(len(self.pictures))]
            return Sample(STILL, (row, row))
        if kind < self.config.stills + self.config.toons or not self.clips:
            return self.toon(rng)
        return self.clip(rng, number)

    def clip(self, rng: np.random.Generator, number: int) -> Sample:
        """Two frames of one random clip of an identity; every identity has its turn in an epoch."""
        epoch, place = divmod(number, len(self))
        identity = list(self.clips)[order(self.config.seed, epoch, len(self))[place] % len(self.clips)]
        files = self.clips[identity]
        rows = np.load(files[rng.integers(len(files))], mmap_mode="r")
        first = int(rng.integers(len(rows)))
        apart = np.abs(np.arange(len(rows)) - first)
        second = int(rng.choice(np.flatnonzero(apart >= max(1, FAR * self.clay * (len(rows) - 1)))))
        return Sample(CLIP, (rows[first], rows[second]))

    def toon(self, rng: np.random.Generator) -> Sample:
        """One toon in two poses; with clay, another one of its troupe in the second pose too."""
        number = int(rng.integers(len(self.pool)))
        rows = np.load(self.pool[number], mmap_mode="r")
        first, second = rng.permutation(len(rows))[:2]
        if not self.clay:
            return Sample(TOON, (rows[first], rows[second]))
        start = number - number % datasets.TROUPE
        other = start + (number - start + 1 + int(rng.integers(datasets.TROUPE - 1))) % datasets.TROUPE
        return Sample(TOON, (rows[first], rows[second], np.load(self.pool[other], mmap_mode="r")[second]))


@lru_cache(maxsize=4)
def order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of the samples of one epoch: a permutation of range(count)."""
    return np.random.default_rng((seed, epoch, 1)).permutation(count)


def collate(samples: list[Sample], resolution: int, clay: bool) -> Batch:
    """Samples to a Batch of uint8 tensors, frames channels-last in memory."""
    samples = sorted(samples, key=lambda sample: sample.kind)
    columns = [[sample.rows[i] for sample in samples if len(sample.rows) > i] for i in range(3)]
    tensors = [unpack(rows, resolution, clay) for rows in columns]
    frames, clays = zip(*tensors, strict=True)
    return Batch(torch.tensor([sample.kind for sample in samples]), *frames, *clays)


def unpack(rows: list[np.ndarray], resolution: int, clay: bool) -> tuple[Tensor, Tensor]:
    """Rows of `pack` to frames (N, 3, R, R) and clay (N, 1, 64, 64), which is of no rows where there is none."""
    frame, row = 3 * resolution**2, 3 * resolution**2 + CLAY_SIZE**2 * clay
    data = torch.from_numpy(np.stack([x[:row] for x in rows]) if rows else np.empty((0, row), np.uint8))
    frames = data[:, :frame].contiguous().view(-1, resolution, resolution, 3).permute(0, 3, 1, 2)
    return frames, data[: len(data) * clay, frame:].reshape(-1, 1, CLAY_SIZE, CLAY_SIZE)


def shake(batch: Batch, config: TrainConfig, mask_size: int, generator: torch.Generator) -> Batch:
    """A loaded batch, on the device of the generator, to the floats of a step: moved, flipped, clay at the masks' size.

    The two frames of a picture are moved and warped apart; with clay, frames of clips are moved as well.
    """
    kinds = batch.kinds
    s, target, other = (x.float().div(255).contiguous(memory_format=torch.channels_last) for x in batch[1:4])
    clay_s, clay_d, clay_o = (resize(x.float() / 255, mask_size) for x in batch[4:])
    if config.stills or len(clay_s):
        s, clay_s = shift(s, clay_s, kinds, generator)
        target, clay_d = shift(target, clay_d, kinds, generator)
    return Batch(kinds, *flip([s, target, other, clay_s, clay_d, clay_o], config.flips, generator))


def shift(frames: Tensor, clay: Tensor, kinds: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Frames and their clay, if any, moved together as their kinds ask for."""
    chance = torch.rand(len(frames), device=frames.device, generator=generator)
    still, moving = kinds == STILL, (kinds == CLIP) & (chance < MOVING) & bool(len(clay))
    stack = torch.cat((frames, resize(clay, frames.shape[3])), dim=1) if len(clay) else frames
    moved = move(stack, SHIFT_STILL * still + SHIFT * moving, still.float(), generator)
    chosen = (still | moving).view(-1, 1, 1, 1)
    if len(clay):
        clay = torch.where(chosen, resize(moved[:, 3:], clay.shape[3]), clay)
    return torch.where(chosen, moved[:, :3], frames), clay


def flip(images: list[Tensor], how: str, generator: torch.Generator) -> list[Tensor]:
    """Source, target and what belongs to them, flipped sample by sample as TrainConfig.flips says.

    In time, source and target change places; in space, all is mirrored. Later images may be of the first samples.
    """
    chance = uniform((len(images[0]), 1, 1, 1), 0, 1, images[0], generator)
    if how == "time-or-mirror":
        s, target, *others = images
        images = [torch.where(chance < 0.5, target, s), torch.where(chance < 0.5, s, target), *others]
    mirrored = {"none": chance < 0, "mirror": chance < 0.5, "time-or-mirror": chance >= 0.75}[how]
    return [torch.where(mirrored[: len(x)], x.flip(3), x) for x in images]


def move(x: Tensor, amount: Tensor, bend: Tensor, generator: torch.Generator) -> Tensor:
    """Shift by up to `amount` of the side, scale by 1 ± amount, turn by up to `amount` radians; reflected borders.

    amount: (B,), 0 leaves an image as it is. bend: (B,), 1 for those that are warped smoothly as well, else 0.
    """
    dx, dy, zoom, turn = uniform((4, len(x)), -1, 1, x, generator) * amount
    cos, sin = torch.cos(turn) / (1 + zoom), torch.sin(turn) / (1 + zoom)
    points = uniform((len(x), 2, 4, 4), -BEND, BEND, x, generator) * bend.view(-1, 1, 1, 1)
    return resample(x, (cos, -sin, 2 * dx, sin, cos, 2 * dy), points, "reflection")


def resample(x: Tensor, matrix: tuple[Tensor, ...], points: Tensor, borders: str) -> Tensor:
    """Images at the places of an affine map, six numbers (B,) row by row, plus a smooth field through (B, 2, 4, 4)."""
    grid = functional.affine_grid(torch.stack(matrix, dim=1).view(-1, 2, 3), list(x.shape), align_corners=False)
    field = functional.interpolate(points, size=x.shape[2:], mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    return functional.grid_sample(x, grid + field, padding_mode=borders, align_corners=False)


def resize(clay: Tensor, size: int) -> Tensor:
    """Clay (N, 1, S, S) at another size: averaged down, or enlarged linearly."""
    return functional.interpolate(clay, size=size, mode="bilinear" if size > clay.shape[3] else "area")


def open_pairs(dataset: str, model: ModelConfig, config: TrainConfig, report: datasets.Report) -> tuple[Pairs, Pairs]:
    """The training stream of a data set and a held-out stream of plain pairs, decoded into the cache.

    dataset: "toons", or what `locate` finds; of it, what has clay where masks are taught. InputError without data.
    """
    size, folder, taught = model.resolution, datasets.cache_folder(), config.masks == "taught"
    where, who = (size, folder, config.workers), attrgetter("identity")
    clips: dict[str, list[Path]] = {}
    held_out: dict[str, list[Path]] = {}
    if dataset != "toons":
        root = datasets.locate(dataset, config.data)
        listed = datasets.list_clips(root, "train", config.identities)
        listed = datasets.spread(datasets.with_clay(listed) if taught else listed, who)[: config.limit_videos]
        report(f"{len(listed)} training clips in {root}; decoding what is not in the cache yet ({folder})")
        clips = datasets.fill_cache(listed, *where, report)
        try:
            listed = datasets.spread(datasets.list_clips(root, "test", config.identities), who)[:HELD_OUT_CLIPS]
            held_out = datasets.fill_cache(listed, *where, report)
        except InputError:
            report("no test split that can be read: held-out figures are of training clips")
            held_out = clips
    if config.toons:
        report(f"{config.toon_pool} toons; rendering those that are not in the cache yet ({folder})")
    pictures = read_pictures(config.stills_dir, size, taught, report) if config.stills else ()
    pool = datasets.toon_pool(datasets.TOON_IDENTITIES, config.toon_pool, *where) if config.toons else ()
    held_out_pool = () if held_out else datasets.toon_pool(0, datasets.TROUPE, *where)
    test = Pairs(size, TrainConfig(seed=config.seed), held_out, pool=held_out_pool)
    return Pairs(size, config, clips, pictures, pool), test


def read_pictures(folder: str, resolution: int, taught: bool, report: datasets.Report) -> tuple[np.ndarray, ...]:
    """All pictures of a folder as rows of `pack`, centred squares, sorted by name; taught: those with clay, with it.

    A broken picture is reported and left out; InputError if none is left.
    """
    if not folder:
        raise InputError("The share `stills` needs a folder of pictures.", "Name it with --stills.")
    pictures = []
    for path in sorted(path for path in Path(folder).glob("*") if path.suffix.lower() in datasets.STRIP_SUFFIXES):
        beside = find_clay(path) if taught else None
        if taught and beside is None:
            continue
        try:
            picture, clays = read_image(path), read_clay(beside)[:1] if beside else ()
            pictures.append(datasets.pack([fit(picture, resolution)], list(clays))[0])
        except InputError as error:
            report(f"skipped {path.name}: {error}")
    if not pictures:
        hint = "Make clay with `animask prepare`." if taught else "Expected png or jpg files."
        raise InputError(f"There are no pictures{' with clay' if taught else ''} in {Path(folder).absolute()}.", hint)
    return tuple(pictures)
