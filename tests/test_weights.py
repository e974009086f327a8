"""Weights files: what loads, what is refused with a sentence, and what is known of them."""

import errno
import hashlib
import json
import os
import pickle
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from animask import cards, headers, weights
from animask.cards import check, describe, licence_of, write_card
from animask.config import MODEL_PRESETS, ModelConfig, to_dict
from animask.errors import AnimaskError, InputError, MissingError
from animask.headers import read_header
from animask.model import Animator
from animask.weights import find_weights, load_model, locate, read_metadata, read_tensors, save_model, write_tensors


@pytest.fixture
def bundled(tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of bundled weights: `portrait` with its hash."""
    folder = tmp_path / "weights"
    folder.mkdir()
    content = tiny_weights.read_bytes()
    (folder / "portrait.safetensors").write_bytes(content)
    (folder / "SHA256SUMS").write_text(f"{hashlib.sha256(content).hexdigest()}  portrait.safetensors\n")
    for module in (weights, cards):
        monkeypatch.setattr(module, "BUNDLED", ("portrait", "toons"))
        monkeypatch.setattr(module, "bundled_folder", lambda: folder)
    return folder


def rebuilt(
    source: Path, target: Path, tensors: dict[str, torch.Tensor] | None = None, metadata: dict[str, str] | None = None
) -> Path:
    """A copy of a weights file with other tensors or metadata."""
    save_file({**load_file(source), **(tensors or {})}, target, {**read_metadata(source), **(metadata or {})})
    return target


def raw(path: Path, header: object, room: int = 0) -> Path:
    """A file with any header, in the form of safetensors."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(room))
    return path


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_floats_load_too(dtype: torch.dtype, tiny_weights: Path, tmp_path: Path) -> None:
    tensors = {key: value.to(dtype) for key, value in load_file(tiny_weights).items() if value.is_floating_point()}
    model = load_model(rebuilt(tiny_weights, tmp_path / "x.safetensors", tensors))
    assert {value.dtype for value in model.parameters()} == {torch.float32}


def test_the_metadata_is_text(tiny_weights: Path) -> None:
    metadata = read_metadata(tiny_weights)
    assert metadata["licence"] == "MIT"
    assert json.loads(metadata["config"])["preset"] == "tiny"


def test_our_reading_of_the_header_is_that_of_the_library(tiny_weights: Path) -> None:
    header = read_header(tiny_weights)
    with safe_open(tiny_weights, framework="pt") as file:
        assert header.metadata == file.metadata()
        found = {key: (file.get_slice(key).get_dtype(), tuple(file.get_slice(key).get_shape())) for key in file.keys()}  # noqa: SIM118
    assert header.tensors == found


def test_looking_at_files_does_not_import_torch() -> None:
    code = "import sys, animask.cards, animask.weights; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# bundled weights


def test_a_bundled_name_is_the_default(bundled: Path) -> None:
    assert find_weights("portrait") == bundled / "portrait.safetensors"
    assert load_model().config.preset == "tiny"
    assert check("portrait").state == "verified"


def test_a_changed_bundled_file_is_not_loaded(bundled: Path) -> None:
    """PEERS: weights come with a SHA-256."""
    path = bundled / "portrait.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"portrait.safetensors is damaged: its SHA-256 is [0-9a-f]{64}, not"):
        load_model("portrait")
    assert check("portrait").state == "damaged"


def test_without_a_list_of_hashes_nothing_is_verified(bundled: Path) -> None:
    (bundled / "SHA256SUMS").unlink()
    assert check("portrait").state == "no hash stated"
    load_model("portrait")


def test_missing_bundled_weights_say_where_to_put_them(bundled: Path) -> None:
    with pytest.raises(MissingError) as caught:
        load_model("toons")
    assert str(bundled / "toons.safetensors") in caught.value.message
    assert caught.value.hint.startswith("put toons.safetensors there")
    assert check("toons").state == "missing"


def test_the_bundled_files_have_their_hashes() -> None:
    paths = sorted(weights.bundled_folder().glob("*.safetensors"))
    if not paths:
        pytest.skip("no bundled weights in this checkout")
    assert {path.name: weights.sha256(path) for path in paths} == weights.read_sums()
    for name in weights.BUNDLED:
        assert describe(name).licence != cards.UNSTATED


# what is not there


@pytest.mark.parametrize(
    ("name", "hint"),
    [("absent.safetensors", "bundled weights"), ("portrai", "did you mean 'portrait'"), ("no/where", "hf://")],
)
def test_missing_files_say_where_they_were_looked_for(name: str, hint: str) -> None:
    with pytest.raises(MissingError) as caught:
        load_model(name)
    assert str(Path(name).absolute()) in caught.value.message
    assert hint in caught.value.hint


def test_odd_names_stay_on_one_line(tmp_path: Path) -> None:
    for name in ("a\nb", "\x1b[31mred", "x" * 300, "nul\0", "-rf", "ß📷 'quoted'.safetensors"):
        with pytest.raises(AnimaskError) as caught:
            load_model(tmp_path / name)
        assert caught.value.message.isprintable(), name


def test_a_dangling_link_is_missing(tmp_path: Path) -> None:
    link = tmp_path / "link.safetensors"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(MissingError):
        load_model(link)


# what is no weights file


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\0", "not a safetensors file"),
        (b"hello, I am a text", "not a safetensors file"),
        (bytes(100), "not a safetensors file"),
        (pickle.dumps({"a": 1}), "is a pickle, whatever its name says"),
        (b"PK\x03\x04" + bytes(100), "is a pickle, whatever its name says"),
        (struct.pack("<Q", 2**63) + b"{" + bytes(50), "cut off"),
        (struct.pack("<Q", 60) + b"{}", "cut off"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "not a safetensors file"),
    ],
)
def test_garbage_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    for read in (load_model, read_metadata, read_tensors, describe):
        with pytest.raises(InputError, match=words):
            read(path)


