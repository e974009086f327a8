"""What a video is: displayed size, exact frame rate, length and sound."""

import re
import stat
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from animask.errors import InputError
from animask.images import MAX_PIXELS, read_image
from animask.video.ffmpeg import Child, file_input

FOLDER_FPS = Fraction(25)
MAX_VARIABLE_FPS = Fraction(60)
MIN_FPS = Fraction(1, 60)
PROBE_SECONDS = 600.0
# Square pixels, upright (ffmpeg applies the rotation itself).
DISPLAY = "scale='max(1,round(iw*sar))':ih,setsar=1"
PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}

_KINDS = "Give an MP4, WebM, MOV or GIF, or a folder of pictures."
_AGAIN = "Copy or download it again."
_STREAM = re.compile(r"^  Stream #0:\d+\S*: (Video|Audio): (\S+)(.*)$")
_ALPHA = re.compile(r"\b(bgra|rgba|argb|abgr|ya8|ya16|yuva\d|gbrap|pal8)")
_TOO_LARGE = re.compile(r"Picture size (\d+)x(\d+) (?:exceeds|is invalid)")
_CUT_OFF = re.compile("partial file|ended prematurely|[Tt]runcat")
_MATRIX = re.compile("bt709|bt470bg|smpte170m|smpte240m|fcc|bt2020|gbr")


@dataclass(frozen=True)
class VideoInfo:
    """A video, a GIF or a folder of pictures.

    width, height: pixels as displayed, after rotation and with square pixels. fps: exact; for a variable rate
    the constant one that `read_frames` resamples to. duration: seconds. frames: how many it then yields.
    has_alpha: frames may be transparent. transfer: an HDR transfer curve, or empty. matrix: the colour matrix
    that is taken for granted, where the file names none. is_folder: pictures. max_pixels: of a frame.
    """

    path: Path
    width: int
    height: int
    fps: Fraction
    duration: float
    frames: int
    has_audio: bool = False
    is_variable: bool = False
    has_alpha: bool = False
    transfer: str = ""
    matrix: str = ""
    is_folder: bool = False
    max_pixels: int = MAX_PIXELS


class _Packets(NamedTuple):
    """Time stamps of all frames in units of `tick` seconds, sorted; when the last one ends; coded size."""

    times: np.ndarray
    end: int
    tick: Fraction
    size: tuple[int, int]


class Stream(NamedTuple):
    """One stream as ffmpeg lists it. kind: Video or Audio; details: the rest of the line."""

    kind: str
    codec: str
    details: str

    @property
    def is_moving(self) -> bool:
        """Whether these are moving pictures, not sound or a cover."""
        return self.kind == "Video" and "(attached pic)" not in self.details and self.codec != "none"


def probe(path: Path, max_pixels: int = MAX_PIXELS) -> VideoInfo:
    """Look at the video, GIF or folder of pictures in `path`; reads the file once, decodes one frame.

    Raises InputError where it is missing, empty, cut off, without moving pictures or of a kind not opened, and before
    decoding where its frames have more than `max_pixels`.
    """
    path = Path(path)
    if check_file(path):
        return _probe_folder(path, max_pixels)
    streams = list_streams(path, max_pixels)
    packets = _read_packets(path, streams, max_pixels)
    fps, is_variable = _measure_fps(packets, _stated_fps(streams))
    duration = packets.end * packets.tick
    frames = max(1, round(duration * fps))
    if fps < MIN_FPS or (frames > 10_000 and frames > 1000 * len(packets.times)):
        raise InputError(f"{path} has broken time stamps.", "Convert it once with another program.")
    if packets.size[0] * packets.size[1] > max_pixels:
        raise _too_large(path, packets.size, max_pixels)
    width, height = _read_display_size(path, max_pixels)
    details = next(stream.details for stream in streams if stream.is_moving)
    is_large = max(packets.size) > 1024 or packets.size[1] > 576
    return VideoInfo(
        path,
        width,
        height,
        fps,
        float(duration),
        frames,
        has_audio=bool(find_sound(streams)),
        is_variable=is_variable,
        has_alpha=bool(_ALPHA.search(details)),
        transfer=next((name for name in ("smpte2084", "arib-std-b67") if name in details), ""),
        # Players take large unmarked pictures for BT.709, small ones for BT.601; ffmpeg all for BT.601.
        max_pixels=max_pixels,
        matrix="bt709" if is_large and "yuv" in details and not _MATRIX.search(details) else "",
    )


