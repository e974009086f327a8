"""The clips of one video: planned (frames and square), then written."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from animask.errors import AnimaskError, InputError
from animask.faces import Box, find_faces, join_faces
from animask.images import centre_square
from animask.preparation.boxes import GivenBox
from animask.preparation.records import Record
from animask.preparation.scenes import CutFinder, list_shots
from animask.preparation.settings import PrepareConfig
from animask.preparation.sources import Source
from animask.video import VideoInfo, VideoWriter, probe, read_frames

LOOKS = 4  # frames a second in which faces are looked for
FACE_SHARE = 0.5  # of these frames must have one
CRF = 12  # nearly without loss: what is learned from should not show the codec

Square = tuple[int, int, int]


@dataclass(frozen=True)
class Job:
    """One video to prepare into the folder `dataset`, for a thread of its own.

    given: its boxes where a CSV was given, else None. stopped: set when the run is to end. report: called with
    the fraction done.
    """

    source: Source
    dataset: Path
    config: PrepareConfig
    given: tuple[GivenBox, ...] | None
    stopped: threading.Event
    report: Callable[[float], None]


class _Plan(NamedTuple):
    """A row of prepared.csv, and the square to cut; the row says why where nothing is cut."""

    row: Record
    square: Square


class _UnreadableError(InputError):
    """The raw video is at fault, not the writing: it is dropped and the run goes on."""


def process(job: Job) -> list[Record]:
    """Plan and write the clips of one video; what could not be read is a row with the reason.

    Raises AnimaskError where a clip cannot be written, and CancelledError when the run was stopped.
    """
    whole = Record(job.source.label, job.source.bytes, job.source.name, job.source.identity)
    try:
        info = probe(job.source.path)
        plans = _plan_shots(job, whole, info) if job.given is None else _plan_given(job, whole, info)
    except InputError as error:
        return [whole._replace(reason=f"unreadable: {error.message}")]
    rows = []
    for number, plan in enumerate(plans):
        rows.append(_write_clip(job, plan, info) if plan.row.file else plan.row)
        job.report(0.5 + 0.5 * (number + 1) / len(plans))
    return rows or [whole._replace(reason="not in the CSV of boxes")]


def _plan_shots(job: Job, whole: Record, info: VideoInfo) -> list[_Plan]:
    """Look at the whole video once: for its shots, and for faces where the square is to follow them."""
    config, finder = job.config, CutFinder()
    every = max(1, round(config.fps / LOOKS))
    expected = (info.duration or 0) * config.fps
    faces: dict[int, list[Box]] = {}
    for number, frame in enumerate(_read(job, partial(read_frames, info, fps=config.fps))):
        finder.add(frame)
        if config.box == "auto" and number % every == 0:
            faces[number] = find_faces(frame)
            job.report(0.5 * min(1.0, number / max(1.0, float(expected))))
    plans = []
    for start, end in list_shots(finder.cuts, finder.count, config.max_frames):
        found = [faces[number] for number in range(start, end) if number in faces]
        square, reason = _choose_square(config, found, info)
        plans.append(_plan(config, whole, info, (start, end), square, reason))
    return plans


def _plan_given(job: Job, whole: Record, info: VideoInfo) -> list[_Plan]:
    """The clips that the CSV names; identities and partitions are as it says."""
    plans, names = [], set()
    for box in job.given or ():
        row = whole._replace(person_id=box.identity or whole.person_id, partition=box.partition)
        start, end = box.frames(job.config.fps)
        length = end if info.duration is None else round(info.duration * job.config.fps)
        square = box.square(info.height, info.width)
        plan = _plan(job.config, row, info, (start, min(end, length)), square, "")
        if plan.row.file in names:
            plan = _Plan(plan.row._replace(file="", partition="", reason="twice in the CSV of boxes"), square)
        names.add(plan.row.file)
        plans.append(plan)
    return plans


def _choose_square(config: PrepareConfig, found: list[list[Box]], info: VideoInfo) -> tuple[Square, str]:
    """The square that the settings ask for, and the reason why it will not do, or none."""
    whole = centre_square(info.height, info.width)
    if config.box == "centre":
        return whole, ""
    if config.box == "pad":
        side = max(info.height, info.width)
        return ((info.width - side) // 2, (info.height - side) // 2, side), ""
    if config.box != "auto":
        x, y, size = config.fixed_square()
        is_inside = x + size <= info.width and y + size <= info.height
        return (x, y, size), "" if is_inside else f"box outside: the picture is {info.width}×{info.height}"
    square = join_faces(found, info.height, info.width)
    if square is None:
        return whole, "no face"
    count = sum(bool(boxes) for boxes in found)
    is_enough = count >= FACE_SHARE * len(found)
    return square, "" if is_enough else f"no face: found in only {count} of {len(found)} frames"


def _plan(
    config: PrepareConfig,
    row: Record,
    info: VideoInfo,
    frames: tuple[int, int],
    square: Square,
    reason: str,
) -> _Plan:
    """A row with its frames and box, and the name of its clip, or the reason why there is none."""
    (start, end), (x, y, size) = frames, square
    left, top = max(0, x), max(0, y)
    right, bottom = min(info.width, x + size), min(info.height, y + size)
    row = row._replace(
        start=start,
        end=max(start, end),
        bbox=f"{left}-{top}-{right}-{bottom}",
        fps=str(config.fps),
        width=info.width,
        height=info.height,
    )
    if end - start < config.min_frames:
        reason = f"too short: {max(0, end - start)} frames, fewer than {config.min_frames}"
    elif not reason and size < config.smallest:
        reason = f"too small: a square of {size} pixels, below {config.smallest}"
    if reason:
        return _Plan(row._replace(partition="", reason=reason), square)
    name = f"{Source.join(row.person_id, row.video_id)}#{start:06}#{end:06}.mp4"
    return _Plan(row._replace(file=name), square)


def _write_clip(job: Job, plan: _Plan, info: VideoInfo) -> Record:
    """Write the clip of a plan into the training folder; its row, or that of a clip that could not be read."""
    config, row = job.config, plan.row
    start, end = float(row.start / config.fps), float(row.end / config.fps)
    size = config.resolution
    read = partial(read_frames, info, fps=config.fps, start=start, end=end, crop=plan.square, size=size)
    path = job.dataset / "train" / row.file
    try:
        with VideoWriter(path, config.fps, (size, size), crf=CRF) as writer:
            for frame in _read(job, read):
                writer.write(frame)
            if writer.frames == 0:
                raise _UnreadableError("no frame could be read")
    except _UnreadableError as error:
        return row._replace(file="", partition="", reason=f"unreadable: {error.message}")
    return row


def _read(job: Job, read: Callable[[], Iterator[np.ndarray]]) -> Iterator[np.ndarray]:
    """The frames until the run is stopped; what goes wrong while reading is told from what else does."""
    try:
        for frame in read():
            if job.stopped.is_set():
                raise CancelledError
            yield frame
    except AnimaskError as error:
        raise _UnreadableError(error.message) from error
