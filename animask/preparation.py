"""A data set from raw videos: shots, each in one fixed square, with the clay of the faces beside it.

prepared.csv says where each clip comes from, and why others were dropped; with it a run can be continued.
"""

import csv
import hashlib
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from animask.config import CLAY_SIZE, ModelConfig
from animask.crops import around, join_faces
from animask.errors import InputError
from animask.faces import Box, find_faces, paint_clay
from animask.files import read_text, replacing
from animask.images import centre_square, crop_resize, read_image, write_image
from animask.originals import Original, list_originals
from animask.shots import CutFinder, list_dissolves, list_shots
from animask.video import VideoInfo, VideoWriter, probe, read_frames

RECORD, SETTINGS = "prepared.csv", "prepared.json"
HALVES = ("train", "test")
BOXES = ("auto", "centre", "pad")
LOOKS = 4  # frames a second in which faces are looked for
FACE_SHARE = 0.5  # of these frames must have one
INSIDE = 0.8  # of a head's square must be picture: beyond its edge nothing can be learned
CRF = 12  # nearly without loss: what is learned from should not show the codec
# Change from the first frame, at 64×64 pixels, of all but one value in 200. Measured, in levels of 256: a photograph as
# a video 2, the stillest of 213 talking heads 26.
LOOK_SIZE, MOVES = 64, 8.0
SAVE_SECONDS = 2.0
MAX_SECONDS = 40  # of a clip; longer shots are divided
UNREADABLE = "unreadable"
OTHER_FOLDER = "Choose another folder for -o."

Progress = Callable[[float, int, str], None]


@dataclass(frozen=True)
class PrepareConfig:
    """The settings of one data set; every run on it must have the same.

    resolution: pixels of the square clips, even. fps: their frames a second. box: `auto`, the head (the union of its
    faces over the clip, enlarged); `centre`, the largest square in the middle; `pad`, the whole frame, its edge pixels
    continued to a square. stills: make single pictures of pictures, not clips of videos. min_size: smallest side of
    the square in the original, in pixels; by default three quarters of the resolution. min_seconds: shorter clips are
    dropped. test: share of the identities kept for testing. Raises InputError for a value that cannot be.
    """

    resolution: int = ModelConfig.resolution
    fps: Fraction = Fraction(25)
    box: str = "auto"
    stills: bool = False
    min_size: int | None = None
    min_seconds: float = 1.0
    test: float = 0.1

    def __post_init__(self) -> None:
        if self.resolution not in range(16, 4097, 2):
            raise InputError("The resolution must be an even number from 16 to 4096.")
        if not 0 < self.fps <= 240:
            raise InputError("The frame rate must be above 0 and at most 240.")
        if not (0 <= self.test < 1 and 0 <= self.min_seconds <= MAX_SECONDS / 2):
            raise InputError(f"The test share must be below 1, and the shortest length at most {MAX_SECONDS / 2} s.")
        if self.box not in BOXES:
            raise InputError(f"The box {self.box!r} is not understood.", f"Give one of {', '.join(BOXES)}.")


class Record(NamedTuple):
    """A row of prepared.csv: a clip or a still, or what gave none.

    origin: the video or picture, below the folder that was given. start, end: frames (end exclusive) at `fps`. square:
    x,y,size in its pixels. partition: train or test, empty while a run is not finished. file: the name in that folder,
    empty where it was dropped for the `reason`, whose words up to a colon are of a few kinds.
    """

    origin: str
    identity: str
    start: int = 0
    end: int = 0
    fps: str = ""
    square: str = ""
    partition: str = ""
    file: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Job:
    """One video or picture to prepare, until `stopped` is set; `report` is called with the fraction done."""

    original: Original
    dataset: Path
    config: PrepareConfig
    stopped: threading.Event
    report: Callable[[float], None]


@dataclass(frozen=True)
class Summary:
    """What is in the data set now; how many clips or originals were dropped, by reason; how many files were left out of
    the folders, by what they are; how many originals this run did, and how many it found done.
    """

    dataset: str
    clips: int
    seconds: float
    train_identities: int
    test_identities: int
    dropped: dict[str, int]
    left_out: dict[str, int]
    done: int
    done_before: int


