"""Evaluations with answers known by hand: protocols, ablations, totals, the page."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from training_cases import SIDE

from animask.detectors import DETECTORS, Detector
from animask.errors import AnimaskError, InputError, MissingError
from animask.evaluation import PUBLISHED, evaluate, show, sum_up, tabulate
from animask.files import sha256
from animask.images import to_tensor, write_image
from animask.metrics import Score
from animask.protocol import FIRST_DRIVER, TOON_RATE, TOON_VIDEOS, Settings, plan
from animask.toons import pose_at, render, sample_identity


@pytest.fixture
def settings(tiny_weights):
    """Two toons of three frames, in float32."""
    return Settings(metrics=("l1",), weights=str(tiny_weights), limit=2, frames=3, device="cpu", precision="fp32")


def grey(*levels):
    """A strip of frames of one grey level each, as a data set has it."""
    return np.hstack([np.full((SIDE, SIDE, 3), level, np.uint8) for level in levels])


@pytest.fixture
def folder(tmp_path):
    """Three clips of two people: anna 0, 51, 102; bert 51, 51, 204 and 0, 0."""
    root = tmp_path / "people" / "test"
    root.mkdir(parents=True)
    write_image(root / "anna#1.png", grey(0, 51, 102))
    write_image(root / "bert#1.png", grey(51, 51, 204))
    write_image(root / "bert#2.png", grey(0, 0))
    return root.parent


def test_a_reconstruction_is_the_method_without_p_test_and_r(settings, tiny_model):
    result = evaluate(replace(settings, limit=1))
    frames = [render(sample_identity(0), pose_at(0, n / TOON_RATE), SIDE) for n in range(3)]
    s, d = to_tensor(frames[0], "cpu"), to_tensor(frames[1:], "cpu")
    with torch.inference_mode():
        _, f = tiny_model.render(s, tiny_model.m(s), tiny_model.m(d))
    ours, copied = (result.columns[name]["l1"].mean for name in ("raw m(d)", "copy"))
    assert ours == pytest.approx(float((f - d).abs().mean()), rel=2e-3)  # weights are fp16
    assert copied == pytest.approx(float((s - d).abs().mean()), abs=1e-6)
    assert result.shares["raw m(d)"]["l1"] == pytest.approx(ours / copied)


def test_output_that_is_not_finite_is_no_score(settings, monkeypatch):
    monkeypatch.setattr("animask.model.Animator.final", lambda self, s, m_s, m_x, c: c * torch.nan)
    with pytest.raises(AnimaskError, match="not finite"):
        evaluate(settings)


def test_the_truth_of_a_toon_is_the_source_in_the_pose_of_the_driver():
    assert [case.name for case in plan(Settings())] == [f"toon{n}" for n in range(TOON_VIDEOS)]
    *_, case = plan(Settings(protocol="animation", limit=5))
    driver = 4 + FIRST_DRIVER
    assert case.name == f"toon4--toon{driver}"
    first = next(iter(case.shots(32)))
    np.testing.assert_array_equal(case.source(32), render(sample_identity(4), pose_at(4, 0.0), 32))
    np.testing.assert_array_equal(first.driver, render(sample_identity(driver), pose_at(driver, 0.0), 32))
    np.testing.assert_array_equal(first.truth, render(sample_identity(4), pose_at(driver, 0.0), 32))


def test_clips_are_driven_by_themselves_or_by_another_person(folder):
    base = Settings(dataset=str(folder))
    assert [case.name for case in plan(base)] == ["anna#1", "bert#1", "bert#2"]
    animated = plan(replace(base, protocol="animation", metrics=("akd",)))
    assert [case.name for case in animated] == ["anna#1--bert#1", "bert#1--anna#1", "bert#2--anna#1"]
    shots = [(int(shot.driver.mean()), shot.truth) for shot in animated[0].shots(SIDE)]
    assert shots == [(51, None), (51, None), (204, None)]
    write_image(folder / "test" / "anna#2.png", grey(*range(0, 90, 10)))
    assert [case.name for case in plan(replace(base, limit=2))] == ["anna#1", "bert#1"]  # as many people as there are
    _, _, case, _ = plan(replace(base, frames=4))
    assert case.source(SIDE).max() == 0
    assert [int(shot.driver.mean()) for shot in case.shots(SIDE)] == [10, 30, 50, 70], "thinned evenly"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"metrics": ("l2",)}, InputError),
        ({"dataset": "vox", "protocol": "animation"}, InputError),  # nobody knows the true frames
        ({"dataset": "bair", "metrics": ("akd",)}, MissingError),
        ({"dataset": "nowhere"}, InputError),
        ({"weights": "nothing.safetensors"}, MissingError),
        ({"ablations": ("no_id",)}, InputError),
        ({"protocol": "re"}, InputError),
    ],
)
def test_what_cannot_be_measured_is_refused(settings, changes, error):
    with pytest.raises(error):
        evaluate(replace(settings, **changes))


def test_the_score_of_copying_the_source_is_known(settings, folder):
    base = replace(settings, dataset=str(folder), frames=None, limit=None)
    by_people = evaluate(base)
    # |51 - 0|, |102 - 0| of anna, |51 - 51|, |204 - 51| and |0 - 0| of bert, in 255ths
    assert by_people.columns["copy"]["l1"].mean == pytest.approx((0.6 / 2 + 0.6 / 3) / 2, abs=1e-6)
    assert (by_people.people, len(by_people.videos), by_people.frames) == (2, 3, 5)
    by_frames = evaluate(replace(base, dataset="vox", data=folder))
    assert by_frames.columns["copy"]["l1"].mean == pytest.approx(1.2 / 5, abs=1e-6)
    assert "2 people" in sum_up(by_people)[-1]


ABOUT = {"network": "one of these tests", "file": "none", "sha256": "0" * 64}


def find_point(frames):
    """One point at (10, 10), shifted by ten times the mean of the frame; none in bright frames."""
    level = frames.mean((1, 2, 3))
    return (10 + 10 * level.where(level < 0.7, math.nan)).view(-1, 1, 1).expand(-1, 1, 2)


def embed(frames):
    """The mean of the frame and what is left to 1."""
    level = frames.mean((1, 2, 3))
    return torch.stack([level, 1 - level], 1)


@pytest.fixture
def simple_detectors(monkeypatch):
    for name, find in (("points", find_point), ("identity", embed)):
        monkeypatch.setitem(DETECTORS, (name, "faces"), lambda device, find=find: Detector(find, ABOUT))


def test_skipped_frames_are_counted(settings, folder, simple_detectors):
    result = evaluate(replace(settings, dataset=str(folder), frames=None, limit=None, metrics=("akd", "mkr")))
    # of anna 2 and 4 away, of bert 0, 0 and, at level 204, no point; in pixels of the paper's frame
    akd = pytest.approx(((2 + 4) / 2 + 0) / 2 * 256 / SIDE, rel=1e-5)
    assert result.columns["copy"] == {"akd": Score(akd, 4, 1), "mkr": Score(0.0, 4, 1)}
    assert any("akd skipped" in line and "copy 1" in line for line in sum_up(result))
    assert result.networks == [ABOUT]


def test_without_true_frames_points_are_the_drivers_and_identities_the_sources(settings, folder, simple_detectors):
    metrics = ("akd", "csim", "aed")
    copied = evaluate(replace(settings, dataset=str(folder), protocol="animation", metrics=metrics)).columns["copy"]
    assert (copied["csim"].mean, copied["aed"].mean) == pytest.approx((1.0, 0.0))
    # anna (0) by bert (51, 51, 204): 2, 2 and skipped; bert (51) by anna (0, 51, 102): 2, 0 and 2
    assert copied["akd"].mean == pytest.approx((2 + 4 / 3) / 2 * 256 / SIDE, rel=1e-4)


def test_every_metric_has_its_best_value_where_the_result_is_the_truth(settings, tmp_path, simple_detectors):
    ramp = np.linspace(0, 150, SIDE).astype(np.uint8)[:, None, None]  # no frame is flat
    (tmp_path / "test").mkdir()
    write_image(tmp_path / "test" / "still.png", np.broadcast_to(ramp, (SIDE, SIDE * 3, 3)).copy())
    metrics = ("l1", "psnr", "ssim", "lpips", "akd", "mkr", "aed", "csim")
    found = evaluate(replace(settings, dataset=str(tmp_path), metrics=metrics)).columns["copy"]
    best = {**dict.fromkeys(metrics, 0), "psnr": math.inf, "ssim": 1, "csim": 1}
    assert {name: score.mean for name, score in found.items()} == pytest.approx(best, abs=1e-6)


def test_the_protocol_says_how(settings, tiny_weights):
    base = replace(settings, protocol="animation", limit=1)
    result = evaluate(replace(base, threshold=0.2))
    assert result.protocol["weights_sha256"] == sha256(tiny_weights)
    assert "0.2" in result.protocol["method"] and "0.75" in result.protocol["method"]
    assert result.protocol["computed"] == "cpu, fp32"
    others = [evaluate(replace(base, **changes)).columns["full"] for changes in ({}, {"threshold": 0.2, "scale": 1.0})]
    assert result.columns["full"] not in others


def test_the_papers_figures_stand_beside_ours_where_the_data_are_the_papers(settings, folder):
    result = evaluate(replace(settings, dataset="vox", data=folder))
    head, *_, paper, other = tabulate(result)
    assert [head, paper, other] == [["", "l1 ↓"], ["paper (published)", "0.0340"], ["FSAL (published)", "–"]]
    assert PUBLISHED["taichi"]["FOMM"] == {"l1": 0.063, "akd": 6.862, "mkr": 0.036, "aed": 0.179}
    assert not evaluate(settings).published


def test_figures_have_four_digits():
    texts = [show(value) for value in (0.04567, 14.48, 1.0, -0.00001, math.nan, math.inf)]
    assert texts == ["0.0457", "14.48", "1.000", "0.0000", "–", "∞"]


def test_the_page_holds_everything_and_fetches_nothing(settings, folder, tmp_path):
    write_image(folder / "test" / "<b>&#1.png", grey(0, 90, 180))
    page = tmp_path / "out.html"
    evaluate(replace(settings, dataset=str(folder), limit=None, metrics=("l1", "psnr"), report=page))
    text = page.read_text(encoding="utf-8")
    assert "<b>&" not in text and "&lt;b&gt;&amp;#1" in text
    assert re.findall(r"(?:src|href)=\"(?!data:)", text) == [] and not re.search(r"https?://", text)
    assert text.count("data:image/png;base64,") == 3 * 3  # source, driver and ours, of three videos
