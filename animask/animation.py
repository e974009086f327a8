"""Files in, files out: how pictures are animated with videos. Read `animate_file` first: it is the whole way."""

import logging
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from animask.crops import Crop, crop_face, draw_crop, named_crop, parse_crop, paste, picture_part
from animask.devices import DTYPES, pick_device, pick_precision
from animask.errors import InputError
from animask.files import REPLACE
from animask.fusion import fuse
from animask.images import crop_resize, read_image, write_image
from animask.model import Animator
from animask.perturb import Threshold
from animask.shots import Part, Shot, follow_head, read_squares
from animask.streaming import LAYOUTS, Layout, animate, at_precision, device_of, prefetch
from animask.video import frame_range, probe, write_video
from animask.weights import DEFAULT, Weights, find_weights, load_model

log = logging.getLogger(__name__)

FACES = "face"  # what weights of faces have as "object" in their metadata
PREVIEWED = 6  # shots that a preview shows

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Settings:
    """How files are animated; the flags of `animask animate`.

    threshold, scale: of P_test, None for what the weights say. batch: driver frames at a time. source_crop,
    driver_crop: "auto", "none", "centre" or "X,Y,SIZE". face, driver_face: the one that "auto" takes, 1 for the
    largest; None for the largest, where the picture is not a crop already. paste: into the whole picture. quality:
    crf. start, end: seconds of the driver; fps: None for its own. background: RGB behind transparent pixels.
    """

    weights: str = DEFAULT
    device: str = "auto"
    precision: str = "auto"
    batch: int = 8
    threshold: Threshold | None = None
    scale: float | None = None
    audio: bool = True
    layout: Layout = "result"
    overwrite: bool = False
    source_crop: str = "auto"
    driver_crop: str = "auto"
    face: int | None = None
    driver_face: int = 1
    paste: bool = False
    quality: int = 17
    start: float = 0.0
    end: float | None = None
    fps: Fraction | None = None
    background: tuple[int, int, int] = (255, 255, 255)

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
        how = device, reason, precision, why
        log.info("weights %s, device %s (%s), precision %s (%s)", self.settings.weights, *how)
        return at_precision(fuse(load_model(self.weights, device)), precision)

    @property
    def side(self) -> int:
        """The resolution R of the model, which is not loaded for it."""
        return self.weights.config.resolution

    def crop(self, text: str, face: int | None = None) -> str:
        """A crop of the settings: "auto" means the centre where no face is asked for, and the weights know none."""
        if text == "auto" and face is None and self.weights.metadata.get("object", "").lower() != FACES:
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
    """What a job works on: a picture, RGB uint8 (H, W, 3), its square, and a part of a driver with its squares.

    remarks: what should be said of the driver.
    """

    picture: np.ndarray
    source: Crop
    part: Part
    shots: list[Shot]
    remarks: list[str]


@dataclass(frozen=True)
class Preview:
    """Of what something was made, and where it is. shots: of the driver, each with its square, in frames from `start`
    on. warnings: what should be said of the driver, and what went wrong.
    """

    source: str
    driver: str
    output: str
    source_crop: Crop
    shots: list[Shot]
    warnings: list[str]


@dataclass(frozen=True)
class Report(Preview):
    """What was made, of what and how: the fields of `--json`. fps is a fraction such as "30000/1001".

    weights_revision: their commit on the Hub, empty where they come from elsewhere.
    """

    frames: int
    fps: str
    width: int
    height: int
    audio: bool
    device: str
    precision: str
    seconds: float
    weights: str
    weights_sha256: str
    weights_revision: str
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
    with warnings.catch_warnings(record=True) as caught, closing(render(scene, session)) as ready:
        warnings.simplefilter("always", UserWarning)
        counted, begin = count(ready, part.stop - part.first, progress), float(part.first / part.rate)
        crf, overwrite = settings.quality, settings.overwrite
        width, height, frames = write_video(job.output, counted, part.rate, sound, begin, crf, overwrite)
    return Report(
        source=str(source),
        driver=str(driver),
        output=str(output),
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
        source_crop=scene.source,
        shots=scene.shots,
        warnings=[*scene.remarks, *(str(warning.message) for warning in caught)],
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
    crop = named_crop(session.crop(settings.driver_crop), info.height, info.width)
    if crop:
        return part, [Shot(0, part.stop - part.first, crop)], []
    return part, *follow_head(part, settings.driver_face, session.side)


def render(scene: Scene, session: Session) -> Generator[np.ndarray, None, None]:
    """The frames of a scene as they are written."""
    settings, side, (height, width) = session.settings, session.side, scene.picture.shape[:2]
    source = crop_resize(scene.picture, scene.source.square, side)
    driver = prefetch(read_squares(scene.part, scene.shots, side), settings.batch)
    frames = animate(
        session.model,
        source,
        driver,
        batch=settings.batch,
        layout=settings.layout,
        threshold=settings.threshold,
        scale=settings.scale,
    )
    with closing(driver), closing(prefetch(frames, settings.batch)) as ready:  # frames end first
        if settings.paste:
            yield from paste(ready, scene.picture, scene.source.square)
        elif settings.layout == "result":
            rows, columns = picture_part(scene.source.square, height, width, side)
            yield from (frame[rows, columns] for frame in ready)
        else:
            yield from ready


def count(frames: Iterable[np.ndarray], total: int, progress: Progress) -> Iterator[np.ndarray]:
    """The frames; progress(done, total) is called when the next one is asked for."""
    for done, frame in enumerate(frames, 1):
        yield frame
        progress(done, total)


# a drawing of both crops


def preview_crops(source: Path, driver: Path, output: Path, settings: Settings | None = None) -> Preview:
    """Draw what the networks would see to a picture file: the whole source with its faces and its square, and what is
    in the square; below, the same of the first frame of the driver's shots. Raises as `animate_file` does.
    """
    session = Session(settings or Settings())
    scene = open_scene(Job(source, driver, output), session)
    rows = [draw_crop(scene.picture, scene.source)]
    for shot in scene.shots[:PREVIEWED]:
        frame = next(scene.part._replace(first=scene.part.first + shot.first).read())
        rows.append(draw_crop(frame, shot.crop))
    write_image(output, np.vstack(rows))
    more = len(scene.shots) - PREVIEWED
    remarks = [*scene.remarks, *([f"{more} more shots of {driver} are not drawn"] if more > 0 else [])]
    return Preview(str(source), str(driver), str(output), scene.source, scene.shots, remarks)
