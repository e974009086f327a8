"""One page of HTML about an evaluation, with everything inside: tables, plots and pictures; nothing is fetched."""

import base64
import math
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from animask.animation import device_of, encode_source
from animask.evaluation.description import p_test
from animask.evaluation.protocols import Case
from animask.evaluation.results import Result, show, sum_up, tabulate
from animask.evaluation.style import STYLE
from animask.evaluation.variants import Variant, drive
from animask.images import to_images, to_tensor
from animask.model import Animator, Trace
from animask.partials import partial_path

WIDTH, HEIGHT, EDGE = 480, 200, 52  # of a plot
COLOURS = ("#2563eb", "#d97706", "#059669", "#db2777", "#7c3aed", "#0891b2", "#65a30d", "#64748b")


RANKS = ("best", "median", "worst")
STRIP, THUMB = 7, 128  # frames of a strip, and their side in pixels
META = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'


class Example(NamedTuple):
    """One video of the page: its rank ("best", ...), name, score, pictures by caption, and words on the threshold.

    strips: frames side by side, as time goes on. frames, masks: of the one in the middle.
    """

    rank: str
    name: str
    score: float
    strips: dict[str, np.ndarray]
    frames: dict[str, np.ndarray]
    masks: dict[str, np.ndarray]
    note: str


def write_report(path: Path, result: Result, model: Animator, variants: list[Variant], cases: list[Case]) -> None:
    """Write the page, in one step. cases: those of the result; the best, median and worst are driven once more."""
    by_name = {case.name: case for case in cases}
    examples = [
        take(model, variants, by_name[name], rank, score, frames) for rank, name, score, frames in choose(result)
    ]
    partial = partial_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        partial.write_text(page(result, examples), encoding="utf-8", errors="replace")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def choose(result: Result) -> list[tuple[str, str, float, int]]:
    """Rank, name, score and frames of the best, the median and the worst video, by the first metric and variant."""
    variant, metric = first(result)
    scored = [(video["variants"][variant][metric].mean, video) for video in order(result, metric)]
    ordered = [(score, video) for score, video in scored if not math.isnan(score)]
    places = {0: "best", len(ordered) - 1: "worst", len(ordered) // 2: "median"}
    if len(ordered) < len(RANKS):
        places = dict(enumerate(RANKS[: len(ordered)]))
    return [(places[n], ordered[n][1]["name"], ordered[n][0], ordered[n][1]["frames"]) for n in sorted(places)]


def first(result: Result) -> tuple[str, str]:
    """The first variant and the first metric, by which videos are ranked."""
    variant = next(iter(result.variants))
    return variant, next(iter(result.variants[variant]))


@torch.inference_mode()
def take(model: Animator, variants: list[Variant], case: Case, rank: str, score: float, frames: int) -> Example:
    """Some frames of a video, as every variant makes them, with the masks of the middle one."""
    picture, shots = case.open(model.config.resolution)
    places = set(np.linspace(0, frames - 1, STRIP).round())
    shown = [shot for place, shot in enumerate(islice(shots, frames)) if place in places]
    source = encode_source(model, picture)
    m_d = model.m(to_tensor([shot.driver for shot in shown], device_of(model)))
    traces = {variant.name: drive(model, variant, source, m_d) for variant in variants}
    truths = [shot.truth for shot in shown if shot.truth is not None and shot.truth is not shot.driver]
    rows = {"driver": [shot.driver for shot in shown], "truth": truths}
    rows |= {name: list(to_images(trace.f)) for name, trace in traces.items()}
    rows = {name: row for name, row in rows.items() if row}
    middle = len(shown) // 2
    trace = next(iter(traces.values()))
    images = {"source": picture} | {name: row[middle] for name, row in rows.items()}
    images["coarse"] = to_images(trace.c)[middle]
    masks, notes = look_inside(model, variants, traces, middle)
    strips = {name: np.hstack([shrink(image) for image in row]) for name, row in rows.items()}
    return Example(rank, case.name, score, strips, images, masks, notes)


def look_inside(
    model: Animator, variants: list[Variant], traces: dict[str, Trace], place: int
) -> tuple[dict[str, np.ndarray], str]:
    """The masks of one of the frames that were driven, and words on what the thresholds left of them."""
    trace = next(iter(traces.values()))
    masks, notes = {"m(s)": trace.m_s[:1], "m(d)": trace.m_d[place : place + 1]}, []
    notes.append(describe_mask(masks["m(d)"]))
    for variant in (variant for variant in variants if variant.ablation == "none"):
        m_dp, m_dr = (mask[place : place + 1] for mask in (traces[variant.name].m_dp, traces[variant.name].m_dr))
        masks |= {f"{variant.name}: perturbed": m_dp, f"{variant.name}: refined": m_dr}
        kept = 100 * (m_dp > 0).float().mean()
        notes.append(f"{variant.name}: {p_test(variant, model.config)}; P_test leaves {kept:.0f} % of the picture.")
    return {name: to_images(mask)[0] for name, mask in masks.items()}, " ".join(notes)


def shrink(image: np.ndarray) -> np.ndarray:
    """A frame of a strip: at most THUMB pixels wide."""
    if len(image) <= THUMB:
        return image
    return np.asarray(cv2.resize(image, (THUMB, THUMB), interpolation=cv2.INTER_AREA))


def describe_mask(mask: torch.Tensor) -> str:
    """What thresholds have to do with: the values of a mask."""
    values = mask.float().flatten()
    return f"m(d): mean {values.mean():.3f}, median {values.median():.3f}, largest {values.max():.3f}."


def page(result: Result, examples: list[Example]) -> str:
    """The whole page."""
    protocol = result.protocol
    title = f"{Path(protocol['weights']).name} on {protocol['dataset']}: {protocol['protocol']}"
    variant, metric = first(result)
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{len(result.videos)} videos, {result.frames} driven frames, {result.seconds:.0f} s.</p>",
        table(result),
        remarks(result),
        "<h2>Every video</h2>",
        f"<p>One mark a video and variant, in the order of {escape(variant)}, the best on the left.</p>",
        legend(result),
        f"<div class=plots>{''.join(plot(result, name) for name in result.variants[variant])}</div>",
        f"<h2>Best, median, worst</h2><p>By {escape(metric)} of {escape(variant)}.</p>",
        *(figure(example, metric) for example in examples),
        "<h2>Protocol</h2>",
        definitions(protocol),
    ]
    head = f"<title>{escape(title)}</title><style>{STYLE}</style>"
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en"><head>{META}{head}</head>\n<body>{body}</body></html>\n'


