"""Every command and example of the README, and of every --help, runs as written on small inputs."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import typer

from animask import datasets
from animask.cli import app
from animask.datasets import toon_pool
from animask.video import probe

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = [line for kind, block in BLOCKS if kind == "bash" for line in block.splitlines()]
ANIMASK = [line for line in COMMANDS if line.startswith("animask ")]
HELP = {
    name: re.findall(r"^animask .*", command.help or "", re.MULTILINE)
    for name, command in typer.main.get_command(app).commands.items()  # type: ignore[attr-defined]
}
ELSEWHERE = ("animask export", "animask info owner/name")  # need what test_exporting and test_weights have
EXAMPLES = [line for lines in HELP.values() for line in lines if not line.startswith(ELSEWHERE) and line not in ANIMASK]
# Training as written takes minutes to days: the same command, cut short.
SHORT = ["--steps", "2", "--preset", "tiny", "--resolution", "64", "--batch", "2", "--workers", "0"]
RESULTS = ("-o", "--out", "--preview", "--report", "--list", "--study")
SHORTER = {
    "train": [*SHORT, "--perceptual", "lpips", "--ranks", "1"],
    "eval": ["--limit", "1"],
    "bench": ["--preset", "tiny", "--seconds", "0.1"],
    "prepare": ["--resolution", "64", "--min-size", "64", "--min-seconds", "0.2"],
}
# The same for the examples in Python: text in them, and what stands there while they are tested.
SHORTER_CODE = {"steps=2000, batch=8": "steps=2, batch=2, workers=0", "limit=20": "limit=1, frames=2"}


@pytest.fixture
def folder(tmp_path, picture, driver, surroundings, cache, monkeypatch):
    """A folder with the files that the README and the examples name, small."""
    for name in ("face.png", "a.jpg", "b.jpg"):
        shutil.copy(picture, tmp_path / name)
    videos = ("driver.mp4", "videos/someone.mp4", "holiday.mp4", "interviews/one.mp4", "horses/one.mp4")
    for name in (*videos, "vox/train/id1#video#0#12.mp4", "vox/test/id2#video#0#12.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(driver, tmp_path / name)
    shutil.copytree(ROOT / "assets", tmp_path / "assets")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "toon_pool", lambda first, count, *rest: toon_pool(first, min(count, 4), *rest))
    return tmp_path


def let_others_work(folder: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    """What another program made, here copies of the drivers, and what people answered."""
    assert run("eval --dataset vox --data vox --list todo")[0] == 0
    shutil.copytree(folder / "todo" / "drivers", folder / "made" / "fomm")
    for name in ("anna", "bert"):
        answers = [{"video": "x", "realistic": "FOMM", "faithful": "raw m(d)"}]
        (folder / f"{name}.json").write_text(json.dumps({"columns": ["raw m(d)", "FOMM"], "answers": answers}))


@pytest.mark.parametrize("command", HELP)
def test_every_help_has_two_examples(command: str) -> None:
    assert sum(line.startswith(f"animask {command} ") for line in [f"{line} " for line in HELP[command]]) >= 2


@pytest.mark.parametrize("line", [*ANIMASK, *EXAMPLES])
def test_command(line, folder, run):
    arguments = [word.replace("/data/", "") for word in shlex.split(line)[1:]]
    if "mydata" in arguments and arguments[0] == "train":
        shutil.copytree(folder / "videos", folder / "mydata")  # as if prepared
    if "made/fomm" in line or "--answers" in arguments:
        let_others_work(folder, run)
    code, _, err = run("", *arguments, *SHORTER.get(arguments[0], []))
    assert code == 0, err
    results = [folder / after for flag, after in pairwise(arguments) if flag in RESULTS]
    if "--preview" in arguments:
        results = results[1:]  # nothing but the preview is made
    assert [path.name for path in results if not path.exists()] == []
    if arguments[0] == "animate" and results and results[0].suffix == ".mp4" and "--preview" not in arguments:
        assert probe(results[0]).frames == probe(folder / "driver.mp4").frames


def test_the_set_up_commands_are_the_two_that_ci_and_newcomers_run() -> None:
    set_up = [line for line in COMMANDS if line not in ANIMASK]
    assert [line.rsplit(" ", 1)[0].split(" ")[0] for line in set_up] == ["python3", "python3"]
    assert "animask animate assets/face.png assets/driver.mp4 -o out.mp4" in set_up[0]
    assert "pip install -e '.[test]'" in set_up[1]
    assert probe(ROOT / "assets" / "driver.mp4").has_audio, "with the driver's sound"


@pytest.mark.parametrize("block", [block for kind, block in BLOCKS if kind == "python"])
def test_python_example(block: str, folder: Path) -> None:
    for text, short in SHORTER_CODE.items():
        assert text in README
        block = block.replace(text, short)
    exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize(
    ("words", "expected"),
    [("animask inf", ["info"]), ("animask animate --layout ", ["result", "compare", "strip"])],
)
def test_shells_complete_commands_and_values(words: str, expected: list[str]) -> None:
    assert "`animask --install-completion`" in README
    asked = {"_ANIMASK_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    command = [sys.executable, "-c", "import sys; sys.argv = ['animask']; from animask.cli import main; main()"]
    run = subprocess.run(command, env=os.environ | asked, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.stdout.split() == expected


def test_links_and_pictures_are_there() -> None:
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", README) if "://" not in target]
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
