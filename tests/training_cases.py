"""Small training runs that several tests share: settings, data, and processes of their own that may be killed."""

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from animask import trainer, training
from animask.clay import clay_path
from animask.config import MODEL_PRESETS, ModelConfig, TrainConfig
from animask.images import write_image
from animask.model import Animator
from animask.objectives import Found, Taught
from animask.pairs import CLIP, TOON, Batch
from animask.ranks import Ranks
from animask.trainer import Trainer
from animask.training import Run, train
from animask.weights import read_metadata, read_tensors

TINY = MODEL_PRESETS["tiny"]
SIDE = TINY.resolution
CPU = torch.device("cpu")
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>: the signal that a process gets when its parent ends


def settings(**changes: Any) -> TrainConfig:
    """A training that takes milliseconds a step."""
    small = {"batch": 2, "perceptual": "lpips", "precision": "fp32", "workers": 0, "log_every": 1, "steps": 6}
    return TrainConfig(**{**small, "crop": SIDE // 2, "toon_pool": 8, "stills": 0.0, **changes})


def frame(seed: int, turn: float) -> np.ndarray:
    """A coloured disc on a coloured ground; `turn` says where it is."""
    rng = np.random.default_rng(seed)
    image = np.full((SIDE, SIDE, 3), rng.integers(0, 256, 3), np.uint8)
    cv2.circle(image, place(turn), SIDE // 6, rng.integers(0, 256, 3).tolist(), -1)
    return image


def place(turn: float) -> list[int]:
    return [int(SIDE / 2 + SIDE / 4 * x) for x in (np.cos(turn), np.sin(turn))]


def clay(turn: float) -> np.ndarray:
    """The clay of `frame`: the disc, bright as a face."""
    return cv2.circle(np.zeros((SIDE, SIDE), np.uint8), place(turn), SIDE // 6, 195, -1)


def make_data(root: Path, with_clay: bool = False) -> Path:
    """Four people for training and one for testing, one strip each."""
    for seed, name in enumerate(("train/a#0", "train/b#0", "train/c#0", "train/d#0", "test/e#0")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(root / f"{name}.png", np.hstack([frame(seed, turn) for turn in range(5)]))
        if with_clay:
            np.savez(clay_path(root / f"{name}.png"), clay=np.stack([clay(turn) for turn in range(5)]))
    return root


def make_batch(count: int = 2, seed: int = 0, toons: int | None = None) -> Batch:
    """Discs at different places, as loaded; with clay, and others for the toons, where their number is given."""
    rng = np.random.default_rng(seed)
    turns = rng.uniform(0, 6, (2, count))
    s, target = (pictures(range(seed, seed + count), row) for row in turns)
    kinds = torch.full((count,), CLIP)
    kinds[: toons or 0] = TOON
    other = pictures(range(seed + 50, seed + 50 + (toons or 0)), turns[1])
    clays = [torch.from_numpy(np.stack([clay(turn) for turn in row]))[:, None] for row in turns]
    clays.append(clays[1][: len(other)])
    if toons is None:
        clays = [x[:0] for x in clays]
    return Batch(kinds, s, target, other, *clays)


def pictures(seeds: range, turns: np.ndarray) -> torch.Tensor:
    frames = [frame(seed, turn) for seed, turn in zip(seeds, turns, strict=False)]
    return torch.from_numpy(np.stack(frames) if frames else np.empty((0, SIDE, SIDE, 3), np.uint8)).permute(0, 3, 1, 2)


def make_model(config: ModelConfig = TINY) -> Animator:
    """With random weights, the same in every run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Animator(config)


def make_trainer(epoch: int = 1, ranks: Ranks | None = None, **changes: Any) -> Trainer:
    config = settings(**changes)
    objective = (Taught if config.masks == "taught" else Found)(config)
    return Trainer(make_model(), objective, config, epoch, ranks or Ranks(CPU))


def run_tiny(out: Path, data: Path, resume: bool = False, ranks: int = 1, **changes: Any) -> list[str]:
    """Train on the small data; returns what people are told."""
    words: list[str] = []
    config = settings(data=str(data), **changes)
    train(TINY, config, Run(out, "vox", "cpu", resume=resume, ranks=ranks), words.append)
    return words


def assert_same(first: Path, second: Path) -> None:
    """Two checkpoints are equal bit for bit, in what the optimiser and the average hold as well."""
    positions = [[read_metadata(path)[key] for key in ("step", "samples")] for path in (first, second)]
    assert positions[0] == positions[1]
    one, two = read_tensors(first), read_tensors(second)
    assert one.keys() == two.keys()
    assert {key.split(".")[0] for key in one} == {"model", "ema", "optimizer"}
    assert [key for key in one if not torch.equal(one[key], two[key])] == []


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=seeded(seed))


def disc(x: float, y: float, radius: float, value: float = 0.8, side: int = 64) -> torch.Tensor:
    """A bright disc on black, (1, 1, side, side); places and radius in pixels."""
    at = torch.arange(side) + 0.5
    return value * ((at[None] - x) ** 2 + (at[:, None] - y) ** 2 < radius**2).float().view(1, 1, side, side)


def centre(mask: torch.Tensor) -> tuple[float, float]:
    at = torch.arange(mask.shape[3]) + 0.5
    return tuple(float((mask.sum(axis).flatten() * at).sum() / mask.sum()) for axis in ((0, 1, 2), (0, 1, 3)))


def moved(model: Animator) -> set[str]:
    """Names of the networks that got a gradient, which must then have reached all of their parameters."""
    gradients = {name: [parameter.grad for parameter in getattr(model, name).parameters()] for name in "mrlh"}
    names = {name for name, found in gradients.items() if any(x is not None and x.any() for x in found)}
    assert all(x is not None for name in names for x in gradients[name])
    return names


def numbers(figures: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in figures.items()}


# processes


def start(function: Callable[..., None], *arguments: Any, output: Path) -> BaseProcess:
    """Run a function in a process of its own, which leads its group; stdout and stderr go to files.

    It is started afresh: a fork of a process that has loaded torch can wait for ever on a lock of its threads.
    """
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=enter, args=(function, arguments, output))
    process.start()
    return process


def enter(function: Callable[..., None], arguments: tuple[Any, ...], output: Path) -> None:
    os.setsid()
    if sys.platform == "linux":  # a test that is cut off leaves nothing behind
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    training.HELD_OUT, training.SHOWN, trainer.SETTLING = 5, 2, 2  # or a preview would take longer than the steps
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(output.with_suffix(f".{name}"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    function(*arguments)


def wait_for(path: Path, process: BaseProcess, output: Path) -> None:
    """Until there is something in a file; fails if the process ends first."""
    while not path.exists() or not path.stat().st_size:
        assert process.is_alive(), heard(output)
        time.sleep(0.02)


def heard(output: Path, name: str = "stderr") -> str:
    """What a process wrote."""
    return output.with_suffix(f".{name}").read_text(encoding="utf-8")


def finish(process: BaseProcess) -> int:
    """The exit code; what hangs is killed, and has the code of that."""
    process.join(300)
    if process.exitcode is None:
        process.kill()
        process.join()
    return process.exitcode or 0
