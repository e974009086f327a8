"""Key points and embeddings for the metrics: bundled detectors of toons, and those of people from other packages."""

from collections.abc import Callable
from typing import Any

import torch

from animask.detectors.people import ArcFace, BodyKeyPoints, FaceKeyPoints, Lpips
from animask.detectors.toons import ToonIdentity, ToonKeyPoints
from animask.errors import MissingError

__all__ = ["KINDS", "Lpips", "open_identity", "open_points"]

KINDS: dict[str, tuple[Callable[..., Any], Callable[..., Any] | None]] = {
    "toons": (ToonKeyPoints, ToonIdentity),
    "faces": (FaceKeyPoints, ArcFace),
    "bodies": (BodyKeyPoints, None),
}


def open_points(kind: str, device: torch.device | str) -> Any:
    """The key-point detector of a kind of picture: a function of frames to KeyPoints, with `about`.

    Raises MissingError where its network or its package is not there.
    """
    return KINDS[kind][0](device)


def open_identity(kind: str, device: torch.device | str) -> Any:
    """The identity detector of a kind of picture: a function of frames to embeddings (B, E), with `about`.

    Raises MissingError where its network or its package is not there, and for bodies, which have none.
    """
    make = KINDS[kind][1]
    if make is None:
        hint = "leave out aed, csim and leak, or name another kind of picture with --detectors"
        raise MissingError(f"animask knows no identity network for {kind}", hint)
    return make(device)
