"""One video file from frames: encoded under a temporary name, joined with sound, then put in place."""

import subprocess
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np

from animask.errors import AnimaskError
from animask.partials import partial_path
from animask.video.ffmpeg import Child, file_input, file_output, run
from animask.video.probing import find_audio

GIF_MAX_FPS = 50  # viewers slow down what is shown for less than 2 hundredths of a second
_BT709 = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]
_TO_YUV = (
    "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd+full_chroma_int,format=yuv420p"
)
_COPYABLE = {
    ".mp4": ("aac", "mp3"),
    ".m4v": ("aac",),
    ".mov": ("aac", "mp3", "alac"),
    ".webm": ("opus", "vorbis"),
}
_AAC, _OPUS = ["-c:a", "aac", "-b:a", "192k", "-ac", "2"], ["-c:a", "libopus", "-b:a", "128k", "-ac", "2"]
_SEAL = ["-movflags", "+faststart"]


class Encoder:
    """Frames to one file at `path`; `write`, then `commit` once, and `discard` always."""

    done = 0

    def __init__(
        self,
        path: Path,
        fps: Fraction,
        size: tuple[int, int],
        audio: Path | None,
        audio_start: float,
        crf: int,
    ) -> None:
        self.path, self.fps, self.frames = path, fps, 0
        self.kind = path.suffix.lower()
        self.audio, self.audio_start = audio, audio_start
        self.audio_codec = find_audio(audio) if audio is not None and self.kind != ".gif" else ""
        self.pictures = partial_path(path, ".mkv" if self.kind == ".gif" else self.kind)
        self.result = partial_path(path, self.kind)
        self.palette = partial_path(path, ".png")
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}"]
        source += ["-framerate", f"{fps.numerator}/{fps.denominator}", "-i", "pipe:0"]
        self.child = Child(
            [*source, *_codec(self.kind, crf), file_output(self.pictures)], stdin=subprocess.PIPE
        )

    def write(self, frame: np.ndarray) -> None:
        try:
            self.child.stdin.write(frame.data)
        except (BrokenPipeError, OSError):
            self.child.wait()
            raise self._failure() from None
        self.frames += 1

    def commit(self) -> None:
        """End the encoding, finish the file and put it in its place."""
        with suppress(OSError):  # a child that is gone: its status says so
            self.child.stdin.close()
        if self.child.wait() != 0:
            raise self._failure()
        if self.kind == ".gif":
            self._make_gif()
        elif self.audio_codec:
            self._add_audio()
        else:
            self.pictures.replace(self.result)
        try:
            self.result.replace(self.path)
        except OSError as error:
            raise AnimaskError(f"{self.path} could not be replaced: {error.strerror}.") from error

    def discard(self) -> None:
        """End the child and remove what is temporary."""
        self.child.stop()
        for partial in (self.pictures, self.result, self.palette):
            partial.unlink(missing_ok=True)

    def _add_audio(self) -> None:
        """Join the pictures with the sound, cut to their length and copied where the container allows."""
        assert self.audio is not None
        length = float(self.frames / self.fps)
        sound = ["-ss", f"{self.audio_start:.6f}"] if self.audio_start > 0 else []
        sound += ["-t", f"{length:.6f}", *file_input(self.audio)]
        join = [*file_input(self.pictures), *sound, "-map", "0:v:0", "-map", "1:a:0", "-c:v", "copy"]
        encode = _OPUS if self.kind == ".webm" else _AAC
        if self.audio_codec in _COPYABLE[self.kind]:
            encode = ["-c:a", "copy"]
        seal = [] if self.kind == ".webm" else _SEAL
        run([*join, *encode, *seal, file_output(self.result)])

    def _make_gif(self) -> None:
        """One palette for the whole clip, from a first look at all frames; then the frames with it."""
        pictures = file_input(self.pictures)
        run([*pictures, "-vf", "palettegen=stats_mode=full", "-frames:v", "1", file_output(self.palette)])
        fps = min(self.fps, GIF_MAX_FPS)
        draw = f"[0:v]fps={fps}[v];[v][1:v]paletteuse=dither=sierra2_4a:diff_mode=rectangle"
        palette = ["-i", file_output(self.palette)]
        run([*pictures, *palette, "-filter_complex", draw, "-loop", "0", file_output(self.result)])

    def _failure(self) -> AnimaskError:
        return AnimaskError(
            f"Writing {self.path} failed after {self.frames} frames: {self.child.complaint()}."
        )


def _codec(kind: str, crf: int) -> list[str]:
    """Encoder arguments by suffix; a GIF is first kept without loss."""
    if kind == ".gif":
        return ["-c:v", "ffv1", "-pix_fmt", "bgr0"]
    colours = ["-vf", _TO_YUV, *_BT709]
    if kind == ".webm":  # VP9 counts quality from 0 to 63
        quality = [
            "-crf",
            str(round(crf * 63 / 51)),
            "-b:v",
            "0",
            "-deadline",
            "good",
            "-cpu-used",
            "4",
            "-row-mt",
            "1",
        ]
        return ["-c:v", "libvpx-vp9", *quality, *colours]
    return ["-c:v", "libx264", "-preset", "medium", "-crf", str(crf), *colours, *_SEAL]
