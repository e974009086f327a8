"""Videos, animated pictures and folders: their frames as RGB on an exact grid of time; and videos from frames, as MP4,
MOV, WebM, GIF or a folder of PNG, with sound, whole or not at all."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from fractions import Fraction
from itertools import chain
from math import floor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.filter import Graph

from animask.errors import AnimaskError, InputError
from animask.files import REPLACE, check_file, replacing
from animask.images import WHITE, centre_square, composite, crop_resize, orient, read_animation, read_image, write_image
from animask.probing import Colours, VideoInfo, decode_file, list_pictures, make_graph, probe, push, read_turn, shape_of

ACCURATE = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
CUBE = 33  # sides of a table of colours
GAMMA = 2.4  # ITU-R BT.1886: what displays make of BT.709
WHITE_NITS = 203  # ITU-R BT.2408: diffuse white in HDR
PQ, HLG = 16, 18  # ITU-T H.273: curves
FROM_P3 = np.array([[1.224940, -0.224940, 0.0], [-0.042057, 1.042057, 0.0], [-0.019638, -0.078636, 1.098274]])
FROM_BT2020 = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]]
)
TO_BT709 = {9: FROM_BT2020, 11: FROM_P3, 12: FROM_P3}  # by primaries of H.273

SUFFIXES = (".mp4", ".mov", ".m4v", ".webm", ".gif")
EVEN_SUFFIXES = (".mp4", ".mov", ".m4v")  # H.264 with halved colour planes
YUV = {"out_color_matrix": "bt709", "out_range": "tv", "flags": "bicubic+accurate_rnd+full_chroma_int"}
SOUND = [("aresample", {"osr": "48000", "async": "1", "first_pts": "0"}), ("aformat", {"channel_layouts": "stereo"})]
Sound = Generator[Any, None, None]  # packets


def read_frames(
    video: Path | VideoInfo,
    *,
    fps: Fraction | None = None,
    first: int = 0,
    stop: int | None = None,
    crop: tuple[int, int, int] | None = None,
    size: int | None = None,
    background: tuple[int, int, int] = WHITE,
) -> Generator[np.ndarray, None, None]:
    """Frames of a video, animated picture or folder, one by one: RGB uint8 (H, W, 3), upright, square pixels, BT.709.

    video: a path, or what `probe` said of it. fps: to resample to by time stamps (default: its own). first, stop:
    numbers of frames at that rate. crop: a square x, y, size in displayed pixels, which may reach beyond the picture.
    size: pixels of the result (with no crop: of the centred square). background: under transparent frames. Raises
    InputError for bad input at once, and on the way where decoding breaks off.
    """
    info = video if isinstance(video, VideoInfo) else probe(video)
    rate = info.fps if fps is None else Fraction(fps)
    if rate <= 0:
        raise InputError(f"A frame rate must be above 0, not {rate}.")
    total = count_frames(info, rate)
    stop = total if stop is None else min(stop, total)
    if not 0 <= first < stop:
        raise InputError(f"{info.path} has {total} frames at {rate} frames/s, and none from {first} to {stop}.")
    if crop is None and size is not None:
        crop = centre_square(info.height, info.width)
    frames = pick_frames(info, rate, first, stop, background)
    return frames if crop is None else (crop_resize(frame, crop, size or crop[2]) for frame in frames)


def frame_range(info: VideoInfo, rate: Fraction, start: float, end: float | None) -> tuple[int, int]:
    """First frame, and one past the last, at `rate` between start and end (seconds); InputError where there is none."""
    total = count_frames(info, rate)
    first = round(start * rate)  # a start that was computed as k / rate must give k
    stop = total if end is None else min(total, round(end * rate))
    if not 0 <= first < total:
        raise InputError(f"{info.path} lasts {float(total / rate):.2f} seconds and has no frame at {start}.")
    if stop <= first:
        raise InputError(f"No frame lies between {start} and {end} seconds.", "--end must come after --start.")
    return first, stop


def count_frames(info: VideoInfo, rate: Fraction) -> int:
    """How many frames there are at a rate; the pictures of a folder take whatever rate they are given."""
    return info.frames if info.kind == "folder" else max(1, round(Fraction(info.duration) * rate))


def pick_frames(
    info: VideoInfo, rate: Fraction, first: int, stop: int, background: tuple[int, int, int]
) -> Generator[np.ndarray, None, None]:
    """Frames `first` to `stop` at `rate`, by where they come from."""
    if info.kind == "folder":
        for path in list_pictures(info.path)[first:stop]:
            image = read_image(path, background)
            if image.shape[:2] != (info.height, info.width):
                raise InputError(f"{path} has another size than the first picture of its folder.")
            yield image
    elif info.kind == "animation":
        timed = ((start, frame) for frame, start, _ in read_animation(info.path, background))
        yield from on_grid(timed, rate, first, stop)
    else:
        decoded = decode_part(info, first / rate, stop / rate)
        yield from convert(on_grid(decoded, rate, first, stop), info, background)


def on_grid(timed: Iterable[tuple[Fraction, Any]], rate: Fraction, first: int, stop: int) -> Iterator[Any]:
    """What is shown at the frames `first` to `stop` of a grid, of things that come with the second they appear.

    Each stays until the next one does; the first is there from the beginning and the last to the end.
    """
    shown, number = None, first
    for time, thing in chain(timed, [(stop / rate, None)]):
        while shown is not None and number < min(stop, floor(time * rate + Fraction(1, 2))):
            yield shown
            number += 1
        if number == stop:
            return
        shown = thing


def decode_part(info: VideoInfo, start: Fraction, stop: Fraction) -> Iterator[tuple[Fraction, av.VideoFrame]]:
    """Decoded frames, with seconds, from one before `start` on; InputError where a tenth up to `stop` is missing."""
    time = None
    for jump in (start - 1, Fraction(0)):  # to know what is shown at the start, behind which some containers land
        timed = decode_file(info.path, "video", jump)
        head = next(timed, None)
        if head and (head[0] <= start or jump <= 0):
            break
    for time, frame in chain([head] if head else [], timed):
        yield time, frame
    stop = min(stop, info.last)
    if time is None or stop - time > (stop - start) / 10 + 2 / info.fps:
        reached = f"breaks off after {float(time):.1f} seconds" if time is not None else "has no readable frames"
        raise InputError(f"{info.path} {reached}.", "Convert it to MP4 first.")


def convert(frames: Iterable[av.VideoFrame], info: VideoInfo, background: tuple[int, int, int]) -> Iterator[np.ndarray]:
    """Decoded frames as RGB uint8 (H, W, 3): square pixels, upright, BT.709, one size whatever the stream does."""
    shown, shape = None, None
    for frame in frames:
        if frame is not shown:  # one that stays is converted once
            if shape != shape_of(frame):  # the picture may change its size on the way
                graph = make_converter(frame, info, "decrease" if shape else "disable")
                turn, shape = read_turn(frame), shape_of(frame)
            (converted,) = push(graph, frame)
            picture, shown = converted.to_ndarray(), frame
            if picture.shape[2] == 4:
                picture = composite(picture, background)
            picture = np.ascontiguousarray(orient(picture, turn))
        yield picture


def make_converter(frame: av.VideoFrame, info: VideoInfo, fit: str) -> Graph:
    """A chain of filters to the colours and the displayed shape. fit: "decrease" pads where "disable" stretches."""
    width, height = (info.height, info.width) if read_turn(frame)[0] else (info.width, info.height)
    size, colours = {"w": str(width), "h": str(height)}, info.colours
    options = {"in_color_matrix": str(colours.matrix), "flags": ACCURATE, "force_original_aspect_ratio": fit}
    filters = [("scale", size | options)]
    has_alpha = any(component.is_alpha for component in frame.format.components)
    with TemporaryDirectory() as folder:
        if colours.primaries in TO_BT709 or colours.curve in (PQ, HLG):
            cube = f"{folder}/colours.cube"
            coded = np.moveaxis(np.indices((CUBE,) * 3)[::-1], 0, -1) / (CUBE - 1)  # red changes first
            table = to_bt709(coded, colours).reshape(-1, 3)
            np.savetxt(cube, table, "%.6f", header=f"LUT_3D_SIZE {CUBE}", comments="")
            filters += [("format", {"pix_fmts": "gbrp16le"}), ("lut3d", {"file": cube})]
        filters += [("format", {"pix_fmts": "rgba" if has_alpha else "rgb24"})]
        filters += [("pad", size | {"x": "-1", "y": "-1"})] if fit == "decrease" else []
        return make_graph(frame, filters)


def to_bt709(coded: np.ndarray, colours: Colours) -> np.ndarray:
    """Coded RGB (..., 3) in [0, 1] as coded BT.709 RGB for a display of BT.1886; highlights of HDR are compressed."""
    light = to_light(coded, colours.curve) @ TO_BT709.get(colours.primaries, np.eye(3)).T
    if colours.curve in (PQ, HLG):
        light /= (1 + light.max(-1, keepdims=True).clip(0) ** 3) ** (1 / 3)
    return light.clip(0, 1) ** (1 / GAMMA)


def to_light(coded: np.ndarray, curve: int) -> np.ndarray:
    """Light of coded values, 1 for diffuse white: ITU-R BT.1886, or BT.2100 for PQ and HLG (1000 nits)."""
    if curve == PQ:
        power = coded ** (1 / 78.84375)
        share = (power - 0.8359375).clip(0) / (18.8515625 - 18.6875 * power)
        return 10000 / WHITE_NITS * share ** (1 / 0.1593017578125)
    if curve == HLG:
        scene = np.where(coded <= 0.5, coded**2 / 3, (np.exp((coded - 0.55991073) / 0.17883277) + 0.28466892) / 12)
        luminance = scene @ np.array([0.2627, 0.6780, 0.0593])
        return 1000 / WHITE_NITS * scene * luminance[..., None] ** 0.2
    return coded**GAMMA


# writing


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
    options = {"movflags": "+faststart"} if path.suffix.lower() in EVEN_SUFFIXES else {}
    with replacing(path, overwrite) as temporary:
        try:
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
        graph = graph or make_encoding(frame, stream)
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


def make_encoding(frame: av.VideoFrame, stream: av.VideoStream) -> Graph:
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
