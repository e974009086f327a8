"""`train`: a run from its settings to its weights."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from types import FrameType

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from animask.config import ModelConfig, TrainConfig
from animask.datasets import Batch, Numbers, Pairs, collate, open_pairs
from animask.devices import pick_precision
from animask.errors import AnimaskError, InputError
from animask.losses import make_loss
from animask.model import Animator
from animask.training.checkpoints import CHECKPOINT, hold, load_checkpoint, save_checkpoint
from animask.training.logs import Log, judge_masks, write_toml
from animask.training.previews import Cases, held_out, sheet, validate
from animask.training.ranks import Ranks, join
from animask.training.trainer import MEASURES, Trainer
from animask.weights import WEIGHTS, fetch_vgg19, load_model, save_model

Report = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """Where a run takes its data from and where it leaves its files.

    dataset: vox, taichi, bair, toons or a folder. data: its folder, else it is looked for. init: weights to start
    from. time_limit: minutes after which the run saves and ends. limit_videos: clips that are used at most.
    """

    out: Path
    dataset: str
    data: Path | None = None
    device: str = "auto"
    init: str | None = None
    resume: bool = False
    time_limit: float | None = None
    limit_videos: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How a run ended: "finished", "time limit" or "interrupted"; its last figures; samples/s and GPU memory in MB."""

    ended: str
    step: int
    weights: str
    figures: dict[str, float]
    samples_per_second: float
    memory_mb: float


@contextmanager
def catch_signals() -> Iterator[list[int]]:
    """A list that is not empty once Ctrl-C or SIGTERM came, so that a step is never cut in two."""
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(model_config: ModelConfig, config: TrainConfig, run: Run, report: Report = print) -> Outcome:
    """Train the four networks; leaves weights, checkpoints, log and previews in run.out.

    report: takes lines for people. Ctrl-C and SIGTERM save and end the run. Raises InputError for data or settings
    that do not fit, MissingError for a perceptual network that is not there, AnimaskError for figures that are not
    finite (the last good checkpoint stays).
    """
    if (run.out / CHECKPOINT).exists() and not run.resume:
        raise InputError(f"{run.out} holds a run already", "continue it with --resume, or choose another --out")
    ranks = join(run.device)
    talk = report if ranks.leads else lambda text: None
    precision = pick_precision(config.precision, ranks.device.type).name
    config = replace(config, precision=precision)  # type: ignore[arg-type]
    try:
        with hold(run.out) if ranks.leads else nothing(), catch_signals() as signals:
            pairs, test = open_pairs(run.dataset, run.data, model_config, config, run.limit_videos, talk)
            trainer = build(model_config, config, run, pairs, ranks, talk)
            return loop(trainer, run, pairs, held_out(test), signals, talk)
    finally:
        ranks.leave()


@contextmanager
def nothing() -> Iterator[None]:
    """A context without effect, for ranks that do not lead."""
    yield


def build(
    model_config: ModelConfig, config: TrainConfig, run: Run, pairs: Pairs, ranks: Ranks, report: Report
) -> Trainer:
    """The trainer at its first step: fresh, from weights, or from the checkpoint of an earlier part of the run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = Animator(model_config)
    if run.init:
        start = load_model(run.init)
        different = [
            key
            for key, value in model.state_dict().items()
            if start.state_dict().get(key, value[:0]).shape != value.shape
        ]
        if different or len(start.state_dict()) != len(model.state_dict()):
            raise InputError(
                f"{run.init} has another architecture than the settings", f"its preset is {start.config.preset}"
            )
        model.load_state_dict(start.state_dict())
    state = fetch_vgg19() if config.perceptual == "vgg19" else None
    report(f"reconstruction loss: {LOSSES[config.perceptual]}")
    loss = make_loss(config.perceptual, config.perceptual_layers, config.scales, state)
    epoch = max(1, len(pairs) // (config.batch * ranks.world))
    trainer = Trainer(model, loss, config, epoch, ranks)
    if run.resume:
        load_checkpoint(trainer, run.out)
        report(f"resumed at step {trainer.step}")
    if ranks.leads:
        write_toml(run.out / "config.toml", run.dataset, model_config, config)
    return trainer


LOSSES = {
    "vgg19": "VGG-19 with ImageNet weights",
    "random": "VGG-19 with fixed-seed random weights, plus L1 (no ImageNet weights)",
    "pixels": "multi-scale L1 of pixels and gradients (no perceptual network)",
}


def stream(trainer: Trainer, pairs: Pairs) -> Iterator[Batch]:
    """Batches of this rank from the trainer's step on, without end."""
    config, ranks = trainer.config, trainer.ranks
    workers = config.workers
    loader = DataLoader(
        pairs,
        batch_size=config.batch,
        sampler=Numbers(trainer.step * config.batch * ranks.world, ranks.rank, ranks.world),
        collate_fn=collate,
        num_workers=workers,
        pin_memory=ranks.device.type == "cuda",
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers else None,
        worker_init_fn=single_thread,
    )
    return iter(loader)


