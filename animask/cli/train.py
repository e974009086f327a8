"""`animask train`: a folder of videos to weights."""

import sys
from dataclasses import fields
from enum import StrEnum
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
DATA, START, LENGTH = "Data", "Where it begins", "Length and pieces"
SETTINGS = "Settings (each overrides the preset and --config)"
DATASET = "vox, taichi, bair, toons, or a folder."
FOLDER = "Where the data set is, else $ANIMASK_DATA/NAME."
PICTURES = "Pictures for the share `stills` of a recipe."
RECIPE = "A recipe: a bundled name, or TOML with \\[model] and \\[train]."
RANKS = "Processes on a CPU; default: one a core, 4 at most."
FOUND = "found: as in the paper; taught: shown as clay."
LOOKS = "Of found masks; lpips needs no download."
TIME = "Or in minutes of training, without decoding."
FILES = "The run folder: weights, checkpoints, log, previews."
WEIGHTS = "Go on from these weights; they bring their sizes."
AGAIN = "Continue the run in --out with its settings."
SIZES = "Sizes and settings; default: paper."
EXIT_CODES = {"interrupted": 130, "terminated": 143}


def train(
    context: typer.Context,
    dataset: Annotated[str | None, Option(help=DATASET, rich_help_panel=DATA, show_default=False)] = None,
    data: Annotated[Path | None, Option(help=FOLDER, rich_help_panel=DATA)] = None,
    limit_videos: Annotated[int | None, Option(min=1, help="Use no more clips.", rich_help_panel=DATA)] = None,
    stills_dir: Annotated[Path | None, Option("--stills", help=PICTURES, rich_help_panel=DATA)] = None,
    out: Annotated[Path, Option("--out", "-o", help=FILES)] = Path("runs/train"),
    preset: Annotated[PresetName | None, Option(help=SIZES, rich_help_panel=START)] = None,
    config: Annotated[Path | None, Option(help=RECIPE, rich_help_panel=START)] = None,
    init: Annotated[str | None, Option(help=WEIGHTS, rich_help_panel=START)] = None,
    resume: Annotated[bool, Option("--resume", help=AGAIN, rich_help_panel=START)] = False,
    steps: Annotated[int | None, Option(min=1, help="Length of the run.", rich_help_panel=LENGTH)] = None,
    epochs: Annotated[int | None, Option(min=1, help="Or in epochs.", rich_help_panel=LENGTH)] = None,
    minutes: Annotated[float | None, Option(min=0.0, help=TIME, rich_help_panel=LENGTH)] = None,
    ranks: Annotated[int | None, Option(min=1, help=RANKS, rich_help_panel=LENGTH)] = None,
    batch: Annotated[int | None, Option(min=1, help="Samples per process.", rich_help_panel=SETTINGS)] = None,
    lr: Annotated[float | None, Option(help="Learning rate.", rich_help_panel=SETTINGS)] = None,
    resolution: Annotated[int | None, Option(min=16, help="Pixels of the frames.", rich_help_panel=SETTINGS)] = None,
    masks: Annotated[Masks | None, Option(help=FOUND, rich_help_panel=SETTINGS)] = None,
    perceptual: Annotated[Perceptual | None, Option(help=LOOKS, rich_help_panel=SETTINGS)] = None,
    precision: Annotated[Precision | None, Option(help="bf16 or fp32.", rich_help_panel=SETTINGS)] = None,
    workers: Annotated[
        int | None, Option(min=0, help="Threads that decode; loaders.", rich_help_panel=SETTINGS)
    ] = None,
    seed: Annotated[int | None, Option(min=0, help="Of weights and samples.", rich_help_panel=SETTINGS)] = None,
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
    if outcome.ended in EXIT_CODES:
        sys.exit(EXIT_CODES[outcome.ended])


def changes(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags that were given, as a recipe: those that have the name of a setting, the preset and the data set."""
    given = {name: x.value if isinstance(x, StrEnum) else x for name, x in flags.items() if x is not None}
    train = {field.name: given[field.name] for field in fields(TrainConfig) if field.name in given}
    train |= {name: str(x.absolute()) for name, x in train.items() if isinstance(x, Path)}
    if train.keys() & {"steps", "epochs", "minutes"}:  # the recipe's are replaced
        train = {"steps": None, "minutes": None} | train
    model = {"resolution": given["resolution"]} if "resolution" in given else {}
    return {name: given[name] for name in ("preset", "dataset") if name in given} | {"model": model, "train": train}
