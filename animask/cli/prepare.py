"""`animask prepare`: a user's own videos to a data set."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from animask.cli.screen import progress_bar, say, show_result
from animask.config import ModelConfig
from animask.files import read_fps

if TYPE_CHECKING:
    from animask.preparation import Summary

Inputs = Annotated[list[Path], typer.Argument(help="Videos, and folders of videos.", metavar="VIDEO_OR_FOLDER")]
Output = Annotated[Path, typer.Option("-o", "--output", help="Folder of the data set; an unfinished one is continued.")]
BoxHelp = "One fixed square a clip: around the head, with its clay beside; the middle; or the whole frame padded."
Box = Annotated[str, typer.Option("--box", metavar="auto|centre|pad", help=BoxHelp)]
Stills = Annotated[
    bool, typer.Option("--stills", help="Pictures to stills for `train --stills OUT/train`, not videos to clips.")
]
Resolution = Annotated[int, typer.Option(help="Pixels of the square clips.")]
Fps = Annotated[str, typer.Option(help="Frames a second, such as 25 or 30000/1001.")]
MinSizeHelp = "Smallest side of the square in the video, in pixels; default: ¾ of the resolution."
MinSize = Annotated[int | None, typer.Option(min=1, help=MinSizeHelp)]
MinSeconds = Annotated[float, typer.Option(help="Shorter clips are dropped.")]
Test = Annotated[float, typer.Option(help="Share of the identities kept for testing.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Videos at the same time; default: one a core.")]
Json = Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only errors.")]


def prepare(
    inputs: Inputs,
    output: Output,
    box: Box = "auto",
    stills: Stills = False,
    resolution: Resolution = ModelConfig.resolution,
    fps: Fps = "25",
    min_size: MinSize = None,
    min_seconds: MinSeconds = 1.0,
    test: Test = 0.1,
    workers: Workers = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Turn your own videos into a data set for `animask train`; prints its path.

    Every shot becomes a clip in one fixed square. Videos in a sub-folder are of one identity, named after it. The
    same command continues an unfinished run; prepared.csv says what was dropped and why.

    [bold]Examples[/bold]

    animask prepare holiday.mp4 interviews/ -o mydata

    animask prepare horses/ -o horses-128 --box pad --resolution 128 --workers 8
    """
    from animask import preparation

    config = preparation.PrepareConfig(resolution, read_fps(fps), box, stills, min_size, min_seconds, test)
    try:
        with progress_bar("preparing", "videos", quiet) as show:

            def progress(done: int, total: int, line: str) -> None:
                show(done, total)
                if not quiet:
                    say(line)

            summary = preparation.prepare(inputs, output, config, workers or os.cpu_count() or 1, progress)
    except (KeyboardInterrupt, SystemExit):  # Ctrl-C, SIGTERM
        say("animask: interrupted; the same command continues")
        raise
    if not quiet:
        say(describe(summary, test > 0))
    show_result(summary, summary.dataset, as_json)
    sys.exit(0 if summary.clips else 1)


def describe(summary: "Summary", wants_test: bool) -> str:
    """What was made, in a few lines for people."""
    identities = f"{summary.train_identities} training and {summary.test_identities} test identities"
    lines = [f"{summary.clips} kept, {summary.seconds:.0f} s, of {identities}"]
    if summary.done_before:
        lines.append(f"{summary.done_before} had been done before")
    lines += [f"{count} dropped: {reason}" for reason, count in summary.dropped.items()]
    lines += [f"{count} left out: {reason}" for reason, count in summary.left_out.items()]
    if wants_test and not summary.test_identities:
        lines.append("no identity is left for testing: give videos of more than one")
    return "\n".join(lines)
