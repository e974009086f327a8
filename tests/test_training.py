"""Whole runs: what they leave, how they end, and that they go on bit for bit however they were ended."""

import json
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_cases import SIDE, TINY, assert_same, finish, frame, make_data, make_model, run_tiny, settings, start

from animask import training
from animask.config import MODEL_PRESETS, TRAIN_PRESETS, TrainConfig, update
from animask.datasets import pack, save_array
from animask.errors import AnimaskError, InputError
from animask.images import read_image, to_tensor
from animask.pairs import Batch, Pairs
from animask.trainer import CHECKPOINT, Trainer
from animask.training import HeldOut, Run, hold_out, judge_masks, new_model, train
from animask.weights import load_model, read_metadata, read_tensors

STEPS = 6

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module", params=["found", "taught"])
def changes(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Settings of a run of each kind."""
    taught = {"masks": "taught", "toons": 0.5, "flips": "mirror", "schedule": "cosine", "lambda_looks": 1.0}
    return {"found": {"epochs": 2}, "taught": taught}[request.param]


@pytest.fixture(scope="module")
def whole(data, cache, changes, tmp_path_factory):
    """A run that was never stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    words = run_tiny(out, data, preview_every=4, **changes)
    (out / "words.json").write_text(json.dumps(words))
    return out


def log_of(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


# what a run leaves


def test_a_run_leaves_weights_checkpoint_previews_and_a_log_of_all_figures(whole, changes):
    assert [path.name for path in sorted((whole / "previews").iterdir())] == ["0000004.png", "0000006.png"]
    assert read_image(whole / "previews/0000006.png").shape[1] == 8 * TINY.resolution
    model = load_model(whole / "weights.safetensors")
    assert model.config == TINY
    about = read_metadata(whole / "weights.safetensors")
    assert (about["dataset"], about["steps"], about["samples"]) == ("vox", "6", "12")
    assert about["masks"] == changes.get("masks", "found")
    state = read_tensors(whole / CHECKPOINT)
    assert torch.allclose(model.h.head.weight, state["ema.h.head.weight"], atol=1e-3), "the average is what is saved"
    log = log_of(whole)
    assert [line["step"] for line in log if "loss" in line] == list(range(1, STEPS + 1))
    figures = {"loss", "l1_c", "l1_f", "l1_copy", "mask_mean", "mask_motion", "lr", "samples_per_second"}
    figures |= {"m", "r", "looks"} if "masks" in changes else {"loss_mask"}
    assert figures <= log[0].keys()
    assert [line["step"] for line in log if "val_l1_f" in line] == [4, 6]
    words = json.loads((whole / "words.json").read_text())
    (line,) = [word for word in words if word.startswith(f"step {STEPS} ")]
    shown = f"loss {log[-2]['loss']:.4f}  loss_c {log[-2]['loss_c']:.4f}"
    assert re.fullmatch(rf"step 6 \(100%\)  {shown}  .* \d+\.\d samples/s  0 min left", line)
    assert sum(word.startswith("held-out L1") for word in words) == 2


def test_a_run_of_minutes_does_a_step_at_least_in_any_thread_and_leaves_threads_alone(data, tmp_path):
    before = torch.get_num_threads()
    config, run = settings(data=str(data), minutes=0.0, steps=None), Run(tmp_path / "run", "vox", "cpu")
    with ThreadPoolExecutor(1) as thread:  # where no signals come
        outcome = thread.submit(train, TINY, config, run, print).result()
    assert (outcome.ended, outcome.step, outcome.figures["val_l1_copy"] > 0) == ("finished", 1, True)
    assert torch.get_num_threads() == before


def test_clips_without_clay_are_trained_on_as_found_and_a_line_says_so(tmp_path):
    data = make_data(tmp_path / "data")
    words = run_tiny(tmp_path / "run", data, steps=1, masks="taught")
    assert sum("animask prepare" in word for word in words) == 1
    assert read_metadata(tmp_path / "run/weights.safetensors")["masks"] == "found"


def test_the_crop_follows_the_device_and_fits_the_blocks():
    model, config = MODEL_PRESETS["compact"], update(TRAIN_PRESETS["compact"], {"toons": 1.0})
    for device, crop in (("cpu", 128), ("cuda", 256)):
        assert training.complete(model, config, "toons", torch.device(device), print).crop == crop
    assert training.complete(model, update(config, {"crop": 160}), "toons", torch.device("cuda"), print).crop == 160
    for crop in (100, 512):
        with pytest.raises(InputError, match="32"):
            training.complete(model, update(config, {"crop": crop}), "toons", torch.device("cpu"), print)


def test_weights_of_other_sizes_are_refused(tiny_weights):
    assert torch.equal(new_model(TINY, 0, str(tiny_weights)).h.head.weight, load_model(tiny_weights).h.head.weight)
    with pytest.raises(InputError, match="sizes"):
        new_model(update(TINY, {"width": 8}), 0, str(tiny_weights))


# how a run ends and goes on


def die_after(step: int, out: Path, data: Path, changes: dict[str, Any]) -> None:
    """A run that is killed when it has told its figures of a step."""

    def report(text: str) -> None:
        if text.startswith(f"step {step} "):
            os.kill(os.getpid(), signal.SIGKILL)

    train(TINY, settings(data=str(data), **changes), Run(out, "vox", "cpu"), report)


def test_steps_a_kill_and_a_resumption_equal_a_run_without_them(whole, data, changes, cache, tmp_path):
    out = tmp_path / "run"
    changes = {**changes, "save_every": 2, "preview_every": 4}
    process = start(die_after, 5, out, data, changes, output=tmp_path / "out")
    assert finish(process) == -signal.SIGKILL
    assert read_metadata(out / CHECKPOINT)["step"] == "4"
    with pytest.raises(InputError, match="holds a run already") as caught:
        run_tiny(out, data, **changes)
    assert "--resume" in caught.value.hint
    words = run_tiny(out, data, resume=True, **changes)
    assert any(word.startswith("resumed at step 4") for word in words)
    assert_same(out / CHECKPOINT, whole / CHECKPOINT)
    assert [line["step"] for line in log_of(out) if "loss" in line] == list(range(1, STEPS + 1)), "step 5 once"
    run_tiny(out, data, resume=True, **changes)
    assert_same(out / CHECKPOINT, whole / CHECKPOINT)


@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_a_signal_ends_the_run_after_a_step(number, word, data, tmp_path):
    def report(text: str) -> None:
        if text.startswith("step 1 "):
            signal.raise_signal(number)

    out = tmp_path / "run"
    outcome = train(TINY, settings(data=str(data), steps=50), Run(out, "vox", "cpu"), report)
    assert (outcome.ended, outcome.weights) == (word, str(out / "weights.safetensors"))
    assert read_metadata(out / CHECKPOINT)["step"] == str(outcome.step)
    assert outcome.step <= 2
    assert (out / "weights.safetensors").is_file()


def test_the_second_interrupt_does_not_wait():
    with pytest.raises(KeyboardInterrupt), training.catch_signals() as caught:
        signal.raise_signal(signal.SIGINT)
        assert caught == [signal.SIGINT]
        signal.raise_signal(signal.SIGTERM)
        assert len(caught) == 2
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# what stops a run


def test_figures_that_are_not_finite_stop_the_run_and_keep_the_last_good_checkpoint(data, tmp_path, monkeypatch):
    judge = Trainer.judge

    def spoiled(self: Trainer, model: Any, batch: Batch, seed: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        loss, figures = judge(self, model, batch, seed)
        return (loss * torch.nan, figures | {"loss": loss * torch.nan}) if self.step == 4 else (loss, figures)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "judge", spoiled)
        with pytest.raises(AnimaskError, match="loss is not finite at step 5") as caught:
            run_tiny(tmp_path / "run", data, save_every=2)
    assert (caught.value.exit_code, "--resume" in caught.value.hint) == (1, True)
    assert [line["step"] for line in log_of(tmp_path / "run") if "loss" in line] == [1, 2, 3, 4]
    assert any(word.startswith("resumed at step 4") for word in run_tiny(tmp_path / "run", data, resume=True))


def test_masks_that_show_nothing_are_remarked_on(data, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "DARK", 1.0)
    monkeypatch.setattr(training, "PATIENCE", 3)
    words = run_tiny(tmp_path / "run", data, preview_every=2)
    assert ["WARNING" in word for word in words if "dark" in word] == [False, True, True]


def test_what_is_missing_is_found_before_data_are_decoded(data, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "open_pairs", lambda *_: pytest.fail("decoded first"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    run = Run(tmp_path / "run", "vox", "cpu")
    for changed, config in (
        (Run(tmp_path / "run", "vox", "cpu", init="absent"), settings(data=str(data))),
        (run, settings(data=str(tmp_path / "none"))),
        (run, settings(data=str(data), crop=21)),
        (Run(tmp_path / "run", "vox", "cuda:99"), settings(data=str(data))),
    ):
        with pytest.raises(AnimaskError):
            train(TINY, config, changed, lambda _: None)


# what is looked at


def test_a_resumed_log_forgets_what_is_done_again(tmp_path):
    path = tmp_path / "log.jsonl"
    lines = [json.dumps({"step": step, "loss": 0.5}) for step in (1, 2, 2, 3, 4)]
    path.write_text("\n".join(lines) + '\n{"step": 5, "lo')
    training.cut_log(tmp_path, 3)
    training.write_log(tmp_path, 4, {"loss": 0.25})
    assert path.read_text() == "\n".join([*lines[:4], '{"step": 4, "loss": 0.25}']) + "\n"
    training.cut_log(tmp_path, 0)
    assert path.read_text() == ""


@pytest.mark.parametrize(
    ("mean", "motion", "word"), [(0.001, 0.1, "dark"), (0.999, 0.1, "1 every"), (0.4, 0.0, "same"), (0.2, 0.02, "")]
)
def test_masks_that_show_nothing_get_a_word_and_later_a_warning(mean, motion, word):
    figures = {"mask_mean": mean, "mask_motion": motion}
    early, late = (judge_masks(step, figures) for step in (training.PATIENCE, training.PATIENCE + 1))
    assert word in early
    assert ("WARNING" in early, "WARNING" in late) == (False, bool(word))
    assert judge_masks(0, {}) == ""


@pytest.fixture
def held_out(tmp_path: Path) -> list[HeldOut]:
    clips = {}
    for identity in range(3):
        save_array(tmp_path / f"{identity}.npy", pack([frame(identity, turn) for turn in range(4)], []))
        clips[str(identity)] = [tmp_path / f"{identity}.npy"]
    return hold_out(Pairs(SIDE, TrainConfig(), clips))


def test_held_out_figures_by_hand(held_out):
    model = make_model().eval()
    s, d = (to_tensor(np.stack(frames), "cpu") for frames in zip(*held_out, strict=True))
    with torch.inference_mode():
        c, f = model.render(s, model.m(s), model.m(d))
    wanted = {name: float((x - d).abs().mean()) for name, x in (("val_l1_c", c), ("val_l1_f", f), ("val_l1_copy", s))}
    assert training.validate(model, held_out) == pytest.approx(wanted, rel=1e-4)
    assert len(held_out) == training.HELD_OUT


def test_the_sheet_shows_reconstructions_and_animations(held_out):
    image = training.draw_sheet(make_model().eval(), held_out)
    shown = training.SHOWN
    assert image.shape[1] == 8 * SIDE
    height = image.shape[0] // (2 * shown)
    pairs = [(i, i) for i in range(shown)] + [(i, i + 1) for i in range(shown)]
    for row, (source, driver) in enumerate(pairs):
        line = image[row * height : (row + 1) * height][-SIDE:]
        assert np.array_equal(line[:, :SIDE], held_out[source][0])
        assert np.array_equal(line[:, 2 * SIDE : 3 * SIDE], held_out[driver][1])
