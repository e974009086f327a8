"""Parts and rates of a driver, kinds of driver and of output, the background, going on after an interruption."""

import subprocess
import wave
from collections.abc import Generator, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import FRAMES
from imageio_ffmpeg import get_ffmpeg_exe

from animask.animation import Settings, animate_file
from animask.errors import InputError
from animask.images import read_image
from animask.model import Animator
from animask.video import VideoWriter, probe, read_frames

SIDE = 64


def grey_clip(path: Path, count: int, rate: int = 20, sound: Path | None = None) -> Path:
    """Frame k has the grey value 10 k."""
    with VideoWriter(path, Fraction(rate), (SIDE, SIDE), audio=sound, crf=0) as writer:
        for number in range(count):
            writer.write(np.full((SIDE, SIDE, 3), 10 * number, np.uint8))
    return path


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that answers with the driver's square."""

    def repeat(
        model: Animator, source: np.ndarray, driver: Iterator[np.ndarray], **settings: object
    ) -> Generator[np.ndarray, None, None]:
        yield from driver

    monkeypatch.setattr("animask.animation.files.animate", repeat)


def numbers(path: Path) -> list[int]:
    """Which frames of a grey clip a result has."""
    return [round(float(frame.mean()) / 10) for frame in read_frames(path)]


def test_a_part_of_the_driver(mirror: None, tiny_weights: Path, picture: Path, tmp_path: Path) -> None:
    clip = grey_clip(tmp_path / "clip.mp4", 20)
    settings = Settings(weights=str(tiny_weights), device="cpu", start=0.25, end=0.6, quality=0)
    report = animate_file(picture, clip, tmp_path / "part.mp4", settings)
    assert numbers(tmp_path / "part.mp4") == list(range(5, 12))
    assert (report.frames, report.fps) == (7, "20")


def test_another_rate_keeps_the_time(mirror: None, tiny_weights: Path, picture: Path, tmp_path: Path) -> None:
    clip = grey_clip(tmp_path / "clip.mp4", 20)
    settings = Settings(weights=str(tiny_weights), device="cpu", fps=Fraction(10), start=0.2, quality=0)
    report = animate_file(picture, clip, tmp_path / "slow.mp4", settings)
    assert report.fps == "10"
    assert probe(tmp_path / "slow.mp4").duration == pytest.approx(0.8)
    assert numbers(tmp_path / "slow.mp4") == pytest.approx([4, 6, 8, 10, 12, 14, 16, 18], abs=1)


