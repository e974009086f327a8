"""Commands that are interrupted at any moment: what was there stays, nothing half-made is shown, and they can go on."""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import safe_children as children
from hub_server import Hub, Repository, environment
from safe_cases import SEED, ffmpeg
from safe_children import SIGNALS, Ended
from training_cases import assert_same, make_data

from animask.training.checkpoints import CHECKPOINT, is_readable
from animask.weights import WEIGHTS, read_tensors

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

QUICK = [(signal.SIGINT, 0.5), (signal.SIGTERM, 0.8), (signal.SIGKILL, 0.65)]  # shares of a whole run
MOMENTS = 50
PARTIAL = re.compile(r"\..*-[0-9a-f]{8}-\d+-\d+\.animask-partial(\.\w+)?")
CRUMBS = (".lock",)  # of a run folder, whatever becomes of the run


def many() -> list[tuple[int, float]]:
    """Signals and moments at random, some after the end."""
    chance = random.Random(SEED)
    return [(chance.choice(list(SIGNALS)), chance.uniform(0, 1.05)) for _ in range(MOMENTS)]


moments = pytest.mark.parametrize(
    "moments", [pytest.param(QUICK, id="three"), pytest.param(many(), id="fifty", marks=pytest.mark.slow)]
)


@dataclass
class Stage:
    """A folder in which a command runs again and again.

    arguments: the command, whose results lie in `results`. check: called with the results after every interruption.
    """

    folder: Path
    arguments: list[str]
    results: Path
    check: Callable[["Stage"], None]
    environment: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def told(self) -> Path:
        return self.folder / "told"

    def run(self, arguments: list[str] | None = None, largest: int = 0) -> Ended:
        return children.run(arguments or self.arguments, self.told, self.environment, largest)

    def finish(self) -> None:
        """A whole run, which must succeed."""
        started = time.monotonic()
        done = self.run()
        self.seconds = time.monotonic() - started
        assert done.code == 0, done

    def interrupt(self, number: int, share: float) -> Ended:
        """Run, and send a signal after this share of the time of a whole run."""
        process = children.begin(self.arguments, self.told, self.environment)
        process.join(share * self.seconds)
        if process.is_alive():
            os.kill(process.pid or 0, number)
        done = children.end(process, self.told)
        assert done.code in (0, SIGNALS[signal.Signals(number)]), (number, done)
        assert "Traceback" not in done.err and "Exception ignored" not in done.err, done
        children.wait_until(lambda: not children.ffmpegs(str(self.folder)), 20)
        self.check(self)
        return done


def content(folder: Path) -> dict[str, str]:
    """What lies below a folder, hidden files too: names and hashes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in CRUMBS)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def visible(found: dict[str, str]) -> dict[str, str]:
    """Without what lies in or under hidden names; those must be ones that a later run recognises."""
    hidden = {name for name in found if any(part.startswith(".") for part in Path(name).parts)}
    for name in hidden:
        assert any(PARTIAL.fullmatch(part) for part in Path(name).parts), name
    return {name: value for name, value in found.items() if name not in hidden}


# animate


@pytest.fixture
def inputs(picture: Path, tiny_weights: Path, tmp_path: Path) -> Path:
    """A folder with face.png, driver.mp4 of a second and weights."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    shutil.copy(picture, folder / "face.png")
    shutil.copy(tiny_weights, folder / "weights.safetensors")
    source = ["-f", "lavfi", "-i", "testsrc2=s=320x240:r=30:d=2", "-f", "lavfi", "-i", "sine=d=2"]
    ffmpeg(*source, "-c:v", "libx264", "-pix_fmt", "yuv420p", folder / "driver.mp4")
    return folder


def stage_animate(inputs: Path, name: str, check: Callable[[Stage], None], *flags: str) -> Stage:
    results = inputs.parent / "results"
    results.mkdir()
    pair = [str(inputs / "face.png"), str(inputs / "driver.mp4")]
    weights = ["--weights", str(inputs / "weights.safetensors"), "--device", "cpu", "--precision", "fp32"]
    arguments = ["animate", *pair, "-o", str(results / name), *weights, "-q", *flags]
    return Stage(inputs.parent, arguments, results, check)


