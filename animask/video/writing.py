"""Videos from frames: MP4, MOV, WebM, GIF or a folder of PNG, with sound; whole or not at all."""

from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np

from animask.errors import AnimaskError, InputError
from animask.video import encoding
from animask.video.sequence import FrameFolder

SUFFIXES = (".mp4", ".mov", ".m4v", ".webm", ".gif")
EVEN_SUFFIXES = (".mp4", ".mov", ".m4v")  # H.264 with halved colour planes


class VideoWriter:
    """Write RGB frames to `path`; a context manager that leaves a whole video, or what was there before.

    path: its suffix chooses the format (.mp4 .mov .m4v: H.264; .webm: VP9; .gif; no suffix or an existing
    folder: 000000.png and so on). fps: frames a second, exact. size: width, height (even for H.264). audio: a
    file whose sound, from `audio_start` seconds on, accompanies the frames; one without sound is fine; GIF
    and PNG stay silent. crf: 0 (lossless) to 51. signature: names the inputs and settings, so that only the
    same run continues an interrupted PNG folder. overwrite: replace what is there in the end; otherwise an
    output that somebody else made meanwhile is kept. Raises InputError for what cannot be written and
    AnimaskError where writing fails.
    """

    def __init__(
        self,
        path: Path,
        fps: Fraction,
        size: tuple[int, int],
        audio: Path | None = None,
        audio_start: float = 0.0,
        crf: int = 17,
        signature: str = "",
        overwrite: bool = True,
    ) -> None:
        self.path, self.fps, self.size = Path(path), Fraction(fps), size
        self._check()
        if not self.path.suffix or self.path.is_dir():
            self._sink: FrameFolder | encoding.Encoder = FrameFolder(self.path, size, signature, overwrite)
        else:
            self._sink = encoding.Encoder(self.path, self.fps, size, audio, audio_start, crf, overwrite)
        self.frames = self.done

    @property
    def done(self) -> int:
        """How many frames an interrupted run with the same signature left; write from this one on."""
        return self._sink.done

    def __enter__(self) -> "VideoWriter":
        try:
            self._sink.begin()
        except BaseException:
            self._sink.discard()
            raise
        return self

    def write(self, frame: np.ndarray) -> None:
        """Add one frame: RGB uint8 (height, width, 3)."""
        expected = (self.size[1], self.size[0], 3)
        if frame.shape != expected or frame.dtype != np.uint8:
            raise ValueError(f"a frame must be uint8 {expected}, not {frame.dtype} {frame.shape}")
        self._sink.write(np.ascontiguousarray(frame))
        self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                if self.frames == 0:
                    raise AnimaskError(f"There are no frames to write to {self.path}.")
                self._sink.commit()
        finally:
            self._sink.discard()

    def _check(self) -> None:
        suffix = self.path.suffix.lower()
        known = f"Use one of {' '.join(SUFFIXES)}, or no suffix for a folder of PNG."
        if suffix and suffix not in SUFFIXES and not self.path.is_dir():
            raise InputError(f"{self.path} has no suffix of a video.", known)
        if self.path.exists() and not self.path.is_dir() and not (suffix and self.path.is_file()):
            raise InputError(f"{self.path} is neither a video nor a folder.", "Choose another name.")
        if self.path.is_dir() and suffix in SUFFIXES:
            raise InputError(f"{self.path} is a folder, not a video.", "Choose another name.")
        if self.fps <= 0:
            raise InputError(f"A frame rate must be above 0, not {self.fps}.")
        width, height = self.size
        if width < 1 or height < 1 or (suffix in EVEN_SUFFIXES and (width % 2 or height % 2)):
            raise InputError(
                f"{self.path} needs an even width and height, not {width}×{height}.",
                "Use .webm, .gif or PNG.",
            )
        if not self.path.parent.is_dir():
            raise InputError(f"The folder {self.path.parent} does not exist.", "Make it first.")
