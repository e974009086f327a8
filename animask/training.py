"""`train`: a run from its settings to its weights, on one device or many processes, resumable at any step; and what it
leaves to be looked at: figures in log.jsonl, held-out figures and sheets, and words on both."""

import json
import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import partial
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from animask.config import ModelConfig, TrainConfig, merge, read_toml, write_toml
from animask.datasets import Report, list_clips, locate, with_clay
from animask.devices import pick_precision
from animask.errors import AnimaskError, InputError
from animask.files import replacing
from animask.images import to_tensor, write_image
from animask.model import Animator
from animask.objectives import Found, Taught
from animask.pairs import Batch, Pairs, collate, open_pairs, unpack
from animask.ranks import SIGNALS, Ranks, companions, handling
from animask.streaming import device_of, encode_source, lay_out, trace_frames
from animask.trainer import CHECKPOINT, Trainer, load_checkpoint, save_checkpoint
from animask.weights import WEIGHTS, find_weights, load_model, save_model

ENDINGS = {0: "finished", signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}  # the highest of all ranks counts
LOG, CONFIG, PREVIEWS = "log.jsonl", "config.toml", "previews"
DARK, BRIGHT, STILL = 0.005, 0.995, 0.001  # mean of masks that are 0 or 1 everywhere; mean change of those that rest
PATIENCE = 3000  # steps that masks which are found may take
HELD_OUT = 32  # held-out pairs that are measured
SHOWN = 4  # of them in the sheet: driven by their own target, then by the target of the next

HeldOut = tuple[np.ndarray, np.ndarray]  # a held-out source and a target of the same identity, RGB uint8 (R, R, 3)


@dataclass(frozen=True)
class Run:
    """What a run is called, where it leaves its files, and where it begins."""

    out: Path
    dataset: str  # vox, taichi, bair, toons or a folder
    device: str = "auto"
    init: str | None = None  # weights to start from
    resume: bool = False  # go on with the run in `out`
    ranks: int = 1  # processes, on a CPU; see `count_ranks`


@dataclass(frozen=True)
class Outcome:
    """How a run ended; its last figures, speed and memory."""

    ended: str  # one of ENDINGS
    step: int
    weights: str  # their path, empty on ranks that do not lead
    figures: dict[str, float]
    samples_per_second: float
    memory_mb: float  # of the GPU, 0 without one


def train(model_config: ModelConfig, config: TrainConfig, run: Run, report: Report = print) -> Outcome:
    """Train the four networks; leaves weights, checkpoints, log and previews in run.out.

    report: takes lines for people, one every config.log_every steps and a few others. Ctrl-C and SIGTERM save and end
    the run. Raises InputError for data or settings that do not fit, MissingError for networks that are not there,
    AnimaskError for figures that are not finite (the last good checkpoint stays).
    """
    with companions(run.ranks, run.device, take_part, model_config, config, run, mute) as ranks:
        return take_part(ranks, model_config, config, run, report if ranks.leads else mute)


def mute(text: str) -> None:
    """Tell nobody."""


def take_part(ranks: Ranks, model_config: ModelConfig, config: TrainConfig, run: Run, report: Report) -> Outcome:
    """One process of a run. On a CPU it has one thread: two that wait for each other are slower."""
    with ExitStack() as stack:
        stack.enter_context(ranks.joined())
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        if ranks.device.type == "cpu":
            torch.set_num_threads(1)
        if ranks.local:  # the first rank of every machine goes before the others, so that caches are filled once
            ranks.highest(0)
        run.out.mkdir(parents=True, exist_ok=True)
        trainer, pairs, held_out = set_up(model_config, config, run, ranks, report)
        if not ranks.local:
            ranks.highest(0)
        signals = stack.enter_context(catch_signals())
        try:
            return Loop(trainer, run, held_out, report).go(pairs, signals)
        except FloatingPointError as error:
            if not ranks.leads:
                raise SystemExit(1) from error  # all ranks stop, and the leading one says why
            words = f"{error} at step {trainer.step}; the last good checkpoint is kept."
            raise AnimaskError(words, "Try a smaller --lr or --precision fp32, then --resume.") from error


@contextmanager
def catch_signals() -> Iterator[list[int]]:
    """The numbers of Ctrl-C and SIGTERM as they come, so that a step is never cut in two; the second Ctrl-C cuts."""
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if caught and number == signal.SIGINT:
            raise KeyboardInterrupt
        caught.append(number)

    with handling(note):
        yield caught


