"""`animask animate`: pictures and a video to videos."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from animask.cli.screen import progress_bar, say, show_result, spoken
from animask.errors import InputError
from animask.files import read_fps

if TYPE_CHECKING:
    from animask.animation import Job, Settings

LayoutName = StrEnum("LayoutName", ["result", "compare", "strip"])
Precision = StrEnum("Precision", ["auto", "fp32", "bf16", "fp16"])


def read_threshold(text: str) -> float | str:
    """ρ of P_test: "median" or a number in [0, 1]."""
    if text == "median":
        return text
    with suppress(ValueError):
        if 0.0 <= float(text) <= 1.0:
            return float(text)
    raise typer.BadParameter("give median or a number between 0 and 1")


def read_colour(text: str) -> tuple[int, ...]:
    """#rrggbb or the name of a colour."""
    from PIL import ImageColor

    return ImageColor.getrgb(text)[:3]  # typer makes a usage error of its ValueError


CROPS, METHOD, MODEL = "Crops", "The method (paper, section 3)", "Weights and device"
OUTPUT, PART, MANY, WORDS = "Output", "Part of the driver", "Many at once", "What is printed"
CROP = "auto|none|centre|X,Y,SIZE"

WEIGHTS = "Bundled name, .safetensors file, or owner/name\\[@revision] on the Hub."
Device = Annotated[str, Option(envvar="ANIMASK_DEVICE", help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=MODEL)]
Weights = Annotated[str, Option(envvar="ANIMASK_WEIGHTS", help=WEIGHTS, rich_help_panel=MODEL)]
PrecisionOption = Annotated[Precision, Option(help="bf16 where it is fast, else fp32.", rich_help_panel=MODEL)]
Batch = Annotated[int, Option(min=1, max=1024, help="Driver frames at a time.", rich_help_panel=MODEL)]
RHO = "ρ of P_test, in \\[0, 1]; default: what the weights say."
Threshold = Annotated[Any, Option(parser=read_threshold, metavar="median|NUMBER", help=RHO, rich_help_panel=METHOD)]
SCALE = "Scale of P_test; default: what the weights say."
Scale = Annotated[float | None, Option(min=0.05, max=2.0, help=SCALE, rich_help_panel=METHOD)]
INPUTS = "The picture to animate, or several, and the video, GIF or folder of pictures whose motion it takes."
RESULT = ".mp4, .webm, .mov or .gif; none: a folder of PNG frames. With several sources: the folder for the videos."
Paste = Annotated[bool, Option("--paste", help="The whole picture at its own size, with the square moving.")]
SQUARE = "The square of the picture. auto: the head, for weights of faces, else the centre; none: all of it, "
SQUARE += "nothing cut off or stretched; centre: the largest square; or pixels."
SQUARES = "The square of the driver's frames; auto: a fixed one for each shot."
FACE = "Which face of the picture auto takes: 1 is the largest; -v lists them. Default: the largest, and a picture "
FACE += "that is a square crop of a head already stays whole."
HEAD = "Which face of the driver auto follows: 1 is the largest."
Preview = Annotated[Path | None, Option(metavar="PICTURE", help="Draw the crops and stop.", rich_help_panel=CROPS)]
LAYOUT = "result; compare: source, driver, result; strip: the columns of the paper's figure 3."
Audio = Annotated[bool, Option("--audio/--no-audio", help="Keep the driver's sound.", rich_help_panel=OUTPUT)]
BEHIND = "Colour behind transparent pixels."
Background = Annotated[Any, Option(parser=read_colour, metavar="#RRGGBB|NAME", help=BEHIND, rich_help_panel=OUTPUT)]
Overwrite = Annotated[bool, Option("--overwrite", help="Replace an existing output.", rich_help_panel=OUTPUT)]
End = Annotated[float | None, Option(min=0.0, metavar="SECONDS", help="Where to stop.", rich_help_panel=PART)]
RATE = "Frames a second, in place of the driver's."
LIST = "A list with the columns source,driver,output in place of SOURCE and DRIVER; outputs go into -o."
SkipExisting = Annotated[bool, Option("--skip-existing", help="Leave out what is there.", rich_help_panel=MANY)]
Verbose = Annotated[bool, Option("-v", "--verbose", help="Faces, crops, device and why.", rich_help_panel=WORDS)]