@moments
@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_animate_leaves_what_was_there_or_the_whole(suffix: str, moments: list, inputs: Path) -> None:
    name = f"out{suffix}"

    def check(stage: Stage) -> None:
        assert visible(content(stage.results)) in (old, whole)
        assert content(inputs) == given

    stage = stage_animate(inputs, name, check, "--overwrite")
    given = content(inputs)
    stage.finish()
    whole = content(stage.results)
    assert list(whole) == [name]
    (stage.results / name).write_bytes(b"mine")
    old = content(stage.results)
    kept: set[str] = set()
    for number, share in moments:
        done = stage.interrupt(number, share)
        if number != signal.SIGKILL:
            assert done.code == 0 or "interrupted" in done.err or done.err == "", done
            left = content(stage.results)
            assert {name: left[name] for name in left if name not in kept} in (old, whole), left
        kept = set(content(stage.results))  # what a kill leaves stays while those that follow end before they clean
        kept.discard(name)
    stage.finish()
    assert content(stage.results) == whole, "and what a kill left is gone"


@moments
def test_animate_goes_on_with_a_folder_of_frames(moments: list, inputs: Path) -> None:
    def check(stage: Stage) -> None:
        shown = visible(content(stage.results))
        assert shown in ({}, whole)

    stage = stage_animate(inputs, "frames", check)
    stage.finish()
    whole = content(stage.results)
    assert len(whole) == 60
    for number, share in moments:
        if (stage.results / "frames").exists():
            shutil.rmtree(stage.results / "frames")
        stage.interrupt(number, share)
    if (stage.results / "frames").exists():
        shutil.rmtree(stage.results / "frames")
    stage.finish()
    assert visible(content(stage.results)) == whole, "the frames of several runs are those of one"


# prepare


@moments
def test_prepare_goes_on(moments: list, driver: Path, tmp_path: Path) -> None:
    raw, results = tmp_path / "raw", tmp_path / "results"
    raw.mkdir()
    for name in ("ann", "bob", "cat", "dan"):
        shutil.copy(driver, raw / f"{name}.mp4")

    def check(stage: Stage) -> None:
        clips = {name: value for name, value in visible(content(results)).items() if name.endswith(".mp4")}
        known = {Path(name).name: value for name, value in whole.items()}
        assert all(known[Path(name).name] == value for name, value in clips.items())
        assert content(raw) == given

    flags = ["--box", "pad", "--resolution", "32", "--min-size", "8", "--min-seconds", "0", "--workers", "2", "-q"]
    stage = Stage(tmp_path, ["prepare", str(raw), "-o", str(results), *flags], results, check)
    given = content(raw)
    stage.finish()
    whole = content(results)
    assert len([name for name in whole if name.endswith(".mp4")]) == 4
    for number, share in moments:
        if visible(content(results)) == whole:
            shutil.rmtree(results)
        stage.interrupt(number, share)
    stage.finish()
    assert content(results) == whole


# train

RECIPE = """preset = "tiny"
dataset = "vox"
[train]
data = {data}
batch = 2
steps = 4
perceptual = "pixels"
precision = "fp32"
workers = 0
log_every = 1
preview_every = 3
save_every = 1
"""


@pytest.fixture
def run(tmp_path: Path) -> Stage:
    """A short training, with its cache filled."""
    data = make_data(tmp_path / "data")
    (tmp_path / "recipe.toml").write_text(RECIPE.format(data=json.dumps(str(data))))

    def check(stage: Stage) -> None:
        for name in (CHECKPOINT, WEIGHTS):
            if (stage.results / name).exists():
                assert is_readable(stage.results / name) or name == WEIGHTS
                assert read_tensors(stage.results / name)

    arguments = ["train", "--config", str(tmp_path / "recipe.toml"), "--device", "cpu", "--out", str(tmp_path / "run")]
    told = {"ANIMASK_CACHE": str(tmp_path / "cache")}
    return Stage(tmp_path, arguments, tmp_path / "run", check, told)


