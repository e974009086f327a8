"""What is evaluated: the settings, and the videos that they name, each a source frame and frames that drive it."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from animask.animation import read_pairs
from animask.config import DATASETS, nearest
from animask.datasets import TOON_IDENTITIES, Clip, list_clips, locate, read_clip, thin
from animask.detectors import KINDS
from animask.errors import InputError
from animask.model import Ablation
from animask.toons import pose_at, render, sample_identity
from animask.weights import DEFAULT

PROTOCOLS = ("reconstruction", "animation")
ABLATIONS: tuple[Ablation, ...] = ("no_pert", "no_ref", "no_id")
KIND_OF = {"toons": "toons", "vox": "faces", "taichi": "bodies"}  # of picture; folders show faces, bair nothing known

TOON_VIDEOS, TOON_FRAMES = 20, 16
TOON_RATE = 2.5  # frames a second: 16 of them show 6 s of motion
FIRST_DRIVER = 1000  # toon number n is driven across identities by number n + FIRST_DRIVER

Threshold = float | Literal["median"] | None


@dataclass(frozen=True)
class Settings:
    """What to evaluate and how; the flags of `animask eval`.

    dataset: toons, vox, taichi, bair or a folder. data: its folder, else it is looked for. ablations, thresholds,
    scales: variants beside the full method, for the protocol "animation"; None is what the weights say.
    pairs: a CSV file with the columns source and driver. limit: videos. frames: driver frames a video, evenly
    spread; None for all (toons: TOON_FRAMES). detectors: "auto" or one of detectors.KINDS. jsonl: results of each
    video as they come, from which an interrupted run goes on. report: a page to write.
    """

    metrics: tuple[str, ...] = ("l1", "akd")
    dataset: str = "toons"
    data: Path | None = None
    weights: str = DEFAULT
    protocol: str = "reconstruction"
    ablations: tuple[str, ...] = ()
    thresholds: tuple[Threshold, ...] = (None,)
    scales: tuple[float | None, ...] = (None,)
    pairs: Path | None = None
    limit: int | None = None
    frames: int | None = None
    batch: int = 8
    device: str = "auto"
    precision: str = "fp32"  # bf16 moves l1 by half a percent
    detectors: str = "auto"
    jsonl: Path | None = None
    report: Path | None = None

    def __post_init__(self) -> None:
        for name, values, known in (
            ("protocol", (self.protocol,), PROTOCOLS),
            ("ablation", self.ablations, ABLATIONS),
            ("detectors", (self.detectors,), ("auto", *KINDS)),
        ):
            for value in values:
                if value not in known:
                    hint = f"choose from {', '.join(known)}{nearest(value, known)}"
                    raise InputError(f"unknown {name} {value!r}", hint)
        if self.protocol == "reconstruction" and (self.ablations or self.perturbs or self.pairs):
            hint = "add --protocol animation"
            raise InputError("reconstruction uses neither P_test nor r nor pairs, so it has no such choice", hint)

    @property
    def perturbs(self) -> bool:
        """Whether any setting of P_test is asked for."""
        return any(value is not None for value in (*self.thresholds, *self.scales))

    @property
    def kind(self) -> str:
        """The kind of picture, which decides on the detectors; "" where none is known."""
        if self.detectors != "auto":
            return self.detectors
        return KIND_OF.get(self.dataset, "" if self.dataset == "bair" else "faces")


class Shot(NamedTuple):
    """A driver frame and what should come out of it, RGB uint8 (R, R, 3); None where nobody knows that."""

    driver: np.ndarray
    truth: np.ndarray | None


@dataclass(frozen=True)
class ToonCase:
    """Toon `source` driven by toon `driver`; where they are one, frame 0 is the source and the rest drive it."""

    source: int
    driver: int
    frames: int

    @property
    def name(self) -> str:
        """Of the video, unique in an evaluation."""
        return f"toon {self.source}" if self.source == self.driver else f"toon {self.source} by {self.driver}"

    def open(self, side: int) -> tuple[np.ndarray, Iterator[Shot]]:
        """The source frame, RGB uint8 (side, side, 3), and the shots, rendered as they are asked for."""
        who, by = sample_identity(self.source), sample_identity(self.driver)
        source = render(who, pose_at(self.source, 0.0), side)
        first = 1 if self.source == self.driver else 0

        def shots() -> Iterator[Shot]:
            for number in range(first, self.frames):
                pose = pose_at(self.driver, number / TOON_RATE)
                driver = render(by, pose, side)
                yield Shot(driver, driver if by == who else render(who, pose, side))

        return source, shots()


@dataclass(frozen=True)
class ClipCase:
    """Frame 0 of the clip `source` driven by the clip `driver`; where they are one, by the rest of it."""

    source: Clip
    driver: Clip
    frames: int | None

    @property
    def name(self) -> str:
        """Of the video, unique in an evaluation."""
        if self.source == self.driver:
            return self.source.path.name
        return f"{self.source.path.name} by {self.driver.path.name}"

    def open(self, side: int) -> tuple[np.ndarray, Iterator[Shot]]:
        """The source frame, RGB uint8 (side, side, 3), and the shots, decoded as they are asked for."""
        source = next(read_clip(self.source.path, side), None)
        if source is None:
            raise InputError(f"{self.source.path} has no frames")
        same = self.source == self.driver
        driver = islice(read_clip(self.driver.path, side), 1 if same else 0, None)
        frames = driver if self.frames is None else iter(thin(driver, self.frames))
        return source, (Shot(frame, frame if same else None) for frame in frames)


Case = ToonCase | ClipCase


def plan(settings: Settings) -> list[Case]:
    """The videos of an evaluation, in order. Raises InputError where the data or the pairs cannot be read."""
    jobs = read_pairs(settings.pairs) if settings.pairs else None
    pairs = None if jobs is None else [(job.source.name, job.driver.name) for job in jobs]
    if settings.dataset == "toons":
        cases = toon_cases(settings, pairs)
    else:
        root = locate(settings.dataset, settings.data)
        identities = DATASETS.get(settings.dataset, {}).get("identities", "prefix")
        cases = clip_cases(settings, list_clips(root, "test", identities), pairs)
    return cases[: settings.limit]


def toon_cases(settings: Settings, pairs: list[tuple[str, str]] | None) -> list[Case]:
    """Toons of the pairs, or the first ones; all held out from training."""
    frames = settings.frames or TOON_FRAMES
    if pairs is None:
        offset = FIRST_DRIVER if settings.protocol == "animation" else 0
        return [ToonCase(n, n + offset, frames) for n in range(settings.limit or TOON_VIDEOS)]
    cases: list[Case] = []
    for pair in pairs:
        numbers = [int(name) if name.isdecimal() else -1 for name in pair]
        if not all(0 <= number < TOON_IDENTITIES for number in numbers) or numbers[0] == numbers[1]:
            hint = f"give two different numbers below {TOON_IDENTITIES}; those above are for training"
            raise InputError(f"{pair[0]!r}, {pair[1]!r} is no pair of test toons", hint)
        cases.append(ToonCase(numbers[0], numbers[1], frames))
    return cases


def clip_cases(settings: Settings, clips: list[Clip], pairs: list[tuple[str, str]] | None) -> list[Case]:
    """Every clip by itself; or the pairs; or every clip driven by the next one of another identity."""
    if settings.protocol == "reconstruction":
        return [ClipCase(clip, clip, settings.frames) for clip in clips]
    if pairs is None:
        return [ClipCase(clip, next_other(clips, place), settings.frames) for place, clip in enumerate(clips)]
    known = {clip.path.name: clip for clip in clips}
    for name in (name for pair in pairs for name in pair):
        if name not in known:
            raise InputError(f"{settings.pairs} names {name!r}, which is no test clip", nearest(name, known)[2:])
    return [ClipCase(known[source], known[driver], settings.frames) for source, driver in pairs]


def next_other(clips: list[Clip], place: int) -> Clip:
    """The first clip of another identity after a place, in a circle."""
    others = (clip for clip in clips[place:] + clips[:place] if clip.identity != clips[place].identity)
    found = next(others, None)
    if found is None:
        raise InputError("all test clips show one identity", "give --pairs, or use --protocol reconstruction")
    return found
