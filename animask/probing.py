"""What a video, an animated picture or a folder of pictures is: displayed size, exact frame rate, length, colours."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any, Literal, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.filter import Graph
from av.stream import Disposition, Stream

from animask.errors import InputError
from animask.files import check_file
from animask.images import MAX_PIXELS, PICTURE_SUFFIXES, Turn, check_size, is_animated, read_animation, read_image

# Containers of sound and pictures only: a playlist or a script could open another file or an address.
DEMUXERS = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,nut,dv,mxf,ivf,obu,h264,hevc,m4v,yuv4mpegpipe,wtv,"
    "wav,w64,aiff,mp3,aac,flac,ac3,eac3,amr,au,caf,tta,wv"
)
LIMITS = {"max_pixels": str(MAX_PIXELS)}
KINDS = "Give an MP4, WebM, MOV or GIF, or a folder of pictures."
AGAIN = "Copy or download it again."
FOLDER_FPS = Fraction(25)
COVERS = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
ASIDES = Disposition.comment | Disposition.visual_impaired | Disposition.descriptions
MARKING = ("h264", "hevc", "mpeg2video", "mpeg4", "vc1")  # codecs that say of each frame whether it is interlaced
PARITIES = {2: "tff", 3: "bff", 4: "bff", 5: "tff"}  # what containers say of all frames
UNSAID, BT709, BT601, BT2020 = (0, 2), 1, 5, 9  # numbers of ITU-T H.273
WIDE_CURVES, WIDE_MATRICES = (14, 15, 16, 18), (9, 10)  # such as come with BT.2020
MATRICES = {1: BT709, 5: BT601, 6: BT601, 7: BT601, 9: BT2020, 11: BT709, 12: BT709}  # that belong to primaries


class Colours(NamedTuple):
    """How to read colours, in numbers of ITU-T H.273. matrix: of YUV; -1: as each frame says."""

    primaries: int = BT709
    curve: int = BT709
    matrix: int = -1


@dataclass(frozen=True)
class VideoInfo:
    """What `probe` found out."""

    path: Path
    width: int  # pixels as displayed, upright and square
    height: int
    fps: Fraction  # exact; for a variable rate the constant one that `read_frames` resamples to
    duration: float  # seconds
    frames: int  # how many `read_frames` yields
    kind: Literal["video", "animation", "folder"] = "video"
    has_audio: bool = False
    last: Fraction = Fraction(0)  # the second in which the last frame of a video appears
    colours: Colours = field(default_factory=Colours)


def probe(path: Path) -> VideoInfo:
    """Look at a video, an animated picture or a folder of pictures; of a video one frame is decoded.

    Raises InputError where it cannot be read, is cut off or a still, or has frames of more than MAX_PIXELS.
    """
    path = Path(path)
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir fails for names that are too long
        pictures = list_pictures(path)
        if not pictures:
            raise InputError(f"The folder {path} holds no pictures.", KINDS)
        (height, width), count = read_image(pictures[0]).shape[:2], len(pictures)
        return VideoInfo(path, width, height, FOLDER_FPS, float(count / FOLDER_FPS), count, "folder")
    check_file(path)
    moves = is_animated(path)
    if moves or (moves is False and path.suffix.lower() == ".gif"):  # which may have one frame only
        return probe_animation(path)
    if moves is not None:
        raise InputError(f"{path} is a still picture, not a video.", "The picture comes first, then the video.")
    with open_video(path) as container:
        return probe_video(path, container)


def list_pictures(folder: Path) -> list[Path]:
    """The pictures in a folder in natural order (2 before 10); hidden files are not pictures."""

    def natural(path: Path) -> list[str | int]:
        parts = re.split("([0-9]+)", path.name.lower())
        return [int(part) if number % 2 else part for number, part in enumerate(parts)]

    try:
        found = [p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES and p.name[0] != "."]
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be read: {error.strerror}.") from error
    return sorted(found, key=natural)


def probe_animation(path: Path) -> VideoInfo:
    """An animated picture, by reading all of it: delays come with the frames."""
    ends = [Fraction(0)]
    for frame, _, end in read_animation(path):
        height, width = frame.shape[:2]
        ends.append(end)
    data = path.read_bytes()
    is_cut = data.startswith(b"GIF8") and not data.rstrip(b"\0\r\n").endswith(b";")  # which Pillow plays
    if not ends[1:] or is_cut:
        raise InputError(f"{path} is cut off or damaged.", AGAIN)
    marks = np.array([round(1000 * end) for end in ends])
    unit = np.gcd.reduce(marks).item()  # a GIF counts hundredths of a second
    fps = measure_fps(marks // unit, Fraction(unit, 1000))
    count = check_rate(path, fps, end, len(marks) - 1)
    return VideoInfo(path, width, height, fps, float(end), count, "animation")


def open_video(path: Path) -> InputContainer:
    """Open one file and nothing else: after `file:` dashes and colons mean nothing."""
    options = {"protocol_whitelist": "file", "format_whitelist": DEMUXERS, **LIMITS}
    try:
        return av.open(f"file:{path.absolute()}", "r", options=options, metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        raise InputError(f"{path} is not a video that can be read, or not whole.", KINDS) from error


def choose_stream(streams: Iterable[Stream]) -> Any:
    """The default one, no comment on another, or the first, if any; unlike PyAV's `best` no cover, and decodable."""
    usable = [stream for stream in streams if stream.codec_context and not stream.disposition & COVERS]
    return max(usable, key=lambda s: (s.disposition & Disposition.default, not s.disposition & ASIDES), default=None)


