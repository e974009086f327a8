"""Weights: what a name means, what is downloaded, what loads, and what is refused with a sentence."""

import hashlib
import json
import struct
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from animask import weights
from animask.config import MODEL_PRESETS, ModelConfig
from animask.errors import AnimaskError, InputError, MissingError
from animask.files import sha256
from animask.images import to_tensor
from animask.model import Animator
from animask.toons import pose_at, render, sample_identity
from animask.weights import fetch_vgg19, find_weights, load_model, read_metadata, read_tensors, save_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def flipped(content: bytes) -> bytes:
    """The same bytes but for the last one."""
    return content[:-1] + bytes([content[-1] ^ 1])


def test_what_was_saved_comes_back_in_float32(tiny_model, tiny_weights):
    model = load_model(tiny_weights)
    assert model.config == tiny_model.config
    assert not model.training
    for name, value in model.state_dict().items():
        expected = tiny_model.state_dict()[name]
        assert value.dtype == (torch.float32 if expected.is_floating_point() else expected.dtype)
        assert torch.equal(value, expected.half().float() if expected.is_floating_point() else expected)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_looking_at_weights_imports_neither_torch_nor_the_hub(tiny_weights):
    code = "import sys, animask.weights as w; w.find_weights(sys.argv[1]); "
    code += "assert not {'torch', 'huggingface_hub'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code, str(tiny_weights)], check=True)


# bundled weights


def test_a_bundled_name_is_the_default_and_a_changed_or_missing_file_is_named(tmp_path, tiny_weights, monkeypatch):
    path = tmp_path / f"{weights.DEFAULT}.safetensors"
    path.write_bytes(tiny_weights.read_bytes())
    (tmp_path / weights.SUMS).write_text(f"{sha256(path)}  {path.name}\n")
    monkeypatch.setattr(weights, "bundled_folder", lambda: tmp_path)
    assert find_weights().path == find_weights(weights.DEFAULT).path == path
    path.write_bytes(flipped(path.read_bytes()))
    with pytest.raises(InputError, match="damaged"):
        load_model()
    path.unlink()
    with pytest.raises(MissingError, match=str(path)):
        load_model()


def test_the_bundled_files_have_their_hashes():
    folder = weights.bundled_folder()
    networks = [path for path in folder.iterdir() if path.suffix in (".safetensors", ".tflite", ".onnx")]
    sums = sorted(f"{sha256(path)}  {path.name}" for path in networks)
    assert sorted((folder / weights.SUMS).read_text().splitlines()) == sums


def test_the_bundled_weights_beat_copying_the_source_on_toons_they_never_saw():
    assert find_weights().metadata["object"] == "face", "or no head is looked for"
    model = load_model()
    for number in range(3):
        who, other, pose = sample_identity(10 + number), sample_identity(20 + number), pose_at(number + 4, 0.5)
        shown = ((who, pose_at(number, 0.5)), (other, pose), (who, pose))
        s, d, truth = (to_tensor(render(*item, 256), "cpu") for item in shown)
        with torch.inference_mode():
            f = model.drive(s, model.m(s), d).f
        assert (f - truth).abs().mean() < 0.45 * (s - truth).abs().mean()


# the Hub


