"""The ffmpeg child process: the bundled program, safe arguments, always ended and reaped."""

import errno
import os
import re
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO

import imageio_ffmpeg

from animask.errors import AnimaskError
from animask.images import MAX_PIXELS

# Containers of sound and pictures only: a playlist or a script could open another file or an address.
DEMUXERS = (
    "mov,matroska,webm,avi,gif,apng,webp_anim,mpegts,mpeg,mpegvideo,flv,asf,ogg,nut,dv,mxf,ivf,obu,h264,hevc,"
    "m4v,yuv4mpegpipe,wtv,wav,w64,aiff,mp3,aac,flac,ac3,eac3,amr,au,caf,tta,wv"
)
_PREFIX = re.compile(r"^(\[[^\]]*\] )+")
# What ffmpeg says after the message that names the cause.
_AFTERMATH = (
    "Conversion failed",
    "Error muxing",
    "Error opening input file",
    "Error opening output",
    "Error while",
    "Last message repeated",
    "Nothing was written",
    "Task finished",
    "Terminating thread",
    "frame=",
    "video:",
)


@cache
def program() -> str:
    """The path of the ffmpeg that comes with imageio-ffmpeg."""
    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise AnimaskError("No ffmpeg program was found.", "Reinstall the package imageio-ffmpeg.") from error


def file_input(path: Path, max_pixels: int = MAX_PIXELS) -> list[str]:
    """Arguments that open one file and nothing else; after `file:` dashes and colons mean nothing.

    max_pixels: of a frame; larger ones are not decoded.
    """
    limits = [
        "-protocol_whitelist",
        "file,pipe",
        "-format_whitelist",
        DEMUXERS,
        "-max_pixels",
        str(max_pixels),
    ]
    return [*limits, "-i", f"file:{path.absolute()}"]


def file_output(path: Path) -> str:
    """The last argument: a file to write."""
    return f"file:{path.absolute()}"


class Child:
    """One ffmpeg process with pipes; a context manager that never leaves it behind.

    arguments: everything after the program's name. stdin, stdout: subprocess.PIPE or DEVNULL. loglevel: as
    ffmpeg's. limit: seconds after which it is ended, and counts as failed.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.DEVNULL,
        loglevel: str = "error",
        limit: float | None = None,
    ) -> None:
        command = [program(), "-hide_banner", "-nostdin", "-loglevel", loglevel, "-y", *arguments]
        self.first_messages: list[str] = []
        self.messages: deque[str] = deque(maxlen=50)
        self.process = _start(command, stdin, stdout)
        # Unread messages would fill their pipe and stop the child.
        self._drain = threading.Thread(target=self._read_messages, daemon=True)
        self._drain.start()
        self._timer = threading.Timer(limit, self.process.kill) if limit else None
        if self._timer:
            self._timer.daemon = True
            self._timer.start()

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def stdin(self) -> IO[bytes]:
        """The pipe to the child."""
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """The pipe from the child."""
        assert self.process.stdout is not None
        return self.process.stdout

    def wait(self) -> int:
        """Wait for the end; the exit status, negative for a signal."""
        status = self.process.wait()
        self._drain.join()
        return status

    def stop(self) -> None:
        """End the child if it still runs, reap it, and close the pipes."""
        if self._timer:
            self._timer.cancel()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._drain.join()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                with suppress(OSError):  # unwritten bytes for a child that is gone
                    pipe.close()

    def complaint(self) -> str:
        """Why the child failed: its message that names the cause, or the signal that ended it."""
        texts = [_PREFIX.sub("", line).rstrip(".!") for line in self.messages]
        texts = [text for text in texts if not text.startswith(_AFTERMATH)]
        if any(os.strerror(errno.ENOSPC) in text for text in texts):
            return os.strerror(errno.ENOSPC).lower()
        status = self.process.returncode
        if status is not None and status < 0:
            if -status == getattr(signal, "SIGXFSZ", None):
                return "the file would be larger than the system allows"
            return f"ffmpeg was ended by {signal.Signals(-status).name}"
        return texts[-1] if texts else f"ffmpeg ended with status {status}"

    def _read_messages(self) -> None:
        assert self.process.stderr is not None
        while line := self.process.stderr.readline(4096):
            text = line.decode(errors="replace").rstrip()
            if text.strip():
                self.messages.append(text)
                if len(self.first_messages) < 200:
                    self.first_messages.append(text)


@contextmanager
def held_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the block is done, so that whoever ends what it starts knows of it."""
    if threading.current_thread() is not threading.main_thread():  # others get no signals
        yield
        return
    caught: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda which, frame: caught.append(which)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for which in caught:
            signal.raise_signal(which)


def _start(command: list[str], stdin: int, stdout: int) -> "subprocess.Popen[bytes]":
    """A process in a session of its own: Ctrl-C reaches this program, which then ends the child in order."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        with held_signals():
            started.append(
                subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, start_new_session=True)
            )
    except OSError as error:
        raise AnimaskError(f"ffmpeg could not be started: {error.strerror}.") from error
    except BaseException:  # a signal that came meanwhile
        for process in started:
            process.kill()
            process.wait()
        raise
    return started[0]


def run(arguments: Sequence[str]) -> None:
    """Run ffmpeg to its end; AnimaskError with its complaint where it fails."""
    with Child(arguments) as child:
        if child.wait() != 0:
            raise AnimaskError(f"ffmpeg failed: {child.complaint()}.")
