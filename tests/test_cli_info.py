"""`animask info` and `animask demo`."""

import json
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from animask import cards, weights
from animask.cli.demo import demo
from animask.cli.info import folder_size, info
from animask.errors import InputError, MissingError
from animask.model import Animator
from animask.video import probe

runner = CliRunner()
app = typer.Typer()
app.command()(info)
app.command()(demo)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No weights, and empty caches."""
    for module in (weights, cards):
        monkeypatch.setattr(module, "BUNDLED", ("portrait", "toons"))
        monkeypatch.setattr(module, "bundled_folder", lambda: tmp_path / "weights")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("ANIMASK_CACHE", str(tmp_path / "frames"))
    return tmp_path


def test_info_is_one_json_object(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bare / "frames").mkdir()
    (bare / "frames" / "x.npy").write_bytes(bytes(1000))
    monkeypatch.setenv("HF_ENDPOINT", "http://me:secret@mirror.example/")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    result = runner.invoke(app, ["info", "--json"])
    report = json.loads(result.stdout)
    assert result.exit_code == 0
    assert report["version"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"animask", "torch", "opencv-python", "numpy", "huggingface-hub"} <= report["version"].keys()
    assert report["compute"]["device"].keys() == report["compute"]["precision"].keys() == {"name", "reason"}
    assert report["compute"]["threads"] >= 1
    assert Path(report["ffmpeg"]["path"]).is_file()
    assert report["ffmpeg"]["version"]
    frames = {"path": str(bare / "frames"), "files": 1, "bytes": 1000, "more": False}
    assert report["cache"] == {"frames": frames, "hub": {**frames, "path": str(bare / "hub"), "files": 0, "bytes": 0}}
    assert report["setting"]["HF_ENDPOINT"] == "http://mirror.example/"
    assert "secret" not in result.stdout


def test_info_works_without_weights(bare: Path) -> None:
    result = runner.invoke(app, ["info"])
    assert result.exit_code == 0
    for name in weights.BUNDLED:
        assert f"weights {name}:" in result.stdout
    assert result.stdout.count("missing: weights") == len(weights.BUNDLED)


def test_info_says_what_is_verified(bare: Path, tiny_weights: Path) -> None:
    folder = bare / "weights"
    folder.mkdir()
    (folder / "portrait.safetensors").write_bytes(tiny_weights.read_bytes())
    (folder / "toons.safetensors").write_bytes(b"")
    (folder / "SHA256SUMS").write_text(f"{weights.sha256(tiny_weights)}  portrait.safetensors\n")
    found = json.loads(runner.invoke(app, ["info", "--json"]).stdout)["weights"]
    assert (found["portrait"]["state"], found["portrait"]["licence"]) == ("verified", "MIT")
    assert (found["toons"]["state"], "is empty" in found["toons"]["reason"]) == ("damaged", True)
    assert "verified, 0.1 MB, licence MIT" in runner.invoke(app, ["info"]).stdout


def test_info_says_what_weights_do_badly(bare: Path, tiny_model: Animator) -> None:
    (bare / "weights").mkdir()
    words = "hands are smeared"
    weights.save_model(tiny_model, bare / "weights" / "portrait.safetensors", {"limits": words})
    assert json.loads(runner.invoke(app, ["info", "--json"]).stdout)["weights"]["portrait"]["limits"] == words
    (line,) = [line for line in runner.invoke(app, ["info"]).stdout.splitlines() if "weights portrait" in line]
    assert line.endswith(words)


def test_the_bundled_weights_say_what_they_do_badly() -> None:
    path = weights.bundled_folder() / "portrait.safetensors"
    assert len(weights.read_metadata(path)["limits"]) > 20


def test_sizes_of_folders_do_not_follow_links_or_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    for name in ("a/x", "a/b/y", "z"):
        (tmp_path / name).write_bytes(bytes(10))
    (tmp_path / "a/loop").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "z")
    assert folder_size(tmp_path) == {"path": str(tmp_path), "files": 3, "bytes": 30, "more": False}
    assert folder_size(tmp_path / "absent")["files"] == 0
    monkeypatch.setattr(sys.modules["animask.cli.info"], "MOST_FILES", 2)
    assert folder_size(tmp_path) == {"path": str(tmp_path), "files": 2, "bytes": 20, "more": True}


def test_demo_animates_the_example(tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("animask.samples.SECONDS", 2)
    monkeypatch.setattr("animask.samples.FPS", Fraction(6))
    folder = tmp_path / "demo"
    arguments = ["demo", "-o", str(folder), "--weights", str(tiny_weights), "--device", "cpu", "-q"]
    result = runner.invoke(app, arguments)
    assert (result.exit_code, result.stdout) == (0, f"{folder / 'result.mp4'}\n{folder / 'strip.mp4'}\n")
    assert sorted(path.name for path in folder.iterdir()) == ["driver.mp4", "face.png", "result.mp4", "strip.mp4"]
    frames, strip = probe(folder / "result.mp4"), probe(folder / "strip.mp4")
    assert frames.frames == strip.frames == probe(folder / "driver.mp4").frames
    assert (strip.width, frames.has_audio) == (8 * 64, True)
    assert isinstance(runner.invoke(app, arguments).exception, InputError)


def test_demo_without_weights_writes_nothing(bare: Path) -> None:
    result = runner.invoke(app, ["demo", "-o", str(bare / "demo"), "--weights", "toons"])
    assert isinstance(result.exception, MissingError)
    assert not (bare / "demo").exists()


@pytest.mark.parametrize("name", ["info", "demo"])
def test_help_shows_two_examples(name: str) -> None:
    result = runner.invoke(app, [name, "--help"], env={"COLUMNS": "200"})
    assert result.stdout.count(f"animask {name}") >= 2
