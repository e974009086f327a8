"""`train`: a run from its settings to its weights, on one device or many processes, resumable at any step."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from animask.checkpoints import SMALLER, has_checkpoint, hold, load_checkpoint, save_checkpoint
from animask.config import ModelConfig, TrainConfig, merge, read_toml, to_dict
from animask.datasets import locate
from animask.devices import pick_precision
from animask.errors import AnimaskError, InputError
from animask.found import Found
from animask.losses import make_loss
from animask.model import Animator
from animask.pairs import Batch, Pairs, collate, has_clay, open_pairs
from animask.progress import (
    CONFIG,
    Cases,
    Log,
    Progress,
    Report,
    describe,
    draw_sheet,
    hold_out,
    judge_masks,
    validate,
    write_toml,
)
from animask.ranks import Place, Ranks, companions, find_place, join
from animask.taught import Taught
from animask.trainer import Trainer
from animask.weights import WEIGHTS, fetch_vgg19, find_weights, load_model, save_model

ENDINGS = ("finished", "interrupted", "terminated")  # how a run ends; the highest of all ranks counts
SIGNALS = {signal.SIGINT: 1, signal.SIGTERM: 2}

Show = Callable[[Progress], None]


@dataclass(frozen=True)
class Run:
    """What a run is called, where it leaves its files, and where it begins.

    dataset: vox, taichi, bair, toons or a folder. init: weights to start from. resume: go on with the run in `out`.
    ranks: processes, on a CPU; see `count_ranks`.
    """

    out: Path
    dataset: str
    device: str = "auto"
    init: str | None = None
    resume: bool = False
    ranks: int = 1


@dataclass(frozen=True)
class Outcome:
    """How a run ended, one of ENDINGS; its last figures, speed and memory.

    weights: their path, empty on ranks that do not lead. memory_mb: of the GPU, 0 without one.
    """

    ended: str
    step: int
    weights: str
    figures: dict[str, float]
    samples_per_second: float
    memory_mb: float


def train(
    model_config: ModelConfig, config: TrainConfig, run: Run, report: Report = print, show: Show | None = None
) -> Outcome:
    """Train the four networks; leaves weights, checkpoints, log and previews in run.out.

    report: takes lines for people. show: takes the progress every config.log_every steps; without it, report gets a
    line. Ctrl-C and SIGTERM save and end the run. Raises InputError for data or settings that do not fit, MissingError
    for networks that are not there, AnimaskError for figures that are not finite (the last good checkpoint stays).
    """
    show = show or (lambda progress: report(describe(progress)))
    if run.ranks == 1:
        return take_part(find_place(), model_config, config, run, report, show)
    with companions(run.ranks, follow, model_config, config, run) as place:
        return take_part(place, model_config, config, run, report, show)


def follow(place: Place, model_config: ModelConfig, config: TrainConfig, run: Run) -> None:
    """Take part as a rank that does not lead."""
    try:
        take_part(place, model_config, config, run, lambda text: None, lambda progress: None)
    except AnimaskError as error:
        print(f"animask: process {place.rank}: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from error
    except RuntimeError as error:
        if "onnection" not in str(error):
            raise
        raise SystemExit(1) from error  # the leading process has ended, and said why


def take_part(
    place: Place, model_config: ModelConfig, config: TrainConfig, run: Run, report: Report, show: Show
) -> Outcome:
    """One process of a run."""
    with ExitStack() as stack:
        ranks = stack.enter_context(join(place, run.device))
        stack.enter_context(one_thread(ranks.device))
        talk = report if ranks.leads else lambda text: None
        with ranks.in_turn():
            if ranks.leads:
                stack.enter_context(hold(run.out))
            trainer, pairs, cases = set_up(model_config, config, run, ranks, talk)
        log = Log(run.out, trainer.step) if ranks.leads else None
        signals = stack.enter_context(catch_signals())
        return Loop(trainer, run, cases, log, talk, show).go(pairs, signals)


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """On a CPU, one thread: two that wait for each other are slower as soon as anything else runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if device.type == "cpu" else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def catch_signals() -> Iterator[list[int]]:
    """A list that is not empty once Ctrl-C or SIGTERM came, so that a step is never cut in two; the second Ctrl-C cuts.

    Only the main thread gets signals; elsewhere the list stays empty.
    """
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if caught and number == signal.SIGINT:
            raise KeyboardInterrupt
        caught.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    # a rank that was started deaf stays so
    before = {x: signal.signal(x, note) for x in SIGNALS if signal.getsignal(x) is not signal.SIG_IGN}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def settings(out: Path, resume: bool, init: str | None, recipe: dict[str, Any]) -> dict[str, Any]:
    """The recipe of a run that does not begin from nothing: that of the run or the weights, then what `recipe` says.

    Raises InputError for a run that cannot be resumed, MissingError for weights that are not there.
    """
    if resume:
        if not (out / CONFIG).is_file():
            raise InputError(f"{out} holds no run to resume.", "Leave --resume out to start a new run.")
        return merge(read_toml(out / CONFIG), recipe)
    if init:
        return merge({"model": to_dict(find_weights(init).config)}, recipe)
    return recipe


