"""One video file from frames: encoded under a temporary name, joined with sound, then put in place."""

import subprocess
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np

from animask.errors import AnimaskError, InputError
from animask.partials import partial_path, put_in_place
from animask.video.ffmpeg import Child, file_input, file_output, held_signals, run
from animask.video.probing import check_file, check_sound, find_sound, list_streams
from animask.video.sequence import REPLACE

GIF_MAX_FPS = 50  # viewers slow down what is shown for less than 2 hundredths of a second
_TO_YUV = (
    "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd+full_chroma_int,format=yuv420p,"
    "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"
)
_COPYABLE = {
    ".mp4": ("aac", "mp3"),
    ".m4v": ("aac",),
    ".mov": ("aac", "mp3", "alac"),
    ".webm": ("opus", "vorbis"),
}
_AAC, _OPUS = ["-c:a", "aac", "-b:a", "192k", "-ac", "2"], ["-c:a", "libopus", "-b:a", "128k", "-ac", "2"]
_FAST_START = ["-movflags", "+faststart"]


class Encoder:
    """Frames to one file at `path`; `begin`, then `write`, then `commit` once, and `discard` always."""

    done = 0

    def __init__(
        self,
        path: Path,
        fps: Fraction,
        size: tuple[int, int],
        audio: Path | None,
        audio_start: float,
        crf: int,
        overwrite: bool,
    ) -> None:
        self.path, self.fps, self.frames, self.overwrite = path, fps, 0, overwrite
        self.kind = path.suffix.lower()
        self.audio, self.audio_start = audio, audio_start
        self.streams = [] if audio is None or self.kind == ".gif" or check_file(audio) else list_streams(audio)
        if audio is not None and find_sound(self.streams):  # now, not after an hour of frames
            check_sound(audio)
        self.pictures = partial_path(path, ".mkv" if self.kind == ".gif" else self.kind)
        self.result = partial_path(path, self.kind)
        self.palette = partial_path(path, ".png")
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}"]
        source += ["-framerate", f"{fps.numerator}/{fps.denominator}", "-i", "pipe:0"]
        self.encode = [*source, *_picture_codec(self.kind, crf), file_output(self.pictures)]
        self._child: Child | None = None

    def begin(self) -> None:
        """Start ffmpeg."""
        with held_signals():
            self._child = Child(self.encode, stdin=subprocess.PIPE)

    @property
    def child(self) -> Child:
        """The ffmpeg that encodes."""
        if self._child is None:
            self.begin()
        assert self._child is not None
        return self._child

    def write(self, frame: np.ndarray) -> None:
        """Hand one checked frame to ffmpeg."""
        try:
            self.child.stdin.write(frame.data)
        except OSError:
            self.child.wait()
            raise self._failure() from None
        self.frames += 1

    def commit(self) -> None:
        """End the encoding, finish the file and put it in its place."""
        with suppress(OSError):  # a child that is gone: its status says so
            self.child.stdin.close()
        if self.child.wait() != 0:
            raise self._failure()
        try:
            if self.kind == ".gif":
                self._make_gif()
            elif find_sound(self.streams):
                self._add_sound()
            else:
                self.pictures.replace(self.result)
            put_in_place(self.result, self.path, self.overwrite)
        except FileExistsError as error:
            raise InputError(f"{self.path} exists already: it was made while this ran.", REPLACE) from error
        except OSError as error:
            raise AnimaskError(f"{self.path} could not be written: {error.strerror}.") from error

    def discard(self) -> None:
        """End the child and remove what is temporary."""
        with held_signals():
            if self._child is not None:
                self._child.stop()
            for partial in (self.pictures, self.result, self.palette):
                partial.unlink(missing_ok=True)

    def _add_sound(self) -> None:
        """Join the pictures with the sound, cut to their length and copied where the container allows."""
        assert self.audio is not None
        seek = ["-ss", f"{self.audio_start:.6f}"] if self.audio_start > 0 else []
        length = ["-t", f"{float(self.frames / self.fps):.6f}"]
        join = [*file_input(self.pictures), *seek, *length, *file_input(self.audio)]
        join += ["-map", "0:v:0", "-map", "1:a:0", "-c:v", "copy"]
        join += _sound_codec(self.kind, find_sound(self.streams)) + _container(self.kind)
        if any(stream.is_moving for stream in self.streams):  # the same clock for pictures and sound
            run([*join, file_output(self.result), "-map", "1:V:0", "-c", "copy", "-f", "null", "-"])
        else:
            run([*join, file_output(self.result)])

    def _make_gif(self) -> None:
        """One palette for the whole clip, from a first look at all frames; then the frames with it."""
        pictures = file_input(self.pictures)
        run([*pictures, "-vf", "palettegen=stats_mode=full", "-frames:v", "1", file_output(self.palette)])
        fps = min(self.fps, GIF_MAX_FPS)
        draw = f"[0:v]fps={fps}[v];[v][1:v]paletteuse=dither=sierra2_4a:diff_mode=rectangle"
        palette = ["-i", file_output(self.palette)]
        run([*pictures, *palette, "-filter_complex", draw, "-loop", "0", file_output(self.result)])

    def _failure(self) -> AnimaskError:
        return AnimaskError(f"Writing {self.path} failed after {self.frames} frames: {self.child.complaint()}.")


def _picture_codec(kind: str, crf: int) -> list[str]:
    """Encoder arguments by suffix; a GIF is first kept without loss."""
    if kind == ".gif":
        return ["-c:v", "ffv1", "-pix_fmt", "bgr0"]
    if kind == ".webm":  # VP9 counts quality from 0 to 63
        quality = ["-crf", str(round(crf * 63 / 51)), "-b:v", "0", "-deadline", "good", "-cpu-used", "4"]
        return ["-vf", _TO_YUV, "-c:v", "libvpx-vp9", *quality, "-row-mt", "1"]
    return ["-vf", _TO_YUV, "-c:v", "libx264", "-preset", "medium", "-crf", str(crf), *_container(kind)]


def _sound_codec(kind: str, codec: str) -> list[str]:
    if codec in _COPYABLE[kind]:
        return ["-c:a", "copy"]
    return _OPUS if kind == ".webm" else _AAC


def _container(kind: str) -> list[str]:
    return [] if kind == ".webm" else _FAST_START
