"""Evaluations with answers known by hand: protocols, ablations, totals, resuming, several processes, the page."""

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed

from animask.animation import encode_source
from animask.config import MODEL_PRESETS
from animask.datasets import Clip
from animask.errors import AnimaskError, InputError, MissingError
from animask.evaluation import Settings, evaluate, to_json
from animask.evaluation.protocols import FIRST_DRIVER, TOON_FRAMES, TOON_RATE, TOON_VIDEOS, ClipCase, ToonCase, plan
from animask.evaluation.published import explain, published
from animask.evaluation.report import choose, order, take
from animask.evaluation.results import (
    Comparison,
    Journal,
    Record,
    average,
    compare,
    judge,
    plain,
    read_records,
    show,
    sum_up,
    tabulate,
)
from animask.evaluation.scoring import METRICS, Scorer, Seen
from animask.evaluation.variants import drive, make_variants
from animask.images import to_tensor, write_image
from animask.metrics import KeyPoints
from animask.networks import MaskGenerator
from animask.toons import pose_at, render, sample_identity
from animask.weights import sha256

SIDE = MODEL_PRESETS["tiny"].resolution
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def settings(tiny_weights):
    """Two toons of three frames, in float32."""
    return Settings(metrics=("l1",), weights=str(tiny_weights), limit=2, frames=3, device="cpu", precision="fp32")


def grey(*levels):
    """A strip of frames of one grey level each, as a data set has it."""
    return np.hstack([np.full((SIDE, SIDE, 3), level, np.uint8) for level in levels])


@pytest.fixture
def folder(tmp_path):
    """Two clips of two people: 0, 51, 102 and 51, 51, 204."""
    root = tmp_path / "people" / "test"
    root.mkdir(parents=True)
    write_image(root / "anna#1.png", grey(0, 51, 102))
    write_image(root / "bert#1.png", grey(51, 51, 204))
    return root.parent


def mean(result, variant, metric="l1"):
    return result.variants[variant][metric].mean


# ablations


def test_ablations_leave_steps_out(tiny_model):
    s, d = (to_tensor(render(sample_identity(n), pose_at(n, 0.0), SIDE), "cpu") for n in (1, 2))
    with torch.inference_mode():
        m_s = tiny_model.m(s)
        full, no_pert, no_ref, no_id = (
            tiny_model.drive(s, m_s, d, name) for name in ("none", "no_pert", "no_ref", "no_id")
        )
        raw = tiny_model.render(s, m_s, tiny_model.m(d))
        refined = tiny_model.refine(s, m_s, tiny_model.m(d))
    assert full.m_dp.equal(no_ref.m_dp)
    assert no_ref.m_dr.equal(no_ref.m_dp)
    assert no_pert.m_dp.equal(no_pert.m_d)
    assert no_pert.m_dr.equal(refined)
    assert no_id.m_dr.equal(no_id.m_d)
    assert [x.equal(y) for x, y in zip(raw, (no_id.c, no_id.f), strict=True)] == [True, True]
    assert not full.m_dr.equal(no_pert.m_dr)


def test_variants_are_settings_then_ablations():
    names = [variant.name for variant in make_variants(Settings(protocol="animation", ablations=("no_ref", "no_id")))]
    assert names == ["full", "no_ref", "no_id"]
    variants = make_variants(Settings(protocol="animation", thresholds=("median", 0.2), scales=(0.75, 1.0)))
    assert [(variant.threshold, variant.scale) for variant in variants] == [
        ("median", 0.75),
        ("median", 1.0),
        (0.2, 0.75),
        (0.2, 1.0),
    ]
    assert len({variant.name for variant in variants}) == 4
    assert make_variants(Settings())[0].ablation == "no_id"


def test_a_variant_sets_p_test_and_leaves_the_model_as_it_was(tiny_model):
    picture = render(sample_identity(1), pose_at(1, 0.0), SIDE)
    source, before = encode_source(tiny_model, picture), tiny_model.config
    with torch.inference_mode():
        m_d = tiny_model.m(to_tensor(picture, "cpu"))
    variant = make_variants(Settings(protocol="animation", thresholds=(1.0,), scales=(1.0,)))[0]
    assert drive(tiny_model, variant, source, m_d).m_dp.eq(0).all()  # no pixel reaches 1
    low = variant._replace(threshold=0.0)
    assert drive(tiny_model, low, source, m_d).m_dp.sub(m_d).abs().max() < 1e-6
    assert tiny_model.config is before


