"""One training step and what surrounds it: equations, routing, schedule, average, checkpoints, logs, previews."""

import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from training_cases import (
    CPU,
    SIDE,
    TINY,
    assert_same,
    frame,
    make_batch,
    make_model,
    make_trainer,
    settings,
    start,
    wait_for,
)

from animask import config as configuration
from animask.config import MODEL_PRESETS, TRAIN_PRESETS, TrainConfig, read_toml
from animask.datasets import Batch, Pairs
from animask.errors import AnimaskError, InputError
from animask.images import to_tensor
from animask.model import Trace
from animask.perturb import augment
from animask.training import checkpoints, logs, previews, trainer
from animask.training.checkpoints import CHECKPOINT, PREVIOUS, hold, load_checkpoint, save_checkpoint
from animask.training.logs import Log, Progress, describe, forget_after, judge_masks, write_toml
from animask.training.trainer import MEASURES, Average, Trainer, measure

BATCH = make_batch()


def weights(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def gradients(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in network.parameters()])


def networks(learner: Trainer) -> dict[str, torch.nn.Module]:
    return {name: getattr(learner.model, name) for name in "mrlh"}


# the equations


@pytest.mark.parametrize("loss", ["pixels", "random"])
def test_a_step_measures_the_equations_by_hand(loss):
    learner = make_trainer(perceptual=loss, r_start=0.0, perceptual_layers=(1,), scales=(1, 2))
    model = make_model().train()
    found = dict(zip(MEASURES, learner.learn(BATCH).tolist(), strict=True))

    generator = torch.Generator().manual_seed(0)
    s, target = BATCH.s / 255, BATCH.target / 255
    trace = model(s, augment(target, generator), generator)  # eq. (5) to (7)
    truth = learner.loss.features(target)
    loss_c, loss_f = (
        sum((a - b).abs().mean() for a, b in zip(learner.loss.features(x), truth, strict=True))
        for x in (trace.c, trace.f)
    )  # eq. (9)
    loss_mask = (trace.m_dr - trace.m_d).abs().mean()  # eq. (8)
    loss_c, loss_f, loss_mask = loss_c.detach(), loss_f.detach(), loss_mask.detach()
    wanted = {"loss": 100 * loss_mask + 10 * (loss_c + loss_f), "loss_c": loss_c, "loss_f": loss_f}
    wanted |= {
        "loss_mask": loss_mask,
        "l1_c": (trace.c.detach() - target).abs().mean(),
        "l1_copy": (s - target).abs().mean(),
    }
    for name, value in wanted.items():
        assert found[name] == pytest.approx(float(value), rel=1e-5), name


def test_weights_of_the_losses_are_settings():
    first = make_trainer(lambda_mask=3.0, lambda_rec=0.5)
    loss, loss_c, loss_f, loss_mask = first.learn(BATCH)[:4].tolist()
    assert loss == pytest.approx(3 * loss_mask + 0.5 * (loss_c + loss_f))


