"""The state of a run on disk."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from training_cases import TINY, assert_same, make_batch, make_trainer, start, wait_for

from animask import config as configuration
from animask.checkpoints import CHECKPOINT, PREVIOUS, hold, load_checkpoint, save_checkpoint
from animask.errors import AnimaskError, InputError
from animask.trainer import Trainer
from animask.weights import read_metadata

BATCH = make_batch()


@pytest.fixture
def trained() -> Trainer:
    """Two steps done, with r not yet learning."""
    learner = make_trainer(epochs=2, steps=6)
    learner.learn(BATCH)
    learner.learn(make_batch(seed=7))
    learner.seconds = 1.5
    return learner


def test_a_resumed_trainer_goes_on_bit_for_bit(trained, tmp_path):
    save_checkpoint(trained, tmp_path)
    other = make_trainer(epochs=2, steps=6)
    load_checkpoint(other, tmp_path, pytest.fail)
    assert (other.step, other.samples, other.seconds) == (2, 4, 1.5)
    for learner, name in ((trained, "a"), (other, "b")):
        for seed in (1, 2, 3):
            learner.learn(make_batch(seed=seed))
        (tmp_path / name).mkdir()
        save_checkpoint(learner, tmp_path / name)
    assert_same(tmp_path / "a" / CHECKPOINT, tmp_path / "b" / CHECKPOINT)


def test_the_checkpoint_before_survives_and_is_used(trained, tmp_path):
    for _ in range(2):
        save_checkpoint(trained, tmp_path)
        trained.learn(BATCH)
    assert [read_metadata(tmp_path / name)["step"] for name in (CHECKPOINT, PREVIOUS)] == ["3", "2"]
    words: list[str] = []
    other = make_trainer()
    load_checkpoint(other, tmp_path, words.append)
    assert (other.step, words) == (3, [])
    whole = (tmp_path / CHECKPOINT).read_bytes()
    for length in (len(whole) - 1, 100, 0):
        (tmp_path / CHECKPOINT).write_bytes(whole[:length])
        load_checkpoint(other, tmp_path, words.append)
        assert other.step == 2
    (tmp_path / CHECKPOINT).unlink()
    load_checkpoint(other, tmp_path, words.append)
    assert len(words) == 4


def test_a_damaged_checkpoint_does_not_replace_the_one_before(trained, tmp_path):
    save_checkpoint(trained, tmp_path)
    trained.learn(BATCH)
    save_checkpoint(trained, tmp_path)
    before = (tmp_path / PREVIOUS).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(b"damaged")
    save_checkpoint(trained, tmp_path)
    assert (tmp_path / PREVIOUS).read_bytes() == before
    assert read_metadata(tmp_path / CHECKPOINT)["step"] == "3"


def test_nothing_to_resume_from(tmp_path):
    with pytest.raises(InputError):
        load_checkpoint(make_trainer(), tmp_path, pytest.fail)
    for name in (CHECKPOINT, PREVIOUS):
        (tmp_path / name).write_bytes(b"no checkpoint")
    with pytest.raises(InputError):
        load_checkpoint(make_trainer(), tmp_path, pytest.fail)


def test_a_checkpoint_of_another_model_names_the_settings(trained, tmp_path):
    save_checkpoint(trained, tmp_path)
    other = make_trainer()
    other.model.config = configuration.update(TINY, {"temperature": 0.5, "threshold": 0.25})
    with pytest.raises(InputError, match=r"temperature = 1\.0, threshold = 'median'"):
        load_checkpoint(other, tmp_path, pytest.fail)


def test_weights_that_are_not_finite_are_not_saved(trained, tmp_path):
    save_checkpoint(trained, tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with torch.no_grad():
        next(trained.model.h.parameters())[0] = torch.nan
    with pytest.raises(AnimaskError, match=r"model\.h.* at step 2"):
        save_checkpoint(trained, tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_a_checkpoint_that_cannot_be_written_is_an_error_with_a_sentence(trained, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(AnimaskError):
        save_checkpoint(trained, tmp_path / "file")


def own(run: Path, ready: Path) -> None:
    with hold(run):
        ready.touch()
        time.sleep(60)


def test_a_run_folder_has_one_owner_and_its_death_frees_it(tmp_path):
    run, ready = tmp_path / "run", tmp_path / "ready"
    process = start(own, run, ready, output=tmp_path / "out")
    wait_for(ready, process)
    with pytest.raises(InputError, match="is being trained"), hold(run):
        pass
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    with hold(run):
        pass