# protocols


def test_toons_are_held_out_and_as_many_as_documented():
    cases = plan(Settings())
    assert (len(cases), {case.frames for case in cases}) == (TOON_VIDEOS, {TOON_FRAMES})
    assert all(case.source == case.driver < 1_000_000 for case in cases)
    animated = plan(Settings(protocol="animation", limit=3))
    assert [(case.source, case.driver) for case in animated] == [(n, n + FIRST_DRIVER) for n in range(3)]


def test_a_reconstruction_starts_after_its_source():
    source, shots = ToonCase(4, 4, 3).open(32)
    shots = list(shots)
    np.testing.assert_array_equal(source, render(sample_identity(4), pose_at(4, 0.0), 32))
    assert len(shots) == 2
    np.testing.assert_array_equal(shots[0].truth, render(sample_identity(4), pose_at(4, 1 / TOON_RATE), 32))
    assert shots[0].truth is shots[0].driver


def test_the_truth_of_an_animation_is_the_source_in_the_pose_of_the_driver():
    source, shots = ToonCase(4, 1004, 2).open(32)
    first = next(shots)
    np.testing.assert_array_equal(source, render(sample_identity(4), pose_at(4, 0.0), 32))
    np.testing.assert_array_equal(first.driver, render(sample_identity(1004), pose_at(1004, 0.0), 32))
    np.testing.assert_array_equal(first.truth, render(sample_identity(4), pose_at(1004, 0.0), 32))
    assert len(list(shots)) == 1


def test_clips_are_driven_by_themselves_or_by_another_person(folder):
    base = Settings(dataset=str(folder))
    assert [case.name for case in plan(base)] == ["anna#1.png", "bert#1.png"]
    animated = plan(replace(base, protocol="animation", metrics=("akd",)))
    assert [case.name for case in animated] == ["anna#1.png by bert#1.png", "bert#1.png by anna#1.png"]
    _, shots = animated[0].open(SIDE)
    assert [(int(shot.driver.mean()), shot.truth) for shot in shots] == [(51, None), (51, None), (204, None)]


def test_frames_of_a_clip_are_thinned_evenly(tmp_path):
    write_image(tmp_path / "a.png", grey(*range(0, 90, 10)))
    clip = Clip(tmp_path / "a.png", "a")
    source, shots = ClipCase(clip, clip, 4).open(SIDE)
    assert source.max() == 0
    assert [int(shot.driver.mean()) for shot in shots] == [10, 30, 50, 70]


def test_pairs_are_read(folder, tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("source,driver\nbert#1.png,anna#1.png\n")
    clips = Settings(dataset=str(folder), protocol="animation", metrics=("akd",), pairs=path)
    assert [case.name for case in plan(clips)] == ["bert#1.png by anna#1.png"]
    path.write_text("source,driver\n3,7\n")
    assert plan(Settings(protocol="animation", pairs=path, frames=5)) == [ToonCase(3, 7, 5)]


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", "source,driver\n3\n", "source,driver\n3,1000000\n", "source,driver\n3,x\n", "\x00"]
)
def test_pairs_that_are_none_are_refused(tmp_path, text):
    path = tmp_path / "pairs.csv"
    path.write_text(text)
    with pytest.raises(InputError):
        plan(Settings(protocol="animation", pairs=path))