def list_streams(path: Path, max_pixels: int = MAX_PIXELS) -> list[Stream]:
    """The streams of pictures and sound in a file; InputError where it has none, is not opened or is too large."""
    with Child(file_input(path, max_pixels), loglevel="info", limit=PROBE_SECONDS) as child:
        child.wait()
        found = (_STREAM.match(line) for line in child.first_messages)
        streams = [Stream(match[1], match[2].rstrip(","), match[3]) for match in found if match]
        text = "\n".join([*child.first_messages, *child.messages])
    if (large := _TOO_LARGE.search(text)) and int(large[1]) * int(large[2]) > max_pixels:
        raise _too_large(path, (int(large[1]), int(large[2])), max_pixels)
    if streams:
        return streams
    if "not on whitelist" in text.lower():
        raise InputError(f"{path} is not a video (pictures, playlists and scripts are not opened).", _KINDS)
    if "moov atom not found" in text:
        raise InputError(f"{path} is not a whole video: cut off, damaged or of another kind.", _KINDS)
    raise InputError(f"{path} is not a video that can be read.", _KINDS)


def find_sound(streams: list[Stream]) -> str:
    """The codec of the first stream of sound, or empty."""
    codec = next((stream.codec for stream in streams if stream.kind == "Audio"), "none")
    return "" if codec == "none" else codec


def same_clock(has_audio: bool, length: float | None = None) -> list[str]:
    """Arguments, after the others, that also read the sound of input 0 (`length` seconds) and drop it.

    ffmpeg counts the time of some containers (MPEG-TS) from the first of the streams in use: with all in use,
    pictures and sound that are read in two runs keep their distance.
    """
    limit = [] if length is None else ["-t", f"{length:.6f}"]
    return ["-map", "0:a:0", "-c", "copy", *limit, "-f", "null", "-"] if has_audio else []


