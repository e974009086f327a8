"""Commands in processes of their own that may be interrupted, killed or kept from writing.

They are forks of a server that has imported everything and computed nothing, so that each begins in milliseconds.
"""

import ctypes
import multiprocessing
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

import cv2
import torch

from animask import animation, preparation, training
from animask.cli import main
from animask.training import previews

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
LOADED = (animation, preparation, training)
PATIENCE = 120  # seconds until a process counts as hanging
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["safe_children"])


def enter(arguments: list[str], told: Path, environment: dict[str, str], largest: int) -> None:
    """What a child does: one command, which may write files of up to `largest` bytes."""
    if sys.platform == "linux":  # a test that is cut off leaves nothing behind
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ.update(environment)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    previews.CASES = 5
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(told.with_suffix(f".{name}"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if largest:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    told.with_suffix(".begun").touch()
    code: object = 1
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)


@dataclass(frozen=True)
class Ended:
    """Exit code (negative for a signal), stdout and stderr."""

    code: int
    out: str
    err: str


def start_server() -> None:
    """Start the server that forks, which must find this module to load everything before."""
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *filter(None, [before])])
    forkserver.ensure_running()
    os.environ["PYTHONPATH"] = before


def begin(arguments: list[str], told: Path, environment: dict[str, str] | None = None, largest: int = 0) -> BaseProcess:
    """Start a command; returns when it begins. told: where its words go, with suffixes."""
    told.with_suffix(".begun").unlink(missing_ok=True)
    start_server()
    process = context.Process(target=enter, args=(arguments, told, environment or {}, largest))
    process.start()
    wait_until(told.with_suffix(".begun").exists)
    return process


def wait_until(holds: object, seconds: float = PATIENCE) -> None:
    """Until something holds; fails after a while."""
    deadline = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


def end(process: BaseProcess, told: Path) -> Ended:
    """Wait for the end of a command; what hangs is killed, and fails."""
    process.join(PATIENCE)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError(f"hung; it had said: {told.with_suffix('.err').read_text()}")
    words = [told.with_suffix(suffix).read_text(encoding="utf-8") for suffix in (".out", ".err")]
    return Ended(process.exitcode, *words)


def run(arguments: list[str], told: Path, environment: dict[str, str] | None = None, largest: int = 0) -> Ended:
    """A command from its beginning to its end."""
    return end(begin(arguments, told, environment, largest), told)


def ffmpegs(word: str) -> list[int]:
    """Processes of ffmpeg that have a word (such as a folder) in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if "ffmpeg" in line.split("\0")[0] and word in line:
            found.append(int(entry.parent.name))
    return found
