"""Weights in and out: safetensors with the model's configuration and origin in the metadata; no pickles.

A name is bundled (`portrait`), the path of a file, or a repository of the Hub: `owner/name[@revision]`, of which
`model.safetensors` is taken. The Hub's cache and its settings (HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE, HF_TOKEN) are
those of huggingface-hub. torch is imported where tensors are read or written: what only looks at files answers at once.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, NamedTuple

from animask.config import ModelConfig, update
from animask.errors import AnimaskError, InputError, MissingError
from animask.files import bundled_folder, check_file, replacing, sha256

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from animask.model import Animator

BUNDLED = ("portrait",)
DEFAULT = "portrait"
WEIGHTS = "weights.safetensors"  # what a training run leaves
SUMS = "SHA256SUMS"  # of the bundled files, as sha256sum writes it
HUB_FILE = "model.safetensors"  # of a repository
HUB_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?")
FORMAT_HINT = "get the file again; a .pt, .pth, .ckpt or .bin file is a pickle, which can run code, and is never read"
VGG19 = "timm/vgg19.tv_in1k"  # on the Hub: ImageNet weights, with torchvision's names


class Weights(NamedTuple):
    """Weights of a model that are here and whole, looked at once."""

    path: Path
    config: ModelConfig
    metadata: dict[str, str]  # what the file says of itself: licence, dataset, steps, limits, ...
    digest: str  # its SHA-256
    revision: str  # its commit on the Hub, empty where it comes from elsewhere


def find_weights(name: str | Path = DEFAULT) -> Weights:
    """A bundled name, a file or a name on the Hub to weights that are here; nothing of their size is allocated.

    What is on the Hub is downloaded once and then taken from its cache. Raises MissingError that says where a file was
    looked for and how to get it there, and InputError if it has another SHA-256 than is stated, is no safetensors
    file, is cut off, or holds no model of animask.
    """
    name = str(name)
    path = bundled_folder() / f"{name}.safetensors" if name in BUNDLED else Path(name)
    remote = HUB_NAME.fullmatch(name)
    if remote and not name.endswith(".safetensors") and not path.parent.exists():
        path = fetch(remote["repo"], remote["revision"] or "main")
    elif not path.exists():
        hint = f"give bundled weights ({', '.join(BUNDLED)}), a .safetensors file or owner/name[@revision] of the Hub"
        if name in BUNDLED:
            hint = f"install animask again, or put {path.name} there"
        raise MissingError(f"weights {name!r} were not found: looked for {path.absolute()}", hint)
    digest, metadata = check_hash(path), read_metadata(path)
    commit = re.search(r"/models--[^/]+/snapshots/([0-9a-f]{40})/", path.as_posix())  # as the Hub's cache is laid out
    return Weights(path, read_config(path, metadata), metadata, digest, commit[1] if commit else "")


def fetch(repo: str, revision: str = "main") -> Path:
    """The weights of a Hub repository, from the Hub's cache, or else downloaded into it; else MissingError."""
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(repo, HUB_FILE, revision=revision)
        return Path(cached if isinstance(cached, str) else hf_hub_download(repo, HUB_FILE, revision=revision))
    except Exception as error:  # the library's versions have HTTP clients of their own, and these their own errors
        place = f"{constants.HF_HUB_CACHE}/models--{repo.replace('/', '--')}/snapshots/{revision}/{HUB_FILE}"
        url = f"{constants.ENDPOINT}/{repo}/resolve/{revision}/{HUB_FILE}"
        sentence = f"weights {repo} are not here: looked for {place}, then asked {url}: {' '.join(str(error).split())}"
        hint = "check the name, or get the file where there is a network and put it there"
        raise MissingError(without_password(sentence), hint) from error


def without_password(text: str) -> str:
    """Addresses without a name and password in them."""
    return re.sub(r"//[^/@\s]*@", "//", text)


