"""How fast a model is on this machine, beside the plain networks and beside what its arithmetic allows."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from statistics import quantiles

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from animask.animation import Session, Settings, animate_file
from animask.config import preset as preset_of
from animask.images import write_image
from animask.model import Animator
from animask.streaming import encode_source, trace_frames
from animask.toons import Pose, pose_at, render, sample_identity
from animask.video import write_video
from animask.weights import load_model, save_model

FACE, DRIVER = 32, 58  # toons outside the training range
RATE, CLIP = 25, 50  # of the driver: frames a second, and frames
ROUNDS = 3  # quartiles of fewer say nothing


@dataclass(frozen=True)
class Spread:
    """The median of some rounds and their quartiles."""

    median: float
    low: float
    high: float
    rounds: int


@dataclass(frozen=True)
class Speed:
    """Speeds in frames a second.

    networks: equations (2) to (4) alone. reference: the same weights and device in the plain networks, float32, one
    frame at a time, in turns with `networks`. ratio: between the two, round by round. pipeline: the whole of
    `animate_file`. gflop: 2 × multiply-adds of a driver frame in the plain networks, in 10⁹.
    """

    weights: str
    preset: str
    resolution: int
    device: str
    precision: str
    batch: int
    threads: int
    networks: Spread
    reference: Spread
    ratio: Spread
    pipeline: Spread
    gflop: float


def take_turns(calls: dict[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    """Seconds that each call takes, in turns, so that what else the machine does slows all of them alike.

    The first turn is not measured: memory is got and algorithms are chosen in it.
    """
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < ROUNDS or time.perf_counter() <= end:
        rounds += 1
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - started)
    return times


def spread(values: list[float]) -> Spread:
    """Median and quartiles, by linear interpolation between the values."""
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return Spread(middle, low, high, len(values))


def measure_speed(settings: Settings, preset: str = "", seconds: float = 10.0) -> Speed:
    """Measure a model on a toon that another one drives.

    preset: one with random weights, in place of the settings' weights. seconds: about as long lasts each of the two
    measurements. Raises InputError for unknown names, MissingError for weights that are not there.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = random_weights(preset, folder) if preset else settings.weights
        settings = replace(settings, weights=weights, source_crop="none", driver_crop="none", overwrite=True)
        speed = measure(Session(settings), folder, seconds)
        return replace(speed, weights="random") if preset else speed


def random_weights(preset: str, folder: Path) -> str:
    """A file with random weights of a preset; the same ones every time."""
    path = folder / "random.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_model(Animator(preset_of(preset)[0]), path, {"licence": "none", "dataset": "none"})
    return str(path)


def measure(session: Session, folder: Path, seconds: float) -> Speed:
    """Measure a session's model with a toon and a clip of another one that are made in a folder."""
    model, side = session.model, session.side
    plain = load_model(session.weights, session.device)
    face, driver, output = folder / "face.png", folder / "driver.mp4", folder / "result.mp4"
    picture = render(sample_identity(FACE), Pose(smile=0.4), side)
    clip = [render(sample_identity(DRIVER), pose_at(DRIVER, number / RATE), side) for number in range(CLIP)]
    batch = clip[: session.settings.batch]
    plainly = drive(plain, picture, clip[:1])
    times = take_turns({"fast": drive(model, picture, batch), "plain": plainly}, seconds)
    networks = spread([len(batch) / value for value in times["fast"]])
    clip = clip[: max(len(batch), round(networks.median * seconds / ROUNDS))]
    write_image(face, picture)
    write_video(driver, clip, Fraction(RATE))
    whole = take_turns({"whole": lambda: animate_file(face, driver, output, session=session)}, seconds)["whole"]
    return Speed(
        weights=session.settings.weights,
        preset=model.config.preset,
        resolution=side,
        device=session.device,
        precision=session.precision,
        batch=session.settings.batch,
        threads=torch.get_num_threads(),
        networks=networks,
        reference=spread([1 / value for value in times["plain"]]),
        ratio=spread([len(batch) * slow / fast for fast, slow in zip(times["fast"], times["plain"], strict=True)]),
        pipeline=spread([len(clip) / value for value in whole]),
        gflop=count_gflop(plainly),
    )


def drive(model: Animator, face: np.ndarray, frames: list[np.ndarray]) -> Callable[[], object]:
    """A call that takes frames through the networks and looks at the result, so that a GPU is waited for."""
    source = encode_source(model, face)
    return lambda: trace_frames(model, source, frames)


def count_gflop(call: Callable[[], object]) -> float:
    """2 × multiply-adds of the convolutions and products of a call, in units of 10⁹."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 1e9
