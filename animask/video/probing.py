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
PROBE_SECONDS = 600.0
# Square pixels, upright (ffmpeg applies the rotation itself).
DISPLAY = "scale='max(1,round(iw*sar))':ih,setsar=1"
PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}

_KINDS = "Give an MP4, WebM, MOV or GIF, or a folder of pictures."
_AGAIN = "Copy or download it again."
_STREAM = re.compile(r"^  Stream #0:\d+\S*: (Video|Audio): (\S+)(.*)$")
_ALPHA = re.compile(r"\b(bgra|rgba|argb|abgr|ya8|ya16|yuva\d|gbrap|pal8)")
_CUT_OFF = re.compile("partial file|ended prematurely|[Tt]runcat")
_MATRIX = re.compile("bt709|bt470bg|smpte170m|smpte240m|fcc|bt2020|gbr")


@dataclass(frozen=True)
class VideoInfo:
    """A video, a GIF or a folder of pictures.

    width, height: pixels as displayed, after rotation and with square pixels. fps: exact; for a variable rate
    the constant one that `read_frames` resamples to. duration: seconds. frames: how many `read_frames` yields.
    has_alpha: frames may be transparent. transfer: an HDR transfer curve, or empty. matrix: the colour matrix
    that is taken for granted, where the file names none. is_folder: pictures.
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


class _Packets(NamedTuple):
    """Time stamps of all frames in units of `tick` seconds, sorted; when the last one ends; coded size."""

    times: np.ndarray
    end: int
    tick: Fraction
    size: tuple[int, int]
    messages: list[str]


class _Stream(NamedTuple):
    """One stream as ffmpeg lists it. kind: Video or Audio; details: the rest of the line."""

    kind: str
    codec: str
    details: str


def probe(path: Path) -> VideoInfo:
    """Look at the video, GIF or folder of pictures in `path`; reads the file once, decodes one frame.

    Raises InputError where it is missing, empty, cut off, without moving pictures or of a kind not opened.
    """
    path = Path(path)
    if check_file(path):
        return _probe_folder(path)
    packets = _read_packets(path)
    if packets.size[0] * packets.size[1] > MAX_PIXELS:
        raise InputError(f"{path} is {packets.size[0]}×{packets.size[1]}, too large for a video.")
    fps, is_variable = _measure_fps(packets)
    duration = packets.end * packets.tick
    frames = max(1, round(duration * fps))
    if frames > 10_000 and frames > 1000 * len(packets.times):
        raise InputError(f"{path} has broken time stamps.", "Convert it once with another program.")
    width, height = _read_display_size(path)
    streams = _list_streams(packets.messages)
    details = next(s.details for s in streams if s.kind == "Video" and "attached pic" not in s.details)
    is_large = max(packets.size) > 1024 or packets.size[1] > 576
    return VideoInfo(
        path,
        width,
        height,
        fps,
        float(duration),
        frames,
        has_audio=any(s.kind == "Audio" and s.codec != "none" for s in streams),
        is_variable=is_variable,
        has_alpha=bool(_ALPHA.search(details)),
        transfer=next((name for name in ("smpte2084", "arib-std-b67") if name in details), ""),
        # Players take large unmarked pictures for BT.709, small ones for BT.601; ffmpeg all for BT.601.
        matrix="bt709" if is_large and "yuv" in details and not _MATRIX.search(details) else "",
    )


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


def find_audio(path: Path) -> str:
    """The codec of the first sound stream of a file, or empty; decodes one second of it.

    Raises InputError where the file cannot be opened or its sound not decoded.
    """
    path = Path(path)
    if check_file(path):
        return ""
    with Child(file_input(path), loglevel="info", limit=PROBE_SECONDS) as child:
        child.wait()
        streams = _list_streams(child.first_messages)
        if not streams:
            raise InputError(f"{path} has no sound that can be read: {child.complaint()}.", _KINDS)
    codec = next((stream.codec for stream in streams if stream.kind == "Audio"), "none")
    if codec == "none":
        return ""
    trial = ["-t", "1", *file_input(path), "-map", "0:a:0", "-f", "null", "-"]
    with Child(trial, limit=PROBE_SECONDS) as child:
        if child.wait() != 0:
            raise InputError(
                f"The sound of {path} cannot be read: {child.complaint()}.", "Leave the sound out."
            )
    return codec


def _probe_folder(folder: Path) -> VideoInfo:
    pictures = list_pictures(folder)
    if not pictures:
        raise InputError(f"The folder {folder} holds no pictures.", _KINDS)
    height, width = read_image(pictures[0]).shape[:2]
    count = len(pictures)
    return VideoInfo(folder, width, height, FOLDER_FPS, float(count / FOLDER_FPS), count, is_folder=True)


def _list_streams(messages: list[str]) -> list[_Stream]:
    found = (_STREAM.match(line) for line in messages)
    return [_Stream(match[1], match[2].rstrip(","), match[3]) for match in found if match]


def _read_packets(path: Path) -> _Packets:
    """Time stamps of the video stream, which ffmpeg copies undecoded into a list (its format framecrc)."""
    arguments = ["-xerror", *file_input(path), "-map", "0:V:0", "-c", "copy", "-f", "framecrc", "pipe:1"]
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
            raise InputError(*_explain(path, messages, child.complaint()))
    if any(_CUT_OFF.search(message) for message in messages) or not _is_whole_gif(path):
        raise InputError(f"{path} is cut off or damaged.", _AGAIN)
    return _Packets(np.unique(np.asarray(times, np.int64)), max(end, times[-1] + 1), tick, size, messages)


def _is_whole_gif(path: Path) -> bool:
    """Whether a file, if it is a GIF, has its last byte (padding aside): ffmpeg plays a cut one in silence."""
    with path.open("rb") as file:
        if file.read(4) != b"GIF8":
            return True
        file.seek(max(0, path.stat().st_size - 4096))
        return file.read().rstrip(b"\0\r\n").endswith(b";")


def _explain(path: Path, messages: list[str], complaint: str) -> tuple[str, str]:
    """A sentence and a hint for a file without readable moving pictures."""
    text = "\n".join(messages)
    kinds = {stream.kind for stream in _list_streams(messages)}
    if "not on whitelist" in text.lower():
        return f"{path} is not a video (pictures, playlists and scripts are not opened).", _KINDS
    if "moov atom not found" in text:
        return f"{path} is not a whole video: cut off, damaged or of another kind.", _KINDS
    if "Video" in kinds and "matches no streams" in text:
        return f"{path} has no moving pictures, only sound and a cover.", _KINDS
    if kinds == {"Audio"}:
        return f"{path} has no pictures, only sound.", _KINDS
    if "Video" in kinds:
        return f"{path} is cut off or damaged: {complaint}.", _AGAIN
    return f"{path} is not a video that can be read.", _KINDS


def _measure_fps(packets: _Packets) -> tuple[Fraction, bool]:
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
    for rate in (_snap(mean, max(0.0005, doubt)), mean.limit_denominator(1001)):
        period = float(1 / (rate * tick)) if rate > 0 else 0.0
        offsets = times - np.arange(len(times)) * period
        if np.ptp(offsets) <= min(max(2.0, 0.02 * period), 0.5 * period):
            return rate, False
    typical = 1 / (Fraction(float(np.median(steps))) * tick)
    if abs(typical - mean) < 0.1 * mean:  # stamps that tremble about one rate, as phones write them
        typical = mean
    return min(_snap(typical, 0.02), MAX_VARIABLE_FPS), True


def _snap(rate: Fraction, tolerance: float) -> Fraction:
    """The nearest customary rate (whole, or whole × 1000/1001) within a relative tolerance, or a simple one."""
    whole, ntsc = round(rate), Fraction(round(rate * 1001 / 1000) * 1000, 1001)
    nearest = min((Fraction(whole), ntsc), key=lambda candidate: abs(candidate - rate))
    if nearest > 0 and abs(nearest - rate) <= rate * Fraction(tolerance):
        return nearest
    return rate.limit_denominator(1001) or rate


def _read_display_size(path: Path) -> tuple[int, int]:
    """Width and height of the first frame as displayed; that it can be decoded is seen on the way."""
    arguments = [
        *file_input(path),
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
            raise InputError(
                f"{path} has no readable frames: {child.complaint()}.", "Convert it to MP4 first."
            )
    return int(match[1]), int(match[2])
