"""A data set from raw videos: shots, each in one fixed square, with the clay of the faces beside it.

prepared.csv says where each clip comes from, and why others were dropped; with it a run can be continued.
"""

import csv
import hashlib
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from animask.clay import clay_path, paint_clay, write_clay
from animask.config import ModelConfig
from animask.crops import enclose, follow
from animask.datasets import VIDEO_SUFFIXES
from animask.errors import InputError
from animask.faces import Box, find_boxes
from animask.files import read_text, replacing
from animask.images import PICTURE_SUFFIXES, centre_square, crop_resize, is_animated, read_image, write_image
from animask.probing import choose_stream, open_video
from animask.shots import CutFinder, list_dissolves, list_shots
from animask.video import VideoInfo, probe, read_frames, write_video

RECORD, SETTINGS = "prepared.csv", "prepared.json"
BOXES = ("auto", "centre", "pad")
LOOKS = 4  # frames a second in which faces are looked for
FACE_SHARE = 0.5  # of these frames must have one
INSIDE = 0.8  # of a head's square must be picture: beyond its edge nothing can be learned
CRF = 12  # nearly without loss: what is learned from should not show the codec
# Change from the first frame, at 64×64 pixels, of all but one value in 200. Measured, in levels of 256: a photograph as
# a video 2, the stillest of 213 talking heads 26.
LOOK_SIZE, MOVES = 64, 8.0
SAVE_EVERY = 20  # originals: what is not saved when a run is killed is done again
MAX_SECONDS = 40  # of a clip; longer shots are divided
MAX_NAME_BYTES = 100  # of an identity and of a name; a clip's file name has both, and at most 255 bytes
VIDEO, PICTURE, NEITHER = "a video", "a still picture", "no video or picture"  # what files are
UNREADABLE = "unreadable"
OTHER_FOLDER = "Choose another folder for -o."

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class PrepareConfig:
    """The settings of one data set, the same in every run on it. Raises InputError for a value that cannot be."""

    resolution: int = ModelConfig.resolution  # pixels of the square clips, even
    fps: Fraction = Fraction(25)  # their frames a second
    box: str = "auto"  # the head, wherever it moves; centre: the largest square; pad: all, its edges continued
    stills: bool = False  # make single pictures of pictures, not clips of videos
    min_size: int | None = None  # smallest side of the square in the original, in pixels; None: ¾ of the resolution
    min_seconds: float = 1.0  # shorter clips are dropped
    test: float = 0.1  # share of the identities kept for testing

    def __post_init__(self) -> None:
        if self.resolution not in range(16, 4097, 2):
            raise InputError("The resolution must be an even number from 16 to 4096.")
        if not 0 < self.fps <= 240:
            raise InputError("The frame rate must be above 0 and at most 240.")
        if not (0 <= self.test < 1 and 0 <= self.min_seconds <= MAX_SECONDS / 2):
            raise InputError(f"The test share must be below 1, and the shortest length at most {MAX_SECONDS / 2} s.")
        if self.box not in BOXES:
            raise InputError(f"The box {self.box!r} is not understood.", f"Give one of {', '.join(BOXES)}.")


class Original(NamedTuple):
    """A video, a folder of frames, or a picture."""

    path: Path
    label: str  # its path below the folder that was given
    identity: str
    key: str  # how its clips' names begin, unique: identity#name or the identity alone, without another #


class Record(NamedTuple):
    """A row of prepared.csv: a clip or a still, or what gave none."""

    origin: str  # the video or picture, below the folder that was given
    identity: str
    start: int = 0  # frame at `fps`
    end: int = 0  # exclusive
    fps: str = ""
    square: str = ""  # x,y,size in pixels of the origin
    partition: str = ""  # train or test, empty while a run is not finished
    file: str = ""  # its name in that folder, empty where it was dropped
    reason: str = ""  # for that: words up to a colon are of a few kinds


@dataclass(frozen=True)
class Summary:
    """What is in the data set now, and what this run did."""

    dataset: str
    clips: int
    seconds: float
    train_identities: int
    test_identities: int
    dropped: dict[str, int]  # clips or originals, by reason
    left_out: dict[str, int]  # files of the folders, by what they are
    done: int  # originals of this run
    done_before: int  # and those that it found done


