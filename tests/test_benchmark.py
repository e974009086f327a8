"""The figures of a benchmark: what is counted and how it is summed up; and the command that prints them."""

import dataclasses
import json
import math

import pytest
import torch
import typer
from typer.testing import CliRunner

from animask import benchmark, timing
from animask.animation import Settings
from animask.benchmark import Spread, count_gflop, measure_speed, operation_speed, spread, take_turns
from animask.cli.bench import bench
from animask.config import MODEL_PRESETS, TRAIN_PRESETS
from animask.datasets import DataSpeed
from animask.errors import InputError, MissingError
from animask.fusion import fuse
from animask.model import Animator
from animask.toons import pose_at, render, sample_identity


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Little to compute: a short example, and small operations for the limit."""
    monkeypatch.setattr(benchmark, "CONVOLUTION", (1, 16, 16))
    monkeypatch.setattr(benchmark, "PRODUCT", 64)
    monkeypatch.setattr("animask.samples.SECONDS", 2)
    monkeypatch.setattr(benchmark, "SECONDS", 2)


def test_quartiles_by_hand():
    assert spread([4.0, 1.0, 3.0, 2.0, 5.0]) == Spread(3.0, 2.0, 4.0, 5)


def test_turns_are_taken_one_after_the_other(monkeypatch):
    now, order = [0.0], []

    def call(name, lasts):
        order.append(name)
        now[0] += lasts

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    times = take_turns({"a": lambda: call("a", 1.0), "b": lambda: call("b", 2.0)}, seconds=13)
    assert times == {
        "a": [1.0] * 5,
        "b": [2.0] * 5,
    }  # the fifth round begins after 12 seconds, the sixth would after 15
    assert "".join(order) == "ab" * 6  # the first turn is not measured
    assert len(take_turns({"a": lambda: call("a", 9.0)}, seconds=1)["a"]) == timing.ROUNDS


def test_operations_are_timed_by_the_wall(monkeypatch):
    now = [0.0]

    def operation():
        now[0] += 0.5
        return torch.zeros(1)

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    assert operation_speed(operation, 3 * 10**9, torch.device("cpu")) == pytest.approx(6.0)


def test_arithmetic_by_hand():
    """Of every convolution: outputs × k² × inputs, twice. What belongs to the source alone is not of a frame."""
    model = Animator(MODEL_PRESETS["tiny"]).eval()
    face, frame = (render(sample_identity(n), pose_at(n, 0.0), 64) for n in (1, 2))
    work = []

    def count(layer, inputs, output):
        work.append(2 * output.numel() * layer.in_channels * layer.kernel_size[0] ** 2)

    call = benchmark.drive(model, face, [frame])
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(count)
    call()
    expected = sum(work) / 1e9
    assert count_gflop(model, face, frame) == pytest.approx(expected)
    assert count_gflop(fuse(model), face, frame) < expected


def test_a_preset_is_measured_whole():
    speed = measure_speed(Settings(device="cpu", precision="fp32", batch=4), "tiny", seconds=0.5)
    assert (speed.weights, speed.preset, speed.resolution, speed.device) == ("random", "tiny", 64, "cpu")
    assert (speed.precision, speed.batch, speed.gpu_memory) == ("fp32", 4, None)
    for value in (speed.networks, speed.reference, speed.ratio, speed.pipeline):
        assert 0 < value.low <= value.median <= value.high < math.inf
        assert value.rounds >= timing.ROUNDS
    assert list(speed.stages) == ["decode", "networks", "encode"]
    assert sum(stage.share for stage in speed.stages.values()) == pytest.approx(1)
    assert 4 <= speed.frames <= 50
    assert speed.limit.share == pytest.approx(speed.networks.median / speed.limit.frames)
    assert speed.limit.frames == pytest.approx(max(speed.limit.convolution, speed.limit.product) / speed.limit.gflop)


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="unknown preset 'compcat'"):
        measure_speed(Settings(device="cpu"), "compcat")
    with pytest.raises(MissingError):
        measure_speed(Settings(weights="/nowhere/x.safetensors", device="cpu"))
    with pytest.raises(InputError, match="too short"):
        measure_speed(Settings(device="cpu"), "tiny", seconds=0)


def test_the_command_prints_json_only(tiny_weights):
    app = typer.Typer()
    app.command()(bench)
    flags = ["--weights", str(tiny_weights), "--device", "cpu", "--precision", "bf16", "--batch", "2"]
    result = CliRunner().invoke(app, [*flags, "--seconds", "0.1", "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["weights"] == str(tiny_weights)
    assert (report["preset"], report["precision"], report["batch"]) == ("tiny", "bf16", 2)
    assert report["networks"].keys() == {"median", "low", "high", "rounds"}
    assert report["stages"]["encode"]["ms"]["median"] > 0
    assert "whole animate" in result.stderr and "limit" in result.stderr


def test_the_data_side_has_figures_of_its_own(monkeypatch):
    monkeypatch.setattr("animask.datasets.measure_data", lambda clip, seconds: DataSpeed(256, 1000.0, 10.0, 40.0))
    app = typer.Typer()
    app.command()(bench)
    result = CliRunner().invoke(app, ["--data", "--json"])
    assert json.loads(result.stdout) == {"resolution": 256, "cache": 1000.0, "decoding": 10.0, "toons": 40.0}
    for words in ("pairs of 256×256 frames", "from the cache", "1000", "toons", "40"):
        assert words in result.stderr


def test_a_training_step_has_figures_of_its_own():
    app = typer.Typer()
    app.command()(bench)
    flags = [
        "--train",
        "--preset",
        "tiny",
        "--batch",
        "2",
        "--device",
        "cpu",
        "--precision",
        "bf16",
        "--seconds",
        "0.1",
    ]
    result = CliRunner().invoke(app, [*flags, "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["preset"], report["batch"], report["precision"], report["loss"]) == ("tiny", 2, "bf16", "random")
    assert report["steps"]["median"] > 0 and report["reference"]["median"] > 0
    assert report["gpu_memory"] is None
    assert "samples/s" in result.stderr


def test_a_plain_loop_learns_the_same():
    """The reference does the work that it is compared for: the same loss in float32, and every network moves."""
    from animask.training import speed

    config = dataclasses.replace(TRAIN_PRESETS["tiny"], perceptual="pixels", precision="fp32", r_start=0.0, batch=2)
    trainers = [speed.open_trainer(MODEL_PRESETS["tiny"], config, "cpu") for _ in range(2)]
    before = [p.clone() for p in trainers[0].model.parameters()]
    batch = speed.noise(2, 64)
    first, second = (trainer.learn(batch) for trainer in (trainers[0], speed.make_plain(trainers[1])))
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-5)
    moved = [not torch.equal(a, b) for a, b in zip(before, trainers[1].model.parameters(), strict=True)]
    assert all(moved)
