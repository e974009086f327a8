"""Which square the networks see: by name, by face, by the model's mask; moments and matching; the preview."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

from animask.animation import Settings, parse_crop, preview_crops
from animask.animation import crops as crops_module
from animask.animation.crops import (
    SAMPLES,
    Crop,
    choose_crop,
    look_for_face,
    look_for_head,
    look_for_object,
    sample_frames,
)
from animask.animation.moments import (
    MOST_SCALE,
    MOST_SHIFT,
    Shape,
    align,
    mass_of,
    match_square,
    measure,
    object_above,
    overlap,
)
from animask.cli import main
from animask.errors import InputError, MissingError
from animask.faces import Box
from animask.images import crop_resize, read_image, write_image
from animask.model import Animator
from animask.toons import Pose, render, sample_identity
from animask.video import VideoWriter, probe
from animask.weights import save_model

SIDE = 64


def disc(height: int, width: int, x: float, y: float, radius: float) -> np.ndarray:
    """A white disc on black, RGB uint8, its border smooth."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    inside = np.clip(radius - np.hypot(columns - x, rows - y) + 0.5, 0, 1)
    return np.repeat((inside * 255).round().astype(np.uint8)[..., None], 3, axis=2)


class Brightness(torch.nn.Module):
    """A model whose mask is how bright the picture is."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(resolution=SIDE)
        self.place = torch.nn.Parameter(torch.zeros(1), requires_grad=False)

    def m(self, x: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(x.mean(1, keepdim=True), 4)


@pytest.fixture
def brightness() -> Animator:
    return cast(Animator, Brightness())


@pytest.fixture(scope="module")
def crowd() -> np.ndarray:
    """Two heads in a picture of 560×300: a large one on the right, a small one on the left."""
    picture = np.full((300, 560, 3), 150, np.uint8)
    picture[60:300, 310:550] = render(sample_identity(32), Pose(smile=0.4), 240)
    picture[20:170, 20:170] = render(sample_identity(58), Pose(), 150)
    return picture


@pytest.fixture(scope="module")
def face_weights(tiny_model: Animator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that say that they are of faces."""
    path = tmp_path_factory.mktemp("faces") / "faces.safetensors"
    save_model(tiny_model, path, {"object": "face"})
    return path


@pytest.mark.parametrize(
    ("text", "expected"), [("auto", "auto"), ("none", "none"), ("centre", "centre"), ("3,-4,50", (3, -4, 50))]
)
def test_crops_are_read(text: str, expected: object) -> None:
    assert parse_crop(text) == expected


@pytest.mark.parametrize("text", ["", "center", "1,2", "1,2,3,4", "1,2,x", "1,2,0", "1,2,-5", "1.5,2,3"])
def test_other_crops_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="the crop"):
        parse_crop(text)
    with pytest.raises(InputError):
        Settings(source_crop=text)


def no_look() -> Crop:
    raise AssertionError("only auto looks")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("centre", (50, 0, 100)),
        ("none", (0, -50, 200)),
        ("20,10,64", (20, 10, 64)),
        ("-10,-10,64", (-10, -10, 64)),
    ],
)
def test_named_and_given_squares(text: str, expected: tuple[int, int, int]) -> None:
    assert choose_crop(text, 100, 200, no_look).square == expected


@pytest.mark.parametrize("text", ["200,0,50", "0,100,50", "-60,0,50", "0,-60,60", "0,0,1000000000"])
def test_squares_beside_the_picture_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="does not fit"):
        choose_crop(text, 100, 200, no_look)


# by face


def test_auto_takes_the_largest_face_with_its_head(crowd: np.ndarray) -> None:
    crop = look_for_face(crowd, None, SIDE, "crowd.png")
    x, y, size = crop.square
    head = (310 + 0.5 * 240, 60 + 0.5 * 240)  # the middle of the head in its own square
    assert len(crop.faces) == 2
    assert x < head[0] < x + size and y < head[1] < y + size
    assert 0.6 * 240 < size <= 1.1 * 240
    assert crop.reason == "face 1 of 2"


