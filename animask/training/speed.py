"""How fast a training step is on this machine, beside a plain loop of the same step."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from animask.config import ModelConfig, TrainConfig
from animask.datasets import Batch
from animask.devices import pick_device, pick_precision
from animask.errors import InputError
from animask.losses import make_loss
from animask.timing import Spread, spread, take_turns
from animask.training.ranks import Ranks
from animask.training.starting import new_model
from animask.training.trainer import Trainer

EPOCH = 1000  # steps; only says that all networks learn


@dataclass(frozen=True)
class StepSpeed:
    """The result of `measure_steps`: samples a second, and their ratio round by round.

    reference: the same step in float32, NCHW, with an optimiser that goes parameter by parameter. gpu_memory: the
    peak of tensors in bytes when the fast step had run; None without a GPU.
    """

    preset: str
    resolution: int
    loss: str
    batch: int
    device: str
    precision: str
    steps: Spread
    reference: Spread
    ratio: Spread
    gpu_memory: int | None


def measure_steps(
    model: ModelConfig, config: TrainConfig, device: str = "auto", precision: str = "auto", seconds: float = 10.0
) -> StepSpeed:
    """Time the step of a training run in which all four networks learn, on frames of noise.

    A perceptual network has random weights here, which are as fast as others. seconds: about as long lasts the
    measurement. Raises InputError for settings that do not fit.
    """
    if seconds <= 0:
        raise InputError(f"{seconds} seconds are too short to measure", "give --seconds 10")
    where = pick_device(device)[0]
    name = pick_precision(precision, where).name
    kind = "pixels" if config.perceptual == "pixels" else "random"
    changes = {"precision": name, "perceptual": kind, "r_start": 0.0, "h_start": 0.0}
    config = replace(config, **changes)  # type: ignore[arg-type]
    batch = noise(config.batch, model.resolution)
    fast = step(open_trainer(model, config, where), batch)
    fast()
    memory = torch.cuda.max_memory_allocated() if where.startswith("cuda") else None
    rows = Batch(*(frames.contiguous() for frames in batch[:3]))
    plain = step(make_plain(open_trainer(model, replace(config, precision="fp32"), where)), rows)
    times = take_turns({"fast": fast, "plain": plain}, seconds)
    return StepSpeed(
        preset=model.preset,
        resolution=model.resolution,
        loss=kind,
        batch=config.batch,
        device=where,
        precision=name,
        steps=spread([config.batch / time for time in times["fast"]]),
        reference=spread([config.batch / time for time in times["plain"]]),
        ratio=spread([plain / fast for fast, plain in zip(times["fast"], times["plain"], strict=True)]),
        gpu_memory=memory,
    )


def open_trainer(model: ModelConfig, config: TrainConfig, device: str) -> Trainer:
    """A trainer at its first step."""
    loss = make_loss(config.perceptual, config.perceptual_layers, config.scales, None)
    return Trainer(new_model(model, config.seed, None), loss, config, EPOCH, Ranks(torch.device(device)))


def make_plain(trainer: Trainer) -> Trainer:
    """The trainer without what makes it fast, but for its precision."""
    trainer.model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    group = trainer.optimizer.param_groups[0]
    trainer.optimizer = torch.optim.Adam(
        trainer.model.parameters(), lr=group["lr"], betas=group["betas"], foreach=False, fused=False
    )
    return trainer


def step(trainer: Trainer, batch: Batch) -> Callable[[], object]:
    """A call that does a step; it looks at the result, so that a GPU is waited for."""
    return lambda: trainer.learn(batch).tolist()


def noise(count: int, side: int) -> Batch:
    """Frames of noise, uint8 (count, 3, side, side), channels-last as they come from the data."""
    generator = torch.Generator().manual_seed(0)
    frames = (torch.rand((3, count, side, side, 3), generator=generator) * 255).byte()
    return Batch(*frames.permute(0, 1, 4, 2, 3))