def start_of(container: InputContainer) -> Fraction:
    """The time stamp, in seconds, that counts as 0: the first of all streams, so that sound and pictures keep step."""
    return Fraction(container.start_time or 0, av.time_base)


def probe_video(path: Path, container: InputContainer) -> VideoInfo:
    """What is in an opened file."""
    stream, sound = choose_stream(container.streams.video), choose_stream(container.streams.audio)
    if not stream:
        raise InputError(f"{path} has no moving pictures{', only sound' if sound else ''}.", KINDS)
    context = stream.codec_context
    check_size(path, context.width, context.height)
    tags = context.color_primaries, context.color_trc, context.colorspace  # before decoding changes them
    marks, frame = read_marks(path, container, stream)
    fps = measure_fps(marks, stream.time_base, stream.guessed_rate)
    last, end = (mark * stream.time_base for mark in marks[-2:].tolist())
    count = check_rate(path, fps, end, len(marks) - 1)
    width, height = max(1, round(frame.width * (stream.sample_aspect_ratio or 1))), frame.height
    if read_turn(frame)[0]:
        width, height = height, width
    colours = read_colours(frame, tags)
    return VideoInfo(path, width, height, fps, float(end), count, "video", sound is not None, last, colours)


def check_rate(path: Path, fps: Fraction, duration: Fraction, count: int) -> int:
    """How many frames the time grid has; InputError where nonsense in time stamps makes them absurdly many or few."""
    frames = max(1, round(duration * fps))
    if fps < Fraction(1, 60) or (frames > 10_000 and frames > 1000 * count):
        raise InputError(f"{path} has broken time stamps.", "Convert it once with another program.")
    return frames


def read_marks(path: Path, container: InputContainer, stream: Any) -> tuple[np.ndarray, av.VideoFrame]:
    """When each frame begins and the last one ends, in units of the stream's time base; and the first frame.

    Raises InputError where a file is cut off or damaged.
    """
    tick, zero, decoder = stream.time_base, start_of(container), make_decoder(stream)
    ends = {stream.index: Fraction(0)}  # seconds in which streams end
    frames: list[av.VideoFrame] = []
    times: list[int] = []
    try:
        for packet in container.demux():
            is_picture = packet.stream_index == stream.index
            if is_picture and not frames:
                frames = decode_packet(decoder, packet)
            stamp = packet.dts if packet.pts is None else packet.pts  # some containers store one kind only
            if is_picture and stamp is None and packet.size:  # bare pictures, without a container
                stamp = times[-1] + (packet.duration or 1) if times else 0
            if stamp is not None and not packet.is_discard:
                end = (stamp + max(0, packet.duration or 0)) * packet.time_base - zero
                ends[packet.stream_index] = max(ends.get(packet.stream_index, end), end)
                times += [stamp] if is_picture else []
    except av.FFmpegError as error:
        raise InputError(f"{path} is cut off or damaged.", AGAIN) from error
    if not times or not frames:
        raise InputError(f"{path} has no readable frames.", "Convert it to MP4 first.")
    check_whole(path, container, stream, ends)
    stamps = np.unique(np.asarray(times, np.int64)) - round(zero / tick)
    span = int(stamps[-1] - stamps[0]) * tick
    if stream.codec_context.field_order > 1 and len(stamps) > 2 + 1.5 * span * (stream.average_rate or len(stamps)):
        stamps = stamps[::2]  # fields come in packets of their own
    return np.append(stamps, max(round(ends[stream.index] / tick), stamps[-1] + 1)), frames[0]


