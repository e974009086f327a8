"""animask: animate a still picture with the motion of a video.

An implementation of "Image Animation with Perturbed Masks" (Shalev and Wolf, CVPR 2022).
The public names load on first use, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from animask.animation import animate, animate_file, animate_many
    from animask.errors import AnimaskError, InputError, MissingError
    from animask.evaluation import evaluate
    from animask.model import Animator
    from animask.training import train
    from animask.weights import load_model, save_model

_HOME = {
    "Animator": "model",
    "AnimaskError": "errors",
    "InputError": "errors",
    "MissingError": "errors",
    "animate": "animation",
    "animate_file": "animation",
    "animate_many": "animation",
    "evaluate": "evaluation",
    "load_model": "weights",
    "save_model": "weights",
    "train": "training",
}

__all__ = [
    "AnimaskError",
    "Animator",
    "InputError",
    "MissingError",
    "animate",
    "animate_file",
    "animate_many",
    "evaluate",
    "load_model",
    "save_model",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'animask' has no attribute {name!r}")
    return getattr(import_module(f"animask.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
