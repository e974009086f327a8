"""Which square the networks see: by name, by face; the result back in its place, never stretched."""

import cv2
import numpy as np
import pytest
from training_cases import SIDE

from animask.animation import Settings, animate_file
from animask.crops import FEATHER, crop_face, enclose, follow, named_crop, paste, picture_part
from animask.errors import InputError, MissingError
from animask.faces import Box
from animask.images import read_image, write_image
from animask.toons import Pose, render, sample_identity

# by name


@pytest.mark.parametrize(
    ("text", "expected"),
    [("centre", (50, 0, 100)), ("none", (0, -50, 200)), ("20,10,64", (20, 10, 64)), ("-10,-10,64", (-10, -10, 64))],
)
def test_named_and_given_squares(text, expected):
    crop = named_crop(text, 100, 200)
    assert crop and crop.square == expected


@pytest.mark.parametrize("text", ["center", "1,2", "1,2,0", "1.5,2,3", "200,0,50", "0,-60,60", "0,0,1000000000"])
def test_other_words_and_squares_beside_the_picture_are_refused(text):
    with pytest.raises(InputError):
        named_crop(text, 100, 200)


# by face


def test_the_largest_face_is_taken_with_its_head_or_the_one_of_a_number():
    crowd = np.full((300, 560, 3), 150, np.uint8)
    crowd[60:300, 310:550] = render(sample_identity(32), Pose(smile=0.4), 240)
    crowd[20:170, 20:170] = render(sample_identity(58), Pose(), 150)
    crop = crop_face(crowd, None, SIDE, "crowd.png")
    x, y, size = crop.square
    assert len(crop.faces) == 2
    assert x < 430 < x + size and y < 180 < y + size, "the middle of the head in its own square"
    assert 0.6 * 240 < size <= 1.1 * 240
    x, y, size = crop_face(crowd, 2, SIDE, "crowd.png").square
    assert x + size / 2 < 200 and y + size / 2 < 170
    with pytest.raises(InputError, match=r"crowd\.png"):
        crop_face(crowd, 3, SIDE, "crowd.png")


def test_no_face_is_missing_and_the_hint_says_what_to_do():
    with pytest.raises(MissingError, match=r"sky\.png") as caught:
        crop_face(np.full((90, 120, 3), 200, np.uint8), None, SIDE, "sky.png")
    assert "--source-crop centre" in caught.value.hint
    whole = np.full((SIDE, SIDE, 3), 200, np.uint8)  # but what the networks take as it is
    assert crop_face(whole, None, SIDE, "clip.png").square == (0, 0, SIDE)


def test_a_picture_that_is_a_crop_already_stays_whole_and_a_closer_one_gets_a_square_beyond_it():
    picture = render(sample_identity(32), Pose(smile=0.4), 256)
    assert crop_face(picture, None, SIDE, "face.png").square == (0, 0, 256)
    asked = crop_face(picture, 1, SIDE, "face.png")  # unless a face is asked for
    assert asked.square[2] < 256
    left, top, _, size = asked.faces[0]
    tight = cv2.resize(picture[top : top + size, left : left + size], (140, 140), interpolation=cv2.INTER_AREA)
    for side in (SIDE, 140):  # also where it has the very size that the networks take
        x, y, size = crop_face(tight, None, side, "tight.png").square
        assert size > 1.3 * 140 and x < 0 and y < 0 and x + size > 140 and y + size > 140


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (Box(250, 150, 100, 100), (200, 101, 200)),  # 2 × 100 pixels around (300, 200), 1 pixel lower
        (Box(0, 0, 100, 100), (0, 0, 200)),  # moved in at the left and top
        (Box(500, 300, 100, 100), (400, 200, 200)),  # and at the right and bottom
        (Box(180, 80, 240, 240), (100, 0, 400)),  # as large as the picture, as the face is no closer than 1.5 of it
        (Box(150, 50, 300, 300), (75, -22, 450)),  # too close: 1.5 × 300 pixels, around the face
    ],
)
def test_the_square_of_a_face_stays_in_the_picture_as_far_as_the_head_does(box, expected):
    assert enclose([box], 400, 600) == expected


def test_one_square_holds_the_head_wherever_it_moves():
    """From x = 300 to 500: the head (1.7 × 100) and 200 pixels of movement, centred between the ends."""
    assert enclose([Box(x, 300, 100, 100) for x in range(300, 501, 40)], 1000, 1000) == (265, 166, 370)


