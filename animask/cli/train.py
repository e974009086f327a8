"""`animask train`: a folder of videos to weights."""

import sys
from dataclasses import fields
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from animask.cli.animate import Device
from animask.cli.screen import say, show_result
from animask.config import TrainConfig, merge, read_toml, resolve
from animask.errors import InputError

PresetName = StrEnum("PresetName", ["paper", "released", "compact", "tiny"])
Masks = StrEnum("Masks", ["found", "taught"])
Perceptual = StrEnum("Perceptual", ["vgg19", "lpips"])
Precision = StrEnum("Precision", ["auto", "fp32", "bf16"])
HEADINGS = ("Data", "Where it begins", "Length and pieces", "Settings (each overrides the preset and --config)")
of_data, start, length, setting = (partial(Option, rich_help_panel=heading) for heading in HEADINGS)
OUT = "The run folder: weights, checkpoints, log, previews."
RECIPE = "A recipe: a bundled name, or TOML with \\[model] and \\[train]."


def train(
    context: typer.Context,
    dataset: Annotated[str | None, of_data(help="vox, taichi, bair, toons, or a folder.")] = None,
    data: Annotated[Path | None, of_data(help="Where the data set is, else $ANIMASK_DATA/NAME.")] = None,
    limit_videos: Annotated[int | None, of_data(min=1, help="Use no more clips.")] = None,
    stills_dir: Annotated[Path | None, of_data("--stills", help="Pictures for the share `stills` of a recipe.")] = None,
    out: Annotated[Path, Option("--out", "-o", help=OUT)] = Path("runs/train"),
    preset: Annotated[PresetName | None, start(help="Sizes and settings; default: paper.")] = None,
    config: Annotated[Path | None, start(help=RECIPE)] = None,
    init: Annotated[str | None, start(help="Go on from these weights; they bring their sizes.")] = None,
    resume: Annotated[bool, start("--resume", help="Continue the run in --out with its settings.")] = False,
    steps: Annotated[int | None, length(min=1, help="Length of the run.")] = None,
    epochs: Annotated[int | None, length(min=1, help="Or in epochs.")] = None,
    minutes: Annotated[float | None, length(min=0.0, help="Or in minutes of training, without decoding.")] = None,
    ranks: Annotated[int | None, length(min=1, help="Processes on a CPU; default: one a core, 4 at most.")] = None,
    batch: Annotated[int | None, setting(min=1, help="Samples per process.")] = None,
    lr: Annotated[float | None, setting(help="Learning rate.")] = None,
    resolution: Annotated[int | None, setting(min=16, help="Pixels of the frames.")] = None,
    masks: Annotated[Masks | None, setting(help="found: as in the paper; taught: shown as clay.")] = None,
    perceptual: Annotated[Perceptual | None, setting(help="Of found masks; lpips needs no download.")] = None,
    precision: Annotated[Precision | None, setting(help="bf16 or fp32.")] = None,
    workers: Annotated[int | None, setting(min=0, help="Threads that decode; loaders.")] = None,
    seed: Annotated[int | None, setting(min=0, help="Of weights and samples.")] = None,
    device: Device = "auto",
    quiet: Annotated[bool, Option("-q", "--quiet", help="Say nothing but errors.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Train the four networks; prints the path of the weights. Several GPUs: torchrun -m animask train ...

    [bold]Examples[/bold]

    animask train --config first --out runs/first

    animask train --dataset vox --data /data/vox --out runs/vox
    """
    from animask.ranks import count_ranks
    from animask.training import Run, mute, settings
    from animask.training import train as run_training

    recipe = settings(out, resume, init, read_toml(config) if config else {})
    name, model, training = resolve(merge(recipe, changes(context.params)))
    if stills_dir and not training.stills:
        raise InputError("--stills gives pictures, but their share of the samples is 0.", "Set stills in a recipe.")
    report = mute if quiet else say
    outcome = run_training(model, training, Run(out, name, device, init, resume, count_ranks(device, ranks)), report)
    if outcome.weights:  # of the process that leads
        report(f"{outcome.ended} at step {outcome.step}, {outcome.samples_per_second:.1f} samples/s")
        show_result(outcome, outcome.weights, as_json)
    sys.exit({"interrupted": 130, "terminated": 143}.get(outcome.ended, 0))


def changes(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags that were given, as a recipe: those that have the name of a setting, the preset and the data set."""
    given = {name: x.value if isinstance(x, StrEnum) else x for name, x in flags.items() if x is not None}
    train = {field.name: given[field.name] for field in fields(TrainConfig) if field.name in given}
    train |= {name: str(x.absolute()) for name, x in train.items() if isinstance(x, Path)}
    if train.keys() & {"steps", "epochs", "minutes"}:  # the recipe's are replaced
        train = {"steps": None, "minutes": None} | train
    model = {"resolution": given["resolution"]} if "resolution" in given else {}
    return {name: given[name] for name in ("preset", "dataset") if name in given} | {"model": model, "train": train}
