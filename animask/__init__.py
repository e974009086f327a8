"""animask: animate a still picture with the motion of a video.

An implementation of "Image Animation with Perturbed Masks" (Shalev and Wolf, CVPR 2022).
The public names load on first use, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from animask.animation import animate_file as animate_file
    from animask.animation import animate_many as animate_many
    from animask.errors import AnimaskError as AnimaskError
    from animask.errors import InputError as InputError
    from animask.errors import MissingError as MissingError
    from animask.evaluation import evaluate as evaluate
    from animask.model import Animator as Animator
    from animask.streaming import animate as animate
    from animask.training import train as train
    from animask.weights import load_model as load_model
    from animask.weights import save_model as save_model

HOME = {"Animator": "model", "animate": "streaming", "evaluate": "evaluation", "train": "training"}
HOME |= dict.fromkeys(("AnimaskError", "InputError", "MissingError"), "errors")
HOME |= dict.fromkeys(("animate_file", "animate_many"), "animation")
HOME |= dict.fromkeys(("load_model", "save_model"), "weights")

__all__ = list(HOME)


def __getattr__(name: str) -> Any:
    if name not in HOME:
        raise AttributeError(f"module 'animask' has no attribute {name!r}")
    return getattr(import_module(f"animask.{HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