def put(hub: Path, repo: str, content: bytes) -> Path:
    """A repository in a Hub's cache, its main branch at COMMIT, as huggingface-hub lays it out."""
    folder = hub / f"models--{repo.replace('/', '--')}"
    for part in ("blobs", "refs", f"snapshots/{COMMIT}"):
        (folder / part).mkdir(parents=True)
    blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
    blob.write_bytes(content)
    (folder / "refs" / "main").write_text(COMMIT)
    path = folder / "snapshots" / COMMIT / "model.safetensors"
    path.symlink_to(blob)
    return path


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The empty cache of a Hub that nobody reaches."""
    values = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": True, "ENDPOINT": "http://me:secret@hub.example"}
    for name, value in values.items():
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    return tmp_path / "hub"


@pytest.mark.parametrize("name", ["o/r", f"o/r@{COMMIT}"])
def test_weights_on_the_hub_come_once(name, hub, tiny_weights, monkeypatch):
    """PEERS: offline works."""
    asked = []

    def download(repo: str, file: str, revision: str) -> str:
        asked.append((repo, file, revision))
        return str(put(hub, repo, tiny_weights.read_bytes()))

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    found = find_weights(name)
    assert (found.digest, found.revision) == (sha256(tiny_weights), COMMIT)
    assert find_weights(name) == found
    assert asked == [("o/r", "model.safetensors", name.partition("@")[2] or "main")]


def test_a_damaged_download_is_not_loaded(hub, tiny_weights):
    path = put(hub, "o/r", tiny_weights.read_bytes())
    path.write_bytes(flipped(path.read_bytes()))
    with pytest.raises(InputError, match="damaged"):
        load_model("o/r")


def test_without_a_network_the_sentence_says_what_to_do(hub, tiny_weights):
    """PEERS: the message names the file, where it was looked for, and how to place it by hand; and that works."""
    with pytest.raises(MissingError, match="connection") as caught:
        load_model("o/r")
    place = hub / "models--o--r/snapshots/main/model.safetensors"
    assert str(place) in caught.value.message
    assert "http://hub.example/o/r/resolve/main/model.safetensors" in caught.value.message
    assert "secret" not in caught.value.message
    place.parent.mkdir(parents=True)
    place.write_bytes(tiny_weights.read_bytes())
    assert load_model("o/r").config.preset == "tiny"


def test_vgg19_comes_with_its_tensors(hub, tmp_path):
    with pytest.raises(MissingError) as caught:
        fetch_vgg19()
    assert "--perceptual lpips" in caught.value.hint
    save_file({"features.0.bias": torch.arange(3.0)}, tmp_path / "x")
    put(hub, weights.VGG19, (tmp_path / "x").read_bytes())
    assert torch.equal(fetch_vgg19()["features.0.bias"], torch.arange(3.0))


# what is not there, and what is no weights file


@pytest.mark.parametrize("name", ["absent.safetensors", "portrai", "tests/absent", "nul\0"])
def test_missing_files_say_where_they_were_looked_for(name):
    with pytest.raises(MissingError) as caught:
        load_model(name)
    assert str(Path(name).absolute()) in caught.value.message
    assert weights.DEFAULT in caught.value.hint


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"hello, I am a text",
        lambda whole: struct.pack("<Q", 2**63) + b"{" + bytes(50),
        lambda whole: struct.pack("<Q", 2) + b"[]",
        lambda whole: whole[:-1],
    ],
)
def test_garbage_and_cut_files_are_refused(damage, tiny_weights, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(damage(tiny_weights.read_bytes()))
    for read in (load_model, read_metadata, read_tensors):
        with pytest.raises(InputError, match=str(path)):
            read(path)


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_pickles_are_refused(name, tmp_path):
    torch.save({"a": torch.zeros(3)}, tmp_path / name)
    with pytest.raises(InputError) as caught:
        load_model(tmp_path / name)
    assert "pickle" in caught.value.hint


HUGE = asdict(ModelConfig(resolution=1024, blocks=8, width=1024, max_channels=8192))  # which no machine can hold


@pytest.mark.parametrize(
    ("tensors", "config", "words"),
    [
        ({}, "", "no model"),  # a file of another program
        ({}, "{", "no readable"),
        ({}, "[" * 100_000, "no readable"),
        ({}, "[1]", "not a table"),
        ({}, "{}", "does not fit"),
        ({}, '{"width": "64"}', "width"),
        ({}, '{"resolution": NaN}', "resolution"),
        ({}, json.dumps(HUGE), "does not fit"),
        ({"m.head.bias": torch.zeros(2)}, None, "m.head.bias"),  # another shape
        ({"m.head.bias": None}, None, "m.head.bias"),
        ({"extra": torch.zeros(1)}, None, "extra"),
        ({"r.head.bias": torch.full((1,), float("nan"))}, None, "r.head.bias"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_whole_model_is_refused_by_name(tensors, config, words, tiny_weights, tmp_path):
    kept = {name: value for name, value in (load_file(tiny_weights) | tensors).items() if value is not None}
    about = {"config": read_metadata(tiny_weights)["config"] if config is None else config}
    save_file(kept, tmp_path / "x.safetensors", about if about["config"] else {})
    with pytest.raises(InputError, match=words):
        load_model(tmp_path / "x.safetensors")


def test_a_model_that_is_not_finite_in_fp16_is_not_written(tmp_path):
    model = Animator(MODEL_PRESETS["tiny"])
    with torch.no_grad():
        model.r.head.bias.fill_(1e6)
    with pytest.raises(AnimaskError, match=r"r\.head\.bias"):
        save_model(model, tmp_path / "x.safetensors", {})
    assert list(tmp_path.iterdir()) == []