def prepare(
    inputs: Iterable[Path],
    dataset: Path,
    config: PrepareConfig,
    workers: int = 1,
    progress: Progress = lambda done, total, line: None,
) -> Summary:
    """Turn videos and folders of videos into `dataset`: train/ and test/ with square clips, and prepared.csv.

    With the box `auto`, the clay of each clip or still with a face lies beside it. workers: originals at the same time.
    progress(done, total, line on the last one). A second run leaves alone what prepared.csv has, but for what was
    unreadable. Raises InputError for inputs without videos, a folder that is something else and other settings than
    before; AnimaskError where nothing can be written.
    """
    originals, left_out = list_originals(inputs, dataset, config.stills)
    open_dataset(dataset, config)
    rows = [row for row in read_records(dataset) if row.fps or not row.reason.startswith(UNREADABLE)]
    known = {row.origin for row in rows}
    todo = [original for original in originals if original.label not in known]
    run(todo, dataset, config, workers, rows, progress)
    rows = assign_partitions(rows, config.test)
    write_records(dataset, rows)
    for row in rows:
        if row.partition == "test":  # written with the others; some may have been moved by a run before
            written = dataset / "train" / row.file
            for path in (clay_path(written), written):
                if path.exists():
                    path.replace(dataset / "test" / path.name)
    kept = [row for row in rows if row.file]
    train, test = (len({row.identity for row in kept if row.partition == half}) for half in ("train", "test"))
    seconds = float(sum(row.end - row.start for row in kept) / config.fps)
    dropped = dict(Counter(row.reason.split(":")[0] for row in rows if row.reason))
    done, done_before = len(todo), len(originals) - len(todo)
    return Summary(str(dataset), len(kept), seconds, train, test, dropped, left_out, done, done_before)


# what it is made from


def list_originals(inputs: Iterable[Path], without: Path, stills: bool) -> tuple[list[Original], dict[str, int]]:
    """The videos among files and folders, sorted, or with `stills` the pictures; and how many files were left out, why.

    The identity of one in a sub-folder of an input folder is the sub-folder's name, otherwise the name before the
    first `#` of its own name. A folder that holds several pictures and no video is one video. Hidden files and those
    in the folder `without` do not count. Raises InputError for an input that is missing or holds none, and for two
    that would get the same name.
    """
    found: dict[str, Original] = {}
    left_out: Counter[str] = Counter()
    for given in inputs:
        if not given.exists():
            raise InputError(f"{given} does not exist.")
        paths = list(walk(given, without.resolve(), stills, left_out)) if given.is_dir() else [given]
        if not paths:
            kind = "pictures" if stills else "videos"
            raise InputError(f"The folder {given} holds no {kind}.", f"Give {kind} or a folder of {kind}.")
        for path in paths:
            original = name_original(path, given if given.is_dir() else given.parent)
            other = found.setdefault(original.key, original)
            if other.path.resolve() != path.resolve():
                both = f"{other.path} and {path} would both become {original.key}."
                raise InputError(both, "Rename one, or put each into a sub-folder named after who is seen in it.")
    return [found[key] for key in sorted(found)], dict(left_out)


def walk(folder: Path, without: Path, stills: bool, left_out: Counter[str]) -> Iterator[Path]:
    """Videos and folders of frames below a folder, or pictures; the rest is counted in `left_out`."""
    wanted = PICTURE if stills else VIDEO
    for name, folders, files in os.walk(folder):
        here = Path(name)
        folders[:] = sorted(item for item in folders if item[0] != "." and (here / item).resolve() != without)
        kinds = {here / item: find_kind(here / item) for item in sorted(files) if item[0] != "."}
        counts = Counter(kinds.values())
        del counts[wanted]
        if wanted not in kinds.values() and counts[PICTURE] > 1:
            kinds = {here: wanted}
            del counts[PICTURE]
        left_out.update(counts)
        yield from (path for path, kind in kinds.items() if kind == wanted)


def find_kind(path: Path) -> str:
    """What a file is, by what is in it; a broken one by its name."""
    moves, suffix = is_animated(path), path.suffix.lower()
    if moves or (moves is None and suffix in VIDEO_SUFFIXES):
        return VIDEO
    if moves is False or suffix in PICTURE_SUFFIXES:
        return PICTURE
    try:
        with open_video(path) as container:
            return VIDEO if choose_stream(container.streams.video) else NEITHER
    except InputError:
        return NEITHER


