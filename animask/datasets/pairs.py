"""Sample numbers to training pairs, and pairs to batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from animask.datasets.cache import TOON_IDENTITIES, TROUPE
from animask.datasets.changes import degrade, flip, move, warp
from animask.toons import render, sample_identity, sample_pose

Sample = tuple[np.ndarray, ...]  # s, d, target, and of some another identity in the target's pose


class Batch(NamedTuple):
    """Source, driver and target frames, uint8 (B, 3, R, R); the driver is the target, perhaps degraded.

    other: (K, 3, R, R) other identities in the poses of the last K targets; None if there are none.
    """

    s: Tensor
    d: Tensor
    target: Tensor
    other: Tensor | None = None


@dataclass(frozen=True)
class Pairs(Dataset):
    """Sample number n to (s, d, target) or (s, d, target, other), each uint8 (R, R, 3); see TrainConfig.

    clips: cache files by identity. pictures: single squares that are made to move. pool: toons rendered ahead;
    when empty every toon is rendered anew. toons, stills: shares of the samples. cross: share of the toons that
    come with another identity in the pose of the target. first_toon: the identities are seeds from this on.
    far: the two frames of a clip lie at least this fraction of its length apart (0 to 0.5).
    """

    resolution: int
    clips: dict[str, list[Path]]
    pictures: tuple[np.ndarray, ...] = ()
    pool: tuple[Path, ...] = ()
    repeats: int = 1
    toons: float = 0.0
    cross: float = 0.0
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

    def __getitem__(self, number: int) -> Sample:
        rng = np.random.default_rng((self.seed, number))
        kind = rng.random()
        if kind < self.stills:
            frames = self.still(rng)
        elif kind < self.stills + self.toons or not self.clips:
            frames = self.toon(rng)
        else:
            frames = self.clip(rng, number)
        s, d, *other = flip(frames, self.flips, rng)
        if self.shift:
            (s,), (d, *other) = move((s,), self.shift, rng), move((d, *other), self.shift, rng)
        return s, degrade(d, self.degrade, rng), d, *other

    def clip(self, rng: np.random.Generator, number: int) -> Sample:
        """Two frames of one random clip of an identity; every identity has its turn in an epoch."""
        epoch, place = divmod(number, len(self))
        identity = list(self.clips)[order(self.seed, epoch, len(self))[place] % len(self.clips)]
        files = self.clips[identity]
        frames = np.load(files[rng.integers(len(files))], mmap_mode="r")
        first = int(rng.integers(len(frames)))
        apart = np.abs(np.arange(len(frames)) - first)
        second = int(rng.choice(np.flatnonzero(apart >= max(1, self.far * (len(frames) - 1)))))
        return np.array(frames[first]), np.array(frames[second])

    def toon(self, rng: np.random.Generator) -> Sample:
        """One rendered identity in two random poses; of some also another identity in the second pose."""
        crosses = bool(self.cross) and rng.random() < self.cross  # no draw without `cross`
        if self.pool:
            return self.pooled_toon(rng, crosses)
        first, second = sample_pose(rng), sample_pose(rng)
        places = self.first_toon + rng.integers(TOON_IDENTITIES, size=1 + crosses)
        identity, *others = [sample_identity(int(place)) for place in places]
        poses = [(identity, first), (identity, second), *((other, second) for other in others)]
        return tuple(render(who, pose, self.resolution) for who, pose in poses)

    def pooled_toon(self, rng: np.random.Generator, crosses: bool) -> Sample:
        """The same from the pool, where the toons of a troupe share their poses; the last troupe may be of one."""
        number = int(rng.integers(len(self.pool)))
        frames = np.load(self.pool[number], mmap_mode="r")
        first, second = rng.permutation(len(frames))[:2]
        chosen = [frames[first], frames[second]]
        troupe = self.pool[number // TROUPE * TROUPE :][:TROUPE]
        others = [path for path in troupe if path != self.pool[number]]
        if crosses and others:
            chosen.append(np.load(others[rng.integers(len(others))], mmap_mode="r")[second])
        return tuple(np.array(frame) for frame in chosen)

    def still(self, rng: np.random.Generator) -> Sample:
        """One picture, warped twice."""
        picture = self.pictures[rng.integers(len(self.pictures))]
        s, d = (warp(picture, rng) for _ in range(2))
        return s, d


@lru_cache(maxsize=4)
def order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of the samples of one epoch: a permutation of range(count)."""
    return np.random.default_rng((seed, epoch, 1)).permutation(count)


class Numbers(Sampler[int]):
    """Sample numbers of one rank: rank, rank + world, ... from `start` (of all ranks) on, without end."""

    def __init__(self, start: int, rank: int = 0, world: int = 1) -> None:
        self.start, self.rank, self.world = start, rank, world

    def __iter__(self) -> Iterator[int]:
        number = self.start + self.rank
        while True:
            yield number
            number += self.world


def collate(samples: list[Sample]) -> Batch:
    """Samples to a Batch of uint8 tensors, channels-last in memory; those with another identity come last."""
    samples = sorted(samples, key=len)
    s, d, target, *_ = zip(*(sample[:3] for sample in samples), strict=True)
    others = [sample[3] for sample in samples if len(sample) > 3]
    return Batch(to_batch(s), to_batch(d), to_batch(target), to_batch(others) if others else None)


def to_batch(frames: Sequence[np.ndarray]) -> Tensor:
    """Frames (R, R, 3) to one tensor (B, 3, R, R)."""
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
