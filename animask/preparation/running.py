"""Many videos to one data set: in parallel, with a record of what is done, so that a run can be continued."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from animask.errors import AnimaskError, InputError
from animask.partials import clean_partials
from animask.preparation.boxes import GivenBox, read_boxes
from animask.preparation.clips import Job, process
from animask.preparation.records import (
    Record,
    assign_partitions,
    read_records,
    replace_text,
    write_records,
)
from animask.preparation.settings import PrepareConfig
from animask.preparation.sources import Source, list_sources

SETTINGS = "prepared.json"
SAVE_SECONDS = 2.0

Progress = Callable[[float, int, str], None]


@dataclass(frozen=True)
class Summary:
    """What is in the data set now; how many videos this run did, and how many it found done.

    seconds: length of all clips. dropped: how many clips or videos for each kind of reason.
    """

    dataset: str
    clips: int
    seconds: float
    train_identities: int
    test_identities: int
    dropped: dict[str, int]
    videos: int
    videos_done_before: int


def prepare(
    inputs: Iterable[Path],
    dataset: Path,
    config: PrepareConfig,
    boxes: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Summary:
    """Turn videos and folders of videos into `dataset`: train/ and test/ with square clips, and prepared.csv.

    boxes: a CSV of clips and boxes to use in place of scene cuts and faces. workers: videos at the same time.
    progress: called with the videos done (a fraction counts), of how many, and a line on one that has just
    been finished, or an empty one; from any thread, one call at a time. A second run with the same settings
    leaves alone the videos that prepared.csv has, and goes on. Raises InputError for inputs without videos,
    for a folder that is something else and for other settings than before, and AnimaskError where the clips
    cannot be written.
    """
    dataset = Path(dataset)
    sources = list_sources([Path(given) for given in inputs], dataset)
    given = None if boxes is None else read_boxes(Path(boxes))
    _open_dataset(dataset, config, boxes)
    records = read_records(dataset)
    done = {(row.source, row.bytes) for row in records}
    todo = [source for source in sources if (source.label, source.bytes) not in done]
    records = _forget(dataset, records, todo)
    tally = _Tally(len(todo), progress)
    stopped = threading.Event()
    jobs = [Job(source, dataset, config, _boxes_of(source, given), stopped, tally.reporter(source)) for source in todo]
    _run(jobs, workers, records, tally)
    records = assign_partitions(records, config.test, config.seed)
    write_records(dataset, records)
    _move_clips(dataset, records)
    return _summarise(dataset, config, records, len(todo), len(sources) - len(todo))


class _Tally:
    """Adds up how far the videos are, from all threads."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.total, self.progress = total, progress
        self._done: dict[str, float] = {}
        self._sum = 0.0
        self._lock = threading.Lock()

    def reporter(self, source: Source) -> Callable[[float], None]:
        """What a job calls with the fraction done of its video."""
        return lambda fraction: self.note(source, fraction, "")

    def note(self, source: Source, fraction: float, line: str) -> None:
        """This fraction of a video is done; a line where there is something to say about it."""
        with self._lock:
            self._sum += fraction - self._done.get(source.label, 0.0)
            self._done[source.label] = fraction
            if self.progress is not None:
                self.progress(self._sum, self.total, line)


def _boxes_of(source: Source, given: dict[str, list[GivenBox]] | None) -> tuple[GivenBox, ...] | None:
    return None if given is None else tuple(given.get(source.name, ()))


def _run(jobs: list[Job], workers: int, records: list[Record], tally: _Tally) -> None:
    """Do the jobs and add their rows to `records` and to prepared.csv; ends them all where one fails."""
    saved = time.monotonic()
    with ThreadPoolExecutor(max(1, workers)) as pool:
        futures: dict[Future[list[Record]], Job] = {pool.submit(process, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                rows, job = future.result(), futures[future]
                records += rows
                tally.note(job.source, 1.0, _describe(job.source, rows))
                if time.monotonic() - saved > SAVE_SECONDS:
                    write_records(job.dataset, records)
                    saved = time.monotonic()
        finally:
            for job in jobs:
                job.stopped.set()
            pool.shutdown(cancel_futures=True)
            for job in jobs[:1]:
                write_records(job.dataset, records)


def _describe(source: Source, rows: list[Record]) -> str:
    """What became of a video, for people."""
    kept = sum(bool(row.file) for row in rows)
    reasons = Counter(row.reason for row in rows if row.reason)
    parts = [f"{kept} clip{'s' * (kept != 1)}", *(f"{n} dropped: {reason}" for reason, n in reasons.items())]
    return f"{source.path.name}: {'; '.join(parts)}"


def _move_clips(dataset: Path, records: list[Record]) -> None:
    """Put test clips, which are written with the others, into their folder; again, where a run was cut off."""
    for row in records:
        written = dataset / "train" / row.file
        if row.partition == "test" and written.exists():
            written.replace(dataset / "test" / row.file)


def _summarise(dataset: Path, config: PrepareConfig, records: list[Record], videos: int, before: int) -> Summary:
    kept = [row for row in records if row.file]
    train, test = ({row.person_id for row in kept if row.partition == half} for half in ("train", "test"))
    seconds = float(sum(row.end - row.start for row in kept) / config.fps)
    dropped = Counter(row.reason.split(":")[0] for row in records if row.reason)
    return Summary(str(dataset), len(kept), seconds, len(train), len(test), dict(dropped), videos, before)


def _open_dataset(dataset: Path, config: PrepareConfig, boxes: Path | None) -> None:
    """Make the folders and note the settings, or check that they are those of the runs before."""
    settings: dict[str, object] = {**asdict(config), "fps": str(config.fps)}
    settings["boxes"] = sha256(boxes.read_bytes()).hexdigest() if boxes else ""
    path = dataset / SETTINGS
    if path.exists():
        before = _read_settings(path)
        for name, value in settings.items():
            if before.get(name) != value:
                raise InputError(
                    f"{dataset} was begun with {name} {before.get(name)!r}, not {value!r}.",
                    "Use the same settings to continue, or another folder for -o.",
                )
    elif dataset.exists() and (not dataset.is_dir() or any(dataset.iterdir())):
        raise InputError(f"{dataset} exists and was not made by `animask prepare`.", "Choose another folder for -o.")
    try:
        for half in ("train", "test"):
            (dataset / half).mkdir(parents=True, exist_ok=True)
            clean_partials(dataset / half)
    except OSError as error:
        raise AnimaskError(f"{dataset} cannot be made: {error.strerror}.") from error
    replace_text(path, json.dumps(settings, indent=2) + "\n")


def _read_settings(path: Path) -> dict[str, object]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}.", "Choose another folder for -o.") from error
    return settings if isinstance(settings, dict) else {}


def _forget(dataset: Path, records: list[Record], todo: list[Source]) -> list[Record]:
    """Without the rows and clips of videos that have changed since."""
    changed = {source.label for source in todo}
    for row in records:
        if row.source in changed and row.file:
            (dataset / (row.partition or "train") / row.file).unlink(missing_ok=True)
    return [row for row in records if row.source not in changed]
