"""The state of a run on disk."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from training_cases import TINY, assert_same, make_batch, make_trainer, start, wait_for

from animask import config as configuration
from animask.checkpoints import CHECKPOINT, hold, load_checkpoint, save_checkpoint
from animask.errors import InputError
from animask.trainer import Trainer

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
    load_checkpoint(other, tmp_path)
    assert (other.step, other.samples, other.seconds) == (2, 4, 1.5)
    for learner, name in ((trained, "a"), (other, "b")):
        for seed in (1, 2, 3):
            learner.learn(make_batch(seed=seed))
        (tmp_path / name).mkdir()
        save_checkpoint(learner, tmp_path / name)
    assert_same(tmp_path / "a" / CHECKPOINT, tmp_path / "b" / CHECKPOINT)


def test_what_is_no_whole_checkpoint_is_refused_by_name(trained, tmp_path):
    save_checkpoint(trained, tmp_path)
    whole = (tmp_path / CHECKPOINT).read_bytes()
    for damaged in (whole[:-1], b"", whole.replace(b'"samples":', b'"sampled":')):
        (tmp_path / CHECKPOINT).write_bytes(damaged)
        with pytest.raises(InputError, match=CHECKPOINT):
            load_checkpoint(make_trainer(), tmp_path)
    with pytest.raises(InputError, match=CHECKPOINT):
        load_checkpoint(make_trainer(), tmp_path / "empty")


def test_a_checkpoint_of_another_model_names_the_settings(trained, tmp_path):
    save_checkpoint(trained, tmp_path)
    other = make_trainer()
    other.model.config = configuration.update(TINY, {"temperature": 0.5, "threshold": 0.25})
    with pytest.raises(InputError, match=r"temperature = 1\.0, threshold = 'median'"):
        load_checkpoint(other, tmp_path)


def test_weights_that_are_not_finite_are_not_saved(trained, tmp_path):
    save_checkpoint(trained, tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with torch.no_grad():
        next(trained.model.h.parameters())[0] = torch.nan
    with pytest.raises(FloatingPointError, match=r"model\.h"):
        save_checkpoint(trained, tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def own(run: Path, ready: Path) -> None:
    with hold(run):
        ready.write_text("own")
        time.sleep(60)


def test_a_run_folder_has_one_owner_and_its_death_frees_it(tmp_path):
    run, ready = tmp_path / "run", tmp_path / "ready"
    process = start(own, run, ready, output=tmp_path / "out")
    wait_for(ready, process, tmp_path / "out")
    with pytest.raises(InputError, match="is being trained"), hold(run):
        pass
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    with hold(run):
        pass
