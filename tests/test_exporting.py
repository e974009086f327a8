"""The ONNX graph of a model: the same frames, any number of them, and what is said where it cannot be made."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from animask import fusion
from animask.config import MODEL_PRESETS
from animask.errors import InputError, MissingError
from animask.fusion import export_onnx
from animask.model import Animator
from animask.weights import load_model, save_model

TINY = MODEL_PRESETS["tiny"]
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    """The weights of a tiny model with flow."""
    path, model = tmp_path_factory.mktemp("moving") / "moving.safetensors", Animator(replace(TINY, flow=True))
    torch.nn.init.normal_(model.l.head.weight[3:], std=0.01, generator=torch.Generator().manual_seed(0))
    save_model(model, path, {"licence": "MIT"})
    return path


@pytest.fixture(scope="module")
def session(moving, tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "tiny.onnx"
    export_onnx(str(moving), path)
    assert [item.name for item in path.parent.iterdir()] == ["tiny.onnx"]
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("count", [1, 2, 5])
def test_onnx_runtime_gives_the_same_frames(moving, session, count):
    model, rng = load_model(moving), np.random.default_rng(count)
    source, driver = (rng.random((n, 3, 64, 64), dtype=np.float32) for n in (1, count))
    (frames,) = session.run(["frames"], {"source": source, "driver": driver})
    with torch.inference_mode():
        s, d = torch.from_numpy(source), torch.from_numpy(driver)
        truth = model.drive(s, model.m(s), d).f.numpy()
    assert frames.shape == (count, 3, 64, 64)
    assert np.abs(frames - truth).max() < 1e-4
    assert np.ptp(truth) > 0.01
    assert session.get_modelmeta().custom_metadata_map["licence"] == "MIT"


def test_what_is_there_stays(tiny_weights, tmp_path):
    (tmp_path / "there.onnx").write_bytes(b"precious")
    with pytest.raises(InputError, match="exists"):
        export_onnx(str(tiny_weights), tmp_path / "there.onnx")
    with pytest.raises(InputError, match="onnx"):
        export_onnx(str(tiny_weights), tmp_path / "model.bin")
    with pytest.raises(InputError, match="nowhere"):
        export_onnx(str(tiny_weights), tmp_path / "nowhere" / "model.onnx")
    assert (tmp_path / "there.onnx").read_bytes() == b"precious"


def test_a_missing_package_is_named(tiny_weights, tmp_path, monkeypatch):
    monkeypatch.setattr(fusion, "NEEDED", ("onnx", "no_such_package"))
    with pytest.raises(MissingError, match="no_such_package") as caught:
        export_onnx(str(tiny_weights), tmp_path / "model.onnx")
    assert ".[onnx]" in caught.value.hint
