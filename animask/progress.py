"""What a run leaves to be looked at: figures in log.jsonl, held-out figures and sheets, and words on both."""

import json
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch

from animask.config import ModelConfig, TrainConfig
from animask.datasets import Report
from animask.files import replacing
from animask.images import to_tensor, write_image
from animask.model import Animator
from animask.pairs import Pairs, unpack
from animask.streaming import device_of, encode_source, lay_out, trace_frames

LOG, CONFIG, PREVIEWS = "log.jsonl", "config.toml", "previews"
DARK, BRIGHT, STILL = 0.005, 0.995, 0.001  # mean of masks that are 0 or 1 everywhere; mean change of those that rest
PATIENCE = 3000  # steps that masks which are found may take
CASES = 32  # held-out pairs that are measured
SHOWN = 4  # of them in the sheet: driven by their own target, then by the target of the next

Case = tuple[np.ndarray, np.ndarray]  # a held-out source and a target of the same identity, RGB uint8 (R, R, 3)


def describe(step: int, share: float, figures: dict[str, float], seconds_left: float) -> str:
    """How far a run is, in one line: its step, its share of the whole, and its last figures."""
    hidden = ("lr", "samples_per_second")
    shown = [f"{k} {v:.4f}" for k, v in figures.items() if k not in hidden and not k.startswith("val_")]
    pace = f"{figures['samples_per_second']:.1f} samples/s  {seconds_left / 60:.0f} min left"
    return "  ".join([f"step {step} ({share:.0%})", *shown, pace])


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


def write_toml(path: Path, dataset: str, model: ModelConfig, train: TrainConfig) -> None:
    """The resolved configuration, in the form that --config reads; JSON's texts, numbers and lists are TOML's too."""
    quote = partial(json.dumps, ensure_ascii=False)
    lines = [f"dataset = {quote(dataset)}"]
    for name, config in (("model", model), ("train", train)):
        lines += ["", f"[{name}]", *(f"{k} = {quote(v)}" for k, v in asdict(config).items() if v is not None)]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="replace")


def hold_out(pairs: Pairs) -> list[Case]:
    """The first pairs of a held-out stream."""
    rows = [list(pairs[number].rows[:2]) for number in range(CASES)]
    frames = [unpack(pair, pairs.resolution, clay=False)[0].permute(0, 2, 3, 1).numpy() for pair in rows]
    return [(source, target) for source, target in frames]


def preview(
    run: Path, step: int, model: Animator, cases: list[Case], figures: dict[str, float], report: Report
) -> dict[str, float]:
    """Held-out figures for the log and for people, a word on masks that show nothing, and a sheet in a run's folder.

    figures: of the last steps. Raises FloatingPointError where the model's are not finite.
    """
    values, folder = validate(model, cases), run / PREVIEWS
    folder.mkdir(exist_ok=True)
    write_image(folder / f"{step:07}.png", draw_sheet(model, cases))
    write_log(run, step, values)
    coarse, final, copied = values.values()
    ratio = final / max(copied, 1e-9)
    report(f"held-out L1: coarse {coarse:.4f}, final {final:.4f}, copying the source {copied:.4f} (ratio {ratio:.2f})")
    if word := judge_masks(step, figures):
        report(word)
    return values


@torch.inference_mode()
def validate(model: Animator, cases: list[Case]) -> dict[str, float]:
    """Reconstruction of held-out pairs without r and P_test, as the paper evaluates it; L1 of c, f and the source."""
    sums = np.zeros(3)
    for case in cases:
        s, d = (to_tensor(frame, device_of(model)) for frame in case)
        c, f = model.render(s, model.m(s), model.m(d))
        sums += [float((x - d).abs().mean()) for x in (c, f, s)]
    return dict(zip(("val_l1_c", "val_l1_f", "val_l1_copy"), (sums / len(cases)).tolist(), strict=True))


def draw_sheet(model: Animator, cases: list[Case]) -> np.ndarray:
    """Rows of the columns of the paper's figure 3: SHOWN reconstructions, then SHOWN animations across identities."""
    rows: list[np.ndarray] = []
    for i in range(SHOWN * 2):
        source, driver = cases[i % SHOWN][0], cases[i % SHOWN + i // SHOWN][1]
        rows += lay_out(trace_frames(model, encode_source(model, source), [driver]), source, [driver], "strip")
    return np.vstack(rows)
