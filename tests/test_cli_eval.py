"""`animask eval`: flags to settings, stdout and stderr, exit codes."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from rich.console import Console

from animask import cli
from animask.cli.eval import draw, evaluate, fold
from animask.evaluation import Result, Score, Settings
from animask.images import write_image

ROOT = Path(__file__).resolve().parent.parent
SMALL = ["--limit", "1", "--frames", "3", "--device", "cpu", "--precision", "fp32"]


@pytest.fixture
def run(monkeypatch, capsys, tiny_weights):
    """A function of arguments to exit code, stdout and stderr of `animask eval` with the tiny weights."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command("eval")(evaluate)
    app.callback()(lambda: None)
    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setenv("ANIMASK_WEIGHTS", str(tiny_weights))
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        with pytest.raises(SystemExit) as caught:
            cli.main(["eval", *arguments])
        captured = capsys.readouterr()
        return int(caught.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def settings_of(run, monkeypatch):
    """A function of arguments to the settings that they make."""

    def call(*arguments):
        made = []
        monkeypatch.setattr("animask.cli.eval.measure", lambda settings, quiet, as_json: made.append(settings))
        code, _, err = run(*arguments)
        assert code == 0, err
        return made[0]

    return call


def test_json_alone_is_on_stdout(run):
    code, out, err = run("--metrics", "l1", "psnr", *SMALL, "--json")
    result = json.loads(out, parse_constant=pytest.fail)  # neither NaN nor Infinity
    assert code == 0
    assert set(result["variants"]) == {"raw m(d)", "copy"}
    assert set(result["variants"]["copy"]) == {"l1", "psnr"}
    assert result["variants"]["copy"]["l1"]["used"] == result["frames"] == 2
    assert 0 < result["variants"]["copy"]["l1"]["mean"] < 0.5
    assert "raw m(d)" in err


def test_the_table_and_the_protocol_are_on_stderr(run):
    code, out, err = run("--metrics", "l1", *SMALL, "--protocol", "animation", "--ablation", "no_pert", "no_ref")
    assert (code, out) == (0, "")
    for words in (
        "l1 ↓",
        "full",
        "no_pert",
        "copy",
        "protocol: animation",
        "weights_sha256",
        "The paper's claim",
        "0 to 1",
    ):
        assert words in err


def make_result(published):
    """A result with many variants and all metrics, some frames of which were skipped."""
    metrics = ("l1", "psnr", "ssim", "akd", "mkr", "aed", "csim", "leak", "lpips")
    names = [f"full ρ {rho} ×{scale}" for rho in ("median", 0.1, 0.25) for scale in (0.75, 1.0)]
    names += ["no_pert", "no_ref", "no_id", "copy"]
    scores = {metric: Score(10.0 + n, 300, 20 * (metric == "akd")) for n, metric in enumerate(metrics)}
    protocol = {"metrics": dict.fromkeys(metrics, "lower is better")}
    return Result(protocol, dict.fromkeys(names, scores), published, [], "", [], {}, 320, 1.0, 1.0)


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_the_table_fits_whatever_the_width(width):
    result = make_result({"paper": {"l1": 0.034}, "FOMM": {"l1": 0.043, "akd": 1.294}})
    output = io.StringIO()
    tables = list(draw(result, width))
    Console(file=output, width=width).print(*tables, sep="\n")
    lines = output.getvalue().splitlines()
    assert "…" not in output.getvalue()
    assert max(map(len, lines)) <= width
    assert sum(table.row_count for table in tables) == 12 * len(tables)
    figures = re.findall(r"\d\d\.\d\d", output.getvalue())
    assert figures.count("10.00") == figures.count("18.00") == 10  # the first and the last metric of ten variants
    assert {"80": 2, "120": 1}.get(str(width), len(tables)) == len(tables)
    for text in ("0.0340", "0.0430", "1.294", "13.00 (20)"):
        assert text in output.getvalue()


def test_columns_are_folded_where_they_no_longer_fit():
    assert [(part.start, part.stop) for part in fold([6, 6, 6], 16)] == [(0, 2), (2, 3)]
    assert [(part.start, part.stop) for part in fold([6, 6, 6], 24)] == [(0, 3)]
    assert [(part.start, part.stop) for part in fold([6, 6], 1)] == [(0, 1), (1, 2)]  # one at least


def test_quiet_says_nothing(run):
    assert run("--metrics", "l1", *SMALL, "-q") == (0, "", "")


def test_stdout_names_what_was_written(run, tmp_path):
    page = tmp_path / "out.html"
    code, out, _ = run("--metrics", "l1", *SMALL, "--report", str(page))
    assert (code, out) == (0, f"{page}\n")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    lines = tmp_path / "out.jsonl"
    assert run("--metrics", "l1", *SMALL, "--jsonl", str(lines))[1] == f"{lines}\n"
    assert [set(json.loads(line)) for line in lines.read_text().splitlines()] == [
        {"protocol"},
        {"video", "frames", "values", "error"},
    ]


@pytest.mark.parametrize(
    "form", [["--metrics", "l1", "akd"], ["--metrics", "l1,akd"], ["--metrics=l1", "--metrics=akd"]]
)
def test_several_metrics_come_in_three_forms(settings_of, form):
    assert settings_of(*form).metrics == ("l1", "akd")


def test_flags_become_settings(settings_of, tiny_weights, tmp_path):
    assert settings_of() == Settings(weights=str(tiny_weights))
    arguments = "--dataset vox --protocol animation --metrics csim leak --ablation no_id --threshold median"
    arguments += f" --threshold 0.2 --scale 1 --limit 3 --frames 4 --batch 2 --data {tmp_path} --detectors toons"
    assert settings_of(*arguments.split()) == Settings(
        metrics=("csim", "leak"),
        dataset="vox",
        data=tmp_path,
        weights=str(tiny_weights),
        protocol="animation",
        ablations=("no_id",),
        thresholds=("median", 0.2),
        scales=(1.0,),
        limit=3,
        frames=4,
        batch=2,
        detectors="toons",
    )


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--metrics", "l2"], 2, "unknown metric 'l2'"),
        (["--ablation", "no_id"], 2, "--protocol animation"),
        (["--protocol", "animation", "--ablation", "no"], 2, "no_pert"),
        (["--protocol", "animation", "--threshold", "2"], 2, "between 0 and 1"),
        (["--report", "out.pdf"], 2, ".html"),
        (["--dataset", "nowhere"], 2, "nowhere"),
        (["--weights", "absent.safetensors"], 3, "absent.safetensors"),
        (["--dataset", "bair", "--metrics", "akd"], 3, "bair"),
    ],
)
def test_known_mistakes_are_one_sentence(run, arguments, code, words):
    found, out, err = run(*arguments)
    assert (found, out) == (code, "")
    assert words in err
    assert "Traceback" not in err


