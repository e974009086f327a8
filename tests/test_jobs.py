"""Many jobs in one call: names, lists of pairs, failures that stop nothing."""

from dataclasses import replace
from pathlib import Path

import pytest

from animask import animation
from animask.animation import Job, Settings
from animask.errors import InputError, MissingError
from animask.jobs import Summary, animate_many, check_jobs, list_jobs, read_pairs
from animask.video import probe


@pytest.fixture
def settings(tiny_weights):
    """The first three frames with small weights."""
    return Settings(weights=str(tiny_weights), device="cpu", end=0.1)


def test_outputs_are_named_after_their_sources():
    sources = [Path(name) for name in ("a.png", "x/b.jpg", "y/A.jpg", "z/a.webp")]
    jobs = list_jobs(sources, Path("d.mp4"), Path("out"))
    assert [job.output for job in jobs] == [Path("out") / name for name in ("a.mp4", "b.mp4", "A-2.mp4", "a-3.mp4")]
    assert [job.source for job in jobs] == sources
    assert {job.driver for job in jobs} == {Path("d.mp4")}


def test_pairs_are_read(tmp_path):
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
        (b"source\na.png\n", ""),
        (b"source,driver\na.png\n", "line 2"),
        (b"source,driver\na.png,d.mp4\n,d.mp4\n", "line 3"),
        (b"source,driver\na\0.png,d.mp4\n", "line 2"),
        (b"source,driver,output\na.png,d.mp4,../x.mp4\n", "line 2"),
        (b'source,driver\n"a.png,d.mp4\n', ""),
    ],
)
def test_lists_that_are_none_are_refused(content, words, tmp_path):
    (tmp_path / "pairs.csv").write_bytes(content)
    with pytest.raises(InputError, match=words or None):
        read_pairs(tmp_path / "pairs.csv", Path("out"))


def test_outputs_in_conflict_are_refused_before_anything_is_done():
    a, b, d = Path("a.png"), Path("b.png"), Path("d.mp4")
    with pytest.raises(InputError, match=r"x\.mp4"):
        check_jobs([Job(a, d, Path("x.mp4")), Job(b, d, Path("./x.mp4"))])
    with pytest.raises(InputError, match=r"d\.mp4"):
        check_jobs([Job(a, Path("e.mp4"), d), Job(b, d, Path("x.mp4"))])


def test_one_failure_does_not_stop_the_rest(folder, settings, monkeypatch):
    calls = []
    for name in ("load_model", "probe"):
        real = getattr(animation, name)
        monkeypatch.setattr(animation, name, lambda *given, real=real: calls.append(real) or real(*given))
    told: list[str] = []
    jobs = list_jobs([Path(name) for name in ("a.png", "bad.png", "b.png")], Path("d.mp4"), Path("new/out"))
    summary = animate_many(jobs, settings, tell=told.append)
    assert [report.output for report in summary.made] == ["new/out/a.mp4", "new/out/b.mp4"]
    assert [(failure.source, failure.exit_code) for failure in summary.failed] == [("bad.png", 2)]
    assert [probe(folder / report.output).frames for report in summary.made] == [3, 3]
    assert len(calls) == 2, "one model, and one look at the driver"
    assert len(told) == 3
    assert sorted(path.name for path in (folder / "new/out").iterdir()) == ["a.mp4", "b.mp4"]


def test_what_nobody_foresaw_is_told_with_its_traceback_and_stops_nothing(folder, settings, monkeypatch):
    def fail(*given: object, **more: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr("animask.jobs.animate_file", fail)
    told: list[str] = []
    jobs = list_jobs([Path("a.png"), Path("b.png")], Path("d.mp4"), Path("o"))
    assert len(animate_many(jobs, settings, tell=told.append).failed) == 2
    assert "Traceback" in told[0]


def test_existing_outputs_are_kept_or_left_out(folder, settings):
    jobs = list_jobs([Path("a.png"), Path("b.png")], Path("d.mp4"), Path("out"))
    (folder / "out").mkdir()
    (folder / "out" / "a.mp4").write_bytes(b"mine")
    summary = animate_many(jobs, settings)
    assert len(summary.made) == len(summary.failed) == 1
    absent = replace(settings, weights="absent.safetensors")
    assert animate_many(jobs, absent, skip_existing=True) == Summary(skipped=["out/a.mp4", "out/b.mp4"])
    assert (folder / "out" / "a.mp4").read_bytes() == b"mine"
    with pytest.raises(MissingError, match="absent"):  # once, where something is left to do
        animate_many(jobs, absent)