def prepare(
    inputs: Iterable[Path],
    dataset: Path,
    config: PrepareConfig,
    workers: int = 1,
    progress: Progress = lambda done, total, line: None,
) -> Summary:
    """Turn videos and folders of videos into `dataset`: train/ and test/ with square clips, and prepared.csv.

    With the box `auto`, NAME.clay.npz lies beside NAME.mp4 (or NAME.png, a still) where a face was found: `clay`,
    uint8 (T, 64, 64), of every frame, zero where it has none. workers: originals at the same time. progress: called
    from any thread with how many are done (a fraction counts), of how many, and a line on one just finished, or an
    empty one. A second run leaves alone what prepared.csv has, but for unreadable ones, and goes on. Raises InputError
    for inputs without videos, a folder that is something else and other settings than before; AnimaskError where
    nothing can be written.
    """
    originals, left_out = list_originals(inputs, dataset, config.stills)
    open_dataset(dataset, config)
    rows = [row for row in read_records(dataset) if row.fps or not row.reason.startswith(UNREADABLE)]
    done = {row.origin for row in rows}
    todo = [original for original in originals if original.label not in done]
    run(todo, dataset, config, workers, rows, progress)
    rows = assign_partitions(rows, config.test)
    write_records(dataset, rows)
    move_tests(dataset, rows)
    return summarise(dataset, config, rows, left_out, (len(todo), len(originals) - len(todo)))


# one video or picture


def prepare_one(job: Job) -> list[Record]:
    """Write the clips of one video, or the still of a picture; what could not be read is a row with the reason.

    Raises AnimaskError where nothing can be written, and CancelledError when the run was stopped.
    """
    whole = Record(job.original.label, job.original.identity)
    try:
        if job.config.stills:
            return [write_still(job, whole)]
        info = probe(job.original.path)
        rows = plan_clips(job, whole, info)
    except InputError as error:
        return [drop(whole, f"{UNREADABLE}: {error.message}")]
    return [write_clip(job, row, info) if row.file else row for row in rows]


def write_still(job: Job, row: Record) -> Record:
    """Write the square of a picture; its row, or that of one dropped."""
    config, picture = job.config, read_image(job.original.path)
    found = [[face.box for face in find_faces(picture)]] if config.box == "auto" else []
    row = plan_square(config, row, found, *picture.shape[:2])
    if not row.reason:
        row = row._replace(end=1, file=f"{job.original.key}.png")
        still, path = crop_resize(picture, read_square(row.square), config.resolution), job.dataset / "train" / row.file
        write_image(path, still)
        write_clay(path, [paint_clay(still, CLAY_SIZE)] if config.box == "auto" else [])
    return row


def plan_clips(job: Job, whole: Record, info: VideoInfo) -> list[Record]:
    """Look at the whole video once: for its shots, and for faces where the square is to follow them."""
    config, finder = job.config, CutFinder()
    faces: dict[int, list[Box]] = {}
    for number, frame in enumerate(watch(job, read_frames(info, fps=config.fps))):
        finder.add(frame)
        if number % max(1, round(config.fps / LOOKS)) == 0:
            faces[number] = [face.box for face in find_faces(frame)] if config.box == "auto" else []
            job.report(min(0.5, number / float(2 * info.duration * config.fps)))
    dissolves = list_dissolves(finder.mixed)
    spans = [(*span, "dissolve") for span in dissolves]
    spans += [(*span, "") for span in list_shots(finder.cuts, finder.count, round(MAX_SECONDS * config.fps), dissolves)]
    rows, least = [], max(2, round(config.min_seconds * config.fps))  # a clip needs two to learn from
    for start, end, reason in sorted(spans):
        row = whole._replace(start=start, end=end, fps=str(config.fps), reason=reason)
        if not reason and end - start < least:
            row = drop(row, f"too short: {end - start} frames, fewer than {least}")
        if not row.reason:
            found = [faces[number] for number in range(start, end) if number in faces]
            row = plan_square(config, row, found, info.height, info.width)
        rows.append(row if row.reason else row._replace(file=f"{job.original.key}#{start:06}#{end:06}.mp4"))
    return rows


