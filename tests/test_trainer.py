"""One training step of the paper, the learning rate, the average, and how far a run is."""

import copy

import pytest
import torch
from conftest import full_disk
from training_cases import TINY, assert_same, make_batch, make_model, make_trainer, numbers

from animask import config as configuration
from animask import trainer
from animask.config import TRAIN_PRESETS
from animask.errors import AnimaskError, InputError
from animask.perturb import augment
from animask.trainer import CHECKPOINT, Trainer, load_checkpoint, save_checkpoint, update_average

BATCH = make_batch()


def weights(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


# the equations


def test_a_step_measures_the_equations_by_hand():
    learner, model = make_trainer(lambda_mask=3.0, lambda_rec=0.5), make_model().train()
    learner.model.requires_grad_(True)
    figures = numbers(learner.learn(BATCH))
    generator = torch.Generator().manual_seed(0)
    s, target = BATCH.s / 255, BATCH.target / 255
    torch.rand((2, 1, 1, 1), generator=generator)  # what flips would have drawn
    trace = model(s, augment(target, generator), generator)  # eq. (5) to (7)
    loss = learner.objective.loss
    truth = loss.features(target)
    loss_c, loss_f = (loss.distance(loss.features(x), truth).item() for x in (trace.c, trace.f))  # eq. (9)
    loss_mask = (trace.m_dr - trace.m_d).abs().mean().item()  # eq. (8)
    wanted = {"loss": 3 * loss_mask + 0.5 * (loss_c + loss_f), "loss_c": loss_c, "loss_f": loss_f}
    wanted |= {"loss_mask": loss_mask, "l1_c": (trace.c - target).abs().mean().item()}
    wanted |= {"l1_copy": (s - target).abs().mean().item()}
    assert {name: figures[name] for name in wanted} == pytest.approx(wanted, rel=1e-4)


def test_r_joins_after_the_first_epoch_where_masks_are_found():
    learner = make_trainer(epochs=3, steps=6)
    moved = []
    for _ in range(4):
        before = {name: weights(getattr(learner.model, name)) for name in "mrlh"}
        learner.learn(BATCH)
        moved.append("".join(x for x in "mrlh" if not torch.equal(weights(getattr(learner.model, x)), before[x])))
    assert moved == ["mlh", "mlh", "mrlh", "mrlh"]
    taught = make_trainer(masks="taught")
    before = weights(taught.model.r)
    taught.learn(make_batch(toons=1))
    assert not torch.equal(weights(taught.model.r), before)


@pytest.mark.parametrize("masks", ["found", "taught"])
def test_bf16_keeps_weights_in_fp32_and_agrees_roughly(masks):
    batch = make_batch(toons=1 if masks == "taught" else None)
    plain, mixed = (make_trainer(precision=x, masks=masks) for x in ("fp32", "bf16"))
    a, b = (numbers(learner.learn(batch)) for learner in (plain, mixed))
    assert {parameter.dtype for parameter in mixed.model.parameters()} == {torch.float32}
    assert a == pytest.approx(b, rel=0.1, abs=0.02)
    assert a != b


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("masks", ["found", "taught"])
def test_a_step_does_not_wait_for_the_gpu(masks):
    learner = make_trainer(ranks=trainer.Ranks(torch.device("cuda")), masks=masks, precision="bf16")
    batch = make_batch(toons=1 if masks == "taught" else None)
    pinned = batch.__class__(*(x.contiguous().pin_memory() for x in batch))
    learner.learn(pinned)
    torch.cuda.set_sync_debug_mode("error")
    try:
        learner.learn(pinned)
    finally:
        torch.cuda.set_sync_debug_mode("default")


# the optimiser and its rate


def test_optimiser_is_adam_as_in_the_paper():
    paper = TRAIN_PRESETS["paper"]
    learner = make_trainer(lr=paper.lr, beta1=paper.beta1, beta2=paper.beta2)
    assert isinstance(learner.optimizer, torch.optim.Adam)
    (group,) = learner.optimizer.param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (2e-4, (0.5, 0.9), 0)
    warm = make_trainer(warmup=5, lr=0.005)
    warm.learn(BATCH)
    assert warm.optimizer.param_groups[0]["lr"] == pytest.approx(0.001), "the rate of the step"


def rates(learner: Trainer) -> list[float]:
    found = []
    for step in range(learner.total):
        learner.step = step
        found.append(learner.lr())
    return found


def test_rate_drops_after_epochs_60_and_90():
    epoch = 49  # of which 60 are no whole share of 100 in floats
    found = rates(make_trainer(epoch=epoch, steps=None, lr=1.0))
    assert found == pytest.approx([1.0] * 60 * epoch + [0.1] * 30 * epoch + [0.01] * 10 * epoch)


def test_warm_up_is_linear_and_a_cosine_begins_late():
    assert rates(make_trainer(warmup=4, lr=1.0, steps=100))[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    cosine = rates(make_trainer(schedule="cosine", steps=100, lr=1.0))
    assert cosine[:41] == pytest.approx([1.0] * 41)
    assert cosine[70] == pytest.approx(0.02 + 0.98 / 2)
    assert 0.02 < cosine[99] < 0.022


def test_minutes_stand_for_steps():
    learner = make_trainer(minutes=2.0, schedule="cosine", lr=1.0)
    learner.step = 10**6
    for seconds, share, rate in ((0.0, 0.0, 1.0), (84.0, 0.7, 0.51), (240.0, 1.0, 0.02)):
        learner.seconds = seconds
        assert (learner.share(), learner.lr()) == (pytest.approx(share), pytest.approx(rate))
    assert make_trainer(minutes=0.0).share() == 0, "the first step is always done"


# the average


def test_average_of_two_steps_by_hand():
    model = make_model()
    ema = copy.deepcopy(model)
    start, key = weights(model.m).clone(), "m.body.encoder.0.norm.running_mean"
    with torch.no_grad():
        for step in (1, 2):
            for parameter in model.parameters():
                parameter.add_(1)
            model.get_buffer(key).fill_(step)
            update_average(ema, model, step, 0.999)
    # decay 2/11, then 3/12: start + 9/11 · 1 = start + 0.818; then 0.25 · 0.818 + 0.75 · 2
    assert torch.allclose(weights(ema.m), start + 0.25 * 9 / 11 + 1.5, atol=1e-5)
    assert (ema.get_buffer(key) == 2).all(), "running statistics are copied"


def test_settled_statistics_are_those_of_the_batches(monkeypatch):
    monkeypatch.setattr(trainer, "SETTLING", 3)
    learner, seen = make_trainer(), []
    model = learner.ema
    model.l.first.register_forward_hook(lambda module, inputs, output: seen.append(output.mean((0, 2, 3))))
    before = weights(model)
    learner.settle(iter([make_batch(seed=seed) for seed in range(3)]))
    assert torch.allclose(model.l.norm.running_mean, torch.stack(seen).mean(0), atol=1e-5)
    assert torch.equal(weights(model), before)
    assert (len(seen), model.training) == (3, False)


# the checkpoint


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


def test_what_is_no_whole_checkpoint_of_this_model_is_refused_by_name(trained, tmp_path):
    save_checkpoint(trained, tmp_path)
    whole = (tmp_path / CHECKPOINT).read_bytes()
    for damaged in (whole[:-1], b"", whole.replace(b'"samples":', b'"sampled":')):
        (tmp_path / CHECKPOINT).write_bytes(damaged)
        with pytest.raises(InputError, match=CHECKPOINT):
            load_checkpoint(make_trainer(), tmp_path)
    with pytest.raises(InputError, match=CHECKPOINT):
        load_checkpoint(make_trainer(), tmp_path / "empty")
    save_checkpoint(trained, tmp_path)
    other = make_trainer()
    other.model.config = configuration.update(TINY, {"temperature": 0.5, "threshold": 0.25})
    with pytest.raises(InputError, match=r"temperature = 1\.0, threshold = 'median'"):
        load_checkpoint(other, tmp_path)


def test_what_cannot_be_saved_leaves_the_last_checkpoint(trained, tmp_path):
    save_checkpoint(trained, tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(AnimaskError, match=CHECKPOINT), full_disk():
        save_checkpoint(trained, tmp_path)
    with torch.no_grad():
        next(trained.model.h.parameters())[0] = torch.nan
    with pytest.raises(FloatingPointError, match=r"model\.h"):
        save_checkpoint(trained, tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]
