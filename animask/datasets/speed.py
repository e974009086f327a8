"""How fast pairs come to a training run: from the cache, from a video decoded each time, and from rendered toons."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from animask.config import ModelConfig
from animask.datasets.cache import cached
from animask.datasets.clips import Clip
from animask.datasets.pairs import Pairs
from animask.errors import InputError
from animask.images import centre_square
from animask.video import VideoInfo, probe, read_frames

FEWEST = 5  # pairs that are measured at least


@dataclass(frozen=True)
class DataSpeed:
    """Pairs of frames, resolution × resolution, in a second of processor time: what one core makes in a second.

    cache: two random frames of a clip that is in the cache. decoding: of the same clip, decoded for every pair.
    toons: rendered anew. Programs that are started for it count; waiting for a disk does not.
    """

    resolution: int
    cache: float
    decoding: float
    toons: float


def measure_data(clip: Path, resolution: int = ModelConfig.resolution, seconds: float = 10.0) -> DataSpeed:
    """Measure each of the three for about `seconds`. Raises InputError for a clip that cannot be read."""
    if seconds <= 0:
        raise InputError(f"{seconds} seconds are too short to measure", "give --seconds 10")
    info, rng = probe(clip), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        known = Pairs(resolution, {"clip": [cached(Clip(clip, "clip"), resolution, Path(folder))]})
        drawn = Pairs(resolution, {}, toons=1.0)
        return DataSpeed(
            resolution=resolution,
            cache=pairs_per_second(known.__getitem__, seconds),
            decoding=pairs_per_second(lambda number: decode_pair(info, resolution, rng), seconds),
            toons=pairs_per_second(drawn.__getitem__, seconds),
        )


def pairs_per_second(make: Callable[[int], object], seconds: float) -> float:
    """Pairs that `make` makes of their numbers in a second of processor time; the first one is not measured."""
    make(0)
    count, started = 0, processor_seconds()
    while (spent := processor_seconds() - started) < seconds or count < FEWEST:
        count += 1
        make(count)
    return count / spent


def processor_seconds() -> float:
    """Time on processors of this process and of programs that it started and that have ended."""
    return sum(os.times()[:4])


def decode_pair(info: VideoInfo, resolution: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Two random frames of a video, RGB uint8 (R, R, 3); ffmpeg goes to each of them."""
    square = centre_square(info.height, info.width)
    places = rng.uniform(0, float(info.duration) - 1 / float(info.fps), 2)
    streams = (read_frames(info, start=float(place), crop=square, size=resolution) for place in places)
    return [next(islice(stream, 1)) for stream in streams]
