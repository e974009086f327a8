"""The same again for the same inputs; no number that is none; and an hour is as small as a second."""

import copy
import json
import os
import sys
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safe_cases import ffmpeg
from safetensors.torch import load_file, save_file
from training_cases import make_data, run_tiny

from animask.animation import Settings, animate, animate_file, encode_source, trace_frames
from animask.animation.streaming import TENSORS
from animask.cli import main
from animask.config import read_toml
from animask.errors import AnimaskError, InputError
from animask.model import Animator, Trace
from animask.training import previews
from animask.video import VideoInfo, probe, read_frames
from animask.weights import read_metadata

SIDE = 64
TOLERANCE = 1  # of 255, between batch sizes: sums of another order round otherwise


def noise(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8))


# the same again


@pytest.mark.parametrize("name", ["out.mp4", "out.webm", "out.gif", "frames"])
@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
def test_the_same_command_makes_the_same_bytes(
    name: str, precision: str, tiny_weights: Path, picture: Path, driver: Path, tmp_path: Path
) -> None:
    settings = Settings(weights=str(tiny_weights), device="cpu", precision=precision, end=0.2, source_crop="centre")
    made = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        animate_file(picture, driver, tmp_path / folder / name, settings)
        files = sorted(path for path in (tmp_path / folder).rglob("*") if path.is_file())
        made.append([(path.name, path.read_bytes()) for path in files])
    if name == "out.webm":  # the container has a random number of its own
        frames = [list(read_frames(tmp_path / folder / name)) for folder in ("one", "two")]
        assert np.array_equal(*frames)
    else:
        assert made[0] == made[1] and made[0]


def test_batches_of_any_size_agree(tiny_model: Animator) -> None:
    source, *frames = noise(14)
    single = np.stack(list(animate(tiny_model, source, frames, batch=1))).astype(int)
    for batch in (2, 3, 8, 13, 64):
        several = np.stack(list(animate(tiny_model, source, frames, batch=batch)))
        assert np.abs(several - single).max() <= TOLERANCE, batch


def test_seeds_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANIMASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(previews, "CASES", 5)
    run_tiny(tmp_path / "run", make_data(tmp_path / "data"), steps=1, seed=12345)
    assert read_toml(tmp_path / "run" / "config.toml")["train"]["seed"] == 12345
    assert json.loads(read_metadata(tmp_path / "run" / "checkpoint.safetensors")["train"])["seed"] == 12345


# numbers that are none


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, -1])
def test_weights_that_are_no_numbers_are_named(
    value: float, place: int, tiny_weights: Path, picture: Path, driver: Path, tmp_path: Path, capsys
) -> None:
    tensors = load_file(tiny_weights)
    name = [key for key in sorted(tensors) if key.endswith("weight")][place]
    tensors[name].view(-1)[place] = value
    path = tmp_path / "bad.safetensors"
    save_file(tensors, path, read_metadata(tiny_weights))
    out = tmp_path / "out.mp4"
    with pytest.raises(SystemExit) as caught:
        main(["animate", str(picture), str(driver), "-o", str(out), "--weights", str(path), "--device", "cpu", "-q"])
    err = capsys.readouterr().err
    assert caught.value.code == 2
    assert name in err and "not finite" in err and err.count("\n") == 1
    assert [item.name for item in tmp_path.iterdir()] == ["bad.safetensors"]


@pytest.mark.parametrize("network", ["m", "r", "l", "h"])
def test_activations_that_are_no_numbers_are_named(network: str, tiny_model: Animator) -> None:
    """The first tensor that is bad is told: that of the network at fault, not of those after it."""
    model = copy.deepcopy(tiny_model)
    getattr(model, network).register_forward_hook(lambda module, inputs, output: output * float("nan"))
    source, *frames = noise(3)
    first = {"m": TENSORS[0], "r": "refined mask", "l": "coarse frame", "h": "final frame"}[network]
    with pytest.raises(FloatingPointError, match="not finite") as caught:
        trace_frames(model, encode_source(model, source), frames)
    assert first in str(caught.value)
    with pytest.raises(AnimaskError, match="not finite"):
        list(animate(model, source, frames))


