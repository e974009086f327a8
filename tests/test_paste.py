"""The result back in the whole picture, padding taken off, and nothing stretched on the way: a circle stays one."""

import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from animask.animation import Settings, animate_file
from animask.animation.pasting import FEATHER, Paste, picture_part
from animask.errors import InputError
from animask.images import crop_resize, read_image, write_image
from animask.model import Animator
from animask.video import read_frames

SIDE = 64


def disc(height: int, width: int, x: float, y: float, radius: float) -> np.ndarray:
    """A white disc on dark grey, RGB uint8, its border smooth."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    inside = np.clip(radius - np.hypot(columns - x, rows - y) + 0.5, 0, 1)
    return np.repeat((40 + inside * 200).round().astype(np.uint8)[..., None], 3, axis=2)


def roundness(image: np.ndarray) -> tuple[float, float, float, float]:
    """Centre x and y, radius, and width over height of what is bright in an image; from its moments."""
    bright = np.clip((image[..., 1].astype(float) - 60) / 160, 0, 1)
    moments = cv2.moments(bright)
    x, y = moments["m10"] / moments["m00"] + 0.5, moments["m01"] / moments["m00"] + 0.5
    return x, y, float(np.sqrt(moments["m00"] / np.pi)), float(np.sqrt(moments["mu20"] / moments["mu02"]))


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that answers every driver frame with the source's square, so that the geometry alone is seen."""

    def repeat(
        model: Animator, source: np.ndarray, driver: Iterable[np.ndarray], *, layout: str, **settings: object
    ) -> Iterator[np.ndarray]:
        for frame in driver:
            yield source if layout == "result" else np.hstack([source, frame, source])

    monkeypatch.setattr("animask.animation.files.animate", repeat)


def first_frame(folder: Path) -> np.ndarray:
    """What was written without loss."""
    return read_image(folder / "000000.png")


# Paste


def test_only_the_square_changes_and_it_fades() -> None:
    picture = np.full((100, 160, 3), 50, np.uint8)
    result = Paste(picture, (40, 20, 60))(np.full((SIDE, SIDE, 3), 250, np.uint8))
    reach = int(np.ceil(FEATHER * 60))
    changed = (result != picture).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert rows.min() >= 20 and rows.max() < 80 and columns.min() >= 40 and columns.max() < 100
    assert (result[20 + reach : 80 - reach, 40 + reach : 100 - reach] == 250).all()
    profile = result[50, 40 : 40 + reach + 1, 0].astype(int)
    assert (np.diff(profile) >= 0).all() and profile[0] < 70 and profile[-1] == 250


def test_nothing_fades_at_the_border_of_the_picture() -> None:
    picture = np.full((60, 100, 3), 50, np.uint8)
    result = Paste(picture, (0, 0, 60))(np.full((SIDE, SIDE, 3), 250, np.uint8))
    assert (result[:, :50] == 250).all()
    assert (result[:, 60:] == 50).all()


def test_a_square_beyond_the_picture_is_cut() -> None:
    picture = np.full((60, 100, 3), 50, np.uint8)
    frame = np.full((100, 100, 3), 250, np.uint8)
    frame[20:80] = 200  # the rows that the picture has
    assert (Paste(picture, (0, -20, 100))(frame) == 200).all()


def test_the_same_square_back_changes_nothing() -> None:
    picture = disc(120, 200, 90, 60, 30)
    square = (50, 20, SIDE)
    back = Paste(picture, square)(crop_resize(picture, square, SIDE))
    assert np.abs(back.astype(int) - picture).max() <= 1


@pytest.mark.parametrize(("height", "width"), [(101, 160), (100, 161), (1, 1), (99, 99)])
def test_results_have_even_sizes(height: int, width: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    result = Paste(picture, (0, 0, min(height, width)))(np.zeros((SIDE, SIDE, 3), np.uint8))
    assert result.shape == (height + height % 2, width + width % 2, 3)


@pytest.mark.parametrize(
    ("square", "height", "width", "expected"),
    [
        ((10, 10, 50), 100, 100, (0, 64, 0, 64)),
        ((0, -50, 200), 100, 200, (16, 48, 0, 64)),
        ((-50, 0, 200), 200, 100, (0, 64, 16, 48)),
        ((0, -999, 2000), 2, 2000, (32, 34, 0, 64)),
        ((-20, -20, 40), 100, 100, (32, 64, 32, 64)),
    ],
)
def test_the_part_that_shows_the_picture(
    square: tuple[int, int, int], height: int, width: int, expected: tuple[int, int, int, int]
) -> None:
    rows, columns = picture_part(square, height, width, SIDE)
    assert (rows.start, rows.stop, columns.start, columns.stop) == expected


# a circle through files


@pytest.mark.parametrize("crop", ["60,20,160", "centre", "none"])
def test_a_circle_stays_where_and_what_it_is_when_pasted(
    crop: str, echo: None, tiny_weights: Path, driver: Path, tmp_path: Path
) -> None:
    write_image(tmp_path / "circle.png", disc(241, 322, 140, 100, 60))
    settings = Settings(weights=str(tiny_weights), device="cpu", source_crop=crop, paste=True, end=0.1)
    report = animate_file(tmp_path / "circle.png", driver, tmp_path / "out", settings)
    result = first_frame(tmp_path / "out")
    assert result.shape == (242, 322, 3) == (report.height, report.width, 3)
    x, y, radius, ratio = roundness(result)
    assert (x, y, radius) == pytest.approx((140, 100, 60), abs=1.0)
    assert ratio == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("crop", "shape"), [("none", (48, 64)), ("centre", (64, 64)), ("60,20,160", (64, 64))])
