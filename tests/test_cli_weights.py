"""`animask weights`: what it prints, where, and how it exits; through HF_HOME, HF_ENDPOINT and HF_HUB_OFFLINE."""

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hub_server import COMMIT, NOWHERE, Hub, Repository, environment, point_to
from typer.testing import CliRunner

from animask import cards, weights
from animask.cli.weights import app
from animask.errors import AnimaskError, InputError, MissingError

runner = CliRunner()
# What `animask.cli.main` does with errors, for the sub-commands alone.
CODE = """
import sys
from animask.cli.screen import show_error
from animask.cli.weights import app
from animask.errors import AnimaskError
try:
    app()
except AnimaskError as error:
    show_error(error)
    sys.exit(error.exit_code)
"""


class Outcome(NamedTuple):
    """Exit code, stdout and stderr of a process."""

    code: int
    out: str
    err: str


def run(arguments: list[str], env: dict[str, str]) -> Outcome:
    """`animask weights ...` in a process of its own."""
    command = [sys.executable, "-c", CODE, *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def server(tiny_weights: Path) -> Iterator[Hub]:
    """A Hub with the tiny model as o/r."""
    with Hub() as found:
        threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        found.repositories["o/r"] = Repository({"model.safetensors": tiny_weights.read_bytes()})
        yield found
        found.shutdown()


@pytest.fixture
def bundled(tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of bundled weights, `portrait` and `toons`, and an empty cache of the Hub."""
    folder = tmp_path / "weights"
    folder.mkdir()
    content = tiny_weights.read_bytes()
    for name in ("portrait", "toons"):
        (folder / f"{name}.safetensors").write_bytes(content)
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}.safetensors" for name in ("portrait", "toons")]
    (folder / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    (folder / "MODEL_CARD.md").write_text("# Bundled weights\n")
    for module in (weights, cards):
        monkeypatch.setattr(module, "BUNDLED", ("portrait", "toons"))
        monkeypatch.setattr(module, "bundled_folder", lambda: folder)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return folder


def test_the_way_of_weights_through_the_hub(server: Hub, tiny_weights: Path, tmp_path: Path) -> None:
    """Missing, pulled, pulled again without a network, and with the Hub switched off."""
    online = environment(tmp_path, server.url)
    cut_off = environment(tmp_path, NOWHERE)
    offline = {**online, "HF_HUB_OFFLINE": "1"}
    place = tmp_path / "hub/models--o--r/snapshots"

    missing = run(["pull", "hf://o/r"], offline)
    assert (missing.code, missing.out) == (3, "")
    assert "hf://o/r needs the Hub, and HF_HUB_OFFLINE is set" in missing.err
    assert f"it was looked for at {place}/main/model.safetensors" in missing.err
    assert len(missing.err.splitlines()) == 1
    assert server.log == []

    pulled = run(["pull", "hf://o/r"], online)
    assert (pulled.code, pulled.out) == (0, f"{place}/{COMMIT}/model.safetensors\n")
    assert hashlib.sha256(tiny_weights.read_bytes()).hexdigest() in pulled.err

    again = run(["pull", "hf://o/r", "--json", "-q"], offline)
    report = json.loads(again.out)
    assert (again.code, report["commit"], report["path"]) == (0, COMMIT, pulled.out.strip())
    assert "warning: hf://o/r needs the Hub, and HF_HUB_OFFLINE is set" in again.err

    asked = len(server.log)
    path = run(["path", "hf://o/r"], cut_off)
    assert (path.code, path.out, path.err) == (0, pulled.out, "")
    assert len(server.log) == asked


def test_without_a_network_there_is_one_line(tmp_path: Path) -> None:
    done = run(["pull", "yunet"], environment(tmp_path, NOWHERE))
    assert (done.code, done.out) == (3, "")
    assert "the connection to http://127.0.0.1:9 for hf://opencv/face_detection_yunet" in done.err
    assert len(done.err.splitlines()) == 1


def test_push_prints_the_name_to_pull_by(
    server: Hub, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_to(server.url, tmp_path, monkeypatch)
    result = runner.invoke(app, ["push", str(tiny_weights), "me/heads"])
    assert (result.exit_code, result.stdout) == (0, f"hf://me/heads@{COMMIT}\n")
    assert result.stderr == f"published: {server.url}/me/heads\n"
    assert server.repositories["me/heads"].files["model.safetensors"] == tiny_weights.read_bytes()


def test_list_shows_state_size_and_licence(bundled: Path) -> None:
    lines = runner.invoke(app, ["list"]).stdout.splitlines()
    assert [line.split() for line in lines] == [[name, "0.1", "MB", "verified", "MIT"] for name in weights.BUNDLED]
    (bundled / "toons.safetensors").unlink()
    found = json.loads(runner.invoke(app, ["list", "--json"]).stdout)
    assert [(item["name"], item["state"]) for item in found] == [("portrait", "verified"), ("toons", "missing")]


def test_info_shows_everything(bundled: Path) -> None:
    result = runner.invoke(app, ["info", "portrait"])
    assert result.exit_code == 0
    for words in ("(verified)", "licence:", "MIT", "config.width:", "portrait.safetensors", "# Bundled weights"):
        assert words in result.stdout
    found = json.loads(runner.invoke(app, ["info", "portrait", "--json"]).stdout)
    assert (found["state"], found["config"]["preset"], found["licence"]) == ("verified", "tiny", "MIT")


def test_path_prints_a_path_alone(bundled: Path, tiny_weights: Path) -> None:
    assert runner.invoke(app, ["path", "toons"]).stdout == f"{bundled / 'toons.safetensors'}\n"
    assert runner.invoke(app, ["path", str(tiny_weights)]).stdout == f"{tiny_weights}\n"
    result = runner.invoke(app, ["path", "vgg19"])
    assert isinstance(result.exception, MissingError)
    assert "animask weights pull vgg19" in result.exception.hint


def test_verify_names_what_is_wrong(bundled: Path, tiny_weights: Path) -> None:
    result = runner.invoke(app, ["verify"])
    assert (result.exit_code, [line.split()[:2] for line in result.stdout.splitlines()]) == (
        0,
        [["portrait:", "verified"], ["toons:", "verified"]],
    )
    path = bundled / "toons.safetensors"
    path.write_bytes(path.read_bytes()[:-2] + b"xx")
    result = runner.invoke(app, ["verify"])
    assert type(result.exception) is AnimaskError
    assert result.exception.message == "1 of 2 weights damaged: toons"
    assert "toons: damaged its SHA-256 is not the stated one" in result.stdout
    result = runner.invoke(app, ["verify", str(tiny_weights), "--json"])
    assert [item["state"] for item in json.loads(result.stdout)] == ["no hash stated"]
    result = runner.invoke(app, ["verify", "absent.safetensors", "portrait"])
    assert isinstance(result.exception, MissingError)


@pytest.mark.parametrize("arguments", [["pull", "nothing"], ["pull", "hf://o/../r"], ["push", "x.safetensors", "me"]])
def test_wrong_arguments_get_a_sentence(arguments: list[str]) -> None:
    assert isinstance(runner.invoke(app, arguments).exception, InputError | MissingError)


def test_every_command_shows_two_examples() -> None:
    for command in app.registered_commands:
        name = command.name or command.callback.__name__  # type: ignore[union-attr]
        result = runner.invoke(app, [name, "--help"], env={"COLUMNS": "200"})
        assert result.exit_code == 0, name
        assert result.stdout.count(f"animask weights {name}") >= 2, name