def settings(out: Path, resume: bool, init: str | None, recipe: dict[str, Any]) -> dict[str, Any]:
    """The recipe of a run that does not begin from nothing: that of the run or the weights, then what `recipe` says.

    Raises InputError for a run that cannot be resumed, MissingError for weights that are not there.
    """
    if resume:
        if not (out / CONFIG).is_file():
            raise InputError(f"{out} holds no run to resume.", "Leave --resume out to start a new run.")
        return merge(read_toml(out / CONFIG), recipe)
    if init:
        return merge({"model": asdict(find_weights(init).config)}, recipe)
    return recipe


def set_up(
    model_config: ModelConfig, config: TrainConfig, run: Run, ranks: Ranks, report: Report
) -> tuple[Trainer, Pairs, list[HeldOut]]:
    """The trainer at its first step, the training pairs, and for the leading rank the held-out pairs.

    What is quick to find missing is looked for first, before data are decoded for hours.
    """
    if (run.out / CHECKPOINT).exists() and not run.resume:
        raise InputError(f"{run.out} holds a run already.", "Continue it with --resume, or choose another --out.")
    config = complete(model_config, config, run.dataset, ranks.device, report)
    model = new_model(model_config, config.seed, None if run.resume else run.init)
    objective = (Taught if config.masks == "taught" else Found)(config)
    pairs, test = open_pairs(run.dataset, model_config, config, report)
    trainer = Trainer(model, objective, config, max(1, len(pairs) // (config.batch * ranks.world)), ranks)
    if run.resume:
        load_checkpoint(trainer, run.out)
        report(f"resumed at step {trainer.step}, {trainer.share():.0%} of the run")
    if not ranks.leads:
        return trainer, pairs, []
    write_toml(run.out / CONFIG, run.dataset, model_config, config)
    cut_log(run.out, trainer.step)
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
    if dataset == "toons":
        return config
    root = locate(dataset, config.data).resolve()
    config = replace(config, data=str(root))
    if config.masks == "taught" and not with_clay(list_clips(root, "train", config.identities)):
        report("no clip has clay (`animask prepare` paints that of faces): masks are found, with --perceptual lpips")
        return replace(config, masks="found", perceptual="lpips")
    return config


def new_model(config: ModelConfig, seed: int, init: str | None) -> Animator:
    """A model with seeded random weights, or with those of `init`, whose networks must be of the same sizes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Animator(config)
    if init:
        start = load_model(init)
        try:
            model.load_state_dict(start.state_dict())
        except RuntimeError as error:
            hint = f"Leave --preset out to take them from the weights ({start.config.preset})."
            raise InputError(f"The networks of {init} have other sizes than the settings say.", hint) from error
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


class Loop:
    """The steps of a run, with figures, previews and checkpoints on the way; the leading rank alone writes."""

    def __init__(self, trainer: Trainer, run: Run, held_out: list[HeldOut], report: Report) -> None:
        self.trainer, self.run, self.held_out, self.report = trainer, run, held_out, report
        self.leads = trainer.ranks.leads
        self.figures: dict[str, float] = {}
        self.begun, self.first, self.before = time.monotonic(), trainer.samples, trainer.seconds

    def go(self, pairs: Pairs, signals: list[int]) -> Outcome:
        """Steps until the end or a signal; saves, whichever it is."""
        trainer, config = self.trainer, self.trainer.config
        pending: list[dict[str, Tensor]] = []
        batches, ending = stream(trainer, pairs), 0
        while trainer.share() < 1 and not ending:
            pending.append(trainer.learn(next(batches)))
            spent = self.before + time.monotonic() - self.begun
            highest, trainer.seconds = trainer.ranks.highest(max([0, *signals]), spent)  # one clock: all have one rate
            ending = int(highest)
            if trainer.step % config.log_every == 0 or trainer.share() == 1:
                self.note(pending)
                pending = []
            if self.leads and trainer.step % config.preview_every == 0 and trainer.share() < 1:
                self.preview()
            if self.leads and trainer.step % config.save_every == 0:
                save_checkpoint(trainer, self.run.out)
        if self.leads:
            save_checkpoint(trainer, self.run.out)
        if not ending:
            trainer.settle(batches)
        if self.leads:
            self.preview()
            self.save_weights()
        weights = str(self.run.out / WEIGHTS) if self.leads else ""
        pace = self.figures.get("samples_per_second", 0.0)
        memory = torch.cuda.max_memory_allocated() / 1e6 if trainer.device.type == "cuda" else 0.0
        return Outcome(ENDINGS[ending], trainer.step, weights, self.figures, pace, memory)

    def note(self, pending: list[dict[str, Tensor]]) -> None:
        """The means of the last steps over all ranks to the log and to people; FloatingPointError if not finite."""
        trainer = self.trainer
        means = trainer.ranks.mean(torch.stack([torch.stack(list(x.values())) for x in pending]).mean(0))
        values = dict(zip(pending[0], means.tolist(), strict=True))
        for name, value in values.items():
            if not math.isfinite(value):
                raise FloatingPointError(f"{name} is not finite")
        shown = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
        pace = (trainer.samples - self.first) / max(1e-9, time.monotonic() - self.begun)
        values |= {"lr": trainer.lr(), "samples_per_second": pace}
        self.figures |= values
        if self.leads:
            write_log(self.run.out, trainer.step, values)
            share = trainer.share()
            minutes = trainer.seconds * (1 - share) / max(1e-9, share) / 60
            self.report(f"step {trainer.step} ({share:.0%})  {shown}  {pace:.1f} samples/s  {minutes:.0f} min left")

    def preview(self) -> None:
        """Held-out figures of the averaged model, a word on masks that show nothing, and a sheet in the run's folder.

        Raises FloatingPointError where the model's values are not finite.
        """
        step, model, folder = self.trainer.step, self.trainer.ema, self.run.out / PREVIEWS
        values = validate(model, self.held_out)
        folder.mkdir(exist_ok=True)
        write_image(folder / f"{step:07}.png", draw_sheet(model, self.held_out))
        write_log(self.run.out, step, values)
        coarse, final, copied = values.values()
        words = f"held-out L1: coarse {coarse:.4f}, final {final:.4f}, copying the source {copied:.4f}"
        self.report(f"{words} (ratio {final / max(copied, 1e-9):.2f})")
        if word := judge_masks(step, self.figures):
            self.report(word)
        self.figures |= values

    def save_weights(self) -> None:
        """The averaged model as fp16 weights, with its origin in the metadata."""
        trainer = self.trainer
        about = {"dataset": Path(self.run.dataset).name, "steps": str(trainer.step), "samples": str(trainer.samples)}
        about |= {"masks": trainer.config.masks, "date": date.today().isoformat()}
        about |= {key: f"{self.figures[key]:.5f}" for key in ("val_l1_f", "val_l1_copy")}
        save_model(trainer.ema, self.run.out / WEIGHTS, about)


def write_log(run: Path, step: int, values: dict[str, float]) -> None:
    """One line of figures more in the log of a run."""
    with (run / LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, **values}) + "\n")


def cut_log(run: Path, step: int) -> None:
    """Drop what an earlier part of a run logged beyond `step`."""
    path, kept = run / LOG, ""
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        with suppress(ValueError):  # a kill has cut the line
            kept += f"{line}\n" if json.loads(line)["step"] <= step else ""
    with replacing(path) as temporary:
        temporary.write_text(kept, encoding="utf-8")


def judge_masks(step: int, figures: dict[str, float]) -> str:
    """A word on masks that show nothing, or nothing."""
    mean, motion = figures.get("mask_mean", 0.5), figures.get("mask_motion", 1.0)  # none before the first step
    if mean < DARK:
        fault = f"dark (mean {mean:.5f})"
    elif mean > BRIGHT:
        fault = f"1 everywhere (mean {mean:.5f})"
    elif motion < STILL:
        fault = f"the same for source and driver (mean change {motion:.5f})"
    else:
        return ""
    if step <= PATIENCE:
        return f"masks are still {fault}; found masks may need {PATIENCE} steps to wake"
    return f"WARNING: after {step} steps masks are {fault}: nothing is learnt from the driver; try masks = taught"


def hold_out(pairs: Pairs) -> list[HeldOut]:
    """The first pairs of a held-out stream."""
    rows = [list(pairs[number].rows[:2]) for number in range(HELD_OUT)]
    frames = [unpack(pair, pairs.resolution, clay=False)[0].permute(0, 2, 3, 1).numpy() for pair in rows]
    return [(source, target) for source, target in frames]


@torch.inference_mode()
def validate(model: Animator, held_out: list[HeldOut]) -> dict[str, float]:
    """Reconstruction of held-out pairs without r and P_test, as the paper evaluates it; L1 of c, f and the source."""
    sums = np.zeros(3)
    for case in held_out:
        s, d = (to_tensor(frame, device_of(model)) for frame in case)
        c, f = model.render(s, model.m(s), model.m(d))
        sums += [float((x - d).abs().mean()) for x in (c, f, s)]
    return dict(zip(("val_l1_c", "val_l1_f", "val_l1_copy"), (sums / len(held_out)).tolist(), strict=True))


def draw_sheet(model: Animator, held_out: list[HeldOut]) -> np.ndarray:
    """Rows of the columns of the paper's figure 3: SHOWN reconstructions, then SHOWN animations across identities."""
    rows: list[np.ndarray] = []
    for i in range(SHOWN * 2):
        source, driver = held_out[i % SHOWN][0], held_out[i % SHOWN + i // SHOWN][1]
        rows += lay_out(trace_frames(model, encode_source(model, source), [driver]), source, [driver], "strip")
    return np.vstack(rows)
