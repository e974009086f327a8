"""Two at once: neither spoils what the other makes, and what cannot be shared says who holds it."""

import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import safe_children as children
from conftest import FRAMES
from hub_server import Hub, Repository, environment

from animask.cli import main
from animask.errors import InputError
from animask.partials import put_in_place
from animask.training.checkpoints import hold
from animask.video import VideoWriter, probe

SIZE = (32, 32)


def write(path: Path, grey: int, count: int, others: "Iterator[None]", overwrite: bool = False) -> None:
    """A video of `count` grey frames; `others` is advanced before each, so that two writers take turns."""
    with VideoWriter(path, Fraction(25), SIZE, overwrite=overwrite, signature=str(grey)) as writer:
        for _ in range(count):
            next(others, None)
            writer.write(np.full((SIZE[1], SIZE[0], 3), grey, np.uint8))


@pytest.mark.parametrize("name", ["out.mp4", "out.gif", "frames"])
def test_the_second_to_end_does_not_replace_the_first(name: str, tmp_path: Path) -> None:
    path = tmp_path / name

    def first() -> Iterator[None]:
        yield  # the other one, from beginning to end, between the frames of this one
        write(path, 200, 3, iter(()))
        yield

    with pytest.raises(InputError, match="exists already: it was made while this ran"):
        write(path, 50, 6, first())
    assert probe(path).frames == 3
    assert [item.name for item in tmp_path.iterdir() if not item.name.startswith(".")] == [name]
    write(path, 50, 6, iter(()), overwrite=True)
    assert probe(path).frames == 6


def test_of_two_that_end_at_the_same_time_one_wins(tmp_path: Path) -> None:
    """No moment between looking and renaming, in which both see that nothing is there."""
    path, won = tmp_path / "out", []
    barrier = threading.Barrier(8)

    def attempt(number: int) -> None:
        partial = tmp_path / f"partial-{number}"
        partial.write_text(str(number))
        barrier.wait()
        try:
            put_in_place(partial, path, overwrite=False)
            won.append(number)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_text()] == [str(number) for number in won]


def test_a_disk_without_links_keeps_what_is_there_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    for name in ("first", "second"):
        (tmp_path / name).write_text(name)
    put_in_place(tmp_path / "first", tmp_path / "out", overwrite=False)
    with pytest.raises(FileExistsError):
        put_in_place(tmp_path / "second", tmp_path / "out", overwrite=False)
    assert (tmp_path / "out").read_text() == "first"


def test_two_animate_into_one_folder(tiny_weights: Path, picture: Path, driver: Path, tmp_path: Path) -> None:
    """Of each output of the same name, one of the two commands makes it, and the other says that it is there."""
    other = tmp_path / "other.png"
    other.write_bytes(picture.read_bytes())
    out = tmp_path / "results"
    inputs = [str(other), str(picture), str(driver)]
    flags = ["-o", str(out), "--weights", str(tiny_weights), "--device", "cpu", "--precision", "fp32"]
    flags += ["--source-crop", "centre", "--driver-crop", "centre"]
    told = [tmp_path / "one", tmp_path / "two"]
    both = [children.begin(["animate", *inputs, *flags], path) for path in told]
    ended = [children.end(process, path) for process, path in zip(both, told, strict=True)]
    assert sorted(path.name for path in out.iterdir()) == ["face.mp4", "other.mp4"]
    assert all(probe(path).frames == FRAMES for path in out.iterdir())
    made = sum(done.out.count("\n") for done in ended)
    refused = sum(line.startswith("failed: ") for done in ended for line in done.err.splitlines())
    assert (made, refused) == (2, 2), ended
    assert all((done.code == 1) == ("failed: " in done.err) for done in ended)
    assert all("Traceback" not in done.err for done in ended)


def test_two_pulls_of_one_file(tiny_weights: Path, tmp_path: Path) -> None:
    with Hub() as server:
        server.repositories["o/r"] = Repository({"model.safetensors": tiny_weights.read_bytes()})
        threading.Thread(target=server.serve_forever, daemon=True).start()
        where = environment(tmp_path / "home", server.url)
        told = [tmp_path / "one", tmp_path / "two"]
        both = [children.begin(["weights", "pull", "hf://o/r", "-q"], path, where) for path in told]
        ended = [children.end(process, path) for process, path in zip(both, told, strict=True)]
        server.shutdown()
    assert [(done.code, done.err) for done in ended] == [(0, ""), (0, "")]
    (path,) = {done.out.strip() for done in ended}
    assert Path(path).read_bytes() == tiny_weights.read_bytes()
    assert not list(tmp_path.rglob("*.incomplete"))


def test_the_second_train_is_refused_and_says_who_holds_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    process = children.context.Process(target=own, args=(run, tmp_path / "ready"))
    process.start()
    children.wait_until((tmp_path / "ready").exists)
    try:
        with pytest.raises(SystemExit) as caught:
            main(["train", "--dataset", "toons", "--preset", "tiny", "--device", "cpu", "--out", str(run)])
    finally:
        process.kill()
        process.join()
    err = capsys.readouterr().err
    assert caught.value.code == 2
    assert f"{run} is being trained by process {process.pid} on " in err and err.count("\n") == 1
    assert [path.name for path in run.iterdir()] == [".lock"]
    with hold(run):  # the death of the first one frees it
        pass


def own(run: Path, ready: Path) -> None:
    """Hold a run folder until killed."""
    with hold(run):
        ready.touch()
        threading.Event().wait(children.PATIENCE)


def test_a_folder_that_cannot_be_held_has_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    for run in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/run")):
        with pytest.raises(SystemExit) as caught:
            main(["train", "--dataset", "toons", "--preset", "tiny", "--device", "cpu", "--out", str(run)])
        err = capsys.readouterr().err
        assert caught.value.code in (1, 2)
        assert err.startswith("animask: ") and str(run) in err and err.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"
