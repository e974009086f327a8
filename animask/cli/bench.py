"""`animask bench`: how fast it is here."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from animask.cli.animate import Batch, Device, Precision, PrecisionOption, Weights

if TYPE_CHECKING:
    from animask.benchmark import Speed


def bench(
    preset: Annotated[str, typer.Option(help="Random weights of this preset, in place of --weights.")] = "",
    weights: Weights = "portrait",
    device: Device = "auto",
    precision: PrecisionOption = Precision.auto,
    batch: Batch = 8,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each of the two measurements, about.")] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Measure the speed on the example: networks, stages, the plain networks beside them, what the machine allows.

    [bold]Examples[/bold]

    animask bench --preset compact

    animask bench --weights portrait --device cpu --precision fp32 --json
    """
    from animask.animation import Settings
    from animask.benchmark import measure_speed

    settings = Settings(weights=weights, device=device, precision=precision.value, batch=batch)
    speed = measure_speed(settings, preset, seconds)
    if as_json:
        print(json.dumps(asdict(speed)))
    show(speed)


def show(speed: "Speed") -> None:
    """The figures as a table, on stderr."""
    from rich.console import Console
    from rich.table import Table

    limit = speed.limit
    what = f"{speed.weights} ({speed.preset}, {speed.resolution}×{speed.resolution}), batch {speed.batch}"
    where = f"{speed.device}, {speed.precision}, {speed.threads} threads"
    table = Table(title=f"{what}\n{where}", title_justify="left", title_style="")
    for column in ("", "median", "quartiles", "rounds", "unit"):
        table.add_column(column, justify="left" if column in ("", "unit") else "right")
    rows = [("networks", speed.networks, "frames/s"), ("the plain ones, fp32", speed.reference, "frames/s")]
    rows += [("ratio", speed.ratio, "×"), ("whole animate", speed.pipeline, "frames/s")]
    rows += [(f"  {name}", stage.ms, f"ms a frame, {stage.share:.0%}") for name, stage in speed.stages.items()]
    for name, value, unit in rows:
        table.add_row(name, f"{value.median:.2f}", f"{value.low:.2f} - {value.high:.2f}", str(value.rounds), unit)
    console = Console(stderr=True)
    console.print(table)
    for line in (
        f"arithmetic: {limit.gflop:.2f} GFLOP a frame ({limit.gflop_fast:.2f} in the fast form); here a large "
        f"convolution runs at {limit.convolution:.0f} GFLOP/s, a matrix product at {limit.product:.0f}",
        f"limit: {limit.frames:.1f} frames/s, of which the networks reach {limit.share:.0%}",
        f"peak memory: {in_megabytes(speed.memory)}, of the GPU: {in_megabytes(speed.gpu_memory)}",
    ):
        console.print(line, soft_wrap=True, highlight=False)


def in_megabytes(size: int | None) -> str:
    """A size for people."""
    return "not known" if size is None else f"{size / 1e6:.0f} MB"