def test_a_circle_stays_round_in_the_square(
    crop: str, shape: tuple[int, int], echo: None, tiny_weights: Path, driver: Path, tmp_path: Path
) -> None:
    write_image(tmp_path / "circle.png", disc(240, 320, 160, 110, 60))
    settings = Settings(weights=str(tiny_weights), device="cpu", source_crop=crop, end=0.1)
    animate_file(tmp_path / "circle.png", driver, tmp_path / "out", settings)
    result = first_frame(tmp_path / "out")
    assert result.shape[:2] == shape
    assert roundness(result)[3] == pytest.approx(1, abs=0.02)


def write_squeezed(path: Path, sar: str, width: int) -> None:
    """A clip whose circle is round only where its pixels are not square."""
    frame = cv2.resize(disc(240, 320, 160, 120, 80), (width, 240), interpolation=cv2.INTER_AREA)
    size = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x240", "-r", "25", "-i", "pipe:0"]
    command = [
        get_ffmpeg_exe(),
        "-v",
        "error",
        *size,
        "-vf",
        f"setsar={sar}",
        "-c:v",
        "libx264",
        "-crf",
        "5",
        str(path),
    ]
    subprocess.run(command, input=frame.tobytes() * 3, check=True)


@pytest.mark.parametrize(("sar", "width"), [("15/16", 342), ("4/3", 240), ("1/1", 320)])
@pytest.mark.parametrize("crop", ["centre", "none"])
def test_a_circle_in_a_driver_with_any_shape_of_pixels_stays_round(
    sar: str, width: int, crop: str, echo: None, tiny_weights: Path, picture: Path, tmp_path: Path
) -> None:
    write_squeezed(tmp_path / "driver.mp4", sar, width)
    settings = Settings(weights=str(tiny_weights), device="cpu", driver_crop=crop, layout="compare")
    animate_file(picture, tmp_path / "driver.mp4", tmp_path / "out", settings)
    seen = first_frame(tmp_path / "out")[:, SIDE : 2 * SIDE]
    assert roundness(seen)[3] == pytest.approx(1, abs=0.02)


def test_an_upright_picture_of_a_phone_is_pasted_upright(
    echo: None, tiny_weights: Path, driver: Path, tmp_path: Path
) -> None:
    """EXIF orientation 6: stored on its side."""
    upright = disc(200, 120, 60, 50, 30)
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(np.rot90(upright)), [cv2.IMWRITE_JPEG_QUALITY, 98])
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    jpeg = data.tobytes()
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (tmp_path / "phone.jpg").write_bytes(jpeg[:2] + segment + jpeg[2:])
    settings = Settings(weights=str(tiny_weights), device="cpu", paste=True, source_crop="centre", end=0.1)
    animate_file(tmp_path / "phone.jpg", driver, tmp_path / "out", settings)
    x, y, radius, ratio = roundness(first_frame(tmp_path / "out"))
    assert done and first_frame(tmp_path / "out").shape == (200, 120, 3)
    assert (x, y, radius) == pytest.approx((60, 50, 30), abs=1.5)
    assert ratio == pytest.approx(1, abs=0.02)


def test_a_pasted_video_has_the_size_of_the_picture(
    tiny_weights: Path, driver: Path, picture: Path, tmp_path: Path
) -> None:
    """Through the networks themselves: outside the square the picture is untouched in every frame."""
    whole = np.full((150, 211, 3), 90, np.uint8)
    whole[40:136, 60:156] = read_image(picture)
    write_image(tmp_path / "whole.png", whole)
    settings = Settings(weights=str(tiny_weights), device="cpu", source_crop="60,40,96", paste=True)
    report = animate_file(tmp_path / "whole.png", driver, tmp_path / "out.mp4", settings)
    frames = np.stack(list(read_frames(tmp_path / "out.mp4"))).astype(int)
    assert frames.shape[1:] == (150, 212, 3) == (report.height, report.width, 3)
    assert np.abs(frames[:, :, 170:] - 90).max() <= 3
    assert np.abs(frames[:, 60:116, 80:136] - whole[60:116, 80:136]).mean() > 10


def test_paste_shows_the_result_alone() -> None:
    with pytest.raises(InputError, match="shown alone"):
        Settings(paste=True, layout="compare")
