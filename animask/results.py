"""What an evaluation found: the values of each video, their totals beside the paper's figures, and one page of them."""

import base64
import math
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from animask.files import replacing

COPY = "copy"  # the column that answers the source frame, whatever the driver does
DISTANCES = ("l1", "lpips", "akd", "aed")  # metrics of which a share of that of copying says something
METHODS = ("X2Face", "Monkey-Net", "FOMM", "paper")
# Table 1 of the paper, reconstruction: dataset, metric, then a figure for each of METHODS; it means over frames.
RECONSTRUCTION = {
    ("taichi", "l1"): (0.080, 0.077, 0.063, 0.047),
    ("taichi", "akd"): (17.654, 10.798, 6.862, 4.239),
    ("taichi", "mkr"): (0.109, 0.059, 0.036, 0.015),
    ("taichi", "aed"): (0.272, 0.228, 0.179, 0.147),
    ("vox", "l1"): (0.078, 0.049, 0.043, 0.034),
    ("vox", "akd"): (7.687, 1.878, 1.294, 1.329),
    ("vox", "aed"): (0.405, 0.199, 0.140, 0.130),
    ("bair", "l1"): (0.065, 0.034, 0.027, 0.021),
}
# Table 2, VoxCeleb1, as far as it can be read: FSAL was tuned on 32 pictures of the person, the paper's method on none.
FEW_SHOT = {"paper": {"ssim": 0.80, "csim": 0.70}, "FSAL": {"ssim": 0.74, "csim": 0.19}}
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

Values = dict[str, dict[str, list[float]]]  # by column, then by metric: one number a frame, NaN where it was skipped


class Record(NamedTuple):
    """One video: its name, who is to be seen, how many frames were driven, their values; or why there are none."""

    video: str
    person: str
    frames: int
    values: Values
    error: str = ""


class Score(NamedTuple):
    """A mean, NaN if there is none; frames used, and skipped by the metric."""

    mean: float
    used: int
    skipped: int


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
    networks: list[dict[str, Any]]
    columns: Scores
    shares: dict[str, dict[str, float]]
    published: dict[str, dict[str, float]]
    videos: list[dict[str, Any]]
    failed: dict[str, str]
    people: int
    frames: int
    seconds: float


def score(records: list[Record], column: str, metric: str, by_people: bool) -> Score:
    """The score of one column and metric, over all frames, or over people of the mean over the frames of each."""
    groups: dict[str, list[float]] = {}
    for record in records:
        groups.setdefault(record.person if by_people else "", []).extend(record.values[column][metric])
    used = [[value for value in group if not math.isnan(value)] for group in groups.values()]
    means = [math.fsum(group) / len(group) for group in used if group]
    count = sum(map(len, used))
    mean = math.fsum(means) / len(means) if means else math.nan
    return Score(mean, count, sum(map(len, groups.values())) - count)


def total(records: list[Record], by_people: bool) -> Scores:
    """The scores of every column and metric."""
    columns = records[0].values
    return {
        column: {metric: score(records, column, metric, by_people) for metric in metrics}
        for column, metrics in columns.items()
    }


def shares_of_copying(columns: Scores) -> dict[str, dict[str, float]]:
    """Of every column and distance: its mean as a share of that of copying the source."""
    copied = {metric: columns[COPY][metric].mean for metric in DISTANCES if metric in columns[COPY]}
    known = {metric: mean for metric, mean in copied.items() if mean > 0}
    return {
        column: {metric: scores[metric].mean / mean for metric, mean in known.items() if scores[metric].used}
        for column, scores in columns.items()
    }


def published(dataset: str, protocol: str) -> dict[str, dict[str, float]]:
    """Figures by method and metric; {} where there are none, as for animation, which the paper does not measure."""
    found: dict[str, dict[str, float]] = {}
    if protocol != "reconstruction":
        return found
    for (name, metric), figures in RECONSTRUCTION.items():
        if name == dataset:
            for method, figure in zip(METHODS, figures, strict=True):
                found.setdefault(method, {})[metric] = figure
    for method, scores in FEW_SHOT.items() if dataset == "vox" else ():
        found.setdefault(method, {}).update(scores)
    return found


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
    """The table in words: a head, then a row for each column of the result and each published method.

    Behind × stands the share of copying the source.
    """
    rows = [["", *(f"{name} {'↑' if 'higher' in words else '↓'}" for name, words in result.metrics.items())]]
    for column, scores in result.columns.items():
        beside = {name: f" ×{share:.2f}" for name, share in result.shares[column].items()}
        rows.append([column, *(show(scores[name].mean) + beside.get(name, "") for name in result.metrics)])
    for method, figures in result.published.items():
        rows.append([f"{method} (published)", *(show(figures.get(name, math.nan)) for name in result.metrics)])
    return rows


def to_json(content: Any) -> Any:
    """Anything of a result as JSON has it: tuples with names as objects, numbers that are not finite as null."""
    if isinstance(content, Result):
        content = vars(content)
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, tuple) and hasattr(content, "_asdict"):
        content = content._asdict()
    if isinstance(content, dict):
        return {key: to_json(item) for key, item in content.items()}
    return [to_json(item) for item in content] if isinstance(content, list | tuple) else content


def write_page(path: Path, result: Result, strips: dict[str, np.ndarray]) -> None:
    """One page of HTML with everything inside: the table, what it shows, strips of frames, the protocol.

    strips: RGB uint8, by caption.
    """
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
