"""The ONNX graph of a model: the same frames, any number of them, and what is said where it cannot be made."""

import numpy as np
import pytest
import torch

from animask import exporting
from animask.cli import main
from animask.config import MODEL_PRESETS
from animask.errors import InputError, MissingError
from animask.exporting import export_onnx
from animask.model import Animator
from animask.weights import save_model

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_model(Animator(MODEL_PRESETS["tiny"]).eval(), path, {"licence": "none", "dataset": "nothing"})
    return path


@pytest.fixture(scope="module")
def session(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "tiny.onnx"
    export_onnx(str(weights), path)
    assert [item.name for item in path.parent.iterdir()] == ["tiny.onnx"]
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("count", [1, 2, 5])
def test_onnx_runtime_gives_the_same_frames(weights, session, count):
    from animask.weights import load_model

    model, rng = load_model(weights), np.random.default_rng(count)
    source, driver = (rng.random((n, 3, 64, 64), dtype=np.float32) for n in (1, count))
    (frames,) = session.run(["frames"], {"source": source, "driver": driver})
    with torch.inference_mode():
        s, d = torch.from_numpy(source), torch.from_numpy(driver)
        truth = model.drive(s, model.m(s), d).f.numpy()
    assert frames.shape == (count, 3, 64, 64)
    assert np.abs(frames - truth).max() < 1e-4
    assert np.ptp(truth) > 0.01


def test_the_graph_keeps_the_metadata(session):
    assert session.get_modelmeta().custom_metadata_map["dataset"] == "nothing"


def test_what_is_there_stays(weights, tmp_path):
    (tmp_path / "there.onnx").write_bytes(b"precious")
    with pytest.raises(InputError, match="exists already"):
        export_onnx(str(weights), tmp_path / "there.onnx")
    with pytest.raises(InputError, match=r"does not end in \.onnx"):
        export_onnx(str(weights), tmp_path / "model.bin")
    with pytest.raises(InputError, match="no folder"):
        export_onnx(str(weights), tmp_path / "nowhere" / "model.onnx")
    assert (tmp_path / "there.onnx").read_bytes() == b"precious"


def test_a_missing_package_is_named(weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(exporting, "NEEDED", ("onnx", "no_such_package"))
    with pytest.raises(MissingError, match="no_such_package cannot be imported"):
        export_onnx(str(weights), tmp_path / "model.onnx")
    with pytest.raises(SystemExit) as ended:
        main(["export", str(tmp_path / "model.onnx"), "--weights", str(weights)])
    assert ended.value.code == 3
    assert "animask[onnx]" in capsys.readouterr().err
