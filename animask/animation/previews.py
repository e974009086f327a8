"""A picture of both crops, to look at before animating."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from animask.animation.crops import Crop
from animask.animation.files import check_output
from animask.animation.scenes import open_scene
from animask.animation.settings import Settings
from animask.animation.studio import Studio
from animask.images import crop_resize, write_image
from animask.video import read_frames

SIDE = 480  # pixels of each panel
MARGIN = 12
GREY, GREEN, BLACK, YELLOW = (128, 128, 128), (0, 200, 0), (0, 0, 0), (255, 220, 0)


@dataclass(frozen=True)
class Preview:
    """Where the picture is, and the crops that it shows."""

    source: str
    driver: str
    output: str
    source_crop: Crop
    driver_crop: Crop


def preview_crops(source: Path, driver: Path, output: Path, settings: Settings | None = None) -> Preview:
    """Draw what the networks would see to a picture file: the whole source with its faces and its square, and what is
    in the square; below, the same of the driver's first frame. Raises as `animate_file` does.
    """
    studio = Studio(settings or Settings())
    check_output(output, (source, driver), studio.settings.overwrite)
    scene = open_scene(source, driver, studio)
    begin = float(scene.first / scene.rate)
    frame = next(read_frames(scene.info, fps=scene.rate, start=begin, background=studio.settings.background))
    rows = [draw_row(scene.picture, scene.source), draw_row(frame, scene.driver)]
    write_image(output, np.vstack(rows))
    return Preview(str(source), str(driver), str(output), scene.source, scene.driver)


def draw_row(picture: np.ndarray, crop: Crop) -> np.ndarray:
    """A picture with its boxes, what is in the square, and the reason below."""
    panels = [draw_boxes(picture, crop), crop_resize(picture, crop.square, SIDE)]
    framed = [cv2.copyMakeBorder(x, *(MARGIN,) * 4, cv2.BORDER_CONSTANT, value=GREY) for x in panels]
    row = np.hstack(framed)
    line = np.full((3 * MARGIN, row.shape[1], 3), GREY, np.uint8)
    text = f"{picture.shape[1]} x {picture.shape[0]}, square {','.join(map(str, crop.square))}: {crop.reason}"
    cv2.putText(line, text, (MARGIN, 2 * MARGIN), cv2.FONT_HERSHEY_SIMPLEX, 0.5, BLACK, 1, cv2.LINE_AA)
    return np.vstack([row, line])


def draw_boxes(picture: np.ndarray, crop: Crop) -> np.ndarray:
    """The picture and all of its square in a panel of SIDE pixels: faces yellow and numbered, the square green."""
    height, width = picture.shape[:2]
    x, y, size = crop.square
    left, top = min(0, x), min(0, y)
    scale = (SIDE - 1) / max(max(width, x + size) - left, max(height, y + size) - top)
    panel = np.full((SIDE, SIDE, 3), GREY, np.uint8)
    small = cv2.resize(
        picture, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
    )
    across, down = round(-left * scale), round(-top * scale)
    small = small[: SIDE - down, : SIDE - across]
    panel[down : down + small.shape[0], across : across + small.shape[1]] = small

    def at(x: float, y: float) -> tuple[int, int]:
        return round((x - left) * scale), round((y - top) * scale)

    for number, box in enumerate(crop.faces, 1):
        corner = at(box.x, box.y)
        cv2.rectangle(panel, corner, at(box.x + box.width, box.y + box.height), YELLOW, 2)
        place = corner[0] + 4, corner[1] + 20
        cv2.putText(panel, str(number), place, cv2.FONT_HERSHEY_SIMPLEX, 0.6, YELLOW, 2, cv2.LINE_AA)
    cv2.rectangle(panel, at(x, y), at(x + size, y + size), GREEN, 2)
    return panel
