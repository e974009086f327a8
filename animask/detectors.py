"""Key points and identities for the metrics: of toons by two small networks of our own, of real faces by the face mesh
and, as an extra package, ArcFace."""

import hashlib
import sys
from collections import OrderedDict
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import import_module, resources
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from animask.errors import MissingError
from animask.faces import find_faces
from animask.images import to_images
from animask.metrics import KeyPoints
from animask.toons import KEYPOINTS

SIDE = 128  # of the frames that the toons' networks look at, in pixels
EMBEDDING = 64  # numbers of a toon's identity
LARGEST_SPREAD = SIDE / 12.8  # pixels; of 200 points in sharp faces 199 stay below, in smeared ones few
ARCFACE_NUMBERS = 512
ARCHIVE = "https://github.com/deepinsight/insightface/releases/download/model-zoo/buffalo_l.zip"
DETECTED = (640, 640)  # what insightface scales frames to; said, because its default changed with version 2
# The mesh points that stand for the 68 points of iBUG (300-W): jaw, brows, nose, eyes, outer and inner lips.
MESH_68 = [
    *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),
    *(71, 63, 105, 66, 107, 336, 296, 334, 293, 301),
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),
]


class Found(NamedTuple):
    """What the key-point network answers; pixels are those of its input, whole numbers at their centres."""

    places: Tensor  # (B, K, 2) float32 x, y
    spread: Tensor  # (B, K) float32: how unsure the places are
    visible: Tensor  # (B, K) float32 logits


def unit(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """conv3×3 - BatchNorm - ReLU: (B, inputs, H, W) to (B, outputs, H/stride, W/stride)."""
    conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(outputs), relu=nn.ReLU()))


def stage(inputs: int, outputs: int) -> nn.Sequential:
    """Half the size, then once more at that size."""
    return nn.Sequential(unit(inputs, outputs, 2), unit(outputs, outputs))


class KeyPointNet(nn.Module):
    """Frames (B, 3, S, S) in [0, 1] to `Found`, by heat maps of half the size.

    An hourglass with additive skips; S is a multiple of 16. The place is the mean of the softmax over the map
    (integral regression, Sun et al., ECCV 2018), which is finer than a cell.
    """

    def __init__(self, points: int = len(KEYPOINTS)) -> None:
        super().__init__()
        self.stem = unit(3, 16, 2)
        self.down1, self.down2, self.down3 = stage(16, 48), stage(48, 80), stage(80, 128)
        self.skip0 = nn.Conv2d(16, 32, 1)
        self.up3, self.up2, self.up1 = nn.Conv2d(128, 80, 1), nn.Conv2d(80, 48, 1), nn.Conv2d(48, 32, 1)
        self.mix2, self.mix1, self.mix0 = unit(80, 80), unit(48, 48), unit(32, 32)
        self.head = nn.Conv2d(32, points, 1)
        self.seen = nn.Linear(128, points)

    def forward(self, frames: Tensor) -> Found:
        x0 = self.stem(frames - 0.5)
        x1 = self.down1(x0)
        x2 = self.down2(x1)
        x3 = self.down3(x2)
        y = self.mix2(x2 + functional.interpolate(self.up3(x3), scale_factor=2))
        y = self.mix1(x1 + functional.interpolate(self.up2(y), scale_factor=2))
        y = self.mix0(self.skip0(x0) + functional.interpolate(self.up1(y), scale_factor=2))
        return Found(*locate(self.head(y).float()), self.seen(x3.mean((2, 3))).float())


class IdentityNet(nn.Module):
    """Frames (B, 3, S, S) in [0, 1] to embeddings (B, EMBEDDING) of length 1: near for one identity."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 4, 4)
        self.body = nn.Sequential(unit(32, 64), stage(64, 128), stage(128, 192))
        self.head = nn.Linear(192, EMBEDDING)

    def forward(self, frames: Tensor) -> Tensor:
        x = self.body(torch.relu(self.stem(frames - 0.5)))
        return functional.normalize(self.head(x.mean((2, 3))).float(), dim=1)


def locate(heat: Tensor) -> tuple[Tensor, Tensor]:
    """The mean place (B, K, 2) under the softmax of maps (B, K, H, W), and how far (B, K) it spreads about that.

    Both in pixels of a picture of twice the size. The spread is the root mean square distance: small where the
    network sees the point, large where it can only guess.
    """
    share = heat.flatten(2).softmax(2).unflatten(2, heat.shape[2:])
    rows, columns = (2 * torch.arange(n, device=heat.device) + 0.5 for n in heat.shape[2:])
    by_column, by_row = share.sum(2), share.sum(3)
    x, y = (by_column * columns).sum(2), (by_row * rows).sum(2)
    variance = (by_column * (columns - x[..., None]).square()).sum(2) + (by_row * (rows - y[..., None]).square()).sum(2)
    return torch.stack([x, y], dim=2), variance.sqrt()


def shrink(frames: Tensor) -> Tensor:
    """Frames (B, 3, H, W) to the size of the toons' networks (B, 3, SIDE, SIDE), low-pass filtered."""
    size = (SIDE, SIDE)
    return functional.interpolate(frames.float(), size, mode="bilinear", align_corners=False, antialias=True)


