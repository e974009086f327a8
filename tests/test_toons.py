"""The procedural faces: chance, separation of identity and pose, motion, sizes and key points."""

import dataclasses

import cv2
import numpy as np
import pytest

from animask.toons import HAIR_STYLES, KEYPOINTS, Pose, clay, keypoints, pose_at, render, sample_identity, sample_pose

RATE = 25
# the largest change a frame, in the units of the pose: no part of the face may jump
LARGEST_STEP = {"yaw": 0.06, "pitch": 0.04, "roll": 0.04, "x": 0.012, "y": 0.012, "scale": 0.01, "gaze_x": 0.15}
LARGEST_STEP |= {"gaze_y": 0.12, "blink_l": 0.55, "blink_r": 0.55, "brow": 0.2, "mouth_open": 0.3, "smile": 0.2}
NAMES = [field.name for field in dataclasses.fields(Pose)]


def point(name, identity, pose, size=128):
    return keypoints(identity, pose, size)[0][KEYPOINTS.index(name)]


def seen(name, identity, pose):
    return keypoints(identity, pose, 128)[1][KEYPOINTS.index(name)]


def test_the_same_arguments_give_the_same_picture():
    first = render(sample_identity(3), pose_at(3, 1.7), 96)
    for other in range(30):  # push identity 3 out of nothing but small caches
        render(sample_identity(100 + other), Pose(), 32)
    np.testing.assert_array_equal(first, render(sample_identity(3), pose_at(3, 1.7), 96))


def test_fifty_identities_all_render_and_all_differ():
    pictures = [render(sample_identity(seed), Pose(), 64) for seed in range(50)]
    assert len({picture.tobytes() for picture in pictures}) == 50
    spread = np.std([picture.mean((0, 1)) for picture in pictures], axis=0)
    assert spread.min() > 10  # grey levels: they differ to the eye, not in a single pixel


def test_every_hair_style_occurs_and_renders_turned():
    found = {sample_identity(seed).hair_style: seed for seed in range(300)}
    assert set(found) == set(HAIR_STYLES)
    for seed in found.values():
        assert render(sample_identity(seed), Pose(yaw=0.69, pitch=-0.3, roll=0.3), 64).std() > 5


@pytest.mark.parametrize("size", [32, 48, 100, 256, 512])
def test_any_size_gives_the_same_look(size):
    identity, pose = sample_identity(8), Pose(yaw=0.3, mouth_open=0.5)
    picture = render(identity, pose, size)
    assert (picture.shape, picture.dtype) == ((size, size, 3), np.uint8)
    coarse = [cv2.resize(p, (16, 16), interpolation=cv2.INTER_AREA) for p in (picture, render(identity, pose, 128))]
    assert np.abs(np.subtract(*coarse, dtype=float)).mean() < 3  # of 255
    places, expected = ((keypoints(identity, pose, side)[0] + 0.5) / side for side in (size, 128))
    np.testing.assert_allclose(places, expected, atol=1e-5)


def test_the_background_stays_while_the_head_moves():
    rng = np.random.default_rng(0)
    for identity in map(sample_identity, range(6)):
        still = render(identity, Pose(), 128)
        for _ in range(4):
            moved = render(identity, sample_pose(rng), 128)
            np.testing.assert_array_equal(moved[:90, [0, 1, 2, -3, -2, -1]], still[:90, [0, 1, 2, -3, -2, -1]])
            assert np.abs(moved.astype(int) - still).mean() > 2


def test_random_poses_span_the_range():
    rng = np.random.default_rng(1)
    table = np.array([dataclasses.astuple(sample_pose(rng)) for _ in range(400)])
    reach = dict(zip(NAMES, np.abs(table - dataclasses.astuple(Pose())).max(0), strict=True))
    for name, most in {"yaw": 0.7, "pitch": 0.35, "roll": 0.35, "x": 0.12, "scale": 0.15, "blink_l": 1}.items():
        assert 0.8 * most < reach[name] <= most, name


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_motion_is_smooth_and_wide(seed):
    table = np.array([dataclasses.astuple(pose_at(seed, k / RATE)) for k in range(RATE * 20)])
    steps = dict(zip(NAMES, np.abs(np.diff(table, axis=0)).max(0), strict=True))
    for name, largest in LARGEST_STEP.items():
        assert steps[name] <= largest, name
    yaw, mouth, blink = (table[:, NAMES.index(name)] for name in ("yaw", "mouth_open", "blink_l"))
    assert np.ptp(yaw) > 0.6 and mouth.min() >= 0 and mouth.max() > 0.5 and blink.max() > 0.8


@pytest.mark.parametrize("seed", range(4))
def test_no_part_pops_in_or_out(seed):
    """Over a slow turn past every place where parts change order, no frame jumps from the last."""
    poses = [Pose(yaw=yaw, mouth_open=0.3 + 0.3 * yaw) for yaw in np.linspace(-0.69, 0.69, 70)]
    pictures = [render(sample_identity(seed), pose, 64).astype(float) for pose in poses]
    steps = np.abs(np.diff(pictures, axis=0)).mean((1, 2, 3))
    assert max(steps) < 2.2 * np.median(steps)


