"""Pictures: files to RGB uint8 arrays and back, squares, and the border between images and tensors."""

import io
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageCms, TiffImagePlugin, UnidentifiedImageError
from pillow_heif import register_heif_opener

from animask.errors import InputError
from animask.files import check_file, read_bytes, replacing

MAX_PIXELS = 100_000_000
MAX_BYTES = 1 << 29
Colour = tuple[int, int, int]
Turn = tuple[bool, bool, bool]  # to be upright: rows and columns are swapped, then rows reversed, then columns
WHITE = (255, 255, 255)
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "HEIF", "GIF", "TIFF", "BMP", "PPM", "JPEG2000")  # EPS would run a program
WRITABLE = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
PICTURE_SUFFIXES = {*WRITABLE, ".avif", ".heic", ".heif", ".ppm", ".jp2"}  # of pictures in a folder
NO_PICTURE = "Save it again as PNG or JPEG. If it is a video: the picture comes first, then the video."
SRGB = ImageCms.createProfile("sRGB")
PILLOW = threading.Lock()

register_heif_opener()


def read_image(path: Path, background: Colour = WHITE) -> np.ndarray:
    """The picture in `path` as people see it: RGB uint8 (H, W, 3), upright, in sRGB, laid on `background`.

    One of FORMATS, of any depth and colour space; of an animation the first frame. Raises InputError for anything
    else, for damaged files, and before decoding where there are more than MAX_PIXELS.
    """
    data = read_bytes(path, MAX_BYTES)
    with pillow(path):
        return to_rgb(open_picture(path, data), background)


def is_animated(path: Path) -> bool | None:
    """Whether a picture moves: a GIF, WebP, PNG or AVIF of several frames; None for what is no picture at all."""
    try:
        check_file(Path(path))
        with pillow(path), Image.open(path, formats=FORMATS) as picture:
            return picture.format in ("GIF", "WEBP", "PNG", "AVIF") and getattr(picture, "n_frames", 1) > 1
    except InputError:
        return None


def read_animation(path: Path, background: Colour = WHITE) -> Iterator[tuple[np.ndarray, Fraction, Fraction]]:
    """The frames of an animated picture, RGB uint8 (H, W, 3), with the seconds in which each appears and ends.

    Delays of at most 10 ms mean 100 ms, as in browsers, but in AVIF. Raises InputError as `read_image` does.
    """
    data, end = read_bytes(path, MAX_BYTES), Fraction(0)
    with pillow(path):
        picture = open_picture(path, data)
        first, stop = int(bool(picture.info.get("default_image"))), getattr(picture, "n_frames", 1)
    for number in range(first, stop):  # not the still that an APNG may have for readers of plain PNG
        with pillow(path):
            picture.seek(number)
            check_size(path, picture.width, picture.height)  # which a GIF may enlarge
            frame = to_rgb(picture, background)
        start, delay = end, Fraction(picture.info.get("duration", 0)).limit_denominator(1001) / 1000
        if picture.format == "AVIF":  # both are rounded to milliseconds, which must not add up
            end = delay + Fraction(picture.info["timestamp"], 1000)
        else:
            end = start + (delay if delay > Fraction(1, 100) else Fraction(1, 10))
        yield frame, start, end


def write_image(path: Path, image: np.ndarray) -> None:
    """Write an RGB uint8 (H, W, 3) image in the format of the suffix, in one step or not at all."""
    if Path(path).suffix.lower() not in WRITABLE:
        raise InputError(f"{path} has no suffix of a picture.", f"Use one of {', '.join(WRITABLE)}.")
    with replacing(path) as temporary:  # each format takes the options that it knows
        Image.fromarray(image).save(temporary, compress_level=3, quality=95, lossless=True)


def centre_square(height: int, width: int, size: int | None = None) -> tuple[int, int, int]:
    """The centred square of a height × width picture, as x, y, size; by default the largest within it."""
    size = size or min(height, width)
    return (width - size) // 2, (height - size) // 2, size


def crop_resize(image: np.ndarray, box: tuple[int, int, int], size: int) -> np.ndarray:
    """The square `box` (x, y, size) of (H, W, C) as (size, size, C); beyond the picture its edge pixels continue."""
    x, y, side = box
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


def fit(image: np.ndarray, size: int) -> np.ndarray:
    """The largest centred square of (H, W, C) as (size, size, C)."""
    return crop_resize(image, centre_square(*image.shape[:2]), size)


def to_tensor(images: np.ndarray | Sequence[np.ndarray], device: torch.device | str) -> torch.Tensor:
    """uint8 images (B, H, W, 3), a list of (H, W, 3), or one (H, W, 3), as float32 (B, 3, H, W) in [0, 1]."""
    batch = np.ascontiguousarray(images)
    tensor = torch.from_numpy(batch.reshape(-1, *batch.shape[-3:])).to(device)
    return tensor.permute(0, 3, 1, 2).contiguous().to(torch.float32).div_(255)


