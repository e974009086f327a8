"""Toon detectors on faces that they never saw, their parts by hand, and the adapters of other packages with fakes."""

import json
import sys
from dataclasses import asdict
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from animask.detectors import KINDS, Lpips, open_identity, open_points
from animask.detectors.networks import EMBEDDING, IdentityNet, KeyPointNet, deviation, mean_place
from animask.detectors.people import ARCFACE, FACES, ArcFace, BodyKeyPoints, FaceKeyPoints, folder_of
from animask.detectors.pool import FIRST_TRAINING, SIDE, Pool, dress, make_pool, open_pool
from animask.detectors.toons import IDENTITY_FILE, KEYPOINT_FILE, ToonIdentity, ToonKeyPoints, bundled
from animask.detectors.training import (
    MIRRORED,
    app,
    bells,
    fit,
    held_out,
    identity_loss,
    measure_points,
    move,
    point_loss,
    roc_area,
    save,
    shuffle,
)
from animask.errors import InputError, MissingError
from animask.images import to_tensor
from animask.toons import KEYPOINTS, pose_at, render, sample_identity


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """Four identities in two poses, rendered once."""
    return make_pool(tmp_path_factory.mktemp("pool"), FIRST_TRAINING, 4, 2)


@pytest.fixture(scope="module")
def unseen():
    """Ten held-out identities in two poses each, 256 pixels: frames (10, 2, 3, 256, 256)."""
    faces = [[render(sample_identity(n), pose_at(n, t), 256) for t in (0.0, 2.0)] for n in range(300, 310)]
    return torch.stack([to_tensor(pair, "cpu") for pair in faces])


# bundled networks


@pytest.mark.parametrize("name", [KEYPOINT_FILE, IDENTITY_FILE])
def test_the_bundled_networks_are_small(name):
    assert bundled(name).stat().st_size < 2_000_000


def test_key_points_of_unseen_toons_are_within_two_pixels():
    detector, distances, right = ToonKeyPoints(), [], []
    for frames, truth in held_out(256, identities=8):
        found = detector(frames)
        distances.append((found.xy - truth.xy)[truth.visible].norm(dim=1))
        right.append((found.visible == truth.visible).float().mean())
    assert torch.cat(distances).mean() < 2.0
    assert torch.stack(right).mean() > 0.95


def test_key_points_are_in_pixels_of_the_frames_that_come_in(unseen):
    detector, frames = ToonKeyPoints(), unseen[:2, 0]
    large = torch.nn.functional.interpolate(frames, scale_factor=2, mode="nearest")
    expected = (detector(frames).xy + 0.5) * 2 - 0.5
    torch.testing.assert_close(detector(large).xy, expected, atol=0.5, rtol=0)


def test_a_frame_without_a_head_has_no_key_points():
    rng = np.random.default_rng(0)
    frames = [shuffle(render(sample_identity(n), pose_at(n, 0.0), SIDE), rng) for n in range(6)]
    assert ToonKeyPoints()(to_tensor(frames, "cpu")).visible.float().mean() < 0.2


def test_key_points_of_a_smeared_face_are_missed():
    detector, poses = ToonKeyPoints(), [(n, pose_at(n, 0.0)) for n in range(400, 406)]
    sharp = [render(sample_identity(n), pose, 256) for n, pose in poses]
    smeared = [cv2.GaussianBlur(frame, (0, 0), 14) for frame in sharp]
    seen, missed = (detector(to_tensor(frames, "cpu")).visible.float().mean() for frames in (sharp, smeared))
    assert seen > 0.85
    assert missed < 0.1


def test_embeddings_tell_unseen_identities_apart(unseen):
    embeddings = ToonIdentity()(unseen.flatten(0, 1)).view(10, 2, EMBEDDING)
    torch.testing.assert_close(embeddings.norm(dim=2), torch.ones(10, 2))
    cosines = embeddings[:, 0] @ embeddings[:, 1].T
    different = cosines[~torch.eye(10, dtype=torch.bool)]
    assert cosines.diagonal().mean() > different.mean() + 0.4
    assert roc_area(cosines.diagonal(), different) > 0.95