def plan_square(config: PrepareConfig, row: Record, found: list[list[Box]], height: int, width: int) -> Record:
    """The row with the square that the settings ask for, or with the reason why none will do.

    found: the faces of the frames that were looked at, of height × width pixels.
    """
    if config.box == "auto":
        head, count = join_faces(found, height, width), sum(bool(boxes) for boxes in found)
        if head is None or count < FACE_SHARE * len(found):
            return drop(row, f"no face: in {len(found) - count} of {len(found)} frames")
        x, y, side = head
        if (min(x + side, width) - max(x, 0)) * (min(y + side, height) - max(y, 0)) < INSIDE * side**2:
            return drop(row, "too close: the head is larger than the picture")
    else:
        x, y, side = around(height, width) if config.box == "pad" else centre_square(height, width)
    smallest = config.min_size or config.resolution * 3 // 4
    if side < smallest:
        return drop(row, f"too small: a square of {side} pixels, below {smallest}")
    return row._replace(square=f"{x},{y},{side}")


def write_clip(job: Job, row: Record, info: VideoInfo) -> Record:
    """Write the clip of a row, and its clay; its row, or that of a clip that could not be read or does not move."""
    config, path, size = job.config, job.dataset / "train" / row.file, job.config.resolution
    frames = read_frames(info, fps=config.fps, first=row.start, stop=row.end, crop=read_square(row.square), size=size)
    first, moved, clay = np.zeros(0), 0.0, []
    try:
        with VideoWriter(path, config.fps, (size, size), crf=CRF) as writer:
            for frame in watch(job, frames):
                writer.write(frame)
                small = cv2.resize(frame, (LOOK_SIZE, LOOK_SIZE), interpolation=cv2.INTER_AREA).astype(float)
                first = first if first.size else small
                moved = max(moved, float(np.quantile(np.abs(small - first), 0.995)))
                clay += [paint_clay(frame, CLAY_SIZE)] if config.box == "auto" else []
                job.report(0.5 + 0.5 * (row.start + writer.frames) / info.duration / float(config.fps))
    except InputError as error:
        return drop(row, f"{UNREADABLE}: {error.message}")
    if moved < MOVES:
        path.unlink()
        return drop(row, "still: nothing moves")
    write_clay(path, clay)
    return row


def watch(job: Job, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The frames, until the run is stopped."""
    for frame in frames:
        if job.stopped.is_set():
            raise CancelledError
        yield frame


def write_clay(path: Path, clay: list[np.ndarray | None]) -> None:
    """Write the clay of a clip or still beside it, zeros for frames without, if there is any."""
    if any(picture is not None for picture in clay):
        none = np.zeros((CLAY_SIZE, CLAY_SIZE), np.uint8)
        with replacing(clay_path(path)) as temporary:
            np.savez_compressed(temporary, clay=np.stack([none if picture is None else picture for picture in clay]))


def clay_path(path: Path) -> Path:
    """Where the clay of a clip or still lies."""
    return path.with_name(f"{path.stem}.clay.npz")


def drop(row: Record, reason: str) -> Record:
    """The row of what is not written."""
    return row._replace(file="", reason=reason)


def read_square(text: str) -> tuple[int, int, int]:
    """The square of a row's text x,y,size."""
    x, y, size = (int(part) for part in text.split(","))
    return x, y, size


# all of them


def run(
    todo: list[Original], dataset: Path, config: PrepareConfig, workers: int, rows: list[Record], progress: Progress
) -> None:
    """Prepare the originals and add their rows to `rows` and to prepared.csv; ends all where one fails."""
    shares, stopped, saved = {original.label: 0.0 for original in todo}, threading.Event(), time.monotonic()

    def report(label: str, share: float, line: str = "") -> None:
        shares[label] = share
        progress(sum(shares.values()), len(shares), line)

    with ThreadPoolExecutor(workers) as pool:
        jobs = [Job(original, dataset, config, stopped, partial(report, original.label)) for original in todo]
        futures = {pool.submit(prepare_one, job): job.original for job in jobs}
        try:
            for future in as_completed(futures):
                original, new = futures[future], future.result()
                rows += new
                report(original.label, 1.0, describe(original, new))
                if time.monotonic() - saved > SAVE_SECONDS:
                    write_records(dataset, rows)
                    saved = time.monotonic()
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)
            write_records(dataset, rows)


