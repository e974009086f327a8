"""Temporary files that become outputs: named beside the output, and found again after a kill.

A name is `.STEM-HOST-PID-COUNTER.animask-partial.SUFFIX`: whoever finds one later can tell whether its writer
still runs.
"""

import errno
import itertools
import os
import re
import shutil
import socket
import sys
import time
import zlib
from pathlib import Path

STALE_SECONDS = 2 * 24 * 3600
_counter = itertools.count()
_NAME = re.compile(r"-(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-\d+\.animask-partial(\.\w+)?$")
_STEM_BYTES = 100  # file systems allow 255 bytes a name: leave room for what is added


def partial_path(path: Path, suffix: str | None = None) -> Path:
    """A fresh temporary name in the folder of `path`, with `suffix` or else the suffix of `path`."""
    stem = os.fsencode(path.stem)[:_STEM_BYTES].decode(errors="ignore")
    ending = path.suffix if suffix is None else suffix
    name = f".{stem}-{_host()}-{os.getpid()}-{next(_counter)}.animask-partial{ending}"
    return path.with_name(name)


def put_in_place(partial: Path, path: Path, overwrite: bool) -> None:
    """Give a whole partial file its name, in one step.

    Raises FileExistsError where something has that name and may not be replaced: not even by two that end at once.
    """
    if overwrite:
        partial.replace(path)
        return
    try:
        path.hardlink_to(partial)  # unlike a renamed file, a link takes nobody's place
    except FileExistsError:
        raise
    except OSError as error:  # some file systems have no links
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        partial.replace(path)
    else:
        partial.unlink()


def clean_partials(folder: Path) -> None:
    """Remove what killed runs left in `folder`: partial files whose writer is gone.

    Partial folders (interrupted PNG sequences, which the next run may continue) stay until they are two days
    old.
    """
    for path in Path(folder).glob(".*.animask-partial*"):
        if path.is_dir() and not path.is_symlink():
            if is_abandoned(path) and _age(path) > STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
        elif is_abandoned(path):
            path.unlink(missing_ok=True)


def is_abandoned(path: Path) -> bool:
    """Whether `path` has the name of a partial output and its writer has ended.

    Only this machine's processes can be asked; elsewhere (a shared disk, Windows) age decides.
    """
    match = _NAME.search(path.name)
    if match is None:
        return False
    if _age(path) > STALE_SECONDS:
        return True
    return match["host"] == _host() and not _is_alive(int(match["pid"]))


def _host() -> str:
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def _age(path: Path) -> float:
    try:
        return time.time() - path.lstat().st_mtime
    except OSError:
        return 0.0


def _is_alive(pid: int) -> bool:
    if sys.platform == "win32":  # there, signal 0 would be delivered as Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
