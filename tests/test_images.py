"""Pictures: read as people see them, refused with a sentence, written whole, cropped without stretching."""

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from animask.errors import AnimaskError, InputError
from animask.images import (
    centre_square,
    composite,
    crop_resize,
    read_image,
    to_images,
    to_tensor,
    write_image,
)
from animask.partials import clean_partials, is_abandoned, partial_path


def quadrants(height: int = 24, width: int = 32) -> np.ndarray:
    """Four flat colours: top left red, top right green, bottom left blue, bottom right grey."""
    image = np.zeros((height, width, 3), np.uint8)
    top, left = slice(0, height // 2), slice(0, width // 2)
    bottom, right = slice(height // 2, None), slice(width // 2, None)
    image[top, left], image[top, right] = (220, 30, 40), (20, 200, 60)
    image[bottom, left], image[bottom, right] = (40, 50, 210), (128, 128, 128)
    return image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def stored_turned(upright: np.ndarray, orientation: int) -> np.ndarray:
    """What a camera stores so that EXIF `orientation` shows `upright`; each turn is its own definition."""
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: np.rot90(a, 2),
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    return np.ascontiguousarray(undo[orientation](upright))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    path = tmp_path / "turned"
    stored = Image.fromarray(stored_turned(quadrants(), orientation))
    path.write_bytes(encoded(stored, kind, exif=exif, **options))
    assert np.abs(read_image(path).astype(int) - quadrants()).max() <= 6


def test_orientation_and_transparency_together(tmp_path: Path) -> None:
    upright = np.dstack([quadrants(), np.full((24, 32), 255, np.uint8)])
    upright[:12, :16, 3] = 0
    exif = Image.Exif()
    exif[274] = 6
    path = tmp_path / "turned.png"
    path.write_bytes(encoded(Image.fromarray(stored_turned(upright, 6)), "PNG", exif=exif))
    image = read_image(path, background=(1, 2, 3))
    assert image.shape == (24, 32, 3)
    assert image[2, 2].tolist() == [1, 2, 3]
    assert image[2, 30].tolist() == [20, 200, 60]


def test_transparency_on_the_background() -> None:
    rgba = np.array([[[200, 100, 0, 255], [200, 100, 0, 0], [200, 100, 0, 128]]], np.uint8)
    # 128/255 of the colour and 127/255 of the background, rounded
    assert composite(rgba, (0, 0, 255)).tolist() == [[[200, 100, 0], [0, 0, 255], [100, 50, 127]]]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "RGB", "CMYK", "I;16", "F"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    rgb = Image.fromarray(quadrants())
    kind, expected = "PNG", quadrants().astype(int)
    if mode == "CMYK":
        kind, image = "JPEG", rgb.convert("CMYK")
    elif mode == "I;16":
        grey = np.linspace(0, 65535, 24 * 32).reshape(24, 32).astype(np.uint16)
        image = Image.fromarray(grey)
        expected = np.repeat(np.round(grey / 257)[..., None], 3, 2).astype(int)
    elif mode == "F":
        grey = np.linspace(0, 1, 24 * 32, dtype=np.float32).reshape(24, 32)
        kind, image = "TIFF", Image.fromarray(grey)
        expected = np.repeat(np.round(grey * 255)[..., None], 3, 2).astype(int)
    else:
        image = rgb.convert(mode)
        expected = np.asarray(image.convert("RGB")).astype(int)
    path = tmp_path / "picture"
    path.write_bytes(encoded(image, kind))
    read = read_image(path)
    assert read.dtype == np.uint8
    assert read.flags["C_CONTIGUOUS"]
    assert np.abs(read - expected).max() <= (40 if mode == "CMYK" else 0)


def test_sixteen_bit_colour_keeps_its_channels(tmp_path: Path) -> None:
    wide = quadrants().astype(np.uint16) * 257
    path = tmp_path / "wide.png"
    cv2.imwrite(str(path), wide[..., ::-1])
    assert np.array_equal(read_image(path), quadrants())


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.fromarray((np.arange(64).reshape(8, 8) % 2).astype(np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 255, 0])
    path = tmp_path / "palette.png"
    path.write_bytes(encoded(image, "PNG", transparency=0))
    assert read_image(path, background=(9, 9, 9))[0, :2].tolist() == [[9, 9, 9], [0, 255, 0]]


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    for kind in ("GIF", "WEBP"):
        path = tmp_path / kind
        options = {"lossless": True} if kind == "WEBP" else {}
        path.write_bytes(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options))
        assert read_image(path)[4, 4].tolist() == [255, 0, 0]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF"])
def test_formats(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "picture"
    path.write_bytes(encoded(Image.fromarray(quadrants()), kind))
    assert read_image(path).shape == (24, 32, 3)
    assert np.abs(read_image(path)[4:8, 4:8].astype(int) - quadrants()[4, 4]).max() < 60
    with pytest.raises(InputError, match="limit of 767"):
        read_image(path, max_pixels=24 * 32 - 1)


@pytest.mark.parametrize("name", ["a b.png", "-o.png", "'quote\".png", "nl\n.png", "顔😀.png", "é" * 125 + ".png"])
def test_names(tmp_path: Path, name: str) -> None:
    write_image(tmp_path / name, quadrants())
    assert np.array_equal(read_image(tmp_path / name), quadrants())
    assert [path.name for path in tmp_path.iterdir()] == [name]


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_decompression_bomb_is_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + png_chunk(b"IEND", b"")
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("the bomb was decoded"))
    with pytest.raises(InputError, match=r"30000×30000.*limit of 100000000"):
        read_image(path)


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"hello", b"P5 nonsense", b"BM", b"RIFF1234WEBP", os.urandom(500), b"\xff\xd8\xff"]
)
def test_what_is_no_picture(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"x\.png"):
        read_image(path)