def test_a_pair_that_names_no_clip_is_refused_with_the_nearest(folder, tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("source,driver\nanna#2.png,bert#1.png\n")
    with pytest.raises(InputError, match=r"anna#2\.png") as caught:
        plan(Settings(dataset=str(folder), protocol="animation", metrics=("akd",), pairs=path))
    assert "anna#1.png" in caught.value.hint


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"metrics": ("l2",)}, InputError, "l2"),
        ({"metrics": ()}, InputError, "no metric"),
        ({"metrics": ("leak",)}, InputError, "leak"),
        ({"dataset": "vox", "protocol": "animation"}, InputError, "true frames"),
        ({"dataset": "bair", "metrics": ("akd",)}, MissingError, "bair"),
        ({"dataset": "nowhere"}, InputError, "nowhere"),
        ({"weights": "nothing.safetensors"}, MissingError, "nothing"),
    ],
)
def test_what_cannot_be_measured_is_refused(settings, changes, error, words):
    with pytest.raises(error, match=words):
        evaluate(replace(settings, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"protocol": "re"},
        {"protocol": "animation", "ablations": ("no",)},
        {"detectors": "cats"},
        {"ablations": ("no_id",)},
        {"thresholds": (0.1,)},
        {"scales": (1.0,)},
        {"pairs": Path("pairs.csv")},
    ],
)
def test_settings_that_do_not_fit_are_refused(changes):
    with pytest.raises(InputError):
        Settings(**changes)


# scores


def test_the_score_of_copying_the_source_is_known(settings, folder):
    result = evaluate(replace(settings, dataset=str(folder), frames=None))
    # |51 - 0|, |102 - 0|, |51 - 51|, |204 - 51|, in 255ths
    assert mean(result, "copy") == pytest.approx((0.2 + 0.4 + 0.0 + 0.6) / 4, abs=1e-6)
    assert result.frames == 4
    assert [video["frames"] for video in result.videos] == [2, 2]


def test_a_reconstruction_is_the_method_without_p_test_and_r(settings, tiny_model):
    result = evaluate(replace(settings, limit=1, metrics=("l1", "ssim")))
    frames = [render(sample_identity(0), pose_at(0, n / TOON_RATE), SIDE) for n in range(3)]
    s, d = to_tensor(frames[0], "cpu"), to_tensor(frames[1:], "cpu")
    with torch.inference_mode():
        _, f = tiny_model.render(s, tiny_model.m(s), tiny_model.m(d))
    assert mean(result, "raw m(d)") == pytest.approx(float((f - d).abs().mean()), rel=2e-3)  # weights are fp16
    assert mean(result, "copy") == pytest.approx(float((s - d).abs().mean()), abs=1e-6)
    assert result.variants["copy"]["l1"].used == 2


def test_the_batch_does_not_change_the_score(settings):
    one, three = (evaluate(replace(settings, batch=size, protocol="animation")) for size in (1, 3))
    assert mean(one, "full") == pytest.approx(mean(three, "full"), abs=1e-5)


class Blind:
    """A detector that finds one point at (10, 10), shifted by the mean of the frame; nothing in bright frames."""

    def __init__(self, device):
        self.about = {"network": "blind", "file": "none", "sha256": "0" * 64}

    def __call__(self, frames):
        level = frames.mean((1, 2, 3))
        return KeyPoints((10 + 10 * level).view(-1, 1, 1).expand(-1, 1, 2), (level < 0.7)[:, None])


def test_the_mask_of_a_driver_frame_is_made_once_for_all_variants(settings, monkeypatch):
    forward, sizes = MaskGenerator.forward, []
    monkeypatch.setattr(MaskGenerator, "forward", lambda self, x: sizes.append(len(x)) or forward(self, x))
    evaluate(replace(settings, protocol="animation", ablations=("no_pert", "no_ref", "no_id"), limit=1))
    assert sizes == [1, 3]  # the source, then its driver frames


def test_skipped_frames_are_counted(settings, folder, monkeypatch):
    monkeypatch.setattr("animask.evaluation.scoring.open_points", lambda kind, device: Blind(device))
    result = evaluate(replace(settings, dataset=str(folder), frames=None, metrics=("akd", "mkr")))
    score = result.variants["copy"]["akd"]
    assert (score.used, score.skipped) == (3, 1)  # the frame of level 204 has no point
    assert score.mean == pytest.approx((2 + 4 + 0) / 3 * 256 / SIDE, rel=1e-5)  # pixels of the paper's frame
    assert result.variants["copy"]["mkr"] == (0.0, 3, 1)
    assert score.text().endswith(" (1)")
    assert "in brackets" in result.note
    assert result.protocol["networks"] == [{"network": "blind", "file": "none", "sha256": "0" * 64}]


