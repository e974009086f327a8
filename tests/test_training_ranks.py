"""Several processes that train together: the same gradients as one, one that writes, and ends in good order."""

import json
import os
import signal
import socket
import subprocess
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from training_cases import CPU, TINY, finish, heard, make_batch, make_data, make_trainer, settings, start

from animask import model as model_module
from animask.cli import main
from animask.datasets import Batch
from animask.errors import InputError
from animask.training import Run, ranks, train, trainer
from animask.training.checkpoints import CHECKPOINT
from animask.training.ranks import Ranks, SyncBatchNorm, join
from animask.weights import load_model, read_metadata

WORLD = 2
TOLERANCE = 1e-10  # of the largest gradient of a network
CROSSED = 4  # samples of eight from here on are driven by another identity ...
SHARES = ([0, 1, 2, 4], [3, 5, 6, 7])  # ... and of these one rank has one, the other three


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


def start_all(function, *arguments: object, output: Path, **environment: str) -> list[BaseProcess]:
    """The same function in WORLD processes, as torchrun would start them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(WORLD), **environment}
    return [
        start(
            function, *arguments, output=output.with_name(f"{output.name}{i}"), RANK=str(i), LOCAL_RANK=str(i), **shared
        )
        for i in range(WORLD)
    ]


# gradients


def first_step(patch: pytest.MonkeyPatch, own: Ranks, batch: Batch) -> trainer.Trainer:
    """Gradients of a first step in float64, without chance: the draws of A and P_train are each rank's own.

    In float32 a sum in another order can turn a ReLU or the sign of a difference, and with it a gradient.
    """
    patch.setattr(torch.Tensor, "float", torch.Tensor.double)
    patch.setattr(trainer, "augment", lambda x, generator: x.flip(1))
    patch.setattr(model_module, "p_train", lambda mask, threshold, cuts, generator: mask * 0.5)
    patch.setattr(model_module, "p_test", lambda mask, threshold, scale: mask * 0.5)  # its grid is in float32
    learner = make_trainer(ranks=own, r_start=0.0)
    learner.model.double()
    patch.setattr(learner.optimizer, "step", lambda: None)
    patch.setattr(learner.ema, "update", lambda model, step: None)
    learner.learn(batch)
    return learner


def gradients(learner: trainer.Trainer) -> dict[str, Tensor]:
    found = {f"grad.{name}": parameter.grad for name, parameter in learner.model.named_parameters()}
    found |= {f"state.{name}": value for name, value in learner.model.named_buffers() if "num_batches" not in name}
    return {
        name: value.clone(memory_format=torch.contiguous_format) for name, value in found.items() if value is not None
    }


def learn_together(folder: Path) -> None:
    """Gradients of the first step, then weights after r and h have joined; each rank has every other sample."""
    own = join("cpu")
    share = Batch(*(x[own.rank :: WORLD] for x in make_batch(8)[:3]))
    places = SHARES[own.rank]
    crossed = Batch(*(x[places] for x in make_batch(8)[:3]), make_batch(8, 9).s[[n for n in places if n >= CROSSED]])
    for name, batch in (("first", share), ("crossed", crossed)):
        with pytest.MonkeyPatch.context() as patch:
            save_file(gradients(first_step(patch, own, batch)), folder / f"{name}{own.rank}")
    later = make_trainer(ranks=own, epochs=3, steps=6, r_start=1.0, h_start=2.0)
    for _ in range(6):
        figures = later.learn(share)
        assert figures.isfinite().all()
    save_file(
        {name: value.contiguous() for name, value in later.model.state_dict().items()}, folder / f"later{own.rank}"
    )
    save_file(
        {"highest": torch.tensor(own.highest(own.rank + 3)), "mean": own.mean(torch.tensor([1.0 + own.rank]))},
        folder / f"sums{own.rank}",
    )
    own.leave()


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("together")
    assert list(finish(*start_all(learn_together, folder, output=folder / "out"))) == [0, 0], heard(folder / "out0")
    return folder


@pytest.mark.parametrize("kind", ["first", "crossed"])
def test_two_ranks_of_four_have_the_gradients_of_one_of_eight(kind, together, monkeypatch):
    """Also where the ranks' shares are driven by other identities in different numbers."""
    others = {"first": None, "crossed": make_batch(8, 9).s[CROSSED:]}
    wanted = gradients(first_step(monkeypatch, Ranks(CPU), make_batch(8)._replace(other=others[kind])))
    for rank in range(WORLD):
        found = load_file(together / f"{kind}{rank}")
        assert found.keys() == wanted.keys()
        for network in "mrlh":
            names = [name for name in wanted if name.startswith(f"grad.{network}.")]
            largest = max(float(wanted[name].abs().max()) for name in names)
            assert largest > 0
            worst = max(float((found[name] - wanted[name]).abs().max()) for name in names)
            assert worst < TOLERANCE * largest, network
        states = [name for name in wanted if name.startswith("state.")]
        assert len(states) > 30
        for name in states:
            assert torch.allclose(found[name], wanted[name], rtol=TOLERANCE, atol=TOLERANCE), name


