"""A run before its first step: what it needs is found, checked and put together."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from animask.config import ModelConfig, TrainConfig, merge, read_toml, to_dict
from animask.datasets import Pairs, locate, open_pairs
from animask.devices import pick_precision
from animask.errors import InputError
from animask.headers import read_header
from animask.losses import make_loss
from animask.model import Animator
from animask.partials import clean_partials
from animask.training.checkpoints import has_checkpoint, load_checkpoint
from animask.training.logs import CONFIG, Report, write_toml
from animask.training.previews import Cases, held_out
from animask.training.ranks import Ranks
from animask.training.trainer import Trainer
from animask.weights import fetch, fetch_vgg19, load_model, read_config

LOSSES = {
    "vgg19": "VGG-19 with ImageNet weights",
    "random": "VGG-19 with fixed-seed random weights, plus L1 (no ImageNet weights)",
    "pixels": "multi-scale L1 of pixels and gradients (no perceptual network)",
}


@dataclass(frozen=True)
class Run:
    """What a run is called, where it leaves its files, and where it begins.

    dataset: vox, taichi, bair, toons or a folder. init: weights to start from. resume: go on with the run in `out`.
    time_limit: minutes after which the run saves and ends.
    """

    out: Path
    dataset: str
    device: str = "auto"
    init: str | None = None
    resume: bool = False
    time_limit: float | None = None


def settings(out: Path, resume: bool, init: str | None, recipe: dict[str, Any]) -> dict[str, Any]:
    """The recipe of a run that does not begin from nothing: that of the run or the weights, then what `recipe` says.

    Raises InputError for a run that cannot be resumed, MissingError for weights that are not there.
    """
    if resume:
        if not (out / CONFIG).is_file():
            raise InputError(f"{out} holds no run to resume", "leave --resume out to start a new run")
        return merge(read_toml(out / CONFIG), recipe)
    if init:
        path = fetch(init).path
        return merge({"model": to_dict(read_config(path, read_header(path)))}, recipe)
    return recipe


def set_up(
    model_config: ModelConfig, config: TrainConfig, run: Run, ranks: Ranks, report: Report
) -> tuple[Trainer, Pairs, Cases | None]:
    """The trainer at its first step, the training pairs, and for the leading rank the held-out cases.

    What is quick to find missing is looked for first, before data are decoded for hours.
    """
    if has_checkpoint(run.out) and not run.resume:
        raise InputError(f"{run.out} holds a run already", "continue it with --resume, or choose another --out")
    clean_partials(run.out)
    precision = pick_precision(config.precision, ranks.device.type).name
    config = replace(config, precision=precision)  # type: ignore[arg-type]
    if run.dataset != "toons":
        config = replace(config, data=str(locate(run.dataset, Path(config.data) if config.data else None).resolve()))
    model = new_model(model_config, config.seed, None if run.resume else run.init)
    loss = make_loss(
        config.perceptual,
        config.perceptual_layers,
        config.scales,
        fetch_vgg19() if config.perceptual == "vgg19" else None,
    )
    report(f"reconstruction loss: {LOSSES[config.perceptual]}")
    pairs, test = open_pairs(run.dataset, model_config, config, report)
    trainer = Trainer(model, loss, config, max(1, len(pairs) // (config.batch * ranks.world)), ranks)
    if run.resume:
        load_checkpoint(trainer, run.out, report)
        report(f"resumed at step {trainer.step} of {trainer.total}")
    if not ranks.leads:
        return trainer, pairs, None
    write_toml(run.out / CONFIG, run.dataset, model_config, config)
    return trainer, pairs, held_out(test)


def new_model(config: ModelConfig, seed: int, init: str | None) -> Animator:
    """A model with seeded random weights, or with those of `init`, whose networks must be of the same sizes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Animator(config)
    if init:
        start = load_model(init)
        shapes = [{key: value.shape for key, value in x.state_dict().items()} for x in (model, start)]
        if shapes[0] != shapes[1]:
            hint = f"leave --preset out to take them from the weights ({start.config.preset})"
            raise InputError(f"the networks of {init} have other sizes than the settings say", hint)
        model.load_state_dict(start.state_dict())
    return model