def test_without_true_frames_points_are_the_drivers_and_identities_the_sources(settings, monkeypatch):
    class Level:
        def __init__(self, device):
            self.about = {}

        def __call__(self, frames):
            level = frames.mean((1, 2, 3))
            return torch.stack([level, 1 - level], 1)

    monkeypatch.setattr("animask.evaluation.scoring.open_points", lambda kind, device: Blind(device))
    monkeypatch.setattr("animask.evaluation.scoring.open_identity", lambda kind, device: Level(device))
    scorer = Scorer(Settings(dataset="faces", protocol="animation", metrics=("akd", "csim", "leak")), "cpu")
    source, driver = torch.full((1, 3, 8, 8), 0.2), torch.full((2, 3, 8, 8), 0.4)
    seen = scorer.see(source)
    truth, shown = scorer.target(seen, driver, None)
    values = scorer.score(seen.repeat(2), truth, shown)
    assert values["csim"] == pytest.approx([1.0, 1.0])
    assert values["akd"] == pytest.approx([2.0 * 256 / 8] * 2, rel=1e-4)
    assert values["leak"] == pytest.approx([0.0, 0.0], abs=1e-6)


def test_a_clip_that_drives_itself_has_a_truth(settings, folder, tmp_path):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("source,driver\nanna#1.png,anna#1.png\nbert#1.png,anna#1.png\n")
    settings = replace(settings, dataset=str(folder), protocol="animation", frames=None, limit=None, pairs=pairs)
    result = evaluate(replace(settings, ablations=("no_pert", "no_ref")))
    assert len(result.comparisons) == 2
    assert result.claim == ""  # it is about two identities
    score = result.variants["copy"]["l1"]
    assert (score.used, score.skipped) == (2, 3)  # nobody knows how bert looks in the three poses of anna
    assert score.mean == pytest.approx((0.2 + 0.4) / 2, abs=1e-6)
    with pytest.raises(InputError, match="true frames") as caught:
        evaluate(replace(settings, pairs=None))
    assert "--pairs" in caught.value.hint


def test_every_metric_is_a_function_of_what_is_seen():
    frames = torch.linspace(0, 1, 3 * 16 * 16).view(1, 3, 16, 16)
    seen = Seen(frames, KeyPoints(torch.ones(1, 2, 2), torch.ones(1, 2, dtype=torch.bool)), torch.ones(1, 4))
    best = {name: float(metric.measure(seen, seen, seen)) for name, metric in METRICS.items()}
    assert best == pytest.approx(
        {"l1": 0, "psnr": math.inf, "ssim": 1, "akd": 0, "mkr": 0, "aed": 0, "csim": 1, "leak": 0}
    )


def test_the_bundled_detectors_measure_an_animation(settings):
    metrics = ("l1", "akd", "mkr", "aed", "csim", "leak")
    result = evaluate(replace(settings, metrics=metrics, protocol="animation", limit=1))
    copied = result.variants["copy"]
    assert copied["akd"].mean > 1
    assert copied["csim"].mean > 0.5  # the source itself, in another pose
    assert abs(copied["leak"].mean) < 0.5
    assert [len(network["sha256"]) for network in result.protocol["networks"]] == [64, 64]


def test_the_protocol_says_how(settings, tiny_weights):
    protocol = evaluate(replace(settings, protocol="animation", ablations=("no_ref",), limit=1)).protocol
    assert protocol["weights_sha256"] == sha256(tiny_weights)
    assert protocol["computed"] == "cpu, fp32"
    assert protocol["p_test"] == {
        "full": "ρ = the median of each driver mask, scale 0.75; r",
        "no_ref": "ρ = the median of each driver mask, scale 0.75; no r",
    }
    assert "lower is better" in protocol["metrics"]["l1"]
    assert "frame 0" in protocol["source"]


