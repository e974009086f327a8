"""Videos from frames: MP4, MOV, WebM, GIF or a folder of PNG, with sound; whole or not at all."""

from collections.abc import Generator, Iterable
from contextlib import closing
from fractions import Fraction
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.filter import Graph

from animask.errors import AnimaskError, InputError
from animask.files import REPLACE, check_file, replacing
from animask.images import write_image
from animask.probing import decode_file, make_graph, push

SUFFIXES = (".mp4", ".mov", ".m4v", ".webm", ".gif")
EVEN_SUFFIXES = (".mp4", ".mov", ".m4v")  # H.264 with halved colour planes
YUV = {"out_color_matrix": "bt709", "out_range": "tv", "flags": "bicubic+accurate_rnd+full_chroma_int"}
SOUND = [("aresample", {"osr": "48000", "async": "1", "first_pts": "0"}), ("aformat", {"channel_layouts": "stereo"})]
Sound = Generator[Any, None, None]  # packets


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    fps: Fraction,
    audio: Path | None = None,
    start: float = 0.0,
    crf: int = 17,
    overwrite: bool = True,
) -> tuple[int, int, int]:
    """Write frames, RGB uint8 (H, W, 3), to `path`: all of them, or what was there stays. Returns W, H, their number.

    path: its suffix chooses the format (.mp4 .mov .m4v: H.264, of even sizes; .webm: VP9; .gif; no suffix or an
    existing folder: 000000.png and so on). fps: frames a second, exact. audio: a file whose sound, if it has any,
    accompanies the frames from `start` seconds on; GIF and PNG stay silent. crf: 0 (lossless) to 51. overwrite: replace
    what is there. Raises InputError for what cannot be written and AnimaskError where writing fails.
    """
    path, images = Path(path), iter(frames)
    first = next(images, None)
    if first is None:
        raise AnimaskError(f"There are no frames to write to {path}.")
    height, width = first.shape[:2]
    check_target(path, width, height)
    checked = (check_frame(image, height, width) for image in chain([first], images))
    if not path.suffix or path.is_dir():
        return width, height, write_folder(path, checked, overwrite)
    with replacing(path, overwrite) as temporary:
        try:
            options = {"movflags": "+faststart"} if path.suffix.lower() in EVEN_SUFFIXES else {}
            with (
                av.open(f"file:{temporary.absolute()}", "w", options=options) as container,
                closing(read_sound(audio, Fraction(start), container)) as sound,
            ):
                stream = add_pictures(container, fps, (width, height), crf)
                return width, height, weave(container, stream, checked, fps, sound)
        except OSError:  # a full disk: of the file, not of the encoder
            raise
        except av.FFmpegError as error:
            raise AnimaskError(f"Writing {path} failed: {error.strerror}.") from error


def check_target(path: Path, width: int, height: int) -> None:
    """Raise InputError where no video of this size can be written to `path`."""
    suffix = path.suffix.lower()
    if suffix and suffix not in SUFFIXES and not path.is_dir():
        known = f"Use one of {' '.join(SUFFIXES)}, or no suffix for a folder of PNG."
        raise InputError(f"{path} has no suffix of a video.", known)
    if path.exists() and path.is_dir() == (suffix in SUFFIXES):
        raise InputError(f"{path} is {'a folder' if path.is_dir() else 'a file'}.", "Choose another name.")
    if not path.parent.is_dir():
        raise InputError(f"The folder {path.parent} does not exist.", "Make it first.")
    if suffix in EVEN_SUFFIXES and (width % 2 or height % 2):
        raise InputError(f"{path} needs an even width and height, not {width}×{height}.", "Use .webm, .gif or PNG.")


