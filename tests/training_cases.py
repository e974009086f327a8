"""Small training runs that several tests share: settings, data, and processes of their own that may be killed."""

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from animask.config import MODEL_PRESETS, TrainConfig
from animask.datasets import Batch
from animask.images import write_image
from animask.losses import make_loss
from animask.model import Animator
from animask.training import Run, previews, train
from animask.training.ranks import Ranks
from animask.training.trainer import Trainer
from animask.weights import read_metadata, read_tensors

TINY = MODEL_PRESETS["tiny"]
SIDE = TINY.resolution
CPU = torch.device("cpu")
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>: the signal that a process gets when its parent ends
FEW_CASES = 5  # held-out pairs; a preview of all would take longer than the steps


def settings(**changes: Any) -> TrainConfig:
    """A training that takes milliseconds a step."""
    small = {"batch": 2, "perceptual": "pixels", "precision": "fp32", "workers": 0, "log_every": 1, "steps": 6}
    return TrainConfig(**{**small, **changes})


def frame(seed: int, turn: float) -> np.ndarray:
    """A coloured disc on a coloured ground; `turn` says where it is."""
    rng = np.random.default_rng(seed)
    image = np.full((SIDE, SIDE, 3), rng.integers(0, 256, 3), np.uint8)
    centre = [int(SIDE / 2 + SIDE / 4 * x) for x in (np.cos(turn), np.sin(turn))]
    cv2.circle(image, centre, SIDE // 6, rng.integers(0, 256, 3).tolist(), -1)
    return image


def make_data(root: Path) -> Path:
    """Four people for training and one for testing, one strip each."""
    for seed, name in enumerate(("train/a#0", "train/b#0", "train/c#0", "train/d#0", "test/e#0")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(root / f"{name}.png", np.hstack([frame(seed, turn) for turn in range(5)]))
    return root


def make_batch(count: int = 2, seed: int = 0) -> Batch:
    """Sources and targets of different places; the driver is the target."""
    rng = np.random.default_rng(seed)
    stacks = [np.stack([frame(seed + i, rng.uniform(0, 6)) for i in range(count)]) for _ in range(2)]
    s, target = (torch.from_numpy(stack).permute(0, 3, 1, 2) for stack in stacks)
    return Batch(s, target, target)


def make_model(seed: int = 0, **changes: Any) -> Animator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Animator(MODEL_PRESETS["tiny"] if not changes else TINY.__class__(**{**TINY.__dict__, **changes}))


def make_trainer(epoch: int = 1, ranks: Ranks | None = None, **changes: Any) -> Trainer:
    config = settings(**changes)
    loss = make_loss(config.perceptual, config.perceptual_layers, config.scales, None)
    return Trainer(make_model(), loss, config, epoch, ranks or Ranks(CPU))


def run_tiny(out: Path, data: Path, resume: bool = False, **changes: Any) -> list[str]:
    """Train on the small data; returns what people are told."""
    words: list[str] = []
    train(TINY, settings(data=str(data), **changes), Run(out, "vox", "cpu", resume=resume), words.append)
    return words


def state_of(checkpoint: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """Position and tensors of a checkpoint."""
    metadata = read_metadata(checkpoint)
    return {key: metadata[key] for key in ("step", "samples")}, read_tensors(checkpoint)


def assert_same(first: Path, second: Path) -> None:
    """Two checkpoints are equal bit for bit, in what the optimiser and the average hold as well."""
    (position, one), (other_position, two) = state_of(first), state_of(second)
    assert position == other_position
    assert one.keys() == two.keys()
    kinds = {key.split(".")[0] for key in one}
    assert kinds == {"model", "ema", "optimizer"}
    different = [key for key in one if not torch.equal(one[key], two[key])]
    assert not different


# processes


def start(function: Callable[..., None], *arguments: Any, output: Path, **environment: str) -> BaseProcess:
    """Run a function in a process of its own, which leads its group; stdout and stderr go to files.

    It is started afresh: a fork of a process that has loaded torch can wait for ever on a lock of its threads.
    """
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=enter, args=(function, arguments, output, environment))
    process.start()
    return process


def enter(function: Callable[..., None], arguments: tuple[Any, ...], output: Path, environment: dict[str, str]) -> None:
    os.setsid()
    if sys.platform == "linux":  # a test that is cut off leaves nothing behind
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ.update(environment)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    previews.CASES = FEW_CASES
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(output.with_suffix(f".{name}"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    function(*arguments)


def wait_for(path: Path, process: BaseProcess) -> None:
    """Until a file is there; fails if the process ends first."""
    while not path.exists():
        assert process.is_alive(), "ended too early"
        time.sleep(0.01)


def heard(output: Path, name: str = "stderr") -> str:
    """What a process wrote."""
    return output.with_suffix(f".{name}").read_text(encoding="utf-8")


def finish(*processes: BaseProcess) -> Iterator[int]:
    """Exit codes; what hangs is killed, and has the code of that."""
    for process in processes:
        process.join(300)
        if process.exitcode is None:
            process.kill()
            process.join()
        yield process.exitcode or 0
