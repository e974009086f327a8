"""`animask animate`: pictures and a video to videos."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from animask import texts
from animask.errors import InputError

if TYPE_CHECKING:
    from animask.animation import Job, Settings

Layout = StrEnum("Layout", ["result", "compare", "strip"])
Precision = StrEnum("Precision", ["auto", "fp32", "bf16", "fp16"])
Match = StrEnum("Match", ["none", "first"])


def read_threshold(text: str) -> float | str:
    """ρ of P_test: "median" or a number in [0, 1]."""
    if text == "median":
        return text
    try:
        rho = float(text)
    except ValueError:
        rho = -1.0
    if not 0.0 <= rho <= 1.0:
        raise typer.BadParameter("give median or a number between 0 and 1")
    return rho


def read_fps(text: str) -> Fraction:
    """Frames a second: 25, 29.97 or 30000/1001."""
    try:
        fps = texts.read_fps(text)
    except InputError:
        fps = Fraction(0)
    if not 0 < fps <= 1000:
        raise typer.BadParameter("give a number such as 25 or 30000/1001")
    return fps


def read_colour(text: str) -> tuple[int, ...]:
    """R,G,B from 0 to 255, or #rrggbb."""
    try:
        colour = tuple(bytes.fromhex(text[1:]) if text.startswith("#") else bytes(int(x) for x in text.split(",")))
    except ValueError:
        colour = ()
    if len(colour) != 3:
        raise typer.BadParameter("give R,G,B from 0 to 255, or #rrggbb")
    return colour


CROPS, METHOD, MODEL = "Crops", "The method (paper, section 3)", "Weights and device"
OUTPUT, PART, MANY, WORDS = "Output", "Part of the driver", "Many at once", "What is printed"
CROP = "auto|none|centre|X,Y,SIZE"

