"""What an evaluation found: the scores beside the paper's figures, as a table and as one page."""

import base64
import math
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from animask.files import replacing
from animask.metrics import Score

# Figures of the paper, reconstruction: of table 1, which means over frames; and of table 2, vox, as far as it can be
# read: FSAL was tuned on 32 pictures of the person, the paper's method on none.
PUBLISHED = {
    "taichi": {
        "X2Face": {"l1": 0.080, "akd": 17.654, "mkr": 0.109, "aed": 0.272},
        "Monkey-Net": {"l1": 0.077, "akd": 10.798, "mkr": 0.059, "aed": 0.228},
        "FOMM": {"l1": 0.063, "akd": 6.862, "mkr": 0.036, "aed": 0.179},
        "paper": {"l1": 0.047, "akd": 4.239, "mkr": 0.015, "aed": 0.147},
    },
    "vox": {
        "X2Face": {"l1": 0.078, "akd": 7.687, "aed": 0.405},
        "Monkey-Net": {"l1": 0.049, "akd": 1.878, "aed": 0.199},
        "FOMM": {"l1": 0.043, "akd": 1.294, "aed": 0.140},
        "paper": {"l1": 0.034, "akd": 1.329, "aed": 0.130, "ssim": 0.80, "csim": 0.70},
        "FSAL": {"ssim": 0.74, "csim": 0.19},
    },
    "bair": {"X2Face": {"l1": 0.065}, "Monkey-Net": {"l1": 0.034}, "FOMM": {"l1": 0.027}, "paper": {"l1": 0.021}},
}
NETWORKS = (
    "tables 1 and 2 of the paper; its akd by face-alignment (vox) and OpenPose (taichi), aed by other embeddings, csim "
    "by ArcFace: with other networks these differ"
)
STYLE = """
body { font: 16px/1.5 system-ui; max-width: 60rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
div { overflow-x: auto; }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap; }
img { display: block; max-width: 100%; }
"""

Scores = dict[str, dict[str, Score]]  # by column, then by metric


@dataclass(frozen=True)
class Result:
    """An evaluation: how it was made, the scores of every column, and each video.

    metrics: words on each; "higher" is in them where more is better. columns: our variants, other methods, copying.
    shares: means as shares of that of copying. published: the paper's own figures, where the data are the paper's.
    videos: name, person, frames and scores of each. failed: reason by name, of videos that count in no column.
    """

    protocol: dict[str, str]
    metrics: dict[str, str]
    networks: list[dict[str, str]]
    columns: Scores
    shares: dict[str, dict[str, float]]
    published: dict[str, dict[str, float]]
    videos: list[dict[str, Any]]
    failed: dict[str, str]
    people: int
    frames: int
    seconds: float


def sum_up(result: Result) -> list[str]:
    """For people: which frames were skipped, and what was left out."""
    lines = ["×: share of copying the source"]
    for name in result.metrics:
        skips = [f"{column} {x[name].skipped}" for column, x in result.columns.items() if x[name].skipped]
        if skips:
            lines.append(f"{name} skipped frames where nothing was found to compare: {', '.join(skips)}")
    lines += [f"left out: {name}: {reason}" for name, reason in result.failed.items()]
    videos = f"{len(result.videos)} videos of {result.people} people, {result.frames} driven frames"
    return [*lines, f"{videos}, {result.seconds:.1f} s"]


def show(value: float) -> str:
    """A figure for people in four digits, below 1 to four places; a dash where there is none."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else "∞"
    return f"{value:#.4g}" if abs(value) >= 1 else f"{round(value, 4) + 0.0:.4f}"  # + 0.0: no "-0.0000"


def tabulate(result: Result) -> list[list[str]]:
    """A head, then a row for each column of the result, with shares of copying behind ×, and each published method."""
    rows = [["", *(f"{name} {'↑' if 'higher' in words else '↓'}" for name, words in result.metrics.items())]]
    for column, scores in result.columns.items():
        beside = {name: f" ×{share:.2f}" for name, share in result.shares[column].items()}
        rows.append([column, *(show(scores[name].mean) + beside.get(name, "") for name in result.metrics)])
    for method, figures in result.published.items():
        rows.append([f"{method} (published)", *(show(figures.get(name, math.nan)) for name in result.metrics)])
    return rows


def write_page(path: Path, result: Result, strips: dict[str, np.ndarray]) -> None:
    """One page of HTML with everything inside: the table, what it shows, strips (RGB uint8, by caption), protocol."""
    title = escape(f"{Path(result.protocol['weights']).name}: {result.protocol['protocol']}")
    cells = [[escape(text) for text in row] for row in tabulate(result)]
    rows = [f"<tr><th>{first}</th>{''.join(f'<td>{text}</td>' for text in rest)}</tr>" for first, *rest in cells]
    body = [f"<h1>{title}</h1><div><table>", *rows, "</table></div>"]
    body += [f"<p>{escape(line)}</p>" for line in sum_up(result)]
    body += [f'<p>{escape(name)}<img alt="" src="{to_url(strip)}"></p>' for name, strip in strips.items()]
    words = result.protocol | result.metrics | {item["network"]: item["sha256"] for item in result.networks}
    body += [f"<p><b>{escape(name)}</b>: {escape(text)}</p>" for name, text in words.items()]
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head = f'<!doctype html>\n<html lang="en"><head>{meta}<title>{title}</title><style>{STYLE}</style></head><body>'
    with replacing(path) as partial:
        partial.write_text("\n".join([head, *body, "</body></html>\n"]), "utf-8", errors="replace")


def to_url(image: np.ndarray) -> str:
    """An RGB picture as PNG in a data URL."""
    return f"data:image/png;base64,{base64.b64encode(cv2.imencode('.png', image[..., ::-1])[1].tobytes()).decode()}"
