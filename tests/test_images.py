"""Pictures: read as people see them, refused with a sentence, written whole, cropped without stretching."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import ffmpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from pillow_heif import from_bytes

from animask.errors import InputError
from animask.images import composite, crop_resize, read_animation, read_image, to_images, to_tensor, write_image

EXACT: dict[str, dict[str, Any]] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
EXACT |= {"AVIF": {"quality": 100, "subsampling": "4:4:4"}, "HEIF": {"quality": -1, "chroma": 444}}
EXACT |= {"TIFF": {"compression": "tiff_adobe_deflate"}, "PNG": {}, "GIF": {}, "BMP": {}, "PPM": {}, "JPEG2000": {}}
T = Image.Transpose  # what a camera stores for EXIF orientation 2, 3 ... 8
TURNS = [T.FLIP_LEFT_RIGHT, T.ROTATE_180, T.FLIP_TOP_BOTTOM, T.TRANSPOSE, T.ROTATE_90, T.TRANSVERSE, T.ROTATE_270]
RGB = np.full((48, 64, 3), 128, np.uint8)  # red, green, blue and grey
RGB[:24, :32], RGB[:24, 32:], RGB[24:, :32] = (220, 30, 40), (20, 200, 60), (40, 50, 210)
PICTURE = Image.fromarray(RGB)
GREY = np.asarray(PICTURE.convert("L").convert("RGB"))


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **(EXACT[kind] | options))
    return buffer.getvalue()


def opencv(suffix: str, rgb: np.ndarray) -> bytes:
    return cv2.imencode(suffix, rgb[..., ::-1])[1].tobytes()


def deep_heif() -> bytes:
    buffer = io.BytesIO()
    from_bytes("RGB;16", (64, 48), (RGB.astype(np.uint16) * 257).tobytes()).save(buffer, quality=-1, chroma=444)
    return buffer.getvalue()


def deep_avif() -> bytes:
    with TemporaryDirectory() as folder:
        PICTURE.save(f"{folder}/a.png")
        coded = ["-pix_fmt", "yuv444p10le", "-c:v", "libaom-av1", "-crf", 4, "-still-picture", 1]
        ffmpeg("-i", f"{folder}/a.png", *coded, f"{folder}/a.avif")
        return Path(folder, "a.avif").read_bytes()


def colour_profile() -> bytes:
    """A profile like sRGB, but with red and blue exchanged."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = data.index(b"rXYZ"), data.index(b"bXYZ")
    data[red : red + 4], data[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(data)


KINDS: dict[str, tuple[Callable[[], bytes], np.ndarray]] = {
    "1 bit": (lambda: encode(PICTURE.convert("1", dither=0), "PNG"), np.where(GREY < 128, 0, 255)),
    "grey, alpha": (lambda: encode(PICTURE.convert("LA"), "PNG"), GREY),
    "palette": (lambda: encode(PICTURE.convert("P", palette=Image.Palette.ADAPTIVE), "PNG"), RGB),
    "CMYK JPEG": (lambda: encode(PICTURE.convert("CMYK"), "JPEG"), RGB),
    "16 bits grey": (lambda: encode(Image.fromarray(GREY[..., 0].astype(np.uint16) * 257), "PNG"), GREY),
    "16 bits, other order": (lambda: encode(Image.fromarray(GREY[..., 0].astype(">u2") * 257), "TIFF"), GREY),
    "16 bits PNG": (lambda: opencv(".png", RGB.astype(np.uint16) * 257), RGB),
    "deep HEIC": (deep_heif, RGB),
    "10 bits AVIF": (deep_avif, RGB),
    "float grey": (lambda: encode(Image.fromarray(GREY[..., 0].astype(np.float32) / 255), "TIFF"), GREY),
    "float to 255": (lambda: encode(PICTURE.convert("L").convert("F"), "TIFF"), GREY),
    "float RGB": (lambda: opencv(".tiff", RGB.astype(np.float32) / 255), RGB),
    "32 bits": (lambda: encode(PICTURE.convert("L").convert("I"), "TIFF"), GREY),
    "PNM of 15": (lambda: b"P6 64 48 15\n" + (RGB // 17).tobytes(), RGB // 17 * 17),
    "PNM of 1000": (lambda: b"P5 64 48 1000\n" + (GREY[..., 0] * (1000 / 255)).astype(">u2").tobytes(), GREY),
    "exchanged": (lambda: encode(PICTURE, "PNG", icc_profile=colour_profile()), RGB[..., ::-1]),
    "bad profile": (lambda: encode(PICTURE, "PNG", icc_profile=b"none"), RGB),
    "bad EXIF": (lambda: encode(PICTURE, "JPEG", exif=b"Exif\0\0none"), RGB),
    "padded JPEG": (lambda: encode(PICTURE, "JPEG") + bytes(999), RGB),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_becomes_rgb(name, tmp_path):
    data, expected = KINDS[name]
    path = tmp_path / "顔😀 -o"
    path.write_bytes(data())
    image = read_image(path)
    assert image.dtype == np.uint8 and image.flags["C_CONTIGUOUS"] and image.flags["WRITEABLE"]
    assert np.abs(image.astype(int) - expected).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_pictures_are_upright(kind, orientation, tmp_path):
    exif = Image.Exif()
    exif[274] = orientation
    stored = PICTURE if orientation == 1 else PICTURE.transpose(TURNS[orientation - 2])
    path = tmp_path / "turned"
    path.write_bytes(encode(stored, kind, exif=exif.tobytes()))
    assert np.abs(read_image(path).astype(int) - RGB).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF", "HEIF", "GIF", "key"])
def test_transparency_lies_on_the_background(kind, tmp_path):
    """By an alpha channel, an entry of a palette (GIF), or a colour that means transparent."""
    rgba, expected = np.dstack([RGB, np.full((48, 64), 255, np.uint8)]), RGB.copy()
    rgba[:24, :32, 3], expected[:24, :32] = 0, (1, 2, 3)
    by_key = encode(PICTURE, "PNG", transparency=(220, 30, 40))
    path = tmp_path / "clear"
    path.write_bytes(by_key if kind == "key" else encode(Image.fromarray(rgba), kind))
    assert np.abs(read_image(path, background=(1, 2, 3)).astype(int) - expected).max() <= 3


def test_half_transparency():
    rgba = np.array([[[200, 100, 0, 255], [200, 100, 0, 0], [200, 100, 0, 128]]], np.uint8)
    assert composite(rgba, (0, 0, 255)).tolist() == [[[200, 100, 0], [0, 0, 255], [100, 50, 127]]]  # 128/255, 127/255


def test_times_of_avif_are_rounded_but_do_not_drift(tmp_path):
    """Other animations in test_video."""
    options = {"save_all": True, "append_images": [PICTURE.rotate(90), PICTURE], "duration": [33, 33, 4]}
    (tmp_path / "moves").write_bytes(encode(PICTURE, "AVIF", **options))
    assert [1000 * end for *_, end in read_animation(tmp_path / "moves")] == [33, 66, 70]


@pytest.mark.parametrize("kind", EXACT)
def test_damage_is_refused_and_never_half_shown(kind, tmp_path):
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    data = encode(Image.fromarray(noise), kind)
    path = tmp_path / "bad"
    path.write_bytes(data)
    assert read_image(path).shape == (64, 64, 3)
    damaged = [data[: len(data) * tenth // 10] for tenth in range(10)]
    if kind in ("JPEG", "WEBP", "AVIF", "HEIF"):
        damaged.append(data[: len(data) // 2].ljust(len(data), b"\0"))
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(InputError):
            read_image(path)


def test_a_bomb_is_refused_before_decoding_and_without_a_warning(tmp_path, recwarn):
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    for side, words in ((9800, "damaged"), (30_000, "30000×30000")):  # Pillow would warn of the one, refuse the other
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
        (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
        with pytest.raises(InputError, match=words):
            read_image(tmp_path / "bomb.png")
    assert not recwarn.list and Image.MAX_IMAGE_PIXELS is not None


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(EXACT)), st.floats(0, 1), st.integers(1, 255))
def test_any_wrong_byte_gives_a_picture_or_a_sentence(tmp_path_factory, kind, share, bits):
    data = bytearray(encode(PICTURE, kind))
    data[int(share * (len(data) - 1))] ^= bits
    path = tmp_path_factory.getbasetemp() / f"flipped-{os.getpid()}"
    path.write_bytes(data)
    try:
        assert read_image(path).ndim == 3
    except InputError as error:
        assert "flipped" in error.message


@pytest.mark.parametrize(("suffix", "error"), [(".png", 0), (".webp", 0), (".bmp", 0), (".TIFF", 0), (".jpg", 3)])
def test_written_pictures_come_back(suffix, error, tmp_path):
    path = tmp_path / f"out{suffix}"
    path.write_bytes(b"before")
    write_image(path, RGB)
    assert np.abs(read_image(path).astype(int)[:20, :28] - RGB[:20, :28]).max() <= error
    for wrong in (tmp_path / "out.xyz", tmp_path / "missing" / "out.png"):
        with pytest.raises(InputError):
            write_image(wrong, RGB)
    assert list(tmp_path.iterdir()) == [path]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(-50, 50), st.integers(-50, 50), st.integers(1, 60))
def test_a_crop_continues_the_edge(height, width, x, y, side):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    padded = np.pad(image, ((120, 120), (120, 120), (0, 0)), mode="edge")
    expected = padded[120 + y : 120 + y + side, 120 + x : 120 + x + side]
    assert np.array_equal(crop_resize(image, (x, y, side), side), expected)
    assert crop_resize(image, (x, y, side), 16).shape == (16, 16, 3)


def test_shrinking_averages():
    checks = (np.indices((8, 8)).sum(0) % 2 * 200).astype(np.uint8)[..., None].repeat(3, 2)
    assert np.all(crop_resize(checks, (0, 0, 8), 4) == 100)


def test_tensors_and_images():
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3)).astype(np.uint8)
    tensor = to_tensor(images, "cpu")
    assert tensor.shape == (2, 3, 5, 7) and tensor.dtype == torch.float32
    assert float(tensor[1, 2, 3, 4]) == pytest.approx(images[1, 3, 4, 2] / 255)
    assert np.array_equal(to_images(tensor), images)
    assert torch.equal(to_tensor([images[0], images[1]], "cpu"), tensor)
    mask = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0, 0.4999 / 255, 0.5001 / 255]).reshape(1, 1, 1, 7)
    assert to_images(mask)[0, 0].tolist() == [[value] * 3 for value in (0, 0, 128, 255, 255, 0, 1)]
