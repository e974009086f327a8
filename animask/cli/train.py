"""`animask train`: a folder of videos to weights."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from animask.cli.animate import Device

Preset = StrEnum("Preset", ["paper", "released", "compact", "tiny"])
Perceptual = StrEnum("Perceptual", ["vgg19", "random", "pixels"])
TrainPrecision = StrEnum("TrainPrecision", ["auto", "fp32", "bf16"])
DATA, SETTINGS, LIMITS = "Data", "Settings (each overrides the preset and --config)", "Length and pieces"


def train(
    dataset: Annotated[
        str | None,
        typer.Option(help="vox, taichi, bair, toons, or a folder.", rich_help_panel=DATA, show_default=False),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Where the data set is, else $ANIMASK_DATA/NAME.", rich_help_panel=DATA)
    ] = None,
    limit_videos: Annotated[int | None, typer.Option(min=1, help="Use no more clips.", rich_help_panel=DATA)] = None,
    out: Annotated[Path, typer.Option(help="The run folder: weights, checkpoints, log, previews.")] = Path(
        "runs/train"
    ),
    preset: Annotated[Preset | None, typer.Option(help="Sizes and settings; default: paper.")] = None,
    config: Annotated[Path | None, typer.Option(help="A recipe: TOML with \\[model] and \\[train].")] = None,
    init: Annotated[str | None, typer.Option(help="Start from these weights (fine-tune).")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    steps: Annotated[int | None, typer.Option(min=1, help="In place of epochs.", rich_help_panel=LIMITS)] = None,
    epochs: Annotated[int | None, typer.Option(min=1, rich_help_panel=LIMITS)] = None,
    time_limit: Annotated[
        float | None, typer.Option(min=0.0, help="Minutes; then save and end.", rich_help_panel=LIMITS)
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Samples per process.", rich_help_panel=SETTINGS)] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.", rich_help_panel=SETTINGS)] = None,
    resolution: Annotated[int | None, typer.Option(min=16, rich_help_panel=SETTINGS)] = None,
    perceptual: Annotated[
        Perceptual | None,
        typer.Option(
            help="vgg19: ImageNet weights; random: none, plus L1; pixels: no network.", rich_help_panel=SETTINGS
        ),
    ] = None,
    precision: Annotated[TrainPrecision | None, typer.Option(rich_help_panel=SETTINGS)] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Loader processes.", rich_help_panel=SETTINGS)] = None,
    seed: Annotated[int | None, typer.Option(min=0, rich_help_panel=SETTINGS)] = None,
    compile_it: Annotated[bool, typer.Option("--compile", help="torch.compile.", rich_help_panel=SETTINGS)] = False,
    device: Device = "auto",
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but errors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Train the four networks on a data set; prints the path of the weights.

    Several GPUs: torchrun --nproc-per-node 4 -m animask train ...

    [bold]Examples[/bold]

    animask train --dataset vox --data /data/vox --out runs/vox

    animask train --dataset toons --preset compact --resolution 128 --perceptual pixels --steps 2000
    """
    from animask.cli.screen import say, show_result
    from animask.config import read_toml, resolve
    from animask.training import Run
    from animask.training import train as run_training

    train_flags: dict[str, Any] = {"steps": steps, "epochs": epochs, "batch": batch, "lr": lr, "workers": workers}
    train_flags |= {"perceptual": perceptual and perceptual.value, "precision": precision and precision.value}
    train_flags |= {"seed": seed, "compile": compile_it or None}
    changes = {"train": given(train_flags), "model": given({"resolution": resolution})}
    recipe = read_toml(config) if config else {}
    name, model_config, train_config = resolve(preset and preset.value, dataset, recipe, changes)
    run = Run(out, name, data, device, init, resume, time_limit, limit_videos)
    outcome = run_training(model_config, train_config, run, (lambda text: None) if quiet else say)
    if not quiet:
        say(f"{outcome.ended} at step {outcome.step}, {outcome.samples_per_second:.1f} samples/s")
    if outcome.weights:
        show_result(outcome, outcome.weights, as_json)
    if outcome.ended == "interrupted":
        sys.exit(130)


def given(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags that were given."""
    return {key: value for key, value in flags.items() if value is not None}
