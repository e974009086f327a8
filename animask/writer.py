"""Videos from frames: MP4, MOV, WebM, GIF or a folder of PNG, with sound; whole or not at all."""

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from fractions import Fraction
from itertools import chain
from math import floor
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.filter import Graph
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from animask.errors import AnimaskError, InputError
from animask.files import REPLACE, check_file, replacing
from animask.images import write_image
from animask.probing import choose_stream, decode, make_graph, open_video, push, start_of

SUFFIXES = (".mp4", ".mov", ".m4v", ".webm", ".gif")
EVEN_SUFFIXES = (".mp4", ".mov", ".m4v")  # H.264 with halved colour planes
GIF_MAX_FPS = 50  # viewers slow down what is shown for less than 2 hundredths of a second
GIF_TICK = Fraction(1, 100)
PALETTE_BYTES = 64 << 20  # of first frames of a GIF, from which its palette is made
YUV = {"out_color_matrix": "bt709", "out_range": "tv", "flags": "bicubic+accurate_rnd+full_chroma_int"}
BT709 = 1  # ITU-T H.273: primaries, curve and matrix
SOUND_RATE = 48000
SOUND = [
    ("aresample", {"osr": str(SOUND_RATE), "async": "1", "first_pts": "0"}),
    ("aformat", {"channel_layouts": "stereo"}),
]

Put = Callable[[np.ndarray, int], None]  # a frame and its number


class VideoWriter:
    """Write RGB frames to `path`; a context manager that leaves a whole video, or what was there before.

    path: its suffix chooses the format (.mp4 .mov .m4v: H.264; .webm: VP9; .gif; no suffix or an existing folder:
    000000.png and so on). fps: frames a second, exact. size: width, height (even for H.264). audio: a file whose sound,
    from `audio_start` seconds on, accompanies the frames; one without sound is fine; GIF and PNG stay silent. crf: 0
    (lossless) to 51. overwrite: replace what is there; otherwise an output that somebody else made meanwhile is kept.
    Raises InputError for what cannot be written and AnimaskError where writing fails.
    """

    def __init__(
        self,
        path: Path,
        fps: Fraction,
        size: tuple[int, int],
        audio: Path | None = None,
        audio_start: float = 0.0,
        crf: int = 17,
        overwrite: bool = True,
    ) -> None:
        self.path, self.size, self.frames, kind = Path(path), size, 0, Path(path).suffix.lower()
        check_target(self.path, size)
        if not kind or self.path.is_dir():
            self.target: AbstractContextManager[Put] = write_folder(self.path, overwrite)
        elif kind == ".gif":
            self.target = write_gif(self.path, fps, size, overwrite)
        else:
            self.target = write_video(self.path, fps, size, audio, Fraction(audio_start), crf, overwrite)

    def __enter__(self) -> "VideoWriter":
        self.put = self.target.__enter__()
        return self

    def write(self, frame: np.ndarray) -> None:
        """Add one frame: RGB uint8 (height, width, 3)."""
        expected = (self.size[1], self.size[0], 3)
        if frame.shape != expected or frame.dtype != np.uint8:
            raise ValueError(f"a frame must be uint8 {expected}, not {frame.dtype} {frame.shape}")
        self.put(np.ascontiguousarray(frame), self.frames)
        self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self.frames == 0:
            error = AnimaskError(f"There are no frames to write to {self.path}.")
            self.target.__exit__(AnimaskError, error, None)
            raise error
        self.target.__exit__(kind, error, trace)


def check_target(path: Path, size: tuple[int, int]) -> None:
    """Raise InputError where no video of this size can be written to `path`."""
    suffix, (width, height) = path.suffix.lower(), size
    if suffix and suffix not in SUFFIXES and not path.is_dir():
        known = f"Use one of {' '.join(SUFFIXES)}, or no suffix for a folder of PNG."
        raise InputError(f"{path} has no suffix of a video.", known)
    if path.exists() and path.is_dir() == (suffix in SUFFIXES):
        raise InputError(f"{path} is {'a folder' if path.is_dir() else 'a file'}.", "Choose another name.")
    if not path.parent.is_dir():
        raise InputError(f"The folder {path.parent} does not exist.", "Make it first.")
    if width < 1 or height < 1 or (suffix in EVEN_SUFFIXES and (width % 2 or height % 2)):
        raise InputError(f"{path} needs an even width and height, not {width}×{height}.", "Use .webm, .gif or PNG.")


@contextmanager
def write_folder(path: Path, overwrite: bool) -> Iterator[Put]:
    """Frames as 000000.png, 000001.png ... in a hidden folder, from which they are moved to `path` when all is well.

    Of a folder that is there already, frames of that name are replaced and later ones removed; other files stay.
    """
    try:
        with TemporaryDirectory(prefix=f".{path.name[:50]}-", dir=path.parent, ignore_cleanup_errors=True) as folder:
            yield lambda frame, number: write_image(Path(folder, f"{number:06}.png"), frame)
            if path.is_dir() and any(path.iterdir()) and not overwrite:
                raise InputError(f"{path} exists already.", REPLACE)
            path.mkdir(exist_ok=True)
            new = {frame.name: frame for frame in Path(folder).iterdir()}
            for name, frame in new.items():
                frame.replace(path / name)
            for frame in path.glob("[0-9]" * 6 + "*.png"):
                if frame.stem.isdigit() and frame.name not in new:
                    frame.unlink()
    except OSError as error:
        raise AnimaskError(f"{path} could not be written: {error.strerror}.") from error


