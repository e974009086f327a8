"""Files in, files out: one job, many, a drawing of the crops. Read `animate_file` first: it is the whole way."""

import csv
import logging
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple

import numpy as np

from animask.crops import Crop, crop_face, draw_crop, named_crop, parse_crop, paste, picture_part
from animask.devices import DTYPES, pick_device, pick_precision
from animask.errors import AnimaskError, InputError
from animask.files import REPLACE, read_text
from animask.fusion import fuse
from animask.images import crop_resize, read_image, write_image
from animask.model import Animator
from animask.perturb import Threshold
from animask.shots import Part, Shot, follow_head, read_squares
from animask.streaming import LAYOUTS, Layout, animate, at_precision, device_of, prefetch
from animask.video import frame_range, probe, write_video
from animask.weights import DEFAULT, Weights, find_weights, load_model

log = logging.getLogger(__name__)

PREVIEWED = 6  # shots that a preview shows
SUFFIX = ".mp4"  # of outputs that only a folder is given for

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Settings:
    """How files are animated; the flags of `animask animate`."""

    weights: str = DEFAULT
    device: str = "auto"
    precision: str = "auto"
    batch: int = 8  # driver frames at a time
    threshold: Threshold | None = None  # ρ and scale of P_test; None: what the weights say
    scale: float | None = None
    audio: bool = True
    layout: Layout = "result"
    overwrite: bool = False
    source_crop: str = "auto"  # "auto", "none", "centre" or "X,Y,SIZE"
    driver_crop: str = "auto"
    face: int | None = None  # that "auto" takes, 1: the largest; None: that, unless the picture is a crop already
    driver_face: int = 1
    paste: bool = False  # into the whole picture
    quality: int = 17  # crf
    start: float = 0.0  # seconds of the driver
    end: float | None = None
    fps: Fraction | None = None  # None: the driver's own
    background: tuple[int, int, int] = (255, 255, 255)  # RGB behind transparent pixels

    def __post_init__(self) -> None:
        parse_crop(self.source_crop, "source-crop")
        parse_crop(self.driver_crop, "driver-crop")
        if self.layout not in LAYOUTS:
            raise InputError(f"There is no layout {self.layout!r}.", f"Choose one of {', '.join(LAYOUTS)}.")
        if self.paste and self.layout != "result":
            raise InputError("A pasted result is shown alone.", "Leave out --paste or --layout.")
        if not 0 <= self.quality <= 51:
            raise InputError(f"The quality must be a crf from 0 (lossless) to 51, not {self.quality}.")
        if min(self.batch, self.face or 1, self.driver_face) < 1:
            raise InputError("Batches and the numbers of faces begin at 1.")


class Session:
    """What the jobs of one run share: the weights, found and loaded when they are first needed, and drivers seen."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.drivers: dict[Path, tuple[Part, list[Shot], list[str]]] = {}

    @cached_property
    def weights(self) -> Weights:
        """The weights, looked at once; MissingError if there are none."""
        return find_weights(self.settings.weights)

    @cached_property
    def model(self) -> Animator:
        """The model, ready to animate."""
        device, reason = pick_device(self.settings.device)
        precision, why = pick_precision(self.settings.precision, device)
        how = f"device {device} ({reason}), precision {precision} ({why})"
        log.info("weights %s, %s", self.settings.weights, how)
        return at_precision(fuse(load_model(self.weights, device)), precision)

    @property
    def side(self) -> int:
        """The resolution R of the model, which is not loaded for it."""
        return self.weights.config.resolution

    def crop(self, text: str, face: int | None = None) -> str:
        """A crop of the settings: "auto" means the centre where no face is asked for, and the weights know none."""
        if text == "auto" and face is None and self.weights.metadata.get("object", "").lower() != "face":
            return "centre"
        return text

    @property
    def device(self) -> str:
        """Where the model is, such as "cuda:1"."""
        return str(device_of(self.model))

    @property
    def precision(self) -> str:
        """Of the model: "fp32" where a reduced one did not do."""
        dtype = next(self.model.parameters()).dtype
        return next(name for name, known in DTYPES.items() if known == dtype)


class Job(NamedTuple):
    """One picture, one driver, and where the result goes."""

    source: Path
    driver: Path
    output: Path


class Scene(NamedTuple):
    """What a job works on: a picture, RGB uint8 (H, W, 3), its square; a driver's part, squares, and remarks on it."""

    picture: np.ndarray
    source: Crop
    part: Part
    shots: list[Shot]
    remarks: list[str]


@dataclass(frozen=True)
class Preview:
    """Of what something was made, and where it is."""

    source: str
    driver: str
    output: str
    source_crop: Crop
    shots: list[Shot]  # of the driver, each with its square, in frames from `start` on
    warnings: list[str]  # what should be said of the driver, and what went wrong


@dataclass(frozen=True)
class Report(Preview):
    """What was made, of what and how: the fields of `--json`."""

    frames: int
    fps: str  # a fraction such as "30000/1001"
    width: int
    height: int
    audio: bool
    device: str
    precision: str
    seconds: float
    weights: str
    weights_sha256: str
    weights_revision: str  # their commit on the Hub; empty where they come from elsewhere
    threshold: Threshold
    scale: float