def test_what_torch_saves_is_refused_by_name_and_by_content(tmp_path: Path) -> None:
    for name in ("model.pt", "model.PTH", "model.ckpt", "model.bin", "model.safetensors"):
        torch.save({"a": torch.zeros(3)}, tmp_path / name)
        with pytest.raises(InputError, match="is a pickle") as caught:
            load_model(tmp_path / name)
        assert "can run code" in caught.value.hint


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null", "pipe", "."])
def test_what_is_no_regular_file_is_refused_without_waiting(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "pipe":
        os.mkfifo(path)
    with pytest.raises(InputError, match=r"no regular file|is a folder"):
        load_model(path)


def test_an_unreadable_file_is_refused(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        read_header(tiny_weights)


@pytest.mark.parametrize("tenth", range(1, 10))
def test_a_truncated_file_is_refused(tenth: int, tiny_weights: Path, tmp_path: Path) -> None:
    content = tiny_weights.read_bytes()
    path = tmp_path / "x.safetensors"
    path.write_bytes(content[: len(content) * tenth // 10])
    with pytest.raises(InputError, match="is cut off"):
        load_model(path)
    path.write_bytes(content[:-1])
    with pytest.raises(InputError, match="1 of its bytes are missing"):
        load_model(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(InputError, match="1 bytes belong to no tensor"):
        load_model(path)


@pytest.mark.parametrize("seed", range(60))
def test_flipped_bits_load_or_get_a_sentence(seed: int, tiny_weights: Path, tmp_path: Path) -> None:
    """Mostly in the header, where a bit changes what the bytes mean."""
    content = bytearray(tiny_weights.read_bytes())
    draw = random.Random(seed)
    length = 8 + int.from_bytes(content[:8], "little")
    for _ in range(3):
        content[draw.randrange(length if seed % 3 else len(content))] ^= 1 << draw.randrange(8)
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    try:
        load_model(path)
    except InputError as error:
        assert error.message.isprintable()


@pytest.mark.parametrize(
    "header",
    [
        b"{",
        b"[]",
        b'{"a": 1}',
        b'{"__metadata__": []}',
        b'{"__metadata__": {"a": 1}}',
        b'{"__metadata__": {"config": {}}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}',
        b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1.5], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": 7, "shape": [1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [true], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]}}',
        b'{"__metadata__": {"a": "b"}, "__metadata__": {"a": "c"}}',
        b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"\xff": 1}',
        b'{"a": {"dtype": "F32", "shape": [' + b"9" * 5000 + b'], "data_offsets": [0, 4]}}',
    ],
)
def test_a_header_of_another_form_is_refused(header: bytes, tmp_path: Path) -> None:
    path = raw(tmp_path / "x.safetensors", header, 4)
    with pytest.raises(InputError, match=r"header|belong to no tensor"):
        read_header(path)


def test_a_header_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    path = raw(tmp_path / "x.safetensors", b"{}" + b" " * headers.MAX_HEADER_BYTES)
    with pytest.raises(InputError, match=f"more than {headers.MAX_HEADER_BYTES}"):
        read_header(path)


def test_offsets_that_overlap_are_refused(tmp_path: Path) -> None:
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    path = raw(tmp_path / "x.safetensors", {"a": entry, "b": entry}, 4)
    with pytest.raises(InputError, match="not a readable safetensors file"):
        read_tensors(path)


# configuration, shapes, dtypes, values


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("{", "no readable configuration"),
        ("[]", "wrong configuration"),
        ("[" * 100_000, "no readable configuration"),
        ("9" * 5000, "no readable configuration"),
        ("{}", "does not fit"),
        ('{"depth": 3}', "unknown key 'depth'"),
        ('{"width": "64"}', "width = '64' is not valid"),
        ('{"width": 1e400}', "width"),
        ('{"resolution": NaN}', "resolution"),
        ('{"blocks": 9}', "blocks must be between"),
    ],
)
def test_a_wrong_configuration_is_refused(config: str, words: str, tiny_weights: Path, tmp_path: Path) -> None:
    path = rebuilt(tiny_weights, tmp_path / "x.safetensors", metadata={"config": config})
    with pytest.raises(InputError, match=words) as caught:
        load_model(path)
    assert str(path) in caught.value.message


def test_weights_of_another_program_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(InputError, match="holds no model of animask"):
        load_model(path)


def test_a_configuration_that_no_machine_can_hold_is_refused_before_anything_is_allocated(
    tiny_weights: Path, tmp_path: Path
) -> None:
    huge = ModelConfig(resolution=1024, blocks=8, width=1024, max_channels=8192)
    path = rebuilt(tiny_weights, tmp_path / "x.safetensors", metadata={"config": json.dumps(to_dict(huge))})
    with pytest.raises(InputError, match=r"asks for \d{10,} parameters"):
        load_model(path)


def test_shapes_are_those_of_the_configuration(tiny_weights: Path, tmp_path: Path) -> None:
    path = rebuilt(tiny_weights, tmp_path / "x.safetensors", {"m.head.bias": torch.zeros(2, dtype=torch.half)})
    with pytest.raises(InputError, match=r"m.head.bias has the shape \[2\], not \[1\]"):
        load_model(path)
    path = rebuilt(tiny_weights, path, {"extra\n": torch.zeros(1)})
    with pytest.raises(InputError, match=r"'extra\\n' is not part of it"):
        load_model(path)
    tensors = load_file(tiny_weights)
    del tensors["m.head.bias"]
    save_file(tensors, path, read_metadata(tiny_weights))
    with pytest.raises(InputError, match=r"m.head.bias is missing"):
        load_model(path)


@pytest.mark.parametrize(("name", "dtype"), [("m.head.bias", torch.float64), ("m.head.bias", torch.int64)])
def test_dtypes_are_those_of_a_model(name: str, dtype: torch.dtype, tiny_weights: Path, tmp_path: Path) -> None:
    path = rebuilt(tiny_weights, tmp_path / "x.safetensors", {name: torch.zeros(1, dtype=dtype)})
    with pytest.raises(InputError, match=rf"{name} has the dtype [FI]64, not F16 or BF16 or F32"):
        load_model(path)


def test_a_counter_must_be_a_whole_number(tiny_weights: Path, tmp_path: Path) -> None:
    name = next(key for key in load_file(tiny_weights) if key.endswith("num_batches_tracked"))
    path = rebuilt(tiny_weights, tmp_path / "x.safetensors", {name: torch.tensor(0.0)})
    with pytest.raises(InputError, match="has the dtype F32, not I64"):
        load_model(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_named(value: float, tiny_weights: Path, tmp_path: Path) -> None:
    bias = torch.full((1,), value, dtype=torch.half)
    path = rebuilt(tiny_weights, tmp_path / "x.safetensors", {"r.head.bias": bias})
    with pytest.raises(InputError, match=r"r.head.bias holds values that are not finite"):
        load_model(path)


# writing


def test_a_model_that_is_not_finite_in_fp16_is_not_written(tmp_path: Path) -> None:
    model = Animator(MODEL_PRESETS["tiny"])
    with torch.no_grad():
        model.r.head.bias.fill_(1e6)
    with pytest.raises(AnimaskError, match=r"r.head.bias is not finite in fp16"):
        save_model(model, tmp_path / "x.safetensors", {})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"mine")

    def fail(tensors: object, target: Path, metadata: object) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(AnimaskError, match=r"could not be written: .*No space left"):
        write_tensors({}, path, {})
    assert [item.name for item in tmp_path.iterdir()] == ["x.safetensors"]
    assert path.read_bytes() == b"mine"


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    code = "import os, pathlib, sys; from animask.partials import partial_path\n"
    code += "partial_path(pathlib.Path(sys.argv[1])).write_bytes(b'half'); os.kill(os.getpid(), 9)"
    path = tmp_path / "x.safetensors"
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    write_tensors({"a": torch.zeros(1)}, path, {})
    assert [item.name for item in tmp_path.iterdir()] == ["x.safetensors"]


# what is known of weights


def test_a_card_has_everything(tiny_weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(tiny_weights.read_bytes())
    (tmp_path / "MODEL_CARD.md").write_text("# A card\x1b[31m\n")
    card = describe(path)
    assert (card.name, card.path, card.bytes) == (str(path), str(path), path.stat().st_size)
    assert card.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (card.state, card.commit, card.licence) == ("no hash stated", "", "MIT")
    assert (card.dtypes, card.config["width"], card.metadata) == (
        ["F16", "I64"],
        4,
        {"licence": "MIT", "dataset": "none"},
    )
    assert card.numbers == sum(value.numel() for value in load_file(path).values())
    assert card.text == "# A card�[31m\n"


def test_metadata_cannot_steer_a_terminal(tiny_weights: Path, tmp_path: Path) -> None:
    path = rebuilt(tiny_weights, tmp_path / "x.safetensors", metadata={"licence": "\x1b]0;x\x07", "a\x1b": "\u202e"})
    card = describe(path)
    assert card.licence == "�]0;x�"
    assert card.metadata["a�"] == "�"


@pytest.mark.parametrize(
    ("name", "metadata", "card", "expected"),
    [
        ("x", {"licence": "MIT"}, "---\nlicense: other\n---\n", "MIT"),
        ("x", {"license": "CC0"}, "", "CC0"),
        ("x", {}, '---\na: b\nlicense: "cc-by-4.0"\n---\n# x', "cc-by-4.0"),
        ("x", {}, "# x\nlicense: mit", "not stated"),
        ("yunet", {}, "", "MIT"),
        ("vgg19", {}, "", "BSD-3-Clause"),
    ],
)
def test_the_licence_is_found(name: str, metadata: dict[str, str], card: str, expected: str) -> None:
    assert licence_of(name, metadata, card) == expected


def test_a_model_card_carries_text_as_text(tiny_weights: Path, tmp_path: Path) -> None:
    odd = {"dataset": "a|b\n<script>`x`</script>"}
    card = describe(rebuilt(tiny_weights, tmp_path / "x.safetensors", metadata=odd))
    text = write_card(card, "owner/name", "My own: licence")
    head, body = text.removeprefix("---\n").split("\n---\n")
    assert 'license: other\nlicense_name: "My own: licence"' in head
    assert r"| dataset | a\|b \<script\>\`x\`\</script\> |" in body
    assert "--weights hf://owner/name" in body
    assert card.sha256 in body
    assert "license: mit" in write_card(card, "owner/name", "MIT")


def test_only_models_are_listed(tiny_weights: Path, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors", {"config": "{}"})
    assert cards.is_model(tiny_weights)
    assert not cards.is_model(tmp_path / "other.safetensors")
    assert not cards.is_model(tmp_path)


def test_locating_a_file_is_finding_it(tiny_weights: Path) -> None:
    assert locate(tiny_weights) == (str(tiny_weights), tiny_weights, "")


@pytest.mark.skipif(sys.platform == "win32", reason="modes are those of POSIX")
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_files_have_the_mode_that_the_umask_says(mask, tiny_model, tmp_path):
    before = os.umask(mask)
    try:
        save_model(tiny_model, tmp_path / "x.safetensors", {})
    finally:
        os.umask(before)
    assert (tmp_path / "x.safetensors").stat().st_mode & 0o777 == 0o666 & ~mask
