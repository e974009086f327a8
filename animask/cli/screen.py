"""What people see: everything on stderr, bars only on a terminal."""

import errno
import io
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import Any

from animask.errors import AnimaskError, InputError

Show = Callable[[int, int], None]  # done and total


def plain(text: str, kept: str = "") -> str:
    """Text without what a terminal would obey or what ends a line, but for the letters in `kept`: as escapes."""
    return "".join(x if x.isprintable() or x in kept else x.encode("unicode_escape").decode() for x in text)


def show_error(error: AnimaskError) -> None:
    """One sentence and one hint, as plain text on one line."""
    sentence = error.message.rstrip(".") + "." * (not error.message.endswith("?"))
    hint = f" Hint: {error.hint.rstrip('.')}." if error.hint else ""
    print(plain(f"animask: {sentence}{hint}"), file=sys.stderr)


def explain(error: OSError | MemoryError) -> AnimaskError:
    """The sentence for a lack of memory, and for a file that the system refuses, where no other code has one."""
    if isinstance(error, MemoryError):
        return AnimaskError("there is not enough memory", "try a smaller --batch")
    what = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return AnimaskError(what, "make room, or choose another folder")
    wrong = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ENOENT, errno.EISDIR)
    return InputError(what) if error.errno in wrong else AnimaskError(what)


def say(text: str) -> None:
    """Lines for people."""
    print(plain(text, kept="\n"), file=sys.stderr, flush=True)


def show_result(result: Any, path: str, as_json: bool) -> None:
    """The one thing on stdout: the path of what was made, byte for byte, or everything about it as JSON.

    JSON knows no number that is not finite: null.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # names of files need not be text
    content = json.loads(json.dumps(result, default=asdict), parse_constant=lambda name: None) if as_json else None
    print(json.dumps(content) if as_json else path, flush=True)


@contextmanager
def progress_bar(label: str, unit: str, quiet: bool, interrupted: str = "") -> Iterator[Show]:
    """A function (done, total) that shows progress: a bar on a terminal, else a line every ten seconds, or nothing.

    interrupted: what is said where the user stops it; {} in it stand for done and total.
    """
    at, has_bar = (0, 0), sys.stderr.isatty() and not quiet
    with bar(label, unit) if has_bar else nullcontext(lines(label, unit)) as show:

        def progress(done: int, total: int) -> None:
            nonlocal at
            at = done, total
            if not quiet:
                show(done, total)

        try:
            yield progress
        except (KeyboardInterrupt, SystemExit):  # Ctrl-C, SIGTERM
            if interrupted:
                say(f"animask: {interrupted.format(*at)}")
            raise


@contextmanager
def bar(label: str, unit: str) -> Iterator[Show]:
    """Progress for a terminal: a bar that goes when it is done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    pace = TextColumn("{task.fields[pace]}")
    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), pace, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=None, pace="")

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)
            if speed := progress.tasks[0].speed:  # of the last seconds; from the second call on
                progress.update(task, pace=f"{speed:.1f} {unit}/s")

        yield show


def lines(label: str, unit: str) -> Show:
    """Progress for log files: a line now and then. Time counts from the first call: loading a model is no speed."""
    start: tuple[float, int] | None = None
    shown = 0.0

    def show(done: int, total: int) -> None:
        nonlocal start, shown
        now = time.monotonic()
        if start is None:
            start, shown = (now, done), now
        elif now - shown >= 10 and done > start[1]:
            shown = now
            speed = (done - start[1]) / (now - start[0])
            say(f"{label}: {done} of {total} {unit}, {speed:.1f}/s, {max(0, total - done) / speed:.0f} s left")

    return show


@contextmanager
def spoken(verbose: bool) -> Iterator[None]:
    """With -v, what the package logs goes to stderr."""
    logger, speaker = logging.getLogger("animask"), logging.Handler()
    speaker.emit = lambda record: say(record.getMessage())  # type: ignore[method-assign]
    if verbose:
        logger.setLevel(logging.INFO)
        logger.addHandler(speaker)
    try:
        yield
    finally:
        logger.removeHandler(speaker)
