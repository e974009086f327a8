"""The state of a run on disk: safetensors, written beside and renamed, the one before kept."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from animask.config import model_from_dict, to_dict
from animask.errors import AnimaskError, InputError
from animask.training.trainer import Trainer
from animask.weights import read_metadata, read_tensors, write_tensors

CHECKPOINT, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def save_checkpoint(trainer: Trainer, run: Path) -> None:
    """Everything that a resumed run needs. Random states are not among it: they follow from seed and step.

    Raises AnimaskError, and leaves the files as they are, if a weight is not finite.
    """
    tensors = {f"model.{key}": value for key, value in trainer.model.state_dict().items()}
    tensors |= {f"ema.{key}": value for key, value in trainer.ema.module.state_dict().items()}
    for name, parameter in trainer.model.named_parameters():
        for key, value in trainer.optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = value
    bad = [key for key, value in tensors.items() if not value.isfinite().all()]
    if bad:
        raise AnimaskError(f"{bad[0]} is not finite at step {trainer.step}", "try a smaller --lr or --precision fp32")
    tensors = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in tensors.items()}
    about = {"config": json.dumps(to_dict(trainer.model.config)), "train": json.dumps(to_dict(trainer.config))}
    path = run / CHECKPOINT
    fresh = run / f".{CHECKPOINT}.fresh"
    write_tensors(tensors, fresh, {**about, "step": str(trainer.step)})
    if path.exists():
        path.replace(run / PREVIOUS)
    fresh.replace(path)


def load_checkpoint(trainer: Trainer, run: Path) -> None:
    """Continue from the last checkpoint of a run folder, or from the one before if there is no last.

    Raises InputError if there is none, or if it belongs to another model configuration.
    """
    found = [path for path in (run / CHECKPOINT, run / PREVIOUS) if path.exists()]
    if not found:
        raise InputError(f"{run} holds no checkpoint to resume from", "leave --resume out to start a new run")
    metadata = read_metadata(found[0])
    if model_from_dict(json.loads(metadata["config"])) != trainer.model.config:
        raise InputError(f"{found[0]} has another model configuration", "resume with the settings it began with")
    tensors = read_tensors(found[0])
    for prefix, module in (("model.", trainer.model), ("ema.", trainer.ema.module)):
        state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        module.load_state_dict(state)
    for name, parameter in trainer.model.named_parameters():
        if f"optimizer.step.{name}" in tensors:
            state = {key: tensors[f"optimizer.{key}.{name}"].to(parameter.device) for key in MOMENTS}
            layout = {key: state[key].to(memory_format=torch.preserve_format) for key in MOMENTS}
            for key in MOMENTS[1:]:
                layout[key] = torch.empty_like(parameter).copy_(state[key])
            trainer.optimizer.state[parameter] = layout
    trainer.step = int(metadata["step"])


@contextmanager
def hold(run: Path) -> Iterator[None]:
    """Own a run folder while training; InputError names the process that holds it already."""
    run.mkdir(parents=True, exist_ok=True)
    with (run / ".lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise InputError(f"{run} is being trained by {holder}", "choose another --out") from error
        file.truncate(0)
        file.write(f"process {os.getpid()}")
        file.flush()
        yield