def test_a_face_is_chosen_by_its_number(crowd: np.ndarray) -> None:
    x, y, size = look_for_face(crowd, 2, SIDE, "crowd.png").square
    assert x + size / 2 < 200 and y + size / 2 < 170
    with pytest.raises(InputError, match=r"crowd\.png has no face 3") as caught:
        look_for_face(crowd, 3, SIDE, "crowd.png")
    assert caught.value.hint.count(" at ") == 2


def test_no_face_is_missing_and_the_hint_says_what_to_do() -> None:
    with pytest.raises(MissingError, match=r"no face was found in sky\.png") as caught:
        look_for_face(np.full((90, 120, 3), 200, np.uint8), None, SIDE, "sky.png")
    assert "--source-crop centre" in caught.value.hint
    assert caught.value.exit_code == 3


def test_a_picture_that_is_a_crop_already_stays_whole() -> None:
    picture = render(sample_identity(32), Pose(smile=0.4), 256)
    assert look_for_face(picture, None, SIDE, "face.png").square == (0, 0, 256)
    assert look_for_face(picture, 1, SIDE, "face.png").square[2] < 256  # unless a face is asked for


def test_what_the_networks_take_as_it_is_is_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops_module, "find_faces", None)
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    assert look_for_face(picture, None, SIDE, "clip.png").square == (0, 0, SIDE)
    assert look_for_head(iter([picture]), SIDE, SIDE, SIDE, "clip.mp4").square == (0, 0, SIDE)


def finding(*found: list[Box]) -> Callable[[np.ndarray, Path | None], list[Box]]:
    """A face detector with these answers, one after the other."""
    answers = iter(found)
    return lambda image, yunet: next(answers)


def test_a_clip_gets_one_square_from_the_frames_that_have_a_face(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = [[], [Box(100, 60, 50, 50)], [], [Box(110, 64, 50, 50), Box(20, 20, 20, 20)], []]
    monkeypatch.setattr(crops_module, "find_faces", finding(*boxes))
    frames = iter(np.zeros((5, 200, 300, 3), np.uint8))
    crop = look_for_head(frames, 200, 300, SIDE, "clip.mp4")
    x, y, size = crop.square
    assert x < 100 and x + size > 160 and y < 60 and y + size > 114
    assert crop.reason == "a face in 2 of 5 sampled frames"


def test_a_clip_without_a_face_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops_module, "find_faces", finding([], []))
    with pytest.raises(MissingError, match=r"2 sampled frames of clip\.mp4") as caught:
        look_for_head(iter(np.zeros((2, 200, 300, 3), np.uint8)), 200, 300, SIDE, "clip.mp4")
    assert "--driver-crop centre" in caught.value.hint


# sampled frames


def write_clip(path: Path, count: int) -> None:
    """A clip of 10 frames a second in which frame k has the grey value 6 k."""
    from fractions import Fraction

    with VideoWriter(path, Fraction(10), (32, 32), crf=0) as writer:
        for number in range(count):
            writer.write(np.full((32, 32, 3), 6 * number, np.uint8))


def levels(frames: Iterator[np.ndarray]) -> list[int]:
    return [round(float(frame.mean()) / 6) for frame in frames]


@pytest.mark.parametrize("kind", ["clip.mp4", "clip"])
def test_samples_are_spread_over_the_part(kind: str, tmp_path: Path) -> None:
    write_clip(tmp_path / kind, 40)
    info = probe(tmp_path / kind)
    every = levels(sample_frames(info))
    assert every == sorted(set(every))
    assert 5 <= len(every) <= SAMPLES and every[-1] - every[0] >= 30
    assert min(levels(sample_frames(info, start=float(20 / info.fps)))) >= 20
    assert max(levels(sample_frames(info, end=float(20 / info.fps)))) <= 20