def test_one_bad_number_is_enough(tiny_model: Animator, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(TENSORS) == len(Trace._fields)
    source, *frames = noise(3)
    encoded = encode_source(tiny_model, source)
    good = trace_frames(tiny_model, encoded, frames)
    for place, name in enumerate(TENSORS):
        parts = [tensor.clone() for tensor in good]
        parts[place].view(-1)[-1] = float("inf")
        monkeypatch.setattr(tiny_model, "drive", lambda *_, parts=parts: Trace(*parts))
        with pytest.raises(FloatingPointError) as caught:
            trace_frames(tiny_model, encoded, frames)
        assert name in str(caught.value)


def test_a_gpu_that_is_too_small_gets_half_and_the_command_says_so(
    tiny_weights: Path, picture: Path, driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """With a fake in place of the GPU's memory: more than two frames at once do not fit."""
    drive, sizes = Animator.drive, []

    def scarce(model: Animator, s: torch.Tensor, m_s: torch.Tensor, d: torch.Tensor) -> Trace:
        sizes.append(len(d))
        if len(d) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return drive(model, s, m_s, d)

    monkeypatch.setattr(Animator, "drive", scarce)
    flags = ["--weights", str(tiny_weights), "--device", "cpu", "--precision", "fp32", "--batch", "8"]
    with pytest.raises(SystemExit) as caught:
        main(["animate", str(picture), str(driver), "-o", str(tmp_path / "out.mp4"), *flags])
    err = capsys.readouterr().err
    assert caught.value.code == 0
    assert sizes[:3] == [8, 4, 2]
    assert "going on with 4" in err and "going on with 2" in err
    assert probe(tmp_path / "out.mp4").frames == probe(driver).frames


def test_a_damaged_checkpoint_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANIMASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(previews, "CASES", 5)
    data, run = make_data(tmp_path / "data"), tmp_path / "run"
    run_tiny(run, data, steps=1)
    path = run / "checkpoint.safetensors"
    tensors, metadata = load_file(path), read_metadata(path)
    name = next(key for key in tensors if key.startswith("model.") and key.endswith("weight"))
    moment = next(key for key in tensors if key.startswith("optimizer.exp_avg."))
    wrong = [({**tensors, name: torch.zeros(3)}, metadata), ({**tensors, "model.no": torch.zeros(1)}, metadata)]
    wrong += [({key: value for key, value in tensors.items() if key != moment}, metadata)]
    wrong += [(tensors, {**metadata, "step": "many"}), (tensors, {**metadata, "config": "{}}"})]
    for state, about in wrong:
        save_file(state, path, about)
        with pytest.raises(InputError):
            run_tiny(run, data, resume=True, steps=2)


# a long run


def resident(process: int) -> float:
    """MiB of memory that a process has now."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def hear(path: Path, start: float, length: float) -> float:
    """Seconds from the start of the file to the loudest hundredth within a part of it."""
    raw = path.with_suffix(".raw")
    graph = "aresample=8000:async=1:first_pts=0"
    ffmpeg("-i", path, "-map", "0:a:0", "-af", graph, "-ac", 1, "-f", "f32le", raw)
    samples = np.abs(np.fromfile(raw, np.float32))
    raw.unlink()
    part = samples[round(start * 8000) : round((start + length) * 8000)]
    return start + float(np.argmax(part > 0.1)) / 8000


def light_at(path: Path, info: VideoInfo, start: float, length: float) -> float:
    """Seconds until the driver's first bright frame within a part of it."""
    for number, frame in enumerate(read_frames(info, start=start, end=start + length)):
        if frame.mean() > 128:
            return start + float(number / info.fps)
    raise AssertionError("no bright frame")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("minutes", [pytest.param(1, id="one"), pytest.param(30, id="thirty", marks=pytest.mark.slow)])
def test_a_long_driver_needs_no_more_than_a_short_one(
    minutes: int, tiny_weights: Path, picture: Path, tmp_path: Path
) -> None:
    """A driver that flashes and beeps at the same time, a second after its start and a second before its end."""
    seconds, fps = 60 * minutes, Fraction(10)
    last = seconds - 1.0
    now = f"between({{0}},1,1.2)+between({{0}},{last},{last + 0.2})"
    light = f"color=black:s=64x64:r=10:d={seconds},format=gray,geq=lum='255*({now.format('T')})'"
    tone = f"aevalsrc='0.5*sin(2*PI*880*t)*({now.format('t')})':s=16000:d={seconds}"
    driver, out = tmp_path / "driver.mp4", tmp_path / "out.mp4"
    ffmpeg("-f", "lavfi", "-i", light, "-f", "lavfi", "-i", tone, "-pix_fmt", "yuv420p", driver)
    memory, handles = [], []

    def progress(done: int, total: int) -> None:
        assert total == seconds * fps
        if done % 50 == 0:
            memory.append(resident(os.getpid()))
            handles.append(sum(1 for _ in Path("/proc/self/fd").iterdir()))

    settings = Settings(weights=str(tiny_weights), device="cpu", precision="fp32", source_crop="centre", quality=40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = animate_file(picture, driver, out, settings, progress)
    assert report.frames == seconds * fps
    begun = len(memory) // 4
    assert max(memory[begun:]) - memory[begun] < 40, memory
    assert max(handles[begun:]) <= handles[begun]
    info, made = probe(driver), probe(out)
    assert made.duration == pytest.approx(info.duration, abs=0.1)
    for at in (0.0, last - 1):
        assert hear(out, at, 2) == pytest.approx(light_at(driver, info, at, 2), abs=0.12)
