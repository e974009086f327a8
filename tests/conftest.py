"""Small synthetic inputs that many tests share; nothing here needs a network, a GPU or bundled weights."""

import os
import resource
import shutil
import signal
import subprocess
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from imageio_ffmpeg import get_ffmpeg_exe
from training_cases import make_data

from animask import trainer, training
from animask.cli import main
from animask.config import MODEL_PRESETS
from animask.images import write_image
from animask.model import Animator
from animask.toons import pose_at, render, sample_identity
from animask.video import write_video
from animask.weights import save_model

signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background ignores it, and so would children
for variable in ("ANIMASK_DATA", "ANIMASK_DEVICE", "ANIMASK_WEIGHTS"):
    os.environ.pop(variable, None)
torch.set_num_threads(1)
cv2.setNumThreads(1)

FPS = Fraction(30000, 1001)
FRAMES = 12


@pytest.fixture(scope="session")
def tiny_model() -> Animator:
    """A model of the tiny preset with seeded random weights, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Animator(MODEL_PRESETS["tiny"]).requires_grad_(False).eval()


@pytest.fixture(scope="session")
def tiny_weights(tiny_model: Animator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a weights file."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_model(tiny_model, path, {"licence": "MIT", "dataset": "none"})
    return path


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toon, 96×96 PNG."""
    path = tmp_path_factory.mktemp("picture") / "face.png"
    write_image(path, render(sample_identity(1), pose_at(1, 0.0), 96))
    return path


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of a 440 Hz tone, mono 16-bit WAV."""
    path = tmp_path_factory.mktemp("sound") / "tone.wav"
    tone = 8000 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(tone.astype("<i2").tobytes())
    return path


@pytest.fixture(scope="session")
def driver(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toon in motion with sound: FRAMES frames of 112×80 at 30000/1001."""
    path = tmp_path_factory.mktemp("driver") / "driver.mp4"
    identity = sample_identity(2)
    write_video(path, (render(identity, pose_at(2, number / 10), 112)[16:96] for number in range(FRAMES)), FPS, sound)
    return path


@pytest.fixture
def folder(picture: Path, driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with the pictures a.png and b.png, a damaged one and the driver d.mp4."""
    for name, original in (("a.png", picture), ("b.png", picture), ("d.mp4", driver)):
        shutil.copy(original, tmp_path / name)
    (tmp_path / "bad.png").write_bytes(picture.read_bytes()[:100])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def surroundings(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names the tiny weights and the CPU."""
    monkeypatch.setenv("ANIMASK_WEIGHTS", str(tiny_weights))
    monkeypatch.setenv("ANIMASK_DEVICE", "cpu")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small clips that runs are trained on, with clay."""
    return make_data(tmp_path_factory.mktemp("data"), with_clay=True)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cache of these tests' own, with previews of small runs that take no longer than their steps."""
    folder = str(tmp_path_factory.getbasetemp() / "cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANIMASK_CACHE", folder)
        for module, name, value in ((training, "HELD_OUT", 5), (training, "SHOWN", 2), (trainer, "SETTLING", 2)):
            patch.setattr(module, name, value)
        yield folder


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """A function of a line, and of arguments after it, to exit code, stdout and stderr, that of C libraries too."""

    def call(line: str, *arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        handler = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit) as caught:
            main([*line.split(), *map(str, arguments)])
        signal.signal(signal.SIGTERM, handler)
        said = capfd.readouterr()
        return int(caught.value.code or 0), said.out, said.err

    return call


def ffmpeg(*arguments: object) -> bytes:
    """Run ffmpeg, to make or to hear a file; what it writes to its standard output."""
    command = [get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout


def touch(folder: Path, *names: str) -> None:
    """Files that are videos by their names alone."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"no video")


@contextmanager
def full_disk() -> Iterator[None]:
    """No file can have more than 300 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
