"""What is evaluated: settings, the videos that they name, each a source frame and frames that drive it, and what other
methods made of these: FOLDER/NAME.mp4, or another video, or a folder of pictures, frame for frame of the same size."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from animask.config import DATASETS, ModelConfig, nearest
from animask.datasets import Clip, list_clips, locate, read_clip, spread, thin
from animask.errors import InputError
from animask.files import replacing
from animask.images import write_image
from animask.perturb import Threshold
from animask.toons import pose_at, render, sample_identity
from animask.video import read_frames, write_video
from animask.weights import DEFAULT, find_weights

PROTOCOLS = ("reconstruction", "animation")
ABLATIONS = ("no_pert", "no_ref", "no_id")
KIND_OF = {"toons": "toons", "vox": "faces", "taichi": "", "bair": ""}  # of picture; folders show faces
TOON_VIDEOS, TOON_FRAMES = 20, 16
TOON_RATE = 2.5  # frames a second: 16 of them show 6 s of motion
CLIP_RATE = Fraction(25)  # of lists and studies
FIRST_DRIVER = 1000  # toon number n is driven across identities by number n + FIRST_DRIVER
SUFFIXES = ("", ".mp4", ".mov", ".webm", ".avi", ".mkv", ".gif")  # of predictions; none: a folder of pictures

Progress = Callable[[int, int], None]  # done and total, in videos


@dataclass(frozen=True)
class Settings:
    """What to evaluate and how; the flags of `animask eval`. Raises InputError for what does not fit together."""

    metrics: tuple[str, ...] = ("l1", "akd")
    dataset: str = "toons"  # toons, vox, taichi, bair or a folder
    data: Path | None = None  # its folder, else it is looked for
    weights: str = DEFAULT
    protocol: str = "reconstruction"
    ablations: tuple[str, ...] = ()  # beside the full method
    threshold: Threshold | None = None  # ρ and scale of P_test; None: what the weights say
    scale: float | None = None
    predictions: tuple[tuple[str, Path], ...] = ()  # of other methods: name, and folder with one video for each case
    limit: int | None = None  # videos
    frames: int | None = None  # driver frames a video, evenly spread; None: all, of toons TOON_FRAMES
    batch: int = 8  # driver frames at a time
    device: str = "auto"
    precision: str = "fp32"  # bf16 moves l1 by half a percent
    report: Path | None = None  # a page to write

    def __post_init__(self) -> None:
        for value, known in ((self.protocol, PROTOCOLS), *((name, ABLATIONS) for name in self.ablations)):
            if value not in known:
                raise InputError(f"unknown name {value!r}", f"choose from {', '.join(known)}{nearest(value, known)}")
        for name in {name for name, _ in self.predictions} & {"copy", "full", "raw m(d)", *ABLATIONS}:
            raise InputError(f"{name!r} is the name of a row of ours", "give the other method another name")
        steps = self.ablations or self.threshold is not None or self.scale is not None
        if self.protocol == "reconstruction" and steps:
            hint = "add --protocol animation"
            raise InputError("reconstruction uses neither P_test nor r, so it has no such choice", hint)

    @property
    def kind(self) -> str:
        """The kind of picture, which decides on the detectors; "" where none is known."""
        return KIND_OF.get(self.dataset, "faces")

    @property
    def by_people(self) -> bool:
        """Whether every person counts alike, as in folders, not every frame, as in the paper."""
        return self.dataset not in KIND_OF


class Shot(NamedTuple):
    """A driver frame and what should come out of it, RGB uint8 (R, R, 3); None where nobody knows that."""

    driver: np.ndarray
    truth: np.ndarray | None


class Case(NamedTuple):
    """A video. Its frames, RGB uint8 (R, R, 3) for a side R, are made as they are asked for."""

    name: str  # unique, also of its predictions
    person: str  # who is seen
    rate: Fraction  # frames a second of its driver
    source: Callable[[int], np.ndarray]
    shots: Callable[[int], Iterator[Shot]]


def toon_case(source: int, driver: int, frames: int) -> Case:
    """Frames of toon `driver`, and the truth: toon `source` in its poses. Where they are one, frame 0 is the source."""
    who, by, same = sample_identity(source), sample_identity(driver), source == driver

    def shots(side: int) -> Iterator[Shot]:
        for number in range(1 if same else 0, frames):
            pose = pose_at(driver, number / TOON_RATE)
            frame = render(by, pose, side)
            yield Shot(frame, frame if same else render(who, pose, side))

    name = f"toon{source}" if same else f"toon{source}--toon{driver}"
    return Case(name, f"toon{source}", Fraction(TOON_RATE), lambda side: render(who, pose_at(source, 0.0), side), shots)


def clip_case(source: Clip, driver: Clip, frames: int | None) -> Case:
    """Frame 0 of the clip `source` driven by the clip `driver`; where they are one, by the rest of it, the truth."""
    same = source == driver

    def shots(side: int) -> Iterator[Shot]:
        driving = islice(read_clip(driver.path, side), 1 if same else 0, None)
        for frame in driving if frames is None else thin(driving, frames):
            yield Shot(frame, frame if same else None)

    first, second = (clip.path.name if clip.path.is_dir() else clip.path.stem for clip in (source, driver))
    name = first if same else f"{first}--{second}"
    return Case(name, source.identity, CLIP_RATE, lambda side: next(read_clip(source.path, side)), shots)


def plan(settings: Settings) -> list[Case]:
    """The videos of an evaluation, in order: each by itself, or by another identity. InputError for unusable data."""
    animates = settings.protocol == "animation"
    if settings.dataset == "toons":
        numbers, frames = range(settings.limit or TOON_VIDEOS), settings.frames or TOON_FRAMES
        cases = [toon_case(number, number + FIRST_DRIVER * animates, frames) for number in numbers]
    else:
        root = locate(settings.dataset, settings.data)
        identities = DATASETS.get(settings.dataset, {}).get("identities", "prefix")
        clips = list_clips(root, "test", identities)
        drivers = clips
        if animates:  # each by the first clip of another identity after it, in a circle
            if len({clip.identity for clip in clips}) == 1:
                raise InputError("all test clips show one identity", "use --protocol reconstruction")
            rings = (clips[place:] + clips[:place] for place in range(len(clips)))
            drivers = [next(clip for clip in ring if clip.identity != ring[0].identity) for ring in rings]
        cases = [clip_case(*pair, settings.frames) for pair in zip(clips, drivers, strict=True)]
    names = Counter(case.name for case in cases)
    if twice := next((name for name in names if names[name] > 1), None):
        raise InputError(f"two test videos are called {twice}", "give their files different names")
    return (spread(cases, lambda case: case.person) if settings.by_people else cases)[: settings.limit]


def find_prediction(folder: Path, name: str) -> Path:
    """The video, or the folder of pictures, that a method made for a case. InputError if there is none."""
    for suffix in SUFFIXES:
        if (path := folder / f"{name}{suffix}").exists():
            return path
    hint = "--list FOLDER writes the sources, the drivers and the names that are expected"
    raise InputError(f"{folder} has no prediction {name}", hint)


def read_prediction(folder: Path, name: str, side: int) -> Iterator[np.ndarray]:
    """The frames of a prediction, RGB uint8 (side, side, 3). InputError for frames of another size."""
    path = find_prediction(folder, name)
    for frame in read_frames(path):
        if frame.shape != (side, side, 3):
            size = f"{frame.shape[1]}×{frame.shape[0]}"
            raise InputError(f"{path} has frames of {size} pixels", f"make predictions of {side}×{side}")
        yield frame


def list_cases(settings: Settings, folder: Path, progress: Progress = lambda done, total: None) -> Path:
    """Write FOLDER/list.csv (source, driver, output), sources as PNG and drivers as lossless videos; returns its path.

    They have the size that the weights take. `animask animate --pairs` reads such a list.
    """
    side, cases = find_weights(settings.weights).config.resolution, plan(settings)
    rows = [("source", "driver", "output")]
    for part in ("sources", "drivers"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number, case in enumerate(cases, 1):
        source, driver = folder / "sources" / f"{case.name}.png", folder / "drivers" / f"{case.name}.mp4"
        write_image(source, case.source(side))
        write_video(driver, (shot.driver for shot in case.shots(side)), case.rate, crf=0)
        rows.append((str(source), str(driver), f"{case.name}.mp4"))
        progress(number, len(cases))
    with replacing(folder / "list.csv") as partial, partial.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "list.csv"


def describe(settings: Settings, config: ModelConfig) -> dict[str, str]:
    """The protocol in words, so that its figures can be compared with others. config: of the model."""
    toons, animates = settings.dataset == "toons", settings.protocol == "animation"
    rho = config.threshold if settings.threshold is None else settings.threshold
    scale = config.scale if settings.scale is None else settings.scale
    known = "the driver frame where a clip drives itself; else key points: the driver's, identity: the source's"
    frames = "all" if settings.frames is None else f"at most {settings.frames} a video, evenly spread"
    pairs = f"toon n by toon n + {FIRST_DRIVER}; none was trained on" if toons else "the next identity"
    return {
        "animask": version("animask"),
        "dataset": settings.dataset,
        "protocol": settings.protocol,
        "source": "frame 0 of the source video; it does not count where a video drives itself",
        "truth": "the source's identity in the driver's pose, rendered" if toons else known,
        "method": f"P_test with ρ = {rho}, scale {scale:g}, then r" if animates else "raw m(d): no P_test, no r",
        "pairs": pairs if animates else "each video with itself",
        "frames": f"{settings.frames or TOON_FRAMES} a video, {TOON_RATE:g} a second" if toons else frames,
        "mean": "over people, of the means over their used frames" if settings.by_people else "over all used frames",
        "resolution": str(config.resolution),
        **{name: f"predictions in {folder}" for name, folder in settings.predictions},
        "weights": settings.weights,
    }
