"""Toon detectors on faces that they never saw, their parts by hand, and the detectors of real faces."""

import sys
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from animask.detectors import DETECTORS, EMBEDDING, SIDE, locate
from animask.errors import MissingError
from animask.images import to_tensor
from animask.toons import KEYPOINTS, keypoints, pose_at, render, sample_identity

TOON_POINTS, TOON_IDENTITY = DETECTORS["points", "toons"], DETECTORS["identity", "toons"]
MESH, ARCFACE = DETECTORS["points", "faces"], DETECTORS["identity", "faces"]
SHOWN = [(sample_identity(n), pose_at(n, t)) for n in range(300, 310) for t in (0.0, 2.0)]


@pytest.fixture(scope="module")
def unseen():
    """Ten held-out identities in two poses each, 256 pixels: frames (10, 2, 3, 256, 256)."""
    return to_tensor([render(who, pose, 256) for who, pose in SHOWN], "cpu").unflatten(0, (10, 2))


def test_key_points_of_unseen_toons_are_within_two_pixels(unseen):
    found = TOON_POINTS("cpu").find(unseen.flatten(0, 1))
    truths = [keypoints(who, pose, 256) for who, pose in SHOWN]
    places, visible = (torch.from_numpy(np.stack(column)) for column in zip(*truths, strict=True))
    assert (found - places)[visible].norm(dim=1).nanmean() < 2.0
    assert (found.isnan().any(2) != visible).float().mean() > 0.95


def test_a_smeared_head_has_no_key_points():
    sharp = [render(sample_identity(n), pose_at(n, 0.0), SIDE) for n in range(400, 406)]
    smeared = [cv2.GaussianBlur(frame, (0, 0), 7) for frame in sharp]
    missed = [TOON_POINTS("cpu").find(to_tensor(frames, "cpu")).isnan().float().mean() for frames in (sharp, smeared)]
    assert missed[0] < 0.15 and missed[1] > 0.9


def test_embeddings_tell_unseen_identities_apart(unseen):
    embeddings = TOON_IDENTITY("cpu").find(unseen.flatten(0, 1)).view(10, 2, EMBEDDING)
    torch.testing.assert_close(embeddings.norm(dim=2), torch.ones(10, 2))
    cosines = embeddings[:, 0] @ embeddings[:, 1].T
    different = cosines[~torch.eye(10, dtype=torch.bool)]
    assert cosines.diagonal().mean() > different.mean() + 0.4
    assert cosines.diagonal().min() > different.quantile(0.9)


def test_the_place_of_one_hot_cell_is_its_centre_and_of_two_their_mean_half_their_distance_away():
    heat = torch.full((1, 3, 4, 4), -100.0)
    heat[0, 0, 1, 3] = 100.0  # row 1, column 3: pixels 2..3 and 6..7 of the picture
    heat[0, 1, 0, 0] = heat[0, 1, 0, 2] = 100.0
    heat[0, 2, 0, 0] = heat[0, 2, 0, 3] = 100.0  # 6 pixels apart
    places, spread = locate(heat)
    torch.testing.assert_close(places, torch.tensor([[[6.5, 2.5], [2.5, 0.5], [3.5, 0.5]]]))
    torch.testing.assert_close(spread, torch.tensor([[0.0, 2.0, 3.0]]))


def test_of_toons_the_mesh_finds_about_the_same_points(unseen):
    frames = torch.cat([unseen[:3, 0], torch.full((1, 3, 256, 256), 0.5)])
    detector = MESH("cpu")
    found, toons = detector.find(frames), TOON_POINTS("cpu").find(frames)
    assert found.isnan().any(2).tolist() == [[False] * 68] * 3 + [[True] * 68]
    for ours, theirs in (("chin", 8), ("mouth_left", 48), ("mouth_right", 54)):
        assert (found[:3, theirs] - toons[:3, KEYPOINTS.index(ours)]).norm(dim=1).max() < 25
    assert len(detector.about["sha256"]) == 64


@pytest.fixture
def insightface(monkeypatch):
    """A function that gives the package insightface a way to open its networks."""

    def install(opening):
        monkeypatch.setitem(sys.modules, "insightface", ModuleType("insightface"))
        monkeypatch.setitem(sys.modules, "insightface.app", SimpleNamespace(FaceAnalysis=opening))

    return install


def test_arcface_sees_bgr_and_answers_nan_where_no_face_is(monkeypatch, insightface):
    seen, prepared = [], {}

    def get(image):
        seen.append(image)
        boxes = (np.array([0.0, 0, 2, 2]), np.array([0.0, 0, 5, 5])) if len(seen) == 1 else ()
        return [SimpleNamespace(bbox=box, normed_embedding=np.full(512, box[3], np.float32)) for box in boxes]

    insightface(lambda name, allowed_modules: SimpleNamespace(prepare=prepared.update, get=get))
    monkeypatch.setattr("animask.detectors.version", lambda package: "1.0")
    monkeypatch.setattr("animask.detectors.describe_network", lambda name, path: {})
    frames = torch.zeros(2, 3, 4, 4)
    frames[:, 0] = 1.0  # red
    embeddings = ARCFACE("cpu").find(frames)
    assert prepared == {"ctx_id": -1, "det_size": (640, 640)}
    assert seen[0][0, 0].tolist() == [0, 0, 255]
    assert embeddings[0].eq(5).all() and embeddings[1].isnan().all()


def test_arcface_without_its_package_or_its_networks_is_named(monkeypatch, insightface):
    monkeypatch.setitem(sys.modules, "insightface.app", None)
    with pytest.raises(MissingError) as caught:
        ARCFACE("cpu")
    assert "pip install" in caught.value.hint

    def fail(**_):
        raise OSError("no network")

    insightface(fail)
    with pytest.raises(MissingError, match="no network") as caught:
        ARCFACE("cpu")
    assert "buffalo_l" in caught.value.hint
