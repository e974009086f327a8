"""What a run leaves to be read: log.jsonl, TensorBoard events, previews, the resolved configuration."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from animask.config import ModelConfig, TrainConfig, to_dict
from animask.images import write_image
from animask.partials import partial_path

LOG, CONFIG, EVENTS, PREVIEWS = "log.jsonl", "config.toml", "events", "previews"
DARK = 0.005  # mean of a mask that encodes nothing yet
PATIENCE = 3000  # steps that a plain mask head may stay dark

Report = Callable[[str], None]


class Progress(NamedTuple):
    """How far a run is: its step of all steps, its last figures by name, and the seconds that are left."""

    step: int
    total: int
    figures: dict[str, float]
    seconds_left: float


def describe(progress: Progress) -> str:
    """Progress in one line."""
    figures = progress.figures
    shown = "  ".join(f"{name} {figures[name]:.4f}" for name in ("loss", "l1_c", "l1_f", "l1_copy"))
    masks = f"mask {figures['mask_mean']:.3f}±{figures['mask_spread']:.3f} motion {figures['mask_motion']:.3f}"
    pace = f"{figures['samples_per_second']:.1f} samples/s  {progress.seconds_left / 60:.0f} min left"
    return f"step {progress.step}/{progress.total}  {shown}  {masks}  {pace}"


class Log:
    """Figures and pictures of one run, in its folder. TensorBoard events are written where tensorboard is installed.

    step: where the run begins; what an earlier part of it logged beyond that is forgotten, because it is done again.
    """

    def __init__(self, run: Path, step: int, report: Report) -> None:
        self.run = run
        forget_after(run / LOG, step)
        self.file = (run / LOG).open("a", encoding="utf-8")
        self.events: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            report(
                "tensorboard is not installed: figures go to log.jsonl, pictures to previews; "
                "for event files too: pip install tensorboard"
            )
        else:
            self.events = SummaryWriter(str(run / EVENTS), purge_step=step + 1)

    def figures(self, step: int, values: dict[str, float]) -> None:
        """One line of figures."""
        self.file.write(json.dumps({"step": step, **values}) + "\n")
        self.file.flush()
        if self.events:
            for name, value in values.items():
                self.events.add_scalar(name, value, step)

    def picture(self, step: int, image: np.ndarray) -> Path:
        """A sheet of intermediates, RGB uint8 (H, W, 3)."""
        folder = self.run / PREVIEWS
        folder.mkdir(exist_ok=True)
        path = folder / f"{step:07}.png"
        write_image(path, image)
        if self.events:
            self.events.add_image("preview", image, step, dataformats="HWC")
        return path

    def close(self) -> None:
        """Flush and close all files."""
        self.file.close()
        if self.events:
            self.events.close()


def forget_after(path: Path, step: int) -> None:
    """Keep the lines of a log up to a step; a line that a kill has cut is dropped too."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    kept = [line for line in lines if 0 < step_of(line) <= step]
    partial = partial_path(path)
    partial.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    partial.replace(path)


def step_of(line: str) -> int:
    """The step of a line of the log, or 0 if it is cut."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 0


def judge_masks(step: int, mean: float) -> str:
    """A word on masks that are still dark, or nothing."""
    if mean >= DARK:
        return ""
    if step <= PATIENCE:
        return f"masks are still dark (mean {mean:.5f}); with the plain head they wake within {PATIENCE} steps"
    return (
        f"WARNING: masks are dark after {step} steps (mean {mean:.5f}): m encodes no motion, and nothing is learnt; "
        "begin again with mask_head = normalised"
    )


def write_toml(path: Path, dataset: str, model: ModelConfig, train: TrainConfig) -> None:
    """The resolved configuration, in the form that --config reads."""
    lines = [f"dataset = {quote(dataset)}"]
    for name, config in (("model", model), ("train", train)):
        lines += ["", f"[{name}]"]
        values = to_dict(config).items()
        lines += [f"{key} = {quote(value)}" for key, value in values if value is not None]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="replace")


def quote(value: Any) -> str:
    """A value as TOML: as in JSON, which has the same numbers, lists and escapes, but for the letter DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
