"""A folder of PNG frames, written so that an interrupted run can be continued."""

import re
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np

from animask.errors import AnimaskError, InputError
from animask.images import write_image
from animask.partials import is_abandoned, partial_path

_FRAME = re.compile(r"\d{6,}\.png")
_SIGNATURE = "signature"
REPLACE = "Choose another name, or replace it with --overwrite."


class FrameFolder:
    """Frames as 000000.png, 000001.png ...; `write`, then `commit` once, and `discard` always.

    They grow in a hidden folder beside it, which an interruption leaves for the next run with the same
    signature.
    """

    def __init__(self, path: Path, size: tuple[int, int], signature: str, overwrite: bool) -> None:
        self.path, self.overwrite = path, overwrite
        self._mark = f"{path.absolute()} {size[0]}x{size[1]} {signature}"
        self.partial = partial_path(path, "")
        try:
            self._claim()
        except OSError as error:
            raise AnimaskError(f"{path} could not be written: {error.strerror}.") from error
        self.done = 0
        while (self.partial / f"{self.done:06}.png").exists():
            self.done += 1
        self.frames = self.done

    def begin(self) -> None:
        """Nothing: the folder is there already."""

    def write(self, frame: np.ndarray) -> None:
        write_image(self.partial / f"{self.frames:06}.png", frame)
        self.frames += 1

    def commit(self) -> None:
        """Put the frames in their place, all at once where no others are; frames of an older, longer run go."""
        try:
            (self.partial / _SIGNATURE).unlink()
            with suppress(OSError):
                if self.path.is_dir():
                    shutil.copymode(self.path, self.partial)
                self.partial.rename(self.path)  # which fails where a file is in the folder
                return
            if not self.overwrite and self.path.is_dir() and any(self.path.iterdir()):
                raise InputError(f"{self.path} exists already: it was made while this ran.", REPLACE)
            self.path.mkdir(exist_ok=True)
            for frame in self.partial.iterdir():
                frame.replace(self.path / frame.name)
            for frame in self.path.iterdir():
                if _FRAME.fullmatch(frame.name) and int(frame.stem) >= self.frames:
                    frame.unlink()
        except OSError as error:
            raise AnimaskError(f"{self.path} could not be written: {error.strerror}.") from error

    def discard(self) -> None:
        """Leave frames for a continuation; remove the hidden folder where there are none."""
        frames = [path for path in self.partial.glob("*.png") if _FRAME.fullmatch(path.name)]
        if not frames:
            shutil.rmtree(self.partial, ignore_errors=True)

    def _claim(self) -> None:
        """Take over what an interrupted run of the same signature left, or start anew.

        Renaming is the claim: of two runs that try, one succeeds.
        """
        for left in self.path.parent.glob(".*.animask-partial"):
            if left.is_dir() and is_abandoned(left) and _read_signature(left) == self._mark:
                with suppress(FileNotFoundError):
                    left.rename(self.partial)
                    return
        self.partial.mkdir()
        (self.partial / _SIGNATURE).write_text(self._mark, encoding="utf-8", errors="surrogateescape")


def _read_signature(folder: Path) -> str | None:
    try:
        return (folder / _SIGNATURE).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
