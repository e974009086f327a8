"""`animask animate`: pictures and a video to videos."""

import sys
from contextlib import suppress
from dataclasses import fields
from enum import StrEnum
from functools import partial
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


HEADINGS = ("Crops", "Output", "Part of the driver", "Many at once", "What is printed")
crops, result, part, many, words = (partial(Option, rich_help_panel=heading) for heading in HEADINGS)
method, model = (partial(Option, rich_help_panel=x) for x in ("The method (paper, section 3)", "Weights and device"))

WEIGHTS = "Bundled name, .safetensors file, or owner/name\\[@revision] on the Hub."
RHO = "ρ of P_test, in \\[0, 1]; default: what the weights say."
Weights = Annotated[str, model(envvar="ANIMASK_WEIGHTS", help=WEIGHTS)]
Device = Annotated[str, model(envvar="ANIMASK_DEVICE", help="auto, cpu, cuda, cuda:N or mps.")]
PrecisionOption = Annotated[Precision, model(help="bf16 where it is fast, else fp32.")]
Batch = Annotated[int, model(min=1, max=1024, help="Driver frames at a time.")]
Threshold = Annotated[Any, method(parser=read_threshold, metavar="median|NUMBER", help=RHO)]
Scale = Annotated[float | None, method(min=0.05, max=2.0, help="Scale of P_test; default: what the weights say.")]

INPUTS = "The picture to animate, or several, and the video, GIF or folder of pictures whose motion it takes."
OUTPUT = ".mp4, .webm, .mov or .gif; none: a folder of PNG frames. With several sources: the folder for the videos."
PASTE = "The whole picture at its own size, with the square moving."
CROP = "auto|none|centre|X,Y,SIZE"
SQUARE = "The square of the picture. auto: the head, for weights of faces, else the centre; none: all of it, "
SQUARE += "nothing cut off or stretched; centre: the largest square; or pixels."
SQUARES = "The square of the driver's frames; auto: a fixed one for each shot."
FACE = "Which face of the picture auto takes: 1 is the largest; -v lists them. Default: the largest, and a picture "
FACE += "that is a square crop of a head already stays whole."
LAYOUT = "result; compare: source, driver, result; strip: the columns of the paper's figure 3."
BEHIND = "Colour behind transparent pixels."
RATE = "Frames a second, in place of the driver's."
PAIRS = "A list with the columns source,driver,output in place of SOURCE and DRIVER; outputs go into -o."


def animate(
    context: typer.Context,
    inputs: Annotated[list[Path] | None, Argument(metavar="SOURCE DRIVER", help=INPUTS)] = None,
    output: Annotated[Path | None, Option("-o", "--output", help=OUTPUT)] = None,
    paste: Annotated[bool, Option("--paste", help=PASTE)] = False,
    source_crop: Annotated[str, crops(metavar=CROP, help=SQUARE)] = "auto",
    driver_crop: Annotated[str, crops(metavar=CROP, help=SQUARES)] = "auto",
    face: Annotated[int | None, crops(min=1, help=FACE)] = None,
    driver_face: Annotated[int, crops(min=1, help="Which face of the driver auto follows: 1 is the largest.")] = 1,
    preview: Annotated[Path | None, crops(metavar="PICTURE", help="Draw the crops and stop.")] = None,
    layout: Annotated[LayoutName, result(help=LAYOUT)] = LayoutName.result,
    quality: Annotated[int, result(min=0, max=51, help="crf: 0 is lossless, 51 worst.")] = 17,
    audio: Annotated[bool, result("--audio/--no-audio", help="Keep the driver's sound.")] = True,
    background: Annotated[Any, result(parser=read_colour, metavar="#RRGGBB|NAME", help=BEHIND)] = "#ffffff",
    overwrite: Annotated[bool, result("--overwrite", help="Replace an existing output.")] = False,
    start: Annotated[float, part(min=0.0, metavar="SECONDS", help="Where to begin.")] = 0.0,
    end: Annotated[float | None, part(min=0.0, metavar="SECONDS", help="Where to stop.")] = None,
    fps: Annotated[
        Any, part(parser=read_fps, metavar="N|N/M", help="Frames a second, in place of the driver's.")
    ] = None,
    pairs: Annotated[Path | None, many(metavar="CSV", help=PAIRS)] = None,
    skip_existing: Annotated[bool, many("--skip-existing", help="Leave out what is there.")] = False,
    weights: Weights = "portrait",
    device: Device = "auto",
    precision: PrecisionOption = Precision.auto,
    batch: Batch = 8,
    threshold: Threshold = None,
    scale: Scale = None,
    quiet: Annotated[bool, words("-q", "--quiet", help="No progress.")] = False,
    verbose: Annotated[bool, words("-v", "--verbose", help="Faces, crops, device and why.")] = False,
    as_json: Annotated[bool, words("--json", help="Print a report as JSON.")] = False,
) -> None:
    """Animate the picture SOURCE with the motion of the video DRIVER.

    [bold]Examples[/bold]

    animask animate face.png driver.mp4 -o out.mp4

    animask animate a.jpg b.jpg driver.mp4 -o results --paste --skip-existing
    """
    from animask.animation import Settings, preview_crops

    settings = Settings(**{field.name: context.params[field.name] for field in fields(Settings)})
    jobs = read_jobs(inputs or [], pairs, preview or output)
    with spoken(verbose):
        if preview is not None:
            if len(jobs) != 1:
                raise InputError("--preview shows one SOURCE and one DRIVER.")
            made = preview_crops(jobs[0].source, jobs[0].driver, preview, settings)
            show_warnings(made.warnings)
            show_result(made, str(preview), as_json)
        elif len(jobs) == 1 and pairs is None and not skip_existing:
            animate_one(jobs[0], settings, quiet, as_json)
        else:
            animate_all(jobs, settings, skip_existing, quiet, as_json)


def read_jobs(inputs: list[Path], pairs: Path | None, output: Path | None) -> "list[Job]":
    """What the arguments ask for; InputError where they do not say it."""
    from animask.animation import Job, list_jobs, read_pairs

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


def animate_one(job: "Job", settings: "Settings", quiet: bool, as_json: bool) -> None:
    """One job: a report, or the path of the result."""
    from animask.animation import animate_file

    with progress_bar("animating", "frames", quiet, "interrupted at frame {} of {}; nothing was written") as progress:
        report = animate_file(*job, settings, progress)
    show_warnings(report.warnings)
    if not quiet:
        speed = report.frames / report.seconds
        say(f"{report.frames} frames, {report.seconds:.1f} s, {speed:.1f} frames/s, {report.device} {report.precision}")
    show_result(report, str(job.output), as_json)


def animate_all(jobs: "list[Job]", settings: "Settings", skip_existing: bool, quiet: bool, as_json: bool) -> None:
    """Many jobs: the paths of the results or a summary; exit code 1 if one failed."""
    from animask.animation import animate_many

    tell = (lambda line: None) if quiet else say
    no_bar = quiet or not sys.stderr.isatty()  # a line a job is enough for a log file
    interrupted = "interrupted at frame {} of {}; results that are whole stay"
    with progress_bar("animating", "frames", no_bar, interrupted) as progress:
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
