"""Many jobs in one call: names, lists of pairs, failures that stop nothing, sharing among processes, the command."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from animask.animation import Settings, Summary, animate_many, list_jobs, read_pairs
from animask.animation import scenes as scenes_module
from animask.animation import studio as studio_module
from animask.animation.batches import Job, check_jobs, local_device
from animask.cli import main
from animask.errors import InputError, MissingError
from animask.video import probe


@pytest.fixture
def settings(tiny_weights: Path) -> Settings:
    """The first three frames with small weights."""
    return Settings(weights=str(tiny_weights), device="cpu", end=0.1)


@pytest.fixture
def folder(picture: Path, driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with two pictures, a damaged one and a driver."""
    shutil.copy(picture, tmp_path / "a.png")
    shutil.copy(picture, tmp_path / "b.png")
    (tmp_path / "bad.png").write_bytes(picture.read_bytes()[:100])
    shutil.copy(driver, tmp_path / "driver.mp4")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_outputs_are_named_after_their_sources() -> None:
    sources = [Path(name) for name in ("a.png", "x/b.jpg", "y/A.jpg", "z/a.webp")]
    jobs = list_jobs(sources, Path("d.mp4"), Path("out"))
    assert [job.output for job in jobs] == [Path("out") / name for name in ("a.mp4", "b.mp4", "A-2.mp4", "a-3.mp4")]
    assert [job.source for job in jobs] == sources
    assert {job.driver for job in jobs} == {Path("d.mp4")}


