"""Training: `train` runs it, on one device or many ranks, resumable at any step."""

from animask.training.loop import Outcome, Run, train

__all__ = ["Outcome", "Run", "train"]
