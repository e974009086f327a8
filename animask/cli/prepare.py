"""`animask prepare`: a user's own videos to a data set."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from animask.cli.screen import Terminated, say, show_result
from animask.config import ModelConfig
from animask.texts import read_fps

if TYPE_CHECKING:
    from animask.preparation import Summary

CLIPS, SPLIT, RUN = "What becomes a clip", "Train and test", "The run"

Inputs = Annotated[list[Path], typer.Argument(help="Videos, and folders of videos.", metavar="VIDEO_OR_FOLDER")]
Output = Annotated[Path, typer.Option("-o", "--output", help="Folder of the data set; an unfinished one is continued.")]
BoxOption = Annotated[
    str,
    typer.Option(
        "--box",
        metavar="auto|centre|pad|X,Y,SIZE",
        help="One fixed square a clip: around the head; the middle; the whole frame padded; or pixels.",
        rich_help_panel=CLIPS,
    ),
]
Boxes = Annotated[
    Path | None,
    typer.Option(
        help="CSV of clips and boxes, in place of scene cuts and --box: video_id,start,end,bbox,fps,width,"
        "height and, if there, person_id and partition.",
        rich_help_panel=CLIPS,
    ),
]
Resolution = Annotated[int, typer.Option(help="Pixels of the square clips.", rich_help_panel=CLIPS)]
Fps = Annotated[str, typer.Option(help="Frames a second, such as 25 or 30000/1001.", rich_help_panel=CLIPS)]
MinSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Smallest side of the square in the video, in pixels; default: ¾ of the resolution.",
        rich_help_panel=CLIPS,
    ),
]
MinSeconds = Annotated[float, typer.Option(help="Shorter clips are dropped.", rich_help_panel=CLIPS)]
MaxSeconds = Annotated[float, typer.Option(help="Longer shots are divided.", rich_help_panel=CLIPS)]
Test = Annotated[float, typer.Option(help="Share of the identities kept for testing.", rich_help_panel=SPLIT)]
Seed = Annotated[int, typer.Option(help="Chooses the test identities.", rich_help_panel=SPLIT)]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Videos at the same time; default: one a core.", rich_help_panel=RUN),
]
Json = Annotated[bool, typer.Option("--json", help="Print a summary as JSON.", rich_help_panel=RUN)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only errors.", rich_help_panel=RUN)]


def prepare(
    inputs: Inputs,
    output: Output,
    box: BoxOption = "auto",
    boxes: Boxes = None,
    resolution: Resolution = ModelConfig.resolution,
    fps: Fps = "25",
    min_size: MinSize = None,
    min_seconds: MinSeconds = 1.0,
    max_seconds: MaxSeconds = 40.0,
    test: Test = 0.1,
    seed: Seed = 0,
    workers: Workers = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Turn your own videos into a data set for `animask train`; prints its path.

    Every shot becomes a clip in one fixed square. Videos in a sub-folder are of one identity, named after it.
    The same command continues an unfinished run; prepared.csv says what was dropped and why.

    [bold]Examples[/bold]

    animask prepare holiday.mp4 interviews/ -o mydata

    animask prepare horses/ -o horses-128 --box pad --resolution 128 --workers 8
    """
    from animask.preparation import PrepareConfig
    from animask.preparation import prepare as run

    config = PrepareConfig(resolution, read_fps(fps), box, min_size, min_seconds, max_seconds, test, seed)
    try:
        with _showing(quiet) as progress:
            summary = run(inputs, output, config, boxes, workers or os.cpu_count() or 1, progress)
    except (KeyboardInterrupt, Terminated) as stop:
        say("animask: interrupted; the same command continues")
        sys.exit(143 if isinstance(stop, Terminated) else 130)
    if not quiet:
        say(describe(summary))
    show_result(summary, summary.dataset, as_json)


@contextmanager
def _showing(quiet: bool) -> Iterator[Callable[[float, int, str], None] | None]:
    """A line for every video that is done, and on a terminal a bar."""
    if quiet:
        yield None
        return
    if not sys.stderr.isatty():
        yield lambda done, total, line: say(line) if line else None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    videos = TextColumn("{task.completed:.1f} of {task.total:.0f} videos")
    console = Console(stderr=True)
    with Progress(TextColumn("preparing"), BarColumn(), videos, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("", total=1)

        def update(done: float, total: int, line: str) -> None:
            bar.update(task, completed=done, total=total)
            if line:
                say(line)

        yield update


def describe(summary: "Summary") -> str:
    """What was made, in a few lines for people."""
    lines = [
        f"{summary.clips} clips, {summary.seconds:.0f} s, of {summary.train_identities} training and "
        f"{summary.test_identities} test identities"
    ]
    if summary.videos_done_before:
        lines.append(f"{summary.videos_done_before} videos had been done before")
    lines += [f"{count} dropped: {reason}" for reason, count in summary.dropped.items()]
    if not summary.test_identities:
        lines.append("no identity is left for testing: give more than one, or a --test above 0")
    return "\n".join(lines)
