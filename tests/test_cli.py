"""The command line: manners, exit codes, `animate`."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import FRAMES
from typer.testing import CliRunner

from animask.cli import app, main, spread_lists
from animask.video import probe

runner = CliRunner()


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command in this process."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    captured = capsys.readouterr()
    return int(caught.value.code or 0), captured.out, captured.err


@pytest.fixture
def job(tiny_weights: Path, picture: Path, driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A command that animates the small inputs."""
    monkeypatch.setenv("ANIMASK_WEIGHTS", str(tiny_weights))
    monkeypatch.setenv("ANIMASK_DEVICE", "cpu")
    return ["animate", str(picture), str(driver), "-o", str(tmp_path / "out.mp4")]


def test_stdout_carries_the_path_alone(job: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(job, capsys)
    assert (code, out) == (0, job[-1] + "\n")
    assert f"{FRAMES} frames" in err
    assert probe(Path(job[-1])).frames == FRAMES


def test_quiet_says_nothing(job: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*job, "-q"], capsys) == (0, job[-1] + "\n", "")


def test_json_is_one_object(job: list[str], tiny_weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run([*job, "--json", "--layout", "strip", "--threshold", "0.2", "--scale", "1"], capsys)
    report = json.loads(out)
    assert code == 0
    assert (report["threshold"], report["scale"], report["frames"]) == (0.2, 1.0, FRAMES)
    assert (report["weights"], report["output"], report["width"]) == (str(tiny_weights), job[-1], 8 * 64)


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({1: "absent.png"}, 2, "absent.png does not exist"),
        ({2: "absent.mp4"}, 2, "absent.mp4 does not exist"),
        ({4: "out.xyz"}, 2, "no suffix of a video"),
        ({4: "nowhere/out.mp4"}, 2, "does not exist"),
    ],
)
def test_bad_files_get_a_sentence(
    change: dict[int, str], code: int, words: str, job: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for place, value in change.items():
        job[place] = value
    found, out, err = run(job, capsys)
    assert (found, out) == (code, "")
    assert words in err
    assert err.startswith("animask: ")
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "flags",
    [
        ["--threshold", "2"],
        ["--scale", "-1"],
        ["--batch", "0"],
        ["--layout", "x"],
        ["--nope"],
        ["--fps", "fast"],
        ["--fps", "0"],
        ["--fps", "1/0"],
        ["--background", "1,2"],
        ["--background", "#12345"],
        ["--background", "1,2,999"],
        ["--face", "0"],
        ["--quality", "52"],
        ["--match", "last"],
        ["--source-crop", "left"],
        ["--driver-crop", "9,9,0"],
        ["--end", "-1"],
    ],
)
def test_wrong_flags_exit_2(flags: list[str], job: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run([*job, *flags], capsys)
    assert (code, out) == (2, "")
    assert flags[0].lstrip("-") in err


def test_missing_weights_exit_3(job: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run([*job, "--weights", "absent.safetensors"], capsys)
    assert code == 3
    assert "absent.safetensors" in err
    assert "Hint:" in err


def test_unknown_device_exit_2(job: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*job, "--device", "abacus"], capsys)[0] == 2


def test_existing_output_needs_overwrite(job: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path(job[-1]).write_bytes(b"mine")
    code, _, err = run(job, capsys)
    assert code == 2
    assert "--overwrite" in err
    assert Path(job[-1]).read_bytes() == b"mine"


def test_unknown_errors_keep_their_traceback(job: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr("animask.animation.animate_file", fail)
    with pytest.raises(ZeroDivisionError):
        main(job)


def test_help_shows_panels_variables_and_two_examples() -> None:
    text = runner.invoke(app, ["animate", "--help"], env={"COLUMNS": "160"}).stdout
    for panel in ("Crops", "Output", "Part of the driver", "Many at once", "Weights and device", "The method"):
        assert f"─ {panel}" in text
    assert "ANIMASK_WEIGHTS" in text and "ANIMASK_DEVICE" in text
    assert len([line for line in text.splitlines() if line.startswith(" animask animate ")]) == 2


def test_preview_prints_its_path_and_animates_nothing(
    job: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "crops.png"
    assert run([*job, "--preview", str(out)], capsys) == (0, f"{out}\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["crops.png"]


def test_verbose_tells_the_crops_and_the_device(job: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run([*job, "-v", "--source-crop", "none", "--driver-crop", "centre", "--end", "0.05"], capsys)
    assert (code, out) == (0, job[-1] + "\n")
    assert f"{job[1]}: square 0,0,96 (the whole picture)" in err
    assert f"{job[2]}: square 16,0,80 (centre)" in err
    assert "device cpu (asked for)" in err
    assert "square" not in run([*job, "--overwrite", "--end", "0.05"], capsys)[2]  # and nothing stays switched on


def test_flags_reach_the_settings(job: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--fps", "30000/1001", "--start", "0.1", "--end", "0.3", "--background", "#10ff00", "--quality", "30"]
    code, out, _ = run([*job, *flags, "--source-crop", "10,10,60", "--match", "first", "--no-audio", "--json"], capsys)
    report = json.loads(out)
    assert (code, report["fps"], report["frames"], report["audio"]) == (0, "30000/1001", 6, False)
    assert report["source_crop"] == {"square": [10, 10, 60], "reason": "given", "faces": []}
    assert "matched" in report["driver_crop"]["reason"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["eval", "--metrics", "l1", "akd"], ["eval", "--metrics", "l1", "--metrics", "akd"]),
        (
            ["eval", "--metrics", "l1,akd", "--limit", "3"],
            ["eval", "--metrics", "l1", "--metrics", "akd", "--limit", "3"],
        ),
        (["eval", "--metrics=l1,akd"], ["eval", "--metrics", "l1", "--metrics", "akd"]),
        (["eval", "--metrics", "l1", "--metrics", "akd"], ["eval", "--metrics", "l1", "--metrics", "akd"]),
        (["eval", "--scale", "0.75", "1", "-q"], ["eval", "--scale", "0.75", "--scale", "1", "-q"]),
        (["animate", "--scale", "1", "a,b.png", "c.mp4"], ["animate", "--scale", "1", "a,b.png", "c.mp4"]),
    ],
)
def test_several_values_after_one_flag(given: list[str], expected: list[str]) -> None:
    assert spread_lists(given) == expected


def test_version() -> None:
    result = runner.invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout.strip().count(".") == 2


def test_every_command_shows_two_examples() -> None:
    for command in app.registered_commands:
        name = command.name or command.callback.__name__  # type: ignore[union-attr]
        result = runner.invoke(app, [name, "--help"], env={"COLUMNS": "200"})
        assert result.exit_code == 0, name
        assert result.stdout.count(f"animask {name}") >= 3, name  # usage and two examples


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_do_not_load_torch(flag: str) -> None:
    code = f"import sys, animask.cli\ntry: animask.cli.main(['{flag}'])\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'cv2', 'numpy'} & set(sys.modules), sorted(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interruption_leaves_nothing(job: list[str], number: int, code: int, tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    long = frames / "long.mp4"
    from imageio_ffmpeg import get_ffmpeg_exe

    command = [get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", "testsrc=s=64x64:r=100:d=20", str(long)]
    subprocess.run(command, check=True)
    job[2] = str(long)
    child = subprocess.Popen(
        [sys.executable, "-m", "animask", *job], stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".out*partial*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        child.send_signal(number)
        _, err = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == code
    assert b"interrupted at frame" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames"]
