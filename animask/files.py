"""Files from outside, read within bounds; and outputs that come whole or not at all."""

import hashlib
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from importlib import resources
from pathlib import Path

from animask.errors import AnimaskError, InputError, MissingError

REPLACE = "Choose another name, or replace it with --overwrite."


def check_file(path: Path) -> int:
    """The bytes of a regular file; InputError where there are none, or for a pipe or a device, which may never end."""
    try:
        status = path.stat()
    except FileNotFoundError:
        address = str(path).startswith(("http:", "https:"))
        hint = "Download it first: addresses are not opened." if address else ""
        raise InputError(f"{path} does not exist.", hint) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{path} is a folder, not a file.")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path} is not a regular file.", "Pipes and devices are not read: save it as a file.")
    if status.st_size == 0:
        raise InputError(f"{path} is empty.")
    return status.st_size


def read_bytes(path: Path, limit: int) -> bytes:
    """What is in a regular file of 1 to `limit` bytes; InputError for anything else."""
    path = Path(path)
    if check_file(path) > limit:
        raise InputError(f"{path} is larger than the limit of {limit} bytes.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error


def read_text(path: Path, limit: int = 64 << 20) -> str:
    """The text of a UTF-8 file of 1 to `limit` bytes, without its byte order mark; InputError for anything else."""
    try:
        return read_bytes(path, limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text: {error}.", "Save it as UTF-8.") from error


def read_fps(text: str) -> Fraction:
    """Frames a second, such as 25, 12.5 or 30000/1001, to 1000; InputError for anything else."""
    with suppress(ValueError, ZeroDivisionError):
        fps = Fraction(text if len(text) < 30 and "e" not in text.lower() else "")  # 1e999999999 would be as long
        if 0 < fps <= 1000:
            return fps
    raise InputError(f"The frame rate (fps) {text[:40]!r} is no number above 0.", "Give 25 or 30000/1001.")


@contextmanager
def replacing(path: Path, overwrite: bool = True) -> Iterator[Path]:
    """A temporary path beside the file `path`, which takes its place when the block ends well, and else is removed.

    With `overwrite` false, InputError where `path` exists, at the start and again at the end. An OSError of the block
    becomes an AnimaskError that names `path`.
    """
    path = Path(path)
    stem = path.stem.encode(errors="surrogateescape")[:100].decode(errors="ignore")  # of at most 255
    temporary = path.with_name(f".{stem}-{secrets.token_hex(6)}{path.suffix}")
    try:
        check_output(path, overwrite)
        yield temporary
        check_output(path, overwrite)
        temporary.replace(path)
    except OSError as error:
        raise AnimaskError(f"{path} could not be written: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def check_output(path: Path, overwrite: bool) -> None:
    """Raise InputError where no file `path` can be made: a folder has its name, it exists, or its folder does not."""
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a file.", "Choose another name.")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already.", REPLACE)
    if not path.parent.is_dir():
        raise InputError(f"The folder {path.parent} does not exist.", "Make it first.")


def bundled_folder() -> Path:
    """The folder of the weights that come with animask."""
    return Path(str(resources.files("animask"))) / "weights"


def bundled(name: str) -> Path:
    """The file of a network that comes with animask; MissingError if it is not there."""
    path = bundled_folder() / name
    if not path.is_file():
        raise MissingError(f"the network {name} is not in {path.parent}", "install animask again")
    return path


def sha256(path: Path) -> str:
    """The SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
