"""Key points and identities for the metrics: of toons by two small networks of our own, of real faces by the face mesh
and, as an extra package, ArcFace."""

import sys
from collections import OrderedDict
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from animask.errors import MissingError
from animask.faces import find_faces
from animask.files import bundled, sha256
from animask.images import to_images
from animask.toons import KEYPOINTS

SIDE = 128  # of the frames that the toons' networks look at, in pixels
EMBEDDING = 64  # numbers of a toon's identity
LARGEST_SPREAD = SIDE / 12.8  # pixels; of 200 points in sharp faces 199 stay below, in smeared ones few
ARCHIVE = "https://github.com/deepinsight/insightface/releases/download/model-zoo/buffalo_l.zip"
# The mesh points that stand for the 68 points of iBUG (300-W): jaw, brows, nose, eyes, outer and inner lips.
MESH_68 = [
    *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),
    *(71, 63, 105, 66, 107, 336, 296, 334, 293, 301),
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),
]


class Detector(NamedTuple):
    """A way to look at frames, and what a result says of it."""

    find: Callable[[Tensor], Tensor]  # (B, 3, H, H) to points (B, K, 2), in pixels, or embeddings (B, E); NaN: none
    about: dict[str, str]  # name of the network, its file and the file's SHA-256


def describe_network(name: str, path: Path) -> dict[str, str]:
    """What a result says of a network."""
    return {"network": name, "file": path.name, "sha256": sha256(path)}


def unit(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """conv3×3 - BatchNorm - ReLU: (B, inputs, H, W) to (B, outputs, H/stride, W/stride)."""
    conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(outputs), relu=nn.ReLU()))


def stage(inputs: int, outputs: int) -> nn.Sequential:
    """Half the size, then once more at that size."""
    return nn.Sequential(unit(inputs, outputs, 2), unit(outputs, outputs))


class ToonKeyPoints(nn.Module):
    """Frames (B, 3, H, H) in [0, 1] to the 27 points of `animask.toons.KEYPOINTS` (B, 27, 2), in their pixels.

    An hourglass with additive skips draws a heat map for each point. A point is NaN where the network says that it
    faces away, or where its map spreads too far: in a smeared face it can only guess.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = unit(3, 16, 2)
        self.down1, self.down2, self.down3 = stage(16, 48), stage(48, 80), stage(80, 128)
        self.skip0 = nn.Conv2d(16, 32, 1)
        self.up3, self.up2, self.up1 = nn.Conv2d(128, 80, 1), nn.Conv2d(80, 48, 1), nn.Conv2d(48, 32, 1)
        self.mix2, self.mix1, self.mix0 = unit(80, 80), unit(48, 48), unit(32, 32)
        self.head = nn.Conv2d(32, len(KEYPOINTS), 1)
        self.seen = nn.Linear(128, len(KEYPOINTS))

    def forward(self, frames: Tensor) -> Tensor:
        x0 = self.stem(shrink(frames))
        x1 = self.down1(x0)
        x2 = self.down2(x1)
        x3 = self.down3(x2)
        y = self.mix2(x2 + functional.interpolate(self.up3(x3), scale_factor=2))
        y = self.mix1(x1 + functional.interpolate(self.up2(y), scale_factor=2))
        y = self.mix0(self.skip0(x0) + functional.interpolate(self.up1(y), scale_factor=2))
        places, spread = locate(self.head(y))
        visible = (self.seen(x3.mean((2, 3))) > 0) & (spread < LARGEST_SPREAD)
        points = (places + 0.5) * (frames.shape[-1] / SIDE) - 0.5  # whole numbers are at the centres of pixels
        return points.where(visible[..., None], torch.nan)


class ToonIdentity(nn.Module):
    """Frames (B, 3, H, H) in [0, 1] to embeddings (B, EMBEDDING) of length 1: near for one identity."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 4, 4)
        self.body = nn.Sequential(unit(32, 64), stage(64, 128), stage(128, 192))
        self.head = nn.Linear(192, EMBEDDING)

    def forward(self, frames: Tensor) -> Tensor:
        x = self.body(torch.relu(self.stem(shrink(frames))))
        return functional.normalize(self.head(x.mean((2, 3))), dim=1)


