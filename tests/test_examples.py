"""The worked examples in every --help: two at least; all are understood as they stand, and what needs no Hub runs."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperCommand, TyperGroup

from animask.cli import app, main, spread_lists
from animask.weights import DEFAULT

TRAIN = ["--steps", "1", "--preset", "tiny", "--resolution", "64", "--batch", "2", "--workers", "0"]
SHORTER = {
    "train": [*TRAIN, "--perceptual", "lpips", "--device", "cpu", "--ranks", "1"],
    "eval": ["--limit", "1", "--frames", "2"],
    "prepare": ["--resolution", "64", "--min-size", "64", "--min-seconds", "0.2"],
    "bench": ["--seconds", "0.1"],
}
ELSEWHERE = ("bench", "export")  # test_benchmark and test_exporting run them


def walk(command: TyperCommand | TyperGroup, name: str) -> Iterator[tuple[str, TyperCommand]]:
    """All commands below one, by their whole name."""
    if not isinstance(command, TyperGroup):
        yield name, command
        return
    for part, inner in command.commands.items():
        yield from walk(inner, f"{name} {part}")


COMMANDS = dict(walk(typer.main.get_command(app), "animask"))
EXAMPLES = [
    (name, line)
    for name, command in COMMANDS.items()
    for line in re.findall(r"^animask .*", command.help or "", re.MULTILINE)
]
README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")  # whose commands test_readme runs
RUN = [line for name, line in EXAMPLES if not set(name.split()) & set(ELSEWHERE) and f"\n{line}\n" not in README]


@pytest.fixture
def folder(tmp_path: Path, picture: Path, driver: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the examples name, small."""
    for name in ("face.png", "a.jpg", "b.jpg"):
        shutil.copy(picture, tmp_path / name)
    for name in ("driver.mp4", "holiday.mp4", "interviews/one.mp4", "horses/one.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(driver, tmp_path / name)
    for split in ("train", "test"):
        (tmp_path / "data" / "vox" / split).mkdir(parents=True)
        shutil.copy(driver, tmp_path / "data" / "vox" / split / f"id{split}#video#0#12.mp4")
    for name in ("vox", "first", "bair"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        shutil.copy(tiny_weights, tmp_path / "runs" / name / "weights.safetensors")
    monkeypatch.chdir(tmp_path)
    for name, value in (("WEIGHTS", tiny_weights), ("DEVICE", "cpu"), ("CACHE", tmp_path / "cache")):
        monkeypatch.setenv(f"ANIMASK_{name}", str(value))
    monkeypatch.setattr("animask.progress.CASES", 5)
    monkeypatch.setattr("animask.trainer.SETTLING", 2)
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
def test_there_are_two_at_least(name: str) -> None:
    assert sum(command == name for command, _ in EXAMPLES) >= 2


@pytest.mark.parametrize(("name", "line"), EXAMPLES, ids=[line for _, line in EXAMPLES])
def test_every_example_is_understood(name: str, line: str) -> None:
    words = shlex.split(line)
    assert words[: len(name.split())] == name.split()
    rest = spread_lists(words[1:])[len(name.split()) - 1 :]
    with COMMANDS[name].make_context(name, rest) as context:
        assert context.args == []


@pytest.mark.parametrize("line", RUN)
def test_an_example_runs(line: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [word.replace("/data/", "data/") for word in shlex.split(line)[1:]]
    arguments = [DEFAULT if word == "owner/name" else word for word in arguments]
    if arguments[0] == "train":
        shutil.rmtree(folder / "runs")
    with pytest.raises(SystemExit) as caught:
        main([*arguments, *SHORTER.get(arguments[0], [])])
    captured = capsys.readouterr()
    assert caught.value.code in (0, None), captured.err
    assert captured.out or arguments[0] in ("eval",), "what was made is named on stdout"
