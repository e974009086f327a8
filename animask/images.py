"""Pictures: files to RGB uint8 arrays and back, squares, and the border between images and tensors."""

import stat
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from animask.errors import AnimaskError, InputError
from animask.partials import partial_path

MAX_PIXELS = 100_000_000
MAX_BYTES = 1 << 29
WRITABLE = {
    ".png": [cv2.IMWRITE_PNG_COMPRESSION, 3],
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".webp": [cv2.IMWRITE_WEBP_QUALITY, 101],  # above 100: lossless
    ".bmp": [],
    ".tif": [],
    ".tiff": [],
}


class _Header(NamedTuple):
    """What a picture file says before it is decoded. orientation: the EXIF number, 1 to 8."""

    width: int
    height: int
    orientation: int


def read_image(
    path: Path, background: tuple[int, int, int] = (255, 255, 255), max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """The picture in `path` as people see it: RGB uint8 (H, W, 3).

    EXIF orientation is applied, transparency composited on `background` (RGB), 16 bits reduced to 8, grey,
    palette and CMYK turned into RGB; of an animation the first frame. PNG, JPEG, WebP, GIF, BMP, TIFF, PNM,
    AVIF and JPEG 2000. Raises InputError for anything else, and before decoding when the header promises more
    than `max_pixels`.
    """
    path = Path(path)
    data = _read_bytes(path)
    header = _inspect(data, path)
    if header.width * header.height > max_pixels:
        raise InputError(
            f"{path} is {header.width}×{header.height}, more than the limit of {max_pixels} pixels.",
            "Shrink the picture; `animask animate` can raise the limit with --max-pixels.",
        )
    decoded = _decode(data)
    if decoded is None:
        raise InputError(f"{path} is damaged or not a picture that can be read.", "Save it again as PNG or JPEG.")
    return np.ascontiguousarray(_orient(_to_rgb(decoded, background), header.orientation))


def write_image(path: Path, image: np.ndarray) -> None:
    """Write an RGB uint8 (H, W, 3) image in the format of the suffix, in one step or not at all."""
    path = Path(path)
    settings = WRITABLE.get(path.suffix.lower())
    if settings is None:
        raise InputError(f"{path} has no suffix of a picture.", f"Use one of {', '.join(WRITABLE)}.")
    done, data = cv2.imencode(path.suffix.lower(), cv2.cvtColor(image, cv2.COLOR_RGB2BGR), settings)
    if not done:
        raise AnimaskError(f"The picture {path} could not be encoded.")
    partial = partial_path(path)
    try:
        partial.write_bytes(data.tobytes())
        partial.replace(path)
    except OSError as error:
        raise AnimaskError(f"{path} could not be written: {error.strerror}.") from error
    finally:
        partial.unlink(missing_ok=True)


def centre_square(height: int, width: int) -> tuple[int, int, int]:
    """The largest centred square of a height × width picture, as x, y, size."""
    size = min(height, width)
    return (width - size) // 2, (height - size) // 2, size


def crop_resize(image: np.ndarray, box: tuple[int, int, int], size: int) -> np.ndarray:
    """The square `box` (x, y, size in pixels) of an (H, W, C) image, as (size, size, C); never stretched.

    A box may reach beyond the picture: the edge pixels continue there. Area averages down, cubic up.
    """
    x, y, side = box
    if side < 1 or size < 1:
        raise ValueError(f"a crop needs a size of at least 1, got box {box} and size {size}")
    height, width = image.shape[:2]
    if x >= 0 and y >= 0 and x + side <= width and y + side <= height:
        square = image[y : y + side, x : x + side]
    else:
        rows = np.clip(np.arange(y, y + side), 0, height - 1)
        columns = np.clip(np.arange(x, x + side), 0, width - 1)
        square = image[rows[:, None], columns[None, :]]
    if side == size:
        return np.ascontiguousarray(square)
    how = cv2.INTER_AREA if size < side else cv2.INTER_CUBIC
    return cv2.resize(square, (size, size), interpolation=how).reshape(size, size, *image.shape[2:])


def to_tensor(images: np.ndarray | Sequence[np.ndarray], device: torch.device | str) -> torch.Tensor:
    """uint8 images (B, H, W, 3), a list of (H, W, 3), or one (H, W, 3), as float32 (B, 3, H, W) in [0, 1]."""
    batch = np.stack(images) if not isinstance(images, np.ndarray) else images
    if batch.ndim == 3:
        batch = batch[None]
    tensor = torch.from_numpy(np.ascontiguousarray(batch)).to(device)
    return tensor.permute(0, 3, 1, 2).to(torch.float32).div(255).contiguous()


def to_images(frames: torch.Tensor) -> np.ndarray:
    """Frames (B, 3 or 1, H, W) in [0, 1] as uint8 (B, H, W, 3), clamped and rounded; one channel: grey."""
    scaled = frames.detach().to(torch.float32).clamp(0, 1).mul(255).round().to(torch.uint8)
    return scaled.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def composite(rgba: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """A uint8 (H, W, 4) picture laid on a background colour: uint8 (H, W, 3)."""
    alpha = rgba[..., 3:].astype(np.uint32)
    mixed = rgba[..., :3] * alpha + np.asarray(background, np.uint32) * (255 - alpha)
    return ((mixed + 127) // 255).astype(np.uint8)


def _read_bytes(path: Path) -> bytes:
    try:
        mode = path.stat()
        if stat.S_ISDIR(mode.st_mode):
            raise InputError(f"{path} is a folder, not a picture.")
        if not stat.S_ISREG(mode.st_mode):  # opening a FIFO or a device may wait for ever
            raise InputError(f"{path} is not a regular file.")
        if mode.st_size > MAX_BYTES:
            raise InputError(f"{path} is larger than {MAX_BYTES >> 20} MiB.")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if not data:
        raise InputError(f"{path} is empty.")
    return data


def _decode(data: bytes) -> np.ndarray | None:
    """The stored pixels, unturned, with alpha; None where OpenCV cannot (its log on stderr says no more)."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(level)


def _to_rgb(decoded: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """What OpenCV decodes (grey, BGR or BGRA, of 8 or 16 bits or floats in [0, 1]) as RGB uint8."""
    if decoded.dtype == np.uint16:
        decoded = ((decoded.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif np.issubdtype(decoded.dtype, np.floating):
        decoded = (np.nan_to_num(decoded).clip(0, 1) * 255).round().astype(np.uint8)
    if decoded.ndim == 2 or decoded.shape[2] == 1:
        return cv2.cvtColor(decoded, cv2.COLOR_GRAY2RGB)
    if decoded.shape[2] == 3:
        return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    return composite(cv2.cvtColor(decoded, cv2.COLOR_BGRA2RGBA), background)


def _orient(image: np.ndarray, orientation: int) -> np.ndarray:
    """Undo the camera's turn (EXIF 2.3, tag 274; 1 is upright, 3 upside down, 6 and 8 lie on a side)."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    flip_rows, flip_columns = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return image[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def _inspect(data: bytes, path: Path) -> _Header:
    """Size and orientation from the header; InputError where it is cut off or no known kind of picture."""
    readers = (
        (b"\x89PNG\r\n\x1a\n", _inspect_png),
        (b"\xff\xd8\xff", _inspect_jpeg),
        (b"GIF8", _inspect_gif),
        (b"RIFF", _inspect_webp),
        (b"BM", _inspect_bmp),
        (b"II*\0", _inspect_tiff),
        (b"MM\0*", _inspect_tiff),
        (b"P", _inspect_pnm),
        (b"\0\0\0\x0cjP  ", _inspect_jpeg2000),
        (b"\0\0\0", _inspect_avif),
    )
    inspect = next((reader for magic, reader in readers if data.startswith(magic)), None)
    header = None
    if inspect is not None:
        try:
            header = inspect(data)
        except (struct.error, IndexError):
            raise InputError(f"{path} is damaged or cut off.") from None
    if header is None:
        hint = "iPhone pictures: export them as JPEG." if data[4:8] == b"ftyp" else "Give a PNG, JPEG or WebP."
        raise InputError(f"{path} is not a picture that can be read.", hint)
    if header.width < 1 or header.height < 1:
        raise InputError(f"{path} is a picture without pixels.")
    return header


def _inspect_png(data: bytes) -> _Header:
    """PNG specification, section 5: chunks of length, type, data and checksum, from IHDR to IEND."""
    width, height = struct.unpack_from(">II", data, 16)
    orientation, at, kind = 1, 8, b""
    while kind != b"IEND":
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        if kind[:1].isupper() and zlib.crc32(kind + body) != checksum:
            raise IndexError("checksum of a PNG chunk")
        if kind == b"eXIf":
            orientation = _exif_orientation(body)
        at += 12 + length
    return _Header(width, height, orientation)


def _inspect_jpeg(data: bytes) -> _Header:
    """ITU T.81, annex B: segments up to the scan, which ends with the only FFD9 that may follow it."""
    at, orientation, size = 2, 1, (0, 0)
    while data[at + 1] != 0xDA:  # start of scan
        if data[at] != 0xFF:
            raise IndexError("JPEG marker")
        marker = data[at + 1]
        if marker == 0xFF or 0xD0 <= marker <= 0xD8:  # fill byte, or a marker without content
            at += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            size = struct.unpack_from(">HH", data, at + 5)
        if marker == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            orientation = _exif_orientation(data[at + 10 : at + 2 + length])
        at += 2 + length
    if data.find(b"\xff\xd9", at) < 0:
        raise IndexError("end of the JPEG")
    return _Header(size[1], size[0], orientation)


def _inspect_gif(data: bytes) -> _Header:
    """GIF89a specification: the screen, then blocks up to the end of the first image."""

    def table(flags: int) -> int:
        return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

    def after_blocks(at: int) -> int:
        while data[at]:
            at += 1 + data[at]
        return at + 1

    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + table(flags)
    while data[at] == 0x21:
        at = after_blocks(at + 2)
    if data[at] != 0x2C:
        raise IndexError("GIF image")
    after_blocks(at + 11 + table(data[at + 9]))
    return _Header(width, height, 1)


def _inspect_webp(data: bytes) -> _Header | None:
    """RFC 9649: one of VP8, VP8L or VP8X comes first, EXIF anywhere after."""
    if data[8:12] != b"WEBP":
        return None
    if len(data) < 8 + struct.unpack_from("<I", data, 4)[0]:
        raise IndexError("end of the WebP")
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[i : i + 3], "little") + 1 for i in (24, 27))
    elif kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", data, 26))
    orientation, at = 1, 12
    while at + 8 <= len(data):
        length = struct.unpack_from("<I", data, at + 4)[0]
        if data[at : at + 4] == b"EXIF":
            orientation = _exif_orientation(data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0"))
        at += 8 + length + length % 2
    return _Header(width, height, orientation)


def _inspect_bmp(data: bytes) -> _Header:
    old = struct.unpack_from("<I", data, 14)[0] == 12
    width, height = struct.unpack_from("<HH" if old else "<ii", data, 18)
    return _Header(width, abs(height), 1)


def _inspect_tiff(data: bytes) -> _Header:
    """Tags 256 and 257 of the first directory; OpenCV's TIFF reader applies tag 274 (orientation) itself."""
    tags = _tiff_tags(data)
    return _Header(tags.get(256, 0), tags.get(257, 0), 1)


def _inspect_pnm(data: bytes) -> _Header | None:
    lines = b" ".join(line.split(b"#")[0] for line in data[:4096].split(b"\n"))
    words = lines.split()
    if words[0] not in (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6") or not (words[1] + words[2]).isdigit():
        return None
    return _Header(int(words[1]), int(words[2]), 1)


def _inspect_jpeg2000(data: bytes) -> _Header | None:
    """ISO 15444-1: what is decoded is as large as the first marker segment SIZ says, whatever the box ihdr promises."""
    at = data.find(b"\xff\x4f\xff\x51")
    if at < 0:
        return None
    right, bottom, left, top = struct.unpack_from(">IIII", data, at + 8)
    return _Header(right - left, bottom - top, 1)


def _inspect_avif(data: bytes) -> _Header | None:
    """ISO 23008-12: the largest of the `ispe` properties is the whole picture."""
    if data[4:8] != b"ftyp" or b"avif" not in data[8 : struct.unpack_from(">I", data, 0)[0]]:
        return None
    sizes, at = [], data.find(b"ispe")
    while at >= 0:
        sizes.append(struct.unpack_from(">II", data, at + 8))
        at = data.find(b"ispe", at + 4)
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return _Header(width, height, 1)


def _exif_orientation(exif: bytes) -> int:
    """Tag 274 of an EXIF block, or 1 (upright) where it is missing or nonsense."""
    try:
        orientation = _tiff_tags(exif).get(274, 1)
    except (struct.error, IndexError):
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def _tiff_tags(data: bytes) -> dict[int, int]:
    """The short and long whole numbers of the first directory of a TIFF structure (TIFF 6.0, section 2)."""
    order = "<" if data[:2] == b"II" else ">"
    (at,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, at)
    tags = {}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        if kind in (3, 4):
            (tags[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, entry + 8)
    return tags
