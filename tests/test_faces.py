"""Faces: what the networks find in generated pictures, whose points are known."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from animask.faces import POINTS, Box, find_boxes, find_faces
from animask.toons import KEYPOINTS, Pose, keypoints, render, sample_identity

PERSON = 1
MOUTH_CORNERS, FOREHEAD, CHIN = (61, 291), 10, 152  # of the mesh


def scene(toons: list[tuple[int, int, int, int]], height: int = 200, width: int = 320) -> np.ndarray:
    """Toons of (seed, x, y, size) in a grey picture."""
    picture = np.full((height, width, 3), 128, np.uint8)
    for seed, x, y, size in toons:
        picture[y : y + size, x : x + size] = render(sample_identity(seed), Pose(), size)
    return picture


def contains(box: Box, point: np.ndarray | tuple[float, float]) -> bool:
    return box.x <= point[0] <= box.x + box.width and box.y <= point[1] <= box.y + box.height


@pytest.mark.parametrize("seed", range(3))
def test_box_and_mesh_lie_on_the_face(seed: int) -> None:
    (face,) = find_faces(render(sample_identity(seed), Pose(), 160))
    points = dict(zip(KEYPOINTS, keypoints(sample_identity(seed), Pose(), 160)[0], strict=True))
    assert face.mesh.shape == (POINTS, 3) and face.mesh.dtype == np.float32
    for name, number in {"mouth_left": MOUTH_CORNERS[0], "mouth_right": MOUTH_CORNERS[1], "chin": CHIN}.items():
        assert np.hypot(*(face.mesh[number, :2] - points[name])) < 0.15 * face.box.size, name
    assert all(contains(face.box, points[name]) for name in ("left_pupil", "right_pupil", "nose_tip"))


@pytest.mark.parametrize("degrees", [30, -60])
def test_a_tilted_face_is_found_and_its_mesh_is_tilted(degrees: int) -> None:
    picture = scene([(PERSON, 80, 20, 160)])
    turn = cv2.getRotationMatrix2D((159.5, 99.5), degrees, 1)
    tilted = cv2.warpAffine(picture, turn, (320, 200), borderMode=cv2.BORDER_REPLICATE)
    ways = [np.subtract(*find_faces(each)[0].mesh[[CHIN, FOREHEAD], :2]) for each in (picture, tilted)]
    angles = [np.degrees(np.arctan2(x, y)) for x, y in ways]
    assert angles[1] - angles[0] == pytest.approx(degrees, abs=5)


def test_a_dark_face_is_found_where_a_light_one_is() -> None:
    light = scene([(PERSON, 80, 20, 160)])
    (dark,), (bright,) = find_boxes(light // 8), find_boxes(light)
    assert dark == pytest.approx(bright, abs=6)


def test_a_small_face_is_found_in_a_large_picture() -> None:
    (box,) = find_boxes(scene([(PERSON, 1423, 877, 150)], 1500, 2000))
    assert contains(box, (1498, 952)) and 40 < box.size < 150


def test_nothing_is_found_where_nothing_is() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    for picture in (noise, np.zeros((90, 70, 3), np.uint8), np.zeros((1, 1, 3), np.uint8)):
        assert find_faces(picture) == []


def test_threads_do_not_disturb_each_other() -> None:
    pictures = [scene([(seed, 20 * seed, 10, 150)]) for seed in (1, 2, 3)] * 2
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(find_boxes, pictures)) == [find_boxes(picture) for picture in pictures]