def describe(original: Original, rows: list[Record]) -> str:
    """What became of an original, for people."""
    kept, reasons = sum(bool(row.file) for row in rows), Counter(row.reason for row in rows if row.reason)
    parts = [f"{kept} kept", *(f"{count} dropped: {reason}" for reason, count in reasons.items())]
    return f"{original.label}: {'; '.join(parts)}"


def open_dataset(dataset: Path, config: PrepareConfig) -> None:
    """Make the folders and note the settings, or check that they are those of the runs before."""
    settings, path = asdict(config) | {"fps": str(config.fps)}, dataset / SETTINGS
    if path.exists():
        before = json.loads(read_text(path))
        for name in [name for name, value in settings.items() if before.get(name) != value]:
            was = f"{dataset} was begun with {name} {before.get(name)!r}, not {settings[name]!r}."
            raise InputError(was, "Use the same settings to continue, or another folder for -o.")
    elif dataset.exists() and (not dataset.is_dir() or any(dataset.iterdir())):
        raise InputError(f"{dataset} exists and was not made by `animask prepare`.", OTHER_FOLDER)
    for half in HALVES:
        (dataset / half).mkdir(parents=True, exist_ok=True)
        for killed in (dataset / half).glob(".*"):  # what a run was writing when it was killed
            killed.unlink(missing_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def read_records(dataset: Path) -> list[Record]:
    """The rows of a data set's prepared.csv; none where it is not there. InputError where it is damaged."""
    path = dataset / RECORD
    if not path.exists():
        return []
    kinds = Record.__annotations__
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            return [Record(**{name: kinds[name](row[name]) for name in kinds}) for row in csv.DictReader(file)]
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {error}.", OTHER_FOLDER) from error


def write_records(dataset: Path, rows: list[Record]) -> None:
    """Write prepared.csv, sorted, in one step."""
    with (
        replacing(dataset / RECORD) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(Record._fields)
        writer.writerows(sorted(rows))


def assign_partitions(rows: list[Record], share: float) -> list[Record]:
    """Give every clip its partition, by identity: about `share` of the identities are the test half.

    Identities that have one keep it, so a data set can grow without a test identity moving into training. Of at least
    two identities, one is a test identity and one is not, unless `share` is 0. New ones become test identities in the
    order of their hashes.
    """
    known = {row.identity: row.partition for row in rows if row.file and row.partition}
    names = {row.identity for row in rows if row.file}
    new = sorted(names - known.keys(), key=lambda name: hashlib.sha256(os.fsencode(name)).digest())
    wanted = 0 if share == 0 or len(names) < 2 else min(max(1, round(share * len(names))), len(names) - 1)
    missing = max(0, wanted - sum(half == "test" for half in known.values()))
    chosen = known | {name: "test" if place < missing else "train" for place, name in enumerate(new)}
    return [row._replace(partition=chosen[row.identity]) if row.file else row for row in rows]


def move_tests(dataset: Path, rows: list[Record]) -> None:
    """Put test clips, which are written with the others, into their folder; again, where a run was cut off."""
    for written in (dataset / "train" / row.file for row in rows if row.partition == "test"):
        for path in (clay_path(written), written):
            if path.exists():
                path.replace(dataset / "test" / path.name)


def summarise(
    dataset: Path, config: PrepareConfig, rows: list[Record], left_out: dict[str, int], done: tuple[int, int]
) -> Summary:
    """The summary of a data set's rows."""
    kept = [row for row in rows if row.file]
    train, test = ({row.identity for row in kept if row.partition == half} for half in HALVES)
    seconds = float(sum(row.end - row.start for row in kept) / config.fps)
    dropped = Counter(row.reason.split(":")[0] for row in rows if row.reason)
    return Summary(str(dataset), len(kept), seconds, len(train), len(test), dict(dropped), left_out, *done)