def test_pairs_are_read(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text('source,driver,output\na.png,d.mp4,\n"b, c.png",e.gif,sub/x.webm\n', encoding="utf-8-sig")
    assert read_pairs(path, Path("out")) == [
        Job(Path("a.png"), Path("d.mp4"), Path("out/a--d.mp4")),
        Job(Path("b, c.png"), Path("e.gif"), Path("out/sub/x.webm")),
    ]
    path.write_text("driver,source\nd.mp4,a.png\n")
    assert read_pairs(path) == [Job(Path("a.png"), Path("d.mp4"), Path("a--d.mp4"))]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"source\na.png\n", "no column driver"),
        (b"", "no column"),
        (b"source,driver\n", "lists no pairs"),
        (b"source,driver\na.png\n", "line 2"),
        (b"source,driver\na.png,d.mp4\n,d.mp4\n", "line 3"),
        (b'source,driver\n"a.png,d.mp4\n', "is no CSV"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_lists_that_are_none_are_refused(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_pairs(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_pairs(tmp_path / "absent.csv")


def test_outputs_in_conflict_are_refused_before_anything_is_done() -> None:
    a, b, d = Path("a.png"), Path("b.png"), Path("d.mp4")
    with pytest.raises(InputError, match=r"two results would be x\.mp4"):
        check_jobs([Job(a, d, Path("x.mp4")), Job(b, d, Path("./x.mp4"))])
    with pytest.raises(InputError, match=r"d\.mp4 is an input"):
        check_jobs([Job(a, Path("e.mp4"), d), Job(b, d, Path("x.mp4"))])


def test_one_failure_does_not_stop_the_rest(folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    load = studio_module.load_model
    monkeypatch.setattr(studio_module, "load_model", lambda *given: loads.append(given) or load(*given))
    probes = []
    monkeypatch.setattr(scenes_module, "probe", lambda path, limit: probes.append(path) or probe(path, limit))
    told: list[str] = []
    jobs = list_jobs([Path(name) for name in ("a.png", "bad.png", "b.png")], Path("driver.mp4"), Path("new/out"))
    summary = animate_many(jobs, settings, tell=told.append)
    assert [report.output for report in summary.made] == ["new/out/a.mp4", "new/out/b.mp4"]
    assert [(failure.source, failure.exit_code) for failure in summary.failed] == [("bad.png", 2)]
    assert "bad.png" in summary.failed[0].error
    assert [probe(folder / report.output).frames for report in summary.made] == [3, 3]
    assert len(loads) == len(probes) == 1  # one model, and one look at the driver
    assert len(told) == 3
    assert sorted(path.name for path in (folder / "new/out").iterdir()) == ["a.mp4", "b.mp4"]


def test_what_nobody_foresaw_is_told_with_its_traceback_and_stops_nothing(
    folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object, **more: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr("animask.animation.batches.animate_file", fail)
    told: list[str] = []
    summary = animate_many(
        list_jobs([Path("a.png"), Path("b.png")], Path("driver.mp4"), Path("o")), settings, tell=told.append
    )
    assert [failure.error for failure in summary.failed] == ["ZeroDivisionError: a fault of ours"] * 2
    assert "Traceback" in told[0]


def test_existing_outputs_are_kept_or_left_out(folder: Path, settings: Settings) -> None:
    jobs = list_jobs([Path("a.png"), Path("b.png")], Path("driver.mp4"), Path("out"))
    (folder / "out").mkdir()
    (folder / "out" / "a.mp4").write_bytes(b"mine")
    summary = animate_many(jobs, settings)
    assert len(summary.made) == len(summary.failed) == 1
    assert "exists already" in summary.failed[0].error
    absent = replace(settings, weights="absent.safetensors")  # nothing is left to do: no model is needed
    assert animate_many(jobs, absent, skip_existing=True) == Summary(skipped=["out/a.mp4", "out/b.mp4"])
    assert (folder / "out" / "a.mp4").read_bytes() == b"mine"


def test_missing_weights_fail_once(folder: Path, settings: Settings) -> None:
    jobs = list_jobs([Path("a.png"), Path("b.png")], Path("driver.mp4"), Path("out"))
    with pytest.raises(MissingError, match="absent"):
        animate_many(jobs, replace(settings, weights="absent.safetensors"))


# several processes


def test_every_process_takes_its_share(folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = list_jobs([Path("a.png"), Path("b.png"), Path("bad.png")], Path("driver.mp4"), Path("out"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    shares = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        summary = animate_many(jobs, settings)
        shares.append([item.source for item in (*summary.made, *summary.failed)])
    assert shares == [["a.png", "bad.png"], ["b.png"]]


def test_every_process_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert [local_device(name) for name in ("auto", "cuda", "cuda:0", "cpu")] == ["cuda:1", "cuda:1", "cuda:0", "cpu"]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert local_device("auto") == "auto"


def test_torchrun_shares_the_work_and_gives_one_summary(folder: Path, tiny_weights: Path) -> None:
    (folder / "pairs.csv").write_text("source,driver\na.png,driver.mp4\nbad.png,driver.mp4\nb.png,driver.mp4\n")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "animask", "animate", "--pairs", "pairs.csv", "-o", "out", "--end", "0.05", "--json"]
    root = str(Path(__file__).resolve().parent.parent)
    environment = {**os.environ, "ANIMASK_WEIGHTS": str(tiny_weights), "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    done = subprocess.run(
        command, capture_output=True, text=True, env={**environment, "ANIMASK_DEVICE": "cpu"}, check=False
    )
    assert done.returncode == 1, done.stderr
    summary = json.loads(done.stdout)
    made = {report["output"] for report in summary["made"]}
    assert made == {"out/a--driver.mp4", "out/b--driver.mp4"}
    assert [failure["source"] for failure in summary["failed"]] == ["bad.png"]
    assert all((folder / path).exists() for path in made)


# the command


@pytest.fixture
def environment(folder: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANIMASK_WEIGHTS", str(tiny_weights))
    monkeypatch.setenv("ANIMASK_DEVICE", "cpu")


def run(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command in this process."""
    with pytest.raises(SystemExit) as caught:
        main(line.split())
    captured = capsys.readouterr()
    return int(caught.value.code or 0), captured.out, captured.err


def test_several_sources_go_into_a_folder(environment: None, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run("animate a.png b.png driver.mp4 -o out --end 0.1", capsys)
    assert (code, out) == (0, "out/a.mp4\nout/b.mp4\n")
    assert "2 made, 0 there already, 0 failed" in err


def test_a_partly_failed_batch_exits_1_and_names_what_failed(
    environment: None, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run("animate bad.png a.png driver.mp4 -o out --end 0.1 -q", capsys)
    assert (code, out) == (1, "out/a.mp4\n")
    assert err.startswith("failed: bad.png + driver.mp4: bad.png")
    assert "Traceback" not in err
    code, out, _ = run("animate bad.png a.png driver.mp4 -o out --end 0.1 --skip-existing --json", capsys)
    summary = json.loads(out)
    assert (code, summary["skipped"], len(summary["failed"])) == (1, ["out/a.mp4"], 1)


def test_pairs_and_positionals_exclude_each_other(environment: None, capsys: pytest.CaptureFixture[str]) -> None:
    Path("pairs.csv").write_text("source,driver,output\na.png,driver.mp4,x.gif\n")
    code, out, err = run("animate a.png driver.mp4 --pairs pairs.csv", capsys)
    assert (code, out) == (2, "")
    assert "--pairs" in err
    code, out, _ = run("animate --pairs pairs.csv --end 0.1", capsys)
    assert (code, out) == (0, "x.gif\n")


def test_one_job_can_be_skipped_too(environment: None, capsys: pytest.CaptureFixture[str]) -> None:
    Path("out.mp4").write_bytes(b"mine")
    code, out, err = run("animate a.png driver.mp4 -o out.mp4 --skip-existing", capsys)
    assert (code, out) == (0, "out.mp4\n")
    assert "there already" in err
    assert Path("out.mp4").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("animate a.png -o out.mp4", "a SOURCE and a DRIVER are needed"),
        ("animate -o out.mp4", "a SOURCE and a DRIVER are needed"),
        ("animate a.png driver.mp4", "where does the result go"),
        ("animate a.png b.png driver.mp4 --preview x.png", "one SOURCE and one DRIVER"),
    ],
)
def test_incomplete_commands_exit_2(
    line: str, words: str, environment: None, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(line, capsys)
    assert (code, out) == (2, "")
    assert words in err