def test_long_clips_are_visited_in_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "clip.mp4", 12)
    monkeypatch.setattr(crops_module, "LONG_SECONDS", 0.5)
    assert levels(sample_frames(probe(tmp_path / "clip.mp4"))) == [1, 4, 6, 8, 11]


# by mask


def test_without_faces_the_square_surrounds_the_mass_of_the_mask(brightness: Animator) -> None:
    crop = look_for_object(iter([disc(120, 300, 220, 50, 12)] * 2), 120, 300, brightness)
    x, y, size = crop.square
    assert abs(x + size / 2 - 220) < 4 and abs(y + size / 2 - 50) < 4
    assert 2.5 * 12 <= size <= 4 * 12


def test_the_square_holds_the_object_of_all_sampled_frames(brightness: Animator) -> None:
    frames = iter([disc(120, 300, 180, 50, 12), disc(120, 300, 220, 50, 12)])
    x, _, size = look_for_object(frames, 120, 300, brightness).square
    assert x < 168 and x + size > 232


@pytest.mark.parametrize("level", [0, 255])
def test_a_mask_without_an_object_leaves_the_centre(level: int, brightness: Animator) -> None:
    frames = iter([np.full((100, 140, 3), level, np.uint8)])
    assert look_for_object(frames, 100, 140, brightness).square == (20, 0, 100)


def test_mass_all_over_leaves_the_largest_square(brightness: Animator) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 140, 3), np.uint8)
    assert look_for_object(iter([noise]), 100, 140, brightness).square[2] == 100


# moments and matching


def test_moments_of_a_disc() -> None:
    shape = measure(disc(200, 200, 120, 70, 40)[..., 0].astype(float))
    assert shape == pytest.approx(Shape(120 / 200, 70 / 200, 20 / 200), rel=0.01)


def test_moments_do_not_depend_on_brightness_or_background() -> None:
    mask = disc(100, 100, 60, 40, 20)[..., 0] / 255
    plain, dim = object_above(mask, 50), object_above(0.2 + 0.3 * mask, 50)
    assert plain is not None and dim is not None
    assert measure(dim) == pytest.approx(measure(plain))


def test_an_object_that_fills_most_of_the_mask_is_found() -> None:
    mask = disc(100, 100, 50, 50, 45)[..., 0] / 255
    assert object_above(mask, 50) is None
    mass = object_above(mask, 10)
    assert mass is not None and measure(mass).spread == pytest.approx(0.225, rel=0.02)


def test_the_spread_of_an_ellipse_is_that_of_the_disc_of_its_area() -> None:
    ellipse = cv2.ellipse(np.zeros((200, 200)), (100, 100), (60, 30), 35, 0, 360, 1.0, -1)
    assert measure(ellipse).spread * 200 == pytest.approx(np.sqrt(60 * 30) / 2, rel=0.03)


def test_alignment_by_hand() -> None:
    """Mass at (.75, .5) of a square of 100, twice as wide as wanted: the square doubles, and moves."""
    assert align((0, 0, 100), Shape(0.75, 0.5, 0.2), Shape(0.5, 0.5, 0.1)) == (-25, -50, 200)


def test_the_driver_is_matched_to_the_source(brightness: Animator) -> None:
    """A disc of radius 12 in 64 at (32, 30); the driver's has 30 at (150, 110): its square must be 160 wide."""
    matched = match_square(brightness, disc(64, 64, 32, 30, 12), disc(200, 300, 150, 110, 30), (100, 50, 120))
    assert matched == pytest.approx((70, 35, 160), abs=1)


def test_matching_has_limits(brightness: Animator) -> None:
    x, y, size = match_square(brightness, disc(64, 64, 32, 32, 28), disc(300, 300, 40, 40, 20), (0, 0, 300))
    assert size == 300 / MOST_SCALE
    assert np.hypot(x + size / 2 - 150, y + size / 2 - 150) <= np.hypot(1, 1) * MOST_SHIFT * 300 + 1


