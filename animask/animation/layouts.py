"""How animated frames are shown: the result alone, beside its inputs, or as the strip of the paper's figure 3."""

from collections.abc import Iterator
from typing import Literal

import cv2
import numpy as np

from animask.images import to_images
from animask.model import Trace

LAYOUTS = ("result", "compare", "strip")
COLUMNS = ("source", "m_s", "driver", "m(d)", "perturbed", "refined", "coarse", "final")

Layout = Literal["result", "compare", "strip"]


def lay_out(trace: Trace, source: np.ndarray, driver: list[np.ndarray], layout: Layout) -> Iterator[np.ndarray]:
    """The frames of a trace as they are shown, RGB uint8. source: (R, R, 3), driver: frames of the same size.

    "result": (R, R, 3); "compare": source, driver and result side by side; "strip": COLUMNS, with their names.
    """
    results = to_images(trace.f)
    if layout == "result":
        yield from results
    elif layout == "compare":
        for frame, result in zip(driver, results, strict=True):
            yield np.hstack([source, frame, result])
    else:
        masks = [to_images(x.expand(len(results), -1, -1, -1)) for x in (trace.m_s, trace.m_d, trace.m_dp, trace.m_dr)]
        coarse = to_images(trace.c)
        for i, frame in enumerate(driver):
            m_s, m_d, m_dp, m_dr = (enlarge(mask[i], len(source)) for mask in masks)
            yield label(COLUMNS, [source, m_s, frame, m_d, m_dp, m_dr, coarse[i], results[i]])


def enlarge(mask: np.ndarray, side: int) -> np.ndarray:
    """A mask image at the size of a frame, its pixels visible."""
    return cv2.resize(mask, (side, side), interpolation=cv2.INTER_NEAREST)


def label(names: tuple[str, ...], images: list[np.ndarray]) -> np.ndarray:
    """Images of one size side by side under a line with their names."""
    side = images[0].shape[1]
    height = 2 * max(6, side // 24)
    line = np.full((height, side * len(images), 3), 255, np.uint8)
    size = height / 40
    for i, name in enumerate(names):
        place = (i * side + height // 4, height - height // 3)
        cv2.putText(line, name, place, cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([line, np.hstack(images)])
