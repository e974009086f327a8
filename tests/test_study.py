"""Other methods beside ours: lists, predictions matched by name, the study and its answers."""

import csv
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from training_cases import SIDE

from animask.errors import InputError
from animask.evaluation import evaluate
from animask.images import read_image, write_image
from animask.protocol import Settings, list_cases, plan
from animask.study import count_answers, interval, write_study
from animask.video import probe


@pytest.fixture
def settings(tiny_weights):
    """Two toons, each driven by another one in two frames."""
    small = {"limit": 2, "frames": 2, "device": "cpu", "batch": 1}
    return Settings(metrics=("l1",), weights=str(tiny_weights), protocol="animation", **small)


@pytest.fixture
def truth(settings, tmp_path):
    """Predictions that are right, as folders of pictures."""
    folder = tmp_path / "truth"
    for case in plan(settings):
        (folder / case.name).mkdir(parents=True)
        for number, shot in enumerate(case.shots(SIDE)):
            write_image(folder / case.name / f"{number}.png", shot.truth)
    return folder


def test_a_list_holds_what_another_program_needs(settings, tmp_path):
    path = list_cases(settings, tmp_path / "list")
    rows = list(csv.DictReader(path.open()))
    assert [row["output"] for row in rows] == [f"{case.name}.mp4" for case in plan(settings)]
    np.testing.assert_array_equal(read_image(rows[0]["source"]), plan(settings)[0].source(SIDE))
    driver = probe(rows[0]["driver"])
    assert (driver.width, driver.frames) == (SIDE, 2)


def test_a_prediction_is_a_further_column(settings, truth):
    result = evaluate(replace(settings, predictions=(("ideal", truth),)))
    assert list(result.columns) == ["full", "ideal", "copy"]
    assert result.columns["full"]["l1"].mean > result.columns["ideal"]["l1"].mean == 0
    assert "ideal" in result.protocol


def test_a_prediction_that_is_missing_is_named(settings, truth):
    name = plan(settings)[1].name
    shutil.rmtree(truth / name)
    with pytest.raises(InputError, match=name):
        evaluate(replace(settings, predictions=(("ideal", truth),)))


@pytest.mark.parametrize("damage", ["short", "long", "size"])
def test_a_prediction_that_does_not_fit_leaves_its_video_out_of_every_column(settings, truth, damage):
    name = plan(settings)[0].name
    if damage == "short":
        (truth / name / "1.png").unlink()
    elif damage == "long":
        shutil.copy(truth / name / "1.png", truth / name / "2.png")
    else:
        write_image(truth / name / "1.png", np.zeros((SIDE, SIDE + 2, 3), np.uint8))
    result = evaluate(replace(settings, predictions=(("ideal", truth),)))
    assert list(result.failed) == [name]
    assert {scores["l1"].used for scores in result.columns.values()} == {2}


def test_a_study_shows_every_column_and_names_none(settings, truth, tmp_path):
    settings = replace(settings, ablations=("no_ref",), predictions=(("ideal", truth),))
    text = write_study(settings, tmp_path / "study.html").read_text(encoding="utf-8")
    study = json.loads(re.search(r"const study = (\{.*?\}), answers", text)[1])
    assert study["columns"] == ["full", "no_ref", "ideal"]
    assert [len(trial["made"]) for trial in study["trials"]] == [3, 3]
    assert all(film.startswith("data:video/mp4;base64,") for film in study["trials"][0]["made"])
    assert not re.search("ideal|no_ref|full", text.split("const study")[0])
    assert not re.search(r"https?://", text)


def test_answers_are_counted_with_intervals(tmp_path):
    paths = [tmp_path / f"{n}.json" for n in range(2)]
    for path, choice in zip(paths, ("a", "b"), strict=True):
        answers = [{"video": "x", "realistic": choice, "faithful": "a"}]
        path.write_text(json.dumps({"columns": ["a", "b"], "answers": answers}))
    votes = count_answers(paths)
    assert votes["realistic"]["a"] == interval(1, 2) and votes["faithful"]["b"] == interval(0, 2)
    for content, words in ((json.dumps({"columns": ["a", "c"], "answers": []}), "another study"), ("[]", "no answers")):
        paths[1].write_text(content)
        with pytest.raises(InputError, match=words):
            count_answers(paths)


def test_the_interval_is_wilsons():
    found, none = interval(8, 10), interval(0, 20)
    assert (found.chosen, found.answers, found.share) == (8, 10, 0.8)
    assert (found.low, found.high, none.low, none.high) == pytest.approx((0.4902, 0.9433, 0.0, 0.1611), abs=1e-4)
