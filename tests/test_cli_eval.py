"""`animask eval`: flags to settings, stdout and stderr, exit codes."""

import json
from pathlib import Path

import pytest
from test_evaluation import grey

from animask.images import write_image
from animask.protocol import Settings

SMALL = ["--metrics", "l1", "--limit", "1", "--frames", "3"]


pytestmark = pytest.mark.usefixtures("surroundings")


def test_json_alone_is_on_stdout_and_the_table_with_its_protocol_on_stderr(run):
    code, out, err = run("eval", *SMALL, "--json")
    result = json.loads(out, parse_constant=pytest.fail)  # neither NaN nor Infinity
    assert code == 0
    assert set(result["columns"]) == {"raw m(d)", "copy"}
    assert result["columns"]["copy"]["l1"]["used"] == result["frames"] == 2
    assert result["shares"]["copy"]["l1"] == 1
    assert all(words in err for words in ("l1 ↓", "raw m(d)", "copy", "×1.00", "weights_sha256"))


def test_stdout_names_what_was_written(run, tmp_path):
    page, folder = tmp_path / "out.html", tmp_path / "list"
    assert run("eval", *SMALL, "--report", page)[:2] == (0, f"{page}\n")
    assert run("eval", *SMALL, "--list", folder)[:2] == (0, f"{folder / 'list.csv'}\n")
    assert run("eval", *SMALL, "--study", page)[:2] == (0, f"{page}\n")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_flags_become_settings(run, monkeypatch, tiny_weights, tmp_path):
    made = []
    monkeypatch.setattr("animask.cli.eval.measure", lambda settings, *rest: made.append(settings))
    run("eval")
    assert made.pop() == Settings(weights=str(tiny_weights), device="cpu")
    arguments = "--dataset vox --protocol animation --metrics csim akd --ablation no_id --threshold 0.2 --scale 1"
    run(f"eval {arguments} --data {tmp_path} --predictions a=b c=d")
    assert made.pop() == Settings(
        metrics=("csim", "akd"),
        dataset="vox",
        data=tmp_path,
        weights=str(tiny_weights),
        device="cpu",
        protocol="animation",
        ablations=("no_id",),
        threshold=0.2,
        scale=1.0,
        predictions=(("a", Path("b")), ("c", Path("d"))),
    )


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("--ablation no_id", 2, "--protocol animation"),
        ("--report out.pdf", 2, ".html"),
        ("--predictions FOMM", 2, "NAME=FOLDER"),
        ("--answers nowhere.json", 2, "nowhere.json"),
        ("--weights absent.safetensors", 3, "absent.safetensors"),
    ],
)
def test_known_mistakes_are_one_sentence(run, arguments, code, words):
    found, out, err = run(f"eval {arguments}")
    assert (found, out) == (code, "")
    assert words in err and "Traceback" not in err


def test_a_video_that_was_left_out_shows_in_the_exit_code(run, tmp_path):
    (tmp_path / "test").mkdir()
    write_image(tmp_path / "test" / "a#1.png", grey(0, 51))
    (tmp_path / "test" / "b#1.png").write_bytes(b"nothing")
    code, out, err = run("eval", "--dataset", tmp_path, "--metrics", "l1", "--json")
    assert code == 1
    assert list(json.loads(out)["failed"]) == ["b#1"]
    assert "left out: b#1" in err


def test_answers_stand_beside_the_papers(run, tmp_path):
    path = tmp_path / "answers.json"
    answers = [{"video": "x", "realistic": "full", "faithful": "FOMM"}]
    path.write_text(json.dumps({"columns": ["full", "FOMM"], "answers": answers}))
    code, out, err = run("eval", "--answers", path, "--dataset", "vox", "--json")
    assert code == 0
    assert json.loads(out)["realistic"]["full"]["chosen"] == 1
    assert "paper (published)" in err and "0.76" in err
