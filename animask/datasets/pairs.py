"""Sample numbers to training pairs, and pairs to batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from animask.datasets.cache import TOON_IDENTITIES
from animask.datasets.changes import degrade, flip, move, warp
from animask.toons import render, sample_identity, sample_pose

Sample = tuple[np.ndarray, np.ndarray, np.ndarray]


class Batch(NamedTuple):
    """Source, driver and target frames, uint8 (B, 3, R, R); the driver is the target, perhaps degraded."""

    s: Tensor
    d: Tensor
    target: Tensor


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

    def __getitem__(self, number: int) -> Sample:
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
        identity = list(self.clips)[order(self.seed, epoch, len(self))[place] % len(self.clips)]
        files = self.clips[identity]
        frames = np.load(files[rng.integers(len(files))], mmap_mode="r")
        first = int(rng.integers(len(frames)))
        apart = np.abs(np.arange(len(frames)) - first)
        second = int(rng.choice(np.flatnonzero(apart >= max(1, self.far * (len(frames) - 1)))))
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
    """Samples to a Batch of uint8 tensors, channels-last in memory."""
    columns = zip(*samples, strict=True)
    return Batch(*(torch.from_numpy(np.stack(column)).permute(0, 3, 1, 2) for column in columns))
