"""`train`: a run from its settings to its weights."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from types import FrameType

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from animask.config import ModelConfig, TrainConfig
from animask.datasets import Batch, Numbers, Pairs, collate
from animask.errors import AnimaskError
from animask.training.checkpoints import SMALLER, hold, save_checkpoint
from animask.training.logs import Log, Progress, Report, describe, judge_masks
from animask.training.previews import Cases, sheet, validate
from animask.training.ranks import join
from animask.training.starting import Run, set_up
from animask.training.trainer import MEASURES, Trainer
from animask.weights import WEIGHTS, save_model

ENDINGS = ("", "time limit", "interrupted", "terminated")  # why a run ends early; the highest of all ranks counts
SIGNALS = {signal.SIGINT: ENDINGS.index("interrupted"), signal.SIGTERM: ENDINGS.index("terminated")}

Show = Callable[[Progress], None]


@dataclass(frozen=True)
class Outcome:
    """How a run ended: "finished", "time limit", "interrupted" or "terminated"; its last figures, speed and memory.

    weights: their path, empty on ranks that do not lead. memory_mb: of the GPU, 0 without one.
    """

    ended: str
    step: int
    weights: str
    figures: dict[str, float]
    samples_per_second: float
    memory_mb: float


def train(
    model_config: ModelConfig,
    config: TrainConfig,
    run: Run,
    report: Report = print,
    show: Show | None = None,
) -> Outcome:
    """Train the four networks; leaves weights, checkpoints, log and previews in run.out.

    report: takes lines for people. show: takes the progress every config.log_every steps; without it, report gets a
    line. Ctrl-C and SIGTERM save and end the run; so does the time limit. Raises InputError for data or settings that
    do not fit, MissingError for networks that are not there, AnimaskError for figures that are not finite (the last
    good checkpoint stays).
    """
    started = time.monotonic()
    ranks = join(run.device)
    talk = report if ranks.leads else lambda text: None
    try:
        with ExitStack() as stack:
            with ranks.in_turn():
                if ranks.leads:
                    stack.enter_context(hold(run.out))
                trainer, pairs, cases = set_up(model_config, config, run, ranks, talk)
            log = Log(run.out, trainer.step, talk) if ranks.leads else None
            if log:
                stack.callback(log.close)
            signals = stack.enter_context(catch_signals())
            loop = Loop(trainer, run, cases, log, talk, show or (lambda progress: talk(describe(progress))), started)
            return loop.go(pairs, signals)
    finally:
        ranks.leave()


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
    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stream(trainer: Trainer, pairs: Pairs) -> Iterator[Batch]:
    """Batches of this rank from the trainer's position on, without end."""
    config, ranks = trainer.config, trainer.ranks
    loader = DataLoader(
        pairs,
        batch_size=config.batch,
        sampler=Numbers(trainer.samples, ranks.rank, ranks.world),
        collate_fn=collate,
        num_workers=config.workers,
        pin_memory=ranks.device.type == "cuda",
        prefetch_factor=4 if config.workers else None,
        multiprocessing_context=loaders() if config.workers else None,
        worker_init_fn=calm,
    )
    return iter(loader)


def loaders() -> str | None:
    """How loader processes begin: on Linux as forks of the run, so that they see it when it is killed, and end."""
    return "fork" if sys.platform == "linux" else None


def calm(worker: int) -> None:
    """Loader processes share the cores among themselves, and leave signals to the main process, which ends them.

    Both signals go to the whole group of processes; a loader that dies of one would take the run with it.
    """
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
    started: float
    figures: dict[str, float] = field(default_factory=dict)

    def go(self, pairs: Pairs, signals: list[int]) -> Outcome:
        """Steps until the end, the time limit or a signal; saves, whichever it is."""
        trainer, config = self.trainer, self.trainer.config
        self.begun, self.first = time.monotonic(), trainer.samples
        pending: list[Tensor] = []
        batches, ending = stream(trainer, pairs), 0
        while trainer.step < trainer.total and not ending:
            pending.append(trainer.learn(next(batches)))
            if trainer.step % config.log_every == 0 or trainer.step == trainer.total:
                self.note(pending)
                pending = []
            if trainer.step % config.preview_every == 0:
                self.preview()
            if trainer.step % config.save_every == 0:
                self.save()
            ending = trainer.ranks.highest(self.ending(signals))
        if trainer.step % config.preview_every or "val_l1_f" not in self.figures:  # resumed after the last step
            self.preview()
        self.save()
        self.save_weights()
        return self.outcome(ENDINGS[ending] or "finished")

    def ending(self, signals: list[int]) -> int:
        """Why the run should end now, as an index into ENDINGS; 0 if it should not."""
        limit = self.run.time_limit
        late = limit is not None and time.monotonic() - self.started > 60 * limit
        return max([ENDINGS.index("time limit") * late, *(SIGNALS[signal.Signals(number)] for number in signals)])

    def note(self, pending: list[Tensor]) -> None:
        """The means of the last steps over all ranks to the log and to people; AnimaskError if not finite."""
        trainer = self.trainer
        means = trainer.ranks.mean(torch.stack(pending).mean(0))
        values = dict(zip(MEASURES, means.tolist(), strict=True))
        if not means.isfinite().all():
            if not self.log:
                raise SystemExit(AnimaskError.exit_code)  # all ranks stop, and the leading one says why
            bad = next(name for name, finite in zip(MEASURES, means.isfinite().tolist(), strict=True) if not finite)
            words = f"{bad} is not finite at step {trainer.step}; the last good checkpoint is kept"
            raise AnimaskError(words, SMALLER)
        values |= {"lr": trainer.lr(), "samples_per_second": self.pace()}
        self.figures |= values
        if self.log:
            self.log.figures(trainer.step, values)
            left = (trainer.total - trainer.step) * trainer.config.batch * trainer.ranks.world / self.pace()
            self.show(Progress(trainer.step, trainer.total, self.figures, left))

    def pace(self) -> float:
        """Samples per second of all ranks since the first step of this part of the run."""
        return (self.trainer.samples - self.first) / max(1e-9, time.monotonic() - self.begun)

    def preview(self) -> None:
        """Held-out figures and a sheet of the averaged model, in eval mode; a word on dark masks."""
        if not self.log or not self.cases:
            return
        model, step = self.trainer.ema.module, self.trainer.step
        try:
            values = validate(model, self.cases, self.trainer.device)
            self.log.picture(step, sheet(model, self.cases))
        except FloatingPointError as error:
            raise AnimaskError(f"{error} at step {step}; the last good checkpoint is kept", SMALLER) from error
        self.log.figures(step, values)
        self.figures |= values
        copied = values["val_l1_copy"]
        self.report(
            f"held-out L1: coarse {values['val_l1_c']:.4f}, final {values['val_l1_f']:.4f}, copying the source "
            f"{copied:.4f} (ratio {values['val_l1_f'] / max(copied, 1e-9):.2f})"
        )
        if "mask_mean" in self.figures and (word := judge_masks(step, self.figures["mask_mean"])):
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
            "loss": trainer.config.perceptual,
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
