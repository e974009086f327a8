"""Faces: what the networks find in generated pictures; clay of toons, whose pose is known."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from animask.errors import MissingError
from animask.faces import (
    BODY,
    POINTS,
    PUPIL,
    SKIN,
    Box,
    find_faces,
    list_triangles,
    network_path,
    paint_clay,
    person_mask,
)
from animask.toons import KEYPOINTS, Pose, keypoints, render, sample_identity

PERSON, SIDE = 1, 128
MOUTH_CORNERS, CHIN = [61, 291], 152  # of the mesh


def scene(toons: list[tuple[int, int, int, int]], height: int = 200, width: int = 320) -> np.ndarray:
    """Toons of (seed, x, y, size) in a grey picture."""
    picture = np.full((height, width, 3), 128, np.uint8)
    for seed, x, y, size in toons:
        picture[y : y + size, x : x + size] = render(sample_identity(seed), Pose(), size)
    return picture


def turned(picture: np.ndarray, degrees: float) -> np.ndarray:
    height, width = picture.shape[:2]
    way = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    return cv2.warpAffine(picture, way, (width, height), borderMode=cv2.BORDER_REPLICATE)


def contains(box: Box, point: np.ndarray | tuple[float, float]) -> bool:
    return box.x <= point[0] <= box.x + box.width and box.y <= point[1] <= box.y + box.height


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    height = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    both = max(0, width) * max(0, height)
    return both / (a.width * a.height + b.width * b.height - both)


# what is found


@pytest.mark.parametrize("seed", range(3))
def test_the_mesh_lies_on_the_face(seed: int) -> None:
    (face,) = find_faces(render(sample_identity(seed), Pose(), 160))
    points, _ = keypoints(sample_identity(seed), Pose(), 160)
    pairs = {"mouth_left": MOUTH_CORNERS[0], "mouth_right": MOUTH_CORNERS[1], "chin": CHIN}
    assert face.mesh.shape == (POINTS, 3) and face.mesh.dtype == np.float32
    assert 0.9 < face.score <= 1
    for name, number in pairs.items():
        assert np.hypot(*(face.mesh[number, :2] - points[KEYPOINTS.index(name)])) < 0.15 * face.box.size, name
    assert all(contains(face.box, points[KEYPOINTS.index(name)]) for name in ("left_pupil", "right_pupil", "nose_tip"))


def test_the_largest_face_comes_first() -> None:
    large, small = find_faces(scene([(PERSON, 10, 20, 110), (2, 150, 10, 160)]))
    assert large.box.size > small.box.size
    assert contains(large.box, (230, 95)) and contains(small.box, (65, 80))


@pytest.mark.parametrize("degrees", [30, -60])
def test_a_tilted_face_is_found_and_its_mesh_is_tilted(degrees: int) -> None:
    picture = scene([(PERSON, 80, 20, 160)])
    upright, tilted = (find_faces(each)[0].mesh for each in (picture, turned(picture, degrees)))
    ways = [mesh[CHIN, :2] - mesh[10, :2] for mesh in (upright, tilted)]  # from the forehead to the chin
    angles = [np.degrees(np.arctan2(x, y)) for x, y in ways]
    assert angles[1] - angles[0] == pytest.approx(degrees, abs=5)


def test_a_dark_face_is_found_where_a_light_one_is() -> None:
    light = scene([(PERSON, 80, 20, 160)])
    (a,), (b,) = find_faces(light), find_faces(light // 8)
    assert overlap(a.box, b.box) > 0.85


def test_a_small_face_is_found_in_a_large_picture() -> None:
    picture = scene([(PERSON, 1423, 877, 150)], 1500, 2000)
    near = find_faces(picture[857:1057, 1403:1603])[0].box
    (face,) = find_faces(picture)
    assert overlap(face.box, near._replace(x=near.x + 1403, y=near.y + 857)) > 0.8


def test_nothing_is_found_where_nothing_is() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    for picture in (noise, np.zeros((90, 70, 3), np.uint8), np.zeros((1, 1, 3), np.uint8)):
        assert find_faces(picture) == []


def test_threads_do_not_disturb_each_other() -> None:
    pictures = [scene([(seed, 20 * seed, 10, 150)]) for seed in (1, 2, 3)] * 2

    def boxes(picture: np.ndarray) -> list[Box]:
        return [face.box for face in find_faces(picture)]

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(boxes, pictures)) == [boxes(picture) for picture in pictures]


def test_a_person_is_told_from_what_is_behind() -> None:
    mask = person_mask(render(sample_identity(PERSON), Pose(), 200))
    assert mask.shape == (200, 200) and mask.dtype == np.float32
    assert mask.min() >= 0 and mask.max() <= 1
    assert mask[80:120, 85:115].min() > 0.9  # the face
    assert mask[:20, :20].max() < 0.1


def test_a_network_that_is_gone_is_named() -> None:
    with pytest.raises(MissingError, match=r"nothing\.tflite"):
        network_path("nothing")


# clay


def clay(pose: Pose, size: int = SIDE) -> np.ndarray:
    """Clay of the toon in a pose, and no blank."""
    painted = paint_clay(render(sample_identity(PERSON), pose, 256), size)
    assert painted is not None
    return painted


def near(name: str, pose: Pose, reach: int = 3) -> tuple[slice, slice]:
    """The pixels of the clay around a key point of the toon."""
    points, _ = keypoints(sample_identity(PERSON), pose, SIDE)
    x, y = points[KEYPOINTS.index(name)].round().astype(int)
    return slice(y - reach, y + reach + 1), slice(x - reach, x + reach + 1)


def test_parts_have_their_greys_where_they_are_on_the_face() -> None:
    pose = Pose()
    painted = clay(pose)
    assert painted.shape == (SIDE, SIDE) and painted.dtype == np.uint8
    assert painted[:10, :10].max() < 10  # the background
    assert painted[-8:, 60:68].mean() == pytest.approx(BODY, abs=3)
    assert np.percentile(painted, 99) > SKIN
    assert painted[near("nose_tip", pose, 1)].min() > 150
    for name in ("left_pupil", "right_pupil"):
        assert painted[near(name, pose)].min() < PUPIL + 40


def test_clay_shows_nothing_of_colours() -> None:
    picture = render(sample_identity(PERSON), Pose(), 256)
    tinted = np.clip(picture * np.array([1.0, 0.85, 0.7]), 0, 255).astype(np.uint8)
    difference = np.abs(clay(Pose()).astype(int) - paint_clay(tinted, SIDE))
    assert difference.mean() < 3


def test_an_open_mouth_is_dark_inside() -> None:
    shut, opened = (clay(pose)[near("lip_bottom", Pose(), 8)].astype(int) for pose in (Pose(), Pose(mouth_open=1.0)))
    assert (opened < 80).sum() > (shut < 80).sum() + 20


def test_shut_eyes_have_no_pupils() -> None:
    opened, shut = (clay(pose)[near("left_pupil", Pose(), 5)] for pose in (Pose(), Pose(blink_l=1, blink_r=1)))
    assert (shut < 80).sum() < (opened < 80).sum() / 2


def test_the_gaze_moves_the_iris() -> None:
    def dark(pose: Pose) -> float:
        """Column of the pupils' centre of mass."""
        columns = [np.maximum(0, 100.0 - clay(pose)[near(name, Pose(), 5)]) for name in ("left_pupil", "right_pupil")]
        return float(np.mean([(each.sum(0) * np.arange(11)).sum() / each.sum() for each in columns]))

    assert dark(Pose(gaze_x=0.9)) > dark(Pose(gaze_x=-0.9)) + 0.5


def test_a_picture_without_a_face_has_no_clay() -> None:
    assert paint_clay(np.full((90, 90, 3), 120, np.uint8)) is None


def test_triangles_cover_the_face_once() -> None:
    """Euler: points - edges + triangles = 1, and edges of one triangle only lie on one outline."""
    triangles = list_triangles()
    assert set(triangles.ravel()) == set(range(POINTS))
    edges: dict[tuple[int, int], int] = {}
    for a, b, c in np.sort(triangles, 1).tolist():
        for edge in ((a, b), (b, c), (a, c)):
            edges[edge] = edges.get(edge, 0) + 1
    assert max(edges.values()) == 2
    assert POINTS - len(edges) + len(triangles) == 1
