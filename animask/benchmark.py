"""How fast a model is on this machine, beside the plain networks and beside what its arithmetic allows."""

import logging
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from animask.animation import Settings, Studio, animate, animate_file, encode_source, trace_frames
from animask.config import preset as preset_of
from animask.errors import InputError
from animask.images import crop_resize, read_image
from animask.model import Animator
from animask.samples import FPS, SECONDS, SIZE, write_driver, write_face
from animask.timing import ROUNDS, Spread, spread, take_turns
from animask.video import VideoWriter, read_frames
from animask.weights import load_model, save_model

log = logging.getLogger(__name__)

FACE, DRIVER, OUTPUT = "face.png", "driver.mp4", "result.mp4"
CLIP = 50  # frames
CONVOLUTION = (8, 256, 64)  # batch, channels in and out, side: large enough that only arithmetic counts
PRODUCT = 2048  # rows and columns of both matrices
REPEATS = 20  # of an operation on a GPU


@dataclass(frozen=True)
class Stage:
    """One part of `animate` alone: milliseconds a frame, and its share of the sum of all parts."""

    ms: Spread
    share: float


@dataclass(frozen=True)
class Limit:
    """What the arithmetic allows.

    gflop: 2 × multiply-adds of a driver frame in the plain networks; gflop_fast: in the fast form, as far as its
    layers state them. convolution, product: GFLOP/s measured on one large operation in the same precision.
    frames: a second, if all of gflop ran at the faster of both. share: of that reached by the networks.
    """

    gflop: float
    gflop_fast: float
    convolution: float
    product: float
    frames: float
    share: float


@dataclass(frozen=True)
class Speed:
    """The result of `measure_speed`. Speeds in frames a second; memory in bytes, None where it is not known.

    networks: equations (2) to (4) alone. reference: the same weights and device in the plain networks, float32,
    NCHW, one frame at a time, in turns with `networks`. ratio: between the two, round by round.
    pipeline: the whole of `animate_file`. frames: in each of its rounds. memory: peak of the process when the first
    one ended, before the reference was there; gpu_memory: of tensors, at the same time.
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
    frames: int
    stages: dict[str, Stage]
    limit: Limit
    memory: int | None
    gpu_memory: int | None


def measure_speed(settings: Settings, preset: str = "", seconds: float = 10.0) -> Speed:
    """Measure a model on the example that comes with the project.

    settings: weights, device, precision, batch. preset: one with random weights, in place of the settings' weights.
    seconds: about as long lasts each of the two measurements. Raises InputError for unknown names, MissingError
    for weights that are not there.
    """
    if seconds <= 0:
        raise InputError(f"{seconds} seconds are too short to measure", "give --seconds 10")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = random_weights(preset, folder) if preset else settings.weights
        settings = replace(settings, weights=weights, source_crop="none", driver_crop="none", overwrite=True)
        studio = Studio(settings)
        shorten(studio, 2 * settings.batch)
        log.info(
            "weights %s: %s on %s", studio.weights, studio.precision, studio.device
        )  # what is missing is known now
        write_face(folder / FACE)
        write_driver(folder / DRIVER)
        run_pipeline(studio, folder)
        memory = peak_memory(), peak_gpu_memory(studio.device)
        speed = measure(studio, folder, seconds, memory)
        return replace(speed, weights="random" if preset else weights)


def random_weights(preset: str, folder: Path) -> str:
    """A file with random weights of a preset; the same ones every time."""
    config, _ = preset_of(preset)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Animator(config)
    save_model(model, folder / "random.safetensors", {"licence": "none", "dataset": "none"})
    return str(folder / "random.safetensors")


def measure(studio: Studio, folder: Path, seconds: float, memory: tuple[int | None, int | None]) -> Speed:
    """Measure a studio's model with the example in a folder. memory: of the process and of the GPU, before."""
    model, config, batch = studio.model, studio.model.config, studio.settings.batch
    plain = load_model(studio.weights, studio.device)
    plain.config = config
    face = crop_resize(read_image(folder / FACE), (0, 0, SIZE), config.resolution)
    clip = list(read_frames(folder / DRIVER, crop=(0, 0, SIZE), size=config.resolution))
    times = take_turns({"fast": drive(model, face, clip[:batch]), "plain": drive(plain, face, clip[:1])}, seconds)
    count = len(clip[:batch])
    networks = spread([count / time for time in times["fast"]])
    frames = min(len(clip), max(count, round(networks.median * seconds / ROUNDS)))
    pipeline, stages = measure_stages(studio, folder, face, clip, frames, seconds)
    return Speed(
        weights="",
        preset=config.preset,
        resolution=config.resolution,
        device=studio.device,
        precision=studio.precision,
        batch=batch,
        threads=torch.get_num_threads(),
        networks=networks,
        reference=spread([1 / time for time in times["plain"]]),
        ratio=spread([count * plain / fast for fast, plain in zip(times["fast"], times["plain"], strict=True)]),
        pipeline=pipeline,
        frames=frames,
        stages=stages,
        limit=find_limit(model, plain, face, clip[0], networks.median),
        memory=memory[0],
        gpu_memory=memory[1],
    )


