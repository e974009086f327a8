"""Texts from outside, within bounds: small files, and numbers in them."""

import re
import stat
from fractions import Fraction
from pathlib import Path

from animask.errors import InputError

_FPS = re.compile(r"\s*-?\d{1,12}(\.\d{0,12}|/\d{1,12})?\s*", re.ASCII)


def read_text(path: Path, limit: int, errors: str = "strict") -> str:
    """The text of a UTF-8 file of at most `limit` bytes, line ends as they are; a byte order mark is left out.

    errors: what becomes of bytes that are no UTF-8, as for `bytes.decode`. Raises InputError for what is missing, no
    regular file (a pipe or a device may never end), too large, or no text.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{path} cannot be read: it is a folder")
        if not stat.S_ISREG(mode):
            raise InputError(f"{path} cannot be read: it is not a regular file", "pipes and devices may never end")
        with path.open("rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise InputError(f"{path} cannot be read: it is larger than the limit of {limit} bytes")
        return data.decode("utf-8-sig", errors)
    except FileNotFoundError:
        raise InputError(f"{path} cannot be read: it does not exist") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # a NUL in the name, or bytes that are no text
        raise InputError(f"{path} cannot be read: {error}") from error


def read_fps(text: str) -> Fraction:
    """A whole number, a decimal or a fraction of frames a second; InputError for anything else.

    Without exponents: the fraction 1e999999999 would have as many digits.
    """
    try:
        return Fraction(text if _FPS.fullmatch(text) else "")
    except (ValueError, ZeroDivisionError):
        raise InputError(f"the frame rate {text[:40]!r} is not a number", "give 25 or 30000/1001") from None
