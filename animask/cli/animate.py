"""`animask animate`: a picture and a video to an MP4."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

Layout = StrEnum("Layout", ["result", "compare", "strip"])
Precision = StrEnum("Precision", ["auto", "fp32", "bf16", "fp16"])


def read_threshold(text: str | None) -> str | None:
    """Check the form of --threshold: "median" or a number in [0, 1]."""
    if text is None or text == "median":
        return text
    try:
        valid = 0.0 <= float(text) <= 1.0
    except ValueError:
        valid = False
    if not valid:
        raise typer.BadParameter("give median or a number between 0 and 1")
    return text


Device = Annotated[str, typer.Option(envvar="ANIMASK_DEVICE", help="auto, cpu, cuda, cuda:N or mps.")]
Weights = Annotated[str, typer.Option(envvar="ANIMASK_WEIGHTS", help="Bundled name or .safetensors file.")]
METHOD = "The method (paper, section 3)"


def animate(
    source: Annotated[Path, typer.Argument(help="The picture to animate.", show_default=False)],
    driver: Annotated[Path, typer.Argument(help="The video whose motion it takes.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the result goes: .mp4, .webm, .gif, .mov.")],
    weights: Weights = "portrait",
    device: Device = "auto",
    precision: Annotated[Precision, typer.Option(help="bf16 where it is fast, else fp32.")] = Precision.auto,
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Driver frames at a time.")] = 8,
    threshold: Annotated[
        str | None,
        typer.Option(
            help="ρ of P_test: median or a number in [0, 1].", callback=read_threshold, rich_help_panel=METHOD
        ),
    ] = None,
    scale: Annotated[
        float | None, typer.Option(min=0.05, max=2.0, help="Scale of P_test.", rich_help_panel=METHOD)
    ] = None,
    layout: Annotated[
        Layout,
        typer.Option(help="result; compare: source, driver, result; strip: the columns of the paper's figure 3."),
    ] = Layout.result,
    audio: Annotated[bool, typer.Option("--audio/--no-audio", help="Keep the driver's sound.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a report as JSON.")] = False,
) -> None:
    """Animate the picture SOURCE with the motion of the video DRIVER.

    [bold]Examples[/bold]

    animask animate face.png driver.mp4 -o out.mp4

    animask animate face.png driver.mp4 -o figure3.mp4 --layout strip --no-audio
    """
    from animask.animation import Settings, animate_file
    from animask.cli.screen import Terminated, progress_bar, say, show_result

    rho = float(threshold) if threshold not in (None, "median") else threshold
    settings = Settings(
        weights=weights,
        device=device,
        precision=precision.value,
        batch=batch,
        threshold=rho,  # type: ignore[arg-type]
        scale=scale,
        audio=audio,
        layout=layout.value,  # type: ignore[arg-type]
        overwrite=overwrite,
    )
    at = (0, 0)

    with progress_bar("animating", "frames", quiet) as show:

        def progress(done: int, total: int) -> None:
            nonlocal at
            at = done, total
            if show:
                show(done, total)

        try:
            report = animate_file(source, driver, output, settings, progress)
        except (KeyboardInterrupt, Terminated) as stop:
            say(f"animask: interrupted at frame {at[0]} of {at[1]}; nothing was written")
            sys.exit(143 if isinstance(stop, Terminated) else 130)
    for warning in report.warnings:
        say(f"warning: {warning}")
    if not quiet:
        speed = report.frames / report.seconds
        say(f"{report.frames} frames, {report.seconds:.1f} s, {speed:.1f} frames/s, {report.device} {report.precision}")
    show_result(report, str(output), as_json)
