"""Weights in and out: safetensors with the model's configuration and origin in the metadata; no pickles."""

import hashlib
import json
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from animask.config import model_from_dict, to_dict
from animask.errors import InputError, MissingError
from animask.model import Animator

BUNDLED = ("portrait", "toons")
DEFAULT = "portrait"
WEIGHTS = "weights.safetensors"  # what a training run leaves
VGG19 = ("timm/vgg19.tv_in1k", "model.safetensors")


def bundled_folder() -> Path:
    """The folder of the weights that come with the package."""
    return Path(str(resources.files("animask"))) / "weights"


def find_weights(name: str | Path) -> Path:
    """A bundled name or a file to the path of a weights file; MissingError says where it was looked for."""
    path = Path(name)
    if str(name) in BUNDLED:
        path = bundled_folder() / f"{name}.safetensors"
    if path.is_file():
        return path
    hint = f"give the name of bundled weights ({', '.join(BUNDLED)}) or the path of a .safetensors file"
    raise MissingError(f"weights {str(name)!r} were not found: looked for {path.absolute()}", hint)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_model(model: Animator, path: Path, about: dict[str, str]) -> None:
    """Write a model as fp16 safetensors, atomically; `about` (data, steps, licence, ...) goes to the metadata."""
    tensors = {
        name: value.to("cpu", torch.float16 if value.is_floating_point() else value.dtype).contiguous()
        for name, value in model.state_dict().items()
    }
    write_tensors(tensors, path, {"config": json.dumps(to_dict(model.config)), **about})


def write_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write a safetensors file to a temporary name in the same folder, then rename it."""
    partial = path.with_name(f".{path.name}.partial")
    save_file(tensors, partial, {"format": "pt", **metadata})
    partial.replace(path)


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, texts only; InputError if it is not one."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a readable safetensors file: {error}", PICKLE_HINT) from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, on the CPU."""
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


PICKLE_HINT = "animask reads safetensors only: a .pt or .pth file is a pickle, which can run code"


def load_model(name: str | Path = DEFAULT, device: str | torch.device = "cpu") -> Animator:
    """Weights by bundled name or file to an Animator in eval mode, float32, on `device`.

    Raises MissingError if there is no such file, InputError if it is not a model of animask or does not fit its
    own configuration; names, shapes and the configuration are checked before anything is allocated.
    """
    path = find_weights(name)
    metadata = read_metadata(path)
    if "config" not in metadata:
        raise InputError(f"{path} holds no model of animask", "its metadata has no configuration")
    try:
        config = model_from_dict(json.loads(metadata["config"]))
    except (ValueError, AttributeError) as error:
        raise InputError(f"{path} holds no readable configuration: {error}") from error
    with torch.device("meta"):
        model = Animator(config)
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    tensors: dict[str, Tensor] = {}
    with safe_open(path, framework="pt") as file:
        found = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        wrong = sorted(set(found.items()) ^ set(expected.items()))
        if wrong:
            raise InputError(f"{path} does not fit its configuration: {wrong[0][0]} has another shape or is missing")
        for key in expected:
            tensors[key] = file.get_tensor(key)
    for key, value in tensors.items():
        if not value.isfinite().all():
            raise InputError(f"{path} is damaged: {key} holds values that are not finite")
        tensors[key] = value.float() if value.is_floating_point() else value
    model.load_state_dict(tensors, assign=True)
    return model.requires_grad_(False).eval().to(device)


def fetch_vgg19() -> dict[str, Tensor]:
    """The ImageNet weights of VGG-19 from the Hub or its cache, with torchvision's names.

    Raises MissingError where they cannot be had.
    """
    from huggingface_hub import hf_hub_download

    try:
        path = hf_hub_download(*VGG19)
    except (OSError, ValueError) as error:  # no network, no such file, offline without cache
        raise MissingError(
            f"VGG-19 weights ({VGG19[1]} of {VGG19[0]}) could not be had: {str(error).splitlines()[0]}",
            "download them where there is a network, or train with --perceptual random",
        ) from error
    return read_tensors(Path(path))