def single_thread(worker: int) -> None:
    """Workers share the cores among themselves; Ctrl-C is for the main process."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def loop(trainer: Trainer, run: Run, pairs: Pairs, cases: Cases, signals: list[int], report: Report) -> Outcome:
    """Steps until the end, the time limit or a signal; figures, previews and checkpoints on the way."""
    config, ranks = trainer.config, trainer.ranks
    log = Log(run.out) if ranks.leads else None
    started, first, ended = time.monotonic(), trainer.step, "finished"
    figures: dict[str, float] = {}
    pending: list[Tensor] = []
    batches = stream(trainer, pairs)
    while trainer.step < trainer.total:
        pending.append(trainer.learn(next(batches)))
        step = trainer.step
        if step % config.log_every == 0 or step == trainer.total:
            figures |= summarise(trainer, pending, started, first)
            pending = []
            note(log, step, figures, trainer.total, report)
        if step % config.preview_every == 0 and log:
            figures |= preview(trainer, cases, log, report)
        late = run.time_limit is not None and time.monotonic() - started > 60 * run.time_limit
        if ranks.any(bool(signals) or late):
            ended = "interrupted" if signals else "time limit"
            break
        if step % config.save_every == 0 and ranks.leads:
            save_checkpoint(trainer, run.out)
    if log:
        figures |= preview(trainer, cases, log, report)
        save_checkpoint(trainer, run.out)
        save_weights(trainer, run, figures)
        log.close()
    ranks.wait()
    return outcome(trainer, run, ended, figures, started, first)


def summarise(trainer: Trainer, pending: list[Tensor], started: float, first: int) -> dict[str, float]:
    """The means of the last steps over all ranks, by name; AnimaskError if they are not finite."""
    means = trainer.ranks.mean(torch.stack(pending).mean(0)).tolist()
    values = dict(zip(MEASURES, means, strict=True))
    if not all(abs(value) < float("inf") for value in means):  # NaN compares false
        bad = next(name for name, value in values.items() if not abs(value) < float("inf"))
        raise AnimaskError(
            f"{bad} is not finite at step {trainer.step}; the last good checkpoint is kept",
            "try a smaller --lr or --precision fp32, then --resume",
        )
    seconds = time.monotonic() - started
    samples = (trainer.step - first) * trainer.config.batch * trainer.ranks.world
    return {**values, "lr": trainer.lr(), "samples_per_second": samples / seconds, "seconds": seconds}


def note(log: Log | None, step: int, figures: dict[str, float], total: int, report: Report) -> None:
    """Figures to the log and to people, with a word on dark masks."""
    if log is None:
        return
    log.figures(step, figures)
    rate = figures["samples_per_second"]
    left = figures["seconds"] / step * (total - step)
    shown = "  ".join(f"{name} {figures[name]:.4f}" for name in ("loss", "l1_c", "l1_f", "l1_copy"))
    masks = f"mask {figures['mask_mean']:.3f}±{figures['mask_spread']:.3f} motion {figures['mask_motion']:.3f}"
    report(f"step {step}/{total}  {shown}  {masks}  {rate:.1f} samples/s  {left / 60:.0f} min left")
    if word := judge_masks(step, figures["mask_mean"]):
        report(word)


def preview(trainer: Trainer, cases: Cases, log: Log, report: Report) -> dict[str, float]:
    """Held-out figures and a sheet of the averaged model, in eval mode."""
    model = trainer.ema.module
    values = validate(model, cases, trainer.device)
    log.figures(trainer.step, values)
    log.picture(trainer.step, sheet(model, cases))
    ratio = values["val_l1_f"] / max(values["val_l1_copy"], 1e-9)
    report(
        f"held-out L1: coarse {values['val_l1_c']:.4f}, final {values['val_l1_f']:.4f}, "
        f"copying the source {values['val_l1_copy']:.4f} (ratio {ratio:.2f})"
    )
    return values


def save_weights(trainer: Trainer, run: Run, figures: dict[str, float]) -> None:
    """The averaged model as fp16 weights, with its origin in the metadata."""
    about = {
        "dataset": Path(run.dataset).name,
        "steps": str(trainer.step),
        "loss": trainer.config.perceptual,
        "date": date.today().isoformat(),
        "val_l1": f"{figures['val_l1_f']:.5f}",
        "val_l1_copy": f"{figures['val_l1_copy']:.5f}",
    }
    save_model(trainer.ema.module, run.out / WEIGHTS, about)


def outcome(trainer: Trainer, run: Run, ended: str, figures: dict[str, float], started: float, first: int) -> Outcome:
    """The summary of a run."""
    cuda = trainer.device.type == "cuda"
    samples = (trainer.step - first) * trainer.config.batch * trainer.ranks.world
    return Outcome(
        ended=ended,
        step=trainer.step,
        weights=str(run.out / WEIGHTS),
        figures=figures,
        samples_per_second=samples / max(1e-9, time.monotonic() - started),
        memory_mb=torch.cuda.max_memory_allocated() / 1e6 if cuda else 0.0,
    )
