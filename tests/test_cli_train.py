"""`animask train`: its flags, its exit codes, what it says, and how it goes on with a run."""

import json
import os
import pty
import signal
import time
import tomllib
from pathlib import Path

import pytest
import torch
from training_cases import FEW_CASES, finish, heard, make_data, start

from animask import config
from animask.cli import main
from animask.cli.train import changes
from animask.config import MODEL_PRESETS, TRAIN_PRESETS, ModelConfig, TrainConfig, merge, resolve
from animask.errors import InputError
from animask.training import previews, settings, starting
from animask.weights import load_model, read_metadata

FAST = ["--preset", "tiny", "--perceptual", "pixels", "--batch", "2", "--workers", "0", "--precision", "fp32"]
FAST += ["--device", "cpu"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def surroundings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "CASES", FEW_CASES)
    monkeypatch.setenv("ANIMASK_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("ANIMASK_DATA", raising=False)
    monkeypatch.delenv("ANIMASK_DEVICE", raising=False)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `animask train` in this process."""
    with pytest.raises(SystemExit) as caught:
        main(["train", *map(str, arguments)])
    captured = capsys.readouterr()
    return int(caught.value.code or 0), captured.out, captured.err


def call(arguments: list[str]) -> None:
    main(arguments)


# what it says


def test_stdout_carries_the_path_alone_and_stderr_the_lines(data, tmp_path, capsys):
    out = tmp_path / "run"
    code, told, said = run(capsys, "--dataset", "vox", "--data", data, "--out", out, "--steps", 2, *FAST)
    assert (code, told) == (0, f"{out / 'weights.safetensors'}\n")
    lines = said.splitlines()
    assert lines[0].startswith("reconstruction loss")
    assert sum(line.startswith("step 2/2  loss ") for line in lines) == 1
    assert lines[-1].startswith("finished at step 2, ")
    code, told, said = run(capsys, "--dataset", "vox", "--data", data, "--out", out, "--steps", 2, *FAST)
    assert (code, told) == (2, "")
    assert said.startswith(f"animask: {out} holds a run already. Hint: continue it with --resume")


def test_quiet_says_nothing_and_json_is_one_object(data, tmp_path, capsys):
    arguments = ["--dataset", data, "--out", tmp_path / "run", "--steps", 1, *FAST]
    code, told, said = run(capsys, *arguments, "-q", "--json")
    assert (code, said) == (0, "")
    outcome = json.loads(told)
    assert outcome.keys() == {"ended", "step", "weights", "figures", "samples_per_second", "memory_mb"}
    assert (outcome["ended"], outcome["step"], outcome["weights"]) == (
        "finished",
        1,
        str(tmp_path / "run/weights.safetensors"),
    )
    assert {"loss", "val_l1_f"} <= outcome["figures"].keys()


def attach(terminal: str, arguments: list[str]) -> None:
    os.dup2(os.open(terminal, os.O_RDWR), 2)
    main(arguments)


def test_a_terminal_shows_a_live_table(data, tmp_path):
    controller, follower = pty.openpty()
    arguments = ["train", "--dataset", str(data), "--out", str(tmp_path / "run"), "--steps", "2", *FAST]
    environment = {"ANIMASK_CACHE": os.environ["ANIMASK_CACHE"], "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    process = start(attach, os.ttyname(follower), arguments, output=tmp_path / "out", **environment)
    assert list(finish(process)) == [0]
    os.close(follower)
    shown = b""
    while b"finished at step 2" not in shown:
        shown += os.read(controller, 65536)
    os.close(controller)
    text = shown.decode()
    assert "\x1b[" in text
    for words in ("steps", "2/2", "samples/s", "left", "losses", "masks", "|m(d)-m(s)|", "copying the source"):
        assert words in text, words
    assert text.count("held-out L1") == 1
    assert "step 2/2  loss" not in text, "lines are for files"
    assert heard(tmp_path / "out", "stdout") == f"{tmp_path / 'run/weights.safetensors'}\n"


# flags


def test_flags_reach_the_saved_configuration(data, tmp_path, capsys):
    flags = {"steps": 3, "batch": 3, "lr": 0.001, "seed": 7, "limit-videos": 2, "perceptual": "pixels"}
    arguments = [str(item) for flag, value in flags.items() for item in (f"--{flag}", value)]
    arguments += ["--preset", "tiny", "--resolution", "48", "--precision", "fp32", "--workers", "0", "--device", "cpu"]
    out = tmp_path / "run"
    code, _, said = run(capsys, "--dataset", "vox", "--data", data, "--out", out, *arguments, "--time-limit", 0)
    assert code == 0, said
    assert "2 training clips in" in said
    saved = tomllib.loads((out / "config.toml").read_text())
    assert saved["dataset"] == "vox"
    assert saved["model"] == {
        **{key: list(x) if isinstance(x, tuple) else x for key, x in vars(MODEL_PRESETS["tiny"]).items()},
        "resolution": 48,
    }
    wanted = {"steps": 3, "batch": 3, "lr": 0.001, "seed": 7, "limit_videos": 2, "perceptual": "pixels", "workers": 0}
    wanted |= {"precision": "fp32", "data": str(data), "repeats": 75, "compile": False, "r_start": 1.0}
    assert {key: saved["train"][key] for key in wanted} == wanted
    assert saved["train"].keys() == {key for key, value in vars(TrainConfig(steps=3, limit_videos=2)).items()}


def test_changes_are_those_of_the_flags_that_were_given():
    flags = dict.fromkeys(("batch", "lr", "perceptual", "precision", "workers", "seed", "compile", "limit_videos"))
    flags |= dict.fromkeys(("data", "stills", "steps", "epochs", "resolution"))
    assert changes(flags) == {"train": {}, "model": {}}
    given = {"workers": 0, "seed": 0, "compile": False, "stills": "x", "epochs": 3, "resolution": 64}
    assert changes({**flags, **given}) == {
        "train": {
            "workers": 0,
            "seed": 0,
            "compile": False,
            "stills_dir": str(Path("x").absolute()),
            "epochs": 3,
            "steps": None,
        },
        "model": {"resolution": 64},
    }
    assert changes({**flags, "epochs": 3, "steps": 9})["train"] == {"epochs": 3, "steps": 9}


def test_unknown_keys_of_a_recipe_name_the_nearest(tmp_path, capsys):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('dataset = "toons"\n[train]\nlambda_msk = 3\n')
    code, told, said = run(capsys, "--config", recipe, "--out", tmp_path / "run")
    assert (code, told) == (2, "")
    assert said == "animask: unknown key 'lambda_msk' in [train]. Hint: did you mean 'lambda_mask'?.\n"
    assert not (tmp_path / "run").exists()


def test_a_recipe_is_overridden_by_flags(data, tmp_path, capsys):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'dataset = "{data}"\npreset = "tiny"\n[train]\nsteps = 1\nlr = 0.5\nlog_every = 1\n')
    code, _, said = run(capsys, "--config", recipe, "--out", tmp_path / "run", "--lr", "0.001", *FAST)
    assert code == 0, said
    saved = tomllib.loads((tmp_path / "run/config.toml").read_text())["train"]
    assert (saved["lr"], saved["steps"], saved["log_every"]) == (0.001, 1, 1)


def test_pictures_without_a_share_are_refused_and_with_one_are_used(data, tmp_path, capsys):
    code, told, said = run(capsys, "--dataset", data, "--stills", data / "train", "--out", tmp_path / "run", *FAST)
    assert (code, told) == (2, "")
    assert said.startswith("animask: --stills gives pictures, but their share of the samples is 0. Hint: ")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[train]\nstills = 0.5\nsteps = 1\n")
    common = ["--dataset", data, "--config", recipe, "--out", tmp_path / "run", *FAST]
    code, _, said = run(capsys, *common)
    assert code == 2
    assert "stills needs a folder of pictures. Hint: name it with --stills" in said
    code, _, said = run(capsys, *common, "--stills", data / "train")
    assert code == 0, said
    saved = tomllib.loads((tmp_path / "run/config.toml").read_text())["train"]
    assert (saved["stills"], saved["stills_dir"]) == (0.5, str(data / "train"))


# what is missing


def test_missing_data_say_where_they_were_looked_for_and_how_to_make_them(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ANIMASK_DATA", str(tmp_path / "sets"))
    code, told, said = run(capsys, "--dataset", "taichi", "--out", tmp_path / "run", *FAST)
    assert (code, told) == (2, "")
    assert f"looked for {tmp_path / 'sets/taichi'} or " in said
    assert "animask prepare" in said
    assert len(said.splitlines()) == 1


def test_no_data_set_is_named(tmp_path, capsys):
    code, _, said = run(capsys, "--out", tmp_path / "run")
    assert code == 2
    assert said.startswith("animask: no data set is named. Hint: give --dataset vox, taichi, bair, toons or a folder")


def test_all_clips_broken(tmp_path, capsys):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    code, _, said = run(capsys, "--dataset", tmp_path, "--out", tmp_path / "run", *FAST)
    assert code == 2
    assert "skipped a.mp4" in said
    assert "animask: none of the clips could be read" in said


def test_vgg_that_cannot_be_had_is_exit_3_with_a_hint(data, tmp_path):
    arguments = ["train", "--dataset", str(data), "--preset", "tiny", "--out", str(tmp_path / "run"), "--device", "cpu"]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub"), "HF_HUB_CACHE": str(tmp_path / "hub")}
    process = start(call, arguments, output=tmp_path / "out", **offline)
    assert list(finish(process)) == [3]
    said = heard(tmp_path / "out")
    assert said.startswith("animask: the weights of VGG-19 could not be had")
    assert "--perceptual random" in said
    assert len(said.splitlines()) == 1


# signals


def saved_step(out: Path) -> int:
    return int(read_metadata(out / "checkpoint.safetensors")["step"])


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_saves_and_has_its_exit_code(number, code, word, data, tmp_path):
    out = tmp_path / "run"
    arguments = ["train", "--dataset", str(data), "--out", str(out), "--steps", "100000", *FAST]
    process = start(call, arguments, output=tmp_path / "out", ANIMASK_CACHE=os.environ["ANIMASK_CACHE"])
    while not (out / "log.jsonl").exists() or not (out / "log.jsonl").stat().st_size:
        assert process.is_alive(), heard(tmp_path / "out")
        time.sleep(0.02)
    os.kill(process.pid or 0, number)
    assert list(finish(process)) == [code]
    assert heard(tmp_path / "out").splitlines()[-1].startswith(f"{word} at step {saved_step(out)}, ")
    assert "Traceback" not in heard(tmp_path / "out")
    assert heard(tmp_path / "out", "stdout") == f"{out / 'weights.safetensors'}\n"


def decode_forever(ready: Path, arguments: list[str]) -> None:
    def waiting(*_: object) -> None:
        ready.touch()
        time.sleep(60)

    starting.open_pairs = waiting  # type: ignore[assignment]
    main(arguments)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_data_are_decoded_ends_at_once(number, code, data, tmp_path):
    ready = tmp_path / "ready"
    arguments = ["train", "--dataset", str(data), "--out", str(tmp_path / "run"), *FAST]
    process = start(decode_forever, ready, arguments, output=tmp_path / "out")
    while not ready.exists():
        assert process.is_alive(), heard(tmp_path / "out")
        time.sleep(0.02)
    os.kill(process.pid or 0, number)
    assert list(finish(process)) == [code]
    assert "Traceback" not in heard(tmp_path / "out")


# going on


def test_resume_alone_goes_on_with_the_settings_of_the_run(data, tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    monkeypatch.chdir(data.parent)
    flags = ["--steps", 4, "--lr", 0.001, "--seed", 3, "--limit-videos", 3, *FAST]
    code, _, said = run(capsys, "--dataset", "vox", "--data", data.name, "--out", out, *flags, "--time-limit", 0)
    assert (code, saved_step(out)) == (0, 1), said
    before = (out / "config.toml").read_text()
    monkeypatch.chdir(tmp_path)
    code, told, said = run(capsys, "--out", out, "--resume", "--device", "cpu")
    assert (code, told, saved_step(out)) == (0, f"{out / 'weights.safetensors'}\n", 4)
    assert "resumed at step 1 of 4" in said
    assert "3 training clips" in said
    assert (out / "config.toml").read_text() == before
    code, _, said = run(capsys, "--out", out, "--resume", "--steps", 6, "--lr", 0.002, "--device", "cpu")
    assert (code, saved_step(out)) == (0, 6), said
    assert tomllib.loads((out / "config.toml").read_text())["train"]["lr"] == 0.002
    code, _, said = run(capsys, "--out", out, "--resume", "--preset", "compact")
    assert code == 2
    assert "preset 'compact' was asked for, but the settings are those of 'tiny'" in said
    code, _, said = run(capsys, "--out", out, "--resume", "--resolution", 32, "--device", "cpu")
    assert code == 2
    assert "is of another model: resolution = 64" in said


def test_nothing_to_resume(tmp_path, capsys):
    code, _, said = run(capsys, "--out", tmp_path / "run", "--resume")
    assert code == 2
    assert said.startswith(f"animask: {tmp_path / 'run'} holds no run to resume. Hint: leave --resume out")
    assert not (tmp_path / "run").exists()


def test_fine_tuning_takes_sizes_and_weights_from_the_weights(data, tiny_weights, tmp_path, capsys):
    out = tmp_path / "run"
    flags = [flag for flag in FAST if flag not in ("--preset", "tiny")]
    common = ["--dataset", data, "--init", tiny_weights, "--out", out, "--steps", 1]
    code, _, said = run(capsys, *common, *flags, "--lr", 1e-8, "--resolution", 48)
    assert code == 0, said
    saved = tomllib.loads((out / "config.toml").read_text())["model"]
    assert (saved["preset"], saved["width"], saved["resolution"]) == ("tiny", 4, 48)
    before, after = (load_model(path).h.head.weight for path in (tiny_weights, out / "weights.safetensors"))
    assert torch.allclose(before, after, atol=1e-6)
    code, _, said = run(capsys, *common[:-4], "--out", tmp_path / "other", *flags, "--preset", "compact")
    assert code == 2
    assert "preset 'compact' was asked for, but the settings are those of 'tiny'" in said
    code, _, said = run(capsys, "--dataset", data, "--init", "absent", "--out", tmp_path / "other")
    assert code == 3
    assert "weights 'absent' were not found" in said


def test_weights_of_other_sizes_are_refused(tiny_weights):
    wider = config.update(MODEL_PRESETS["tiny"], {"width": 8})
    with pytest.raises(InputError, match="have other sizes than the settings say"):
        starting.new_model(wider, 0, str(tiny_weights))


def test_the_seed_of_the_weights_leaves_the_seed_of_the_process_alone():
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    first, second, other = (starting.new_model(MODEL_PRESETS["tiny"], seed, None) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), wanted)
    assert torch.equal(first.h.head.weight, second.h.head.weight)
    assert not torch.equal(first.h.head.weight, other.h.head.weight)


# how settings come together


def test_data_sets_have_the_papers_sampling():
    for dataset, repeats, identities in (("vox", 75, "prefix"), ("taichi", 150, "prefix"), ("bair", 1, "file")):
        _, model, train = resolve(None, dataset, {}, {})
        assert (train.repeats, train.identities) == (repeats, identities)
        assert model == ModelConfig()
    _, _, train = resolve(None, "toons", {}, {})
    assert train.toons == 1.0


def test_released_values_differ_for_bodies():
    _, faces, train = resolve("released", "vox", {}, {})
    assert (faces.threshold, faces.threshold_train, faces.temperature) == (100 / 255, 100 / 255, 0.1)
    assert (train.perceptual_layers, train.scales) == ((1, 3, 5), (1, 2, 4))
    assert (train.jitter, train.flips, train.beta2) == ("all", "time-or-mirror", 0.999)
    for dataset in ("taichi", "bair"):
        _, bodies, train = resolve("released", dataset, {}, {})
        assert (bodies.threshold, bodies.threshold_train) == (60 / 255, 60 / 255)
        assert (train.perceptual_layers, train.scales) == ((1, 3, 5, 9, 13), (1, 2, 4, 8))
        assert (bodies.encoder_order, train.jitter) == ("bn-relu", "all")


def test_flags_win_over_the_recipe_the_recipe_over_the_data_set_and_that_over_the_preset():
    recipe = {"preset": "compact", "dataset": "vox", "model": {"width": 8}, "train": {"repeats": 3, "lr": 0.5}}
    name, model, train = resolve(None, None, recipe, {"train": {"lr": 0.25}, "model": {}})
    assert (name, model.preset, model.width, train.repeats, train.lr) == ("vox", "compact", 8, 3, 0.25)
    _, model, train = resolve("tiny", "taichi", {"preset": "compact", "dataset": "vox"}, {})
    assert (model.preset, train.repeats) == ("tiny", 150)


def test_a_record_of_another_preset_is_refused():
    with pytest.raises(InputError, match="preset 'tiny' was asked for, but the settings are those of 'compact'"):
        resolve("tiny", "vox", {"model": {"preset": "compact"}}, {})
    assert resolve(None, "vox", {"model": {"preset": "compact"}}, {})[1].width == 16


def test_the_folder_in_a_recipe_is_that_of_its_own_data_set():
    recipe = {"dataset": "vox", "train": {"data": "/data/vox"}}
    assert resolve(None, None, recipe, {})[2].data == "/data/vox"
    assert resolve(None, "taichi", recipe, {})[2].data == ""
    assert resolve(None, "taichi", recipe, {"train": {"data": "/x"}})[2].data == "/x"
    assert resolve(None, "vox", {"train": {"data": "/data/vox"}}, {})[2].data == "/data/vox"


def test_recipes_are_merged_table_by_table():
    first = {"dataset": "vox", "model": {"width": 8}, "train": {"lr": 0.5, "batch": 4}}
    second = {"preset": "tiny", "train": {"lr": 0.25}}
    merged = merge(first, second)
    assert merged == {
        "dataset": "vox",
        "preset": "tiny",
        "model": {"width": 8},
        "train": {"lr": 0.25, "batch": 4},
    }
    assert merge({}, {}) == {"model": {}, "train": {}}


def test_settings_of_a_new_run_are_the_recipe(tmp_path):
    assert settings(tmp_path, False, None, {"dataset": "vox"}) == {"dataset": "vox"}
    assert TRAIN_PRESETS.keys() == MODEL_PRESETS.keys()