def check_frame(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The frame, contiguous; ValueError where it is no RGB uint8 of this size."""
    if image.shape != (height, width, 3) or image.dtype != np.uint8:
        raise ValueError(f"a frame must be uint8 {(height, width, 3)}, not {image.dtype} {image.shape}")
    return np.ascontiguousarray(image)


def write_folder(path: Path, frames: Iterable[np.ndarray], overwrite: bool) -> int:
    """Frames as 000000.png and so on in place of those of an earlier folder, whose other files stay; their number."""
    try:
        with TemporaryDirectory(prefix=f".{path.name[:50]}-", dir=path.parent, ignore_cleanup_errors=True) as folder:
            for number, frame in enumerate(frames):
                write_image(Path(folder, f"{number:06}.png"), frame)
            if path.is_dir() and any(path.iterdir()) and not overwrite:
                raise InputError(f"{path} exists already.", REPLACE)
            path.mkdir(exist_ok=True)
            new = {frame.name: frame for frame in Path(folder).iterdir()}
            for name, file in new.items():
                file.replace(path / name)
            for file in path.glob("[0-9]" * 6 + "*.png"):
                if file.stem.isdigit() and file.name not in new:
                    file.unlink()
            return len(new)
    except OSError as error:
        raise AnimaskError(f"{path} could not be written: {error.strerror}.") from error


def weave(
    container: OutputContainer, stream: av.VideoStream, images: Iterable[np.ndarray], fps: Fraction, sound: Sound
) -> int:
    """Write pictures, and between them the packets of sound that are due; how many pictures there were."""
    number, graph, heard = 0, None, next(sound, None)
    for image in images:
        frame = av.VideoFrame.from_ndarray(image, "rgb24")
        frame.pts, frame.time_base, frame.duration = number, 1 / fps, 1
        graph = graph or make_converter(frame, stream)
        for converted in push(graph, frame):
            container.mux(stream.encode(converted))
        number += 1
        while heard is not None and heard.pts * heard.time_base < number / fps:
            container.mux(heard)
            heard = next(sound, None)
    for converted in chain(push(graph, None), [None]):
        container.mux(stream.encode(converted))
    return number


def add_pictures(container: OutputContainer, fps: Fraction, size: tuple[int, int], crf: int) -> av.VideoStream:
    """A stream of H.264, of VP9 in WebM, which counts quality from 0 to 63, or of a GIF."""
    if container.format.name == "gif":
        stream = container.add_stream("gif", min(fps, Fraction(50)))  # viewers slow down what is faster
        stream.width, stream.height, stream.pix_fmt, stream.time_base = *size, "pal8", Fraction(1, 100)
        return stream
    if container.format.name == "webm":
        options = {"crf": str(round(crf * 63 / 51)), "deadline": "good", "cpu-used": "4", "row-mt": "1"}
        stream = container.add_stream("libvpx-vp9", fps, options)
    else:
        stream = container.add_stream("libx264", fps, {"preset": "faster", "crf": str(crf)})
    stream.width, stream.height, stream.pix_fmt, stream.time_base = *size, "yuv420p", 1 / fps
    context = stream.codec_context
    context.thread_type = "AUTO"  # slices, the default, cost a fifth of the bytes
    context.color_primaries = context.color_trc = context.colorspace = context.color_range = 1  # BT.709 in ITU-T H.273
    return stream


def read_sound(path: Path | None, start: Fraction, container: OutputContainer) -> Sound:
    """Stereo AAC, or Opus in WebM, of a file from `start` on; silence fills gaps."""
    if path is None or path.is_dir() or container.format.name == "gif":
        return
    check_file(path)
    codec, rate = ("libopus", 128_000) if container.format.name == "webm" else ("aac", 192_000)
    graph: Graph | None = None
    encoder: Any = None
    for time, frame in decode_file(path, "audio", start - 1):
        frame.pts = round((time - start) / frame.time_base)
        graph = graph or make_graph(frame, SOUND)
        encoder = encoder or container.add_stream(codec, 48000, bit_rate=rate)
        for part in push(graph, frame):
            yield from encoder.encode(part)
    if encoder:
        for part in chain(push(graph, None), [None]):
            yield from encoder.encode(part)


def make_converter(frame: av.VideoFrame, stream: av.VideoStream) -> Graph:
    """A filter graph from RGB to YUV, or for a GIF to a palette for each frame, at a rate that viewers can show."""
    if stream.name != "gif":
        return make_graph(frame, [("scale", YUV), ("format", {"pix_fmts": "yuv420p"})])
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    rate, split = graph.add("fps", fps=str(stream.average_rate)), graph.add("split")
    palette = graph.add("palettegen", stats_mode="single")
    draw = graph.add("paletteuse", new="1", dither="none")  # a palette a frame hardly bands, and dithering flickers
    graph.link_nodes(source, rate, split, draw, graph.add("buffersink"))
    split.link_to(palette, 1)
    palette.link_to(draw, 0, 1)
    graph.configure()
    return graph