def test_a_package_that_is_missing_ends_with_3(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "face_alignment", None)
    write_image(tmp_path / "a#1.png", np.zeros((64, 128, 3), np.uint8))
    write_image(tmp_path / "b#1.png", np.zeros((64, 128, 3), np.uint8))
    code, _, err = run("--dataset", "vox", "--data", str(tmp_path), "--metrics", "akd")
    assert code == 3
    assert "pip install" in err


def test_a_video_that_was_left_out_shows_in_the_exit_code(run, tmp_path):
    (tmp_path / "test").mkdir()
    write_image(tmp_path / "test" / "a#1.png", np.hstack([np.full((64, 64, 3), n, np.uint8) for n in (0, 51)]))
    (tmp_path / "test" / "b#1.png").write_bytes(b"nothing")
    code, out, err = run("--dataset", str(tmp_path), "--metrics", "l1", "--json")
    assert code == 1
    assert list(json.loads(out)["failed"]) == ["b#1.png"]
    assert "left out: b#1.png" in err


def test_an_interrupted_run_says_how_to_go_on(run, monkeypatch, tmp_path):
    def interrupt(settings, progress):
        progress(3, 20)
        raise KeyboardInterrupt

    monkeypatch.setattr("animask.evaluation.evaluate", interrupt)
    code, out, err = run("--jsonl", str(tmp_path / "out.jsonl"))
    assert (code, out) == (130, "")
    assert "interrupted at video 3 of 20" in err
    assert "out.jsonl" in err


def test_torch_is_not_imported_with_the_command():
    code = "import sys, animask.cli.eval; print('torch' in sys.modules, end='')"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("False", "")