def test_a_report_can_name_the_networks():
    for detector in (ToonKeyPoints(), ToonIdentity()):
        assert len(detector.about["sha256"]) == 64
        assert detector.about["file"].endswith(".safetensors")
        assert all(value > 0 for value in detector.about["held_out"].values())


def test_a_bundled_network_that_is_gone_is_named():
    with pytest.raises(MissingError, match=r"nothing\.safetensors"):
        bundled("nothing.safetensors")


# networks, by hand


def test_the_mean_place_of_one_hot_cell_is_its_centre():
    heat = torch.full((1, 2, 4, 4), -100.0)
    heat[0, 0, 1, 3] = 100.0  # row 1, column 3: pixels 2..3 and 6..7 of the picture
    heat[0, 1, 0, 0] = heat[0, 1, 0, 2] = 100.0
    torch.testing.assert_close(mean_place(heat), torch.tensor([[[6.5, 2.5], [2.5, 0.5]]]))


def test_the_deviation_of_one_cell_is_nothing_and_of_two_half_their_distance():
    heat = torch.full((1, 2, 4, 4), -100.0)
    heat[0, 0, 1, 3] = 100.0
    heat[0, 1, 0, 0] = heat[0, 1, 0, 3] = 100.0  # 6 pixels apart
    torch.testing.assert_close(deviation(heat), torch.tensor([[0.0, 3.0]]))


