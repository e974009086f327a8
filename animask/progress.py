"""What a run leaves to be looked at: figures in log.jsonl, held-out figures and sheets, and words on both."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from animask.config import ModelConfig, TrainConfig, to_dict
from animask.files import replacing
from animask.images import to_tensor, write_image
from animask.model import Animator
from animask.pairs import Pairs, Sample, unpack
from animask.streaming import encode_source, lay_out, trace_frames

LOG, CONFIG, PREVIEWS = "log.jsonl", "config.toml", "previews"
DARK, BRIGHT, STILL = 0.005, 0.995, 0.001  # mean of masks that are 0 or 1 everywhere; mean change of those that rest
PATIENCE = 3000  # steps that masks which are found may take
CASES = 32  # held-out pairs that are measured
SHOWN = 4  # of them in the sheet: driven by their own target, then by the target of the next

Report = Callable[[str], None]


class Progress(NamedTuple):
    """How far a run is: its step, its share of the whole, its last figures by name, and the seconds that are left."""

    step: int
    share: float
    figures: dict[str, float]
    seconds_left: float


class Cases(NamedTuple):
    """Held-out pairs, uint8 (CASES, R, R, 3): sources, and targets of the same identities."""

    sources: np.ndarray
    targets: np.ndarray


def describe(progress: Progress) -> str:
    """Progress in one line."""
    hidden = ("lr", "samples_per_second")
    shown = [f"{k} {v:.4f}" for k, v in progress.figures.items() if k not in hidden and not k.startswith("val_")]
    pace = f"{progress.figures['samples_per_second']:.1f} samples/s  {progress.seconds_left / 60:.0f} min left"
    return "  ".join([f"step {progress.step} ({progress.share:.0%})", *shown, pace])


class Log:
    """The figures of one run, a line a step; what an earlier part of it logged beyond `step` is dropped."""

    def __init__(self, run: Path, step: int) -> None:
        self.run, path = run, run / LOG
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        with replacing(path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines if 0 < step_of(line) <= step), encoding="utf-8")
        self.file = path.open("a", encoding="utf-8")

    def write(self, step: int, values: dict[str, float]) -> None:
        """One line of figures."""
        self.file.write(json.dumps({"step": step, **values}) + "\n")
        self.file.flush()

    def picture(self, step: int, image: np.ndarray) -> None:
        """A sheet of intermediates, RGB uint8 (H, W, 3)."""
        folder = self.run / PREVIEWS
        folder.mkdir(exist_ok=True)
        write_image(folder / f"{step:07}.png", image)


def step_of(line: str) -> int:
    """The step of a line of the log, or 0 if a kill has cut it."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 0


def judge_masks(step: int, mean: float, motion: float) -> str:
    """A word on masks that show nothing, or nothing."""
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


def write_toml(path: Path, dataset: str, model: ModelConfig, train: TrainConfig) -> None:
    """The resolved configuration, in the form that --config reads."""
    lines = [f"dataset = {quote(dataset)}"]
    for name, config in (("model", model), ("train", train)):
        lines += ["", f"[{name}]", *(f"{k} = {quote(v)}" for k, v in to_dict(config).items() if v is not None)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="replace")


def quote(value: Any) -> str:
    """A value as TOML: as in JSON, which has the same numbers, lists and escapes, but for the letter DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def hold_out(pairs: Pairs) -> Cases:
    """The first pairs of a held-out stream."""
    samples: list[Sample] = [pairs[number] for number in range(CASES)]
    columns = [[sample.rows[i] for sample in samples] for i in range(2)]
    return Cases(*(unpack(rows, pairs.resolution, clay=False)[0].permute(0, 2, 3, 1).numpy() for rows in columns))


@torch.inference_mode()
def validate(model: Animator, cases: Cases, device: torch.device) -> dict[str, float]:
    """Reconstruction of held-out pairs without r and P_test, as the paper evaluates it; L1 of c, f and the source."""
    sums = np.zeros(3)
    for source, target in zip(*cases, strict=True):
        s, d = to_tensor(source, device), to_tensor(target, device)
        m_s, m_d = model.m(s), model.m(d)
        c, f = model.render(s, m_s, m_d)
        sums += [float((x - d).abs().mean()) for x in (c, f, s)]
    return dict(zip(("val_l1_c", "val_l1_f", "val_l1_copy"), (sums / len(cases.sources)).tolist(), strict=True))


def draw_sheet(model: Animator, cases: Cases) -> np.ndarray:
    """Rows of the columns of the paper's figure 3: SHOWN reconstructions, then SHOWN animations across identities."""
    rows: list[np.ndarray] = []
    for i in range(SHOWN * 2):
        source, driver = np.ascontiguousarray(cases.sources[i % SHOWN]), cases.targets[i % SHOWN + i // SHOWN]
        trace = trace_frames(model, encode_source(model, source), [driver])
        rows += lay_out(trace, source, [driver], "strip")
    return np.vstack(rows)