def check_whole(path: Path, container: InputContainer, stream: Any, ends: dict[int, Fraction]) -> None:
    """Raise InputError where an MP4 or Matroska, which says how long it is, ends before that (seconds by stream)."""
    if not container.format.name.startswith(("mov", "matroska")):
        return
    stated, end = Fraction(container.duration or 0, av.time_base), max(ends.values())
    if stream.duration:
        stated, end = stream.duration * stream.time_base, ends[stream.index]
    if end < Fraction(98, 100) * stated - 2 / (stream.average_rate or FOLDER_FPS):
        raise InputError(f"{path} is cut off: it ends at {float(end):.1f} of {float(stated):.1f} seconds.", AGAIN)


def read_turn(frame: av.VideoFrame) -> Turn:
    """What the display matrix of a frame asks for; angles that are no quarter are taken for the nearest one."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    a, b, _, c, d = (1, 0, 0, 0, 1) if data is None else np.frombuffer(data, np.int32)[:5].tolist()
    return (True, b < 0, c < 0) if abs(b) > abs(a) else (False, d < 0, a < 0)


def read_colours(frame: av.VideoFrame, tags: tuple[int, int, int]) -> Colours:
    """What frames such as this one say, else the container's tags, else what belongs to these."""
    said = frame.color_primaries, frame.color_trc, frame.colorspace
    primaries, curve, matrix = (b if a in UNSAID else a for a, b in zip(said, tags, strict=True))
    if primaries in UNSAID and (curve in WIDE_CURVES or matrix in WIDE_MATRICES):
        primaries = BT2020
    if frame.format.is_rgb or frame.colorspace not in UNSAID:
        matrix = -1
    elif matrix in UNSAID:
        large = max(frame.width, frame.height) > 1024 or frame.height > 576  # as players tell
        matrix = MATRICES.get(primaries, BT709 if large else BT601)
    return Colours(primaries, curve, matrix)


def measure_fps(marks: np.ndarray, tick: Fraction, stated: Fraction | None = None) -> Fraction:
    """The rate whose grid every frame meets within about a tick; of a variable rate, the one that they come near.

    marks: when each frame begins and the last one ends, in units of `tick` seconds, sorted and different.
    """
    times = marks[:-1]
    if len(times) == 1:
        rate = snap(1 / (int(marks[1] - marks[0]) * tick), 0.0005)
        return rate if Fraction(1, 10) <= rate <= 240 else FOLDER_FPS
    steps, span = np.diff(times), int(times[-1] - times[0])
    mean, typical = len(steps) / (span * tick), 1 / (Fraction(float(np.median(steps))) * tick)
    doubt = max(0.0005, 1.5 / span if np.ptp(steps) else 0)  # the last time stamp is rounded to a tick
    rates = [snap(mean, doubt), snap(mean, 0)]
    if stated and abs(stated - mean) <= Fraction(doubt) * mean:
        rates.insert(0, snap(stated, 0.0005))  # enough to tell 29.97 from 30 in a short clip
    for rate in rates:
        period = float(1 / (rate * tick))
        if np.ptp(times - np.arange(len(times)) * period) <= min(max(2.0, 0.02 * period), 0.5 * period):
            return rate
    rate = snap(typical, 0.0005)
    period = float(1 / (rate * tick))
    strays = (times - times[0] + period / 2) % period - period / 2
    if np.abs(strays).max() > max(1.0, 0.02 * period):  # not one rate with frames left out
        trembling = abs(typical - mean) < 0.1 * mean  # about one rate, as phones write them
        rate = snap(mean if trembling else typical, 0.02)
    return min(rate, Fraction(60))


