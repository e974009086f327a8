"""`animask train`: a folder of videos to weights."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from animask.cli.animate import Device
from animask.cli.screen import say, show_result
from animask.config import ModelConfig, TrainConfig, read_toml, resolve
from animask.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from animask.training import Progress, Run

Preset = StrEnum("Preset", ["paper", "released", "compact", "tiny"])
Perceptual = StrEnum("Perceptual", ["vgg19", "random", "pixels"])
TrainPrecision = StrEnum("TrainPrecision", ["auto", "fp32", "bf16"])
DATA, START, LENGTH = "Data", "Where it begins", "Length and pieces"
SETTINGS = "Settings (each overrides the preset and --config)"
FLAGS = ("batch", "lr", "perceptual", "precision", "workers", "seed", "compile", "limit_videos")
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
    str | None, typer.Option(help="Fine-tune these weights; they bring their sizes.", rich_help_panel=START)
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue the run in --out with its settings.", rich_help_panel=START)
]
Steps = Annotated[int | None, typer.Option(min=1, help="In place of epochs.", rich_help_panel=LENGTH)]
Epochs = Annotated[int | None, typer.Option(min=1, help="In place of steps.", rich_help_panel=LENGTH)]
TimeLimit = Annotated[float | None, typer.Option(min=0.0, help="Minutes; then save and end.", rich_help_panel=LENGTH)]
BatchOption = Annotated[int | None, typer.Option(min=1, help="Samples per process.", rich_help_panel=SETTINGS)]
Rate = Annotated[float | None, typer.Option(help="Learning rate.", rich_help_panel=SETTINGS)]
Resolution = Annotated[int | None, typer.Option(min=16, help="Pixels of the frames.", rich_help_panel=SETTINGS)]
PerceptualOption = Annotated[
    Perceptual | None,
    typer.Option(help="vgg19: ImageNet weights; random: none, plus L1; pixels: no network.", rich_help_panel=SETTINGS),
]
Precision = Annotated[TrainPrecision | None, typer.Option(help="bf16 or fp32.", rich_help_panel=SETTINGS)]
Workers = Annotated[int | None, typer.Option(min=0, help="Loader processes.", rich_help_panel=SETTINGS)]
Seed = Annotated[int | None, typer.Option(min=0, help="Of weights and samples.", rich_help_panel=SETTINGS)]
Compile = Annotated[bool | None, typer.Option("--compile/--no-compile", rich_help_panel=SETTINGS, show_default=False)]
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
    time_limit: TimeLimit = None,
    batch: BatchOption = None,
    lr: Rate = None,
    resolution: Resolution = None,
    perceptual: PerceptualOption = None,
    precision: Precision = None,
    workers: Workers = None,
    seed: Seed = None,
    compile: Compile = None,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train the four networks; prints the path of the weights. Several GPUs: torchrun -m animask train ...

    [bold]Examples[/bold]

    animask train --dataset vox --data /data/vox --out runs/vox

    animask train --config first --out runs/first
    """
    recipe = begin(config, out, resume, init)
    name, model, training = resolve(preset and preset.value, dataset, recipe, changes(context.params))
    check_stills(stills, training)
    from animask.training import Run

    launch(model, training, Run(out, name, device, init, resume, time_limit), quiet, as_json)


def check_stills(stills: Path | None, training: TrainConfig) -> None:
    """Raise InputError for pictures that no sample would be made of."""
    if stills and not training.stills:
        raise InputError("--stills gives pictures, but their share of the samples is 0", "set stills in a recipe")


def begin(config: Path | None, out: Path, resume: bool, init: str | None) -> dict[str, Any]:
    """The recipe to begin with: of the run or the weights that are continued, if any, then that of --config."""
    recipe = read_toml(config) if config else {}
    if not resume and not init:
        return recipe
    from animask.training import settings

    return settings(out, resume, init, recipe)


def changes(flags: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the flags that were given change in the settings."""
    values = {name: flags[name] for name in FLAGS}
    values |= {name: flags[flag] and str(Path(flags[flag]).absolute()) for name, flag in PLACES}
    values |= {name: flags[name] for name in ("steps", "epochs")}
    values = {name: value for name, value in values.items() if value is not None}
    if "epochs" in values:  # which steps in the recipe would override
        values.setdefault("steps", None)
    return {"train": values, "model": {"resolution": flags["resolution"]} if flags["resolution"] else {}}


def launch(model: ModelConfig, training: TrainConfig, run: "Run", quiet: bool, as_json: bool) -> None:
    """Train, and say how it ended; only the process that leads prints the result."""
    from animask.training import train as run_training

    with watch(quiet) as (report, show):
        outcome = run_training(model, training, run, report, show)
        if outcome.weights:
            report(f"{outcome.ended} at step {outcome.step}, {outcome.samples_per_second:.1f} samples/s")
    if outcome.weights:
        show_result(outcome, outcome.weights, as_json)
    if outcome.ended in EXIT_CODES:
        sys.exit(EXIT_CODES[outcome.ended])


@contextmanager
def watch(quiet: bool) -> Iterator[tuple[Callable[[str], None], "Callable[[Progress], None] | None"]]:
    """What takes lines, and what takes progress: on a terminal a live table under the lines, elsewhere lines only."""
    if quiet:
        yield (lambda text: None), (lambda progress: None)
    elif not sys.stderr.isatty():
        yield say, None
    else:
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True)
        live = Live(console=console, auto_refresh=False)

        def show(progress: "Progress") -> None:
            live.start()  # at the first progress, so that processes that do not lead show nothing
            live.update(draw(progress), refresh=True)

        try:
            yield (lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True)), show
        finally:
            live.stop()


def draw(progress: "Progress") -> "Table":
    """The live table: how far, the losses, the masks, and L1 beside that of copying the source."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    figures = progress.figures
    losses = (("all", "loss"), ("c", "loss_c"), ("f", "loss_f"), ("mask", "loss_mask"))
    left = timedelta(seconds=round(progress.seconds_left))
    pace = f"{progress.step}/{progress.total}  {figures['samples_per_second']:.1f} samples/s  {left} left"
    bar = Table.grid(padding=(0, 2))
    bar.add_row(ProgressBar(progress.total, progress.step, width=30), pace)
    table = Table.grid(padding=(0, 2))
    table.add_row("steps", bar)
    table.add_row("losses", "  ".join(f"{name} {figures[key]:.4f}" for name, key in losses))
    mean, spread, motion = (figures[f"mask_{name}"] for name in ("mean", "spread", "motion"))
    table.add_row("masks", f"mean {mean:.3f}  spread {spread:.3f}  |m(d)-m(s)| {motion:.3f}")
    shown = (("coarse", "l1_c"), ("final", "l1_f"), ("copying the source", "l1_copy"))
    table.add_row("L1", "  ".join(f"{name} {figures[key]:.4f}" for name, key in shown))
    return table
