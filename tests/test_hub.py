"""Weights from and to the Hub, against a small server on 127.0.0.1 that answers as the Hub does."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hub_server import COMMIT, NOWHERE, Hub, Repository, environment, point_to
from safetensors.torch import save_file

from animask import cards, hub, weights
from animask.animation import Settings, animate_file
from animask.errors import AnimaskError, InputError, MissingError
from animask.hub import Reference, UnreachableError, parse
from animask.weights import cached_yunet, fetch_vgg19, find_weights, load_model, locate

README = b"---\nlicense: mit\n---\n# Heads\n"


@pytest.fixture
def server() -> Iterator[Hub]:
    """A Hub without repositories."""
    with Hub() as found:
        threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield found
        found.delay.clear()
        found.shutdown()


@pytest.fixture
def here(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The same, and this process takes it for the Hub."""
    point_to(server.url, tmp_path, monkeypatch)
    return server


@pytest.fixture
def model(tiny_weights: Path) -> bytes:
    """A weights file."""
    return tiny_weights.read_bytes()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def blobs(folder: Path) -> list[str]:
    """What a repository's cache holds, by name."""
    return sorted(path.name for path in folder.glob("hub/models--*/blobs/*"))


# names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hf://o/r", Reference("o/r")),
        ("hf://o/r@v1.0", Reference("o/r", "v1.0")),
        ("hf://o/r@refs/pr/12/a.safetensors", Reference("o/r", "refs/pr/12", "a.safetensors")),
        ("hf://a-b/c.d_e/x/y z.safetensors", Reference("a-b/c.d_e", "main", "x/y z.safetensors")),
        (f"hf://o/r@{COMMIT}/é.safetensors", Reference("o/r", COMMIT, "é.safetensors")),
    ],
)
def test_names_have_parts(name: str, expected: Reference) -> None:
    assert parse(name) == expected
    assert str(expected) == name


