"""Evaluations with answers known by hand: protocols, ablations, totals, resuming, the page."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from animask.config import MODEL_PRESETS
from animask.datasets import Clip
from animask.errors import AnimaskError, InputError, MissingError
from animask.evaluation import METRICS, Scorer, Seen, evaluate
from animask.images import to_tensor, write_image
from animask.metrics import KeyPoints
from animask.protocols import FIRST_DRIVER, TOON_RATE, TOON_VIDEOS, Settings, clip_case, plan, toon_case
from animask.results import Record, published, score, shares_of_copying, show, sum_up, tabulate, total
from animask.toons import pose_at, render, sample_identity
from animask.weights import sha256

SIDE = MODEL_PRESETS["tiny"].resolution


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


# the method and its ablations


def test_rho_and_scale_are_arguments_of_driving(tiny_model):
    s = to_tensor(render(sample_identity(1), pose_at(1, 0.0), SIDE), "cpu")
    with torch.inference_mode():
        m_s = tiny_model.m(s)
        assert tiny_model.follow(s, m_s, m_s, threshold=1.0, scale=1.0).m_dp.eq(0).all()  # no pixel reaches 1
        assert tiny_model.follow(s, m_s, m_s, threshold=0.0, scale=1.0).m_dp.equal(m_s)
        own = tiny_model.config
        kept = tiny_model.follow(s, m_s, m_s).m_dp
        assert kept.equal(tiny_model.follow(s, m_s, m_s, threshold=own.threshold, scale=own.scale).m_dp)


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


# what is evaluated


def test_toons_are_held_out_and_as_many_as_documented():
    assert [case.name for case in plan(Settings())] == [f"toon{n}" for n in range(TOON_VIDEOS)]
    animated = plan(Settings(protocol="animation", limit=2))
    assert [case.name for case in animated] == [f"toon{n}--toon{n + FIRST_DRIVER}" for n in range(2)]


def test_a_reconstruction_starts_after_its_source():
    source, shots = toon_case(4, 4, 3).open(32)
    shots = list(shots)
    np.testing.assert_array_equal(source, render(sample_identity(4), pose_at(4, 0.0), 32))
    assert len(shots) == 2
    np.testing.assert_array_equal(shots[0].truth, render(sample_identity(4), pose_at(4, 1 / TOON_RATE), 32))


def test_the_truth_of_an_animation_is_the_source_in_the_pose_of_the_driver():
    _, shots = toon_case(4, 1004, 2).open(32)
    first, _ = shots
    np.testing.assert_array_equal(first.driver, render(sample_identity(1004), pose_at(1004, 0.0), 32))
    np.testing.assert_array_equal(first.truth, render(sample_identity(4), pose_at(1004, 0.0), 32))


def test_clips_are_driven_by_themselves_or_by_another_person(folder):
    base = Settings(dataset=str(folder))
    assert [case.name for case in plan(base)] == ["anna#1", "bert#1", "bert#2"]
    write_image(folder / "test" / "anna#2.png", grey(0, 1))
    assert [case.name for case in plan(replace(base, limit=2))] == ["anna#1", "bert#1"]  # as many people as there are
    (folder / "test" / "anna#2.png").unlink()
    animated = plan(replace(base, protocol="animation", metrics=("akd",)))
    assert [case.name for case in animated] == ["anna#1--bert#1", "bert#1--anna#1", "bert#2--anna#1"]
    _, shots = animated[0].open(SIDE)
    assert [(int(shot.driver.mean()), shot.truth) for shot in shots] == [(51, None), (51, None), (204, None)]


def test_frames_of_a_clip_are_thinned_evenly(tmp_path):
    write_image(tmp_path / "a.png", grey(*range(0, 90, 10)))
    clip = Clip(tmp_path / "a.png", "a")
    source, shots = clip_case(clip, clip, 4).open(SIDE)
    assert source.max() == 0
    assert [int(shot.driver.mean()) for shot in shots] == [10, 30, 50, 70]


def test_pairs_are_read(folder, tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("source,driver\nbert#1.png,anna#1.png\n")
    clips = Settings(dataset=str(folder), protocol="animation", metrics=("akd",), pairs=path)
    assert [case.name for case in plan(clips)] == ["bert#1--anna#1"]
    toons = Settings(protocol="animation", pairs=path)
    path.write_text("source,driver\n3,7\n")
    assert [case.name for case in plan(toons)] == ["toon3--toon7"]
    for text in ("a,b\n1,2\n", "source,driver\n", "source,driver\n3,1000000\n", "source,driver\n3,3\n"):
        path.write_text(text)
        with pytest.raises(InputError):
            plan(toons)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"metrics": ("l2",)}, InputError),
        ({"metrics": ("leak",)}, InputError),
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


# scores


def test_the_score_of_copying_the_source_is_known(settings, folder):
    base = replace(settings, dataset=str(folder), frames=None, limit=None)
    by_people = evaluate(base)
    # |51 - 0|, |102 - 0| of anna, |51 - 51|, |204 - 51| and |0 - 0| of bert, in 255ths
    assert by_people.columns["copy"]["l1"].mean == pytest.approx((0.6 / 2 + 0.6 / 3) / 2, abs=1e-6)
    assert (by_people.people, len(by_people.videos), by_people.frames) == (2, 3, 5)
    by_frames = evaluate(replace(base, dataset="vox", data=folder))
    assert by_frames.columns["copy"]["l1"].mean == pytest.approx(1.2 / 5, abs=1e-6)
    assert "2 people" in sum_up(by_people)[-1]


class Blind:
    """A detector that finds one point at (10, 10), shifted by the mean of the frame; nothing in bright frames."""

    about: ClassVar = {"network": "blind", "file": "none", "sha256": "0" * 64}

    def __init__(self, device):
        pass

    def __call__(self, frames):
        level = frames.mean((1, 2, 3))
        return KeyPoints((10 + 10 * level).view(-1, 1, 1).expand(-1, 1, 2), (level < 0.7)[:, None])


class Level(Blind):
    """An embedding of the mean of the frame."""

    def __call__(self, frames):
        level = frames.mean((1, 2, 3))
        return torch.stack([level, 1 - level], 1)


def test_skipped_frames_are_counted(settings, folder, monkeypatch):
    monkeypatch.setitem(__import__("animask.detectors").detectors.POINTS, "faces", Blind)
    result = evaluate(replace(settings, dataset=str(folder), frames=None, metrics=("akd", "mkr")))
    found = result.columns["copy"]["akd"]
    assert (found.used, found.skipped) == (3, 1)  # the frame of level 204 has no point
    assert found.mean == pytest.approx(((2 + 4) / 2 + 0) / 2 * 256 / SIDE, rel=1e-5)  # pixels of the paper's frame
    assert result.columns["copy"]["mkr"] == (0.0, 3, 1)
    assert any("akd skipped" in line and "copy 1" in line for line in sum_up(result))
    assert result.networks == [Blind.about]


def test_without_true_frames_points_are_the_drivers_and_identities_the_sources(monkeypatch):
    detectors = __import__("animask.detectors").detectors
    monkeypatch.setitem(detectors.POINTS, "faces", Blind)
    monkeypatch.setitem(detectors.IDENTITIES, "faces", Level)
    scorer = Scorer(Settings(dataset="faces", protocol="animation", metrics=("akd", "csim", "leak")), "cpu")
    source, driver = torch.full((1, 3, 8, 8), 0.2), torch.full((2, 3, 8, 8), 0.4)
    seen = scorer.see(source)
    values = scorer.score(seen.repeat(2), *scorer.target(seen, driver, None))
    assert values["csim"] == pytest.approx([1.0, 1.0])
    assert values["akd"] == pytest.approx([2.0 * 256 / 8] * 2, rel=1e-4)
    assert values["leak"] == pytest.approx([0.0, 0.0], abs=1e-6)


def test_a_clip_that_drives_itself_has_a_truth(settings, folder, tmp_path):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("source,driver\nanna#1.png,anna#1.png\nbert#1.png,anna#1.png\n")
    result = evaluate(replace(settings, dataset=str(folder), protocol="animation", frames=None, pairs=pairs))
    found = result.columns["copy"]["l1"]
    assert (found.used, found.skipped) == (2, 3)  # nobody knows how bert looks in the three poses of anna
    assert found.mean == pytest.approx((0.2 + 0.4) / 2, abs=1e-6)


def test_every_metric_is_a_function_of_what_is_seen():
    frames = torch.linspace(0, 1, 3 * 64 * 64).view(1, 3, 64, 64)
    seen = Seen(frames, KeyPoints(torch.ones(1, 2, 2), torch.ones(1, 2, dtype=torch.bool)), torch.ones(1, 4))
    best = {name: float(metric.measure(seen, seen, seen)) for name, metric in METRICS.items()}
    zeros = dict.fromkeys(("l1", "lpips", "akd", "mkr", "aed", "leak"), 0)
    assert best == pytest.approx({**zeros, "psnr": math.inf, "ssim": 1, "csim": 1})


def test_the_protocol_says_how(settings, tiny_weights):
    protocol = evaluate(replace(settings, protocol="animation", limit=1, threshold=0.2)).protocol
    assert protocol["weights_sha256"] == sha256(tiny_weights)
    assert "0.2" in protocol["method"] and "0.75" in protocol["method"]
    assert protocol["computed"] == "cpu, fp32"


# totals


def records(full, without, metric="l1", people="abc"):
    """One frame a video of two columns."""
    rows = zip(people, full, without, strict=False)
    return [
        Record(who, who, 1, {"full": {metric: [a]}, "no_ref": {metric: [b]}, "copy": {metric: [1.0]}})
        for who, a, b in rows
    ]


def test_means_are_over_frames_or_over_people():
    rows = records([1.0, 2.0, 6.0], [0, 0, 0], people="aab") + records([math.nan], [0], people="c")
    assert score(rows, "full", "l1", False) == (3.0, 3, 1)
    assert score(rows, "full", "l1", True) == (3.75, 3, 1)
    assert math.isnan(score(rows[3:], "full", "l1", True).mean)


def test_shares_are_of_copying():
    columns = total(records([0.5, 0.25], [1.0, 2.0]), False)
    assert "l1" not in shares_of_copying(total(records([math.nan], [1.0]), False))["full"]
    assert shares_of_copying(columns) == {"full": {"l1": 0.375}, "no_ref": {"l1": 1.5}, "copy": {"l1": 1.0}}


def test_the_papers_figures_stand_beside_ours_where_the_data_are_the_papers(settings, folder):
    result = evaluate(replace(settings, dataset="vox", data=folder))
    rows = tabulate(result)
    assert rows[0] == ["", "l1 ↓"]
    assert rows[-2:] == [["paper (published)", "0.0340"], ["FSAL (published)", "–"]]
    assert published("taichi", "reconstruction")["FOMM"] == {"l1": 0.063, "akd": 6.862, "mkr": 0.036, "aed": 0.179}
    paper = {"l1": 0.034, "akd": 1.329, "aed": 0.130, "ssim": 0.80, "csim": 0.70}
    assert published("vox", "reconstruction")["paper"] == paper
    texts = [show(value) for value in (0.04567, 14.48, 1.0, -0.00001, math.nan, math.inf)]
    assert texts == ["0.0457", "14.48", "1.000", "0.0000", "–", "∞"]
    assert published("vox", "animation") == published("toons", "reconstruction") == {}


# the page


def test_the_page_holds_everything_and_fetches_nothing(settings, folder, tmp_path):
    write_image(tmp_path / "strip.png", grey(0, 90, 180))
    (tmp_path / "strip.png").rename(folder / "test" / "<b>&#1.png")
    page = Path(tmp_path / "out.html")
    evaluate(replace(settings, dataset=str(folder), limit=None, metrics=("l1", "psnr"), report=page))
    text = page.read_text(encoding="utf-8")
    assert "<b>&" not in text and "&lt;b&gt;&amp;#1" in text
    assert re.findall(r"(?:src|href)=\"(?!data:)", text) == [] and not re.search(r"https?://", text)
    assert text.count("data:image/png;base64,") == 3 * 3  # source, driver and ours, of three videos