def check_hash(path: Path) -> str:
    """The SHA-256 of a file; InputError if SHA256SUMS or the Hub, whose cache names files so, state another."""
    check_file(path)
    digest, hint = sha256(path), "get it again: `hf download` with --force-download"
    name = path.readlink().name if path.is_symlink() else ""
    stated = name if re.fullmatch("[0-9a-f]{64}", name) else digest
    if path.parent == bundled_folder():
        lines = (path.parent / SUMS).read_text(encoding="utf-8").splitlines()
        stated = {name: stated for stated, name in (line.split() for line in lines)}.get(path.name, "nothing")
        hint = "install animask again"
    if digest != stated:
        raise InputError(f"{path} is damaged: its SHA-256 is {digest}, not {stated}", hint)
    return digest


def read_config(path: Path, metadata: dict[str, str]) -> ModelConfig:
    """The model's configuration from a file's metadata, every value checked; InputError if it is not one of animask."""
    if "config" not in metadata:
        raise InputError(f"{path} holds no model of animask", "its metadata has no configuration")
    try:
        return update(ModelConfig(), json.loads(metadata["config"]), "the model's configuration")
    except InputError as error:
        raise InputError(f"{path} has a wrong configuration: {error.message}", error.hint) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} holds no readable configuration: {error}") from error


@contextmanager
def opened(path: Path, framework: str) -> Iterator[Any]:
    """A safetensors file for reading, of torch ("pt") or without it ("numpy"); InputError for what is no whole one."""
    from safetensors import SafetensorError, safe_open

    check_file(path)
    try:
        with safe_open(path, framework) as file:
            yield file
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, SafetensorError) as error:  # ValueError: a name that is no text
        raise InputError(f"{path} is no whole safetensors file: {error}", FORMAT_HINT) from error


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, texts only; InputError if it is not one."""
    with opened(path, "numpy") as file:
        return file.metadata() or {}


def read_tensors(path: Path) -> "dict[str, Tensor]":
    """All tensors of a safetensors file, on the CPU; InputError if it is not one, or damaged."""
    with opened(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def load_model(weights: str | Path | Weights = DEFAULT, device: "str | torch.device" = "cpu") -> "Animator":
    """Weights, or their name as for `find_weights`, to an Animator in eval mode, float32, on `device`.

    Raises as `find_weights` does, and InputError where tensors do not have the names and shapes that their
    configuration asks for, whose model takes no memory before that is known, or a number is not finite.
    """
    import torch

    from animask.model import Animator

    path, config, *_ = weights if isinstance(weights, Weights) else find_weights(weights)
    with torch.device("meta"):
        model = Animator(config)
    tensors = {name: x.float() if x.is_floating_point() else x for name, x in read_tensors(path).items()}
    for name, value in tensors.items():
        if not value.isfinite().all():
            raise InputError(f"{path} is damaged: {name} holds values that are not finite", FORMAT_HINT)
    try:
        model.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise InputError(f"{path} does not fit its configuration: {shorten(str(error), 300)}") from error
    return model.requires_grad_(False).eval().to(device)


def save_model(model: "Animator", path: Path, about: dict[str, str]) -> None:
    """Write a model as fp16 safetensors, with `about` (data, steps, licence, ...) in the metadata, whole or not at all;
    AnimaskError if a number is not finite in fp16 or the file cannot be written.
    """
    import torch

    tensors = {}
    for name, value in model.state_dict().items():
        tensors[name] = value.to("cpu", torch.float16 if value.is_floating_point() else value.dtype).contiguous()
        if not tensors[name].isfinite().all():
            raise AnimaskError(f"{path} was not written: {name} is not finite in fp16")
    write_tensors(tensors, path, {"config": json.dumps(asdict(model.config)), **about})


def write_tensors(tensors: "dict[str, Tensor]", path: Path, metadata: dict[str, str]) -> None:
    """Write a safetensors file, whole or not at all; AnimaskError if that fails."""
    from safetensors.torch import save

    with replacing(path) as temporary:  # the library's own writing to a file lets nobody else read it
        temporary.write_bytes(save(tensors, {"format": "pt", **metadata}))


def fetch_vgg19() -> "dict[str, Tensor]":
    """The ImageNet weights of VGG-19, with torchvision's names; else MissingError, or InputError for damaged ones."""
    try:
        path = fetch(VGG19)
    except MissingError as error:
        raise MissingError(error.message, f"{error.hint}; or train with --perceptual lpips") from error
    check_hash(path)
    return read_tensors(path)