def name_original(path: Path, base: Path) -> Original:
    """Identity and key from the path below the input folder: identity/anything/below.mp4."""
    below = Path(path.resolve().name) if path == base else path.relative_to(base)
    parts = (below if path.is_dir() else below.with_suffix("")).parts
    if len(parts) == 1 and all(halves := parts[0].split("#", 1)):
        parts = tuple(halves)
    first, *rest = (part.replace("#", "-") for part in parts)
    identity, name = shorten(first), shorten("-".join(rest) or first)
    return Original(path, below.as_posix(), identity, identity if name == identity else f"{identity}#{name}")


def shorten(name: str) -> str:
    """A name that leaves room for others in the name of a clip."""
    data = os.fsencode(name)
    return name if len(data) <= MAX_NAME_BYTES else data[:MAX_NAME_BYTES].decode(errors="ignore")


# one video or picture


def prepare_one(original: Original, dataset: Path, config: PrepareConfig, stopped: threading.Event) -> list[Record]:
    """Write the clips of one video, or the still of a picture; what could not be read is a row with the reason.

    Raises AnimaskError where nothing can be written, and CancelledError when the run was stopped.
    """
    whole, stem = Record(original.label, original.identity), dataset / "train" / original.key
    try:
        if config.stills:
            return [write_still(original.path, stem, config, whole)]
        info = probe(original.path)
        rows = plan_clips(info, config, whole, stopped)
        return [row if row.reason else write_clip(info, stem, config, row, stopped) for row in rows]
    except InputError as error:
        return [whole._replace(reason=f"{UNREADABLE}: {error.message}")]


def write_still(path: Path, stem: Path, config: PrepareConfig, row: Record) -> Record:
    """Write the square of a picture to STEM.png, and its clay; its row, or that of one dropped."""
    picture, follows = read_image(path), config.box == "auto"
    row = plan_square(config, row, [find_boxes(picture)] if follows else [], *picture.shape[:2])
    if row.reason:
        return row
    x, y, side = map(int, row.square.split(","))
    still, written = crop_resize(picture, (x, y, side), config.resolution), Path(f"{stem}.png")
    write_image(written, still)
    write_clay(written, [paint_clay(still)] if follows else [])
    return row._replace(end=1, file=written.name)


def plan_clips(info: VideoInfo, config: PrepareConfig, whole: Record, stopped: threading.Event) -> list[Record]:
    """Look at the whole video once: for its shots, and for faces where the square is to follow them."""
    finder, every = CutFinder(), max(1, round(config.fps / LOOKS))
    faces: dict[int, tuple[Box, ...]] = {}
    for number, frame in enumerate(read_frames(info, fps=config.fps)):
        if stopped.is_set():
            raise CancelledError
        finder.add(frame)
        if config.box == "auto" and number % every == 0:
            faces[number] = find_boxes(frame)
    whole = whole._replace(fps=str(config.fps))
    dissolves = list_dissolves(finder.mixed)
    rows = [whole._replace(start=start, end=end, reason="dissolve") for start, end in dissolves]
    least = max(2, round(config.min_seconds * config.fps))  # a clip needs two to learn from
    for start, end in list_shots(finder.cuts, finder.count, round(MAX_SECONDS * config.fps), dissolves):
        row = whole._replace(start=start, end=end)
        if end - start < least:
            rows.append(row._replace(reason=f"too short: {end - start} frames, fewer than {least}"))
        else:
            found = [faces[number] for number in range(start, end) if number in faces]
            rows.append(plan_square(config, row, found, info.height, info.width))
    return rows


def plan_square(config: PrepareConfig, row: Record, found: list[tuple[Box, ...]], height: int, width: int) -> Record:
    """The row with the square that the settings ask for, or why none will do. found: faces, frame by frame."""
    if config.box == "auto":
        count = sum(bool(boxes) for boxes in found)
        if count < max(1, FACE_SHARE * len(found)):
            return row._replace(reason=f"no face: in {len(found) - count} of {len(found)} frames")
        x, y, side = enclose(follow(found)[0], height, width)
        if (min(x + side, width) - max(x, 0)) * (min(y + side, height) - max(y, 0)) < INSIDE * side**2:
            return row._replace(reason="too close: the head is larger than the picture")
    else:
        x, y, side = centre_square(height, width, max(height, width) if config.box == "pad" else None)
    smallest = config.min_size or config.resolution * 3 // 4
    if side < smallest:
        return row._replace(reason=f"too small: a square of {side} pixels, below {smallest}")
    return row._replace(square=f"{x},{y},{side}")