def animate_file(
    source: Path,
    driver: Path,
    output: Path,
    settings: Settings | None = None,
    progress: Progress = lambda done, total: None,
    session: Session | None = None,
) -> Report:
    """Animate the picture in one file with the video in another; the result is at `output` only when it is whole.

    Its suffix chooses the format; without one it is a folder of PNG frames. progress(done, total): called after every
    frame. session: in place of settings, so that many calls load one model. Raises InputError for files that cannot be
    read or an output that exists, MissingError without weights or a face, AnimaskError for what fails on the way.
    """
    session = session or Session(settings or Settings())
    started, job = time.monotonic(), Job(Path(source), Path(driver), Path(output))
    scene, settings, weights = open_scene(job, session), session.settings, session.weights
    part, silent = scene.part, job.output.is_dir() or job.output.suffix.lower() in ("", ".gif")
    sound = part.info.path if settings.audio and part.info.has_audio and not silent else None
    begin, crf, overwrite = float(part.first / part.rate), settings.quality, settings.overwrite
    with warnings.catch_warnings(record=True) as caught, closing(render(scene, session, progress)) as ready:
        warnings.simplefilter("always", UserWarning)
        width, height, frames = write_video(job.output, ready, part.rate, sound, begin, crf, overwrite)
    return Report(
        source=str(source),
        driver=str(driver),
        output=str(output),
        source_crop=scene.source,
        shots=scene.shots,
        warnings=[*scene.remarks, *(str(warning.message) for warning in caught)],
        frames=frames,
        fps=str(part.rate),
        width=width,
        height=height,
        audio=sound is not None,
        device=session.device,
        precision=session.precision,
        seconds=round(time.monotonic() - started, 3),
        weights=str(settings.weights),
        weights_sha256=weights.digest,
        weights_revision=weights.revision,
        threshold=weights.config.threshold if settings.threshold is None else settings.threshold,
        scale=weights.config.scale if settings.scale is None else settings.scale,
    )


def is_there(output: Path) -> bool:
    """Whether an output exists; an empty folder does not count."""
    return output.exists() and not (output.is_dir() and not any(output.iterdir()))


def open_scene(job: Job, session: Session) -> Scene:
    """Read the picture, look at the driver and choose the squares; but first see whether the output can be made."""
    settings, output = session.settings, job.output
    if any(output.exists() and path.exists() and output.samefile(path) for path in job[:2]):
        raise InputError(f"{output} is an input.", "Choose another name for the output.")
    if is_there(output) and not settings.overwrite:
        raise InputError(f"{output} exists already.", REPLACE)
    picture = read_image(job.source, settings.background)
    if job.driver not in session.drivers:  # one that drives several pictures is looked at once
        session.drivers[job.driver] = open_driver(job.driver, session)
    part, shots, remarks = session.drivers[job.driver]
    text = session.crop(settings.source_crop, settings.face)
    source = named_crop(text, *picture.shape[:2]) or crop_face(picture, settings.face, session.side, str(job.source))
    for path, crop in [(job.source, source), *((job.driver, shot.crop) for shot in shots)]:
        log.info("%s: square %d,%d,%d (%s)", path, *crop.square, crop.reason)
        for number, box in enumerate(crop.faces, 1):
            log.info("  face %d: %d,%d, %d×%d pixels", number, *box)
    return Scene(picture, source, part, shots, remarks)


def open_driver(path: Path, session: Session) -> tuple[Part, list[Shot], list[str]]:
    """The part of a driver that the settings name, its shots with their squares, and what should be said of it."""
    settings, info = session.settings, probe(path)
    rate = settings.fps or info.fps
    part = Part(info, rate, *frame_range(info, rate, settings.start, settings.end), settings.background)
    if crop := named_crop(session.crop(settings.driver_crop), info.height, info.width):
        return part, [Shot(0, part.stop - part.first, crop)], []
    return part, *follow_head(part, settings.driver_face, session.side)


def render(scene: Scene, session: Session, progress: Progress) -> Generator[np.ndarray, None, None]:
    """The frames of a scene as they are written; progress(done, total) is called when the next one is asked for."""
    settings, side, square = session.settings, session.side, scene.source.square
    batch, layout, threshold, scale = settings.batch, settings.layout, settings.threshold, settings.scale
    source = crop_resize(scene.picture, square, side)
    driver = prefetch(read_squares(scene.part, scene.shots, side), batch)
    frames = animate(session.model, source, driver, batch=batch, layout=layout, threshold=threshold, scale=scale)
    with closing(driver), closing(prefetch(frames, batch)) as ready:  # frames end first
        height, width = scene.picture.shape[:2]
        inside = picture_part(square, height, width, side) if layout == "result" else ...
        shown = paste(ready, scene.picture, square) if settings.paste else (frame[inside] for frame in ready)
        for done, frame in enumerate(shown, 1):
            yield frame
            progress(done, scene.part.stop - scene.part.first)


# many jobs


@dataclass(frozen=True)
class Failure:
    """A job that failed, and why; the exit code that it would have had alone."""

    source: str
    driver: str
    output: str
    error: str
    hint: str
    exit_code: int