@pytest.mark.parametrize("jitter", ["driver", "all"])
def test_a_step_with_others_measures_the_equations_by_hand(jitter):
    """The last sample is driven by another identity, which has a colour jitter of its own."""
    learner = make_trainer(r_start=0.0, jitter=jitter)
    model = make_model().train()
    batch = BATCH._replace(other=make_batch(1, 9).s)
    generator = torch.Generator().manual_seed(0)
    s, target = BATCH.s / 255, BATCH.target / 255
    d, other = augment(target, generator), augment(batch.other / 255, generator)
    if jitter == "all":
        s, target = augment(torch.cat((s, target), dim=3), generator).chunk(2, dim=3)
    trace = model(s, d, generator, other)
    before = {name: weights(network) for name, network in networks(learner).items()}
    found = dict(zip(MEASURES, learner.learn(batch).tolist(), strict=True))
    assert found["loss_mask"] == pytest.approx(float((trace.m_dr - trace.m_d).detach().abs().mean()), rel=1e-5)
    assert found["l1_c"] == pytest.approx(float((trace.c.detach() - target).abs().mean()), rel=1e-5)
    assert found["l1_f"] == pytest.approx(float((trace.f.detach() - target).abs().mean()), rel=1e-5)
    assert learner.samples == len(s), "others are no samples of their own"
    moved = [name for name, network in networks(learner).items() if not torch.equal(weights(network), before[name])]
    assert moved == ["m", "r", "l", "h"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_steps_with_many_few_and_no_others_follow_one_another(precision):
    learner = make_trainer(r_start=0.0, precision=precision)
    for count in (0, 1, 2, 0):
        figures = learner.learn(BATCH._replace(other=make_batch(count, 9).s if count else None))
        assert figures.isfinite().all()


@pytest.mark.parametrize(("network", "part"), [("m", "loss_c"), ("l", "loss_c"), ("h", "loss_f"), ("r", "loss_mask")])
def test_each_network_learns_from_its_own_part_of_the_loss_only(network, part, monkeypatch):
    def learn(only: str | None) -> torch.Tensor:
        learner = make_trainer(r_start=0.0)
        learner.optimizer.step = lambda: None
        if only:
            losses = learner.losses

            def chosen(trace: Trace, target: torch.Tensor) -> list[torch.Tensor]:
                parts = losses(trace, target)
                factor = {"loss_c": 10, "loss_f": 10, "loss_mask": 100}[only]
                return [factor * parts[MEASURES.index(only)], *parts[1:]]

            monkeypatch.setattr(learner, "losses", chosen)
        learner.learn(BATCH)
        return gradients(networks(learner)[network])

    whole, alone = learn(None), learn(part)
    assert alone.abs().sum() > 0
    assert torch.allclose(whole, alone, rtol=1e-4, atol=1e-7)


def test_r_and_h_move_only_after_their_starts():
    learner = make_trainer(epochs=4, steps=8, r_start=1.0, h_start=2.5)
    moved = []
    for _ in range(8):
        before = {name: weights(network) for name, network in networks(learner).items()}
        figures = dict(zip(MEASURES, learner.learn(BATCH).tolist(), strict=True))
        moved.append(
            "".join(name for name, x in networks(learner).items() if not torch.equal(weights(x), before[name]))
        )
        assert (figures["loss_f"] > 0) == ("h" in moved[-1])
    assert moved == ["ml", "ml", "mrl", "mrl", "mrl", "mrlh", "mrlh", "mrlh"]


def test_jitter_of_the_driver_alone_and_of_all(monkeypatch):
    widths = []

    def recorded(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        widths.append(x.shape[3])
        return augment(x, generator)

    monkeypatch.setattr(trainer, "augment", recorded)
    s, d, target, _ = make_trainer(jitter="driver").frames(BATCH, torch.Generator().manual_seed(0))
    assert torch.equal(s, BATCH.s / 255)
    assert torch.equal(target, BATCH.target / 255)
    assert not torch.equal(d, target)
    assert widths == [SIDE]
    same = Batch(BATCH.s, BATCH.s, BATCH.s)
    s, d, target, _ = make_trainer(jitter="all").frames(same, torch.Generator().manual_seed(0))
    assert widths[1:] == [SIDE, 2 * SIDE]
    assert torch.allclose(s, target, atol=1e-6), "the pair shares a draw"
    assert not torch.allclose(s, d, atol=0.01), "the driver has its own"
    assert not torch.allclose(s, BATCH.s / 255, atol=0.01)


def test_bf16_keeps_weights_in_fp32_and_agrees_roughly():
    plain, mixed = make_trainer(), make_trainer(precision="bf16")
    a, b = plain.learn(BATCH), mixed.learn(BATCH)
    assert {parameter.dtype for parameter in mixed.model.parameters()} == {torch.float32}
    assert torch.allclose(a, b, rtol=0.05, atol=0.01)
    assert not torch.equal(a, b)


def test_compiled_networks_learn_the_same(monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))  # traced, but not made faster
    plain, compiled = (make_trainer(compile=flag, r_start=0.0) for flag in (False, True))
    assert torch.allclose(plain.learn(BATCH), compiled.learn(BATCH), rtol=1e-3, atol=1e-4)
    assert compiled.model.state_dict().keys() == plain.model.state_dict().keys()
    assert compiled.model.h._compiled_call_impl is not None
    assert plain.model.h._compiled_call_impl is None


# the optimiser and its rate


def test_optimiser_is_adam_as_in_the_paper():
    paper = TRAIN_PRESETS["paper"]
    learner = make_trainer(lr=paper.lr, beta1=paper.beta1, beta2=paper.beta2)
    assert isinstance(learner.optimizer, torch.optim.Adam)
    (group,) = learner.optimizer.param_groups
    assert (group["lr"], group["betas"], group["weight_decay"], group["fused"]) == (2e-4, (0.5, 0.9), 0, True)
    released = TRAIN_PRESETS["released"]
    assert (released.beta1, released.beta2) == (0.5, 0.999)


def rates(learner: Trainer) -> list[float]:
    found = []
    for step in range(learner.total):
        learner.step = step
        found.append(learner.lr())
    return found


@pytest.mark.parametrize("epoch", [1, 3, 7, 49])
def test_rate_drops_after_epochs_60_and_90(epoch):
    learner = make_trainer(epoch=epoch, steps=None)
    assert learner.total == 100 * epoch
    found = np.array(rates(learner)) / 2e-4
    assert found == pytest.approx(np.repeat([1, 0.1, 0.01], np.array([60, 30, 10]) * epoch))


@pytest.mark.parametrize("steps", [10, 700, 1234])
def test_steps_stand_for_the_epochs(steps):
    found = np.array(rates(make_trainer(steps=steps))) / 2e-4
    assert [int((found > level).sum()) for level in (0.5, 0.05)] == [-(-steps * 6 // 10), -(-steps * 9 // 10)]


def test_an_epoch_begins_at_its_step_whatever_the_quotient():
    found = rates(make_trainer(steps=100, decay=(29,), lr=1.0))  # 29 / 100 · 100 < 29 in floating point
    assert (found[28], found[29]) == (1.0, pytest.approx(0.1))


def test_warm_up_is_linear_and_cosine_ends_at_zero():
    assert rates(make_trainer(warmup=4, lr=1.0))[:5] == [0.25, 0.5, 0.75, 1.0, pytest.approx(0.1)]
    cosine = rates(make_trainer(schedule="cosine", steps=100, lr=1.0))
    assert [cosine[0], cosine[50]] == [1.0, pytest.approx(0.5)]
    assert cosine[25] == pytest.approx((1 + 2**-0.5) / 2)
    assert 0 < cosine[99] < 3e-4


def test_the_rate_of_the_step_reaches_the_optimiser():
    learner = make_trainer(warmup=5, lr=0.005)
    for wanted in (0.001, 0.002):
        learner.learn(BATCH)
        assert learner.optimizer.param_groups[0]["lr"] == pytest.approx(wanted)


# the average


def test_average_of_two_steps_by_hand():
    model = make_model()
    average = Average(model, 0.999)
    start, key = weights(model.m).clone(), "m.body.encoder.0.norm.running_mean"
    with torch.no_grad():
        for step in (1, 2):
            for parameter in model.parameters():
                parameter.add_(1)
            model.get_buffer(key).fill_(step)
            average.update(model, step)
    # decay 2/11, then 3/12: start + 9/11 · 1 = start + 0.818; then 0.25 · 0.818 + 0.75 · 2
    assert torch.allclose(weights(average.module.m), start + 0.25 * 9 / 11 + 1.5, atol=1e-5)
    assert (average.module.get_buffer(key) == 2).all(), "running statistics are copied"
    assert not average.module.training


def test_average_does_not_exceed_its_decay():
    model = make_model()
    average = Average(model, 0.1)
    start = weights(model).clone()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    average.update(model, 10**6)
    assert torch.allclose(weights(average.module), start + 0.9, atol=1e-5)


def test_every_step_is_averaged():
    learner = make_trainer(ema=0.0)
    learner.learn(BATCH)
    assert torch.equal(weights(learner.ema.module), weights(learner.model))


# what a step costs


class Watcher(TorchDispatchMode):
    """Notes the operations that make the host wait for a device: reading a number, sizes that depend on values."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero")

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        if function.overloadpacket.__name__ in self.WAITS:
            self.waits.append(str(function))
        return function(*arguments, **(named or {}))


@pytest.mark.parametrize("changes", [{}, {"jitter": "all", "perceptual": "random", "perceptual_layers": (1,)}])
def test_a_step_does_not_wait_for_the_device(changes):
    learner = make_trainer(r_start=0.0, **changes)
    learner.learn(BATCH)
    with Watcher() as watcher:
        figures = learner.learn(BATCH)
        assert watcher.waits == []
        figures.tolist()
        float(figures[0])
        assert watcher.waits, "the test can fail"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_step_does_not_wait_for_the_gpu():
    learner = make_trainer(ranks=trainer.Ranks(torch.device("cuda")), r_start=0.0, precision="bf16")
    pinned = Batch(*(x.pin_memory() for x in BATCH[:3]))
    learner.learn(pinned)
    torch.cuda.set_sync_debug_mode("error")
    try:
        learner.learn(pinned)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(("h_start", "passes"), [(0.0, 3), (9.0, 2)])
def test_perceptual_features_are_computed_once_for_each_batch_of_images(h_start, passes, monkeypatch):
    learner = make_trainer(h_start=h_start)
    seen: list[torch.Tensor] = []
    features = learner.loss.features

    def counted(x: torch.Tensor) -> list[torch.Tensor]:
        seen.append(x)
        return features(x)

    monkeypatch.setattr(learner.loss, "features", counted)
    learner.learn(BATCH)
    assert len(seen) == passes
    assert len({id(x) for x in seen}) == passes
    assert [x.requires_grad for x in seen] == [False, *[True] * (passes - 1)]


def test_position_counts_the_samples_of_all_ranks():
    learner = make_trainer()
    learner.learn(BATCH)
    learner.learn(BATCH)
    assert (learner.step, learner.samples) == (2, 4)


def test_measures_by_hand():
    def mask(*values: float) -> torch.Tensor:
        return torch.tensor(values).view(2, 1, 1, 2)

    m_s, m_d = mask(0, 0, 0.5, 0.5), mask(0, 1, 0.5, 0.75)
    c, f, s, target = (torch.full((2, 3, 4, 4), value) for value in (0.5, 0.25, 0.0, 1.0))
    trace = Trace(m_s, m_d, m_d, m_d, c, f)
    found = measure(trace, s, target, [torch.tensor(x) for x in (1.0, 2.0, 3.0, 4.0)])
    spread = (0.5**0.5 + 0.25 * 0.5**0.5) / 2  # of two values: their distance / √2
    wanted = [1, 2, 3, 4, 2.25 / 4, spread, 1.25 / 4, 0.5, 0.75, 1.0]
    assert found.tolist() == pytest.approx(wanted)
    assert len(MEASURES) == len(wanted)


# checkpoints


@pytest.fixture
def trained() -> Trainer:
    """Two steps done, with r not yet learning."""
    learner = make_trainer(epochs=3, r_start=1.5)
    learner.learn(BATCH)
    learner.learn(make_batch(seed=7))
    return learner


def test_a_resumed_trainer_goes_on_bit_for_bit(trained, tmp_path):
    save_checkpoint(trained, tmp_path)
    other = make_trainer(epochs=3, r_start=1.5)
    load_checkpoint(other, tmp_path, pytest.fail)
    assert (other.step, other.samples) == (2, 4)
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
    assert [checkpoints.read_metadata(tmp_path / name)["step"] for name in (CHECKPOINT, PREVIOUS)] == ["3", "2"]
    words: list[str] = []
    other = make_trainer()
    load_checkpoint(other, tmp_path, words.append)
    assert (other.step, words) == (3, [])
    whole = (tmp_path / CHECKPOINT).read_bytes()
    for length in (len(whole) - 1, len(whole) // 2, 100, 0):
        (tmp_path / CHECKPOINT).write_bytes(whole[:length])
        load_checkpoint(other, tmp_path, words.append)
        assert other.step == 2
    (tmp_path / CHECKPOINT).unlink()
    load_checkpoint(other, tmp_path, words.append)
    assert [word.split(":")[0] for word in words] == [f"{CHECKPOINT} cannot be read"] * 4 + [f"{CHECKPOINT} is missing"]


def test_a_damaged_checkpoint_does_not_replace_the_one_before(trained, tmp_path):
    save_checkpoint(trained, tmp_path)
    trained.learn(BATCH)
    save_checkpoint(trained, tmp_path)
    before = (tmp_path / PREVIOUS).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(b"damaged")
    save_checkpoint(trained, tmp_path)
    assert (tmp_path / PREVIOUS).read_bytes() == before
    assert checkpoints.read_metadata(tmp_path / CHECKPOINT)["step"] == "3"


def test_nothing_to_resume_from(tmp_path):
    with pytest.raises(InputError, match="holds no checkpoint"):
        load_checkpoint(make_trainer(), tmp_path, pytest.fail)
    for name in (CHECKPOINT, PREVIOUS):
        (tmp_path / name).write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match=r"no checkpoint in .* can be read"):
        load_checkpoint(make_trainer(), tmp_path, pytest.fail)


def test_a_checkpoint_of_another_model_names_the_settings(trained, tmp_path):
    save_checkpoint(trained, tmp_path)
    other = make_trainer()
    other.model.config = configuration.update(TINY, {"temperature": 0.5, "threshold": 0.25})
    with pytest.raises(InputError, match=r"another model: temperature = 1\.0, threshold = 'median'"):
        load_checkpoint(other, tmp_path, pytest.fail)


def test_weights_that_are_not_finite_are_not_saved(trained, tmp_path):
    save_checkpoint(trained, tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with torch.no_grad():
        next(trained.model.h.parameters())[0] = torch.nan
    with pytest.raises(AnimaskError, match=r"model\.h.* is not finite at step 2; the last good checkpoint is kept"):
        save_checkpoint(trained, tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_a_checkpoint_that_cannot_be_written_is_an_error_with_a_sentence(trained, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(AnimaskError, match="could not be written"):
        save_checkpoint(trained, tmp_path / "file")


# one run, one process


def own(run: Path, ready: Path) -> None:
    with hold(run):
        if os.fork() == 0:  # as a loader process, which may outlive its parent for seconds
            time.sleep(60)
            os._exit(0)
        ready.touch()
        time.sleep(60)


def test_a_run_folder_has_one_owner_and_its_death_frees_it(tmp_path):
    run, ready = tmp_path / "run", tmp_path / "ready"
    process = start(own, run, ready, output=tmp_path / "out")
    wait_for(ready, process)
    with pytest.raises(InputError, match=f"is being trained by process {process.pid} on "), hold(run):
        pass
    process.kill()
    process.join()
    with hold(run):
        assert f"process {os.getpid()} on" in (run / ".lock").read_text()
    os.killpg(process.pid, signal.SIGKILL)


# logs


def test_a_resumed_log_forgets_what_is_done_again(tmp_path):
    path = tmp_path / "log.jsonl"
    lines = [json.dumps({"step": step, "loss": 0.5}) for step in (1, 2, 2, 3, 4)]
    path.write_text("\n".join(lines) + '\n{"step": 5, "lo')
    forget_after(path, 3)
    assert path.read_text() == "\n".join(lines[:4]) + "\n"
    forget_after(path, 0)
    assert path.read_text() == ""
    forget_after(tmp_path / "none", 3)
    assert [item.name for item in tmp_path.iterdir()] == ["log.jsonl"]


def test_dark_masks_get_a_word_and_later_a_warning():
    assert judge_masks(10_000, logs.DARK) == ""
    assert judge_masks(logs.PATIENCE, 0.001).startswith("masks are still dark (mean 0.00100)")
    warning = judge_masks(logs.PATIENCE + 1, 0.001)
    assert warning.startswith("WARNING: masks are dark after 3001 steps")
    assert "mask_head = normalised" in warning


@pytest.mark.parametrize("name", MODEL_PRESETS)
def test_the_resolved_configuration_is_read_back(name, tmp_path):
    model, train = MODEL_PRESETS[name], configuration.update(TRAIN_PRESETS[name], {"steps": 5, "lr": 1e-7})
    write_toml(tmp_path / "config.toml", "vox", model, train)
    recipe = read_toml(tmp_path / "config.toml")
    assert configuration.resolve(None, None, recipe, {}) == ("vox", model, train)


@pytest.mark.parametrize("text", ['a "quoted" \\ path', "späße 😀", "tab\t, line\n, bell\x07, del\x7f", "c:\\new"])
def test_texts_of_the_configuration_are_read_back(text, tmp_path):
    write_toml(tmp_path / "config.toml", text, TINY, TrainConfig(data=text))
    recipe = read_toml(tmp_path / "config.toml")
    assert (recipe["dataset"], recipe["train"]["data"]) == (text, text)


def test_without_tensorboard_the_run_says_so_once(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    words: list[str] = []
    log = Log(tmp_path, 0, words.append)
    log.figures(1, {"loss": 0.5})
    log.picture(1, frame(0, 0))
    log.close()
    assert [word.split(":")[0] for word in words] == ["tensorboard is not installed"]
    assert (tmp_path / "log.jsonl").read_text() == '{"step": 1, "loss": 0.5}\n'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.jsonl", "previews"]


def test_event_files_hold_scalars_and_the_strip(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    image = frame(0, 0)
    for begin, steps in ((0, (1, 2, 3)), (2, (3, 4))):  # the second part repeats step 3
        log = Log(tmp_path, begin, pytest.fail)
        for step in steps:
            log.figures(step, {"loss": step + begin / 10})
        log.picture(steps[-1], image)
        log.close()
    events = reader.EventAccumulator(str(tmp_path / "events"), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    assert [(event.step, pytest.approx(event.value)) for event in events.Scalars("loss")] == [
        (1, 1.0),
        (2, 2.0),
        (3, 3.2),
        (4, 4.2),
    ]
    (event,) = [event for event in events.Images("preview") if event.step == 4]
    assert (event.width, event.height) == (SIDE, SIDE)


def test_progress_in_one_line():
    figures = dict.fromkeys(MEASURES, 0.25) | {"samples_per_second": 12.34}
    line = describe(Progress(3, 10, figures, 120.0))
    assert line.startswith("step 3/10  loss 0.2500  l1_c 0.2500")
    assert line.endswith("mask 0.250±0.250 motion 0.250  12.3 samples/s  2 min left")


# previews


@pytest.fixture
def cases(tmp_path: Path) -> previews.Cases:
    clips = {}
    for identity in range(3):
        np.save(tmp_path / f"{identity}.npy", np.stack([frame(identity, turn) for turn in range(4)]))
        clips[str(identity)] = [tmp_path / f"{identity}.npy"]
    return previews.held_out(Pairs(SIDE, clips))


def test_held_out_figures_by_hand(cases):
    model = make_model().eval()
    found = previews.validate(model, cases, CPU)
    s, d = to_tensor(cases.sources, CPU), to_tensor(cases.targets, CPU)
    with torch.inference_mode():
        m_s, m_d = model.m(s), model.m(d)
        c, f = model.render(s, m_s, m_d)
    wanted = [float((x - d).abs().mean()) for x in (c, f, s)]
    assert list(found) == ["val_l1_c", "val_l1_f", "val_l1_copy"]
    assert list(found.values()) == pytest.approx(wanted, rel=1e-4)
    assert len(cases.sources) == previews.CASES


def test_the_sheet_shows_reconstructions_and_animations_and_changes_nothing(cases):
    model = make_model().eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    image = previews.sheet(model, cases)
    rows = 2 * previews.SHOWN
    assert image.shape[1] == 8 * SIDE
    height = image.shape[0] // rows
    for row, (source, driver) in enumerate([(i, i) for i in range(4)] + [(i, i + 1) for i in range(4)]):
        line = image[row * height : (row + 1) * height][-SIDE:]
        assert np.array_equal(line[:, :SIDE], cases.sources[source])
        assert np.array_equal(line[:, 2 * SIDE : 3 * SIDE], cases.targets[driver])
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_settings_of_the_small_runs_are_the_papers_otherwise():
    paper, small = TRAIN_PRESETS["paper"], settings()
    different = {key for key in vars(paper) if getattr(paper, key) != getattr(small, key)}
    assert different == {"batch", "perceptual", "precision", "workers", "log_every", "steps"}
