"""`animask prepare`: a user's own videos to a data set."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from animask.errors import InputError

if TYPE_CHECKING:
    from animask.preparation import Summary

CLIPS, SPLIT, RUN = "What becomes a clip", "Train and test", "The run"

Inputs = Annotated[list[Path], typer.Argument(help="Videos, and folders of videos.", metavar="VIDEO_OR_FOLDER…")]
Dataset = Annotated[Path, typer.Option("--out", "-o", help="Folder of the data set; an unfinished one is continued.")]
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
        exists=True,
        dir_okay=False,
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
    out: Dataset,
    box: BoxOption = "auto",
    boxes: Boxes = None,
    resolution: Resolution = 256,
    fps: Fps = "25",
    min_size: MinSize = None,
    min_seconds: MinSeconds = 1.0,
    max_seconds: MaxSeconds = 40.0,
    test: Test = 0.1,
    seed: Seed = 0,
    workers: Workers = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Turn your own videos into a data set for `animask train`.

    Each shot becomes a clip in one fixed square, never stretched. Videos in a sub-folder are of one identity,
    named after it; others are each an identity of their own. prepared.csv says what was kept, and why the
    rest was not. Run it again to continue.

    Examples:

      animask prepare holiday.mp4 interviews/ -o mydata

      animask prepare horses/ -o horses-128 --box pad --resolution 128 --workers 8
    """
    from animask.preparation import PrepareConfig
    from animask.preparation import prepare as run

    config = PrepareConfig(
        resolution=resolution,
        fps=_read_fps(fps),
        box=box,
        min_size=min_size or max(1, resolution * 3 // 4),
        min_seconds=min_seconds,
        max_seconds=max_seconds,
        test=test,
        seed=seed,
    )
    console = Console(stderr=True, quiet=quiet)
    with _showing(console) as progress:
        summary = run(inputs, out, config, boxes, workers or os.cpu_count() or 1, progress)
    console.print(_describe(summary), highlight=False, markup=False)
    typer.echo(json.dumps(summary._asdict(), default=str) if as_json else summary.dataset)


def _read_fps(text: str) -> Fraction:
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise InputError(f"The frame rate {text!r} is not a number.", "Give 25 or 30000/1001.") from None


@contextmanager
def _showing(console: Console) -> Iterator[Callable[[float, int, str], None]]:
    """A progress bar on a terminal; elsewhere a line for every video that is done."""

    def tell(done: float, total: int, line: str) -> None:
        if line:
            console.print(line, highlight=False, markup=False, soft_wrap=True)

    if not console.is_terminal:
        yield tell
        return
    columns = (TextColumn("preparing"), BarColumn(), TextColumn("{task.completed:.1f}/{task.total} videos"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("", total=None)

        def update(done: float, total: int, line: str) -> None:
            bar.update(task, completed=done, total=total)
            tell(done, total, line)

        yield update


def _describe(summary: "Summary") -> str:
    lines = [
        f"{summary.clips} clips, {summary.seconds:.0f} seconds, of {summary.train_identities} training and "
        f"{summary.test_identities} test identities."
    ]
    if summary.videos_done_before:
        lines.append(f"{summary.videos_done_before} videos had been done before.")
    lines += [f"{count} dropped: {reason}" for reason, count in summary.dropped.items()]
    if not summary.test_identities:
        lines.append("There is no test identity: training can be followed only on its own clips.")
    return "\n".join(lines)
