"""Shots: cuts and dissolves found, nothing else taken for either; a square for each, and what is said of them."""

import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from animask.errors import InputError, MissingError
from animask.images import WHITE, crop_resize
from animask.shots import CutFinder, Part, follow_head, list_dissolves, list_shots, read_squares
from animask.toons import Pose, render, sample_identity
from animask.video import probe, write_video

RATE = Fraction(12)
HEIGHT, WIDTH, HEAD = 120, 240, 116
LEFT, RIGHT = 0, WIDTH - HEAD


def plain(colour):
    """A picture of one colour with a gradient, so that it is no special case."""
    ramp = np.linspace(0.6, 1.0, 96)[None, :, None]
    return np.broadcast_to(ramp * np.array(colour), (64, 96, 3)).astype(np.uint8)


RED, GREEN = plain((220, 40, 30)), plain((30, 200, 60))


def look_at(frames):
    finder = CutFinder()
    for frame in frames:
        finder.add(frame)
    assert finder.count == len(frames)
    return finder


def move(identity, count):
    """A head that turns and moves, as one does in speaking."""
    poses = [Pose(x=0.03 * np.sin(n / 9), yaw=0.2 * np.sin(n / 9), mouth_open=n % 5 / 5) for n in range(count)]
    return [render(sample_identity(identity), pose, 96) for pose in poses]


def mix(first, second, length):
    """Two shots, the last frames of the one dissolving into the first of the other."""
    shares = (np.arange(length) + 1) / (length + 1)
    pairs = zip(first[-length:], second[:length], shares, strict=True)
    middle = [np.rint(a * (1 - share) + b * share).astype(np.uint8) for a, b, share in pairs]
    return first[:-length] + middle + second[length:]


def test_a_cut_is_the_first_frame_of_a_shot():
    finder = look_at([RED] * 5 + [GREEN] * 4 + [RED] * 3)
    assert finder.cuts == [5, 9] and not finder.mixed
    assert look_at([frame for identity in (3, 4, 5) for frame in move(identity, 3)]).cuts == [3, 6]


def test_neither_a_flash_nor_a_head_in_motion_is_a_cut_or_a_dissolve():
    for frames in ([RED] * 6 + [np.full_like(RED, 255)] + [RED] * 30, move(3, 60)):
        finder = look_at(frames)
        assert finder.cuts == [] and not finder.mixed


@pytest.mark.parametrize("length", [4, 25])
def test_a_dissolve_belongs_to_no_shot(length):
    """Two heads of 40 frames; what is left of each is pure, and most of it is left."""
    finder = look_at(mix(move(3, 40), move(4, 40), length))
    ((first, stop),) = list_dissolves(finder.mixed)
    start, end = 40 - length, 40
    assert start - 3 <= first <= start + 2 and end - 2 <= stop <= end + 3
    assert finder.cuts == [] or all(first <= cut <= stop for cut in finder.cuts)
    shots = list_shots(finder.cuts, finder.count, 1000, [(first, stop)])
    assert shots == [(0, first), (stop, 80 - length)]


def test_long_shots_are_divided_equally_and_a_cut_inside_a_dissolve_makes_none():
    """100 frames, cut at 10; at most 40: the second shot has 90 and becomes three of 30."""
    assert list_shots([10], 100, 40, []) == [(0, 10), (10, 40), (40, 70), (70, 100)]
    assert list_dissolves({20, 21, 26, 60}) == [(20, 27), (60, 61)]
    assert list_shots([30, 50], 100, 100, [(20, 35)]) == [(0, 20), (35, 50), (50, 100)]


def scene(identity: int, at: int, colour: int) -> np.ndarray:
    """A head at a place on a plain ground; without one where it lies outside."""
    picture = np.full((HEIGHT, WIDTH + 2 * HEAD, 3), colour, np.uint8)
    picture[HEIGHT - HEAD :, HEAD + at : 2 * HEAD + at] = render(sample_identity(identity), Pose(), HEAD)
    return np.ascontiguousarray(picture[:, HEAD:-HEAD])


