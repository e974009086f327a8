"""`animask bench`: how fast it is here."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from animask.cli.animate import Batch, Device, Precision, PrecisionOption, Weights
from animask.cli.screen import say

if TYPE_CHECKING:
    from animask.benchmark import Speed


def bench(
    preset: Annotated[str, typer.Option(help="Random weights of this preset, in place of --weights.")] = "",
    weights: Weights = "portrait",
    device: Device = "auto",
    precision: PrecisionOption = Precision.auto,
    batch: Batch = 8,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each measurement, about.")] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Measure the speed: networks, the plain networks beside them, the whole of animate, arithmetic.

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
    """The figures, on stderr."""
    say(f"{speed.weights} ({speed.preset}, {speed.resolution}×{speed.resolution}), batch {speed.batch}")
    say(f"{speed.device}, {speed.precision}, {speed.threads} threads; medians, in brackets quartiles")
    rows = [("networks", speed.networks, "frames/s"), ("the plain ones, fp32", speed.reference, "frames/s")]
    rows += [("ratio", speed.ratio, "×"), ("whole animate", speed.pipeline, "frames/s")]
    for name, value, unit in rows:
        say(f"{name:<22}{value.median:8.2f} {unit:<11} ({value.low:.2f} - {value.high:.2f}, {value.rounds} rounds)")
    say(f"{speed.gflop:.2f} GFLOP a frame; the networks do {speed.gflop * speed.networks.median:.0f} GFLOP/s")
