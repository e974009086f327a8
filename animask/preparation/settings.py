"""How raw videos become clips: the settings of `prepare`."""

from dataclasses import dataclass
from fractions import Fraction

from animask.config import ModelConfig
from animask.errors import InputError


@dataclass(frozen=True)
class PrepareConfig:
    """The settings of one data set; every run on it must have the same.

    resolution: pixels of the square clips, even. fps: their frames a second. box: `auto`, the head (the union
    of its faces over the clip, enlarged); `centre`, the largest square in the middle; `pad`, the whole frame,
    its edge pixels continued to a square; or X,Y,SIZE in pixels. min_size: smallest side of the square in the
    raw video, in pixels; by default three quarters of the resolution. min_seconds, max_seconds: lengths of
    clips; longer shots are divided. test: share of the identities kept for testing, chosen with `seed`. Raises
    InputError for a value that cannot be.
    """

    resolution: int = ModelConfig.resolution
    fps: Fraction = Fraction(25)
    box: str = "auto"
    min_size: int | None = None
    min_seconds: float = 1.0
    max_seconds: float = 40.0
    test: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        allowed = {
            "The resolution must be an even number from 16 to 4096": 16 <= self.resolution <= 4096
            and self.resolution % 2 == 0,
            "The frame rate must be above 0 and at most 240": 0 < self.fps <= 240,
            "The smallest size must be at least 1 pixel": self.smallest >= 1,
            "The shortest length must not be negative": self.min_seconds >= 0,
            "The longest length must be above 0 and at most a day": 0 < self.max_seconds <= 86_400,
            "The longest length must be at least twice the shortest": self.max_seconds >= 2 * self.min_seconds,
            "The test share must be at least 0 and below 1": 0 <= self.test < 1,
        }
        for sentence, holds in allowed.items():
            if not holds:
                raise InputError(f"{sentence}.")
        if self.box not in ("auto", "centre", "pad"):
            self.fixed_square()

    @property
    def smallest(self) -> int:
        """The smallest side, in pixels of the raw video, of a square that is cut."""
        return self.resolution * 3 // 4 if self.min_size is None else self.min_size

    @property
    def min_frames(self) -> int:
        """Frames of the shortest clip; a clip needs two to learn from."""
        return max(2, round(self.min_seconds * self.fps))

    @property
    def max_frames(self) -> int:
        """Frames of the longest clip."""
        return max(self.min_frames, round(self.max_seconds * self.fps))

    def fixed_square(self) -> tuple[int, int, int]:
        """The square X,Y,SIZE that `box` names; InputError where it names none."""
        try:
            x, y, size = (int(part) for part in self.box.split(","))
        except ValueError:
            raise InputError(
                f"The box {self.box!r} is not understood.", "Give auto, centre, pad or X,Y,SIZE in pixels."
            ) from None
        if min(x, y) < 0 or size < 1:
            raise InputError(f"The box {self.box} is not a square inside a picture.")
        return x, y, size