def animate(
    context: typer.Context,
    inputs: Annotated[list[Path] | None, Argument(metavar="SOURCE DRIVER", help=INPUTS, show_default=False)] = None,
    output: Annotated[Path | None, Option("-o", "--output", help=RESULT, show_default=False)] = None,
    paste: Paste = False,
    source_crop: Annotated[str, Option(metavar=CROP, help=SQUARE, rich_help_panel=CROPS)] = "auto",
    driver_crop: Annotated[str, Option(metavar=CROP, help=SQUARES, rich_help_panel=CROPS)] = "auto",
    face: Annotated[int | None, Option(min=1, help=FACE, rich_help_panel=CROPS)] = None,
    driver_face: Annotated[int, Option(min=1, help=HEAD, rich_help_panel=CROPS)] = 1,
    preview: Preview = None,
    layout: Annotated[LayoutName, Option(help=LAYOUT, rich_help_panel=OUTPUT)] = LayoutName.result,
    quality: Annotated[int, Option(min=0, max=51, help="crf: 0 is lossless, 51 worst.", rich_help_panel=OUTPUT)] = 17,
    audio: Audio = True,
    background: Background = "#ffffff",
    overwrite: Overwrite = False,
    start: Annotated[float, Option(min=0.0, metavar="SECONDS", help="Where to begin.", rich_help_panel=PART)] = 0.0,
    end: End = None,
    fps: Annotated[Any, Option(parser=read_fps, metavar="N|N/M", help=RATE, rich_help_panel=PART)] = None,
    pairs: Annotated[Path | None, Option(metavar="CSV", help=LIST, rich_help_panel=MANY)] = None,
    skip_existing: SkipExisting = False,
    weights: Weights = "portrait",
    device: Device = "auto",
    precision: PrecisionOption = Precision.auto,
    batch: Batch = 8,
    threshold: Threshold = None,
    scale: Scale = None,
    quiet: Annotated[bool, Option("-q", "--quiet", help="No progress.", rich_help_panel=WORDS)] = False,
    verbose: Verbose = False,
    as_json: Annotated[bool, Option("--json", help="Print a report as JSON.", rich_help_panel=WORDS)] = False,
) -> None:
    """Animate the picture SOURCE with the motion of the video DRIVER.

    [bold]Examples[/bold]

    animask animate face.png driver.mp4 -o out.mp4

    animask animate a.jpg b.jpg driver.mp4 -o results --paste --skip-existing
    """
    from animask.animation import Settings

    settings = Settings(**{field.name: context.params[field.name] for field in fields(Settings)})
    jobs = read_jobs(inputs or [], pairs, preview or output)
    with spoken(verbose):
        if preview is not None:
            show_preview(jobs, preview, settings, as_json)
        elif len(jobs) == 1 and pairs is None and not skip_existing:
            animate_one(jobs[0], settings, quiet, as_json)
        else:
            animate_all(jobs, settings, skip_existing, quiet, as_json)


def read_jobs(inputs: list[Path], pairs: Path | None, output: Path | None) -> "list[Job]":
    """What the arguments ask for; InputError where they do not say it."""
    from animask.animation import Job
    from animask.jobs import list_jobs, read_pairs

    if pairs is not None:
        if inputs:
            raise InputError("--pairs takes the place of SOURCE and DRIVER.", "Leave one of them out.")
        return read_pairs(pairs, output)
    if len(inputs) < 2:
        raise InputError("A SOURCE and a DRIVER are needed.", "Try: animask animate face.png driver.mp4 -o out.mp4.")
    if output is None:
        raise InputError("Where does the result go?", "Add -o out.mp4.")
    *sources, driver = inputs
    return list_jobs(sources, driver, output) if len(sources) > 1 else [Job(sources[0], driver, output)]


def show_preview(jobs: "list[Job]", path: Path, settings: "Settings", as_json: bool) -> None:
    """`--preview`: a picture of the crops."""
    from animask.animation import preview_crops

    if len(jobs) != 1:
        raise InputError("--preview shows one SOURCE and one DRIVER.")
    made = preview_crops(jobs[0].source, jobs[0].driver, path, settings)
    show_warnings(made.warnings)
    show_result(made, str(path), as_json)


def animate_one(job: "Job", settings: "Settings", quiet: bool, as_json: bool) -> None:
    """One job: a report, or the path of the result."""
    from animask.animation import animate_file

    with watched(quiet, "nothing was written") as progress:
        report = animate_file(*job, settings, progress)
    show_warnings(report.warnings)
    if not quiet:
        speed = report.frames / report.seconds
        say(f"{report.frames} frames, {report.seconds:.1f} s, {speed:.1f} frames/s, {report.device} {report.precision}")
    show_result(report, str(job.output), as_json)


def animate_all(jobs: "list[Job]", settings: "Settings", skip_existing: bool, quiet: bool, as_json: bool) -> None:
    """Many jobs: the paths of the results or a summary; exit code 1 if one failed."""
    from animask.jobs import animate_many

    tell = (lambda line: None) if quiet else say
    no_bar = quiet or not sys.stderr.isatty()  # a line a job is enough for a log file
    with watched(no_bar, "results that are whole stay") as progress:
        summary = animate_many(jobs, settings, skip_existing, progress, tell)
    for report in summary.made:
        show_warnings(report.warnings, f"{report.output}: ")
    for failure in summary.failed:
        hint = f" Hint: {failure.hint}" if failure.hint else ""
        say(f"failed: {failure.source} + {failure.driver}: {failure.error}{hint}")
    tell(f"{len(summary.made)} made, {len(summary.skipped)} there already, {len(summary.failed)} failed")
    paths = [report.output for report in summary.made] + summary.skipped
    if paths or as_json:
        show_result(summary, "\n".join(paths), as_json)
    if summary.failed:
        sys.exit(1)


def show_warnings(lines: list[str], of: str = "") -> None:
    """What was not as it should be, also with --quiet: nothing is spoilt in silence."""
    for line in lines:
        say(f"warning: {of}{line}")


@contextmanager
def watched(quiet: bool, fate: str) -> Iterator[Callable[[int, int], None]]:
    """A progress function (done, total); where the user stops it, says at which frame, and what is left (`fate`)."""
    at = (0, 0)
    with progress_bar("animating", "frames", quiet) as show:

        def progress(done: int, total: int) -> None:
            nonlocal at
            at = done, total
            show(done, total)

        try:
            yield progress
        except (KeyboardInterrupt, SystemExit):  # Ctrl-C, SIGTERM
            say(f"animask: interrupted at frame {at[0]} of {at[1]}; {fate}")
            raise
