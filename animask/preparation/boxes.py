"""Given boxes: a CSV with the columns of the public video-preprocessing repository's vox-metadata.csv."""

import csv
import io
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from animask.errors import InputError
from animask.faces import fit_square
from animask.texts import read_fps, read_text

COLUMNS = ("video_id", "start", "end", "bbox", "fps", "width", "height")
MAX_BYTES = 1 << 26  # of a CSV; that of VoxCeleb has 2 MB
MAX_NUMBER = 10**9  # frames and pixels: below it, sums and quotients have a float


class GivenBox(NamedTuple):
    """One clip: frames start to end (exclusive) at `fps`, and left, top, right, bottom in a width × height frame.

    identity and partition are empty where the CSV does not say.
    """

    start: int
    end: int
    bbox: tuple[int, int, int, int]
    fps: Fraction
    width: int
    height: int
    identity: str = ""
    partition: str = ""

    def frames(self, fps: Fraction) -> tuple[int, int]:
        """The first frame, and one past the last, at another rate."""
        return round(self.start * fps / self.fps), round(self.end * fps / self.fps)

    def square(self, height: int, width: int) -> tuple[int, int, int]:
        """The square (x, y, size) around the box's centre in a frame that has height × width pixels.

        Its side is the longer side of the box: nothing is stretched and nothing of the box is cut off, except
        where the picture ends.
        """
        across, down = width / self.width, height / self.height
        left, top, right, bottom = self.bbox
        side = max((right - left) * across, (bottom - top) * down)
        return fit_square((left + right) / 2 * across, (top + bottom) / 2 * down, side, height, width)


def read_boxes(path: Path) -> dict[str, list[GivenBox]]:
    """The boxes by video name (`video_id` up to the first `#`).

    Also used, where they are there: `person_id`, the identity; `partition`, train or test. Rows whose `reason`
    is filled, as in a prepared.csv, were dropped and are left out. Raises InputError for what is no such CSV.
    """
    rows = csv.DictReader(io.StringIO(read_text(path, MAX_BYTES), newline=""))
    try:
        missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise InputError(f"{path} has no column {missing[0]}.", f"The columns must be {','.join(COLUMNS)}.")
        found: dict[str, list[GivenBox]] = {}
        for row in rows:
            if not row.get("reason"):
                found.setdefault(row["video_id"].split("#")[0], []).append(_read_row(row, path))
    except csv.Error as error:
        raise InputError(f"{path} is not a CSV file: {error}.") from error
    return found


def _read_row(row: Mapping[str, str], path: Path) -> GivenBox:
    try:
        left, top, right, bottom = (int(value) for value in row["bbox"].split("-"))
        box = GivenBox(
            int(row["start"]),
            int(row["end"]),
            (left, top, right, bottom),
            read_fps(row["fps"]),
            int(row["width"]),
            int(row["height"]),
            (row.get("person_id") or "").replace("#", "-"),
            row.get("partition") or "",
        )
    except (ValueError, TypeError, AttributeError, InputError):
        raise InputError(
            f"{path} has a row that is not understood: {','.join(str(value) for value in row.values())}."
        ) from None
    if max(box.start, box.end, *box.bbox, box.width, box.height) > MAX_NUMBER:
        raise InputError(f"{path} has a number above {MAX_NUMBER} at {row['video_id']} {box.start}.")
    if not (0 <= box.start < box.end and left < right and top < bottom):
        raise InputError(f"{path} has an empty clip or box: {row['video_id']} {box.start} {row['bbox']}.")
    if box.identity != Path(box.identity).name or box.identity.startswith("."):
        raise InputError(f"{path} has a person_id that cannot begin the name of a file: {box.identity}.")
    if box.fps <= 0 or min(box.width, box.height) < 1 or box.partition not in ("", "train", "test"):
        raise InputError(f"{path} has a wrong fps, width, height or partition at {row['video_id']} {box.start}.")
    return box