def test_networks_have_their_shapes():
    frames = torch.zeros(2, 3, SIDE, SIDE)
    found = KeyPointNet().eval()(frames)
    assert [tuple(x.shape) for x in found] == [(2, 27, 2), (2, 27), (2, 27, SIDE // 2, SIDE // 2)]
    assert tuple(IdentityNet().eval()(frames).shape) == (2, EMBEDDING)


def test_bells_stand_at_their_places():
    maps = bells(torch.tensor([[[6.5, 20.5]]]), 32)
    assert maps.sum() == pytest.approx(1.0)
    assert divmod(int(maps.argmax()), 32) == (10, 3)


# training


def test_dressing_leaves_the_head_alone():
    first, second = sample_identity(1), sample_identity(2)
    shown, before, other = (asdict(x) for x in (dress(first, second), first, second))
    changed = {name for name in before if shown[name] != before[name]}
    assert changed <= {"seed", *(name for name in before if name.startswith(("backdrop", "clothes", "pattern")))}
    assert shown["backdrop_colour"] == other["backdrop_colour"]


def test_a_pool_is_found_again(pool, tmp_path):
    assert pool.frames.shape == (4, 2, SIDE, SIDE, 3)
    assert pool.visible.mean() > 0.5
    with pytest.raises(InputError, match="no rendered faces"):
        open_pool(tmp_path)


def test_mirroring_swaps_left_and_right():
    assert [MIRRORED[MIRRORED[n]] for n in range(len(KEYPOINTS))] == list(range(len(KEYPOINTS)))
    assert KEYPOINTS[MIRRORED[KEYPOINTS.index("left_pupil")]] == "right_pupil"
    assert KEYPOINTS[MIRRORED[KEYPOINTS.index("chin")]] == "chin"


def test_key_points_move_with_the_picture():
    y, x = np.mgrid[:SIDE, :SIDE]
    spot = np.exp(-((x - 70) ** 2 + (y - 50) ** 2) / 18)
    frame = np.repeat((255 * spot)[..., None], 3, 2).astype(np.uint8)
    places, visible = np.tile(np.float32([70, 50]), (len(KEYPOINTS), 1)), np.ones(len(KEYPOINTS), bool)
    for seed in range(8):
        moved, at, _ = move(frame, places, visible, np.random.default_rng(seed))
        weight = moved[..., 0].astype(float)
        centre = [(weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()]
        np.testing.assert_allclose(at[0], centre, atol=0.3)


def test_key_points_that_leave_the_frame_are_not_visible():
    places, visible = np.tile(np.float32([-30, 50]), (len(KEYPOINTS), 1)), np.ones(len(KEYPOINTS), bool)
    _, _, seen = move(np.zeros((SIDE, SIDE, 3), np.uint8), places, visible, np.random.default_rng(0))
    assert not seen.any()


def test_losses_are_finite_and_move_every_weight(pool):
    for loss, network in ((point_loss, KeyPointNet()), (identity_loss, IdentityNet())):
        value = loss(pool, 4, np.random.default_rng(0))(network)
        value.backward()
        assert value.isfinite()
        assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters())


def test_training_lowers_the_loss_and_repeats_itself(pool, tmp_path):
    one = Pool(*(array[:1, :1] for array in pool))
    fresh, again, longer = (fit("keypoints", one, steps=n, batch=2, lr=2e-3, seed=1) for n in (1, 1, 10))
    for a, b in zip(fresh.state_dict().values(), again.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    fresh, longer = fresh.train(), longer.train()
    with torch.no_grad():
        before, after = (point_loss(one, 4, np.random.default_rng(5))(network) for network in (fresh, longer))
    assert after < before
    save(longer.eval(), tmp_path / "points.safetensors", {"network": "keypoints"})
    assert ToonKeyPoints(path=tmp_path / "points.safetensors").about["file"] == "points.safetensors"


def test_the_roc_area_of_known_pairs():
    low, high = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.7, 0.9])
    assert roc_area(high, low) == 1.0
    assert roc_area(low, high) == 0.0
    assert roc_area(low, low) == 0.5
    assert roc_area(torch.tensor([0.2, 0.4]), low) == pytest.approx((0.5 + 1.0) / 2, abs=1e-9)


def test_figures_are_those_of_the_detector(monkeypatch):
    """A detector that is 3 pixels off in x and 4 in y has a mean distance of 5, and 3.5 per coordinate."""

    class Wrong:
        def __init__(self, path):
            self.truths = [truth for _, truth in held_out(64, identities=2)]

        def __call__(self, frames):
            truth = self.truths.pop(0)
            return truth._replace(xy=truth.xy + torch.tensor([3.0, 4.0]))

    monkeypatch.setattr("animask.detectors.training.ToonKeyPoints", Wrong)
    monkeypatch.setattr("animask.detectors.training.HELD_OUT", 2)
    figures = measure_points(None, 64)
    assert figures["mean_distance_px"] == pytest.approx(5.0, abs=1e-4)
    assert figures["mean_per_coordinate_px"] == pytest.approx(3.5, abs=1e-4)
    assert figures["visibility_right_percent"] == 100.0


@pytest.mark.parametrize(("name", "figure"), [("keypoints", "mean_distance_px"), ("identity", "roc_auc")])
def test_the_figures_of_the_bundled_networks_can_be_asked_for(monkeypatch, name, figure):
    monkeypatch.setattr("animask.detectors.training.HELD_OUT", 3)
    run = CliRunner().invoke(app, ["measure", name])
    assert run.exit_code == 0
    assert json.loads(run.stdout)[figure] > 0
    assert CliRunner().invoke(app, ["measure", "ears"]).exit_code == 2


# other packages


def install(monkeypatch, name, **content):
    """A fake package under a name."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        module = ModuleType(".".join(parts[:end]))
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for key, value in content.items():
        setattr(module, key, value)
    monkeypatch.setattr("animask.detectors.people.version", lambda package: "1.0")


@pytest.mark.parametrize("make", [FaceKeyPoints, ArcFace, BodyKeyPoints, Lpips])
def test_a_package_that_is_missing_is_named(monkeypatch, make):
    for name in ("face_alignment", "insightface.app", "torchvision.models.detection", "lpips"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingError, match="is not installed") as caught:
        make()
    assert caught.value.exit_code == 3
    assert "pip install" in caught.value.hint


def test_a_package_that_does_not_fit_is_named(monkeypatch):
    def fail(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("animask.detectors.people.import_module", fail)
    with pytest.raises(MissingError, match="torchvision cannot be imported") as caught:
        BodyKeyPoints()
    assert "belong together" in caught.value.hint


def test_a_network_that_cannot_be_fetched_is_named_with_its_place(monkeypatch, capsys):
    def fail(**_):
        print("download_path: ...")
        raise OSError("no network")

    install(monkeypatch, "insightface.app", FaceAnalysis=fail)
    with pytest.raises(MissingError, match="no network") as caught:
        ArcFace()
    assert caught.value.exit_code == 3
    for file in ARCFACE.files:
        assert file in caught.value.message
        assert file in caught.value.hint
    assert ARCFACE.source in caught.value.hint
    assert str(folder_of(ARCFACE)) in caught.value.hint
    assert capsys.readouterr().out == ""  # stdout is for results


def test_faces_the_largest_counts_and_a_missed_one_is_not_visible(monkeypatch):
    small, large = (np.linspace(0, end, 136).reshape(68, 2) for end in (10, 30))
    answers = [[small, large], None]
    network = SimpleNamespace(get_landmarks_from_image=lambda image: answers.pop(0))
    made = {}

    def make(kind, **options):
        made.update(options, kind=kind)
        return network

    install(monkeypatch, "face_alignment", FaceAlignment=make, LandmarksType=SimpleNamespace(TWO_D="2D"))
    detector = open_points("faces", "cpu")
    found = detector(torch.zeros(2, 3, 8, 8))
    np.testing.assert_allclose(found.xy[0].numpy(), large, rtol=1e-6)
    assert found.visible.tolist() == [[True] * 68, [False] * 68]
    assert made == {"kind": "2D", "device": "cpu", "flip_input": False, "compile": False}
    assert detector.about["file"] == FACES.files[0]
    assert detector.about["with"].keys() == set(FACES.files[1:])


def test_arcface_sees_bgr_and_answers_nan_where_no_face_is(monkeypatch):
    seen = []

    class Analysis:
        def __init__(self, **options):
            assert options["allowed_modules"] == ["detection", "recognition"]

        def prepare(self, ctx_id, det_size):
            assert (ctx_id, det_size) == (-1, (640, 640))

        def get(self, image):
            seen.append(image)
            if len(seen) == 2:
                return []
            boxes = (np.array([0.0, 0, 2, 2]), np.array([0.0, 0, 5, 5]))
            return [SimpleNamespace(bbox=box, normed_embedding=np.full(512, box[3], np.float32)) for box in boxes]

    install(monkeypatch, "insightface.app", FaceAnalysis=Analysis)
    frames = torch.zeros(2, 3, 4, 4)
    frames[:, 0] = 1.0  # red
    embeddings = open_identity("faces", "cpu")(frames)
    assert seen[0][0, 0].tolist() == [0, 0, 255]
    assert embeddings[0].eq(5).all()
    assert embeddings[1].isnan().all()


def test_bodies_have_a_neck_and_joints_above_a_score(monkeypatch):
    joints = torch.stack([torch.arange(17.0), torch.arange(17.0) * 2, torch.ones(17)], 1)
    scores = torch.full((17,), 9.0)
    scores[5] = 0.0  # the left shoulder, and so the neck, is not seen
    person = {"scores": torch.tensor([0.9]), "keypoints": joints[None], "keypoints_scores": scores[None]}
    nobody = {"scores": torch.zeros(0), "keypoints": torch.zeros(0, 17, 3), "keypoints_scores": torch.zeros(0, 17)}
    unlikely = person | {"scores": torch.tensor([0.2])}

    class Network(torch.nn.Module):
        def forward(self, frames):
            return [person, nobody, unlikely][: len(frames)]

    install(monkeypatch, "torchvision.models.detection", keypointrcnn_resnet50_fpn=lambda weights: Network())
    found = open_points("bodies", "cpu")(torch.zeros(3, 3, 8, 8))
    assert found.xy[0, 17].tolist() == [5.5, 11.0]
    assert found.visible[0].tolist() == [n not in (5, 17) for n in range(18)]
    assert not found.visible[1:].any()


def test_lpips_gets_frames_around_zero(monkeypatch):
    class Network(torch.nn.Module):
        def forward(self, output, truth):
            return (output - truth).abs().mean((1, 2, 3), keepdim=True)

    install(monkeypatch, "lpips", LPIPS=lambda net, verbose: Network())
    distance = Lpips()(torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))
    assert distance.tolist() == [2.0, 2.0]


def test_bodies_have_no_identity_network():
    assert set(KINDS) == {"toons", "faces", "bodies"}
    with pytest.raises(MissingError, match="bodies"):
        open_identity("bodies", "cpu")
