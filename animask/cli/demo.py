"""`animask demo`: the bundled example, animated."""

from pathlib import Path
from typing import Annotated

import typer

from animask.cli.animate import Device, Weights


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder that it makes.")] = Path("animask-demo"),
    weights: Weights = "portrait",
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write into a folder that exists.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
) -> None:
    """Animate the example that comes with animask: a drawn face, and another one that talks.

    Writes face.png, driver.mp4, result.mp4 and strip.mp4 (the columns of the paper's figure 3).

    [bold]Examples[/bold]

    animask demo

    animask demo -o example --weights runs/first/weights.safetensors
    """
    from animask.animation import Settings, animate_file, check_output
    from animask.cli.screen import progress_bar
    from animask.samples import main as write_example
    from animask.weights import find_weights

    check_output(output, (), overwrite)
    find_weights(weights)
    write_example(output)
    for layout in ("result", "strip"):
        settings = Settings(weights=weights, device=device, layout=layout, overwrite=overwrite)  # type: ignore[arg-type]
        path = output / f"{layout}.mp4"
        with progress_bar(layout, "frames", quiet) as show:
            animate_file(output / "face.png", output / "driver.mp4", path, settings, show)
        print(path)
