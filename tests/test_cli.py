"""The command line: manners, exit codes, `animate`, `info`; what people see while they wait."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import FRAMES

from animask import weights
from animask.cli import main, screen, spread_lists
from animask.video import probe

pytestmark = pytest.mark.usefixtures("folder", "surroundings")

ONE = "animate a.png d.mp4 -o out.mp4"


def test_stdout_carries_the_path_alone(run):
    code, out, err = run(ONE)
    assert (code, out) == (0, "out.mp4\n")
    assert f"{FRAMES} frames" in err and "frames/s, cpu" in err
    assert probe(Path("out.mp4")).frames == FRAMES
    assert run(f"{ONE} -q --overwrite") == (0, "out.mp4\n", "")


def test_flags_reach_the_settings_and_json_is_one_object(run):
    flags = "--fps 30000/1001 --start 0.1 --end 0.3 --background #10ff00 --quality 30 --layout strip --no-audio"
    code, out, _ = run(f"{ONE} {flags} --threshold 0.2 --scale 1 --source-crop 10,10,60 --json --precision fp32")
    report = json.loads(out)
    assert (code, report["fps"], report["frames"], report["audio"]) == (0, "30000/1001", 6, False)
    assert (report["threshold"], report["scale"], report["width"]) == (0.2, 1.0, 8 * 64)
    assert (report["precision"], report["output"], report["warnings"]) == ("fp32", "out.mp4", [])
    assert report["source_crop"] == {"square": [10, 10, 60], "reason": "given", "faces": []}
    assert [(shot["first"], shot["stop"]) for shot in report["shots"]] == [(0, 6)]
    assert (len(report["weights_sha256"]), report["weights_revision"]) == (64, "")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("animate a.png d.mp4 -o out.xyz", "out.xyz"),
        ("animate a.png d.mp4 -o b.png", "--overwrite"),
        ("animate d.mp4 a.png -o out.mp4", "picture comes first"),
        ("animate -o out.mp4", "SOURCE"),
        ("animate a.png d.mp4", "-o"),
        ("animate a.png b.png d.mp4 --preview x.png", "--preview"),
        (f"{ONE} --pairs pairs.csv", "--pairs"),
        (f"{ONE} --device abacus", "abacus"),
        (f"{ONE} --source-crop left", "left"),
    ],
)
def test_known_errors_are_a_sentence_and_a_hint(line, words, run):
    code, out, err = run(line)
    assert code == 2 and words in err and out == ""
    assert err.startswith("animask: ") and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "flag",
    [
        *("--threshold 2", "--threshold x", "--scale -1", "--layout x", "--nope", "--fps fast", "--fps 2000"),
        *("--background 1,2", "--background #12345", "--quality 52"),
    ],
)
def test_wrong_flags_exit_2(flag, run):
    code, out, err = run(f"{ONE} {flag}")
    assert (code, out) == (2, "")
    assert flag.split()[0].lstrip("-") in err


def test_unknown_errors_keep_their_traceback(monkeypatch):
    def fail(*args: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr("animask.animation.animate_file", fail)
    with pytest.raises(ZeroDivisionError):
        main(ONE.split())


def test_preview_prints_its_path_and_animates_nothing(folder, run):
    before = {path.name for path in folder.iterdir()}
    assert run(f"{ONE} --preview crops.png") == (0, "crops.png\n", "")
    assert {path.name for path in folder.iterdir()} == before | {"crops.png"}


def test_verbose_tells_the_crops_and_the_device(run):
    code, _, err = run(f"{ONE} -v --source-crop none --driver-crop centre --end 0.05")
    assert code == 0
    assert "a.png: square 0,0,96" in err and "d.mp4: square 16,0,80" in err and "device cpu" in err
    assert "square" not in run(f"{ONE} --overwrite --end 0.05")[2], "and nothing stays switched on"


def test_several_sources_or_pairs_go_into_a_folder_and_one_bad_one_is_named(run):
    code, out, err = run("animate bad.png a.png b.png d.mp4 -o out --end 0.1")
    assert (code, out) == (1, "out/a.mp4\nout/b.mp4\n")
    assert "failed: bad.png + d.mp4" in err and "2 made" in err and "Traceback" not in err
    code, out, _ = run("animate bad.png a.png d.mp4 -o out --end 0.1 --skip-existing --json")
    summary = json.loads(out)
    assert (code, summary["skipped"], len(summary["failed"])) == (1, ["out/a.mp4"], 1)
    Path("pairs.csv").write_text("source,driver,output\na.png,d.mp4,x.gif\n")
    assert run("animate --pairs pairs.csv --end 0.1")[:2] == (0, "x.gif\n")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("eval --metrics l1 akd", "eval --metrics l1 --metrics akd"),
        ("eval --metrics=l1,akd --limit 3", "eval --metrics l1 --metrics akd --limit 3"),
        ("animate --scale 1 a,b.png c.mp4", "animate --scale 1 a,b.png c.mp4"),
    ],
)
def test_several_values_after_one_flag(given, expected):
    assert spread_lists(given.split()) == expected.split()


def test_the_version_comes_before_what_is_wrong(run):
    assert run("--version nonsense")[0] == 0


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_do_not_load_torch(flag):
    code = f"import sys, animask.cli\ndir(animask)\ntry: animask.cli.main(['{flag}'])\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'cv2', 'numpy'} & set(sys.modules), sorted(sys.modules)"
    root = Path(__file__).resolve().parent.parent
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, cwd=root)


def test_info_is_one_json_object(monkeypatch, run):
    monkeypatch.setenv("HF_ENDPOINT", "http://me:secret@mirror.example/")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    _, out, _ = run("info --json")
    report = json.loads(out)
    assert report["version"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"animask", "torch", "numpy", "huggingface-hub"} <= report["version"].keys()
    assert report["compute"]["device"].keys() == report["compute"]["precision"].keys() == {"name", "reason"}
    assert report["setting"]["HF_ENDPOINT"] == "http://mirror.example/"
    assert "secret" not in out
    about = report["weights"][weights.DEFAULT]
    assert about["state"].startswith("whole")
    assert about["sha256"] == weights.find_weights().digest
    assert about["licence"] and len(about["limits"]) > 20, "what they do badly"


def test_info_works_without_weights(tmp_path, monkeypatch, run):
    monkeypatch.setattr(weights, "bundled_folder", lambda: tmp_path / "nowhere")
    code, out, _ = run("info")
    assert (code, str(tmp_path / "nowhere" / f"{weights.DEFAULT}.safetensors") in out) == (0, True)


def test_info_shows_weights_that_are_named_as_text(tiny_model, tmp_path, run):
    path = tmp_path / "x.safetensors"
    weights.save_model(tiny_model, path, {"licence": "\x1b]0;MIT\x07"})
    _, out, _ = run("info", path)
    assert weights.sha256(path) in out
    assert "\\x1b]0;MIT\\x07" in out and "\x1b" not in out


def test_files_get_lines_and_loading_is_no_part_of_the_speed(monkeypatch, capsys):
    """100 seconds until the first frame, then one a second: 10 seconds later, 19 of 30 frames take 19 seconds."""
    now = 0.0
    monkeypatch.setattr(screen.time, "monotonic", lambda: now)
    with screen.progress_bar("animating", "frames", False) as show:
        for second in range(30):
            now = 100.0 + second
            show(1 + second, 30)
    assert capsys.readouterr().err.splitlines() == [
        "animating: 11 of 30 frames, 1.0/s, 19 s left",
        "animating: 21 of 30 frames, 1.0/s, 9 s left",
    ]


@pytest.mark.parametrize("quiet", [False, True])
def test_a_terminal_shows_a_bar_with_count_speed_and_time_left(quiet, monkeypatch):
    for name, value in (("TERM", "xterm"), ("COLUMNS", "100")):
        monkeypatch.setenv(name, value)
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    with screen.progress_bar("animating", "frames", quiet) as show:
        for done in range(1, 6):
            show(done, 5)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    assert bool(re.search(r"animating ━+ 5/5 \d+\.\d frames/s 0:00:00", shown)) != quiet
    assert quiet == (terminal.getvalue() == "")
