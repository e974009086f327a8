"""Faces: what the detectors find in generated pictures, and squares that are worked out by hand."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animask import faces
from animask.errors import InputError, MissingError
from animask.faces import FRAME_FACTOR, HEAD_FACTOR, Box, face_square, find_faces, join_faces
from animask.toons import Pose, keypoints, render, sample_identity

PERSON = 1  # a toon that is found in every pose below


def scene(toons, height=200, width=320):
    """Toons of (seed, x, y, size) in a grey picture."""
    picture = np.full((height, width, 3), 128, np.uint8)
    for seed, x, y, size in toons:
        picture[y : y + size, x : x + size] = render(sample_identity(seed), Pose(), size)
    return picture


def contains(box, point):
    return box.x <= point[0] <= box.x + box.width and box.y <= point[1] <= box.y + box.height


def overlap(a, b):
    """Intersection over union."""
    width = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    height = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    both = max(0, width) * max(0, height)
    return both / (a.width * a.height + b.width * b.height - both)


# the detector


def test_eyes_and_mouth_are_in_the_box():
    found = 0
    for seed in range(8):
        boxes = find_faces(render(sample_identity(seed), Pose(), 160))
        points, _ = keypoints(sample_identity(seed), Pose(), 160)
        inside = [all(contains(box, points[k]) for k in (0, 3, 13, 14)) for box in boxes]
        found += inside == [True]
    assert found >= 6


def test_the_largest_face_comes_first():
    boxes = find_faces(scene([(PERSON, 10, 20, 110), (2, 150, 10, 160)]))
    assert len(boxes) == 2
    assert boxes[0].size > boxes[1].size
    assert contains(boxes[0], (230, 95)) and contains(boxes[1], (65, 80))


def test_boxes_are_in_the_pixels_of_a_large_picture():
    """Above WORKING_SIDE the picture is shrunk for the detector, the boxes are not."""
    small = scene([(PERSON, 100, 20, 160)])
    large = cv2.resize(small, None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC)
    (a,), (b,) = find_faces(small), find_faces(large)
    assert overlap(Box(*(5 * side for side in a)), b) > 0.8


def test_nothing_is_found_where_nothing_is():
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    for picture in (noise, np.zeros((90, 70, 3), np.uint8), np.zeros((1, 1, 3), np.uint8)):
        assert find_faces(picture) == []


def test_threads_do_not_disturb_each_other():
    pictures = [scene([(seed, 20 * seed, 10, 150)]) for seed in (1, 2, 3)] * 2
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(find_faces, pictures)) == [find_faces(picture) for picture in pictures]


def test_a_turned_face_is_looked_for_on_both_sides(monkeypatch):
    """The data of the profile cascade know one side only; boxes from the mirror image are turned back."""
    calls = []

    def scan(name, votes, grey):
        calls.append(name)
        is_mirrored = "profile" in name and calls.count(name) == 2
        return [(10, 20, 30, 30)] if is_mirrored else []

    monkeypatch.setattr(faces, "_scan", scan)
    assert find_faces(np.zeros((100, 200, 3), np.uint8)) == [Box(200 - 10 - 30, 20, 30, 30)]
    assert len(calls) == 3  # frontal, profile twice, and no further


def test_boxes_of_one_face_are_one():
    boxes = [(0, 0, 50, 50), (4, 4, 40, 40), (100, 0, 20, 20)]
    assert faces._suppress(boxes) == [(0, 0, 50, 50), (100, 0, 20, 20)]


# YuNet


class FakeYuNet:
    """Says that one face fills the middle of what it sees."""

    def setInputSize(self, size):
        self.size = size

    def detect(self, image):
        width, height = self.size
        assert image.shape == (height, width, 3)
        row = np.zeros((1, 15), np.float32)
        row[0, :4] = width / 4, height / 4, width / 2, height / 2
        return 1, row


def test_yunet_is_used_where_its_file_is_given(tmp_path, monkeypatch):
    path = tmp_path / "yunet.onnx"
    path.write_bytes(b"onnx")
    made = []
    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *given: made.append(given) or FakeYuNet())
    assert find_faces(np.zeros((800, 1600, 3), np.uint8), path) == [Box(400, 200, 800, 400)]
    assert find_faces(np.zeros((200, 100, 3), np.uint8), path) == [Box(25, 50, 50, 100)]
    assert len(made) == 1 and made[0][0] == str(path)


def test_a_missing_or_wrong_yunet_file_is_named(tmp_path):
    picture = np.zeros((50, 50, 3), np.uint8)
    with pytest.raises(MissingError, match=r"absent\.onnx"):
        find_faces(picture, tmp_path / "absent.onnx")
    path = tmp_path / "wrong.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(InputError, match=r"wrong.onnx.*YuNet"):
        find_faces(picture, path)


# squares


def test_the_square_of_a_face():
    """190 = 1.9 × 100 pixels; the face's centre (450, 350), 3 pixels lower: from 355 and 258 on."""
    assert face_square(Box(400, 300, 100, 100), 1000, 1000) == (355, 258, 190)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (Box(0, 0, 100, 100), (0, 0, 190)),  # moved in at the left and top
        (Box(500, 300, 100, 100), (410, 210, 190)),  # and at the right and bottom
        (Box(150, 50, 300, 300), (100, 0, 400)),  # as large as the picture, in the middle of the face
    ],
)
def test_the_square_stays_in_the_picture(box, expected):
    assert face_square(box, 400, 600) == expected


