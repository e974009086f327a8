"""The figures of a benchmark: what is counted and how it is summed up; and the command that prints them."""

import json
import math

import pytest
import torch
import typer
from typer.testing import CliRunner

from animask import benchmark
from animask.animation import Settings
from animask.benchmark import Spread, count_gflop, drive, measure_speed, spread, take_turns
from animask.cli.bench import bench
from animask.config import MODEL_PRESETS
from animask.errors import InputError
from animask.fusion import fuse
from animask.model import Animator
from animask.toons import pose_at, render, sample_identity


def test_quartiles_by_hand():
    assert spread([4.0, 1.0, 3.0, 2.0, 5.0]) == Spread(3.0, 2.0, 4.0, 5)


def test_turns_are_taken_one_after_the_other(monkeypatch):
    now, order = [0.0], []

    def call(name, lasts):
        order.append(name)
        now[0] += lasts

    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: now[0])
    times = take_turns({"a": lambda: call("a", 1.0), "b": lambda: call("b", 2.0)}, seconds=13)
    assert times == {"a": [1.0] * 5, "b": [2.0] * 5}  # the fifth round begins after 12 seconds
    assert "".join(order) == "ab" * 6  # the first turn is not measured
    assert len(take_turns({"a": lambda: call("a", 9.0)}, seconds=1)["a"]) == benchmark.ROUNDS


def test_arithmetic_by_hand():
    """Of every convolution: outputs × k² × inputs, twice. What belongs to the source alone is not of a frame."""
    model = Animator(MODEL_PRESETS["tiny"]).eval()
    face, frame = (render(sample_identity(n), pose_at(n, 0.0), 64) for n in (1, 2))
    work = []

    def count(layer, inputs, output):
        work.append(2 * output.numel() * layer.in_channels * layer.kernel_size[0] ** 2)

    call = drive(model, face, [frame])
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(count)
    call()
    expected = sum(work) / 1e9
    assert count_gflop(call) == pytest.approx(expected)
    assert count_gflop(drive(fuse(model), face, [frame])) < expected


def test_an_unknown_preset_is_refused():
    with pytest.raises(InputError):
        measure_speed(Settings(device="cpu"), "compcat")


@pytest.mark.parametrize("preset", ["", "tiny"])
def test_the_command_prints_json_only(preset, tiny_weights):
    app = typer.Typer()
    app.command()(bench)
    flags = ["--weights", str(tiny_weights), "--preset", preset, "--device", "cpu", "--precision", "fp32"]
    result = CliRunner().invoke(app, [*flags, "--batch", "2", "--seconds", "0.1", "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["weights"] == ("random" if preset else str(tiny_weights))
    assert (report["preset"], report["resolution"], report["precision"], report["batch"]) == ("tiny", 64, "fp32", 2)
    for name in ("networks", "reference", "ratio", "pipeline"):
        assert 0 < report[name]["low"] <= report[name]["median"] <= report[name]["high"] < math.inf
        assert report[name]["rounds"] >= benchmark.ROUNDS
    assert "whole animate" in result.stderr
