"""The first part of a safetensors file, read with care: what is in it, and that it is what it says it is.

Format: 8 bytes with the length n of the header (little-endian), n bytes of JSON, then the numbers of all tensors.
Nothing here needs torch or numpy, and nothing is allocated before its size is known to be sane.
"""

import json
import stat
from pathlib import Path
from typing import Any, NamedTuple

from animask.errors import InputError

PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle")
PICKLE_HINT = "animask reads safetensors only: a .pt, .pth, .ckpt or .bin file is a pickle, which can run code"
MAX_HEADER_BYTES = 8 * 10**6  # names, shapes and texts; the paper's model has 0.04e6, its checkpoint 0.2e6
_PREFIX = 8
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # the first is torch's zip


class Header(NamedTuple):
    """Texts about a file, and dtype (such as "F16") and shape by name of tensor."""

    metadata: dict[str, str]
    tensors: dict[str, tuple[str, tuple[int, ...]]]


def shown(text: object) -> str:
    """A path or a name for one line of text: as it is where all of it can be printed, else with escapes."""
    return str(text) if str(text).isprintable() else repr(str(text))


def check_regular(path: Path) -> None:
    """Raise InputError for a folder, a pipe or a device, and for what cannot be looked at or is a pickle by name."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{shown(path)} cannot be read: {getattr(error, 'strerror', error)}") from error
    if stat.S_ISDIR(mode):
        raise InputError(f"{shown(path)} is a folder", "give a .safetensors file")
    if not stat.S_ISREG(mode):
        raise InputError(f"{shown(path)} is no regular file but a pipe or a device", "give a .safetensors file")
    if path.suffix.lower() in PICKLES:
        raise InputError(f"{shown(path)} is a pickle", PICKLE_HINT)


def read_header(path: Path) -> Header:
    """Read and check the header of a safetensors file; InputError says what is wrong with any other file."""
    check_regular(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            prefix = file.read(_PREFIX)
            length = int.from_bytes(prefix, "little")
            text = file.read(min(length, MAX_HEADER_BYTES))
    except OSError as error:
        raise InputError(f"{shown(path)} cannot be read: {error.strerror}") from error
    if not prefix:
        raise InputError(f"{shown(path)} is empty", "get the file again")
    if not text.startswith(b"{"):
        if prefix.startswith(_PICKLE_STARTS):
            raise InputError(f"{shown(path)} is a pickle, whatever its name says", PICKLE_HINT)
        raise InputError(f"{shown(path)} is not a safetensors file", PICKLE_HINT)
    if length > size - _PREFIX:
        raise InputError(f"{shown(path)} is cut off within its header, or no safetensors file", "get the file again")
    if length > MAX_HEADER_BYTES:
        raise InputError(f"{shown(path)} has a header of {length} bytes, more than {MAX_HEADER_BYTES}")
    return parse_header(path, text, size - _PREFIX - length)


def parse_header(path: Path, text: bytes, room: int) -> Header:
    """The header from its JSON; `room` bytes of numbers follow it, which the tensors must fill."""
    try:
        values = json.loads(text, object_pairs_hook=without_repeats)
        metadata = values.pop("__metadata__", {})
        tensors = {key: (item["dtype"], tuple(item["shape"])) for key, item in values.items()}
        end = max((item["data_offsets"][1] for item in values.values()), default=0)
        texts = [*metadata, *metadata.values(), *(dtype for dtype, _ in tensors.values())]
        numbers = [end, *(number for _, shape in tensors.values() for number in shape)]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise InputError(f"{shown(path)} has a header that is not that of a safetensors file") from error
    if not all(type(item) is str for item in texts) or not all(type(item) is int and item >= 0 for item in numbers):
        raise InputError(f"{shown(path)} has a header with values of the wrong kind")
    if end > room:
        raise InputError(f"{shown(path)} is cut off: {end - room} of its bytes are missing", "get the file again")
    if end < room:
        raise InputError(f"{shown(path)} is damaged: {room - end} bytes belong to no tensor", "get the file again")
    return Header(metadata, tensors)


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; ValueError where a name comes twice, which readers take differently."""
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a name comes twice")
    return result
