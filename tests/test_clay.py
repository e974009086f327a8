"""Clay of faces: painted of toons, whose pose is known; and its files."""

import numpy as np
import pytest

from animask.clay import BODY, PUPIL, SKIN, clay_path, find_clay, list_triangles, paint_clay, read_clay, write_clay
from animask.errors import InputError
from animask.faces import POINTS
from animask.toons import KEYPOINTS, Pose, keypoints, render, sample_identity

PERSON, SIDE = 1, 128


def clay(pose: Pose) -> np.ndarray:
    return paint_clay(render(sample_identity(PERSON), pose, 256), SIDE)


def around(name: str, reach: int) -> tuple[slice, slice]:
    """The pixels of the clay around a key point of the toon at rest."""
    points, _ = keypoints(sample_identity(PERSON), Pose(), SIDE)
    x, y = points[KEYPOINTS.index(name)].round().astype(int)
    return slice(y - reach, y + reach + 1), slice(x - reach, x + reach + 1)


def test_parts_have_their_greys_where_they_are_on_the_face():
    painted = clay(Pose())
    assert painted.shape == (SIDE, SIDE) and painted.dtype == np.uint8
    assert painted[:10, :10].max() < 10  # the background
    assert painted[-8:, 60:68].mean() == pytest.approx(BODY, abs=3)
    assert np.percentile(painted, 99) > SKIN
    assert painted[around("nose_tip", 1)].min() > 150
    assert all(painted[around(name, 3)].min() < PUPIL + 40 for name in ("left_pupil", "right_pupil"))


def test_clay_shows_nothing_of_colours():
    tinted = render(sample_identity(PERSON), Pose(), 256) * np.array([1.0, 0.85, 0.7])
    assert np.abs(clay(Pose()).astype(int) - paint_clay(tinted.astype(np.uint8), SIDE)).mean() < 3


def test_an_open_mouth_is_dark_inside_and_shut_eyes_have_no_pupils():
    at_rest, opened, blinking = (clay(pose) < 80 for pose in (Pose(), Pose(mouth_open=1.0), Pose(blink_l=1, blink_r=1)))
    mouth, eye = around("lip_bottom", 8), around("left_pupil", 5)
    assert opened[mouth].sum() > at_rest[mouth].sum() + 20
    assert blinking[eye].sum() < at_rest[eye].sum() / 2


def test_the_gaze_moves_the_iris():
    def dark(pose: Pose) -> float:
        """Column of the pupils' centre of mass."""
        columns = [np.maximum(0, 100.0 - clay(pose)[around(name, 5)]) for name in ("left_pupil", "right_pupil")]
        return float(np.mean([(each.sum(0) * np.arange(11)).sum() / each.sum() for each in columns]))

    assert dark(Pose(gaze_x=0.9)) > dark(Pose(gaze_x=-0.9)) + 0.5


def test_triangles_cover_the_face_once():
    """Euler: points - edges + triangles = 1, and no edge belongs to three triangles."""
    triangles = list_triangles()
    assert set(triangles.ravel()) == set(range(POINTS))
    edges, uses = np.unique(np.sort(triangles)[:, [[0, 1], [1, 2], [0, 2]]].reshape(-1, 2), axis=0, return_counts=True)
    assert uses.max() == 2
    assert POINTS - len(edges) + len(triangles) == 1


@pytest.mark.parametrize("name", ["id1#x.1.mp4", "id1#x.1"])
def test_clay_lies_beside_its_clip_or_folder_of_frames(name, tmp_path):
    (tmp_path / "id1#x.1").mkdir()
    frames = [np.full((64, 64), level, np.uint8) for level in (0, 9)]
    assert find_clay(tmp_path / name) is None
    write_clay(tmp_path / name, frames[:1])
    assert find_clay(tmp_path / name) is None, "without any face there is no file"
    write_clay(tmp_path / name, frames)
    assert find_clay(tmp_path / name) == tmp_path / "id1#x.1.clay.npz"
    assert np.array_equal(read_clay(tmp_path / "id1#x.1.clay.npz"), frames)


def test_what_is_no_clay_is_refused(tmp_path):
    path = clay_path(tmp_path / "x.mp4")
    for content in (b"", b"no clay"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="holds no clay"):
            read_clay(path)
    for arrays in ({"other": np.zeros((1, 64, 64), np.uint8)}, {"clay": np.zeros((1, 64, 64))}):
        np.savez(path, **arrays)
        with pytest.raises(InputError, match="holds no clay"):
            read_clay(path)
