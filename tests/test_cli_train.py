"""`animask train`: its flags, its exit codes, what it says, and how it goes on with a run."""

import json
import os
import signal
import time
import tomllib
from pathlib import Path

import pytest
import torch
from training_cases import finish, heard, start, wait_for

from animask import training
from animask.cli import main
from animask.cli.train import changes
from animask.config import TrainConfig
from animask.weights import load_model

FAST = ["--preset", "tiny", "--perceptual", "lpips", "--batch", "2", "--workers", "0", "--precision", "fp32"]
FAST += ["--device", "cpu", "--ranks", "1"]

pytestmark = pytest.mark.usefixtures("cache")


def test_stdout_carries_the_path_or_one_object_and_stderr_the_lines(data, tmp_path, run):
    out = tmp_path / "run"
    code, told, said = run("train", "--dataset", "vox", "--data", data, "--out", out, "--steps", 2, *FAST)
    assert (code, told) == (0, f"{out / 'weights.safetensors'}\n")
    lines = said.splitlines()
    assert sum(line.startswith("step 2 (100%)") for line in lines) == 1
    assert lines[-1].startswith("finished at step 2, ")
    code, told, said = run("train", "--dataset", data, "--out", tmp_path / "json", "--steps", 1, *FAST, "-q", "--json")
    assert (code, said) == (0, "")
    outcome = json.loads(told)
    assert outcome.keys() == {"ended", "step", "weights", "figures", "samples_per_second", "memory_mb"}
    assert (outcome["ended"], outcome["step"]) == ("finished", 1)
    assert outcome["weights"] == str(tmp_path / "json/weights.safetensors")
    assert {"loss", "val_l1_f"} <= outcome["figures"].keys()


def test_flags_reach_the_saved_configuration(data, tmp_path, run):
    out = tmp_path / "run"
    flags = "--steps 2 --batch 3 --lr 0.001 --seed 7 --limit-videos 2 --preset tiny --resolution 48 --workers 0"
    flags += " --perceptual lpips --precision fp32 --device cpu --ranks 1"
    code, _, said = run("train", "--dataset", "vox", "--data", data, "--out", out, *flags.split())
    assert code == 0, said
    assert "2 training clips in" in said
    saved = tomllib.loads((out / "config.toml").read_text())
    assert (saved["dataset"], saved["model"]) == ("vox", {**saved["model"], "preset": "tiny", "resolution": 48})
    wanted = {"steps": 2, "batch": 3, "lr": 0.001, "seed": 7, "limit_videos": 2, "perceptual": "lpips", "workers": 0}
    wanted |= {"precision": "fp32", "data": str(data), "repeats": 75, "masks": "found", "crop": 24}
    assert {key: saved["train"][key] for key in wanted} == wanted
    assert saved["train"].keys() == vars(TrainConfig()).keys() - {"minutes"}


def test_a_length_on_the_command_line_replaces_the_recipes():
    assert changes({"minutes": 3.0, "lr": None}) == {"train": {"minutes": 3.0, "steps": None}, "model": {}}


def test_pictures_without_a_share_are_refused_and_with_one_are_used(data, tmp_path, run):
    code, told, said = run("train", "--dataset", data, "--stills", data / "train", "--out", tmp_path / "run", *FAST)
    assert (code, told) == (2, "")
    assert "share" in said
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[train]\nstills = 0.5\nsteps = 1\n")
    common = ["--dataset", data, "--config", recipe, "--out", tmp_path / "run", *FAST]
    code, _, said = run("train", *common)
    assert (code, "--stills" in said) == (2, True)
    code, _, said = run("train", *common, "--stills", data / "train")
    assert code == 0, said
    saved = tomllib.loads((tmp_path / "run/config.toml").read_text())["train"]
    assert (saved["stills"], saved["stills_dir"]) == (0.5, str(data / "train"))


def test_missing_data_say_where_they_were_looked_for_and_how_to_make_them(tmp_path, run, monkeypatch):
    monkeypatch.setenv("ANIMASK_DATA", str(tmp_path / "sets"))
    code, told, said = run("train", "--dataset", "taichi", "--out", tmp_path / "run", *FAST)
    assert (code, told) == (2, "")
    assert f"looked for {tmp_path / 'sets/taichi'} or " in said
    assert "animask prepare" in said
    assert len(said.splitlines()) == 1


def decode_forever(ready: Path, arguments: list[str]) -> None:
    def waiting(*_: object) -> None:
        ready.write_text("ready")
        time.sleep(60)

    training.open_pairs = waiting  # type: ignore[assignment]
    main(arguments)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_data_are_decoded_ends_at_once(number, code, data, tmp_path):
    ready = tmp_path / "ready"
    arguments = ["train", "--dataset", str(data), "--out", str(tmp_path / "run"), *FAST]
    process = start(decode_forever, ready, arguments, output=tmp_path / "out")
    wait_for(ready, process, tmp_path / "out")
    os.kill(process.pid or 0, number)
    assert finish(process) == code
    assert "Traceback" not in heard(tmp_path / "out")


def test_resume_alone_goes_on_with_the_settings_of_the_run(data, tmp_path, run, monkeypatch):
    out, again = tmp_path / "run", ["--out", tmp_path / "run", "--resume", "--device", "cpu", "--ranks", 1]
    monkeypatch.chdir(data.parent)
    flags = ["--steps", 1, "--lr", 0.001, "--seed", 3, "--limit-videos", 3, *FAST]
    code, _, said = run("train", "--dataset", "vox", "--data", data.name, "--out", out, *flags)
    assert code == 0, said
    before = (out / "config.toml").read_text()
    monkeypatch.chdir(tmp_path)
    code, told, said = run("train", *again)
    assert (code, told) == (0, f"{out / 'weights.safetensors'}\n")
    assert "resumed at step 1" in said
    assert "3 training clips" in said
    assert (out / "config.toml").read_text() == before
    code, _, said = run("train", *again, "--steps", 3, "--lr", 0.002)
    assert (code, "finished at step 3" in said) == (0, True), said
    assert tomllib.loads((out / "config.toml").read_text())["train"]["lr"] == 0.002
    for wrong in (("--preset", "compact"), ("--resolution", 32)):
        assert run("train", *again, *wrong)[0] == 2
    code, _, said = run("train", "--out", tmp_path / "none", "--resume")
    assert (code, "no run to resume" in said, (tmp_path / "none").exists()) == (2, True, False)


def test_fine_tuning_takes_sizes_and_weights_from_the_weights(data, tiny_weights, tmp_path, run):
    out = tmp_path / "run"
    common = ["--dataset", data, "--init", tiny_weights, "--steps", 1, *FAST[2:]]
    code, _, said = run("train", *common, "--out", out, "--lr", 1e-8, "--resolution", 48)
    assert code == 0, said
    saved = tomllib.loads((out / "config.toml").read_text())["model"]
    assert (saved["preset"], saved["width"], saved["resolution"]) == ("tiny", 4, 48)
    before, after = (load_model(path).h.head.weight for path in (tiny_weights, out / "weights.safetensors"))
    assert torch.allclose(before, after, atol=1e-6)
    code, _, said = run("train", *common, "--out", tmp_path / "other", "--preset", "compact")
    assert (code, "'compact'" in said) == (2, True)