def snap(rate: Fraction, tolerance: float) -> Fraction:
    """A customary rate (whole, else whole × 1000/1001) within a relative tolerance, or else a simple one."""
    for customary in (Fraction(round(rate)), Fraction(round(rate * 1001 / 1000) * 1000, 1001)):
        if customary > 0 and abs(customary - rate) <= rate * Fraction(tolerance):
            return customary
    return rate.limit_denominator(1001) or rate


# decoding and filtering


def make_decoder(stream: Stream) -> Any:
    """A decoder of a stream; VP8 and VP9 keep their transparency beside the picture, where only libvpx finds it."""
    decoder: Any = stream.codec_context
    library = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(decoder.name)
    if library and stream.metadata.get("alpha_mode") == "1":
        decoder = av.CodecContext.create(library, "r")
    decoder.thread_type, decoder.options = "AUTO", LIMITS
    return decoder


def decode_file(path: Path, kind: Literal["video", "audio"], jump: Fraction) -> Iterator[tuple[Fraction, Any]]:
    """The frames of a file from where a jump to a second lands, each with the second in which it appears.

    Pictures are deinterlaced, damaged parts left out; there are none where a file has no such stream.
    """
    with open_video(path) as container:
        stream, zero = choose_stream(getattr(container.streams, kind)), start_of(container)
        if not stream:
            return
        if jump > 0:
            with suppress(av.FFmpegError):  # of a container without jumps all is decoded
                container.seek(floor((zero + jump) * av.time_base))
        frames = decode(container, stream)
        for frame in deinterlace(frames, stream) if kind == "video" else frames:
            yield frame.pts * frame.time_base - zero, frame


def decode(container: InputContainer, stream: Stream) -> Iterator[Any]:
    """The frames of a stream from where the container stands."""
    decoder, following = make_decoder(stream), 0
    with suppress(av.FFmpegError):
        for packet in container.demux(stream):
            for frame in decode_packet(decoder, packet):
                if frame.pts is None:  # a bare stream of pictures has no time stamps
                    frame.pts = following if frame.dts is None else frame.dts
                following = frame.pts + (frame.duration or packet.duration or 1)
                yield frame


def decode_packet(decoder: Any, packet: av.Packet) -> list[Any]:
    """The frames that a packet completes: none where it is damaged, or empty, which would end the decoding."""
    with suppress(av.FFmpegError):
        if packet.size or packet.dts is None:
            return decoder.decode(packet)
    return []


def deinterlace(frames: Iterator[Any], stream: Any) -> Iterator[Any]:
    """Frames that say of themselves that they are interlaced, or all where only the container says it, made whole."""
    context, graph, shape = stream.codec_context, None, None
    parity = None if context.name in MARKING else PARITIES.get(context.field_order)
    options = {"mode": "send_frame", "parity": parity or "auto", "deint": "all" if parity else "interlaced"}
    for frame in frames:
        if graph is None and not (frame.interlaced_frame or parity):
            yield frame
            continue
        if shape != shape_of(frame):
            yield from push(graph, None)
            graph, shape = make_graph(frame, [("bwdif", options)]), shape_of(frame)
        yield from push(graph, frame)
    yield from push(graph, None)


def shape_of(frame: av.VideoFrame) -> tuple[int, int, str]:
    """What a filter graph is made for."""
    return frame.width, frame.height, frame.format.name


def make_graph(frame: av.VideoFrame | av.AudioFrame, filters: list[tuple[str, dict[str, str]]]) -> Graph:
    """A chain of filters (name, options) for frames such as this one, run by the thread that pulls."""
    graph, tick = Graph(), frame.time_base
    graph.threads = 1
    if isinstance(frame, av.VideoFrame):
        source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=tick)
    else:
        source = graph.add_abuffer(None, frame.sample_rate, frame.format, frame.layout.name, time_base=tick)
    sink = graph.add("buffersink" if isinstance(frame, av.VideoFrame) else "abuffersink")
    graph.link_nodes(source, *(graph.add(name, **options) for name, options in filters), sink)
    graph.configure()
    return graph


def push(graph: Graph | None, frame: av.VideoFrame | av.AudioFrame | None) -> Iterator[Any]:
    """Give a graph a frame (None: the end of them), and take those that are ready."""
    if graph:
        graph.push(frame)
        with suppress(av.BlockingIOError, av.EOFError):
            while True:
                yield graph.pull()
