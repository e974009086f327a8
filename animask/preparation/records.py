"""prepared.csv: what was kept, what was dropped and why; and which identity is in which half."""

import csv
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from animask.errors import AnimaskError, InputError
from animask.partials import partial_path
from animask.texts import read_text

NAME = "prepared.csv"
MAX_BYTES = 1 << 28


class Record(NamedTuple):
    """One row: a clip, or a whole video that gave none.

    source: the raw video below the folder that was given, and its size in bytes. video_id, person_id: its
    name and identity. start, end: frames (end exclusive) at `fps`; bbox: left-top-right-bottom in a frame of
    width × height pixels; these are the columns that `--boxes` reads. partition: train or test, empty while a
    run is not finished. file: the name of the clip in that folder, empty if it was dropped for the `reason`,
    whose first words, up to a colon, are of a few kinds.
    """

    source: str
    bytes: int
    video_id: str
    person_id: str
    start: int = 0
    end: int = 0
    bbox: str = ""
    fps: str = ""
    width: int = 0
    height: int = 0
    partition: str = ""
    file: str = ""
    reason: str = ""


def read_records(dataset: Path) -> list[Record]:
    """The rows of a data set's prepared.csv; none where it is not there. InputError where it is damaged."""
    path = dataset / NAME
    if not path.exists():
        return []
    try:
        text = read_text(path, MAX_BYTES, "surrogateescape")
        return [_read_record(row) for row in csv.DictReader(io.StringIO(text, newline=""))]
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {error}.", "Choose another folder for -o.") from error


def _read_record(row: Mapping[str, str]) -> Record:
    record = Record(**{name: kind(row[name]) for name, kind in Record.__annotations__.items()})
    if Path(record.file).name != record.file or record.partition not in ("", "train", "test"):
        raise ValueError(f"there is no clip {record.partition}/{record.file}")
    return record


def write_records(dataset: Path, records: list[Record]) -> None:
    """Write prepared.csv, sorted, in one step."""
    text = io.StringIO(newline="")
    is_odd = any("\r" in value for row in records for value in row if isinstance(value, str))  # else not quoted
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if is_odd else csv.QUOTE_MINIMAL)
    writer.writerow(Record._fields)
    rows = sorted(records, key=_place)
    writer.writerows(rows)
    replace_text(dataset / NAME, text.getvalue())


def _place(row: Record) -> tuple[str, str, int]:
    return row.person_id, row.video_id, row.start


def replace_text(path: Path, text: str) -> None:
    """Write a small text file in one step or not at all."""
    partial = partial_path(path)
    try:
        partial.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
        partial.replace(path)
    except OSError as error:
        raise AnimaskError(f"{path} could not be written: {error.strerror}.") from error
    finally:
        partial.unlink(missing_ok=True)


def assign_partitions(records: list[Record], share: float, seed: int) -> list[Record]:
    """Give every kept clip its partition, by identity: about `share` of the identities are the test half.

    Identities that have one keep it, so a data set can grow without a test identity moving into training. Of
    at least two identities, one is a test identity and one is not, unless `share` is 0. The order in which new
    ones become test identities is their hash with the seed.
    """
    known = {row.person_id: row.partition for row in records if row.file and row.partition}
    names = {row.person_id for row in records if row.file}
    new = sorted(names - known.keys(), key=lambda name: hashlib.sha256(f"{seed}#{name}".encode()).hexdigest())
    wanted = 0 if share == 0 or len(names) < 2 else min(max(1, round(share * len(names))), len(names) - 1)
    missing = max(0, wanted - sum(partition == "test" for partition in known.values()))
    chosen = known | {name: "test" if place < missing else "train" for place, name in enumerate(new)}
    return [row._replace(partition=chosen[row.person_id]) if row.file else row for row in records]