def check_file(path: Path) -> bool:
    """Whether `path` is a folder; InputError where it is neither a folder nor a file with something in it."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            return True
        if not stat.S_ISREG(status.st_mode):  # opening a FIFO or a device may wait for ever
            raise InputError(f"{path} is not a regular file.")
        with path.open("rb") as file:
            if not file.read(1):
                raise InputError(f"{path} is empty.")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    return False


def list_pictures(folder: Path) -> list[Path]:
    """The pictures in a folder in natural order (2 before 10); hidden files are not pictures."""

    def natural(path: Path) -> list[tuple[int, int, str]]:
        parts = re.split(r"([0-9]+)", path.name.lower())
        return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]

    try:
        found = [p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES and p.name[0] != "."]
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be read: {error.strerror}.") from error
    return sorted(found, key=natural)


def check_sound(path: Path) -> None:
    """Decode one second of the first sound stream; InputError where that fails."""
    trial = ["-t", "1", *file_input(path), "-map", "0:a:0", "-f", "null", "-"]
    with Child(trial, limit=PROBE_SECONDS) as child:
        if child.wait() != 0:
            raise InputError(f"The sound of {path} cannot be read: {child.complaint()}.", "Leave the sound out.")


def _too_large(path: Path, size: tuple[int, int], limit: int) -> InputError:
    hint = "Shrink it; `animask animate` can raise the limit with --max-pixels."
    return InputError(f"{path} is {size[0]}×{size[1]}, more than the limit of {limit} pixels a frame.", hint)


def _probe_folder(folder: Path, max_pixels: int) -> VideoInfo:
    pictures = list_pictures(folder)
    if not pictures:
        raise InputError(f"The folder {folder} holds no pictures.", _KINDS)
    height, width = read_image(pictures[0], max_pixels=max_pixels).shape[:2]
    count = len(pictures)
    duration = float(count / FOLDER_FPS)
    return VideoInfo(folder, width, height, FOLDER_FPS, duration, count, is_folder=True, max_pixels=max_pixels)


def _read_packets(path: Path, streams: list[Stream], max_pixels: int) -> _Packets:
    """Time stamps of the video stream, which ffmpeg copies undecoded into a list (its format framecrc)."""
    if not any(stream.is_moving for stream in streams):
        has_cover = any(stream.kind == "Video" for stream in streams)
        raise InputError(f"{path} has no moving pictures, only sound{' and a cover' * has_cover}.", _KINDS)
    arguments = ["-xerror", *file_input(path, max_pixels), "-map", "0:V:0", "-c", "copy", "-f", "framecrc", "pipe:1"]
    arguments += same_clock(bool(find_sound(streams)))
    tick, size, times, end = Fraction(0), (0, 0), [], 0
    with Child(arguments, stdout=subprocess.PIPE, loglevel="info", limit=PROBE_SECONDS) as child:
        for line in child.stdout:
            if line.startswith(b"#tb"):
                tick = Fraction(line.split()[2].decode())
            elif line.startswith(b"#dimensions"):
                width, height = line.split()[2].split(b"x")
                size = int(width), int(height)
            elif line[:1].isdigit():
                decoded, shown, length = (int(word) for word in line.split(b",", 4)[1:4])
                times.append(shown if shown > -(1 << 62) else decoded)  # some containers store one kind only
                end = max(end, times[-1] + max(0, length))
        status = child.wait()
        messages = child.first_messages + list(child.messages)
        if status != 0 or not times or tick <= 0:
            raise InputError(f"{path} is cut off or damaged: {child.complaint()}.", _AGAIN)
    if any(_CUT_OFF.search(message) for message in messages) or not _is_whole_gif(path):
        raise InputError(f"{path} is cut off or damaged.", _AGAIN)
    return _Packets(np.unique(np.asarray(times, np.int64)), max(end, times[-1] + 1), tick, size)


def _is_whole_gif(path: Path) -> bool:
    """Whether a file, if it is a GIF, has its last byte (padding aside): ffmpeg plays a cut one."""
    with path.open("rb") as file:
        if file.read(4) != b"GIF8":
            return True
        file.seek(max(0, path.stat().st_size - 4096))
        return file.read().rstrip(b"\0\r\n").endswith(b";")


def _stated_fps(streams: list[Stream]) -> Fraction | None:
    """The rate that ffmpeg names, to two decimals: enough to tell 29.97 from 30 in a short clip."""
    match = re.search(r" ([\d.]+) fps", next(stream.details for stream in streams if stream.is_moving))
    return _snap(Fraction(match[1]), 0.0005) if match and float(match[1]) > 0 else None


def _measure_fps(packets: _Packets, stated: Fraction | None) -> tuple[Fraction, bool]:
    """The exact frame rate, and whether time stamps leave its grid (a variable rate, or frames left out).

    Time stamps are whole ticks: a constant rate shows as a grid that every stamp meets within about a tick.
    """
    times, tick = packets.times, packets.tick
    if len(times) == 1:
        length = (packets.end - int(times[0])) * tick
        rate = _snap(1 / length, 0.0005)
        return (rate if Fraction(1, 10) <= rate <= 240 else FOLDER_FPS), False
    steps, span = np.diff(times), int(times[-1] - times[0])
    mean = len(steps) / (span * tick)
    doubt = 0.0 if np.ptp(steps) == 0 else 1.5 / span  # the last time stamp is rounded to a tick
    rates = [_snap(mean, max(0.0005, doubt)), mean.limit_denominator(1001)]
    if stated is not None and doubt and abs(stated - mean) <= Fraction(max(0.0005, doubt)) * mean:
        rates.insert(0, stated)
    for rate in rates:
        period = float(1 / (rate * tick)) if rate > 0 else 0.0
        offsets = times - np.arange(len(times)) * period
        if np.ptp(offsets) <= min(max(2.0, 0.02 * period), 0.5 * period):
            return rate, False
    typical = 1 / (Fraction(float(np.median(steps))) * tick)
    period = float(1 / (_snap(typical, 0.0005) * tick))
    counts = (times - times[0]) / period
    if np.abs(counts - np.rint(counts)).max() * period <= max(1.0, 0.02 * period):
        return min(_snap(typical, 0.0005), MAX_VARIABLE_FPS), True  # one rate, with frames left out
    if abs(typical - mean) < 0.1 * mean:  # stamps that tremble about one rate, as phones write them
        typical = mean
    return min(_snap(typical, 0.02), MAX_VARIABLE_FPS), True


def _snap(rate: Fraction, tolerance: float) -> Fraction:
    """A customary rate (whole, else whole × 1000/1001) within a relative tolerance, or else a simple one."""
    for customary in (Fraction(round(rate)), Fraction(round(rate * 1001 / 1000) * 1000, 1001)):
        if customary > 0 and abs(customary - rate) <= rate * Fraction(tolerance):
            return customary
    return rate.limit_denominator(1001) or rate


def _read_display_size(path: Path, max_pixels: int) -> tuple[int, int]:
    """Width and height of the first frame as displayed; that it can be decoded is seen on the way."""
    arguments = [
        *file_input(path, max_pixels),
        "-map",
        "0:V:0",
        "-frames:v",
        "1",
        "-vf",
        DISPLAY,
        "-f",
        "framecrc",
        "pipe:1",
    ]
    with Child(arguments, stdout=subprocess.PIPE, limit=PROBE_SECONDS) as child:
        text = child.stdout.read()
        child.wait()
        match = re.search(rb"#dimensions 0: (\d+)x(\d+)", text)
        if match is None or not re.search(rb"^0,", text, re.MULTILINE):
            raise InputError(f"{path} has no readable frames: {child.complaint()}.", "Convert it to MP4 first.")
    return int(match[1]), int(match[2])