@pytest.mark.parametrize(
    "name",
    [
        *("hf://", "hf://o", "hf:///o/r", "hf://../r", "hf://o/..", "hf://o/.hidden", "hf://o//r", "hf://o/r@", "hf://o/r@.."),
        *("hf://o/r@a..b", "hf://o/r--x", "hf://o/r@%2e%2e/x.safetensors", "hf://o/r/", "hf://o/r/../x.safetensors"),
        *("hf://o/r/a/../../x.safetensors", "hf://o/r//etc/x.safetensors", "hf://o/r/./x.safetensors"),
        *("hf://o/r/..\\x.safetensors", "hf://o/r/C:x.safetensors", "hf://o/r/a\nb.safetensors", "hf://o/r/a\0.safetensors"),
        *("hf://o/r/model.bin", "hf://o/r/model.pt", "hf://o/r/model.CKPT", "hf://o/r/config.json", "hf://o r/x"),
    ],
)  # fmt: skip
def test_names_cannot_leave_the_cache_nor_name_a_pickle(name: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(name)
    assert caught.value.message.isprintable()


# download


def test_a_pull_brings_the_file_its_card_and_its_hash(here: Hub, model: bytes, tmp_path: Path) -> None:
    here.repositories["o/r"] = Repository({"model.safetensors": model, "README.md": README, "notes.txt": b"x"})
    file = weights.pull("hf://o/r")
    assert file == (Reference("o/r", file="model.safetensors"), COMMIT, file.path, digest(model), "")
    assert tmp_path in file.path.parents
    assert file.path.read_bytes() == model
    assert not any("notes" in line for line in here.log)
    card = cards.describe("hf://o/r")
    assert (card.state, card.commit, card.licence) == ("verified", COMMIT, "MIT")
    assert card.text == README.decode()
    assert "hf://o/r/model.safetensors" in cards.names_here()


def test_a_report_names_the_commit_of_the_weights(
    here: Hub, model: bytes, picture: Path, driver: Path, tmp_path: Path
) -> None:
    here.repositories["someone/heads"] = Repository({"model.safetensors": model})
    settings = Settings(weights="hf://someone/heads", device="cpu", end=0.05)
    report = animate_file(picture, driver, tmp_path / "out.mp4", settings)
    assert (report.weights_revision, report.weights_sha256) == (COMMIT, digest(model))


def test_what_is_here_is_not_asked_for_again(here: Hub, model: bytes) -> None:
    """PEERS: offline works."""
    here.repositories["o/r"] = Repository({"model.safetensors": model})
    assert load_model("hf://o/r").config.preset == "tiny"
    asked = len(here.log)
    load_model("hf://o/r")
    assert find_weights("hf://o/r") == locate("hf://o/r").path
    assert len(here.log) == asked


def test_a_pull_brings_what_is_newer(here: Hub, model: bytes) -> None:
    here.repositories["o/r"] = Repository({"model.safetensors": model + b""})
    weights.pull("hf://o/r")
    newer = bytearray(model)
    newer[-1] ^= 1
    here.repositories["o/r"] = Repository({"model.safetensors": bytes(newer)}, "f" * 40)
    assert find_weights("hf://o/r").read_bytes() == model
    file = weights.pull("hf://o/r")
    assert (file.commit, file.sha256) == ("f" * 40, digest(bytes(newer)))
    assert find_weights("hf://o/r").read_bytes() == newer
    assert find_weights(f"hf://o/r@{COMMIT}").read_bytes() == model


def test_a_pinned_commit_that_is_here_needs_no_hub(
    here: Hub, model: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here.repositories["o/r"] = Repository({"model.safetensors": model})
    weights.pull(f"hf://o/r@{COMMIT}")
    point_to(NOWHERE, tmp_path, monkeypatch)
    assert load_model(f"hf://o/r@{COMMIT}/model.safetensors").config.preset == "tiny"


def test_the_only_safetensors_file_is_meant(here: Hub, model: bytes) -> None:
    here.repositories["o/r"] = Repository({"a/heads.safetensors": model, "README.md": README})
    assert weights.pull("hf://o/r").reference.file == "a/heads.safetensors"
    assert cards.describe("hf://o/r").text == README.decode()
    here.repositories["o/r"].files["b.safetensors"] = model
    with pytest.raises(InputError, match=r"several .safetensors files: 'a/heads.safetensors', 'b.safetensors'"):
        weights.pull("hf://o/r")


@pytest.mark.parametrize(("at", "resumed"), [(0, []), (1000, ["bytes=1000-"]), (60500, ["bytes=60000-"])])
def test_a_broken_download_is_resumed(
    at: int, resumed: list[str], here: Hub, model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole pieces are kept, of 10 MB each; here of 1000 bytes."""
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    here.repositories["o/r"] = Repository({"model.safetensors": model})
    here.cut = [at]
    try:
        file = weights.pull("hf://o/r")
    except UnreachableError:  # huggingface-hub before 2 resumes in the next call
        file = weights.pull("hf://o/r")
    assert file.path.read_bytes() == model
    assert here.ranges == resumed


def test_a_download_that_cannot_be_finished_leaves_no_file(
    here: Hub, model: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    here.repositories["o/r"] = Repository({"model.safetensors": model})
    here.cut = [0] * 20
    with pytest.raises(UnreachableError, match=r"the connection to http://127.0.0.1"):
        weights.pull("hf://o/r")
    assert digest(model) not in blobs(tmp_path)
    assert hub.cached(Reference("o/r")) is None
    here.cut = []
    weights.pull("hf://o/r")
    assert blobs(tmp_path) == [digest(model)]


def test_what_a_killed_download_left_is_removed(here: Hub, model: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "hub/models--o--r/blobs"
    folder.mkdir(parents=True)
    names = {"stale": "ab.0123abcd.incomplete", "live": "cd.4567cdef.incomplete", "other": "ef.incomplete"}
    for name in names.values():
        (folder / name).write_bytes(b"half")
    for name in ("stale", "other"):
        os.utime(folder / names[name], (0, 0))
    here.repositories["o/r"] = Repository({"model.safetensors": model})
    weights.pull("hf://o/r")
    assert blobs(tmp_path) == sorted([names["live"], names["other"], digest(model)])


# refusals


def test_a_wrong_hash_is_refused_and_the_file_removed(here: Hub, model: bytes, tmp_path: Path) -> None:
    here.repositories["o/r"] = Repository({"model.safetensors": model})
    here.lies.add("model.safetensors")
    with pytest.raises(InputError, match=f"where {digest(model)} is stated; it was removed"):
        weights.pull("hf://o/r")
    assert blobs(tmp_path) == []
    assert hub.cached(Reference("o/r")) is None
    here.lies.clear()
    assert weights.pull("hf://o/r").sha256 == digest(model)


def test_a_hash_that_was_asked_for_is_compared_before_the_download(here: Hub, model: bytes, tmp_path: Path) -> None:
    here.repositories["o/r"] = Repository({"model.safetensors": model})
    with pytest.raises(InputError, match=f"has the SHA-256 {digest(model)} on the Hub, not {'0' * 64}"):
        weights.pull("hf://o/r", "0" * 64)
    assert blobs(tmp_path) == []
    assert weights.pull("hf://o/r", digest(model)).sha256 == digest(model)


def test_a_damaged_copy_in_the_cache_is_not_loaded(here: Hub, model: bytes) -> None:
    here.repositories["o/r"] = Repository({"model.safetensors": model})
    path = weights.pull("hf://o/r").path
    damaged = bytearray(model)
    damaged[-1] ^= 1
    path.resolve().write_bytes(damaged)
    with pytest.raises(InputError, match="is damaged: its SHA-256 is") as caught:
        load_model("hf://o/r")
    assert "animask weights pull --force hf://o/r" in caught.value.hint
    assert cards.check("hf://o/r").state == "damaged"
    weights.pull("hf://o/r", force=True)
    load_model("hf://o/r")


def test_repositories_without_safetensors_are_refused(here: Hub) -> None:
    here.repositories["o/r"] = Repository({"pytorch_model.bin": b"x", "README.md": README})
    with pytest.raises(InputError, match=r"only 'pytorch_model.bin', a pickle") as caught:
        weights.pull("hf://o/r")
    assert "can run code" in caught.value.hint


def test_a_pickle_under_another_name_is_refused(here: Hub, tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "x")
    here.repositories["o/r"] = Repository({"model.safetensors": (tmp_path / "x").read_bytes()})
    with pytest.raises(InputError, match="is a pickle, whatever its name says"):
        weights.pull("hf://o/r")


@pytest.mark.parametrize("name", ["../../../evil.safetensors", "/tmp/evil.safetensors", "a/../../evil.safetensors"])
def test_a_listing_cannot_lead_out_of_the_cache(name: str, here: Hub, model: bytes, tmp_path: Path) -> None:
    here.repositories["o/r"] = Repository({name: model})
    with pytest.raises(InputError, match="is no path inside a Hub repository"):
        weights.pull("hf://o/r")
    assert not list(tmp_path.rglob("evil*"))


def test_an_entity_tag_cannot_lead_out_of_the_cache(here: Hub, model: bytes, tmp_path: Path) -> None:
    """The cache names a file after it."""
    here.repositories["o/r"] = Repository({"model.safetensors": model})
    here.tags["model.safetensors"] = "../../../evil"
    with pytest.raises(AnimaskError, match=r"entity tag '../../../evil'"):
        weights.pull("hf://o/r")
    assert not list(tmp_path.rglob("evil*"))


def test_a_file_without_end_is_refused(here: Hub, model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    here.repositories["o/r"] = Repository({"model.safetensors": model})
    monkeypatch.setattr(hub, "MAX_BYTES", 1000)
    with pytest.raises(InputError, match=f"has {len(model)} bytes"):
        weights.pull("hf://o/r")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hf://o/absent", "there is no public repository http://127.0.0.1:.*/o/absent"),
        ("hf://o/absent/x.safetensors", "there is no public repository"),
        ("hf://o/r@v9", "has no revision 'v9'"),
        ("hf://o/r/x.safetensors", "has no file 'x.safetensors' at main"),
    ],
)
def test_what_the_hub_does_not_have_is_named(name: str, words: str, here: Hub, model: bytes) -> None:
    here.repositories["o/r"] = Repository({"model.safetensors": model})
    with pytest.raises(MissingError, match=words) as caught:
        load_model(name)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (503, UnreachableError, "answered with status 503"),
        (429, UnreachableError, "answered with status 429"),
        (403, MissingError, "refused with status 403"),
        (418, AnimaskError, "answered with status 418"),
    ],
)
def test_a_refusing_hub_is_named(status: int, kind: type[AnimaskError], words: str, here: Hub) -> None:
    here.status = status
    with pytest.raises(kind, match=words):
        weights.pull("hf://o/r")


def test_a_full_disk_has_a_sentence(here: Hub, model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    here.repositories["o/r"] = Repository({"model.safetensors": model})

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", full)
    with pytest.raises(AnimaskError, match=r"could not be kept in .*/hub: No space left on device"):
        weights.pull("hf://o/r")


def test_other_names_cannot_be_pulled() -> None:
    with pytest.raises(InputError, match="'portrait' cannot be pulled"):
        weights.pull("portrait")


# without a network


def test_without_a_network_the_sentence_says_what_to_do(
    here: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PEERS: the message names the file, where it was looked for, and how to place it by hand."""
    point_to(NOWHERE, tmp_path, monkeypatch)
    with pytest.raises(UnreachableError) as caught:
        load_model("hf://o/r/heads.safetensors")
    assert "hf://o/r/heads.safetensors" in caught.value.message
    place = tmp_path / "hub/models--o--r/snapshots/main/heads.safetensors"
    assert f"looked for at {place}:" in caught.value.hint
    assert f"get {NOWHERE}/o/r/resolve/main/heads.safetensors" in caught.value.hint


def test_a_file_placed_by_hand_is_found(
    here: Hub, model: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    point_to(NOWHERE, tmp_path, monkeypatch)
    place = hub.place(Reference("o/r"))
    place.parent.mkdir(parents=True)
    place.write_bytes(model)
    assert load_model("hf://o/r").config.preset == "tiny"
    assert cards.check("hf://o/r").state == "no hash stated"


def test_without_a_network_a_pull_gives_what_is_here_and_says_so(
    here: Hub, model: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here.repositories["o/r"] = Repository({"heads.safetensors": model})
    fresh = weights.pull("hf://o/r")
    point_to(NOWHERE, tmp_path, monkeypatch)
    again = weights.pull("hf://o/r")
    assert again == fresh._replace(note=again.note)
    assert f"the connection to {NOWHERE}" in again.note
    with pytest.raises(UnreachableError):
        weights.pull("hf://o/r", force=True)


def test_a_hub_without_a_network_has_no_name_and_password(
    here: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    point_to(NOWHERE.replace("//", "//me:secret@"), tmp_path, monkeypatch)
    with pytest.raises(UnreachableError) as caught:
        weights.pull("hf://o/r")
    assert "secret" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize("url", ["localhost:1", "ftp://127.0.0.1", "http://"])
def test_a_wrong_address_has_a_sentence(url: str, here: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    point_to(url, tmp_path, monkeypatch)
    with pytest.raises(AnimaskError):
        weights.pull("hf://o/r")


# networks of others


def test_yunet_is_found_where_it_was_pulled(here: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"an ONNX file"
    reference = hub.YUNET._replace(sha256=digest(content))
    monkeypatch.setattr(hub, "YUNET", reference)
    monkeypatch.setitem(weights.EXTRAS, "yunet", reference)
    here.repositories[reference.repo] = Repository({reference.file: content}, reference.revision)
    assert cached_yunet() is None
    assert cards.check("yunet").state == "missing"
    path = weights.pull("yunet").path
    assert cached_yunet() == path == locate("yunet").path
    assert (cards.check("yunet").state, cards.check("yunet").licence) == ("verified", "MIT")
    path.resolve().write_bytes(b"something else")
    with pytest.raises(InputError, match="is damaged"):
        cached_yunet()


def test_another_yunet_is_refused(here: Hub) -> None:
    """Its hash is written in the code: it does not matter what the server says."""
    reference = hub.YUNET
    here.repositories[reference.repo] = Repository({reference.file: b"evil"}, reference.revision)
    with pytest.raises(InputError, match=f"not {reference.sha256}"):
        weights.pull("yunet")
    here.tags[reference.file] = reference.sha256
    with pytest.raises(InputError, match="it was removed from the cache"):
        weights.pull("yunet")
    assert cached_yunet() is None


def test_vgg19_comes_with_its_tensors(here: Hub, tmp_path: Path) -> None:
    save_file({"features.0.bias": torch.arange(3.0)}, tmp_path / "x")
    here.repositories[hub.VGG19.repo] = Repository({"model.safetensors": (tmp_path / "x").read_bytes()})
    assert torch.equal(fetch_vgg19()["features.0.bias"], torch.arange(3.0))


def test_without_vgg19_the_hint_has_another_way(here: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    point_to(NOWHERE, tmp_path, monkeypatch)
    with pytest.raises(MissingError, match="weights of VGG-19 could not be had") as caught:
        fetch_vgg19()
    assert "--perceptual random" in caught.value.hint


# publishing


def test_published_weights_come_back(here: Hub, tiny_weights: Path, model: bytes) -> None:
    """A trained model goes to the Hub with a model card, and from there to anybody."""
    commit = cards.push(tiny_weights, "me/heads", private=True)
    assert commit.commit == COMMIT
    assert here.created[0]["name"] == "heads"
    assert here.created[0].get("private", here.created[0].get("visibility")) in (True, "private")
    files = here.repositories["me/heads"].files
    assert files["model.safetensors"] == model
    assert b"license: mit" in files["README.md"]
    assert digest(model).encode() in files["README.md"]
    assert weights.pull("hf://me/heads").sha256 == digest(model)
    assert "# me/heads" in cards.describe("hf://me/heads").text


def test_publishing_again_keeps_the_card(here: Hub, tiny_weights: Path) -> None:
    here.repositories["me/heads"] = Repository({"README.md": b"# mine"})
    cards.push(tiny_weights, "me/heads")
    assert here.repositories["me/heads"].files["README.md"] == b"# mine"


@pytest.mark.parametrize("repo", ["heads", "me/heads/x", "me/heads@v1", "../heads", "hf://me/heads"])
def test_only_a_repository_can_be_published_to(repo: str, here: Hub, tiny_weights: Path) -> None:
    with pytest.raises(InputError):
        cards.push(tiny_weights, repo)
    assert here.log == []


def test_weights_without_a_licence_are_not_published(here: Hub, tiny_model: object, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    weights.save_model(tiny_model, path, {})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="state no licence"):
        cards.push(path, "me/heads")
    cards.push(path, "me/heads", "CC-BY-4.0")
    assert b"license: cc-by-4.0" in here.repositories["me/heads"].files["README.md"]


def test_damaged_weights_are_not_published(here: Hub, model: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(model[:-1])
    with pytest.raises(InputError, match="cut off"):
        cards.push(path, "me/heads")
    assert here.log == []


def test_a_hub_that_refuses_gets_nothing(here: Hub, tiny_weights: Path) -> None:
    here.status = 401
    with pytest.raises(MissingError) as caught:
        cards.push(tiny_weights, "me/heads")
    assert "hf auth login" in caught.value.hint
    assert here.uploads == {}


# other processes: what the environment variables do, and what happens to the cache


def start(arguments: list[str], env: dict[str, str]) -> "subprocess.Popen[str]":
    """`animask weights ...` in a process of its own."""
    command = [sys.executable, "-c", "from animask.cli.weights import app; app()", *arguments]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_at_once_both_get_it(server: Hub, model: bytes, tmp_path: Path) -> None:
    server.repositories["o/r"] = Repository({"model.safetensors": model})
    children = [start(["pull", "hf://o/r", "--json"], environment(tmp_path, server.url)) for _ in range(2)]
    for child in children:
        out, err = child.communicate(timeout=60)
        assert child.returncode == 0, err
        assert json.loads(out)["sha256"] == digest(model)
    assert blobs(tmp_path) == [digest(model)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_pull_leaves_no_file(number: int, server: Hub, model: bytes, tmp_path: Path) -> None:
    server.repositories["o/r"] = Repository({"model.safetensors": model})
    server.delay.set()
    child = start(["pull", "hf://o/r"], environment(tmp_path, server.url))
    deadline = time.monotonic() + 60
    while not any(line.startswith("GET /o/r/resolve") for line in server.log) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)
    child.send_signal(number)
    _, err = child.communicate(timeout=60)
    assert child.returncode == (-9 if number == signal.SIGKILL else 130)
    assert "Traceback" not in err
    assert digest(model) not in blobs(tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))
