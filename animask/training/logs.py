"""What a run leaves to be read: log.jsonl, TensorBoard events, previews, the resolved configuration."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from animask.config import ModelConfig, TrainConfig, to_dict
from animask.images import write_image

DARK = 0.005  # mean of a mask that encodes nothing yet
PATIENCE = 3000  # steps that a plain mask head may stay dark


class Log:
    """Figures and pictures of one run, in its folder. TensorBoard events are written where tensorboard is installed."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.file = (run / "log.jsonl").open("a", encoding="utf-8")
        try:
            from torch.utils.tensorboard import SummaryWriter

            self.events: Any = SummaryWriter(str(run / "events"))
        except ImportError:
            self.events = None

    def figures(self, step: int, values: dict[str, float]) -> None:
        """One line of figures."""
        self.file.write(json.dumps({"step": step, **values}) + "\n")
        self.file.flush()
        if self.events:
            for name, value in values.items():
                self.events.add_scalar(name, value, step)

    def picture(self, step: int, image: np.ndarray) -> Path:
        """A sheet of intermediates."""
        folder = self.run / "previews"
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


def judge_masks(step: int, mean: float) -> str:
    """A word on masks that are still dark, or nothing."""
    if mean >= DARK:
        return ""
    if step <= PATIENCE:
        return f"masks still dark (mean {mean:.5f}); with the plain head they wake within {PATIENCE} steps"
    return (
        f"WARNING: masks are dark after {step} steps (mean {mean:.5f}): m encodes no motion; try mask_head = normalised"
    )


def write_toml(path: Path, dataset: str, model: ModelConfig, train: TrainConfig) -> None:
    """The resolved configuration, in the form that --config reads."""
    lines = [f"dataset = {json.dumps(dataset)}"]
    for name, config in (("model", model), ("train", train)):
        lines += ["", f"[{name}]"]
        values = to_dict(config).items()
        lines += [f"{key} = {json.dumps(value)}" for key, value in values if value is not None]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