def write(path: Path, frames: Sequence[np.ndarray]) -> Part:
    write_video(path, frames, RATE, crf=5)
    info = probe(path)
    return Part(info, RATE, 0, info.frames, WHITE)


def test_each_shot_has_its_own_square_and_the_cut_is_named(tmp_path: Path) -> None:
    """One person on the left for a second, then another on the right."""
    cut = write(tmp_path / "cut.mp4", [scene(32, LEFT, 90)] * 12 + [scene(58, RIGHT, 200)] * 12)
    shots, remarks = follow_head(cut, 1, 64)
    assert [(shot.first, shot.stop) for shot in shots] == [(0, 12), (12, 24)]
    middles = [shot.crop.square[0] + shot.crop.square[2] / 2 for shot in shots]
    assert middles == pytest.approx([LEFT + HEAD / 2, RIGHT + HEAD / 2], abs=12)
    assert len(remarks) == 1 and "1.00 s" in remarks[0]
    frames, whole = list(read_squares(cut, shots, 64)), list(cut.read())
    assert len(frames) == 24
    for number, shot in ((11, shots[0]), (12, shots[1])):
        assert np.array_equal(frames[number], crop_resize(whole[number], shot.crop.square, 64))
    shots, remarks = follow_head(cut._replace(first=6), 1, 64)
    assert [(shot.first, shot.stop) for shot in shots] == [(0, 6), (6, 18)]
    assert "1.00 s" in remarks[0], "counted from the beginning of the clip"


def test_a_fade_in_is_a_cut_and_its_dark_frames_are_named(tmp_path: Path) -> None:
    picture, black = scene(32, RIGHT, 160), np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    fade = [(picture * (k / 6)).astype(np.uint8) for k in range(1, 7)]
    part = write(tmp_path / "fade.mp4", [black] * 12 + fade + [picture] * 12)
    shots, remarks = follow_head(part, 1, 64)
    assert len(shots) == 2 and 11 <= shots[0].stop <= 15
    assert shots[0].crop.square == shots[1].crop.square, "so that nothing jumps"
    assert any("cut" in line for line in remarks) and any("no face" in line and "0.00" in line for line in remarks)


def test_a_head_that_leaves_the_square_is_told_with_its_share(tmp_path: Path) -> None:
    """It comes in on the left and goes out on the right: never in one square of the picture's height."""
    places = np.linspace(-HEAD, WIDTH, 36).round().astype(int)
    _, remarks = follow_head(write(tmp_path / "walk.mp4", [scene(32, at, 150) for at in places]), 1, 64)
    assert any("no face" in line for line in remarks)
    (line,) = [line for line in remarks if "leaves the square" in line]
    count, of = (int(word) for word in re.findall(r"(\d+) of (\d+)", line)[0])
    assert 0.2 <= count / of <= 0.8


def test_the_second_face_can_be_followed_and_an_ordinary_clip_needs_no_remark(tmp_path: Path) -> None:
    both = scene(32, RIGHT, 150)
    both[:90, :90] = render(sample_identity(58), Pose(), 90)
    part = write(tmp_path / "two.mp4", [both] * 6)
    (first,), remarks = follow_head(part, 1, 64)
    (second,), _ = follow_head(part, 2, 64)
    assert remarks == []
    assert first.crop.square[0] > 80 and second.crop.square[0] < 30
    with pytest.raises(InputError):
        follow_head(part, 3, 64)


def test_a_clip_without_any_face_is_missing_one(tmp_path: Path) -> None:
    part = write(tmp_path / "sky.mp4", [np.full((80, 120, 3), 200, np.uint8)] * 6)
    with pytest.raises(MissingError, match=r"sky\.mp4") as caught:
        follow_head(part, 1, 64)
    assert "--driver-crop" in caught.value.hint
    small = write(tmp_path / "small.mp4", [np.full((64, 64, 3), 200, np.uint8)] * 6)
    (shot,), remarks = follow_head(small, 1, 64)
    assert shot.crop.square == (0, 0, 64) and "no face" in remarks[0], "what the networks take as it is"
