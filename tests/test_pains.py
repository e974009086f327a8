"""What users of such tools meet again and again, one test a row of the list of pains, named after it.

Rows whose whole content is another file's have their tests there: weights that are not there (test_weights), memory,
numbers that are not finite and how much of the driver leaks (test_streaming), stretching and faces that are small or
not centred (test_crops), jitter and one frame without a face (test_shots), batches (test_jobs), metrics that cannot
be reproduced (test_evaluation), data that cannot be downloaded (test_preparation), kinds of pictures
(test_images), unicode names (test_safety).
"""

import hashlib
import shutil
import tomllib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from conftest import FRAMES

from animask.animation import Settings, animate_file
from animask.errors import InputError
from animask.images import write_image
from animask.video import VideoWriter, probe

ROOT = Path(__file__).resolve().parent.parent
SIDE = 64


@pytest.fixture
def settings(tiny_weights: Path) -> Settings:
    return Settings(weights=str(tiny_weights), device="cpu")


@pytest.mark.parametrize("fps", [Fraction(30000, 1001), Fraction(25)])
def test_audio_does_not_drift_and_is_not_lost(
    fps: Fraction, settings: Settings, picture: Path, sound: Path, tmp_path: Path
) -> None:
    """The rate is an exact fraction end to end, and the length is the driver's, within one frame."""
    with VideoWriter(tmp_path / "driver.mp4", fps, (SIDE, SIDE), audio=sound) as writer:
        for _ in range(20):
            writer.write(np.zeros((SIDE, SIDE, 3), np.uint8))
    report = animate_file(picture, tmp_path / "driver.mp4", tmp_path / "out.mp4", settings)
    before, after = probe(tmp_path / "driver.mp4"), probe(tmp_path / "out.mp4")
    assert after.has_audio and after.fps == fps == Fraction(report.fps)
    assert after.duration == pytest.approx(before.duration, abs=float(1 / fps))


def test_installing_does_not_break() -> None:
    """Few dependencies, each with a lower bound, and none pinned to one version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert len(project["dependencies"]) <= 10
    for dependency in project["dependencies"]:
        assert ">=" in dependency and "==" not in dependency


def test_results_are_larger_than_256_pixels(settings: Settings, driver: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "large.png", np.full((600, 801, 3), 120, np.uint8))
    chosen = Settings(weights=settings.weights, device="cpu", source_crop="100,50,400", paste=True, end=0.05)
    report = animate_file(tmp_path / "large.png", driver, tmp_path / "out.mp4", chosen)
    assert (report.width, report.height) == (802, 600)


def test_no_ffmpeg_needs_to_be_installed(
    settings: Settings, picture: Path, driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("ffmpeg") is None and shutil.which("ffprobe") is None
    assert animate_file(picture, driver, tmp_path / "out.mp4", settings).frames == FRAMES


def test_nothing_is_written_beside_the_inputs_or_over_what_is_there(
    settings: Settings, picture: Path, driver: Path, tmp_path: Path
) -> None:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    for path in (picture, driver):
        shutil.copy(path, inputs / path.name)
    before = {path.name: hashlib.sha256(path.read_bytes()).digest() for path in inputs.iterdir()}
    out = tmp_path / "out.mp4"
    animate_file(inputs / picture.name, inputs / driver.name, out, settings)
    made = out.read_bytes()
    with pytest.raises(InputError):
        animate_file(inputs / picture.name, inputs / driver.name, out, settings)
    assert out.read_bytes() == made
    assert {path.name: hashlib.sha256(path.read_bytes()).digest() for path in inputs.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inputs", "out.mp4"]