def write_clip(info: VideoInfo, stem: Path, config: PrepareConfig, row: Record, stopped: threading.Event) -> Record:
    """Write STEM#START#END.mp4 of a row, and its clay; its row, or that of one that cannot be read or does not move."""
    path, size = Path(f"{stem}#{row.start:06}#{row.end:06}.mp4"), config.resolution
    x, y, side = map(int, row.square.split(","))
    frames = read_frames(info, fps=config.fps, first=row.start, stop=row.end, crop=(x, y, side), size=size)
    small, clay = [], []

    def looked_at() -> Iterator[np.ndarray]:
        for frame in frames:
            if stopped.is_set():
                raise CancelledError
            yield frame
            small.append(cv2.resize(frame, (LOOK_SIZE, LOOK_SIZE), interpolation=cv2.INTER_AREA))
            if config.box == "auto":
                clay.append(paint_clay(frame))

    try:
        write_video(path, looked_at(), config.fps, crf=CRF)
    except InputError as error:
        return row._replace(reason=f"{UNREADABLE}: {error.message}")
    if max(np.quantile(cv2.absdiff(frame, small[0]), 0.995) for frame in small) < MOVES:
        path.unlink()
        return row._replace(reason="still: nothing moves")
    write_clay(path, clay)
    return row._replace(file=path.name)


# all of them


def run(
    todo: list[Original], dataset: Path, config: PrepareConfig, workers: int, rows: list[Record], progress: Progress
) -> None:
    """Prepare the originals and add their rows to `rows` and to prepared.csv; ends all where one fails."""
    stopped = threading.Event()
    with ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(prepare_one, original, dataset, config, stopped): original for original in todo}
        try:
            for done, future in enumerate(as_completed(futures), 1):
                new = future.result()
                rows += new
                reasons = Counter(row.reason for row in new if row.reason)
                parts = [f"{sum(bool(row.file) for row in new)} kept"]
                parts += [f"{count} dropped: {reason}" for reason, count in reasons.items()]
                progress(done, len(todo), f"{futures[future].label}: {'; '.join(parts)}")
                if done % SAVE_EVERY == 0:
                    write_records(dataset, rows)
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)
            write_records(dataset, rows)


def open_dataset(dataset: Path, config: PrepareConfig) -> None:
    """Make the folders and note the settings, or check that they are those of the runs before."""
    settings, path = asdict(config) | {"fps": str(config.fps)}, dataset / SETTINGS
    if path.exists():
        before = json.loads(read_text(path))
        for name, value in settings.items():
            if before.get(name) != value:
                was = f"{dataset} was begun with {name} {before.get(name)!r}, not {value!r}."
                raise InputError(was, "Use the same settings to continue, or another folder for -o.")
    elif dataset.exists() and (not dataset.is_dir() or any(dataset.iterdir())):
        raise InputError(f"{dataset} exists and was not made by `animask prepare`.", OTHER_FOLDER)
    for half in ("train", "test"):
        (dataset / half).mkdir(parents=True, exist_ok=True)
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
    with replacing(dataset / RECORD) as part, part.open("w", -1, "utf-8", "surrogateescape", newline="") as file:
        csv.writer(file).writerows([Record._fields, *sorted(rows)])


def assign_partitions(rows: list[Record], share: float) -> list[Record]:
    """Give every clip its partition, by identity: about `share` of the identities are the test half.

    Identities that have one keep it, so that a data set can grow; new ones get it in the order of their hashes. Of at
    least two identities, one is a test identity and one is not, unless `share` is 0.
    """
    known = {row.identity: row.partition for row in rows if row.file and row.partition}
    names = {row.identity for row in rows if row.file}
    new = sorted(names - known.keys(), key=lambda name: hashlib.sha256(os.fsencode(name)).digest())
    wanted = min(max(1, round(share * len(names))), len(names) - 1) if share else 0
    missing = wanted - list(known.values()).count("test")
    chosen = known | {name: "test" if place < missing else "train" for place, name in enumerate(new)}
    return [row._replace(partition=chosen[row.identity]) if row.file else row for row in rows]
