"""What one job works on: the picture, the driver, the squares of both, and the part of time."""

import logging
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from animask.animation.crops import (
    Crop,
    choose_crop,
    look_for_face,
    look_for_head,
    look_for_object,
    sample_frames,
)
from animask.animation.moments import match_square
from animask.animation.settings import Settings
from animask.animation.studio import Studio
from animask.errors import InputError
from animask.images import crop_resize, read_image
from animask.video import VideoInfo, probe, read_frames

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scene:
    """A picture, RGB uint8 (H, W, 3), a driver, and what is seen of them.

    rate: frames a second. first, stop: the part of the driver, as numbers of frames at that rate.
    """

    picture: np.ndarray
    info: VideoInfo
    source: Crop
    driver: Crop
    rate: Fraction
    first: int
    stop: int


def open_scene(source: Path, driver: Path, studio: Studio) -> Scene:
    """Read the picture, look at the driver and choose the squares.

    Raises InputError for files that cannot be read, MissingError where a face is wanted and none is there.
    """
    settings = studio.settings
    picture = read_image(source, settings.background, settings.max_pixels)
    info, followed = look_at_driver(driver, studio)
    rate, first, stop = count_frames(info, settings)
    found = crop_source(picture, studio, source)
    if settings.match == "first":
        followed = match_driver(picture, found, info, followed, studio)
    for path, crop in ((source, found), (driver, followed)):
        log.info("%s: square %d,%d,%d (%s)", path, *crop.square, crop.reason)
        for number, box in enumerate(crop.faces, 1):
            log.info("  face %d: %d,%d, %d×%d pixels", number, *box)
    return Scene(picture, info, found, followed, rate, first, stop)


def count_frames(info: VideoInfo, settings: Settings) -> tuple[Fraction, int, int]:
    """Rate, first frame, and one past the last, that the settings name; InputError where there is none."""
    rate = settings.fps or info.fps
    duration = info.frames / rate if info.is_folder else Fraction(info.duration)
    total = max(1, round(duration * rate))
    first = round(settings.start * rate)
    stop = total if settings.end is None else min(total, round(settings.end * rate))
    if not 0 <= first < total:
        raise InputError(f"{info.path} lasts {float(duration):.2f} seconds and has no frame at {settings.start}")
    if stop <= first:
        raise InputError(f"no frame lies between {settings.start} and {settings.end} seconds", "--end after --start")
    return rate, first, stop


def crop_source(picture: np.ndarray, studio: Studio, path: Path) -> Crop:
    """The square of the source that the settings name."""
    settings = studio.settings
    height, width = picture.shape[:2]

    def look() -> Crop:
        if studio.knows_faces or settings.face is not None:
            return look_for_face(picture, settings.face, studio.side, str(path))
        return look_for_object(iter([picture]), height, width, studio.model)

    return choose_crop(settings.source_crop, height, width, look)


def look_at_driver(path: Path, studio: Studio) -> tuple[VideoInfo, Crop]:
    """What the driver is, and its square: of one that drives several sources, found once."""
    if path not in studio.drivers:
        info = probe(path, studio.settings.max_pixels)
        count_frames(info, studio.settings)  # an empty part has no face
        studio.drivers[path] = info, crop_driver(info, studio)
    return studio.drivers[path]


def crop_driver(info: VideoInfo, studio: Studio) -> Crop:
    """The one square of all frames of the driver that the settings name."""
    settings = studio.settings
    size = info.height, info.width

    def look() -> Crop:
        frames = sample_frames(info, settings.start, settings.end, settings.background)
        if studio.knows_faces:
            return look_for_head(frames, *size, studio.side, str(info.path))
        return look_for_object(frames, *size, studio.model)

    return choose_crop(settings.driver_crop, *size, look)


def match_driver(picture: np.ndarray, source: Crop, info: VideoInfo, driver: Crop, studio: Studio) -> Crop:
    """The driver's square matched to the source's with the mask of its first frame, see `match_square`."""
    settings = studio.settings
    frame = next(read_frames(info, start=settings.start, background=settings.background))
    crop = crop_resize(picture, source.square, studio.side)
    square = match_square(studio.model, crop, frame, driver.square)
    return Crop(square, f"{driver.reason}; matched to the source's mask", driver.faces)