def set_up(
    model_config: ModelConfig, config: TrainConfig, run: Run, ranks: Ranks, report: Report
) -> tuple[Trainer, Pairs, Cases | None]:
    """The trainer at its first step, the training pairs, and for the leading rank the held-out cases.

    What is quick to find missing is looked for first, before data are decoded for hours.
    """
    if has_checkpoint(run.out) and not run.resume:
        raise InputError(f"{run.out} holds a run already.", "Continue it with --resume, or choose another --out.")
    config = complete(model_config, config, run.dataset, ranks.device, report)
    model = new_model(model_config, config.seed, None if run.resume else run.init)
    lesson = new_lesson(config)
    pairs, test = open_pairs(run.dataset, model_config, config, report)
    trainer = Trainer(model, lesson, config, max(1, len(pairs) // (config.batch * ranks.world)), ranks)
    if run.resume:
        load_checkpoint(trainer, run.out, report)
        report(f"resumed at step {trainer.step}, {trainer.share():.0%} of the run")
    if not ranks.leads:
        return trainer, pairs, None
    write_toml(run.out / CONFIG, run.dataset, model_config, config)
    return trainer, pairs, hold_out(test)


def complete(
    model: ModelConfig, config: TrainConfig, dataset: str, device: torch.device, report: Report
) -> TrainConfig:
    """The settings with what depends on the machine and the data filled in."""
    precision = pick_precision(config.precision, device.type).name
    crop = config.crop or (model.resolution // 2 if device.type == "cpu" else model.resolution)
    if crop > model.resolution or crop % 2**model.blocks:
        raise InputError(f"crop must be a multiple of {2**model.blocks} up to {model.resolution}, not {crop}.")
    config = replace(config, precision=precision, crop=crop)  # type: ignore[arg-type]
    if dataset != "toons":
        config = replace(config, data=str(locate(dataset, Path(config.data) if config.data else None).resolve()))
    if config.masks == "taught" and not has_clay(dataset, config):
        report("no clip has clay (`animask prepare` paints that of faces): masks are found, with --perceptual lpips")
        return replace(config, masks="found", perceptual="lpips")
    return config


def new_lesson(config: TrainConfig) -> Found | Taught:
    """What the networks are trained with. Raises MissingError where VGG-19 is needed and not there."""
    if config.masks == "taught":
        assert config.crop is not None, "see `complete`"
        return Taught(config, config.crop)
    state = fetch_vgg19() if config.perceptual == "vgg19" else None
    return Found(config, make_loss(config.perceptual, config.perceptual_layers, config.scales, state))


def new_model(config: ModelConfig, seed: int, init: str | None) -> Animator:
    """A model with seeded random weights, or with those of `init`, whose networks must be of the same sizes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Animator(config)
    if init:
        start = load_model(init)
        shapes = [{key: value.shape for key, value in x.state_dict().items()} for x in (model, start)]
        if shapes[0] != shapes[1]:
            hint = f"Leave --preset out to take them from the weights ({start.config.preset})."
            raise InputError(f"The networks of {init} have other sizes than the settings say.", hint)
        model.load_state_dict(start.state_dict())
    return model


def stream(trainer: Trainer, pairs: Pairs) -> Iterator[Batch]:
    """Batches of this rank from the trainer's position on, without end; on a CPU each rank fetches its own."""
    config, ranks = trainer.config, trainer.ranks
    workers = 0 if ranks.device.type == "cpu" else config.workers
    loader = DataLoader(
        pairs,
        batch_size=config.batch,
        sampler=count(trainer.samples + ranks.rank, ranks.world),
        collate_fn=partial(collate, resolution=pairs.resolution, clay=pairs.clay),
        num_workers=workers,
        pin_memory=ranks.device.type == "cuda",
        prefetch_factor=4 if workers else None,
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,  # they see a killed run
        worker_init_fn=calm,
    )
    return iter(loader)


def calm(worker: int) -> None:
    """Loader processes use a thread each, and leave signals to the main process, which ends them."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@dataclass
class Loop:
    """The steps of a run, with figures, previews and checkpoints on the way. log: on the leading rank only."""

    trainer: Trainer
    run: Run
    cases: Cases | None
    log: Log | None
    report: Report
    show: Show
    figures: dict[str, float] = field(default_factory=dict)

    def go(self, pairs: Pairs, signals: list[int]) -> Outcome:
        """Steps until the end or a signal; saves, whichever it is."""
        trainer, config = self.trainer, self.trainer.config
        self.begun, self.first, before = time.monotonic(), trainer.samples, trainer.seconds
        pending: list[dict[str, Tensor]] = []
        batches, ending = stream(trainer, pairs), 0
        while trainer.share() < 1 and not ending:
            pending.append(trainer.learn(next(batches)))
            caught = max([0, *(SIGNALS[signal.Signals(x)] for x in signals)])
            spent = before + time.monotonic() - self.begun
            latest, trainer.seconds = trainer.ranks.highest(caught, spent)  # one clock, so that all have one rate
            ending = int(latest)
            if trainer.step % config.log_every == 0 or trainer.share() == 1:
                self.note(pending)
                pending = []
            if trainer.step % config.preview_every == 0 and trainer.share() < 1:
                self.preview()
            if trainer.step % config.save_every == 0:
                self.save()
        self.save()
        if not ending:
            trainer.settle(batches)
        self.preview()
        self.save_weights()
        return self.outcome(ENDINGS[ending])

    def note(self, pending: list[dict[str, Tensor]]) -> None:
        """The means of the last steps over all ranks to the log and to people; AnimaskError if not finite."""
        trainer = self.trainer
        names = list(pending[0])
        means = trainer.ranks.mean(torch.stack([torch.stack(list(x.values())) for x in pending]).mean(0))
        values = dict(zip(names, means.tolist(), strict=True))
        if not means.isfinite().all():
            if not self.log:
                raise SystemExit(AnimaskError.exit_code)  # all ranks stop, and the leading one says why
            bad = next(name for name, finite in zip(names, means.isfinite().tolist(), strict=True) if not finite)
            words = f"{bad} is not finite at step {trainer.step}; the last good checkpoint is kept."
            raise AnimaskError(words, SMALLER)
        values |= {"lr": trainer.lr(), "samples_per_second": self.pace()}
        self.figures |= values
        if self.log:
            self.log.write(trainer.step, values)
            left = trainer.seconds * (1 - trainer.share()) / max(1e-9, trainer.share())
            self.show(Progress(trainer.step, trainer.share(), self.figures, left))

    def pace(self) -> float:
        """Samples per second of all ranks since the first step of this part of the run."""
        return (self.trainer.samples - self.first) / max(1e-9, time.monotonic() - self.begun)

    def preview(self) -> None:
        """Held-out figures and a sheet of the averaged model, in eval mode; a word on masks that show nothing."""
        if not self.log or not self.cases:
            return
        model, step = self.trainer.ema.module, self.trainer.step
        try:
            values = validate(model, self.cases, self.trainer.device)
            self.log.picture(step, draw_sheet(model, self.cases))
        except FloatingPointError as error:
            raise AnimaskError(f"{error} at step {step}; the last good checkpoint is kept.", SMALLER) from error
        self.log.write(step, values)
        self.figures |= values
        copied = values["val_l1_copy"]
        self.report(
            f"held-out L1: coarse {values['val_l1_c']:.4f}, final {values['val_l1_f']:.4f}, copying the source "
            f"{copied:.4f} (ratio {values['val_l1_f'] / max(copied, 1e-9):.2f})"
        )
        if "mask_mean" in self.figures:
            word = judge_masks(step, self.figures["mask_mean"], self.figures["mask_motion"])
            if word:
                self.report(word)

    def save(self) -> None:
        """A checkpoint, on the leading rank."""
        if self.log:
            save_checkpoint(self.trainer, self.run.out)

    def save_weights(self) -> None:
        """The averaged model as fp16 weights, with its origin in the metadata; on the leading rank."""
        trainer, figures = self.trainer, self.figures
        if not self.log:
            return
        about = {
            "dataset": Path(self.run.dataset).name,
            "steps": str(trainer.step),
            "samples": str(trainer.samples),
            "masks": trainer.config.masks,
            "date": date.today().isoformat(),
            **{key: f"{figures[key]:.5f}" for key in ("val_l1_f", "val_l1_copy")},
        }
        save_model(trainer.ema.module, self.run.out / WEIGHTS, about)

    def outcome(self, ended: str) -> Outcome:
        """The summary of a run."""
        trainer = self.trainer
        cuda = trainer.device.type == "cuda"
        return Outcome(
            ended=ended,
            step=trainer.step,
            weights=str(self.run.out / WEIGHTS) if self.log else "",
            figures=self.figures,
            samples_per_second=self.pace(),
            memory_mb=torch.cuda.max_memory_allocated() / 1e6 if cuda else 0.0,
        )