def table(result: Result) -> str:
    """Our variants as rows, then the published methods; metrics as columns."""
    heads, ours, theirs = tabulate(result)
    head = "".join(f"<th>{escape(name)}</th>" for name in ("", *heads))
    bodies = [
        "".join(
            f"<tr><th>{escape(name)}</th>{''.join(f'<td>{text}</td>' for text in texts)}</tr>"
            for name, texts in rows.items()
        )
        for rows in (ours, theirs)
    ]
    body = "".join(f"<tbody>{rows}</tbody>" for rows in bodies if rows)
    note = f"<p>{escape(result.note.capitalize())}.</p>" if result.note else ""
    return f"<div class=wide><table><thead><tr>{head}</tr></thead>{body}</table></div>{note}"


def legend(result: Result) -> str:
    """Which colour is which variant."""
    names = enumerate(result.variants)
    marks = (
        f'<span class=key><span style="color:{COLOURS[n % len(COLOURS)]}">●</span> {escape(name)}</span>'
        for n, name in names
    )
    return f"<p>{' '.join(marks)}</p>"


def remarks(result: Result) -> str:
    """The ablations in words, and the videos that are missing."""
    texts = sum_up(result.comparisons)
    texts += [f"{name} was left out: {reason}" for name, reason in result.failed.items()]
    claim = f"<p><strong>{escape(result.claim)}.</strong></p>" if result.claim else ""
    return claim + (f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>" if texts else "")


def plot(result: Result, metric: str) -> str:
    """A metric of every video in every variant, as SVG; the variants side by side at each video."""
    videos = order(result, metric)
    values = {name: [video["variants"][name][metric].mean for video in videos] for name in result.variants}
    finite = [value for row in values.values() for value in row if math.isfinite(value)]
    caption = f"<figcaption>{escape(metric)}, {escape(result.protocol['metrics'][metric])}</figcaption>"
    if not finite:
        return f"<figure>{caption}<p>No frame could be compared.</p></figure>"
    low, high = min(finite), max(finite)
    marks = []
    for number, (name, row) in enumerate(values.items()):
        for place, value in enumerate(row):
            if math.isfinite(value):
                x = EDGE + (WIDTH - EDGE) * (place + (number + 1) / (len(values) + 1)) / len(videos)
                tip = escape(f"{videos[place]['name']}, {name}: {show(value)}")
                colour, y = COLOURS[number % len(COLOURS)], height_of(value, low, high)
                marks.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{tip}</title></circle>')
    axis = "".join(
        f'<line x1="{EDGE}" x2="{WIDTH}" y1="{y}" y2="{y}"/><text x="{EDGE - 6}" y="{y + 4}">{show(value)}</text>'
        for value, y in ((value, height_of(value, low, high)) for value in dict.fromkeys((high, low)))
    )
    return f'<figure>{caption}<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{axis}{"".join(marks)}</svg></figure>'


def order(result: Result, metric: str) -> list[dict[str, Any]]:
    """The videos from best to worst by the first variant; those without a score last."""
    main, higher = next(iter(result.variants)), result.is_higher(metric)

    def key(video: dict[str, Any]) -> tuple[bool, float]:
        value = video["variants"][main][metric].mean
        return math.isnan(value), -value if higher else value

    return sorted(result.videos, key=key)


def height_of(value: float, low: float, high: float) -> float:
    """Where a value stands in a plot, in pixels from the top."""
    return HEIGHT - EDGE / 2 - (HEIGHT - EDGE) * (value - low) / ((high - low) or 1.0)


def figure(example: Example, metric: str) -> str:
    """The pictures of one video."""
    title = f"{example.rank}: {example.name}, {metric} {show(example.score)}"
    strips = "".join(tile(caption, image, "strip") for caption, image in example.strips.items())
    frames = "".join(tile(caption, image, "frame") for caption, image in example.frames.items())
    masks = "".join(tile(caption, image, "mask") for caption, image in example.masks.items())
    body = f"<div class=tiles>{frames}{masks}</div><p>{escape(example.note)}</p>"
    return f"<section><h3>{escape(title)}</h3>{strips}<p>The middle frame, and inside:</p>{body}</section>"


def tile(caption: str, image: np.ndarray, kind: str) -> str:
    """A picture with its caption, as PNG inside the page."""
    data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
    text = escape(caption)
    picture = f'<img alt="{text}" src="data:image/png;base64,{base64.b64encode(data).decode()}">'
    return f"<figure class={kind}>{picture}<figcaption>{text}</figcaption></figure>"


def definitions(content: Any) -> str:
    """Nested names and values as a list."""
    if isinstance(content, dict):
        items = "".join(f"<dt>{escape(str(key))}</dt><dd>{definitions(value)}</dd>" for key, value in content.items())
        return f"<dl>{items}</dl>"
    if isinstance(content, list):
        return "".join(definitions(item) for item in content)
    return escape(show(content) if isinstance(content, float) else str(content))
