"""Files in, a file out: one picture and one driver to a video, whole or not at all."""

import hashlib
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from animask.animation.ahead import ahead
from animask.animation.crops import Crop
from animask.animation.pasting import Paste, picture_part
from animask.animation.scenes import Scene, open_scene
from animask.animation.settings import Settings
from animask.animation.streaming import animate
from animask.animation.studio import Studio
from animask.errors import InputError
from animask.images import crop_resize
from animask.video import VideoWriter, clean_partials, read_frames

Progress = Callable[[int, int], None]


class Job(NamedTuple):
    """One picture, one driver, and where the result goes."""

    source: Path
    driver: Path
    output: Path


@dataclass(frozen=True)
class Report:
    """What was made, of what and how: the fields of `--json`. fps is a fraction such as "30000/1001".

    weights_revision: their commit on the Hub, empty where they come from elsewhere.
    """

    source: str
    driver: str
    output: str
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
    threshold: float | str
    scale: float
    source_crop: Crop
    driver_crop: Crop
    warnings: list[str]


def check_output(output: Path, inputs: tuple[Path, ...], overwrite: bool) -> None:
    """Raise InputError if the output exists (and may not be replaced) or is one of the inputs."""
    for path in inputs:
        if output.exists() and path.exists() and output.samefile(path):
            raise InputError(f"{output} is an input", "choose another name for the output")
    if is_there(output) and not overwrite:
        raise InputError(f"{output} exists already", "choose another name, or replace it with --overwrite")


def is_there(output: Path) -> bool:
    """Whether an output exists; an empty folder does not count."""
    return output.exists() and not (output.is_dir() and not any(output.iterdir()))


def animate_file(
    source: Path,
    driver: Path,
    output: Path,
    settings: Settings | None = None,
    progress: Progress | None = None,
    studio: Studio | None = None,
) -> Report:
    """Animate the picture in one file with the video in another; the result is at `output` only when it is whole.

    The suffix of `output` chooses the format; without one it is a folder of PNG frames, which the same call continues
    after an interruption. progress(done, total) is called after every frame. studio: in place of settings, so that many
    calls load one model. Raises InputError for files that cannot be read or an output that
    exists, MissingError for weights or a face that is not there, AnimaskError for what fails on the way.
    """
    studio = studio or Studio(settings or Settings())
    started = time.monotonic()
    check_output(output, (source, driver), studio.settings.overwrite)
    scene = open_scene(source, driver, studio)
    clean_partials(output.parent)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        count, width, height = write_frames(scene, studio, output, progress)
    shape = count, width, height
    return describe(Job(source, driver, output), scene, studio, shape, time.monotonic() - started, caught)


def describe(
    job: Job,
    scene: Scene,
    studio: Studio,
    shape: tuple[int, int, int],
    seconds: float,
    caught: list[warnings.WarningMessage],
) -> Report:
    """The report of a job that is done. shape: frames, width, height."""
    frames, width, height = shape
    config = studio.model.config
    return Report(
        source=str(job.source),
        driver=str(job.driver),
        output=str(job.output),
        frames=frames,
        fps=str(scene.rate),
        width=width,
        height=height,
        audio=sound_of(scene, studio, job.output) is not None,
        device=studio.device,
        precision=studio.precision,
        seconds=round(seconds, 3),
        weights=str(studio.settings.weights),
        weights_sha256=studio.digest,
        weights_revision=studio.revision,
        threshold=config.threshold,
        scale=config.scale,
        source_crop=scene.source,
        driver_crop=scene.driver,
        warnings=[str(warning.message) for warning in caught],
    )


def sound_of(scene: Scene, studio: Studio, output: Path) -> Path | None:
    """The file whose sound the output gets; GIF and PNG have none."""
    silent = output.is_dir() or output.suffix.lower() in ("", ".gif")
    return scene.info.path if studio.settings.audio and scene.info.has_audio and not silent else None


def write_frames(scene: Scene, studio: Studio, output: Path, progress: Progress | None) -> tuple[int, int, int]:
    """Write the frames of a scene at their rate and with the driver's sound; returns count, width and height."""
    settings, total = studio.settings, scene.stop - scene.first
    frames = render(scene, studio)
    first = next(frames, None)
    if first is None:
        raise InputError(f"{scene.info.path} has no frames")
    size = first.shape[1], first.shape[0]
    sound, begin = sound_of(scene, studio, output), float(scene.first / scene.rate)
    signature = sign(scene, studio)
    with VideoWriter(output, scene.rate, size, sound, begin, settings.quality, signature, settings.overwrite) as writer:
        if writer.done:  # an interrupted folder of PNG frames goes on
            frames.close()
            frames = render(scene, studio, skip=writer.done)
        else:
            writer.write(first)
        with closing(frames):
            for frame in frames:
                if progress:
                    progress(writer.frames, total)
                writer.write(frame)
        if progress:
            progress(writer.frames, total)
    return writer.frames, *size


def render(scene: Scene, studio: Studio, skip: int = 0) -> Generator[np.ndarray, None, None]:
    """The frames of a scene as they are written, without the first `skip`."""
    settings, side = studio.settings, studio.side
    if scene.first + skip >= scene.stop:
        return
    read = read_frames(
        scene.info,
        fps=scene.rate,
        start=float((scene.first + skip) / scene.rate),
        end=float(scene.stop / scene.rate),
        crop=scene.driver.square,
        size=side,
        background=settings.background,
    )
    driver = ahead(read, settings.batch)
    source = crop_resize(scene.picture, scene.source.square, side)
    animated = animate(studio.model, source, driver, batch=settings.batch, layout=settings.layout, exact=studio.exact)
    with closing(driver), closing(ahead(animated, settings.batch)) as frames:  # frames end first
        if settings.paste:
            yield from map(Paste(scene.picture, scene.source.square), frames)
        elif settings.layout == "result":
            rows, columns = picture_part(scene.source.square, scene.picture.shape[0], scene.picture.shape[1], side)
            yield from (frame[rows, columns] for frame in frames)
        else:
            yield from frames


def sign(scene: Scene, studio: Studio) -> str:
    """A name for everything that the frames follow from: an interrupted run goes on only where it is the same."""
    driver = scene.info.path
    files = [driver, *sorted(driver.iterdir())] if scene.info.is_folder else [driver]
    stamps = [(str(path.absolute()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    picture = hashlib.sha256(scene.picture.tobytes()).hexdigest()
    told = (picture, stamps, scene.source, scene.driver, str(scene.rate), scene.first, scene.stop)
    return hashlib.sha256(repr((told, replace(studio.settings, overwrite=False), studio.digest)).encode()).hexdigest()