def bundled(name: str) -> Path:
    """The file of a network that comes with animask; MissingError if it is not there."""
    path = Path(str(resources.files("animask"))) / "weights" / name
    if not path.is_file():
        raise MissingError(f"the detector {name} is not in {path.parent}", "install animask again")
    return path


class ToonDetector:
    """A bundled network of toons, float32, in eval mode; `about` is what a result says of it.

    Raises MissingError where its file is not there.
    """

    def __init__(self, name: str, network: nn.Module, device: torch.device | str) -> None:
        path = bundled(f"toons-{name}.safetensors")
        network.load_state_dict({key: x.float() if x.is_floating_point() else x for key, x in load_file(path).items()})
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network.requires_grad_(False).eval()
        self.about = {"network": f"animask toon {name}", **describe_file(path)}


class ToonKeyPoints(ToonDetector):
    """Frames (B, 3, H, H) in [0, 1] to the 27 points of `animask.toons.KEYPOINTS`, in pixels of these frames.

    A point is visible if the network says that it faces the viewer, and knows where: where it can only guess, as in
    a smeared face, the point counts as missed.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        super().__init__("keypoints", KeyPointNet(), device)

    @torch.inference_mode()
    def __call__(self, frames: Tensor) -> KeyPoints:
        found = self.network(shrink(frames))
        visible = (found.visible > 0) & (found.spread < LARGEST_SPREAD)
        return KeyPoints((found.places + 0.5) * (frames.shape[-1] / SIDE) - 0.5, visible)


class ToonIdentity(ToonDetector):
    """Frames (B, 3, H, H) in [0, 1] to identity embeddings (B, 64) of length 1; it finds one in every frame."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        super().__init__("identity", IdentityNet(), device)

    @torch.inference_mode()
    def __call__(self, frames: Tensor) -> Tensor:
        embedding: Tensor = self.network(shrink(frames))
        return embedding


class FaceKeyPoints:
    """Frames (B, 3, H, W) in [0, 1] to 68 points of the largest face's mesh, all visible, or none where none is found.

    The paper took them from face-alignment: these are the same places by another network.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        network = "face mesh, 68 of its 468 points (the paper: face-alignment)"
        self.about = {"network": network, **describe_file(bundled("face_landmark.tflite"))}

    def __call__(self, frames: Tensor) -> KeyPoints:
        places = torch.full((len(frames), len(MESH_68), 2), torch.nan)
        for number, image in enumerate(to_images(frames)):
            if faces := find_faces(image):  # a frame shows one large head
                places[number] = torch.from_numpy(faces[0].mesh[MESH_68, :2])
        return KeyPoints(places.to(frames.device), ~places[..., 0].isnan().to(frames.device))


def describe_file(path: Path) -> dict[str, str]:
    """The name and the SHA-256 of a network's file."""
    return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


class ArcFace:
    """Frames (B, 3, H, W) in [0, 1] to the embedding (B, 512), of length 1, of the largest face; NaN where none is.

    By the package insightface, whose weights are for non-commercial research. Raises MissingError without them.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        folder = Path("~/.insightface/models/buffalo_l").expanduser()
        try:
            package = import_module("insightface.app")
            with redirect_stdout(sys.stderr):  # it says what it downloads; stdout is for results
                self.network = package.FaceAnalysis(name="buffalo_l", allowed_modules=["detection", "recognition"])
        except ModuleNotFoundError as error:
            sentence = "the package insightface (ArcFace) is not installed"
            raise MissingError(sentence, "in the checkout: pip install '.[eval]'") from error
        except Exception as error:  # refused, cut off or damaged: each of its parsers has its own kind
            sentence = f"insightface could not have its networks: {error or type(error).__name__}"
            raise MissingError(sentence, f"unpack {ARCHIVE} into {folder}") from error
        gpu = torch.device(device).index or 0 if torch.device(device).type == "cuda" else -1
        self.network.prepare(ctx_id=gpu, det_size=DETECTED)
        name = f"insightface {version('insightface')} buffalo_l: ArcFace, 5-point aligned 112² crops"
        self.about = {"network": name, **describe_file(folder / "w600k_r50.onnx")}

    def __call__(self, frames: Tensor) -> Tensor:
        embeddings = torch.full((len(frames), ARCFACE_NUMBERS), torch.nan)
        for number, image in enumerate(to_images(frames)):
            faces = self.network.get(np.ascontiguousarray(image[..., ::-1]))  # it takes BGR
            if faces:
                largest = max(faces, key=lambda face: float(np.ptp(face.bbox.reshape(2, 2), 0).prod()))
                embeddings[number] = torch.from_numpy(largest.normed_embedding)
        return embeddings.to(frames.device)


POINTS: dict[str, Callable[[torch.device | str], Any]] = {"toons": ToonKeyPoints, "faces": FaceKeyPoints}
IDENTITIES: dict[str, Callable[[torch.device | str], Any]] = {"toons": ToonIdentity, "faces": ArcFace}