def to_images(frames: torch.Tensor) -> np.ndarray:
    """Frames (B, 3 or 1, H, W) in [0, 1] as uint8 (B, H, W, 3), clamped and rounded; one channel: grey."""
    scaled = frames.detach().to(torch.float32).clamp(0, 1).mul_(255).round_().to(torch.uint8)
    return scaled.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def composite(rgba: np.ndarray, background: Colour) -> np.ndarray:
    """A uint8 (H, W, 4) picture laid on a background colour: uint8 (H, W, 3)."""
    alpha = rgba[..., 3:].astype(np.uint32)
    mixed = rgba[..., :3] * alpha + np.asarray(background, np.uint32) * (255 - alpha)
    return ((mixed + 127) // 255).astype(np.uint8)


@contextmanager
def pillow(path: Path) -> Iterator[None]:
    """Use Pillow without its own size limit and warnings; whatever a damaged file makes it raise is an InputError."""
    with PILLOW, warnings.catch_warnings():  # both are settings of the whole process
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        except InputError:
            raise
        except Exception as error:  # of a dozen kinds
            raise InputError(f"{path} is damaged or not a picture that can be read.", NO_PICTURE) from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def open_picture(path: Path, data: bytes) -> Image.Image:
    """The picture, not decoded yet; InputError where it is too large or the end is missing."""
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        if not data.startswith((b"II*\0", b"MM\0*")):
            raise
        return open_float_tiff(path, data)
    check_size(path, picture.width, picture.height)
    is_entropy_coded = picture.format in ("JPEG", "MPO", "WEBP", "AVIF", "HEIF")
    if is_entropy_coded and data.endswith(bytes(64)) and not data.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise InputError(f"{path} is damaged: its end is missing, filled up with zeros.", "Copy it again.")
    return picture


def open_float_tiff(path: Path, data: bytes) -> Image.Image:
    """A TIFF with colours of floats, which Pillow does not know: by OpenCV, which turns it upright."""
    stream, tags = io.BytesIO(data), TiffImagePlugin.ImageFileDirectory_v2(data[:8])
    stream.seek(tags.next)
    tags.load(stream)
    check_size(path, tags[256], tags[257])
    is_float = tags.get(339, [1])[0] == 3
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if is_float else None
    if decoded is None:
        raise UnidentifiedImageError
    return Image.fromarray(narrow(decoded[..., 2::-1]))  # BGR or BGRA


def check_size(path: Path, width: int, height: int) -> None:
    """Raise InputError where a picture has too many pixels."""
    if width * height > MAX_PIXELS:
        raise InputError(f"{path} is {width}×{height}, more than the limit of {MAX_PIXELS} pixels.", "Shrink it first.")


def to_rgb(picture: Image.Image, background: Colour) -> np.ndarray:
    """A picture of Pillow's, of any mode, upright and in the colours of sRGB: uint8 (H, W, 3)."""
    picture.load()
    if picture.mode.startswith(("I", "F")):
        image = np.repeat(narrow(np.asarray(picture))[..., None], 3, axis=2)
    elif picture.has_transparency_data:
        image = composite(np.asarray(to_srgb(picture, "RGBA")), background)
    else:
        image = np.asarray(to_srgb(picture, "RGB"))
    orientation = 1
    with suppress(Exception):  # nonsense in EXIF spoils no picture
        orientation = picture.getexif().get(274, 1)  # of AVIF it is the header's; TIFF and HEIC are upright by now
    turn = orientation in (5, 6, 7, 8), orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return np.array(orient(image, turn), order="C")  # Pillow's own memory is not writable


def narrow(values: np.ndarray) -> np.ndarray:
    """Values of more than 8 bits as uint8. Floats and 32 bits do not say what is white: their size tells."""
    values, white = np.nan_to_num(values), 65535
    if values.dtype.str[1:] != "u2":
        most = np.percentile(values, 99) / 2 if values.dtype.kind == "f" else values.max()  # highlights may be whiter
        white = next((top for top in (1, 255, 65535) if most <= top), 1 << 32)
    return np.multiply(values.clip(0, white), 255 / white, dtype=np.float32).round().astype(np.uint8)


def to_srgb(picture: Image.Image, mode: str) -> Image.Image:
    """The picture in `mode`, RGB or RGBA; its colour profile, such as Display P3 of phones, turned into sRGB."""
    plain = picture if picture.mode in ("L", "CMYK") and mode == "RGB" else picture.convert(mode)
    if profile := picture.info.get("icc_profile"):
        with suppress(OSError, ImageCms.PyCMSError):  # a damaged profile, or one of another kind of picture
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            plain = ImageCms.profileToProfile(plain, source, SRGB, outputMode=mode) or plain
    return plain.convert(mode)


def orient(image: np.ndarray, turn: Turn) -> np.ndarray:
    """An (H, W, C) picture upright."""
    swapped, rows, columns = turn
    upright = image.transpose(1, 0, 2) if swapped else image
    return upright[:: -1 if rows else 1, :: -1 if columns else 1]
