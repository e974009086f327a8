"""`animask bench`: how fast it is here."""

from typing import Annotated

import typer

from animask.cli.animate import Batch, Device, Precision, PrecisionOption, Weights
from animask.cli.screen import say, show_result

RATE = "frames/s"
ROWS = [("networks", "networks", RATE), ("reference", "the plain ones, fp32", RATE), ("ratio", "ratio", "×")]
ROWS += [("pipeline", "whole animate", RATE), ("gflop", "arithmetic", "GFLOP a frame")]


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
        show_result(speed, "", as_json)
    say(f"{speed['weights']} ({speed['preset']}, {speed['resolution']} pixels), batch {batch}")
    say(f"{speed['device']}, {speed['precision']}, {speed['threads']} threads; medians")
    for key, name, unit in ROWS:
        say(f"{name:<22}{speed[key]:8.2f} {unit}")
