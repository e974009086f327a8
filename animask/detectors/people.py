"""Detectors of people from other packages (the extra `eval`): thin, and exact on what to do when one is missing."""

import hashlib
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from animask.errors import MissingError
from animask.images import to_images
from animask.metrics import KeyPoints

FACE_POINTS, BODY_JOINTS = 68, 18
SHOULDERS = [5, 6]  # of the 17 joints of COCO
PERSON_SCORE = 0.5  # below: nobody is there
JOINT_SCORE = 2.0  # of the heat map's peak; Detectron draws joints from 2 on
ARCFACE_NUMBERS = 512
DETECTED = (640, 640)  # what insightface scales frames to; said, because its default changed with version 2
HUB = "torch's hub"  # a folder that torch knows


@dataclass(frozen=True)
class Origin:
    """Where a network of another package comes from: what it is, the package, its files, and how to place them.

    files: the network that measures first, then those that it needs.
    """

    network: str
    module: str
    package: str
    files: tuple[str, ...]
    source: str
    folder: str


FACES = Origin(
    "face-alignment 2D FAN-4, 68 points",
    "face_alignment",
    "face-alignment",
    ("2DFAN4-11f355bf06.pth.tar", "s3fd-619a316812.pth"),
    "https://www.adrianbulat.com/downloads/python-fan",
    HUB,
)
ARCFACE = Origin(
    "insightface buffalo_l: ArcFace, 512 numbers, 5-point aligned 112² crops",
    "insightface.app",
    "insightface",
    ("w600k_r50.onnx", "det_10g.onnx"),
    "https://github.com/deepinsight/insightface/releases/download/model-zoo/buffalo_l.zip (unpack it)",
    "~/.insightface/models/buffalo_l",
)
BODIES = Origin(
    "torchvision Keypoint R-CNN, 17 joints of COCO and the neck between the shoulders",
    "torchvision.models.detection",
    "torchvision",
    ("keypointrcnn_resnet50_fpn_coco-fc266e95.pth",),
    "https://download.pytorch.org/models",
    HUB,
)
LPIPS = Origin(
    "lpips 0.1, AlexNet",
    "lpips",
    "lpips",
    ("alexnet-owt-7be5be79.pth",),
    "https://download.pytorch.org/models",
    HUB,
)


def folder_of(origin: Origin) -> Path:
    """Where the package looks for its files."""
    return Path(torch.hub.get_dir()) / "checkpoints" if origin.folder == HUB else Path(origin.folder).expanduser()


def import_package(origin: Origin) -> ModuleType:
    """The module of another package; MissingError where it is not installed, or not in a build that fits torch's."""
    try:
        return import_module(origin.module)
    except ModuleNotFoundError as error:
        hint = f"install it: pip install {origin.package}, or animask with its extra: pip install -e '.[eval]'"
        raise MissingError(f"the package {origin.package} ({origin.network}) is not installed", hint) from error
    except (ImportError, RuntimeError) as error:  # a torchvision for CUDA beside a torch for the CPU
        hint = "install builds of torch and torchvision that belong together"
        raise MissingError(f"the package {origin.package} cannot be imported: {error}", hint) from error


def open_network(origin: Origin, make: Callable[[], Any]) -> Any:
    """What `make` returns; MissingError with the files, their source and their place where they cannot be had.

    The packages fetch their networks on first use; what they print goes to stderr.
    """
    try:
        with redirect_stdout(sys.stderr):
            return make()
    except Exception as error:  # refused, cut off or damaged: each package, and each of its parsers, has its own kind
        files = " and ".join(origin.files)
        hint = f"get {files} from {origin.source} and put what you got into {folder_of(origin)}"
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise MissingError(f"{origin.package} could not have its network {files}: {reason}", hint) from error


def describe(origin: Origin) -> dict[str, Any]:
    """What a report says of a network of another package, with the hashes of its files where they are found."""
    paths = [folder_of(origin) / name for name in origin.files]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "unknown" for path in paths]
    about: dict[str, Any] = {"network": origin.network, "package": f"{origin.package} {version(origin.package)}"}
    about |= {"file": origin.files[0], "sha256": digests[0]}
    return about | ({"with": dict(zip(origin.files[1:], digests[1:], strict=True))} if origin.files[1:] else {})