@dataclass(frozen=True)
class Summary:
    """What became of many jobs: reports of those done, outputs that were there already, and failures."""

    made: list[Report] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)


def list_jobs(sources: Sequence[Path], driver: Path, folder: Path) -> list[Job]:
    """One job a source, into `folder`: NAME.mp4 of the source NAME.png, NAME-2.mp4 for the second of that name."""
    jobs: dict[str, Job] = {}  # by lower case: some file systems take a.mp4 and A.mp4 for the same
    for source in sources:
        names = chain([source.stem], (f"{source.stem}-{number}" for number in count(2)))
        name = next(name for name in names if name.lower() not in jobs)
        jobs[name.lower()] = Job(source, driver, folder / f"{name}{SUFFIX}")
    return list(jobs.values())


def read_pairs(path: Path, folder: Path | None = None) -> list[Job]:
    """The jobs in a CSV with the columns source, driver and, if there, output.

    Sources and drivers are paths as on the command line; outputs lie in `folder`, if given. Without an output, it is
    SOURCE--DRIVER.mp4. Raises InputError for a file that is no such CSV, or would write elsewhere, with the line.
    """
    reader = csv.DictReader(read_text(path).splitlines(), strict=True)
    jobs = []
    try:
        if not {"source", "driver"} <= set(reader.fieldnames or ()):
            raise InputError(f"{path} is no list of pairs.", "Its columns are source,driver,output.")
        for row in reader:
            source, driver = Path(row["source"] or ""), Path(row["driver"] or "")
            output = Path(row.get("output") or f"{source.stem}--{driver.stem}{SUFFIX}")
            if not source.name or not driver.name or "\0" in f"{source}{driver}{output}":
                raise InputError(f"{path}, line {reader.line_num}, names no source or no driver.")
            if folder is not None and (output.is_absolute() or ".." in output.parts):
                raise InputError(f"{path}, line {reader.line_num}: the output {output} does not lie in {folder}.")
            jobs.append(Job(source, driver, output if folder is None else folder / output))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}, is no CSV: {error}.") from error
    if not jobs:
        raise InputError(f"{path} lists no pairs.")
    return jobs


def animate_many(
    jobs: Sequence[Job],
    settings: Settings | None = None,
    skip_existing: bool = False,
    progress: Progress = lambda done, total: None,
    tell: Callable[[str], None] = lambda line: None,
) -> Summary:
    """Do the jobs one after the other with one model; what fails is in the summary, and the rest goes on.

    progress: as in `animate_file`, for every job. tell: gets a line when a job ends, and the traceback of what nobody
    foresaw. Raises InputError for outputs in conflict, MissingError where the weights are not there.
    """
    taken, inputs = set(), {path.resolve() for job in jobs for path in job[:2]}
    for job in jobs:
        output = job.output.resolve()
        if output in taken:
            raise InputError(f"Two results would be {job.output}.", "Give them different names.")
        if output in inputs:
            raise InputError(f"{job.output} is an input.", "Choose another name for the output.")
        taken.add(output)
    session, summary = Session(settings or Settings()), Summary()
    todo = [job for job in jobs if not (skip_existing and is_there(job.output))]
    summary.skipped.extend(str(job.output) for job in jobs if job not in todo)
    if todo:  # weights that are missing fail all jobs alike
        log.info("%d jobs on %s", len(todo), session.device)
    for number, job in enumerate(todo, 1):
        label = f"{number}/{len(todo)} {job.output}"
        try:
            job.output.parent.mkdir(parents=True, exist_ok=True)
            report = animate_file(*job, progress=progress, session=session)
        except Exception as error:
            known = error if isinstance(error, AnimaskError) else AnimaskError(f"{type(error).__name__}: {error}")
            if known is not error:  # nobody foresaw it
                tell(traceback.format_exc())
            paths = str(job.source), str(job.driver), str(job.output)
            summary.failed.append(Failure(*paths, known.message, known.hint, known.exit_code))
            tell(f"{label}: failed: {known.message}")
        else:
            summary.made.append(report)
            tell(f"{label}: {report.frames} frames, {report.seconds:.1f} s")
    return summary


def preview_crops(source: Path, driver: Path, output: Path, settings: Settings | None = None) -> Preview:
    """Draw what the networks would see to a picture file: the whole source with its faces and its square, and what is
    in the square; below, the same of the first frame of the driver's shots. Raises as `animate_file` does.
    """
    session = Session(settings or Settings())
    scene = open_scene(Job(source, driver, output), session)
    rows, remarks = [draw_crop(scene.picture, scene.source)], list(scene.remarks)
    for shot in scene.shots[:PREVIEWED]:
        frame = next(scene.part._replace(first=scene.part.first + shot.first).read())
        rows.append(draw_crop(frame, shot.crop))
    if (more := len(scene.shots) - PREVIEWED) > 0:
        remarks.append(f"{more} more shots of {driver} are not drawn")
    write_image(output, np.vstack(rows))
    return Preview(str(source), str(driver), str(output), scene.source, scene.shots, remarks)