def test_missed_frames_and_false_detections_do_not_move_the_square():
    face = Box(400, 300, 100, 100)
    false = [Box(50, 600, 100, 100), Box(420, 340, 40, 40), Box(100, 100, 240, 240)]
    assert follow([[face], [], [false[0], face], [], [face, false[1]], [false[2], face], [face], []])[0] == [face] * 5


def test_of_two_people_the_larger_one_is_followed():
    """Their sizes differ little, so now one is the largest of its frame, now the other."""
    left = [Box(100, 300, 100 + k % 3, 100 + k % 3) for k in range(9)]
    right = [Box(700, 300, 103 - k % 2, 103 - k % 2) for k in range(9)]
    assert follow([[a, b] for a, b in zip(left, right, strict=True)]) == [right, left]
    assert enclose(right, 1000, 1000)[2] == pytest.approx(2 * 103, abs=2)


# the result back in its place


def test_only_the_square_changes_and_it_fades():
    picture = np.full((100, 160, 3), 50, np.uint8)
    (result,) = paste([np.full((SIDE, SIDE, 3), 250, np.uint8)], picture, (40, 20, 60))
    reach = int(np.ceil(FEATHER * 60))
    rows, columns = np.nonzero((result != picture).any(axis=2))
    assert rows.min() >= 20 and rows.max() < 80 and columns.min() >= 40 and columns.max() < 100
    assert (result[20 + reach : 80 - reach, 40 + reach : 100 - reach] == 250).all()
    profile = result[50, 40 : 40 + reach + 1, 0].astype(int)
    assert (np.diff(profile) >= 0).all() and profile[0] < 70 and profile[-1] == 250


def test_nothing_fades_at_the_border_of_the_picture_and_what_is_beyond_is_cut():
    picture = np.full((60, 100, 3), 50, np.uint8)
    (result,) = paste([np.full((SIDE, SIDE, 3), 250, np.uint8)], picture, (0, 0, 60))
    assert (result[:, :50] == 250).all() and (result[:, 60:] == 50).all()
    frame = np.full((100, 100, 3), 250, np.uint8)
    frame[20:80] = 200  # the rows that the picture has
    (result,) = paste([frame], picture, (0, -20, 100))
    assert (result == 200).all()


@pytest.mark.parametrize(
    ("square", "height", "width", "expected"),
    [
        ((10, 10, 50), 100, 100, (0, 64, 0, 64)),
        ((0, -50, 200), 98, 200, (16, 46, 0, 64)),  # 31 rows would be odd
        ((0, -999, 2000), 2, 2000, (32, 34, 0, 64)),
        ((-20, -20, 40), 100, 100, (32, 64, 32, 64)),
    ],
)
def test_the_part_that_shows_the_picture(square, height, width, expected):
    rows, columns = picture_part(square, height, width, SIDE)
    assert (rows.start, rows.stop, columns.start, columns.stop) == expected


@pytest.mark.parametrize("crop", ["60,20,160", "centre", "none"])
@pytest.mark.parametrize("paste", [True, False])
def test_a_circle_stays_one(crop, paste, tiny_weights, driver, tmp_path, monkeypatch):
    """In the whole picture, at its own size, where it was; in the square, round, and padding taken off.

    The model answers every driver frame with the source's square, so that the geometry alone is seen.
    """
    monkeypatch.setattr("animask.animation.animate", lambda model, source, driver, **rest: (source for _ in driver))
    picture = np.full((241, 322, 3), 40, np.uint8)
    cv2.circle(picture, (140, 110), 60, (240, 240, 240), cv2.FILLED, cv2.LINE_AA)
    write_image(tmp_path / "circle.png", picture)
    settings = Settings(weights=str(tiny_weights), device="cpu", source_crop=crop, paste=paste, end=0.05)
    animate_file(tmp_path / "circle.png", driver, tmp_path / "out", settings)
    result = read_image(tmp_path / "out" / "000000.png")
    moments = cv2.moments(np.clip((result[..., 1].astype(float) - 60) / 160, 0, 1))
    assert np.sqrt(moments["mu20"] / moments["mu02"]) == pytest.approx(1, abs=0.02), "as wide as high"
    if paste:
        assert result.shape == (242, 322, 3)
        x, y = moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]
        assert (x, y, np.sqrt(moments["m00"] / np.pi)) == pytest.approx((140, 110, 60), abs=1.0)
    else:
        assert result.shape[:2] == ((48, 64) if crop == "none" else (64, 64))