Device = Annotated[
    str, typer.Option(envvar="ANIMASK_DEVICE", help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=MODEL)
]
Weights = Annotated[
    str,
    typer.Option(
        envvar="ANIMASK_WEIGHTS",
        help="Bundled name, .safetensors file or hf://owner/repo.",
        rich_help_panel=MODEL,
    ),
]
Inputs = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="SOURCE DRIVER",
        help="The picture to animate, or several, and the video, GIF or folder of pictures whose motion it takes.",
        show_default=False,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        help=".mp4, .webm, .mov or .gif; without a suffix, a folder of PNG frames, which goes on where it was "
        "interrupted. With several sources: the folder for the videos.",
        show_default=False,
    ),
]
SourceCrop = Annotated[
    str,
    typer.Option(
        metavar=CROP,
        help="The square of the picture. auto: the head, for weights of faces, else what the mask marks; none: all of "
        "it, nothing cut off or stretched; centre: the largest square; or pixels.",
        rich_help_panel=CROPS,
    ),
]
DriverCrop = Annotated[
    str, typer.Option(metavar=CROP, help="The one square of all driver frames.", rich_help_panel=CROPS)
]
Face = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Which face auto takes: 1 is the largest; -v lists them. Default: the largest, and a picture that is a "
        "square crop of a head already stays whole.",
        rich_help_panel=CROPS,
    ),
]
MatchOption = Annotated[
    Match,
    typer.Option(
        help="first: move and scale the driver's square until the mask of its first frame lies as the source's.",
        rich_help_panel=CROPS,
    ),
]
PreviewOption = Annotated[
    Path | None, typer.Option(metavar="PICTURE", help="Draw both crops there and stop.", rich_help_panel=CROPS)
]
PasteOption = Annotated[
    bool, typer.Option("--paste", help="The whole picture at its own size, with the square moving.")
]
LayoutOption = Annotated[
    Layout,
    typer.Option(
        help="result; compare: source, driver, result; strip: the columns of the paper's figure 3.",
        rich_help_panel=OUTPUT,
    ),
]
Quality = Annotated[
    int, typer.Option(min=0, max=51, help="crf: 0 is lossless, 23 small, 51 worst.", rich_help_panel=OUTPUT)
]
Audio = Annotated[bool, typer.Option("--audio/--no-audio", help="Keep the driver's sound.", rich_help_panel=OUTPUT)]
Background = Annotated[
    Any,
    typer.Option(
        parser=read_colour, metavar="R,G,B|#HEX", help="Colour behind transparent pixels.", rich_help_panel=OUTPUT
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.", rich_help_panel=OUTPUT)]
Start = Annotated[float, typer.Option(min=0.0, metavar="SECONDS", help="Where to begin.", rich_help_panel=PART)]
End = Annotated[float | None, typer.Option(min=0.0, metavar="SECONDS", help="Where to stop.", rich_help_panel=PART)]
Fps = Annotated[
    Any,
    typer.Option(
        parser=read_fps, metavar="N|N/M", help="Frames a second, in place of the driver's.", rich_help_panel=PART
    ),
]
Pairs = Annotated[
    Path | None,
    typer.Option(
        metavar="CSV",
        help="A list with the columns source,driver,output in place of SOURCE and DRIVER; outputs go into -o.",
        rich_help_panel=MANY,
    ),
]
SkipExisting = Annotated[
    bool, typer.Option("--skip-existing", help="Leave out what is there already.", rich_help_panel=MANY)
]
PrecisionOption = Annotated[Precision, typer.Option(help="bf16 where it is fast, else fp32.", rich_help_panel=MODEL)]
Batch = Annotated[int, typer.Option(min=1, max=1024, help="Driver frames at a time.", rich_help_panel=MODEL)]
MaxPixels = Annotated[int, typer.Option(min=1, help="Largest picture, or frame, that is read.", rich_help_panel=MODEL)]
Threshold = Annotated[
    Any,
    typer.Option(
        parser=read_threshold,
        metavar="median|NUMBER",
        help="ρ of P_test, in \\[0, 1]; default: what the weights say.",
        rich_help_panel=METHOD,
    ),
]
Scale = Annotated[
    float | None,
    typer.Option(min=0.05, max=2.0, help="Scale of P_test; default: what the weights say.", rich_help_panel=METHOD),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress.", rich_help_panel=WORDS)]
Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", help="Faces and crops, device and why.", rich_help_panel=WORDS)
]
Json = Annotated[bool, typer.Option("--json", help="Print a report as JSON.", rich_help_panel=WORDS)]


def animate(
    inputs: Inputs = None,
    output: Output = None,
    paste: PasteOption = False,
    source_crop: SourceCrop = "auto",
    driver_crop: DriverCrop = "auto",
    face: Face = None,
    match: MatchOption = Match.none,
    preview: PreviewOption = None,
    layout: LayoutOption = Layout.result,
    quality: Quality = 17,
    audio: Audio = True,
    background: Background = "#ffffff",
    overwrite: Overwrite = False,
    start: Start = 0.0,
    end: End = None,
    fps: Fps = None,
    pairs: Pairs = None,
    skip_existing: SkipExisting = False,
    weights: Weights = "portrait",
    device: Device = "auto",
    precision: PrecisionOption = Precision.auto,
    batch: Batch = 8,
    max_pixels: MaxPixels = 100_000_000,
    threshold: Threshold = None,
    scale: Scale = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Animate the picture SOURCE with the motion of the video DRIVER.

    [bold]Examples[/bold]

    animask animate face.png driver.mp4 -o out.mp4

    animask animate a.jpg b.jpg driver.mp4 -o results --paste --skip-existing
    """
    run(SimpleNamespace(**locals()))


def run(flags: SimpleNamespace) -> None:
    """Do what the flags ask: a preview, one job or many. Their names are those of the parameters above."""
    from animask.animation import Settings, list_jobs, read_pairs

    inputs = flags.inputs or []
    settings = Settings(**{field.name: getattr(flags, field.name) for field in fields(Settings)})
    if flags.pairs is None and len(inputs) < 2:
        raise InputError("a SOURCE and a DRIVER are needed", "animask animate face.png driver.mp4 -o out.mp4")
    if flags.output is None and flags.preview is None and flags.pairs is None:
        raise InputError("where does the result go?", "add -o out.mp4")
    with spoken(flags.verbose):
        if flags.preview is not None:
            preview(inputs, settings, flags)
        elif flags.pairs is not None:
            if inputs:
                raise InputError("--pairs takes the place of SOURCE and DRIVER", "leave one of them out")
            animate_jobs(read_pairs(flags.pairs, flags.output), settings, flags)
        elif len(inputs) > 2:
            animate_jobs(list_jobs(inputs[:-1], inputs[-1], flags.output), settings, flags)
        else:
            animate_one(inputs[0], inputs[1], settings, flags)


def preview(inputs: list[Path], settings: "Settings", flags: SimpleNamespace) -> None:
    """`--preview`: a picture of both crops."""
    from animask.animation import preview_crops
    from animask.cli.screen import show_result

    if len(inputs) != 2:
        raise InputError("--preview shows one SOURCE and one DRIVER")
    show_result(preview_crops(inputs[0], inputs[1], flags.preview, settings), str(flags.preview), flags.as_json)


def animate_one(source: Path, driver: Path, settings: "Settings", flags: SimpleNamespace) -> None:
    """One job: a report, or the path of the result."""
    from animask.animation import Summary, animate_file, is_there
    from animask.cli.screen import say, show_result

    if int(os.environ.get("RANK", 0)) > 0:
        return  # one job is not divided among processes
    if flags.skip_existing and is_there(flags.output):
        say(f"{flags.output} is there already")
        show_result(Summary(skipped=[str(flags.output)]), str(flags.output), flags.as_json)
        return
    kept = "" if flags.output.suffix else ", but the frames so far are kept: the same command goes on"
    with watched(flags.quiet, f"nothing was written{kept}") as progress:
        report = animate_file(source, driver, flags.output, settings, progress)
    for warning in report.warnings:
        say(f"warning: {warning}")
    if not flags.quiet:
        speed = report.frames / report.seconds
        say(f"{report.frames} frames, {report.seconds:.1f} s, {speed:.1f} frames/s, {report.device} {report.precision}")
    show_result(report, str(flags.output), flags.as_json)


def animate_jobs(jobs: "list[Job]", settings: "Settings", flags: SimpleNamespace) -> None:
    """Many jobs: the paths of the results or a summary; exit code 1 if one failed."""
    from animask.animation import animate_many
    from animask.cli.screen import plain, say, show_result

    def tell(line: str) -> None:
        if not flags.quiet:
            say(line)

    quiet = flags.quiet or not sys.stderr.isatty()  # a line a job is enough for a log file
    with watched(quiet, "results that are whole stay") as progress:
        summary = animate_many(jobs, settings, flags.skip_existing, progress, tell)
    if int(os.environ.get("RANK", 0)) == 0:  # all processes have the same summary
        for report in summary.made:
            for warning in report.warnings:
                say(f"warning: {report.output}: {warning}")
        for failure in summary.failed:
            hint = f" Hint: {failure.hint.rstrip('.')}." if failure.hint else ""
            say(plain(f"failed: {failure.source} + {failure.driver}: {failure.error.rstrip('.')}.{hint}"))
        tell(f"{len(summary.made)} made, {len(summary.skipped)} there already, {len(summary.failed)} failed")
        paths = [report.output for report in summary.made] + summary.skipped
        if paths or flags.as_json:
            show_result(summary, "\n".join(paths), flags.as_json)
    if summary.failed:
        sys.exit(1)


@contextmanager
def watched(quiet: bool, fate: str) -> Iterator[Callable[[int, int], None]]:
    """A progress function (done, total); where the user stops it, says at which frame, and what is left (`fate`)."""
    from animask.cli.screen import Terminated, progress_bar, say

    at = (0, 0)
    with progress_bar("animating", "frames", quiet) as show:

        def progress(done: int, total: int) -> None:
            nonlocal at
            at = done, total
            if show:
                show(done, total)

        try:
            yield progress
        except (KeyboardInterrupt, Terminated) as stop:
            say(f"animask: interrupted at frame {at[0]} of {at[1]}; {fate}")
            sys.exit(143 if isinstance(stop, Terminated) else 130)


@contextmanager
def spoken(verbose: bool) -> Iterator[None]:
    """With -v, what the package logs goes to stderr."""
    from animask.cli.screen import say

    class Speaker(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say(record.getMessage())

    logger, speaker = logging.getLogger("animask"), Speaker()
    if verbose:
        logger.setLevel(logging.INFO)
        logger.addHandler(speaker)
    try:
        yield
    finally:
        logger.removeHandler(speaker)