BOXES = st.builds(Box, st.integers(-20, 400), st.integers(-20, 300), st.integers(20, 200), st.integers(20, 200))


@given(found=st.lists(st.lists(BOXES, max_size=3), max_size=6))
def test_every_square_lies_in_the_picture(found):
    square = join_faces(found, 300, 400)
    assert (square is None) == (not any(found))
    if square is not None:
        x, y, size = square
        assert size >= 1 and 0 <= x <= 400 - size and 0 <= y <= 300 - size


def test_one_square_holds_the_head_wherever_it_moves():
    """From x = 300 to 500: 1.6 head sizes and 200 pixels of movement, centred between the ends."""
    found = [[Box(x, 300, 100, 100)] for x in range(300, 501, 40)]
    x, y, size = join_faces(found, 1000, 1000)
    assert size == round(HEAD_FACTOR * 100 + 200)
    assert (x, y) == (450 - size / 2, 350 + 3 - size / 2)


def test_a_still_head_has_the_square_of_a_picture():
    box = Box(400, 300, 100, 100)
    assert join_faces([[box]] * 5, 1000, 1000) == face_square(box, 1000, 1000)


def test_missed_frames_and_false_detections_do_not_move_the_square():
    face = Box(400, 300, 100, 100)
    false = [Box(50, 600, 100, 100), Box(420, 340, 40, 40), Box(100, 100, 240, 240)]
    found = [[face], [], [false[0], face], [], [face, false[1]], [false[2], face], [face], []]
    assert join_faces(found, 1000, 1000) == face_square(face, 1000, 1000)


def test_of_two_people_the_larger_one_is_followed():
    """Their sizes differ little, so now one is the largest of its frame, now the other."""
    left = [Box(100, 300, 100 + k % 3, 100 + k % 3) for k in range(9)]
    right = [Box(700, 300, 103 - k % 2, 103 - k % 2) for k in range(9)]
    x, _, size = join_faces([[a, b] for a, b in zip(left, right, strict=True)], 1000, 1000)
    assert 600 < x < 700 and size == pytest.approx(FRAME_FACTOR * 103, abs=2)


def test_a_clip_has_one_square_from_its_frames():
    """The toon moves 60 pixels to the right, is away for two frames, and comes back."""
    blank = np.full((200, 320, 3), 128, np.uint8)
    frames = [scene([(PERSON, x, 20, 160)]) for x in (20, 50, 80)] + [blank, blank]
    (first,), (last,) = find_faces(frames[0]), find_faces(frames[2])
    x, y, size = join_faces([find_faces(frame) for frame in frames], 200, 320)
    assert x <= first.x and last.x + last.width <= x + size
    assert y <= first.y and first.y + first.height <= y + size


@pytest.mark.parametrize("count", [0, 3])
def test_a_clip_without_a_face_has_no_square(count):
    assert join_faces([[]] * count, 64, 64) is None
