"""What users of such tools meet again and again, one test a row of the list of pains, named after it.

Rows whose whole content is another file's have their tests there: dead links and missing weights (test_weights,
test_hub), metrics that cannot be reproduced (test_evaluation), data that cannot be downloaded (test_preparation), and
the kinds of pictures (test_images).
"""

import hashlib
import re
import shutil
import tomllib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from conftest import FPS, FRAMES

from animask.animation import Settings, animate, animate_file, animate_many, list_jobs
from animask.animation import crops as crops_module
from animask.cli import main
from animask.errors import InputError, MissingError
from animask.faces import Box
from animask.images import read_image, write_image
from animask.model import Animator
from animask.toons import Pose, render, sample_identity
from animask.video import VideoWriter, probe, read_frames
from animask.weights import save_model

ROOT = Path(__file__).resolve().parent.parent
SIDE = 64


@pytest.fixture(scope="module")
def face_weights(tiny_model: Animator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small weights that say that they are of faces."""
    path = tmp_path_factory.mktemp("faces") / "faces.safetensors"
    save_model(tiny_model, path, {"object": "face"})
    return path


@pytest.fixture
def settings(tiny_weights: Path) -> Settings:
    return Settings(weights=str(tiny_weights), device="cpu")


@pytest.fixture
def family(tmp_path: Path) -> Path:
    """A wide picture with two heads off its centre: a large one on the right, a small one on the left."""
    picture = np.full((240, 480, 3), 150, np.uint8)
    picture[40:240, 275:475] = render(sample_identity(32), Pose(smile=0.4), 200)
    picture[10:130, 10:130] = render(sample_identity(58), Pose(), 120)
    write_image(tmp_path / "family.png", picture)
    return tmp_path / "family.png"


def test_weights_that_are_not_there_are_named_with_their_place(
    settings: Settings, picture: Path, driver: Path, tmp_path: Path
) -> None:
    absent = Settings(weights=str(tmp_path / "gone.safetensors"), device="cpu")
    with pytest.raises(MissingError, match=re.escape(str(tmp_path / "gone.safetensors"))) as caught:
        animate_file(picture, driver, tmp_path / "out.mp4", absent)
    assert caught.value.hint


@pytest.mark.parametrize("fps", [Fraction(30000, 1001), Fraction(24000, 1001), Fraction(25)])
def test_audio_does_not_drift(fps: Fraction, settings: Settings, picture: Path, sound: Path, tmp_path: Path) -> None:
    """The rate is an exact fraction end to end, and the length is the driver's, within one frame."""
    with VideoWriter(tmp_path / "driver.mp4", fps, (SIDE, SIDE), audio=sound) as writer:
        for _ in range(20):
            writer.write(np.zeros((SIDE, SIDE, 3), np.uint8))
    report = animate_file(picture, tmp_path / "driver.mp4", tmp_path / "out.mp4", settings)
    before, after = probe(tmp_path / "driver.mp4"), probe(tmp_path / "out.mp4")
    assert after.fps == fps == Fraction(report.fps)
    assert after.duration == pytest.approx(before.duration, abs=float(1 / fps))


def test_audio_is_not_lost(settings: Settings, picture: Path, driver: Path, tmp_path: Path) -> None:
    animate_file(picture, driver, tmp_path / "out.mp4", settings)
    assert probe(tmp_path / "out.mp4").has_audio


def test_long_drivers_do_not_fill_the_memory(tiny_model: Animator) -> None:
    """No more than one batch is held, however long the driver is."""
    held = most = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal held, most
        while True:
            held += 1
            most = max(most, held)
            yield np.zeros((SIDE, SIDE, 3), np.uint8)

    stream = animate(tiny_model, np.zeros((SIDE, SIDE, 3), np.uint8), endless(), batch=4)
    for _ in range(20):
        next(stream)
        held -= 1
    assert most <= 5


def test_a_face_that_is_small_and_not_centred_is_found(
    family: Path, driver: Path, face_weights: Path, tmp_path: Path
) -> None:
    settings = Settings(weights=str(face_weights), device="cpu", driver_crop="centre", end=0.05)
    report = animate_file(family, driver, tmp_path / "out.mp4", settings)
    x, y, size = report.source_crop.square
    assert x > 200 and size <= 220
    assert x < 375 < x + size and y < 140 < y + size


@pytest.mark.parametrize("flags", [[], ["--paste"], ["--source-crop", "none"]])
def test_nothing_is_stretched(
    flags: list[str], settings: Settings, driver: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wide picture: a square of it, all of it with its square pasted, or all of it small; circles: test_paste."""
    write_image(tmp_path / "wide.png", np.random.default_rng(0).integers(0, 256, (80, 160, 3), np.uint8))
    command = ["animate", str(tmp_path / "wide.png"), str(driver), "-o", str(tmp_path / "out.mp4"), "--end", "0.05"]
    with pytest.raises(SystemExit) as caught:
        main([*command, "--weights", settings.weights, "--device", "cpu", *flags])
    made = probe(tmp_path / "out.mp4")
    assert not caught.value.code
    assert made.width / made.height == (1.0 if not flags else 2.0)


def test_a_cpu_is_enough_and_says_how_fast_it_is(
    settings: Settings, picture: Path, driver: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.mp4"
    with pytest.raises(SystemExit) as caught:
        main(["animate", str(picture), str(driver), "-o", str(out), "--weights", settings.weights, "--device", "cpu"])
    assert not caught.value.code
    assert re.search(r"\d+ frames, [\d.]+ s, [\d.]+ frames/s, cpu (fp32|bf16)", capsys.readouterr().err)


def test_installing_does_not_break() -> None:
    """Few dependencies, each with a lower bound, and none pinned to one version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert len(project["dependencies"]) <= 8
    for dependency in project["dependencies"]:
        assert ">=" in dependency and "==" not in dependency


def test_one_frame_without_a_face_does_not_end_the_run(
    face_weights: Path, picture: Path, driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([[], [Box(40, 20, 30, 30)], [], [], [], []])
    monkeypatch.setattr(crops_module, "find_faces", lambda image, yunet: next(answers))
    settings = Settings(weights=str(face_weights), device="cpu", source_crop="centre")
    assert animate_file(picture, driver, tmp_path / "out.mp4", settings).frames == FRAMES
    monkeypatch.setattr(crops_module, "find_faces", lambda image, yunet: [])
    with pytest.raises(MissingError, match="no face was found"):  # only where none has one
        animate_file(picture, driver, tmp_path / "none.mp4", settings)


def test_the_head_does_not_pump(
    face_weights: Path, picture: Path, driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One box for all frames: a driver that stands still gives frames that stand still, whatever the detector says."""
    with VideoWriter(tmp_path / "still.mp4", FPS, (112, 80), crf=0) as writer:
        for _ in range(10):
            writer.write(next(read_frames(driver)))
    answers = iter([[Box(40 + 3 * number, 20 + number, 30 + number, 30)] for number in range(9)])
    monkeypatch.setattr(crops_module, "find_faces", lambda image, yunet: next(answers))
    settings = Settings(weights=str(face_weights), device="cpu", source_crop="centre", layout="compare")
    animate_file(picture, tmp_path / "still.mp4", tmp_path / "out", settings)
    seen = [frame[:, SIDE : 2 * SIDE].astype(int) for frame in read_frames(tmp_path / "out")]
    assert max(np.abs(frame - seen[0]).max() for frame in seen) <= 2


def test_which_face_can_be_chosen_and_all_are_listed(
    family: Path, driver: Path, face_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["animate", str(family), str(driver), "-o", str(tmp_path / "out.mp4"), "--end", "0.05", "--face", "2"]
    with pytest.raises(SystemExit):
        main([*command, "--weights", str(face_weights), "--device", "cpu", "--driver-crop", "centre", "-v", "--json"])
    captured = capsys.readouterr()
    assert "face 1:" in captured.err and "face 2:" in captured.err
    assert '"reason": "face 2 of 2"' in captured.out
    assert re.search(r'"faces": \[\[\d+, \d+, \d+, \d+\], \[\d+, \d+, \d+, \d+\]\]', captured.out)


def test_frames_that_are_not_finite_fall_back_and_say_so(tiny_model: Animator) -> None:
    from animask.animation import at_precision

    model = Animator(tiny_model.config).requires_grad_(False).eval()
    model.load_state_dict(tiny_model.state_dict())
    model.h.head.register_forward_hook(lambda module, given, x: x if x.dtype.itemsize == 4 else x * float("nan"))
    black = np.zeros((SIDE, SIDE, 3), np.uint8)
    with pytest.warns(UserWarning, match="going on in fp32"):
        (frame,) = animate(at_precision(model, "bf16"), black, [black])
    assert np.isfinite(frame).all()


def test_how_much_of_the_driver_leaks_can_be_set(
    settings: Settings, picture: Path, driver: Path, tmp_path: Path
) -> None:
    """P_test's threshold and scale are options, and change the result."""
    results = []
    for name, scale in (("a", 0.5), ("b", 1.0)):
        chosen = Settings(weights=settings.weights, device="cpu", threshold=0.3, scale=scale, end=0.05)
        report = animate_file(picture, driver, tmp_path / name, chosen)
        assert (report.threshold, report.scale) == (0.3, scale)
        results.append(read_image(tmp_path / name / "000000.png").astype(int))
    assert np.abs(results[0] - results[1]).max() > 0


def test_one_bad_pair_does_not_stop_the_rest(settings: Settings, picture: Path, driver: Path, tmp_path: Path) -> None:
    jobs = list_jobs([tmp_path / "gone.png", picture], driver, tmp_path / "out")
    summary = animate_many(jobs, settings)
    assert (len(summary.made), len(summary.failed)) == (1, 1)


def test_results_are_larger_than_256_pixels(settings: Settings, driver: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "large.png", np.full((600, 801, 3), 120, np.uint8))
    chosen = Settings(weights=settings.weights, device="cpu", source_crop="100,50,400", paste=True, end=0.05)
    report = animate_file(tmp_path / "large.png", driver, tmp_path / "out.mp4", chosen)
    assert (report.width, report.height) == (802, 600)


def test_no_ffmpeg_needs_to_be_installed(
    settings: Settings, picture: Path, driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE", raising=False)
    assert shutil.which("ffmpeg") is None and shutil.which("ffprobe") is None
    assert animate_file(picture, driver, tmp_path / "out.mp4", settings).frames == FRAMES


def test_nothing_is_written_beside_the_inputs_or_over_what_is_there(
    settings: Settings, picture: Path, driver: Path, tmp_path: Path
) -> None:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    for path in (picture, driver):
        shutil.copy(path, inputs / path.name)
    before = {path.name: hashlib.sha256(path.read_bytes()).digest() for path in inputs.iterdir()}
    out = tmp_path / "out.mp4"
    animate_file(inputs / picture.name, inputs / driver.name, out, settings)
    made = out.read_bytes()
    with pytest.raises(InputError, match="exists already"):
        animate_file(inputs / picture.name, inputs / driver.name, out, settings)
    assert out.read_bytes() == made
    assert {path.name: hashlib.sha256(path.read_bytes()).digest() for path in inputs.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inputs", "out.mp4"]


@pytest.mark.parametrize("name", ["mein Bild.png", "köpf 顔 🙂.png", "'quoted\".png", "-dash.png"])
def test_any_name_is_fine(
    name: str, settings: Settings, picture: Path, driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(picture, tmp_path / name)
    shutil.copy(driver, tmp_path / f"{name}.mp4")
    chosen = Settings(weights=settings.weights, device="cpu", end=0.05)
    report = animate_file(Path(name), Path(f"{name}.mp4"), Path(f"{name}.out.mp4"), chosen)
    assert probe(Path(report.output)).frames == report.frames
