"""`animask info`: one report, with and without weights."""

import json
import sys

from animask import weights


def test_info_is_one_json_object(monkeypatch, run):
    monkeypatch.setenv("HF_ENDPOINT", "http://me:secret@mirror.example/")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    _, out, _ = run("info --json")
    report = json.loads(out)
    assert report["version"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"animask", "torch", "numpy", "huggingface-hub"} <= report["version"].keys()
    assert report["compute"]["device"].keys() == report["compute"]["precision"].keys() == {"name", "reason"}
    assert report["setting"]["HF_ENDPOINT"] == "http://mirror.example/"
    assert "secret" not in out
    about = report["weights"][weights.DEFAULT]
    assert about["state"].startswith("whole")
    assert about["sha256"] == weights.find_weights().digest
    assert about["licence"] and len(about["limits"]) > 20, "what they do badly"


def test_info_works_without_weights(tmp_path, monkeypatch, run):
    monkeypatch.setattr(weights, "bundled_folder", lambda: tmp_path / "nowhere")
    code, out, _ = run("info")
    assert (code, str(tmp_path / "nowhere" / f"{weights.DEFAULT}.safetensors") in out) == (0, True)


def test_info_shows_weights_that_are_named_as_text(tiny_model, tmp_path, run):
    path = tmp_path / "x.safetensors"
    weights.save_model(tiny_model, path, {"licence": "\x1b]0;MIT\x07"})
    _, out, _ = run("info", path)
    assert weights.sha256(path) in out
    assert "\\x1b]0;MIT\\x07" in out and "\x1b" not in out
