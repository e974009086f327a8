"""Weights: what a name means, what is downloaded, what loads, and what is refused with a sentence."""

import hashlib
import json
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from animask import weights
from animask.config import MODEL_PRESETS, ModelConfig, to_dict
from animask.errors import AnimaskError, InputError, MissingError
from animask.images import to_tensor
from animask.model import Animator
from animask.toons import pose_at, render, sample_identity
from animask.weights import fetch_vgg19, find_weights, load_model, read_metadata, read_tensors, save_model, sha256

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NOWHERE = "http://127.0.0.1:9"  # the port of "discard": nothing listens there


def rebuilt(
    source: Path, target: Path, tensors: dict[str, torch.Tensor] | None = None, metadata: dict[str, str] | None = None
) -> Path:
    """A copy of a weights file with other tensors or metadata."""
    save_file({**load_file(source), **(tensors or {})}, target, {**read_metadata(source), **(metadata or {})})
    return target


def flipped(content: bytes) -> bytes:
    """The same bytes but for the last one."""
    return content[:-1] + bytes([content[-1] ^ 1])


# what loads


def test_what_was_saved_comes_back_in_float32(tiny_model: Animator, tiny_weights: Path) -> None:
    model = load_model(tiny_weights)
    assert model.config == tiny_model.config
    assert not model.training
    for name, value in model.state_dict().items():
        expected = tiny_model.state_dict()[name]
        assert value.dtype == (torch.float32 if expected.is_floating_point() else expected.dtype)
        assert torch.equal(value, expected.half().float() if expected.is_floating_point() else expected)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_weights_are_looked_at_once(tiny_model: Animator, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_weights(tiny_weights)
    assert (found.path, found.config, found.revision) == (tiny_weights, tiny_model.config, "")
    assert found.digest == hashlib.sha256(tiny_weights.read_bytes()).hexdigest()
    assert (found.metadata["licence"], found.metadata["dataset"]) == ("MIT", "none")
    monkeypatch.setattr(weights, "find_weights", None)
    assert load_model(found).config == found.config


def test_looking_at_weights_imports_neither_torch_nor_the_hub(tiny_weights: Path) -> None:
    code = "import sys, animask.weights as w; w.find_weights(sys.argv[1]); "
    code += "assert not {'torch', 'huggingface_hub'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code, str(tiny_weights)], check=True)


# bundled weights


@pytest.fixture
def bundled(tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default weights in a folder of their own, with their hash."""
    folder = tmp_path / "bundled"
    folder.mkdir()
    path = folder / f"{weights.DEFAULT}.safetensors"
    path.write_bytes(tiny_weights.read_bytes())
    (folder / weights.SUMS).write_text(f"{sha256(path)}  {path.name}\n")
    monkeypatch.setattr(weights, "bundled_folder", lambda: folder)
    return path


def test_a_bundled_name_is_the_default(bundled: Path) -> None:
    assert find_weights().path == find_weights(weights.DEFAULT).path == bundled
    assert load_model().config.preset == "tiny"


def test_a_changed_or_missing_bundled_file_is_named(bundled: Path) -> None:
    bundled.write_bytes(flipped(bundled.read_bytes()))
    with pytest.raises(InputError, match="damaged"):
        load_model()
    bundled.unlink()
    with pytest.raises(MissingError, match=str(bundled)):
        load_model()


def test_the_bundled_files_have_their_hashes_and_a_licence() -> None:
    folder = weights.bundled_folder()
    lines = [line.split() for line in (folder / weights.SUMS).read_text().splitlines()]
    sums = {name: digest for digest, name in lines}
    networks = [path for path in folder.iterdir() if path.suffix in (".safetensors", ".tflite", ".onnx")]
    assert {path.name: sha256(path) for path in networks} == sums
    for name in weights.BUNDLED:
        assert find_weights(name).metadata["licence"]


# the Hub


class Hub(ThreadingHTTPServer):
    """Files by repository and path, as the Hub serves them; lies: whether their bytes come changed."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked = 0
        self.lies = False

    @property
    def url(self) -> str:
        """What HF_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """One request for a file: owner/name/resolve/revision/file."""

    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def do_GET(self) -> None:
        self.server.asked += 1
        repository, _, place = self.path.strip("/").partition("/resolve/")
        revision, _, file = place.partition("/")
        body = self.server.files.get(f"{repository}/{file}", b"")
        if not any(known.startswith(f"{repository}/") for known in self.server.files):
            self.answer(404, {"X-Error-Code": "RepoNotFound"})
        elif revision not in ("main", COMMIT):
            self.answer(404, {"X-Error-Code": "RevisionNotFound"})
        elif not body:
            self.answer(404, {"X-Error-Code": "EntryNotFound"})
        else:
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(body).hexdigest()}"'}
            self.answer(200, headers, flipped(body) if self.server.lies else body)

    do_HEAD = do_GET

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        """Status, headers and, unless it is a HEAD request, the body."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def point_to(url: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process take `url` for the Hub, as HF_ENDPOINT and HF_HOME would have before the first import."""
    values = {"ENDPOINT": url, "HF_HUB_CACHE": str(home / "hub"), "HF_HUB_DISABLE_XET": True}
    values["HUGGINGFACE_CO_URL_TEMPLATE"] = url + "/{repo_id}/resolve/{revision}/{filename}"
    for name, value in values.items():
        for module in ("constants", "file_download"):  # older versions copy some of them, and do not have all
            monkeypatch.setattr(f"huggingface_hub.{module}.{name}", value, raising=False)


@pytest.fixture
def hub(tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with the tiny model as o/r, and an empty cache."""
    with Hub() as found:
        threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        found.files["o/r/model.safetensors"] = tiny_weights.read_bytes()
        point_to(found.url, tmp_path, monkeypatch)
        yield found
        found.shutdown()


@pytest.mark.parametrize("name", ["o/r", f"o/r@{COMMIT}", "hf://o/r@main/model.safetensors"])
def test_weights_on_the_hub_come_once(
    name: str, hub: Hub, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PEERS: offline works."""
    found = find_weights(name)
    assert tmp_path / "hub" in found.path.parents
    assert (found.digest, found.revision) == (sha256(tiny_weights), COMMIT)
    asked = hub.asked
    assert find_weights(name) == found
    assert hub.asked == asked
    point_to(NOWHERE, tmp_path, monkeypatch)
    assert load_model(name).config.preset == "tiny"


def test_a_damaged_download_is_not_loaded(hub: Hub) -> None:
    hub.lies = True
    for _ in range(2):
        with pytest.raises(InputError, match="damaged"):
            load_model("o/r")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("o/absent", "no such repository"),
        ("o/r@v9", "no such revision"),
        ("hf://o/r/x.safetensors", "no such file"),
    ],
)
def test_what_the_hub_does_not_have_is_named(name: str, words: str, hub: Hub) -> None:
    with pytest.raises(MissingError, match=words) as caught:
        load_model(name)
    assert hub.url in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("name", ["hf://o", "hf://o/r/model.pt", "hf://o/r@"])
def test_other_names_on_the_hub_are_refused(name: str) -> None:
    with pytest.raises(InputError):
        find_weights(name)


def test_without_a_network_the_sentence_says_what_to_do(
    hub: Hub, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PEERS: the message names the file, where it was looked for, and how to place it by hand; and that works."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the library's tries
    point_to(NOWHERE.replace("//", "//me:secret@"), tmp_path, monkeypatch)
    with pytest.raises(MissingError) as caught:
        load_model("hf://o/r/heads.safetensors")
    place = tmp_path / "hub/models--o--r/snapshots/main/heads.safetensors"
    assert str(place) in caught.value.message
    assert f"{NOWHERE}/o/r/resolve/main/heads.safetensors" in caught.value.message
    assert "secret" not in caught.value.message
    place.parent.mkdir(parents=True)
    place.write_bytes(tiny_weights.read_bytes())
    assert load_model("hf://o/r/heads.safetensors").config.preset == "tiny"


def test_vgg19_comes_with_its_tensors(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingError) as caught:
        fetch_vgg19()
    assert "--perceptual lpips" in caught.value.hint
    save_file({"features.0.bias": torch.arange(3.0)}, tmp_path / "x")
    hub.files[f"{weights.VGG19.removeprefix('hf://')}/model.safetensors"] = (tmp_path / "x").read_bytes()
    assert torch.equal(fetch_vgg19()["features.0.bias"], torch.arange(3.0))


# what is not there, and what is no weights file


@pytest.mark.parametrize("name", ["absent.safetensors", "portrai", "tests/absent", "nul\0"])
def test_missing_files_say_where_they_were_looked_for(name: str) -> None:
    with pytest.raises(MissingError) as caught:
        load_model(name)
    assert str(Path(name).absolute()) in caught.value.message
    assert weights.DEFAULT in caught.value.hint


@pytest.mark.parametrize(
    "content",
    [
        b"hello, I am a text",
        struct.pack("<Q", 2**63) + b"{" + bytes(50),
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 60) + b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
    ],
)
def test_garbage_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    for read in (load_model, read_metadata, read_tensors):
        with pytest.raises(InputError) as caught:
            read(path)
        assert str(path) in caught.value.message


def test_pickles_are_refused(tmp_path: Path) -> None:
    for name in ("model.pt", "model.safetensors"):
        torch.save({"a": torch.zeros(3)}, tmp_path / name)
        with pytest.raises(InputError) as caught:
            load_model(tmp_path / name)
        assert "pickle" in caught.value.hint


def test_a_truncated_file_is_refused(tiny_weights: Path, tmp_path: Path) -> None:
    content, path = tiny_weights.read_bytes(), tmp_path / "x.safetensors"
    for part in (content[:100], content[: len(content) // 2], content[:-1], content + b"\0"):
        path.write_bytes(part)
        with pytest.raises(InputError):
            load_model(path)


# configuration, shapes, values


@pytest.mark.parametrize(
    "config",
    ["{", "[" * 100_000, "{}", '{"width": "64"}', '{"resolution": NaN}'],
)
def test_a_wrong_configuration_is_refused(config: str, tiny_weights: Path, tmp_path: Path) -> None:
    path = rebuilt(tiny_weights, tmp_path / "x.safetensors", metadata={"config": config})
    with pytest.raises(InputError) as caught:
        load_model(path)
    assert str(path) in caught.value.message
    save_file({"a": torch.zeros(2)}, path)  # of another program
    with pytest.raises(InputError, match="no model"):
        load_model(path)


def test_a_configuration_that_no_machine_can_hold_allocates_nothing(tiny_weights: Path, tmp_path: Path) -> None:
    huge = to_dict(ModelConfig(resolution=1024, blocks=8, width=1024, max_channels=8192))
    path = rebuilt(tiny_weights, tmp_path / "x.safetensors", metadata={"config": json.dumps(huge)})
    with pytest.raises(InputError, match="does not fit"):
        load_model(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("m.head.bias", torch.zeros(2)), ("extra", torch.zeros(1)), ("m.head.bias", None)],
    ids=["shape", "unknown", "missing"],
)
def test_names_and_shapes_are_those_of_the_configuration(
    name: str, value: torch.Tensor | None, tiny_weights: Path, tmp_path: Path
) -> None:
    tensors = {**load_file(tiny_weights), name: value}
    path = tmp_path / "x.safetensors"
    save_file({key: value for key, value in tensors.items() if value is not None}, path, read_metadata(tiny_weights))
    with pytest.raises(InputError, match=name):
        load_model(path)


def test_values_that_are_not_finite_are_named(tiny_weights: Path, tmp_path: Path) -> None:
    for value in (float("nan"), float("-inf")):
        path = rebuilt(tiny_weights, tmp_path / "x.safetensors", {"r.head.bias": torch.full((1,), value)})
        with pytest.raises(InputError, match=r"r\.head\.bias"):
            load_model(path)


# writing


def test_a_model_that_is_not_finite_in_fp16_is_not_written(tmp_path: Path) -> None:
    model = Animator(MODEL_PRESETS["tiny"])
    with torch.no_grad():
        model.r.head.bias.fill_(1e6)
    with pytest.raises(AnimaskError, match=r"r\.head\.bias"):
        save_model(model, tmp_path / "x.safetensors", {})
    assert list(tmp_path.iterdir()) == []


def test_the_bundled_weights_beat_copying_the_source() -> None:
    """Toons that they never saw, driven by others: the true frame is known."""
    assert find_weights().metadata["object"] == "face", "or no head is looked for"
    model, side = load_model(), 256
    poses = [pose_at(number, 0.5) for number in range(8)]
    for number in range(3):
        who, other = sample_identity(10 + number), sample_identity(20 + number)
        frames = [render(who, poses[number], side), render(other, poses[number + 4], side)]
        s, d, truth = (to_tensor(x, "cpu") for x in (*frames, render(who, poses[number + 4], side)))
        with torch.inference_mode():
            f = model.drive(s, model.m(s), d).f
        assert (f - truth).abs().mean() < 0.6 * (s - truth).abs().mean()
