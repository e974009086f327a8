"""Weights in and out: safetensors with the model's configuration and origin in the metadata; no pickles.

Names: a bundled one (`portrait`), the path of a file, or `hf://owner/repo[@revision][/file]`. torch is
imported where tensors are read or written, so that what only looks at files answers at once.
"""

import difflib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from animask import hub
from animask.config import ModelConfig, model_from_dict, to_dict
from animask.errors import AnimaskError, InputError, MissingError
from animask.headers import PICKLE_HINT, Header, check_regular, read_header, shown
from animask.hub import sha256
from animask.partials import clean_partials, partial_path

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from animask.model import Animator

BUNDLED = ("portrait",)
DEFAULT = "portrait"
WEIGHTS = "weights.safetensors"  # what a training run leaves
SUMS = "SHA256SUMS"  # as sha256sum writes it
EXTRAS = {"vgg19": hub.VGG19, "yunet": hub.YUNET}  # networks of others: for training, and to find faces
MAX_PARAMETERS = 2 * 10**9  # the paper's model has 0.09e9
FLOATS = ("F16", "BF16", "F32")
HINT = f"give bundled weights ({', '.join(BUNDLED)}), a .safetensors file or hf://owner/repo"


class Found(NamedTuple):
    """A weights file that is here: its name, its path, and the SHA-256 that it must have (empty if nobody says)."""

    name: str
    path: Path
    stated: str


def bundled_folder() -> Path:
    """The folder of the weights that come with the package."""
    return Path(str(resources.files("animask"))) / "weights"


def find_weights(name: str | Path) -> Path:
    """A bundled name, a file or a name on the Hub to the path of a weights file.

    What is on the Hub is downloaded once; afterwards the copy in the Hub's cache is used, and `animask weights pull`
    brings a newer one. MissingError says where a file was looked for, InputError what cannot be one.
    """
    return fetch(name).path


def fetch(name: str | Path) -> Found:
    """As `locate`, but a file of the Hub that is not here is downloaded."""
    if not str(name).startswith(hub.SCHEME):
        return locate(name)
    path = hub.find(hub.parse(str(name)))
    return Found(str(name), path, hub.stated_hash(path))


def locate(name: str | Path) -> Found:
    """A file that is here: bundled, from the Hub's cache, or anywhere. Raises as `find_weights` does."""
    name = str(name)
    if name in EXTRAS or name.startswith(hub.SCHEME):
        reference = EXTRAS.get(name) or hub.parse(name)
        cached = hub.cached(reference) or hub.lone(reference)
        if cached is None:
            hint = f"get it: `animask weights pull {name}`"
            raise MissingError(f"{name} is not in the Hub's cache: looked for {hub.place(reference)}", hint)
        return Found(name, cached, reference.sha256 or hub.stated_hash(cached))
    bundled = name in BUNDLED
    path = bundled_folder() / f"{name}.safetensors" if bundled else Path(name)
    try:
        there = path.exists()
    except (OSError, ValueError):  # check_regular has the sentence
        there = True
    if not there:
        close = difflib.get_close_matches(name, BUNDLED, n=1)
        hint = f"did you mean {close[0]!r}?" if close else HINT
        hint = f"put {path.name} there, or give a file or hf://owner/repo" if bundled else hint
        raise MissingError(f"weights {name!r} were not found: looked for {shown(path.absolute())}", hint)
    check_regular(path)
    return Found(name, path, read_sums().get(path.name, "") if bundled else "")


def commit_of(path: Path) -> str:
    """The commit that a file of the Hub's cache belongs to, or nothing."""
    return hub.snapshot_of(path).name if hub.cache_root() in path.parents else ""


def read_sums() -> dict[str, str]:
    """The SHA-256 of the bundled files by name, from the list beside them; empty if there is no list."""
    path = bundled_folder() / SUMS
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return {name: digest for digest, name in re.findall(r"^([0-9a-f]{64}) [ *](.+)$", text, re.MULTILINE)}


def check_hash(found: Found) -> None:
    """Raise InputError if a file does not have the SHA-256 that is stated for it."""
    if found.stated and (actual := sha256(found.path)) != found.stated:
        remedy = f"animask weights pull --force {found.name}"
        hint = "install animask again" if found.name in BUNDLED else f"get it again: `{remedy}`"
        raise InputError(f"{shown(found.path)} is damaged: its SHA-256 is {actual}, not {found.stated}", hint)


def pull(name: str, digest: str = "", force: bool = False) -> hub.HubFile:
    """Bring `hf://owner/repo[@revision][/file]`, `vgg19` or `yunet` into the Hub's cache, checked; see `hub.pull`.

    digest: the SHA-256 that it must have. InputError for other names, and for a file that is no model of animask.
    """
    if name not in EXTRAS and not name.startswith(hub.SCHEME):
        raise InputError(f"{name!r} cannot be pulled", f"give hf://owner/repo, {' or '.join(EXTRAS)}")
    reference = EXTRAS.get(name) or hub.parse(name)
    file = hub.pull(reference._replace(sha256=digest or reference.sha256), force)
    if name not in EXTRAS:
        read_config(file.path, read_header(file.path))
        if not file.note:
            hub.pull_card(file)
    return file


