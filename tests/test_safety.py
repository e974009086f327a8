"""Whatever comes in and whenever it ends: a documented exit code, one sentence, and nothing that is half made."""

import os
import shutil
import signal
import time
import tomllib
from pathlib import Path

import pytest
from conftest import ffmpeg, full_disk
from training_cases import finish, heard, start

from animask.cli import main

ROOT = Path(__file__).parent.parent
FAST = ["-q", "--device", "cpu", "--precision", "fp32", "--source-crop", "centre", "--driver-crop", "centre"]


@pytest.fixture
def place(tmp_path, picture, driver, tiny_weights, monkeypatch):
    """A folder with a good file for each role, and the empty folder `out`."""
    place = tmp_path / "place"
    (place / "out").mkdir(parents=True)
    for role, good in (("source.png", picture), ("driver.mp4", driver), ("weights.safetensors", tiny_weights)):
        shutil.copy(good, place / role)
    (place / "recipe.toml").write_text('preset = "tiny"\ndataset = "toons"\n')
    (place / "pairs.csv").write_text("source,driver\nsource.png,driver.mp4\n")
    monkeypatch.chdir(place)
    return place


ROLES = {"source": "source.png", "driver": "driver.mp4", "weights": "weights.safetensors"}
ROLES |= {"recipe": "recipe.toml", "pairs": "pairs.csv"}


def command(role: str, path: Path, out: Path) -> list[str]:
    """The arguments of a command that reads a file in a role and writes to the folder `out`."""
    given = {name: Path(good) for name, good in ROLES.items()} | {role: path}
    animate = ["animate", *FAST, f"--weights={given['weights']}"]
    if role == "recipe":
        return ["train", "--config", str(path), "--out", str(out / "run"), "--device", "cpu"]
    if role == "pairs":
        return [*animate, "--pairs", str(path), "-o", str(out)]
    return [*animate, "-o", str(out / "result.mp4"), "--", str(given["source"]), str(given["driver"])]


def damage(path: Path, kind: str) -> None:
    """Make a good file a bad one."""
    data = path.read_bytes()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes({"empty": b"", "noise": os.urandom(3000), "cut": data[: len(data) // 9]}[kind])


@pytest.mark.parametrize("kind", ["empty", "noise", "cut", "folder", "missing"])
@pytest.mark.parametrize("role", ROLES)
def test_bad_inputs_end_with_a_sentence(role, kind, place, run):
    damage(place / ROLES[role], kind)
    before = sorted(place.rglob("*"))
    code, out, err = run(*command(role, Path(ROLES[role]), place / "out"))
    assert code == (3 if (role, kind) == ("weights", "missing") else 2), err
    assert out == "" and err.count("\n") == 1 and err.startswith("animask: "), err
    assert ROLES[role] in err or (role, kind) == ("recipe", "empty")  # which names no data set
    left = [path for path in place.rglob("*") if path.is_file() and path not in before]
    assert [path.name for path in left if path.name != ".lock"] == []


@pytest.mark.parametrize("name", ["-o", "one\ntwo", "\x1b[31mred\u202egpj", "顔😀 'q\" |", "%03d", "http:x", "é" * 120])
def test_any_name_will_do(name, place, run):
    source = (place / "source.png").rename(place / f"{name}.png")
    driver = (place / "driver.mp4").rename(place / f"{name}.mp4")
    weights = (place / "weights.safetensors").rename(place / f"{name}.safetensors")
    out = place / "out" / f"{name}.mp4"
    flags = [*FAST, f"--weights={weights}", "--end", "0.1", "-o", str(out)]
    code, _, err = run("animate", *flags, "--", source.name, driver.name)
    assert (code, list((place / "out").iterdir())) == (0, [out]), err
    code, _, err = run("animate", *flags, "--", f"{name}.none", driver.name)
    assert code == 2 and err[:-1].isprintable() and err.count("\n") == 1


def test_inputs_stay_and_no_program_is_needed(place, run, monkeypatch):
    """Nothing is written beside the inputs or over what is there, and no ffmpeg needs to be installed."""
    monkeypatch.setenv("PATH", str(place))
    arguments = command("source", Path("source.png"), place / "out")
    before = {path: path.read_bytes() for path in place.iterdir() if path.is_file()}
    assert run(*arguments)[0] == 0
    made = (place / "out" / "result.mp4").read_bytes()
    code, _, err = run(*arguments)
    assert code == 2 and "exists" in err and (place / "out" / "result.mp4").read_bytes() == made
    assert {path: path.read_bytes() for path in place.iterdir() if path.is_file()} == before


def test_few_dependencies_are_needed():
    """Containers and servers have no libGL: OpenCV is the headless one, which has no windows."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert len(dependencies) <= 10 and all(">=" in item and "==" not in item for item in dependencies)
    assert [item for item in dependencies if item.startswith("opencv")] == ["opencv-python-headless>=4.14,<5"]


OVERWRITE = ["animate", *FAST, "--weights=weights.safetensors", "--overwrite", "source.png", "driver.mp4", "-o"]


@pytest.mark.parametrize(("name", "number", "code"), [("old.mp4", signal.SIGINT, 130), ("frames", signal.SIGTERM, 143)])
def test_animate_interrupted_leaves_what_was_there(name, number, code, place, tmp_path):
    source = ["-f", "lavfi", "-i", "testsrc2=s=320x240:r=30:d=30", "-pix_fmt", "yuv420p", "-preset", "ultrafast"]
    ffmpeg(*source, "driver.mp4")
    out, said = place / "out", tmp_path / "said"
    (out / "old.mp4").write_bytes(b"mine")
    process = start(main, [*OVERWRITE, str(out / name)], output=said)
    while not any(item.name[0] == "." for item in out.iterdir()):
        assert process.is_alive(), heard(said)
        time.sleep(0.01)
    os.kill(process.pid or 0, number)
    assert finish(process) == code
    assert heard(said, "stdout") == "" and "Traceback" not in heard(said)
    assert [item.name for item in out.iterdir() if item.name[0] != "."] == ["old.mp4"]
    assert (out / "old.mp4").read_bytes() == b"mine"
    if name == "old.mp4":  # a folder of frames may stay, for the next run to go on
        assert len(list(out.iterdir())) == 1


@pytest.mark.parametrize("name", ["old.mp4", "new.webm", "new.gif", "frames"])
def test_a_full_disk_leaves_what_was_there(name, place, run):
    out = place / "out"
    (out / "old.mp4").write_bytes(b"mine")
    with full_disk():
        code, said, err = run(*OVERWRITE, out / name)
    assert (code, said) == (1, "") and "Traceback" not in err, err
    assert [item.name for item in out.iterdir() if item.is_file()] == ["old.mp4"]
    assert (out / "old.mp4").read_bytes() == b"mine"