def test_the_paper_stands_beside_ours_where_the_data_are_the_papers(settings, folder):
    result = evaluate(replace(settings, dataset="vox", data=folder))
    assert result.published["paper"]["l1"] == 0.034
    assert result.published["FOMM"]["l1"] == 0.043
    assert result.protocol["published"].startswith("tables 1 and 2 of the paper, akd by face-alignment")
    heads, ours, theirs = tabulate(result)
    assert (heads, list(ours), theirs) == (["l1 ↓"], ["raw m(d)", "copy"], {"paper": ["0.0340"], "FOMM": ["0.0430"]})


@pytest.mark.parametrize(
    ("dataset", "paper", "fomm"),
    [
        ("taichi", (0.047, 4.239, 0.015, 0.147), (0.063, 6.862, 0.036, 0.179)),
        ("vox", (0.034, 1.329, None, 0.130), (0.043, 1.294, None, 0.140)),
        ("bair", (0.021, None, None, None), (0.027, None, None, None)),
    ],
)
def test_published_figures_are_those_of_table_1(dataset, paper, fomm):
    found = published(dataset, "reconstruction")
    for name, figures in (("paper", paper), ("FOMM", fomm)):
        assert tuple(found[name].get(metric) for metric in ("l1", "akd", "mkr", "aed")) == figures
    assert published(dataset, "animation") == {}  # the paper measures reconstruction only


def test_data_that_are_not_the_papers_have_no_published_figures():
    assert published("toons", "reconstruction") == published("some/folder", "reconstruction") == {}
    assert explain("toons", "reconstruction") == ""


def test_a_clip_that_cannot_be_read_is_left_out_and_named(settings, folder):
    (folder / "test" / "carl#1.png").write_bytes(b"no picture")
    result = evaluate(replace(settings, dataset=str(folder), limit=None))
    assert list(result.failed) == ["carl#1.png"]
    assert len(result.videos) == 2
    for path in (folder / "test").glob("[ab]*"):
        path.unlink()
    with pytest.raises(AnimaskError, match="no video could be evaluated"):
        evaluate(replace(settings, dataset=str(folder)))


def test_output_that_is_not_finite_stops(settings, monkeypatch):
    monkeypatch.setattr("animask.model.Animator.final", lambda self, s, m_s, m_x, c: c * torch.nan)
    with pytest.raises(AnimaskError, match="not finite"):
        evaluate(settings)


# totals


def test_totals_count_every_frame_once():
    assert average([1.0, math.nan, 4.0, 4.0]) == (3.0, 3, 1)
    assert math.isnan(average([math.nan]).mean)
    assert average([math.inf, 1.0]).mean == math.inf


def test_numbers_that_are_not_finite_are_null():
    assert plain({"a": [math.nan, 1.5], "b": average([math.inf])}) == {
        "a": [None, 1.5],
        "b": {"mean": None, "used": 1, "skipped": 0},
    }


def records_of(full, without, metric="l1"):
    return [
        Record(f"v{n}", 1, {"full": {metric: [a]}, "no_ref": {metric: [b]}, "no_pert": {metric: [b]}})
        for n, (a, b) in enumerate(zip(full, without, strict=True))
    ]


def test_the_full_method_is_compared_video_by_video():
    records = records_of([0.1, 0.2, math.nan], [0.4, 0.1, 0.0])
    found = compare(records, "full", ["no_ref"], {"l1": False})[0]
    assert (found.better_in, found.videos) == (1, 2)
    assert (found.full, found.without) == (pytest.approx(0.15), pytest.approx(0.25))  # where neither was skipped
    assert found.holds
    assert sum_up([found]) == ["full is better than no_ref by l1 (1 of 2 videos)"]


def test_the_claim_of_the_paper_is_judged_either_way():
    better = compare(records_of([0.1], [0.2]), "full", ["no_ref", "no_pert"], {"l1": False})
    worse = compare(records_of([0.1], [0.2], "csim"), "full", ["no_ref", "no_pert"], {"csim": True})
    assert judge(better + worse).endswith("holds by l1; does not hold by csim")
    assert judge(better[:1]) == ""
    assert sum_up(worse)[0] == "full is better than no_ref by no metric; not by csim (0 of 1 videos)"
    assert not Comparison(
        "full", "no_ref", "l1", 0.1, 0.1, 0, 1, False
    ).holds  # a draw does not show that a step is needed