@moments
def test_train_goes_on_bit_for_bit(moments: list, run: Stage) -> None:
    run.finish()
    whole = run.results.rename(run.folder / "whole")
    plain = run.arguments
    for number, share in moments:
        resume = (run.results / CHECKPOINT).exists()
        run.arguments = [*plain, *(["--resume"] if resume else [])]
        run.interrupt(number, share)
        if (run.results / WEIGHTS).exists() and (run.results / CHECKPOINT).exists():
            assert_finished_or_saved(run.results)
    run.arguments = [*plain, *(["--resume"] if (run.results / CHECKPOINT).exists() else [])]
    run.finish()
    assert_same(run.results / CHECKPOINT, whole / CHECKPOINT)
    assert not [name for name in content(run.results) if "partial" in name or "fresh" in name]


def assert_finished_or_saved(results: Path) -> None:
    """Every line of the log that is whole has a step; at most the last one is cut."""
    lines = (results / "log.jsonl").read_text().splitlines()
    for line in lines[:-1]:
        assert json.loads(line)["step"] > 0


# weights pull


@pytest.fixture
def server() -> Iterator[Hub]:
    with Hub() as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        yield hub
        hub.shutdown()


@moments
def test_pull_leaves_the_whole_file_or_none(moments: list, server: Hub, tiny_weights: Path, tmp_path: Path) -> None:
    model = tiny_weights.read_bytes()
    server.repositories["o/r"] = Repository({"model.safetensors": model, "README.md": b"a card"})
    results = tmp_path / "home"

    def check(stage: Stage) -> None:
        for path in results.rglob("*.safetensors"):
            assert path.read_bytes() == model

    arguments = ["weights", "pull", "hf://o/r", "--force", "-q"]
    stage = Stage(tmp_path, arguments, results, check, environment(results, server.url))
    stage.finish()
    for number, share in moments:
        stage.interrupt(number, share)
    for path in results.rglob("*.incomplete"):
        os.utime(path, (0, 0))
    stage.finish()
    check(stage)
    assert not list(results.rglob("*.incomplete"))


# real processes, at moments that belong to the interpreter as well


def terminal(arguments: list[str], seconds: float, number: int) -> subprocess.CompletedProcess[str]:
    """A command as it is started in a shell, and a signal after some time."""
    command = [sys.executable, "-m", "animask", *arguments]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        out, err = process.communicate(timeout=children.PATIENCE)
        return subprocess.CompletedProcess(command, process.returncode, out, err)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_whole_process_interrupted_while_it_starts(number: int, inputs: Path) -> None:
    stage = stage_animate(inputs, "out.mp4", lambda stage: None)
    allowed = (0, SIGNALS[signal.Signals(number)], -number)  # before the program runs, the system's own answer
    for tenths in range(1, 31, 3):
        done = terminal(stage.arguments, tenths / 10, number)
        assert done.returncode in allowed, (tenths, done)
        assert "Traceback" not in done.stderr, (tenths, done)
        (stage.results / "out.mp4").unlink(missing_ok=True)
        assert content(stage.results) == {}


# what cannot be written


