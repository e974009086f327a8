"""The model that settings name, found and loaded when it is first needed, and once."""

import logging
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from animask.animation.crops import Crop
from animask.animation.settings import Settings
from animask.animation.streaming import at_precision
from animask.devices import DTYPES, pick_device, pick_precision
from animask.fusion import fuse
from animask.headers import read_header
from animask.model import Animator
from animask.video import VideoInfo
from animask.weights import commit_of, find_weights, load_model, read_config, sha256

log = logging.getLogger(__name__)

FACES = "face"  # what weights of faces have as "object" in their metadata


def open_model(settings: Settings) -> tuple[Animator, str, str]:
    """The model that the settings name, on its device and in its precision; and the names of both."""
    device, reason = pick_device(settings.device)
    precision, why = pick_precision(settings.precision, device)
    log.info("weights %s, device %s (%s), precision %s (%s)", settings.weights, device, reason, precision, why)
    model = load_model(settings.weights, device)
    changes: dict[str, Any] = {"threshold": settings.threshold, "scale": settings.scale}
    model.config = replace(model.config, **{key: value for key, value in changes.items() if value is not None})
    return at_precision(fuse(model), precision), device, precision


class Studio:
    """What the jobs of one run share. settings: as `animate_file` takes them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.drivers: dict[Path, tuple[VideoInfo, Crop]] = {}  # those that were looked at

    @cached_property
    def weights(self) -> Path:
        """The weights file; MissingError if there is none."""
        return find_weights(self.settings.weights)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the weights file."""
        return sha256(self.weights)

    @cached_property
    def revision(self) -> str:
        """The commit on the Hub that the weights come from; empty where they come from elsewhere."""
        return commit_of(self.weights)

    @cached_property
    def knows_faces(self) -> bool:
        """Whether the weights say that they were trained on faces."""
        return read_header(self.weights).metadata.get("object", "").lower() == FACES

    @cached_property
    def model(self) -> Animator:
        """The model, ready to animate."""
        return open_model(self.settings)[0]

    def exact(self) -> Animator:
        """The model in float32, read anew, because what was cast is rounded; all jobs go on with it."""
        self.model = open_model(replace(self.settings, precision="fp32"))[0]
        return self.model

    @cached_property
    def side(self) -> int:
        """The resolution R of the model, which is not loaded for it."""
        return read_config(self.weights, read_header(self.weights)).resolution

    @property
    def device(self) -> str:
        """Where the model is, such as "cuda:1"."""
        return str(next(self.model.parameters()).device)

    @property
    def precision(self) -> str:
        """What the model computes in now; it changes where half precision does not do."""
        dtype = next(self.model.parameters()).dtype
        return next(name for name, known in DTYPES.items() if known == dtype)
