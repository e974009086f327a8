"""What people see: everything on stderr, bars only on a terminal."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from typing import Any

from animask.errors import AnimaskError


class Terminated(BaseException):
    """SIGTERM came."""


def show_error(error: AnimaskError) -> None:
    """One sentence and one hint, as plain text."""
    sentence = error.message.rstrip(".")
    print(f"animask: {sentence}." + (f" Hint: {error.hint.rstrip('.')}." if error.hint else ""), file=sys.stderr)


def say(text: str) -> None:
    """A line for people."""
    print(text, file=sys.stderr, flush=True)


def show_result(result: Any, path: str, as_json: bool) -> None:
    """The one thing on stdout: the path of what was made, or everything about it as JSON."""
    print(json.dumps(asdict(result) if is_dataclass(result) else result) if as_json else path)  # type: ignore[arg-type]


@contextmanager
def progress_bar(label: str, unit: str, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A function (done, total) that shows progress: a bar on a terminal, else a line every ten seconds, or nothing."""
    if quiet:
        yield None
    elif not sys.stderr.isatty():
        yield lines(label, unit)
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        speed = TextColumn(f"{{task.speed:.1f}} {unit}/s")
        columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), speed, TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(label, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)


def lines(label: str, unit: str) -> Callable[[int, int], None]:
    """Progress for log files: a line now and then."""
    started = shown = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown >= 10:
            shown = now
            speed = done / (now - started)
            say(f"{label}: {done} of {total} {unit}, {speed:.1f}/s, {max(0, total - done) / speed:.0f} s left")

    return show
