"""Training: `train` runs it, on one device or many ranks, resumable at any step."""

from animask.training.logs import Progress, describe
from animask.training.loop import Outcome, train
from animask.training.speed import StepSpeed, measure_steps
from animask.training.starting import Run, settings

__all__ = ["Outcome", "Progress", "Run", "StepSpeed", "describe", "measure_steps", "settings", "train"]
