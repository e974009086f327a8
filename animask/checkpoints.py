"""The state of a run on disk: safetensors, written beside and renamed, so that a kill leaves the last one whole."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from animask.config import to_dict
from animask.errors import InputError
from animask.trainer import Trainer
from animask.weights import read_config, read_metadata, read_tensors, write_tensors

CHECKPOINT = "checkpoint.safetensors"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def save_checkpoint(trainer: Trainer, run: Path) -> None:
    """Everything that a resumed run needs. Random states are not among it: they follow from seed and position.

    Leaves the file as it is and raises FloatingPointError if a weight is not finite, AnimaskError if the disk is full.
    """
    tensors = {f"model.{key}": value for key, value in trainer.model.state_dict().items()}
    tensors |= {f"ema.{key}": value for key, value in trainer.ema.state_dict().items()}
    for name, parameter in trainer.model.named_parameters():
        for key, value in trainer.optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = value
    bad = [key for key, value in tensors.items() if not value.isfinite().all()]
    if bad:
        raise FloatingPointError(f"{bad[0]} is not finite")
    tensors = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in tensors.items()}
    about = {"config": json.dumps(to_dict(trainer.model.config)), "step": str(trainer.step)}
    about |= {"samples": str(trainer.samples), "seconds": str(trainer.seconds)}
    write_tensors(tensors, run / CHECKPOINT, about)


def load_checkpoint(trainer: Trainer, run: Path) -> None:
    """Continue from the checkpoint of a run folder.

    Raises InputError if there is none that can be read, or if it belongs to another model configuration.
    """
    path = run / CHECKPOINT
    about = read_metadata(path)
    saved, wanted = to_dict(read_config(path, about)), to_dict(trainer.model.config)
    different = [f"{key} = {saved[key]!r}" for key in saved if saved[key] != wanted[key]]
    if different:
        words = f"{path} is of another model: {', '.join(different)}."
        raise InputError(words, "Resume with the settings that the run began with.")
    try:
        restore(trainer, read_tensors(path))
        trainer.step, trainer.samples = int(about["step"]), int(about["samples"])
        trainer.seconds = float(about["seconds"])
    except (KeyError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is damaged: {reason}.", "Start a new run with another --out.") from error


def restore(trainer: Trainer, tensors: dict[str, Tensor]) -> None:
    """Put saved tensors into the model, its average and the optimiser."""
    for prefix, module in (("model.", trainer.model), ("ema.", trainer.ema)):
        state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        module.load_state_dict(state)
    for name, parameter in trainer.model.named_parameters():
        if f"optimizer.step.{name}" in tensors:
            step, *moments = (tensors[f"optimizer.{key}.{name}"].to(parameter.device) for key in MOMENTS)
            # as the optimiser makes them, with the parameter's order in memory
            moments = [torch.empty_like(parameter).copy_(moment) for moment in moments]
            trainer.optimizer.state[parameter] = dict(zip(MOMENTS, (step, *moments), strict=True))


@contextmanager
def hold(run: Path) -> Iterator[None]:
    """Own a run folder while training; InputError if another process does. The lock ends with its process."""
    run.mkdir(parents=True, exist_ok=True)
    with (run / ".lock").open("w") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{run} is being trained already.", "Wait for it, or choose another --out.") from error
        yield
