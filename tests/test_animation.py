"""Files in, files out: parts, rates and kinds; what is said; many jobs, whose failures stop nothing; drawings."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import FPS, FRAMES
from test_streaming import broken
from training_cases import SIDE

from animask import animation
from animask.animation import Job, Session, Settings, Summary, animate_file, animate_many, list_jobs, preview_crops
from animask.errors import InputError, MissingError
from animask.images import read_image
from animask.toons import Pose, render, sample_identity
from animask.video import probe, read_frames, write_video
from animask.weights import save_model


@pytest.fixture
def settings(tiny_weights):
    return Settings(weights=str(tiny_weights), device="cpu")


@pytest.fixture
def mirror(monkeypatch):
    """A model that answers with the driver's square."""
    monkeypatch.setattr("animask.animation.animate", lambda model, source, driver, **rest: (x for x in driver))


def test_file_to_file(settings, picture, driver, tmp_path):
    seen: list[tuple[int, int]] = []
    settings = replace(settings, precision="fp32", batch=5)
    report = animate_file(picture, driver, tmp_path / "out.mp4", settings, lambda *at: seen.append(at))
    made = probe(tmp_path / "out.mp4")
    assert (report.frames, made.frames, made.fps) == (FRAMES, FRAMES, FPS)
    assert (made.width, made.height, made.has_audio) == (SIDE, SIDE, True)
    assert seen == [(number + 1, FRAMES) for number in range(FRAMES)]
    assert (report.threshold, report.scale, report.precision) == ("median", 0.75, "fp32")
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    before = driver.read_bytes()
    with pytest.raises(InputError):
        animate_file(picture, driver, driver, replace(settings, overwrite=True))
    assert driver.read_bytes() == before


def test_a_fall_back_is_in_the_report_and_counts_for_other_jobs(settings, picture, driver, tmp_path, monkeypatch):
    monkeypatch.setattr("animask.animation.fuse", broken)
    settings = replace(settings, end=0.1, source_crop="none", driver_crop="centre")
    session = Session(replace(settings, precision="bf16"))
    report = animate_file(picture, driver, tmp_path / "out", session=session)
    assert report.precision == "fp32" and len(report.warnings) == 1
    again = animate_file(picture, driver, tmp_path / "again.mp4", session=session)
    assert (again.precision, again.warnings) == ("fp32", [])


def test_a_part_at_another_rate_keeps_the_time(mirror, settings, picture, tmp_path):
    greys = (np.full((SIDE, SIDE, 3), 10 * number, np.uint8) for number in range(20))
    write_video(tmp_path / "clip.mp4", greys, Fraction(20), crf=0)
    slow = replace(settings, fps=Fraction(10), start=0.2, end=0.8, quality=0)
    assert animate_file(picture, tmp_path / "clip.mp4", tmp_path / "slow.mp4", slow).fps == "10"
    assert probe(tmp_path / "slow.mp4").duration == pytest.approx(0.6)
    numbers = [frame.mean() / 10 for frame in read_frames(tmp_path / "slow.mp4")]
    assert numbers == pytest.approx([4, 6, 8, 10, 12, 14], abs=1)


@pytest.mark.parametrize(("name", "sounds"), [("o.webm", True), ("o.gif", False), ("o", False)])
def test_outputs_by_suffix(name, sounds, mirror, settings, picture, driver, tmp_path):
    report = animate_file(picture, driver, tmp_path / name, settings)
    made = probe(tmp_path / name)
    assert (made.frames, made.width, made.has_audio, report.audio) == (FRAMES, SIDE, sounds, sounds)


def test_transparent_pixels_get_the_background_in_both(settings, tmp_path):
    clear = np.zeros((SIDE, SIDE, 4), np.uint8)
    (tmp_path / "clip").mkdir()
    for name in ("clear.png", "clip/0.png", "clip/1.png"):
        assert cv2.imwrite(str(tmp_path / name), clear)
    green = replace(settings, layout="compare", background=(20, 230, 60))
    animate_file(tmp_path / "clear.png", tmp_path / "clip", tmp_path / "out", green)
    frame = read_image(tmp_path / "out" / "000000.png")
    assert (frame[:, : 2 * SIDE] == (20, 230, 60)).all()


