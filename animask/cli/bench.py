"""`animask bench`: how fast it is here."""

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from animask.cli.animate import Batch, Device, Precision, PrecisionOption, Weights

if TYPE_CHECKING:
    from rich.table import Table

    from animask.benchmark import Speed
    from animask.datasets import DataSpeed
    from animask.timing import Spread
    from animask.training import StepSpeed


def bench(
    preset: Annotated[str, typer.Option(help="Random weights of this preset, in place of --weights.")] = "",
    weights: Weights = "portrait",
    device: Device = "auto",
    precision: PrecisionOption = Precision.auto,
    batch: Batch = 8,
    data: Annotated[bool, typer.Option("--data", help="The data side of training instead: pairs/s per core.")] = False,
    train: Annotated[
        bool, typer.Option("--train", help="A training step instead, of --preset or the paper's.")
    ] = False,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each measurement, about.")] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Measure the speed on the example: networks, stages, the plain networks beside them, what the machine allows.

    [bold]Examples[/bold]

    animask bench --preset compact

    animask bench --weights portrait --device cpu --precision fp32 --json

    animask bench --data

    animask bench --train --preset compact --batch 4
    """
    if data:
        bench_data(seconds, as_json)
        return
    if train:
        bench_steps(preset or "paper", device, precision.value, batch, seconds, as_json)
        return
    from animask.animation import Settings
    from animask.benchmark import measure_speed

    settings = Settings(weights=weights, device=device, precision=precision.value, batch=batch)
    speed = measure_speed(settings, preset, seconds)
    if as_json:
        print(json.dumps(asdict(speed)))
    show(speed)


def bench_steps(preset: str, device: str, precision: str, batch: int, seconds: float, as_json: bool) -> None:
    """`--train`: how fast a training step is, beside a plain loop."""
    from dataclasses import replace

    from animask.config import preset as preset_of
    from animask.training import measure_steps

    model, config = preset_of(preset)
    speed = measure_steps(model, replace(config, batch=batch), device, precision, seconds)
    if as_json:
        print(json.dumps(asdict(speed)))
    show_steps(speed)


def bench_data(seconds: float, as_json: bool) -> None:
    """`--data`: how fast training pairs come, on the example's driver."""
    from animask.datasets import measure_data
    from animask.samples import write_driver

    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "driver.mp4"
        write_driver(clip)
        speed = measure_data(clip, seconds=seconds)
    if as_json:
        print(json.dumps(asdict(speed)))
    show_data(speed)


def show_data(speed: "DataSpeed") -> None:
    """The figures of the data side, on stderr."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"pairs of {speed.resolution}×{speed.resolution} frames", title_justify="left", title_style="")
    table.add_column("")
    table.add_column("pairs/s per core", justify="right")
    rows = (("from the cache", speed.cache), ("decoding the video each time", speed.decoding), ("toons", speed.toons))
    for name, value in rows:
        table.add_row(name, f"{value:.0f}")
    Console(stderr=True).print(table)


def show(speed: "Speed") -> None:
    """The figures as a table, on stderr."""
    from rich.console import Console

    limit = speed.limit
    what = f"{speed.weights} ({speed.preset}, {speed.resolution}×{speed.resolution}), batch {speed.batch}"
    where = f"{speed.device}, {speed.precision}, {speed.threads} threads"
    rows = [("networks", speed.networks, "frames/s"), ("the plain ones, fp32", speed.reference, "frames/s")]
    rows += [("ratio", speed.ratio, "×"), ("whole animate", speed.pipeline, "frames/s")]
    rows += [(f"  {name}", stage.ms, f"ms a frame, {stage.share:.0%}") for name, stage in speed.stages.items()]
    console = Console(stderr=True)
    console.print(tabulate(f"{what}\n{where}", rows))
    for line in (
        f"arithmetic: {limit.gflop:.2f} GFLOP a frame ({limit.gflop_fast:.2f} in the fast form); here a large "
        f"convolution runs at {limit.convolution:.0f} GFLOP/s, a matrix product at {limit.product:.0f}",
        f"limit: {limit.frames:.1f} frames/s, of which the networks reach {limit.share:.0%}",
        f"peak memory: {in_megabytes(speed.memory)}, of the GPU: {in_megabytes(speed.gpu_memory)}",
    ):
        console.print(line, soft_wrap=True, highlight=False)


def show_steps(speed: "StepSpeed") -> None:
    """The figures of a training step, on stderr."""
    from rich.console import Console

    what = f"{speed.preset}, {speed.resolution}×{speed.resolution}, batch {speed.batch}, loss {speed.loss}"
    rows = [("training", speed.steps, "samples/s"), ("a plain loop, fp32", speed.reference, "samples/s")]
    console = Console(stderr=True)
    console.print(tabulate(f"{what}\n{speed.device}, {speed.precision}", [*rows, ("ratio", speed.ratio, "×")]))
    if speed.gpu_memory is not None:
        console.print(f"peak memory of the GPU: {in_megabytes(speed.gpu_memory)}", highlight=False)


def tabulate(title: str, rows: "list[tuple[str, Spread, str]]") -> "Table":
    """A table of names, spreads and their units."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="")
    for column in ("", "median", "quartiles", "rounds", "unit"):
        table.add_column(column, justify="left" if column in ("", "unit") else "right")
    for name, value, unit in rows:
        table.add_row(name, f"{value.median:.2f}", f"{value.low:.2f} - {value.high:.2f}", str(value.rounds), unit)
    return table


def in_megabytes(size: int | None) -> str:
    """A size for people."""
    return "not known" if size is None else f"{size / 1e6:.0f} MB"