def loudness(path: Path) -> np.ndarray:
    """Mean level of the sound in every tenth of a second."""
    command = [get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-ac", "1", "-ar", "8000", "-f", "s16le", "-"]
    samples = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, "<i2").astype(float)
    return np.abs(samples[: len(samples) // 800 * 800]).reshape(-1, 800).mean(1)


def test_the_sound_begins_with_the_part(mirror: None, tiny_weights: Path, picture: Path, tmp_path: Path) -> None:
    """Half a second of silence, then a tone: with --start 0.3 the tone comes after 0.2 seconds."""
    tone = 8000 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000) * (np.arange(16000) >= 8000)
    with wave.open(str(tmp_path / "tone.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(tone.astype("<i2").tobytes())
    clip = grey_clip(tmp_path / "clip.mov", 20, sound=tmp_path / "tone.wav")
    settings = Settings(weights=str(tiny_weights), device="cpu", start=0.3)
    animate_file(picture, clip, tmp_path / "part.mov", settings)
    heard = loudness(tmp_path / "part.mov")
    assert heard[0] < 500 and heard[3] > 3000
    assert len(heard) * 0.1 == pytest.approx(0.7, abs=0.11)


@pytest.mark.parametrize(
    ("start", "end", "words"), [(2.0, None, "has no frame at 2"), (0.2, 0.2, "no frame lies"), (0.3, 0.2, "no frame")]
)
def test_empty_parts_are_refused(
    start: float, end: float | None, words: str, tiny_weights: Path, picture: Path, driver: Path, tmp_path: Path
) -> None:
    settings = Settings(weights=str(tiny_weights), device="cpu", start=start, end=end)
    with pytest.raises(InputError, match=words):
        animate_file(picture, driver, tmp_path / "out.mp4", settings)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["clip.gif", "clip"])
def test_a_gif_or_a_folder_of_pictures_drives(
    kind: str, mirror: None, tiny_weights: Path, picture: Path, tmp_path: Path
) -> None:
    clip = grey_clip(tmp_path / kind, 10)
    settings = Settings(weights=str(tiny_weights), device="cpu", quality=0)
    report = animate_file(picture, clip, tmp_path / "out.mp4", settings)
    assert numbers(tmp_path / "out.mp4") == list(range(10))
    assert not report.audio


@pytest.mark.parametrize(("name", "sounds"), [("o.webm", True), ("o.mov", True), ("o.gif", False), ("o", False)])
def test_outputs_by_suffix(
    name: str, sounds: bool, mirror: None, tiny_weights: Path, picture: Path, driver: Path, tmp_path: Path
) -> None:
    report = animate_file(picture, driver, tmp_path / name, Settings(weights=str(tiny_weights), device="cpu"))
    made = probe(tmp_path / name)
    assert (made.frames, made.width, made.has_audio, report.audio) == (FRAMES, SIDE, sounds, sounds)


def test_quality_is_paid_in_bytes(
    mirror: None, tiny_weights: Path, picture: Path, driver: Path, tmp_path: Path
) -> None:
    sizes = []
    for quality in (0, 17, 40):
        out = tmp_path / f"{quality}.mp4"
        settings = Settings(weights=str(tiny_weights), device="cpu", quality=quality, audio=False)
        animate_file(picture, driver, out, settings)
        sizes.append(out.stat().st_size)
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 2 * sizes[2]


def test_transparent_pixels_get_the_background(tiny_weights: Path, driver: Path, tmp_path: Path) -> None:
    clear = np.zeros((SIDE, SIDE, 4), np.uint8)
    assert cv2.imwrite(str(tmp_path / "clear.png"), clear)
    settings = Settings(weights=str(tiny_weights), device="cpu", layout="compare", background=(200, 30, 60), end=0.05)
    animate_file(tmp_path / "clear.png", driver, tmp_path / "out", settings)
    frame = read_image(tmp_path / "out" / "000000.png")
    assert (frame[:, :SIDE] == (200, 30, 60)).all()


def test_pictures_beyond_the_limit_are_refused(tiny_weights: Path, picture: Path, driver: Path, tmp_path: Path) -> None:
    settings = Settings(weights=str(tiny_weights), device="cpu", max_pixels=1000)
    with pytest.raises(InputError, match="limit of 1000 pixels"):
        animate_file(picture, driver, tmp_path / "out.mp4", settings)


# going on after an interruption


def test_a_folder_of_frames_goes_on_where_it_was_interrupted(
    tiny_weights: Path, picture: Path, driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(weights=str(tiny_weights), device="cpu", precision="fp32", batch=2)
    animate_file(picture, driver, tmp_path / "whole", settings)

    def stop(done: int, total: int) -> None:
        assert total == FRAMES
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        animate_file(picture, driver, tmp_path / "out", settings, stop)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr("animask.video.sequence.is_abandoned", lambda path: True)  # its process has ended
    seen: list[int] = []
    report = animate_file(picture, driver, tmp_path / "out", settings, lambda done, total: seen.append(done))
    assert (seen[0], seen[-1], report.frames) == (7, FRAMES, FRAMES)
    whole, resumed = (np.stack(list(read_frames(tmp_path / name))) for name in ("whole", "out"))
    assert np.abs(whole.astype(int) - resumed).max() <= 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]


def test_other_settings_begin_anew(
    tiny_weights: Path, picture: Path, driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(weights=str(tiny_weights), device="cpu")

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        animate_file(picture, driver, tmp_path / "out", settings, stop)
    monkeypatch.setattr("animask.video.sequence.is_abandoned", lambda path: True)
    seen: list[int] = []
    animate_file(picture, driver, tmp_path / "out", replace(settings, scale=1.0), lambda done, total: seen.append(done))
    assert seen[0] == 1