@contextmanager
def output(path: Path, overwrite: bool, options: dict[str, str]) -> Iterator[OutputContainer]:
    """A container that becomes the file `path` when the block ends well; the encoder's complaint otherwise."""
    with replacing(path, overwrite) as temporary:
        try:
            with av.open(f"file:{temporary.absolute()}", "w", options=options) as container:
                yield container
        except OSError:  # a full disk: of the file, not of the encoder
            raise
        except av.FFmpegError as error:
            raise AnimaskError(f"Writing {path} failed: {error.strerror}.") from error


@contextmanager
def write_video(
    path: Path, fps: Fraction, size: tuple[int, int], audio: Path | None, start: Fraction, crf: int, overwrite: bool
) -> Iterator[Put]:
    """H.264 or VP9, with the sound woven in as the frames come."""
    options = {} if path.suffix.lower() == ".webm" else {"movflags": "+faststart"}
    with output(path, overwrite, options) as container, closing(read_sound(audio, start, container)) as sound:
        stream, heard = add_pictures(container, fps, size, crf), next(sound, None)
        graph: Graph | None = None

        def put(image: np.ndarray, number: int) -> None:
            nonlocal graph, heard
            frame = VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base, frame.duration = number, 1 / fps, 1
            graph = graph or make_graph(frame, [("scale", YUV), ("format", {"pix_fmts": "yuv420p"})])
            for converted in push(graph, frame):
                container.mux(stream.encode(converted))
            while heard and heard[0] < (number + 1) / fps:
                container.mux(heard[1])
                heard = next(sound, None)

        yield put
        container.mux(stream.encode(None))


def add_pictures(container: OutputContainer, fps: Fraction, size: tuple[int, int], crf: int) -> VideoStream:
    """A stream of H.264, or of VP9 in WebM, which counts quality from 0 to 63."""
    if container.format.name == "webm":
        options = {"crf": str(round(crf * 63 / 51)), "deadline": "good", "cpu-used": "4", "row-mt": "1"}
        stream = container.add_stream("libvpx-vp9", fps, options)
    else:
        stream = container.add_stream("libx264", fps, {"preset": "medium", "crf": str(crf)})
    stream.width, stream.height, stream.pix_fmt, stream.time_base = *size, "yuv420p", 1 / fps
    context = stream.codec_context
    context.thread_type = "AUTO"  # slices, the default, cost a fifth of the bytes
    context.color_primaries = context.color_trc = context.colorspace = context.color_range = BT709
    return stream


def read_sound(
    path: Path | None, start: Fraction, container: OutputContainer
) -> Generator[tuple[Fraction, Packet], None, None]:
    """Packets of stereo AAC, or Opus in WebM, of what a file sounds like from `start` on, with its second.

    Silence fills gaps; without a sound there is none.
    """
    if path is None or path.is_dir():
        return
    check_file(path)
    with open_video(path) as source:
        stream, zero = choose_stream(source.streams.audio), start_of(source) + start
        if not stream:
            return
        if start > 1:
            source.seek(floor((zero - 1) * av.time_base))
        codec, rate = ("libopus", 128_000) if container.format.name == "webm" else ("aac", 192_000)
        encoder: Any = container.add_stream(codec, SOUND_RATE, bit_rate=rate)
        graph: Graph | None = None
        for frame in chain(decode(source, stream), [None]):
            if frame:
                frame.pts -= round(zero / frame.time_base)
                graph = graph or make_graph(frame, SOUND)
            for part in chain(push(graph, frame), [] if frame else [None]):
                for packet in encoder.encode(part):
                    yield packet.pts * packet.time_base, packet


@contextmanager
def write_gif(path: Path, fps: Fraction, size: tuple[int, int], overwrite: bool) -> Iterator[Put]:
    """A GIF that repeats for ever, with one palette, of its first frames (as a rule, of all of them)."""
    rate = min(fps, Fraction(GIF_MAX_FPS))
    waiting: list[VideoFrame] = []
    drawing: Graph | None = None
    with output(path, overwrite, {"loop": "0"}) as container:
        stream = container.add_stream("gif", rate, pix_fmt="pal8", time_base=GIF_TICK)
        stream.width, stream.height = size

        def draw() -> None:
            nonlocal drawing
            drawing = drawing or make_drawing(waiting)
            for frame in waiting:
                drawing.push(frame, 0)
                container.mux(stream.encode(drawing.vpull()))
            waiting.clear()

        def put(image: np.ndarray, number: int) -> None:
            place = number * rate // fps
            if place == (number - 1) * rate // fps:
                return
            frame = VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = round(place / rate / GIF_TICK), GIF_TICK
            frame.duration = round(1 / rate / GIF_TICK)
            waiting.append(frame)
            if drawing or len(waiting) * image.nbytes > PALETTE_BYTES:
                draw()

        yield put
        draw()
        container.mux(stream.encode(None))


def make_drawing(frames: list[VideoFrame]) -> Graph:
    """A filter graph that draws frames with the palette of these."""
    counting = make_graph(frames[0], [("palettegen", {})])
    for frame in [*frames, None]:
        counting.push(frame)
    palette, graph = counting.vpull(), Graph()
    draw = graph.add("paletteuse", diff_mode="rectangle")
    for pad, one in enumerate((frames[0], palette)):
        source = graph.add_buffer(width=one.width, height=one.height, format=one.format, time_base=GIF_TICK)
        source.link_to(draw, 0, pad)
    draw.link_to(graph.add("buffersink"))
    graph.configure()
    palette.pts = 0
    source.push(palette)
    source.push(None)
    return graph