def test_missing_folder_link_fifo_and_device(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "missing", tmp_path / "dangling", tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(InputError):
            read_image(path)
    for name in ("n" * 300, "nul\0"):
        with pytest.raises(InputError):
            read_image(tmp_path / name)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_truncated_files_are_refused(tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    path = tmp_path / "cut"
    for tenth in range(1, 10):
        path.write_bytes(data[: len(data) * tenth // 10])
        with pytest.raises(InputError):
            read_image(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_flipped_bits_give_a_picture_or_a_sentence(
    tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    data = encoded(Image.fromarray(quadrants()), kind)
    path = tmp_path / "flipped"
    for at in range(0, len(data), max(1, len(data) // 60)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x14]) + data[at + 1 :])
        try:
            assert read_image(path, max_pixels=1_000_000).ndim == 3
        except InputError as error:
            assert "flipped" in error.message
    if kind != "JPEG":  # libjpeg says itself that the picture it decodes is damaged
        assert capfd.readouterr().err == ""


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    head=st.sampled_from(
        [
            b"\x89PNG\r\n\x1a\n",
            b"\xff\xd8\xff\xe1",
            b"GIF89a",
            b"RIFF\0\0\0\0WEBPVP8X",
            b"BM",
            b"II*\0",
            b"MM\0*",
            b"P6 ",
        ]
    ),
    tail=st.binary(max_size=200),
)
def test_any_bytes_give_a_picture_or_a_sentence(tmp_path: Path, head: bytes, tail: bytes) -> None:
    path = tmp_path / "any"
    path.write_bytes(head + tail)
    with contextlib.suppress(InputError):
        assert read_image(path, max_pixels=1_000_000).dtype == np.uint8


def test_write_replaces_or_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.png"
    write_image(path, quadrants())
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(AnimaskError, match="No space left"):
        write_image(path, quadrants()[::-1])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_write_refuses_unknown_suffixes_and_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="suffix"):
        write_image(tmp_path / "out.xyz", quadrants())
    with pytest.raises(AnimaskError, match="No such file"):
        write_image(tmp_path / "missing" / "out.png", quadrants())


@pytest.mark.parametrize(("suffix", "error"), [(".png", 0), (".webp", 0), (".bmp", 0), (".tiff", 0), (".jpg", 16)])
def test_written_pictures_come_back(tmp_path: Path, suffix: str, error: int) -> None:
    image = cv2.resize(quadrants(), (32, 32), interpolation=cv2.INTER_NEAREST)[4:20, 4:20]
    write_image(tmp_path / f"out{suffix}", image)
    assert np.abs(read_image(tmp_path / f"out{suffix}").astype(int)[:8, :8] - image[:8, :8]).max() <= error


def test_centre_square() -> None:
    assert centre_square(24, 32) == (4, 0, 24)
    assert centre_square(1280, 720) == (0, 280, 720)
    assert centre_square(5, 5) == (0, 0, 5)


def test_crop_inside_is_the_pixels_themselves() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    assert np.array_equal(crop_resize(image, (3, 5, 10), 10), image[5:15, 3:13])


def test_crop_beyond_continues_the_edge() -> None:
    image = np.arange(9, dtype=np.uint8).reshape(3, 3, 1).repeat(3, 2)
    expected = [[0, 0, 1, 2, 2], [0, 0, 1, 2, 2], [3, 3, 4, 5, 5], [6, 6, 7, 8, 8], [6, 6, 7, 8, 8]]
    assert crop_resize(image, (-1, -1, 5), 5)[..., 0].tolist() == expected
    assert crop_resize(image, (10, 10, 4), 4)[..., 0].tolist() == [[8] * 4] * 4


def test_shrinking_averages() -> None:
    checks = (np.indices((8, 8)).sum(0) % 2 * 200).astype(np.uint8)[..., None].repeat(3, 2)
    assert np.all(crop_resize(checks, (0, 0, 8), 4) == 100)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(-50, 50), st.integers(-50, 50), st.integers(1, 60))
def test_crop_is_edge_replication(height: int, width: int, x: int, y: int, side: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    padded = np.pad(image, ((120, 120), (120, 120), (0, 0)), mode="edge")
    assert np.array_equal(
        crop_resize(image, (x, y, side), side), padded[120 + y : 120 + y + side, 120 + x : 120 + x + side]
    )
    assert crop_resize(image, (x, y, side), 16).shape == (16, 16, 3)


def test_circle_stays_a_circle() -> None:
    image = np.zeros((300, 500, 3), np.uint8)
    cv2.circle(image, (120, 150), 90, (255, 255, 255), -1, cv2.LINE_AA)
    disc = crop_resize(image, (0, 20, 260), 96)[..., 0] > 127
    rows, columns = np.flatnonzero(disc.any(1)), np.flatnonzero(disc.any(0))
    assert abs(np.ptp(rows) - np.ptp(columns)) <= 1


def test_tensors_and_images() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3)).astype(np.uint8)
    tensor = to_tensor(images, "cpu")
    assert tensor.shape == (2, 3, 5, 7)
    assert tensor.dtype == torch.float32
    assert float(tensor[1, 2, 3, 4]) == pytest.approx(images[1, 3, 4, 2] / 255)
    assert np.array_equal(to_images(tensor), images)
    assert torch.equal(to_tensor([images[0], images[1]], "cpu"), tensor)
    assert to_tensor(images[0], "cpu").shape == (1, 3, 5, 7)


def test_to_images_clamps_rounds_and_spreads_grey() -> None:
    mask = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0, 0.4999 / 255, 0.5001 / 255]).reshape(1, 1, 1, 7)
    assert to_images(mask)[0, 0].tolist() == [[value] * 3 for value in (0, 0, 128, 255, 255, 0, 1)]
    assert to_images(torch.full((1, 3, 1, 1), 0.2, dtype=torch.bfloat16)).tolist() == [[[[51] * 3]]]


def test_partials_of_dead_writers_are_cleaned(tmp_path: Path) -> None:
    mine = partial_path(tmp_path / "out.mp4")
    dead = mine.with_name(mine.name.replace(f"-{os.getpid()}-", "-99999999-"))
    elsewhere = tmp_path / ".out-00000000-1-0.animask-partial.mp4"
    other = tmp_path / ".animask-partial.txt"
    for path in (mine, dead, elsewhere, other):
        path.write_bytes(b"x")
    assert is_abandoned(dead)
    clean_partials(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([mine, elsewhere, other])
    os.utime(elsewhere, (0, 0))
    clean_partials(tmp_path)
    assert not elsewhere.exists()


def test_partial_names_fit(tmp_path: Path) -> None:
    path = partial_path(tmp_path / ("😀" * 60 + ".mp4"))
    assert len(os.fsencode(path.name)) < 200
    assert path.suffix == ".mp4"
    assert path.name.startswith(".😀")
    assert partial_path(path) != partial_path(path)