def read_config(path: Path, header: Header) -> ModelConfig:
    """The model's configuration from the metadata, every value checked; InputError if it is not one of animask."""
    if "config" not in header.metadata:
        raise InputError(f"{shown(path)} holds no model of animask", "its metadata has no configuration")
    try:
        return model_from_dict(json.loads(header.metadata["config"]))
    except InputError as error:
        raise InputError(f"{shown(path)} has a wrong configuration: {error.message}", error.hint) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{shown(path)} holds no readable configuration: {error}") from error


def load_model(name: str | Path = DEFAULT, device: "str | torch.device" = "cpu") -> "Animator":
    """Weights by bundled name, file or name on the Hub to an Animator in eval mode, float32, on `device`.

    Raises MissingError if there is no such file, InputError if it is damaged, is not a model of animask or does not
    fit its own configuration: hash, header, configuration, names, shapes and dtypes are checked before anything is
    allocated, and all numbers must be finite.
    """
    import torch

    from animask.model import Animator

    found = fetch(name)
    check_hash(found)
    header = read_header(found.path)
    config = read_config(found.path, header)
    with torch.device("meta"):
        model = Animator(config)
    check_tensors(found.path, header, model.state_dict())
    tensors = read_tensors(found.path)
    for key, value in tensors.items():
        if not value.isfinite().all():
            raise InputError(f"{shown(found.path)} is damaged: {key} holds values that are not finite")
        tensors[key] = value.float() if value.is_floating_point() else value
    model.load_state_dict(tensors, assign=True)
    return model.requires_grad_(False).eval().to(device)


def check_tensors(path: Path, header: Header, expected: "dict[str, Tensor]") -> None:
    """Raise InputError unless names, shapes and dtypes are those of the model; its size is bounded."""
    size = sum(value.numel() for value in expected.values())
    if size > MAX_PARAMETERS:
        raise InputError(f"{shown(path)} asks for {size} parameters; animask loads up to {MAX_PARAMETERS}")
    for name in (*expected, *header.tensors):
        if name not in header.tensors:
            raise InputError(f"{shown(path)} does not fit its configuration: {name} is missing")
        if name not in expected:
            raise InputError(f"{shown(path)} does not fit its configuration: {shown(name)} is not part of it")
        dtype, shape = header.tensors[name]
        wanted = expected[name]
        if shape != tuple(wanted.shape):
            reason = f"{name} has the shape {list(shape)}, not {list(wanted.shape)}"
            raise InputError(f"{shown(path)} does not fit its configuration: {reason}")
        kinds = FLOATS if wanted.is_floating_point() else ("I64",)
        if dtype not in kinds:
            raise InputError(f"{shown(path)}: {name} has the dtype {shown(dtype)}, not {' or '.join(kinds)}")


def save_model(model: "Animator", path: Path, about: dict[str, str]) -> None:
    """Write a model as fp16 safetensors, atomically; `about` (data, steps, licence, ...) goes to the metadata.

    Raises AnimaskError if a number is not finite in fp16 or the file cannot be written.
    """
    import torch

    tensors = {}
    for name, value in model.state_dict().items():
        tensors[name] = value.to("cpu", torch.float16 if value.is_floating_point() else value.dtype).contiguous()
        if not tensors[name].isfinite().all():
            raise AnimaskError(f"{shown(path)} was not written: {name} is not finite in fp16")
    write_tensors(tensors, path, {"config": json.dumps(to_dict(model.config)), **about})


def write_tensors(tensors: "dict[str, Tensor]", path: Path, metadata: dict[str, str]) -> None:
    """Write a safetensors file to a temporary name in the same folder, then rename it; AnimaskError if that fails."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    clean_partials(path.parent)
    partial = partial_path(path)
    try:
        partial.touch()  # with the mode that the umask says; save_file makes a file for its owner alone
        mode = partial.stat().st_mode
        save_file(tensors, partial, {"format": "pt", **metadata})
        partial.chmod(mode)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise AnimaskError(f"{shown(path)} could not be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, texts only; InputError if it is not one."""
    return read_header(path).metadata


def read_tensors(path: Path) -> "dict[str, Tensor]":
    """All tensors of a safetensors file, on the CPU; InputError if it is not one, or damaged."""
    read_header(path)
    with opened(path) as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A safetensors file for reading; InputError for what the library finds wrong with it."""
    from safetensors import SafetensorError, safe_open

    if any(letter > "\ud7ff" and letter < "\ue000" for letter in str(path)):  # bytes that are no UTF-8
        raise InputError(f"the name of {shown(path)} is no text, which the safetensors library needs", "rename it")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise InputError(f"{shown(path)} is not a readable safetensors file: {error}", PICKLE_HINT) from error


def fetch_vgg19() -> "dict[str, Tensor]":
    """The ImageNet weights of VGG-19 from the Hub or its cache, with torchvision's names.

    Raises MissingError where they cannot be had, InputError where they are damaged.
    """
    try:
        path = hub.find(hub.VGG19)
    except MissingError as error:
        hint = f"{error.hint}; or train with --perceptual random"
        raise MissingError(f"the weights of VGG-19 could not be had: {error.message}", hint) from error
    check_hash(Found("vgg19", path, hub.stated_hash(path)))
    return read_tensors(path)


def cached_yunet() -> Path | None:
    """The face detector YuNet where `animask weights pull yunet` put it, else None; InputError if it is damaged."""
    path = hub.cached(hub.YUNET)
    if path is not None:
        check_hash(Found("yunet", path, hub.YUNET.sha256))
    return path
