"""How fast a model is on this machine, beside the plain networks."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

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
ROUNDS = 3  # at least


def take_turns(calls: list[Callable[[], object]], seconds: float) -> list[float]:
    """Median seconds of calls that take turns, so that what else the machine does slows all; the first turn is none."""
    times: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds
    while len(times[0]) <= ROUNDS or time.perf_counter() <= end:
        for call, mine in zip(calls, times, strict=True):
            started = time.perf_counter()
            call()
            mine.append(time.perf_counter() - started)
    return [median(mine[1:]) for mine in times]


def measure_speed(settings: Settings, preset: str = "", seconds: float = 10.0) -> dict[str, Any]:
    """Measure a model, or a preset with random weights, on a toon that another one drives; returns medians.

    networks: frames a second of equations (2) to (4) alone. reference: the same weights in the plain networks, float32,
    one frame at a time. ratio: of these two. pipeline: frames a second of the whole of `animate_file`. gflop: 2 ×
    multiply-adds of a driver frame in the plain networks, in 10⁹. seconds: of each of the two measurements, about.
    Raises InputError for unknown names, MissingError for weights that are not there.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if preset:
            settings = replace(settings, weights=str(folder / "random.safetensors"))
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                save_model(Animator(preset_of(preset)[0]), Path(settings.weights), {})
        session = Session(replace(settings, source_crop="none", driver_crop="none", overwrite=True))
        model, side = session.model, session.side
        picture = render(sample_identity(FACE), Pose(smile=0.4), side)
        clip = [render(sample_identity(DRIVER), pose_at(DRIVER, number / RATE), side) for number in range(CLIP)]
        batch, unfused = clip[: settings.batch], load_model(session.weights, session.device)
        fast = partial(trace_frames, model, encode_source(model, picture), batch)  # looks at the result: awaits a GPU
        plain = partial(trace_frames, unfused, encode_source(unfused, picture), clip[:1])
        with FlopCounterMode(display=False) as counter:
            plain()
        batch_seconds, frame_seconds = take_turns([fast, plain], seconds)
        networks, reference = len(batch) / batch_seconds, 1 / frame_seconds
        clip = clip[: max(len(batch), round(networks * seconds / ROUNDS))]
        face, driver, output = folder / "face.png", folder / "driver.mp4", folder / "result.mp4"
        write_image(face, picture)
        write_video(driver, clip, Fraction(RATE))
        (whole,) = take_turns([lambda: animate_file(face, driver, output, session=session)], seconds)
    how = {"weights": "random" if preset else settings.weights, "preset": model.config.preset, "resolution": side}
    how |= {"device": session.device, "precision": session.precision, "batch": settings.batch}
    figures = {
        "threads": torch.get_num_threads(),
        "networks": networks,
        "reference": reference,
        "ratio": networks / reference,
    }
    return how | figures | {"pipeline": len(clip) / whole, "gflop": counter.get_total_flops() / 1e9}
