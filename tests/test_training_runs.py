"""Whole runs: what they leave, how they end, and that they go on bit for bit however they were ended."""

import dataclasses
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from training_cases import (
    FEW_CASES,
    TINY,
    assert_same,
    finish,
    heard,
    make_data,
    run_tiny,
    settings,
    start,
    state_of,
    wait_for,
)

from animask.errors import AnimaskError, InputError
from animask.images import read_image
from animask.training import Outcome, Progress, Run, loop, previews, starting, train
from animask.training.checkpoints import CHECKPOINT, PREVIOUS
from animask.training.trainer import MEASURES, Trainer
from animask.weights import load_model, read_metadata

STEPS = 6


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True, scope="module")
def few_cases() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(previews, "CASES", FEW_CASES)
        yield


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("ANIMASK_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def whole(few_cases: None, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANIMASK_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        words = run_tiny(out, data, preview_every=4)
    (out / "words.json").write_text(json.dumps(words))
    return out


def log_of(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


# what a run leaves


def test_a_run_leaves_weights_checkpoint_log_and_previews(whole, data):
    names = {path.name for path in whole.iterdir()}
    assert {"weights.safetensors", CHECKPOINT, "log.jsonl", "config.toml", "previews"} <= names
    assert [path.name for path in sorted((whole / "previews").iterdir())] == ["0000004.png", "0000006.png"]
    assert read_image(whole / "previews/0000006.png").shape[1] == 8 * TINY.resolution
    model = load_model(whole / "weights.safetensors")
    assert model.config == TINY
    about = read_metadata(whole / "weights.safetensors")
    assert {key: about[key] for key in ("dataset", "steps", "loss")} == {
        "dataset": "vox",
        "steps": "6",
        "loss": "pixels",
    }
    _, state = state_of(whole / CHECKPOINT)
    key = "h.head.weight"
    assert torch.allclose(model.state_dict()[key], state[f"ema.{key}"], atol=1e-3), "the average is what is saved"


def test_the_log_has_every_figure_and_the_words_say_it_in_lines(whole):
    log = log_of(whole)
    steps = [line["step"] for line in log if "loss" in line]
    assert steps == list(range(1, STEPS + 1))
    assert {*MEASURES, "lr", "samples_per_second", "step"} <= log[0].keys()
    held_out = [line for line in log if "val_l1_f" in line and "loss" not in line]
    assert [line["step"] for line in held_out] == [4, 6]
    words = json.loads((whole / "words.json").read_text())
    assert words[0].startswith("reconstruction loss: multi-scale L1")
    assert sum(word.startswith(f"step {STEPS}/{STEPS}") for word in words) == 1
    assert sum(word.startswith("held-out L1: coarse") for word in words) == 2


def test_progress_goes_to_who_shows_it(data, tmp_path):
    shown: list[Progress] = []
    words: list[str] = []
    config = settings(data=str(data), steps=4, log_every=2)
    outcome = train(TINY, config, Run(tmp_path / "run", "vox", "cpu"), words.append, shown.append)
    assert [(progress.step, progress.total) for progress in shown] == [(2, 4), (4, 4)]
    assert shown[0].seconds_left > shown[1].seconds_left == 0
    assert not any(word.startswith("step") for word in words)
    assert isinstance(outcome, Outcome)
    assert (outcome.ended, outcome.step) == ("finished", 4)
    assert outcome.weights == str(tmp_path / "run/weights.safetensors")
    assert outcome.figures["val_l1_copy"] > 0
    assert outcome.samples_per_second > 0


@pytest.mark.filterwarnings("ignore:This DataLoader")  # of more loaders than cores
def test_loaders_in_processes_of_their_own_give_the_same(whole, data, tmp_path):
    run_tiny(tmp_path / "run", data, workers=2)
    assert_same(tmp_path / "run" / CHECKPOINT, whole / CHECKPOINT)


def test_another_seed_gives_another_run(whole, data, tmp_path):
    run_tiny(tmp_path / "run", data, seed=1, steps=1)
    _, first = state_of(tmp_path / "run" / CHECKPOINT)
    run_tiny(tmp_path / "again", data, seed=0, steps=1)
    _, second = state_of(tmp_path / "again" / CHECKPOINT)
    assert not torch.equal(first["model.l.head.weight"], second["model.l.head.weight"])


def test_training_works_outside_the_main_thread(data, tmp_path):
    ended: list[str] = []

    def run() -> None:
        ended.append(train(TINY, settings(data=str(data), steps=1), Run(tmp_path, "vox", "cpu"), lambda _: None).ended)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert ended == ["finished"]


# killed and resumed


def die_after(step: int, out: Path, data: Path, changes: dict[str, Any]) -> None:
    """A run that is killed when it has told its figures of a step."""

    def show(progress: Progress) -> None:
        if progress.step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    train(TINY, settings(data=str(data), **changes), Run(out, "vox", "cpu"), lambda _: None, show)


def test_steps_a_kill_and_a_resumption_equal_a_run_without_them(whole, data, cache, tmp_path):
    out = tmp_path / "run"
    changes = {"save_every": 2, "preview_every": 4, "workers": 1}
    process = start(die_after, 5, out, data, changes, output=tmp_path / "out", ANIMASK_CACHE=str(cache))
    assert list(finish(process)) == [-signal.SIGKILL]
    assert read_metadata(out / CHECKPOINT)["step"] == "4"
    assert read_metadata(out / PREVIOUS)["step"] == "2"
    words = run_tiny(out, data, resume=True, save_every=2, preview_every=4)
    assert f"resumed at step 4 of {STEPS}" in words
    assert_same(out / CHECKPOINT, whole / CHECKPOINT)
    assert [line["step"] for line in log_of(out) if "loss" in line] == list(range(1, STEPS + 1)), "step 5 once"
    keep = [{**line, "samples_per_second": 0} for line in log_of(out)]
    assert keep == [{**line, "samples_per_second": 0} for line in log_of(whole)], "the same figures as well"
    wait_for_end(process.pid or 0)


def wait_for_end(group: int) -> None:
    """Loader processes see within seconds that their run was killed."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    pytest.fail("a loader process lives on")


def die_while_saving(moment: str, out: Path, data: Path) -> None:
    """A run that is killed in the middle of its second checkpoint."""
    replace, seen = Path.replace, []

    def killing(path: Path, target: Path) -> Path:
        seen.append(target.name)
        if moment == "before it is whole" and seen.count(f".{CHECKPOINT}.fresh") == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if moment == "between the renamings" and PREVIOUS in seen and target.name == CHECKPOINT:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(path, target)

    Path.replace = killing  # type: ignore[method-assign, assignment]
    run_tiny(out, data, save_every=2)


@pytest.mark.parametrize("moment", ["before it is whole", "between the renamings"])
def test_a_kill_while_saving_loses_no_checkpoint(moment, whole, data, cache, tmp_path):
    out = tmp_path / "run"
    process = start(die_while_saving, moment, out, data, output=tmp_path / "out", ANIMASK_CACHE=str(cache))
    assert list(finish(process)) == [-signal.SIGKILL]
    with pytest.raises(InputError, match="holds a run already"):
        run_tiny(out, data)
    words = run_tiny(out, data, resume=True, save_every=2, preview_every=4)
    assert f"resumed at step 2 of {STEPS}" in words
    assert_same(out / CHECKPOINT, whole / CHECKPOINT)
    assert not [path.name for path in out.iterdir() if "partial" in path.name or "fresh" in path.name]


def test_toons_driven_by_others_are_the_same_after_a_stop(data, tmp_path):
    changes = {"toons": 0.5, "cross": 0.7, "toon_pool": 4, "shift": 0.05, "flips": "mirror", "r_start": 0.0}
    run_tiny(tmp_path / "whole", data, **changes)
    config = settings(data=str(data), **changes)
    for piece in range(2):  # a step, then the rest
        run = Run(tmp_path / "run", "vox", "cpu", resume=piece > 0, time_limit=None if piece else 0.0)
        train(TINY, config, run, lambda _: None)
    assert_same(tmp_path / "run" / CHECKPOINT, tmp_path / "whole" / CHECKPOINT)
    run_tiny(tmp_path / "plain", data, **{**changes, "cross": 0.0})
    _, crossed = state_of(tmp_path / "run" / CHECKPOINT)
    _, plain = state_of(tmp_path / "plain" / CHECKPOINT)
    assert not torch.equal(crossed["model.r.head.weight"], plain["model.r.head.weight"])


# ended in good order


def run_with(signals: list[int], out: Path, data: Path, ended: Path) -> None:
    """A run whose group gets a signal after each of its first steps."""

    def show(progress: Progress) -> None:
        if signals:
            os.killpg(os.getpgrp(), signals.pop(0))

    outcome = train(TINY, settings(data=str(data), workers=1, steps=50), Run(out, "vox", "cpu"), lambda _: None, show)
    ended.write_text(json.dumps(dataclasses.asdict(outcome)))


@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_a_signal_to_the_whole_group_ends_the_run_after_the_step(number, word, data, cache, tmp_path):
    out, ended = tmp_path / "run", tmp_path / "ended"
    process = start(run_with, [number], out, data, ended, output=tmp_path / "out", ANIMASK_CACHE=str(cache))
    assert list(finish(process)) == [0], heard(tmp_path / "out")
    outcome = json.loads(ended.read_text())
    assert (outcome["ended"], outcome["step"]) == (word, 1)
    assert read_metadata(out / CHECKPOINT)["step"] == "1"
    assert Path(outcome["weights"]).is_file()


def test_the_second_interrupt_does_not_wait():
    with pytest.raises(KeyboardInterrupt), loop.catch_signals() as caught:
        signal.raise_signal(signal.SIGINT)
        assert caught == [signal.SIGINT]
        signal.raise_signal(signal.SIGTERM)
        assert len(caught) == 2
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_run_in_pieces_equals_a_run_in_one(whole, data, tmp_path):
    ended = []
    for piece in range(STEPS):
        run = Run(tmp_path / "run", "vox", "cpu", resume=piece > 0, time_limit=0.0)
        config = settings(data=str(data), preview_every=4)
        ended.append(train(TINY, config, run, lambda _: None).ended)
    assert set(ended) == {"time limit"}
    assert_same(tmp_path / "run" / CHECKPOINT, whole / CHECKPOINT)
    run = Run(tmp_path / "run", "vox", "cpu", resume=True)
    outcome = train(TINY, settings(data=str(data)), run, lambda _: None)
    assert (outcome.ended, outcome.step) == ("finished", STEPS), "a finished run stays as it is"
    assert_same(tmp_path / "run" / CHECKPOINT, whole / CHECKPOINT)


def test_time_counts_from_the_start_of_the_command(data, tmp_path):
    assert run_tiny(tmp_path / "run", data, steps=2)[-2].startswith("step 2/2")
    late = Run(tmp_path / "late", "vox", "cpu", time_limit=1e-9)
    assert train(TINY, settings(data=str(data)), late, lambda _: None).step == 1


# what stops a run


def test_figures_that_are_not_finite_stop_the_run_and_keep_the_last_good_checkpoint(data, tmp_path, monkeypatch):
    losses = Trainer.losses

    def spoiled(self: Trainer, trace: Any, target: torch.Tensor) -> list[torch.Tensor]:
        found = losses(self, trace, target)
        return [x * float("nan") for x in found] if self.step == 4 else found

    monkeypatch.setattr(Trainer, "losses", spoiled)
    with pytest.raises(AnimaskError, match="loss is not finite at step 5; the last good checkpoint is kept") as caught:
        run_tiny(tmp_path / "run", data, save_every=2)
    assert caught.value.exit_code == 1
    assert "--resume" in caught.value.hint
    assert [line["step"] for line in log_of(tmp_path / "run") if "loss" in line] == [1, 2, 3, 4]
    monkeypatch.undo()
    monkeypatch.setenv("ANIMASK_CACHE", str(tmp_path / "cache"))
    assert f"resumed at step 4 of {STEPS}" in run_tiny(tmp_path / "run", data, resume=True)


def test_a_preview_that_is_not_finite_stops_the_run_with_a_sentence(data, tmp_path, monkeypatch):
    def broken(*_: object) -> None:
        raise FloatingPointError("the final frame holds values that are not finite")

    monkeypatch.setattr(loop, "sheet", broken)
    with pytest.raises(AnimaskError, match="the final frame holds values that are not finite at step 2"):
        run_tiny(tmp_path / "run", data, preview_every=2)


def test_masks_that_stay_dark_are_warned_of(data, tmp_path, monkeypatch):
    monkeypatch.setattr("animask.training.logs.DARK", 1.0)
    monkeypatch.setattr("animask.training.logs.PATIENCE", 3)
    words = run_tiny(tmp_path / "run", data, preview_every=2)
    assert sum(word.startswith("masks are still dark") for word in words) == 1
    assert sum(word.startswith("WARNING: masks are dark after") for word in words) == 2


def test_a_run_is_not_overwritten(whole, data):
    with pytest.raises(InputError, match="holds a run already") as caught:
        run_tiny(whole, data)
    assert "--resume" in caught.value.hint


def hold_until(ready: Path, out: Path, data: Path) -> None:
    """A run that stands still at its first step."""

    def show(progress: Progress) -> None:
        ready.touch()
        threading.Event().wait(60)

    train(TINY, settings(data=str(data)), Run(out, "vox", "cpu"), lambda _: None, show)


def test_a_second_run_in_the_same_folder_is_refused(data, cache, tmp_path):
    out, ready = tmp_path / "run", tmp_path / "ready"
    process = start(hold_until, ready, out, data, output=tmp_path / "out", ANIMASK_CACHE=str(cache))
    wait_for(ready, process)
    with pytest.raises(InputError, match=f"is being trained by process {process.pid} on"):
        run_tiny(out, data)
    process.kill()
    process.join()
    run_tiny(out, data)


def test_what_is_missing_is_found_before_data_are_decoded(data, tmp_path, monkeypatch):
    monkeypatch.setattr(starting, "open_pairs", lambda *_: pytest.fail("decoded first"))
    for run, config, words in (
        (Run(tmp_path / "a", "vox", "cpu"), settings(data=str(tmp_path / "none")), "data set 'vox' was not found"),
        (Run(tmp_path / "b", "vox", "cpu", init="none"), settings(data=str(data)), "weights 'none' were not found"),
        (Run(tmp_path / "c", "toons", "nothing"), settings(), "unknown device 'nothing'"),
    ):
        with pytest.raises(AnimaskError, match=words):
            train(TINY, config, run, lambda _: None)


def test_broken_clips_are_named_while_training(data, tmp_path):
    root = tmp_path / "data"
    make_data(root)
    (root / "train/z#0.mp4").write_bytes(b"no video")
    words = run_tiny(tmp_path / "run", root, steps=1)
    assert sum(word.startswith("skipped z#0.mp4: ") for word in words) == 1
    assert "1 of 5 clips could not be read and are left out" in words


def test_loader_processes_leave_signals_to_the_run():
    before = {number: signal.getsignal(number) for number in loop.SIGNALS}
    threads = torch.get_num_threads(), cv2.getNumThreads()
    try:
        loop.calm(0)
        assert {signal.getsignal(number) for number in loop.SIGNALS} == {signal.SIG_IGN}
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])