def test_what_is_outside_the_frame_or_behind_the_head_is_not_visible():
    identity = sample_identity(0)
    assert all(seen(name, identity, Pose()) for name in KEYPOINTS)
    assert not seen("chin", identity, Pose(y=0.4)) and point("chin", identity, Pose(y=0.4))[1] > 128
    for yaw, shown, hidden in ((0.5, "ear_left", "ear_right"), (-0.5, "ear_right", "ear_left")):
        assert seen(shown, identity, Pose(yaw=yaw)) and not seen(hidden, identity, Pose(yaw=yaw))


@pytest.mark.parametrize("seed", range(6))
def test_the_pupil_is_dark_and_beside_it_is_white(seed):
    identity, size = dataclasses.replace(sample_identity(seed), glasses="none"), 256
    pose = Pose(yaw=0.2, gaze_x=0.5)
    picture = render(identity, pose, size).astype(int)
    for side in ("left", "right"):
        x, y = np.rint(point(f"{side}_pupil", identity, pose, size)).astype(int)
        assert picture[y, x].max() < 70
        inner, outer = (point(f"{side}_eye_{end}", identity, pose, size)[0] for end in ("inner", "outer"))
        row = picture[y, int(min(inner, outer)) : int(max(inner, outer))]
        assert row.min(1).max() > 140


@pytest.mark.parametrize("seed", range(5))
def test_points_are_in_order_and_follow_the_pose(seed):
    identity = sample_identity(seed)

    def moved(name, **pose):
        return point(name, identity, Pose(**pose)) - point(name, identity, Pose())

    heights = [point(name, identity, Pose())[1] for name in ("head_top", "nose_tip", "lip_bottom", "chin")]
    assert heights == sorted(heights)
    assert point("mouth_left", identity, Pose())[0] < point("mouth_right", identity, Pose())[0]
    assert moved("nose_tip", yaw=0.5)[0] > max(5, moved("left_eye_inner", yaw=0.5)[0])
    assert moved("nose_tip", pitch=0.3)[1] > 0
    assert moved("head_top", roll=0.3)[0] > 0
    assert moved("chin", mouth_open=1.0)[1] > 2
    np.testing.assert_allclose(moved("nose_bridge", x=0.1, y=-0.05), [12.8, -6.4], atol=1e-3)


def test_a_blink_covers_the_pupil():
    identity = dataclasses.replace(sample_identity(1), glasses="none")
    shut, opened = (render(identity, pose, 256).astype(int) for pose in (Pose(blink_l=1.0), Pose()))
    left, right = (np.rint(point(f"{side}_pupil", identity, Pose(), 256)).astype(int) for side in ("left", "right"))
    assert shut[left[1], left[0]].sum() > opened[left[1], left[0]].sum() + 60
    np.testing.assert_allclose(shut[right[1], right[0]], opened[right[1], right[0]], atol=2)  # it stays open


# clay


@pytest.mark.parametrize("seed", range(4))
def test_clay_is_the_toon_without_its_colours(seed):
    who, pose = sample_identity(seed), sample_pose(np.random.default_rng(seed))
    grey = clay(who, pose, 64)
    assert (grey.shape, grey.dtype) == ((64, 64), np.uint8)
    other = sample_identity(seed + 100)
    dressed = {name: getattr(other, name) for name in ("skin", "hair_colour", "iris", "lip_colour", "clothes_colour")}
    dressed |= {"backdrop": "room", "glasses": "none", "beard": "none", "light_x": 0.7, "freckles": 9}
    assert np.array_equal(clay(dataclasses.replace(who, **dressed), pose, 64), grey), "nothing of the appearance shows"
    # where a picture changes with its ground, nobody is
    bare = dataclasses.replace(who, glasses="none", beard="none", earrings=False, clothes="crew")
    grounds = [render(bare, pose, 64, ground=level).astype(int) for level in ((0.0,) * 3, (255.0,) * 3)]
    alone = np.abs(grounds[0] - grounds[1]).min(2) > 128
    thick, thin = (change((grey > 8).astype(np.uint8), np.ones((3, 3))) for change in (cv2.dilate, cv2.erode))
    assert not (alone & (thin > 0)).any() and not (~alone & (thick == 0)).any(), "the same outline within a pixel"
    assert 130 < grey.max() <= 255


def test_clay_moves_with_the_pose():
    who = sample_identity(3)
    still, turned, smiling = (clay(who, pose, 64).astype(int) for pose in (Pose(), Pose(yaw=0.4), Pose(smile=1.0)))
    assert np.abs(still - turned).mean() > 3
    assert np.abs(still - smiling)[40:].max() > 30