def shrink(frames: Tensor) -> Tensor:
    """Frames (B, 3, H, H) in [0, 1] to the size and the range of the toons' networks, low-pass filtered."""
    size = (SIDE, SIDE)
    return functional.interpolate(frames.float(), size, mode="bilinear", align_corners=False, antialias=True) - 0.5


def locate(heat: Tensor) -> tuple[Tensor, Tensor]:
    """The mean place (B, K, 2) under the softmax of maps (B, K, H, W), and the root mean square distance (B, K).

    Both in pixels of a picture of twice the size (integral regression, Sun et al., ECCV 2018: finer than a cell).
    """
    share = heat.flatten(2).softmax(2).unflatten(2, heat.shape[2:])
    rows, columns = (2 * torch.arange(n, device=heat.device) + 0.5 for n in heat.shape[2:])
    by_column, by_row = share.sum(2), share.sum(3)
    x, y = (by_column * columns).sum(2), (by_row * rows).sum(2)
    variance = (by_column * (columns - x[..., None]).square()).sum(2) + (by_row * (rows - y[..., None]).square()).sum(2)
    return torch.stack([x, y], dim=2), variance.sqrt()


def open_toons(name: str, network: nn.Module, device: torch.device | str) -> Detector:
    """A bundled network of toons, float32; MissingError without its file."""
    path = bundled(f"toons-{name}.safetensors")
    network.load_state_dict(load_file(path))
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Detector(network.requires_grad_(False).eval(), describe_network(f"animask toon {name}", path))


def open_mesh(device: torch.device | str) -> Detector:
    """68 points of the largest face's mesh. The paper took these places from another network, face-alignment."""

    def find(frames: Tensor) -> Tensor:
        points = torch.full((len(frames), len(MESH_68), 2), torch.nan)
        for number, image in enumerate(to_images(frames)):
            if faces := find_faces(image):  # a frame shows one large head
                points[number] = torch.from_numpy(faces[0].mesh[MESH_68, :2])
        return points.to(device)

    name = "face mesh, 68 of its 468 points (the paper: face-alignment)"
    return Detector(find, describe_network(name, bundled("face_landmark.tflite")))


def open_arcface(device: torch.device | str) -> Detector:
    """The largest face's embedding (512, length 1); MissingError without insightface, or its non-commercial weights."""
    folder = Path("~/.insightface/models/buffalo_l").expanduser()
    try:
        package = import_module("insightface.app")
        with redirect_stdout(sys.stderr):  # it says what it downloads; stdout is for results
            network = package.FaceAnalysis(name="buffalo_l", allowed_modules=["detection", "recognition"])
    except ModuleNotFoundError as error:
        sentence = "the package insightface (ArcFace) is not installed"
        raise MissingError(sentence, "in the checkout: pip install '.[eval]'") from error
    except Exception as error:  # refused, cut off or damaged: each of its parsers has its own kind
        sentence = f"insightface could not have its networks: {error or type(error).__name__}"
        raise MissingError(sentence, f"unpack {ARCHIVE} into {folder}") from error
    gpu = torch.device(device).index or 0 if torch.device(device).type == "cuda" else -1
    network.prepare(ctx_id=gpu, det_size=(640, 640))  # said, because its default changed with version 2

    def find(frames: Tensor) -> Tensor:
        embeddings = torch.full((len(frames), 512), torch.nan)
        for number, image in enumerate(to_images(frames)):
            if faces := network.get(np.ascontiguousarray(image[..., ::-1])):  # it takes BGR
                largest = max(faces, key=lambda face: float(np.ptp(face.bbox.reshape(2, 2), 0).prod()))
                embeddings[number] = torch.from_numpy(largest.normed_embedding)
        return embeddings.to(device)

    name = f"insightface {version('insightface')} buffalo_l: ArcFace, 5-point aligned 112² crops"
    return Detector(find, describe_network(name, folder / "w600k_r50.onnx"))


# By what they look for and the kind of picture: from a device to the detector.
DETECTORS: dict[tuple[str, str], Callable[[torch.device | str], Detector]] = {
    ("points", "toons"): lambda device: open_toons("keypoints", ToonKeyPoints(), device),
    ("points", "faces"): open_mesh,
    ("identity", "toons"): lambda device: open_toons("identity", ToonIdentity(), device),
    ("identity", "faces"): open_arcface,
}
