"""How files are animated: the flags of `animask animate`."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from animask.animation.crops import parse_crop
from animask.animation.layouts import LAYOUTS, Layout
from animask.errors import InputError
from animask.images import MAX_PIXELS
from animask.weights import DEFAULT

Match = Literal["none", "first"]


@dataclass(frozen=True)
class Settings:
    """How files are animated; the flags of `animask animate`.

    threshold, scale: of P_test, None for what the weights say. batch: driver frames at a time.
    source_crop, driver_crop: "auto", "none", "centre" or "X,Y,SIZE", see `crop_source`. face: which face of the
    source "auto" takes, 1 for the largest; None for the largest, where the picture is not a crop already.
    match: "first" shifts and scales the driver's square to what its first mask and the source's have in common.
    paste: the result goes back into the whole picture. quality: crf, 0 to 51. start, end: seconds of the driver;
    fps: None for the driver's own. background: RGB behind transparent pixels. max_pixels: of the source, and of a
    frame of the driver.
    """

    weights: str = DEFAULT
    device: str = "auto"
    precision: str = "auto"
    batch: int = 8
    threshold: float | Literal["median"] | None = None
    scale: float | None = None
    audio: bool = True
    layout: Layout = "result"
    overwrite: bool = False
    source_crop: str = "auto"
    driver_crop: str = "auto"
    face: int | None = None
    match: Match = "none"
    paste: bool = False
    quality: int = 17
    start: float = 0.0
    end: float | None = None
    fps: Fraction | None = None
    background: tuple[int, int, int] = (255, 255, 255)
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        parse_crop(self.source_crop, "source-crop")
        parse_crop(self.driver_crop, "driver-crop")
        if self.layout not in LAYOUTS:
            raise InputError(f"unknown layout {self.layout!r}", f"choose one of {', '.join(LAYOUTS)}")
        if self.match not in ("none", "first"):
            raise InputError(f"unknown match {self.match!r}", "choose none or first")
        if self.paste and self.layout != "result":
            raise InputError("a pasted result is shown alone", "leave out --paste or --layout")
        if not 0 <= self.quality <= 51:
            raise InputError(f"the quality must be a crf from 0 (lossless) to 51, not {self.quality}")
        if self.batch < 1 or (self.face is not None and self.face < 1):
            raise InputError("batches and the numbers of faces begin at 1")
