"""animate: streaming, layouts, files in and out."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import FPS, FRAMES

from animask import animation
from animask.animation import COLUMNS, Settings, animate, animate_file
from animask.errors import AnimaskError, InputError, MissingError
from animask.images import to_images, to_tensor
from animask.model import Animator
from animask.video import probe, read_frames

SIDE = 64


def noise(count: int, height: int = SIDE, width: int = SIDE) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8))


def test_frames_are_the_equations_applied_one_by_one(tiny_model: Animator) -> None:
    source, *frames = noise(4)
    results = list(animate(tiny_model, source, frames, batch=2))
    for frame, result in zip(frames, results, strict=True):
        s, d = to_tensor(source, "cpu"), to_tensor(frame, "cpu")
        expected = to_images(tiny_model.drive(s, tiny_model.m(s), d).f)[0]
        assert np.abs(result.astype(int) - expected).max() <= 1


def test_batch_size_does_not_change_the_frames(tiny_model: Animator) -> None:
    source, *frames = noise(6)
    one, five = (np.stack(list(animate(tiny_model, source, frames, batch=n))) for n in (1, 5))
    assert np.abs(one.astype(int) - five).max() <= 1


def test_same_inputs_same_frames(tiny_model: Animator) -> None:
    source, *frames = noise(4)
    first, second = (np.stack(list(animate(tiny_model, source, frames))) for _ in range(2))
    assert np.array_equal(first, second)


def test_the_driver_is_read_no_faster_than_it_is_animated(tiny_model: Animator) -> None:
    read = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal read
        while True:
            read += 1
            yield np.zeros((SIDE, SIDE, 3), np.uint8)

    stream = animate(tiny_model, np.zeros((SIDE, SIDE, 3), np.uint8), endless(), batch=3)
    for _ in range(7):
        next(stream)
    assert read == 9


@pytest.mark.parametrize(("layout", "columns"), [("result", 1), ("compare", 3), ("strip", 8)])
def test_layouts(tiny_model: Animator, layout: animation.Layout, columns: int) -> None:
    source, driver = noise(2)
    (frame,) = animate(tiny_model, source, [driver], layout=layout)
    assert frame.shape[1] == columns * SIDE
    picture = frame[-SIDE:]  # below the names
    if layout != "result":
        at = {"compare": 1, "strip": COLUMNS.index("driver")}[layout]
        assert np.array_equal(picture[:, :SIDE], source)
        assert np.array_equal(picture[:, at * SIDE : (at + 1) * SIDE], driver)
        (result,) = animate(tiny_model, source, [driver])
        assert np.array_equal(picture[:, -SIDE:], result)


def test_wide_pictures_are_cropped_not_stretched(tiny_model: Animator) -> None:
    wide = np.zeros((SIDE, 3 * SIDE, 3), np.uint8)
    wide[:, SIDE : 2 * SIDE] = noise(1)[0]
    (frame,) = animate(tiny_model, wide, [wide], layout="compare")
    assert np.array_equal(frame[:, :SIDE], wide[:, SIDE : 2 * SIDE])


def broken(model: Animator) -> Animator:
    """The model with an output that is not finite below float32."""
    copy = Animator(model.config).requires_grad_(False).eval()
    copy.load_state_dict(model.state_dict())
    copy.h.head.register_forward_hook(
        lambda module, inputs, out: out * torch.nan if out.dtype != torch.float32 else out
    )
    return copy


def test_half_precision_that_is_not_finite_goes_on_in_fp32(tiny_model: Animator) -> None:
    source, *frames = noise(3)
    model = animation.at_precision(broken(tiny_model), "bf16")
    with pytest.warns(UserWarning, match="going on in fp32"):
        results = list(animate(model, source, frames, batch=1))
    assert len(results) == 2


def test_weights_that_give_no_numbers_are_an_error(tiny_model: Animator) -> None:
    model = broken(tiny_model)
    model.l.head.bias.data.fill_(float("nan"))
    with pytest.raises(AnimaskError, match="coarse frame"):
        list(animate(model, *noise(1), noise(1)))


def test_file_to_file(tiny_weights: Path, picture: Path, driver: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    settings = Settings(weights=str(tiny_weights), device="cpu", precision="fp32", batch=5)
    report = animate_file(picture, driver, tmp_path / "out.mp4", settings, lambda *at: seen.append(at))
    made = probe(tmp_path / "out.mp4")
    assert (report.frames, made.frames, made.fps) == (FRAMES, FRAMES, FPS)
    assert (made.width, made.height, made.has_audio) == (SIDE, SIDE, True)
    assert seen[-1] == (FRAMES, FRAMES)
    assert (report.threshold, report.scale, report.precision) == ("median", 0.75, "fp32")
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_no_audio_and_settings_of_p_test(tiny_weights: Path, picture: Path, driver: Path, tmp_path: Path) -> None:
    settings = Settings(weights=str(tiny_weights), device="cpu", audio=False, threshold=0.25, scale=1.0)
    report = animate_file(picture, driver, tmp_path / "out.mp4", settings)
    assert not probe(tmp_path / "out.mp4").has_audio
    assert (report.threshold, report.scale, report.audio) == (0.25, 1.0, False)


def test_an_existing_output_is_kept(tiny_weights: Path, picture: Path, driver: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    out.write_bytes(b"mine")
    settings = Settings(weights=str(tiny_weights), device="cpu")
    with pytest.raises(InputError, match="exists already"):
        animate_file(picture, driver, out, settings)
    assert out.read_bytes() == b"mine"
    animate_file(picture, driver, out, replace(settings, overwrite=True))
    assert probe(out).frames == FRAMES


@pytest.mark.parametrize("which", ["picture", "driver"])
def test_inputs_are_never_overwritten(
    which: str, tiny_weights: Path, picture: Path, driver: Path, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(which)
    before = path.read_bytes()
    with pytest.raises(InputError, match="is an input"):
        animate_file(picture, driver, path, Settings(weights=str(tiny_weights), overwrite=True))
    assert path.read_bytes() == before


def test_missing_weights_name_the_place(picture: Path, driver: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"absent\.safetensors") as caught:
        animate_file(picture, driver, tmp_path / "o.mp4", Settings(weights=str(tmp_path / "absent.safetensors")))
    assert "portrait" in caught.value.hint


def test_a_failure_on_the_way_leaves_nothing(
    tiny_weights: Path, picture: Path, driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> Iterator[np.ndarray]:
        yield from read_frames(driver, size=SIDE)
        raise AnimaskError("the driver broke off")

    monkeypatch.setattr("animask.animation.files.read_frames", fail)
    with pytest.raises(AnimaskError, match="broke off"):
        animate_file(picture, driver, tmp_path / "out.mp4", Settings(weights=str(tiny_weights), batch=4))
    assert list(tmp_path.iterdir()) == []


def test_report_is_json(tiny_weights: Path, picture: Path, driver: Path, tmp_path: Path) -> None:
    from dataclasses import asdict

    report = animate_file(picture, driver, tmp_path / "out.gif", Settings(weights=str(tiny_weights), device="cpu"))
    fields = json.loads(json.dumps(asdict(report)))
    assert fields["fps"] == "30000/1001"
    assert len(fields["weights_sha256"]) == 64
    assert fields["weights_revision"] == ""
    assert fields["warnings"] == []


# memory


def scarce(model: Animator, limit: int) -> Animator:
    """The model on a device with memory for `limit` frames at a time."""
    copy = Animator(model.config).requires_grad_(False).eval()
    copy.load_state_dict(model.state_dict())

    def check(module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        if len(inputs[0]) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    copy.h.register_forward_pre_hook(check)
    return copy


def test_out_of_memory_halves_the_batch_and_says_so(tiny_model: Animator) -> None:
    source, *frames = noise(12)
    expected = list(animate(tiny_model, source, frames, batch=1))
    with pytest.warns(UserWarning, match="has not enough memory") as caught:
        results = list(animate(scarce(tiny_model, 2), source, frames, batch=8))
    steps = [str(warning.message).split(" for ")[1] for warning in caught]
    assert steps == ["8 frames: going on with 4", "4 frames: going on with 2"]
    assert np.abs(np.stack(results).astype(int) - np.stack(expected)).max() <= 1


def test_memory_for_less_than_one_frame_is_an_error(tiny_model: Animator) -> None:
    with pytest.warns(UserWarning, match="going on with 1"), pytest.raises(AnimaskError, match="one frame") as caught:
        list(animate(scarce(tiny_model, 0), *noise(1), noise(2), batch=2))
    assert "--device cpu" in caught.value.hint


def test_a_fall_back_is_in_the_report(
    tiny_weights: Path,
    picture: Path,
    driver: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = Settings(weights=str(tiny_weights), device="cpu", precision="bf16")
    monkeypatch.setattr("animask.animation.studio.fuse", broken)
    studio = animation.Studio(settings)
    report = animate_file(picture, driver, tmp_path / "out", studio=studio)
    assert report.precision == "fp32"
    assert ["going on in fp32" in warning for warning in report.warnings] == [True]
    exact = animate_file(picture, driver, tmp_path / "exact", replace(settings, precision="fp32"))
    assert exact.warnings == []
    frames = [np.stack(list(read_frames(tmp_path / name))) for name in ("out", "exact")]
    assert np.array_equal(*frames), "the weights are those of the file, not rounded ones"
    again = animate_file(picture, driver, tmp_path / "again.mp4", studio=studio)
    assert (again.precision, again.warnings) == ("fp32", []), "other jobs go on with them"
