"""`animask train`: a folder of videos to weights."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from animask.cli.animate import Device
from animask.cli.screen import say, show_result
from animask.config import read_toml, resolve
from animask.errors import InputError

Preset = StrEnum("Preset", ["paper", "released", "compact", "tiny"])
Masks = StrEnum("Masks", ["found", "taught"])
Perceptual = StrEnum("Perceptual", ["vgg19", "lpips"])
TrainPrecision = StrEnum("TrainPrecision", ["auto", "fp32", "bf16"])
DATA, START, LENGTH = "Data", "Where it begins", "Length and pieces"
SETTINGS = "Settings (each overrides the preset and --config)"
FLAGS = ("batch", "lr", "masks", "perceptual", "precision", "workers", "seed", "limit_videos")
LENGTHS = ("steps", "epochs", "minutes")
PLACES = (("data", "data"), ("stills_dir", "stills"))
EXIT_CODES = {"interrupted": 130, "terminated": 143}

Dataset = Annotated[
    str | None, typer.Option(help="vox, taichi, bair, toons, or a folder.", rich_help_panel=DATA, show_default=False)
]
Data = Annotated[
    Path | None, typer.Option(help="Where the data set is, else $ANIMASK_DATA/NAME.", rich_help_panel=DATA)
]
LimitVideos = Annotated[int | None, typer.Option(min=1, help="Use no more clips.", rich_help_panel=DATA)]
Stills = Annotated[Path | None, typer.Option(help="Pictures for the share `stills` of a recipe.", rich_help_panel=DATA)]
Out = Annotated[Path, typer.Option("--out", "-o", help="The run folder: weights, checkpoints, log, previews.")]
PresetOption = Annotated[Preset | None, typer.Option(help="Sizes and settings; default: paper.", rich_help_panel=START)]
Config = Annotated[
    Path | None,
    typer.Option(help="A recipe: a bundled name, or TOML with \\[model] and \\[train].", rich_help_panel=START),
]
Init = Annotated[
    str | None, typer.Option(help="Go on from these weights; they bring their sizes.", rich_help_panel=START)
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue the run in --out with its settings.", rich_help_panel=START)
]
Steps = Annotated[int | None, typer.Option(min=1, help="Length of the run.", rich_help_panel=LENGTH)]
Epochs = Annotated[int | None, typer.Option(min=1, help="Or in epochs.", rich_help_panel=LENGTH)]
Minutes = Annotated[
    float | None, typer.Option(min=0.0, help="Or in minutes of training, without decoding.", rich_help_panel=LENGTH)
]
Processes = Annotated[
    int | None,
    typer.Option("--ranks", min=1, help="Processes on a CPU; default: one a core, 4 at most.", rich_help_panel=LENGTH),
]
BatchOption = Annotated[int | None, typer.Option(min=1, help="Samples per process.", rich_help_panel=SETTINGS)]
Rate = Annotated[float | None, typer.Option(help="Learning rate.", rich_help_panel=SETTINGS)]
Resolution = Annotated[int | None, typer.Option(min=16, help="Pixels of the frames.", rich_help_panel=SETTINGS)]
MasksOption = Annotated[
    Masks | None, typer.Option(help="found: as in the paper; taught: shown as clay.", rich_help_panel=SETTINGS)
]
PerceptualOption = Annotated[
    Perceptual | None, typer.Option(help="Of found masks; lpips needs no download.", rich_help_panel=SETTINGS)
]
Precision = Annotated[TrainPrecision | None, typer.Option(help="bf16 or fp32.", rich_help_panel=SETTINGS)]
Workers = Annotated[int | None, typer.Option(min=0, help="Threads that decode; loaders.", rich_help_panel=SETTINGS)]
Seed = Annotated[int | None, typer.Option(min=0, help="Of weights and samples.", rich_help_panel=SETTINGS)]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]


def train(
    context: typer.Context,
    dataset: Dataset = None,
    data: Data = None,
    limit_videos: LimitVideos = None,
    stills: Stills = None,
    out: Out = Path("runs/train"),
    preset: PresetOption = None,
    config: Config = None,
    init: Init = None,
    resume: Resume = False,
    steps: Steps = None,
    epochs: Epochs = None,
    minutes: Minutes = None,
    ranks: Processes = None,
    batch: BatchOption = None,
    lr: Rate = None,
    resolution: Resolution = None,
    masks: MasksOption = None,
    perceptual: PerceptualOption = None,
    precision: Precision = None,
    workers: Workers = None,
    seed: Seed = None,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train the four networks; prints the path of the weights. Several GPUs: torchrun -m animask train ...

    [bold]Examples[/bold]

    animask train --config first --out runs/first

    animask train --dataset vox --data /data/vox --out runs/vox
    """
    launch(context.params)


def launch(flags: dict[str, Any]) -> None:
    """Put the settings together, train, and say how it ended."""
    from animask.ranks import count_ranks
    from animask.training import Run, settings
    from animask.training import train as run_training

    out, resume, init, device = (flags[name] for name in ("out", "resume", "init", "device"))
    recipe = settings(out, resume, init, read_toml(flags["config"]) if flags["config"] else {})
    name, model, training = resolve(flags["preset"] and flags["preset"].value, flags["dataset"], recipe, changes(flags))
    if flags["stills"] and not training.stills:
        raise InputError("--stills gives pictures, but their share of the samples is 0.", "Set stills in a recipe.")
    run = Run(out, name, device, init, resume, count_ranks(device, flags["ranks"]))
    report = mute if flags["quiet"] else say
    outcome = run_training(model, training, run, report)
    if outcome.weights:  # of the process that leads
        report(f"{outcome.ended} at step {outcome.step}, {outcome.samples_per_second:.1f} samples/s")
        show_result(outcome, outcome.weights, flags["as_json"])
    if outcome.ended in EXIT_CODES:
        sys.exit(EXIT_CODES[outcome.ended])


def mute(text: str) -> None:
    """Say nothing."""


def changes(flags: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the flags that were given change in the settings."""
    values = {name: flags[name] for name in (*FLAGS, *LENGTHS)}
    values |= {name: flags[flag] and str(Path(flags[flag]).absolute()) for name, flag in PLACES}
    values = {name: value for name, value in values.items() if value is not None}
    if any(name in values for name in LENGTHS):  # the recipe's are replaced
        values = dict.fromkeys(("steps", "minutes")) | values
    return {"train": values, "model": {"resolution": flags["resolution"]} if flags["resolution"] else {}}