def test_a_metric_that_compared_nothing_says_nothing():
    records = records_of([math.nan], [3.0], "akd")
    assert compare(records, "full", ["no_ref", "no_pert"], {"akd": False}) == []
    halves = [Record("v", 1, {name: {"akd": [x]} for name, x in (("full", 1), ("no_ref", 2), ("no_pert", math.nan))})]
    found = compare(halves, "full", ["no_ref", "no_pert"], {"akd": False})
    assert [item.variant for item in found] == ["no_ref"]
    assert judge(found) == ""  # one step was not judged, so nor was the claim


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04567, "0.0457"), (14.48, "14.48"), (1.0, "1.000"), (-0.00001, "0.0000"), (math.nan, "–"), (math.inf, "∞")],
)
def test_figures_have_four_digits(value, text):
    assert show(value) == text


# the journal


def test_a_journal_keeps_what_is_not_finite_apart(tmp_path):
    journal = Journal(tmp_path / "out.jsonl", {"weights": "x"})
    record = Record("a", 3, {"full": {"psnr": [math.inf, 3.0, math.nan], "akd": [math.nan, 1.0, 2.0]}})
    journal.add(record, 0)
    assert not re.search("NaN|Infinity", journal.path.read_text())  # no JSON
    back = read_records(journal.path, {"weights": "x"})[0].values["full"]
    assert back["psnr"][:2] == [math.inf, 3.0]
    assert math.isnan(back["psnr"][2])
    assert math.isnan(back["akd"][0])


def test_a_line_that_was_cut_off_is_made_again(tmp_path):
    path = tmp_path / "out.jsonl"
    journal = Journal(path, {"weights": "x"})
    for name in "ab":
        journal.add(Record(name, 1, {"full": {"l1": [0.5]}}), 0)
    path.write_text(path.read_text()[:-20])
    again = Journal(path, {"weights": "x"})
    assert list(again.done) == ["a"]
    again.write(again.done.values())
    again.add(Record("b", 1, {"full": {"l1": [0.5]}}), 0)
    assert list(Journal(path, {"weights": "x"}).done) == ["a", "b"]


@pytest.mark.parametrize("text", ['{"protocol": {"weights": "y"}}\n', "hello\n", "", "[]\n"])
def test_a_file_that_is_something_else_is_left_alone(tmp_path, text):
    path = tmp_path / "out.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=r"out\.jsonl"):
        Journal(path, {"weights": "x"})
    assert path.read_text() == text


def test_an_evaluation_goes_on_where_it_stopped(settings, tmp_path):
    path, counted = tmp_path / "out.jsonl", []
    whole = evaluate(replace(settings, limit=3))
    evaluate(replace(settings, jsonl=path))
    resumed = evaluate(replace(settings, jsonl=path, limit=3), lambda done, total: counted.append((done, total)))
    assert counted == [(1, 1)]
    assert resumed.variants == whole.variants
    assert len(path.read_text().splitlines()) == 4
    again = evaluate(replace(settings, jsonl=path, limit=3))
    assert again.variants == whole.variants
    assert math.isnan(again.seconds_per_1000_frames)  # nothing was computed
    with pytest.raises(InputError, match="these settings"):
        evaluate(replace(settings, jsonl=path, metrics=("ssim",)))


# several processes

RANK = """
import json, sys, torch
from datetime import timedelta
from pathlib import Path
from torch import distributed
from animask.evaluation import Settings, evaluate, to_json
torch.set_num_threads(1)
distributed.init_process_group("gloo", sys.argv[3], timedelta(seconds=90), 2, 1)
settings = Settings(metrics=("l1", "ssim"), weights=sys.argv[1], limit=3, frames=2, device="cpu", precision="fp32",
                    jsonl=Path(sys.argv[2]))
result = evaluate(settings)
distributed.destroy_process_group()
print(json.dumps(to_json(result)["variants"]))
"""


