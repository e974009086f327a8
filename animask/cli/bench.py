"""`animask bench`: how fast it is here."""

from typing import Annotated

from typer import Option

from animask.cli.animate import Batch, Device, Precision, PrecisionOption, Weights
from animask.cli.screen import say, show_result


def bench(
    preset: Annotated[str, Option(help="Random weights of this preset, in place of --weights.")] = "",
    weights: Weights = "portrait",
    device: Device = "auto",
    precision: PrecisionOption = Precision.auto,
    batch: Batch = 8,
    seconds: Annotated[float, Option(min=0.1, help="Of each measurement, about.")] = 10.0,
    as_json: Annotated[bool, Option("--json", help="Print as JSON.")] = False,
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
    say(f"networks              {speed['networks']:8.2f} frames/s")
    say(f"the plain ones, fp32  {speed['reference']:8.2f} frames/s")
    say(f"ratio                 {speed['ratio']:8.2f} ×")
    say(f"whole animate         {speed['pipeline']:8.2f} frames/s")
    say(f"arithmetic            {speed['gflop']:8.2f} GFLOP a frame")