def test_networks_that_join_later_stay_the_same_on_all_ranks(together):
    first, second = (load_file(together / f"later{rank}") for rank in range(WORLD))
    assert all(torch.equal(first[name], second[name]) for name in first)
    fresh = make_trainer().model.state_dict()
    assert all(not torch.equal(first[f"{name}.head.weight"], fresh[f"{name}.head.weight"]) for name in "mrlh")


def test_ranks_agree_on_the_highest_code_and_the_mean(together):
    for rank in range(WORLD):
        sums = load_file(together / f"sums{rank}")
        assert (sums["highest"], sums["mean"]) == (4, 1.5)


def test_one_process_alone_needs_no_agreement():
    alone = Ranks(CPU)
    assert alone.leads
    assert alone.highest(3) == 3
    assert alone.mean(torch.tensor([2.0])) == 2
    model = nn.Linear(1, 1)
    assert alone.wrap(model) is model
    assert alone.synchronise(model) is model
    with pytest.raises(InputError), alone.in_turn():
        raise InputError("as it is")


@pytest.mark.parametrize("affine", [True, False])
def test_shared_batch_norm_is_that_of_torch(affine, monkeypatch):
    """On one rank, whose sums are its own; values far from zero lose no precision."""
    monkeypatch.setattr(ranks.distributed, "get_world_size", lambda: 1)
    monkeypatch.setattr(ranks.distributed, "all_reduce", lambda x: None)
    x = torch.randn((4, 3, 5, 5), generator=torch.Generator().manual_seed(0)) * 0.1 + torch.tensor([0, 9, 300.0]).view(
        3, 1, 1
    )
    outputs = []
    for kind in (nn.BatchNorm2d, SyncBatchNorm):
        norm = kind(3, affine=affine)
        own = x.clone().requires_grad_()
        for _ in range(2):
            y = norm(own)
        (y * torch.arange(y.numel()).view_as(y) / 100).sum().backward()
        grads = [own.grad, *(parameter.grad for parameter in norm.parameters())]
        outputs.append([y, *norm.state_dict().values(), norm.eval()(x), *grads])
    for a, b in zip(*outputs, strict=True):
        assert torch.allclose(a, b, rtol=2e-3, atol=2e-3)
    module = nn.Sequential(nn.Sequential(nn.BatchNorm2d(3, affine=affine)), nn.Conv2d(3, 1, 1))
    before = module.state_dict()
    ranks.replace_norms(module)
    assert type(module[0][0]) is SyncBatchNorm
    assert module.state_dict().keys() == before.keys()


# whole runs