def blobs(seed: int, height: int, width: int) -> np.ndarray:
    """Soft bright spots on black."""
    spots = np.random.default_rng(seed).random((5, 6)) ** 4
    grey = cv2.resize(spots * 255, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255)
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def test_matching_never_makes_the_masks_less_alike(brightness: Animator) -> None:
    """Same moments, other forms: without a look at the overlap, most of these would end up further apart."""
    before, after = [], []
    for seed in range(8):
        source, frame = blobs(seed, SIDE, SIDE), blobs(seed + 100, 120, 150)
        goal = mass_of(brightness, source)
        for square, found in (((20, 10, 100), before), (match_square(brightness, source, frame, (20, 10, 100)), after)):
            mass = mass_of(brightness, crop_resize(frame, square, SIDE))
            assert goal is not None and mass is not None
            found.append(overlap(goal, mass))
    assert all(new >= old for old, new in zip(before, after, strict=True))
    assert sum(after) > sum(before)


def test_overlap_by_hand() -> None:
    a, b = np.array([[4.0, 0.0], [0.0, 0.0]]), np.array([[1.0, 1.0], [1.0, 1.0]])
    assert overlap(a, a) == 1
    assert overlap(a, b) == overlap(b, a) == 0.25


def test_nothing_to_match_changes_nothing(brightness: Animator) -> None:
    flat = np.full((200, 300, 3), 90, np.uint8)
    assert match_square(brightness, disc(64, 64, 32, 30, 12), flat, (10, 20, 90)) == (10, 20, 90)
    assert match_square(brightness, flat[:64, :64], disc(200, 300, 60, 60, 20), (10, 20, 90)) == (10, 20, 90)


# files


def test_a_preview_shows_both_crops_and_makes_no_video(
    crowd: np.ndarray, driver: Path, face_weights: Path, tmp_path: Path
) -> None:
    write_image(tmp_path / "crowd.png", crowd)
    settings = Settings(weights=str(face_weights), driver_crop="centre", source_crop="10,20,150")
    made = preview_crops(tmp_path / "crowd.png", driver, tmp_path / "crops.png", settings)
    sheet = read_image(tmp_path / "crops.png")
    assert (made.source_crop.square, made.driver_crop.square) == ((10, 20, 150), (16, 0, 80))
    assert sheet.shape[1] > 2 * sheet.shape[0] / 2.2
    green = (sheet == (0, 200, 0)).all(axis=2)
    assert green[: len(sheet) // 2].any() and green[len(sheet) // 2 :].any()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["crops.png", "crowd.png"]
    with pytest.raises(InputError, match="exists already"):
        preview_crops(tmp_path / "crowd.png", driver, tmp_path / "crops.png", settings)
    preview_crops(tmp_path / "crowd.png", driver, tmp_path / "crops.png", replace(settings, overwrite=True))


def test_no_face_exits_3_with_a_hint(
    driver: Path, face_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(tmp_path / "sky.png", np.full((90, 120, 3), 200, np.uint8))
    command = ["animate", str(tmp_path / "sky.png"), str(driver), "-o", str(tmp_path / "out.mp4"), "--device", "cpu"]
    with pytest.raises(SystemExit) as caught:
        main([*command, "--weights", str(face_weights), "--driver-crop", "centre"])
    captured = capsys.readouterr()
    assert (caught.value.code, captured.out) == (3, "")
    assert captured.err.splitlines() == [captured.err.strip()]
    assert "Hint: --source-crop centre" in captured.err


def test_what_was_chosen_is_the_same_with_every_size_of_picture(crowd: np.ndarray) -> None:
    """The square is one of the picture, whatever its resolution."""
    small = look_for_face(crowd, None, SIDE, "a").square
    large = look_for_face(cv2.resize(crowd, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), None, SIDE, "b").square
    assert np.array(large) / 2 == pytest.approx(np.array(small), abs=0.08 * small[2])
