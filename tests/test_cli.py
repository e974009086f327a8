"""The command line: manners, exit codes, `animate`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import FRAMES

from animask.cli import main, spread_lists
from animask.video import probe


@pytest.fixture(autouse=True)
def surroundings(folder, tiny_weights, monkeypatch):
    monkeypatch.setenv("ANIMASK_WEIGHTS", str(tiny_weights))
    monkeypatch.setenv("ANIMASK_DEVICE", "cpu")


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


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_do_not_load_torch(flag):
    code = f"import sys, animask.cli\ndir(animask)\ntry: animask.cli.main(['{flag}'])\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'cv2', 'numpy'} & set(sys.modules), sorted(sys.modules)"
    root = Path(__file__).resolve().parent.parent
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, cwd=root)