def test_two_processes_have_the_totals_of_one(settings, tiny_weights, tmp_path):
    settings, path, place = (
        replace(settings, metrics=("l1", "ssim"), limit=3, frames=2),
        tmp_path / "out.jsonl",
        tmp_path / "meet",
    )
    command = [sys.executable, "-c", RANK, str(tiny_weights), str(path), place.as_uri()]
    other = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    alone = to_json(evaluate(settings))["variants"]
    distributed.init_process_group("gloo", place.as_uri(), timedelta(seconds=90), 2, 0)
    try:
        first = to_json(evaluate(replace(settings, jsonl=path)))["variants"]
    finally:
        distributed.destroy_process_group()
    second = json.loads(other.communicate(timeout=90)[0])
    assert other.returncode == 0
    assert (first, second) == (alone, alone)
    place.unlink(missing_ok=True)
    assert [file.name for file in tmp_path.iterdir()] == ["out.jsonl"]  # the files of the ranks are one
    assert to_json(evaluate(replace(settings, jsonl=path)))["variants"] == alone


# the page


def test_the_page_holds_everything_and_fetches_nothing(settings, folder, tmp_path):
    name = "<b>&'eve#1.png"
    write_image(tmp_path / "strip.png", grey(0, 90, 180))
    (tmp_path / "strip.png").rename(folder / "test" / name)
    page = tmp_path / "pages" / "out.html"
    result = evaluate(replace(settings, dataset=str(folder), limit=None, metrics=("l1", "psnr"), report=page))
    text = page.read_text(encoding="utf-8")
    assert "<b>" not in text
    assert "&lt;b&gt;&amp;&#x27;eve#1.png" in text
    assert re.findall(r"(?:src|href)=\"(?!data:)", text) == []
    assert not re.search(r"https?://", text)
    assert text.count("<svg") == 2
    pictures = 1 + 1 + 1 + 1 + 2  # source, driver, ours, coarse, two masks
    assert text.count("data:image/png;base64,") == 3 * (2 + pictures)  # strips of driver and ours
    for rank in ("best", "median", "worst"):
        assert f"<h3>{rank}: " in text
    assert result.protocol["weights_sha256"] in text
    assert [file.name for file in page.parent.iterdir()] == ["out.html"]


def test_the_page_of_an_animation_shows_truth_and_variants(settings, tmp_path):
    page = tmp_path / "out.html"
    ablations = ("no_pert", "no_ref", "no_id")
    evaluate(replace(settings, protocol="animation", ablations=ablations, limit=1, frames=2, report=page))
    captions = re.findall(r"<figcaption>([^<]+)</figcaption>", page.read_text(encoding="utf-8"))
    frames = ["source", "driver", "truth", "full", *ablations, "coarse", "m(s)", "m(d)"]
    frames += ["full: perturbed", "full: refined"]
    strips = ["driver", "truth", "full", *ablations]
    assert captions[1:] == strips + frames


def test_a_strip_shows_the_whole_video(settings, tiny_model):
    case, variants = ToonCase(0, FIRST_DRIVER, 20), make_variants(replace(settings, protocol="animation"))
    example = take(tiny_model, variants, case, "best", 0.1, 20)
    drivers = [shot.driver for shot in case.open(SIDE)[1]]
    expected = [drivers[n] for n in (0, 3, 6, 10, 13, 16, 19)]
    np.testing.assert_array_equal(example.strips["driver"], np.hstack(expected))
    np.testing.assert_array_equal(example.frames["driver"], drivers[10])
    assert example.strips["full"].shape == example.strips["truth"].shape == (SIDE, 7 * SIDE, 3)
    assert example.note.startswith("m(d): mean ")


def test_videos_are_ranked_by_the_first_metric(settings):
    result = evaluate(replace(settings, metrics=("ssim", "l1"), limit=4, frames=2))
    means = [video["variants"]["raw m(d)"]["ssim"].mean for video in order(result, "ssim")]
    assert means == sorted(means, reverse=True)
    assert [rank for rank, *_ in choose(result)] == ["best", "median", "worst"]
    assert choose(result)[0][2] == means[0]
    assert choose(result)[-1][2] == means[-1]
