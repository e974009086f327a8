"""The example that comes with the project."""

import wave
from pathlib import Path

import numpy as np
import pytest

from animask import samples


@pytest.mark.parametrize("seconds", [1, 2])
def test_the_voice_is_as_long_as_the_clip(seconds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the first second the mouth may stay shut, and nothing is heard."""
    monkeypatch.setattr(samples, "SECONDS", seconds)
    with np.errstate(all="raise"):
        samples.write_voice(tmp_path / "voice.wav")
    with wave.open(str(tmp_path / "voice.wav")) as file:
        assert file.getnframes() == seconds * samples.SOUND_RATE
        assert np.frombuffer(file.readframes(file.getnframes()), "<i2").max() <= 20000


def test_a_shut_mouth_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "pose_at", lambda motion, time: samples.Pose())
    monkeypatch.setattr(samples, "SECONDS", 1)
    samples.write_voice(tmp_path / "voice.wav")
    with wave.open(str(tmp_path / "voice.wav")) as file:
        assert not any(file.readframes(file.getnframes()))