def test_torchrun_trains_on_two_ranks_and_one_writes(data, tmp_path):
    flags = (
        f"--dataset vox --data {data} --preset tiny --perceptual pixels --device cpu --batch 2 --workers 1 --steps 4"
    )
    command = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(WORLD), "-m", "animask", "train"]
    command = [sys.executable, "-m", *command, *flags.split(), "--out", str(tmp_path / "run")]
    environment = {**os.environ, "ANIMASK_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=environment, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'run/weights.safetensors'}\n"
    assert done.stderr.count("finished at step 4") == 1
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    position = read_metadata(tmp_path / "run" / CHECKPOINT)
    assert (position["step"], position["samples"]) == ("4", "16")
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 4]
    assert load_model(tmp_path / "run/weights.safetensors").config == TINY
    assert len(list((tmp_path / "cache").iterdir())) == 5


def call(arguments: list[str]) -> None:
    main(arguments)


def test_missing_data_end_all_ranks_and_are_told_once(tmp_path):
    arguments = ["train", "--dataset", "vox", "--data", str(tmp_path / "none"), "--preset", "tiny", "--device", "cpu"]
    processes = start_all(call, [*arguments, "--out", str(tmp_path / "run")], output=tmp_path / "out")
    assert list(finish(*processes)) == [2, 2]
    assert heard(tmp_path / "out0").startswith("animask: data set 'vox' was not found")
    assert heard(tmp_path / "out1") == ""


def train_until_terminated(out: Path, data: Path, number: int, endings: Path) -> None:
    """A run of which one rank gets a signal after its second step."""
    rank = int(os.environ["RANK"])
    learn = trainer.Trainer.learn

    def learn_and_stop(self: trainer.Trainer, batch: Batch) -> Tensor:
        if self.step == 1 and rank == number:
            signal.raise_signal(signal.SIGTERM)
        return learn(self, batch)

    trainer.Trainer.learn = learn_and_stop  # type: ignore[method-assign]
    outcome = train(TINY, settings(data=str(data), steps=40), Run(out, "vox", "cpu"), lambda _: None)
    (endings / str(rank)).write_text(json.dumps([outcome.ended, outcome.step, outcome.weights]))


def test_a_signal_to_one_rank_ends_all_at_the_same_step(data, tmp_path):
    arguments = (tmp_path / "run", data, 1, tmp_path)
    cache = str(tmp_path / "cache")
    processes = start_all(train_until_terminated, *arguments, output=tmp_path / "out", ANIMASK_CACHE=cache)
    assert list(finish(*processes)) == [0, 0], heard(tmp_path / "out0")
    outcomes = [json.loads((tmp_path / str(rank)).read_text()) for rank in range(WORLD)]
    assert outcomes == [["terminated", 2, str(tmp_path / "run/weights.safetensors")], ["terminated", 2, ""]]


def spoil(out: Path, data: Path) -> None:
    """A run whose second rank alone computes what is not finite."""
    losses = trainer.Trainer.losses
    rank = int(os.environ["RANK"])

    def spoiled(self: trainer.Trainer, trace: object, target: Tensor) -> list[Tensor]:
        return [x * (float("nan") if rank == 1 else 1.0) for x in losses(self, trace, target)]  # type: ignore[arg-type]

    trainer.Trainer.losses = spoiled  # type: ignore[method-assign]
    flags = "--preset tiny --device cpu --perceptual pixels --batch 2 --workers 0 --steps 3"
    main(["train", "--dataset", "vox", "--data", str(data), "--out", str(out), *flags.split()])


def test_figures_that_are_not_finite_on_one_rank_stop_all(data, tmp_path):
    cache = str(tmp_path / "cache")
    processes = start_all(spoil, tmp_path / "run", data, output=tmp_path / "out", ANIMASK_CACHE=cache)
    assert list(finish(*processes)) == [1, 1]
    assert "animask: loss is not finite at step 3" in heard(tmp_path / "out0")
    assert "Traceback" not in heard(tmp_path / "out0")
    assert heard(tmp_path / "out1") == ""
