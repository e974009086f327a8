"""The bundled detectors of toons, as the metrics use them: frames to key points, frames to embeddings."""

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from animask.detectors.networks import IdentityNet, KeyPointNet, deviation
from animask.detectors.pool import SIDE
from animask.errors import MissingError
from animask.metrics import KeyPoints

KEYPOINT_FILE = "toons-keypoints.safetensors"
IDENTITY_FILE = "toons-identity.safetensors"
LARGEST_DEVIATION = SIDE / 12.8  # of a heat map; of 200 points in sharp faces 199 stay below, in smeared ones few


def bundled(name: str) -> Path:
    """The path of a bundled detector's weights; MissingError if it is not there."""
    path = Path(str(resources.files("animask"))) / "weights" / name
    if not path.is_file():
        hint = "install animask again, or train it: python -m animask.detectors.training --help"
        raise MissingError(f"the detector {name} is not in {path.parent}", hint)
    return path


def read_network(network: nn.Module, path: Path, device: torch.device | str) -> nn.Module:
    """The network with the weights of a file, float32, in eval mode, on the device."""
    state = {name: value.float() if value.is_floating_point() else value for name, value in load_file(path).items()}
    network.load_state_dict(state)
    return network.requires_grad_(False).eval().to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def about(name: str, path: Path) -> dict[str, Any]:
    """What a report says of a detector; held_out: its figures on unseen toons, {} if nobody measured them."""
    with safe_open(path, framework="pt") as file:
        figures = json.loads((file.metadata() or {}).get("held_out", "{}"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"network": name, "file": path.name, "sha256": digest, "held_out": figures}


def shrink(frames: Tensor) -> Tensor:
    """Frames (B, 3, H, W) to the size of the detectors (B, 3, SIDE, SIDE), low-pass filtered."""
    size = (SIDE, SIDE)
    return functional.interpolate(frames.float(), size, mode="bilinear", align_corners=False, antialias=True)


class ToonKeyPoints:
    """Frames (B, 3, H, H) in [0, 1] to the 27 points of `animask.toons.KEYPOINTS`, in pixels of these frames.

    A point is visible if the network says that it faces the viewer, and knows where: where it can only guess, as in
    a smeared face, the point counts as missed.
    """

    def __init__(self, device: torch.device | str = "cpu", path: Path | None = None) -> None:
        path = path or bundled(KEYPOINT_FILE)
        self.about = about("animask toon key points, 27 points", path)
        self.network = read_network(KeyPointNet(), path, device)

    @torch.inference_mode()
    def __call__(self, frames: Tensor) -> KeyPoints:
        found = self.network(shrink(frames))
        visible = (found.visible > 0) & (deviation(found.heat) < LARGEST_DEVIATION)
        return KeyPoints((found.places + 0.5) * (frames.shape[-1] / SIDE) - 0.5, visible)


class ToonIdentity:
    """Frames (B, 3, H, H) in [0, 1] to identity embeddings (B, 64) of length 1; it finds one in every frame."""

    def __init__(self, device: torch.device | str = "cpu", path: Path | None = None) -> None:
        path = path or bundled(IDENTITY_FILE)
        self.about = about("animask toon identity, 64 numbers", path)
        self.network = read_network(IdentityNet(), path, device)

    @torch.inference_mode()
    def __call__(self, frames: Tensor) -> Tensor:
        embedding: Tensor = self.network(shrink(frames))
        return embedding