def measure_stages(
    studio: Studio, folder: Path, face: np.ndarray, clip: list[np.ndarray], frames: int, seconds: float
) -> tuple[Spread, dict[str, Stage]]:
    """Frames a second of the whole pipeline on the first frames of the example, and its parts one by one.

    Decoding and encoding see CLIP frames at least, because starting ffmpeg takes as long as a few.
    """
    shorten(studio, frames)
    side, long = studio.side, clip[: max(frames, CLIP)]
    end = float(len(long) / FPS)
    calls: dict[str, tuple[int, Callable[[], object]]] = {
        "whole": (frames, lambda: run_pipeline(studio, folder)),
        "decode": (len(long), lambda: list(read_frames(folder / DRIVER, end=end, crop=(0, 0, SIZE), size=side))),
        "networks": (frames, lambda: list(animate(studio.model, face, clip[:frames], batch=studio.settings.batch))),
        "encode": (len(long), lambda: encode(folder / OUTPUT, long, folder / DRIVER)),
    }
    times = take_turns({name: call for name, (_, call) in calls.items()}, seconds)
    whole = spread([frames / time for time in times.pop("whole")])
    ms = {name: spread([1000 * time / calls[name][0] for time in values]) for name, values in times.items()}
    total = sum(value.median for value in ms.values())
    return whole, {name: Stage(value, value.median / total) for name, value in ms.items()}


def encode(path: Path, frames: list[np.ndarray], sound: Path) -> None:
    """Square frames and the sound of another file to a video."""
    side = frames[0].shape[0]
    with VideoWriter(path, FPS, (side, side), sound) as writer:
        for frame in frames:
            writer.write(frame)


def run_pipeline(studio: Studio, folder: Path) -> None:
    """What `animask animate` does, on the example."""
    animate_file(folder / FACE, folder / DRIVER, folder / OUTPUT, studio=studio)


def shorten(studio: Studio, frames: int) -> None:
    """Let a studio see only the first frames of the example."""
    studio.settings = replace(studio.settings, end=min(SECONDS, float(frames / FPS)))


def drive(model: Animator, face: np.ndarray, frames: list[np.ndarray]) -> Callable[[], object]:
    """A call that takes frames through the networks; it looks at the result, so that a GPU is waited for."""
    source = encode_source(model, face)
    return lambda: trace_frames(model, source, frames)


def find_limit(model: Animator, plain: Animator, face: np.ndarray, frame: np.ndarray, networks: float) -> Limit:
    """Set the speed of the networks, in frames a second, beside that of the largest operations of their kind."""
    gflop, gflop_fast = (count_gflop(m, face, frame) for m in (plain, model))
    weights = next(model.parameters())
    convolution, product = (
        operation(weights.device, weights.dtype) for operation in (convolution_speed, product_speed)
    )
    frames = max(convolution, product) / gflop
    return Limit(gflop, gflop_fast, convolution, product, frames, networks / frames)


def count_gflop(model: Animator, face: np.ndarray, frame: np.ndarray) -> float:
    """2 × multiply-adds of convolutions and products for one driver frame, in units of 10⁹."""
    call = drive(model, face, [frame])
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 1e9


def convolution_speed(device: torch.device, dtype: torch.dtype) -> float:
    """GFLOP/s of a large 3×3 convolution, channels-last."""
    batch, channels, side = CONVOLUTION
    x, weight = (
        torch.ones(shape, device=device, dtype=dtype).to(memory_format=torch.channels_last)
        for shape in ((batch, channels, side, side), (channels, channels, 3, 3))
    )
    work = 2 * x.numel() * channels * 3 * 3
    return operation_speed(lambda: functional.conv2d(x, weight, padding=1), work, device)


def product_speed(device: torch.device, dtype: torch.dtype) -> float:
    """GFLOP/s of a large matrix product."""
    a = torch.ones(PRODUCT, PRODUCT, device=device, dtype=dtype)
    return operation_speed(lambda: a @ a, 2 * PRODUCT**3, device)


def operation_speed(operation: Callable[[], Tensor], work: int, device: torch.device) -> float:
    """GFLOP/s of an operation. GPUs do it many times in a row, because waiting for one takes as long as the work."""
    times = 1 if device.type == "cpu" else REPEATS

    def call() -> None:
        for _ in range(times - 1):
            operation()
        operation().flatten()[0].item()

    with torch.inference_mode():
        return times * work / 1e9 / median(take_turns({"": call}, 0)[""])


def peak_memory() -> int | None:
    """The most memory that the process has had so far, in bytes; None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def peak_gpu_memory(device: str) -> int | None:
    """The most memory that tensors have had on a CUDA device, in bytes."""
    return torch.cuda.max_memory_allocated(device) if device.startswith("cuda") else None