class FaceKeyPoints:
    """Frames (B, 3, H, W) in [0, 1] to the 68 points of the largest face, all visible, or none where none is found."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        package = import_package(FACES)
        kind = package.LandmarksType.TWO_D

        def make() -> Any:
            return package.FaceAlignment(kind, device=str(device), flip_input=False, compile=False)

        self.network = open_network(FACES, make)
        self.about = describe(FACES)

    def __call__(self, frames: Tensor) -> KeyPoints:
        places = torch.full((len(frames), FACE_POINTS, 2), torch.nan)
        for number, image in enumerate(to_images(frames)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "No faces were detected": that is counted
                faces = self.network.get_landmarks_from_image(image)
            if faces:
                places[number] = torch.from_numpy(max(faces, key=lambda face: float(np.ptp(face, 0).prod()))[:, :2])
        visible = ~places[:, :1, 0].isnan().expand(-1, FACE_POINTS)
        return KeyPoints(places.to(frames.device), visible.to(frames.device))


class ArcFace:
    """Frames (B, 3, H, W) in [0, 1] to the embedding (B, 512), of length 1, of the largest face; NaN where none is."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        package = import_package(ARCFACE)
        gpu = torch.device(device).index or 0 if torch.device(device).type == "cuda" else -1

        def make() -> Any:
            return package.FaceAnalysis(name="buffalo_l", allowed_modules=["detection", "recognition"])

        self.network = open_network(ARCFACE, make)
        self.network.prepare(ctx_id=gpu, det_size=DETECTED)
        self.about = describe(ARCFACE)

    def __call__(self, frames: Tensor) -> Tensor:
        embeddings = torch.full((len(frames), ARCFACE_NUMBERS), torch.nan)
        for number, image in enumerate(to_images(frames)):
            faces = self.network.get(np.ascontiguousarray(image[..., ::-1]))  # it takes BGR
            if faces:
                largest = max(faces, key=lambda face: float(np.ptp(face.bbox.reshape(2, 2), 0).prod()))
                embeddings[number] = torch.from_numpy(largest.normed_embedding)
        return embeddings.to(frames.device)


class BodyKeyPoints:
    """Frames (B, 3, H, W) in [0, 1] to the 18 joints of the likeliest person; a joint is visible above a score."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        package = import_package(BODIES)
        network = open_network(BODIES, lambda: package.keypointrcnn_resnet50_fpn(weights="DEFAULT"))
        self.network = network.eval().to(device)
        self.about = describe(BODIES)

    @torch.inference_mode()
    def __call__(self, frames: Tensor) -> KeyPoints:
        places = torch.full((len(frames), BODY_JOINTS, 2), torch.nan, device=frames.device)
        visible = torch.zeros(len(frames), BODY_JOINTS, dtype=torch.bool, device=frames.device)
        for number, found in enumerate(self.network(list(frames.float()))):
            if len(found["scores"]) and found["scores"][0] >= PERSON_SCORE:  # sorted, the likeliest first
                joints, seen = found["keypoints"][0, :, :2], found["keypoints_scores"][0] > JOINT_SCORE
                places[number] = torch.cat([joints, joints[SHOULDERS].mean(0, keepdim=True)])
                visible[number] = torch.cat([seen, seen[SHOULDERS].all(0, keepdim=True)])
        return KeyPoints(places, visible)


class Lpips:
    """LPIPS of two batches (B, 3, H, W) in [0, 1]: (B,), range [0, about 1], lower is better, 0 for equal frames.

    Source: Zhang et al., CVPR 2018; version 0.1 on AlexNet.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        package = import_package(LPIPS)
        self.network = open_network(LPIPS, lambda: package.LPIPS(net="alex", verbose=False)).to(device)
        self.about = describe(LPIPS)

    @torch.inference_mode()
    def __call__(self, output: Tensor, truth: Tensor) -> Tensor:
        distance: Tensor = self.network(output.float() * 2 - 1, truth.float() * 2 - 1)
        return distance.flatten()