def test_cuts_are_in_the_report_and_the_sound_stays_whole(tiny_model, picture, sound, tmp_path):
    """Pasted, so that the picture stays whole, too."""
    save_model(tiny_model, tmp_path / "faces.safetensors", {"object": "face"})
    left, right = np.full((100, 200, 3), 90, np.uint8), np.full((100, 200, 3), 200, np.uint8)
    left[:, :100] = render(sample_identity(32), Pose(), 100)
    right[:, 100:] = render(sample_identity(58), Pose(), 100)
    write_video(tmp_path / "cut.mp4", [left] * 8 + [right] * 8, Fraction(12), sound)
    weights = str(tmp_path / "faces.safetensors")
    settings = Settings(weights=weights, device="cpu", source_crop="10,10,70", paste=True)
    report = animate_file(picture, tmp_path / "cut.mp4", tmp_path / "out.mp4", settings)
    assert len(report.shots) == 2
    assert any("cut at 0.67 s" in line for line in report.warnings)
    made, before = probe(tmp_path / "out.mp4"), probe(tmp_path / "cut.mp4")
    assert (made.frames, made.has_audio) == (16, True)
    assert made.duration == pytest.approx(before.duration, abs=1 / 12)
    assert (made.width, made.height) == (96, 96), "all of the picture"


def test_outputs_are_named_after_their_sources():
    sources = [Path(name) for name in ("a.png", "x/b.jpg", "y/A.jpg", "z/a.webp", "a-2.png")]
    names = ("a.mp4", "b.mp4", "A-2.mp4", "a-3.mp4", "a-2-2.mp4")
    jobs = list_jobs(sources, Path("d.mp4"), Path("out"))
    assert jobs == [Job(x, Path("d.mp4"), Path("out", name)) for x, name in zip(sources, names, strict=True)]


def test_pairs_are_read(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text('source,driver,output\na.png,d.mp4,\n"b, c.png",e.gif,sub/x.webm\n', encoding="utf-8-sig")
    assert animation.read_pairs(path, Path("out")) == [
        Job(Path("a.png"), Path("d.mp4"), Path("out/a--d.mp4")),
        Job(Path("b, c.png"), Path("e.gif"), Path("out/sub/x.webm")),
    ]
    path.write_text("driver,source\nd.mp4,a.png\n")
    assert animation.read_pairs(path) == [Job(Path("a.png"), Path("d.mp4"), Path("a--d.mp4"))]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("source\na.png\n", ""),
        ("source,driver\na.png\n", "line 2"),
        ("source,driver\na.png,d.mp4\n,d.mp4\n", "line 3"),
        ("source,driver\na\0.png,d.mp4\n", "line 2"),
        ("source,driver,output\na.png,d.mp4,../x.mp4\n", "line 2"),
        ('source,driver\n"a.png,d.mp4\n', ""),
    ],
)
def test_lists_that_are_none_are_refused(content, words, tmp_path):
    (tmp_path / "pairs.csv").write_text(content)
    with pytest.raises(InputError, match=words or None):
        animation.read_pairs(tmp_path / "pairs.csv", Path("out"))


@pytest.mark.parametrize("outputs", [("x.mp4", "./x.mp4"), ("d.mp4", "x.mp4")])
def test_outputs_in_conflict_are_refused_before_anything_is_done(outputs):
    jobs = [Job(Path("a.png"), Path("d.mp4"), Path(output)) for output in outputs]
    with pytest.raises(InputError, match=Path(outputs[0]).name):
        animate_many(jobs)


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
    assert [probe(folder / report.output).frames for report in summary.made] == [FRAMES] * 2
    assert len(calls) == 2, "one model, and one look at the driver"
    assert len(told) == 3
    assert sorted(path.name for path in (folder / "new/out").iterdir()) == ["a.mp4", "b.mp4"]


def test_what_nobody_foresaw_is_told_with_its_traceback_and_stops_nothing(folder, settings, monkeypatch):
    def fail(*given: object, **more: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(animation, "animate_file", fail)
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


def test_a_preview_shows_the_crops(settings, picture, driver, tmp_path):
    settings = replace(settings, driver_crop="centre", source_crop="10,20,70")
    made = preview_crops(picture, driver, tmp_path / "crops.png", settings)
    sheet = read_image(tmp_path / "crops.png")
    assert (made.source_crop.square, made.shots[0].crop.square) == ((10, 20, 70), (16, 0, 80))
    green = (sheet == (0, 200, 0)).all(axis=2)
    assert green[: len(sheet) // 2].any() and green[len(sheet) // 2 :].any()
    with pytest.raises(InputError):
        preview_crops(picture, driver, tmp_path / "crops.png", settings)