@pytest.mark.parametrize("largest", [300, pytest.param(4000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.webm", "out.gif", "frames"])
def test_animate_on_a_full_disk(name: str, largest: int, inputs: Path) -> None:
    stage = stage_animate(inputs, name, lambda stage: None, "--overwrite", "--end", "0.3")
    if name == "frames":
        (stage.results / name).mkdir()
        (stage.results / name / "000000.png").write_bytes(b"mine")
    else:
        (stage.results / name).write_bytes(b"mine")
    old, given = content(stage.results), content(inputs)
    done = stage.run(largest=largest)
    if name == "frames" and done.code == 0:
        assert largest == 4000, "a picture is smaller than that"
        return
    assert (done.code, done.out) == (1, ""), done
    assert re.search("larger than the system allows|File too large", done.err) and done.err.count("\n") == 1, done
    assert visible(content(stage.results)) == old
    assert content(inputs) == given
    stage.finish()
    assert visible(content(stage.results)) != old


@pytest.mark.parametrize("largest", [1000, 3000])
def test_train_on_a_full_disk(largest: int, run: Stage) -> None:
    done = run.run(largest=largest)
    assert (done.code, done.out) == (1, ""), done
    assert "could not be written" in done.err.splitlines()[-1], done
    assert "Traceback" not in done.err
    assert not [path for path in run.folder.rglob("*") if "partial" in path.name]
    shutil.rmtree(run.results)
    run.finish()


def test_a_full_disk_leaves_the_last_checkpoint(run: Stage) -> None:
    run.finish()
    before = content(run.results)
    recipe = run.folder / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("steps = 4", "steps = 6"))
    run.arguments += ["--resume"]
    done = run.run(largest=20_000)
    assert (done.code, done.out) == (1, ""), done
    assert "File too large" in done.err.splitlines()[-1], done
    after = content(run.results)
    kept = [CHECKPOINT, WEIGHTS]
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    run.finish()


@pytest.mark.parametrize("largest", [400, 1500])
def test_prepare_on_a_full_disk(largest: int, driver: Path, tmp_path: Path) -> None:
    arguments = ["prepare", str(driver), "-o", str(tmp_path / "data"), "--box", "pad", "--resolution", "64"]
    arguments += ["--min-size", "8", "--min-seconds", "0", "--workers", "1", "-q"]
    stage = Stage(tmp_path, arguments, tmp_path / "data", lambda stage: None)
    done = stage.run(largest=largest)
    assert (done.code, done.out) == (1, ""), done
    assert re.search("larger than the system allows|File too large", done.err) and done.err.count("\n") == 1, done
    assert not [name for name in content(tmp_path / "data") if name.endswith(".mp4")]
    stage.finish()


def test_pull_on_a_full_disk(server: Hub, tiny_weights: Path, tmp_path: Path) -> None:
    server.repositories["o/r"] = Repository({"model.safetensors": tiny_weights.read_bytes()})
    home = tmp_path / "home"
    stage = Stage(
        tmp_path, ["weights", "pull", "hf://o/r", "-q"], home, lambda stage: None, environment(home, server.url)
    )
    done = stage.run(largest=2000)
    assert (done.code, done.out) == (1, ""), done
    assert "File too large" in done.err and done.err.count("\n") == 1, done
    assert not list(home.rglob("*.safetensors"))
    stage.finish()


@pytest.mark.parametrize("folder", ["/proc", pytest.param("/sys", marks=pytest.mark.slow)])
def test_a_folder_in_which_nobody_may_write(folder: str, inputs: Path) -> None:
    for name in ("out.mp4", "out.gif", "frames"):
        stage = stage_animate(inputs, "unused", lambda stage: None)
        stage.results.rmdir()
        stage.arguments[stage.arguments.index("-o") + 1] = f"{folder}/{name}"
        done = stage.run()
        assert done.code in (1, 2) and done.out == "", done
        assert done.err.startswith("animask: ") and done.err.count("\n") == 1, done


# children that die


@pytest.mark.parametrize("pipe", ["pipe:0", "pipe:1"])
def test_a_dying_ffmpeg_is_an_error_and_no_hang(pipe: str, inputs: Path) -> None:
    """pipe:1 is read from, the driver; pipe:0 is written to, the result."""
    source = ["-f", "lavfi", "-i", "testsrc2=s=320x240:r=30:d=60"]
    ffmpeg(*source, "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", inputs / "driver.mp4")
    stage = stage_animate(inputs, "out.mp4", lambda stage: None)
    process = children.begin(stage.arguments, stage.told)
    writer = f"file:{stage.results}"
    children.wait_until(lambda: children.ffmpegs(writer) and len(children.ffmpegs(str(stage.folder))) == 2)
    time.sleep(0.2)
    both, writing = set(children.ffmpegs(str(stage.folder))), set(children.ffmpegs(writer))
    (victim,) = writing if pipe == "pipe:0" else both - writing
    started = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    done = children.end(process, stage.told)
    assert time.monotonic() - started < 20
    assert (done.code, done.out) == (1, ""), done
    assert "SIGKILL" in done.err and done.err.count("\n") == 1, done
    assert content(stage.results) == {}
    assert children.ffmpegs(str(stage.folder)) == []
