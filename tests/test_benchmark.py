"""The figures of a benchmark: how they are counted; and the command that prints them."""

import json

import pytest
from test_networks import gflop_per_frame

from animask import benchmark
from animask.benchmark import take_turns
from animask.config import MODEL_PRESETS


def test_turns_are_taken_and_the_first_one_does_not_count(monkeypatch):
    now, order, lasts = [0.0], [], {"a": iter([90, 1, 3, 2, 9, 9]), "b": iter([4] * 6)}
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: now[0])

    def call(name):
        order.append(name)
        now[0] += next(lasts[name])

    assert take_turns([lambda: call("a"), lambda: call("b")], seconds=0) == [2, 4]
    assert "".join(order) == "ab" * (1 + benchmark.ROUNDS)


@pytest.mark.parametrize("preset", ["", "tiny"])
def test_the_command_prints_json_only(preset, tiny_weights, run):
    flags = ["--weights", tiny_weights, "--preset", preset, "--device", "cpu", "--precision", "fp32"]
    code, out, err = run("bench --batch 2 --seconds 0.1 --json", *flags)
    assert code == 0, err
    report = json.loads(out)
    assert report["weights"] == ("random" if preset else str(tiny_weights))
    assert (report["preset"], report["resolution"], report["precision"], report["batch"]) == ("tiny", 64, "fp32", 2)
    assert report["networks"] / report["reference"] == pytest.approx(report["ratio"])
    assert report["pipeline"] > 0 and "whole animate" in err
    assert report["gflop"] == pytest.approx(gflop_per_frame(MODEL_PRESETS["tiny"]))
