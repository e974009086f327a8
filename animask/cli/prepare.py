"""`animask prepare`: a user's own videos to a data set."""

import os
import sys
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from animask.cli.screen import progress_bar, say, show_result
from animask.config import ModelConfig
from animask.files import read_fps

SQUARE = "One fixed square a clip: around the head, with its clay beside; the middle; or the whole frame padded."
PICTURES = "Pictures to stills for `train --stills OUT/train`, not videos to clips."
SMALLEST = "Smallest side of the square in the video, in pixels; default: ¾ of the resolution."


def prepare(
    inputs: Annotated[list[Path], Argument(help="Videos, and folders of videos.", metavar="VIDEO_OR_FOLDER")],
    output: Annotated[Path, Option("-o", "--output", help="Folder of the data set; an unfinished one is continued.")],
    box: Annotated[str, Option(metavar="auto|centre|pad", help=SQUARE)] = "auto",
    stills: Annotated[bool, Option("--stills", help=PICTURES)] = False,
    resolution: Annotated[int, Option(help="Pixels of the square clips.")] = ModelConfig.resolution,
    fps: Annotated[str, Option(help="Frames a second, such as 25 or 30000/1001.")] = "25",
    min_size: Annotated[int | None, Option(min=1, help=SMALLEST)] = None,
    min_seconds: Annotated[float, Option(help="Shorter clips are dropped.")] = 1.0,
    test: Annotated[float, Option(help="Share of the identities kept for testing.")] = 0.1,
    workers: Annotated[int | None, Option(min=1, help="Videos at the same time; default: one a core.")] = None,
    quiet: Annotated[bool, Option("--quiet", "-q", help="No progress, only errors.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print a summary as JSON.")] = False,
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
    with progress_bar("preparing", "videos", quiet, "interrupted; the same command continues") as show:

        def progress(done: int, total: int, line: str) -> None:
            show(done, total)
            if not quiet:
                say(line)

        summary = preparation.prepare(inputs, output, config, workers or os.cpu_count() or 1, progress)
    if not quiet:
        identities = f"{summary.train_identities} training and {summary.test_identities} test identities"
        say(f"{summary.clips} kept, {summary.seconds:.0f} s, of {identities}")
        if summary.done_before:
            say(f"{summary.done_before} had been done before")
        for happened, counts in (("dropped", summary.dropped), ("left out", summary.left_out)):
            for reason, count in counts.items():
                say(f"{count} {happened}: {reason}")
        if test > 0 and not summary.test_identities:
            say("no identity is left for testing: give videos of more than one")
    show_result(summary, summary.dataset, as_json)
    sys.exit(0 if summary.clips else 1)
