"""Several processes that train together: gradients are their mean, one writes, and all end in good order."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_cases import TINY, finish, heard, make_batch, make_trainer, start, wait_for

from animask import ranks
from animask.cli import main
from animask.devices import Choice
from animask.errors import AnimaskError, InputError
from animask.pairs import Batch
from animask.ranks import MOST, Ranks, companions, count_ranks
from animask.trainer import CHECKPOINT, Trainer
from animask.weights import load_model, read_metadata

WORLD = 2

pytestmark = pytest.mark.usefixtures("cache")


def gradients(trainer: Trainer, batch: Batch) -> dict[str, torch.Tensor]:
    """Of one step without chance, with BatchNorm's statistics at rest, so that a batch is the sum of its parts."""
    trainer.model.eval()
    trainer.chance = lambda: 0
    trainer.objective.config = trainer.config
    trainer.optimizer.step = lambda: None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("animask.objectives.augment", lambda x, generator: x.flip(1))
        trainer.learn(batch)
    return {name: x.grad.contiguous() for name, x in trainer.model.named_parameters() if x.grad is not None}


def meet(own: Ranks, folder: Path) -> None:
    """Gradients of a rank's share, and what all agree on."""
    torch.set_num_threads(1)
    with own.joined():
        batch = Batch(*(x[own.rank :: WORLD] for x in make_batch(4)))
        found = gradients(make_trainer(ranks=own), batch)
        highest = own.highest(own.rank + 3, -own.rank)
        found |= {"highest": torch.tensor(highest), "mean": own.mean(torch.tensor([1.0 + own.rank]))}
        save_file(found, folder / str(own.rank))


def test_two_ranks_have_the_gradients_of_one_and_agree(tmp_path):
    with companions(WORLD, "cpu", meet, tmp_path) as own:
        meet(own, tmp_path)
    found = [load_file(tmp_path / str(rank)) for rank in range(WORLD)]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert (found[0].pop("highest").tolist(), found[0].pop("mean").item()) == ([4, 0], 1.5)
    wanted = gradients(make_trainer(), make_batch(4))
    assert wanted.keys() == found[0].keys()
    for name, value in wanted.items():
        assert torch.allclose(found[0][name], value, rtol=1e-3, atol=1e-4 * float(value.abs().max()) + 1e-7), name


def test_a_cpu_has_a_process_a_core(monkeypatch):
    assert 1 <= count_ranks("cpu", None) <= MOST
    assert count_ranks("cpu", 3) == 3
    monkeypatch.setattr(ranks, "pick_device", lambda name: Choice(name, ""))
    assert count_ranks("cuda", None) == 1
    with pytest.raises(InputError):
        count_ranks("cuda", 2)
    monkeypatch.undo()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert count_ranks("cpu", None) == 1, "torchrun has started them"


def die(own: Ranks) -> None:
    with own.joined():
        os._exit(9)


def test_a_lost_process_is_told_in_a_sentence():
    with pytest.raises(AnimaskError, match="code 9"), companions(WORLD, "cpu", die) as own, own.joined():
        own.highest(0.0)


def flags(data: Path, out: Path) -> list[str]:
    fast = "--preset tiny --perceptual lpips --device cpu --batch 2 --steps 4 --precision fp32 --dataset vox"
    return [*fast.split(), "--data", str(data), "--out", str(out)]


def test_ctrl_c_ends_all_at_the_same_step(data, tmp_path):
    out = tmp_path / "run"
    arguments = ["train", *flags(data, out), "--ranks", "2", "--steps", "9999"]
    process = start(main, arguments, output=tmp_path / "out")
    wait_for(out / "log.jsonl", process, tmp_path / "out")
    os.killpg(process.pid or 0, signal.SIGINT)
    assert finish(process) == 130, heard(tmp_path / "out")
    assert "Traceback" not in heard(tmp_path / "out")
    assert (out / "weights.safetensors").is_file()


TORCHRUN = "torch.distributed.run --standalone --nproc-per-node 2 -m animask train"


@pytest.mark.parametrize("program", ["animask train --ranks 2", TORCHRUN])
def test_two_processes_train_and_one_writes(program, data, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", *program.split(), *flags(data, out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert (done.returncode, done.stdout) == (0, f"{out / 'weights.safetensors'}\n"), done.stderr
    assert done.stderr.count("finished at step 4") == 1 and "Traceback" not in done.stderr
    assert [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()] == [4, 4]
    position = read_metadata(out / CHECKPOINT)
    assert (position["step"], position["samples"]) == ("4", "16")
    assert load_model(out / "weights.safetensors").config == TINY


def test_missing_data_end_all_ranks_and_are_told_once(tmp_path):
    arguments = ["train", *flags(tmp_path / "none", tmp_path / "run"), "--ranks", "2"]
    process = start(main, arguments, output=tmp_path / "out")
    assert finish(process) == 2
    assert heard(tmp_path / "out").count("was not found") == 1
    assert "Traceback" not in heard(tmp_path / "out")
