"""`evaluate`: the paper's metrics (section 4) of some weights on a data set, beside copying, other methods and the
paper's figures; the result as a table and as one page."""

import base64
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from animask.config import MODEL_PRESETS, nearest
from animask.detectors import DETECTORS, Detector, describe_network
from animask.devices import pick_device, pick_precision
from animask.errors import AnimaskError, InputError, MissingError
from animask.files import bundled, replacing
from animask.fusion import fuse
from animask.images import fit, to_images, to_tensor
from animask.losses import FILES, Lpips
from animask.metrics import Score, aed, akd, average, csim, l1, mkr, psnr, ssim
from animask.model import Ablation, Animator
from animask.protocol import Case, Progress, Settings, describe, find_prediction, plan, read_prediction
from animask.streaming import at_precision, device_of, encode_source
from animask.weights import find_weights, load_model

REFERENCE_SIDE = MODEL_PRESETS["paper"].resolution  # key-point distances are in pixels of the paper's frame
COPY = "copy"  # the column that answers the source frame, whatever the driver does
DISTANCES = ("l1", "lpips", "akd", "aed")  # metrics of which a share of that of copying says something
EXAMPLES, STRIP, THUMB = 3, 7, 128  # on the page: videos, frames of a strip, and their side in pixels

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
Seen = dict[str, Tensor]  # what metrics compare in B frames: "frames", "points", "identity", each as in `metrics`
Values = dict[tuple[str, str], list[float]]  # by column and metric, one a frame; NaN where the metric skipped it


@cache
def open_lpips(device: torch.device) -> Lpips:
    """The network of LPIPS, on a device, opened once."""
    return Lpips().to(device)


class Metric(NamedTuple):
    """What a metric compares (a name in Seen), words on its range and direction, and how: two of these to (B,)."""

    compares: str
    words: str
    measure: Callable[[Tensor, Tensor], Tensor]


LOW, HIGH = "lower is better", "higher is better"
METRICS = {
    "l1": Metric("frames", f"0 to 1, {LOW}", l1),
    "psnr": Metric("frames", f"0 to infinity, dB, {HIGH}", psnr),
    "ssim": Metric("frames", f"-1 to 1, {HIGH}", ssim),
    "lpips": Metric("frames", f"0 to about 1, {LOW}", lambda x, y: open_lpips(x.device)(x.float(), y.float())),
    "akd": Metric("points", f"0 up, pixels of {REFERENCE_SIDE}, mean per coordinate, {LOW}", akd),
    "mkr": Metric("points", f"0 to 1, {LOW}", mkr),
    "aed": Metric("identity", f"0 to 4, squared, {LOW}", aed),
    "csim": Metric("identity", f"-1 to 1, {HIGH}", csim),
}


def check_metrics(settings: Settings) -> None:
    """Raise InputError for unknown metrics and those that the protocol cannot give, MissingError without a detector."""
    for name in settings.metrics:
        if name not in METRICS:
            raise InputError(f"unknown metric {name!r}", f"choose from {', '.join(METRICS)}{nearest(name, METRICS)}")
    frames = [name for name in settings.metrics if METRICS[name].compares == "frames"]
    if settings.protocol == "animation" and settings.dataset != "toons" and frames:
        hint = "choose from akd, mkr, aed, csim, or take toons"
        raise InputError(f"{', '.join(frames)}: nobody knows the true frames of an animation of these data", hint)
    if not settings.kind and len(frames) < len(settings.metrics):
        hint = "l1, psnr, ssim and lpips work on any data"
        raise MissingError(f"animask knows no detector for the pictures of {settings.dataset}", hint)


@dataclass(frozen=True)
class Result:
    """An evaluation: how it was made, the scores of every column, and each video."""

    protocol: dict[str, str]
    metrics: dict[str, str]  # words on each; "higher" is in them where more is better
    networks: list[dict[str, str]]
    columns: Scores  # our variants, other methods, copying
    shares: dict[str, dict[str, float]]  # means as shares of that of copying
    published: dict[str, dict[str, float]]  # the paper's own figures, where the data are the paper's
    videos: list[dict[str, Any]]  # name, person, frames and scores of each
    failed: dict[str, str]  # reason by name, of videos that count in no column
    people: int
    frames: int
    seconds: float


class Bench(NamedTuple):
    """The videos of an evaluation, and what each of them meets."""

    cases: list[Case]
    model: Animator
    columns: dict[str, Ablation]  # ways of driving by name: the step that each leaves out
    settings: Settings
    about: dict[str, str]  # where and in which precision it computes, and the SHA-256 of the weights


class Driven(NamedTuple):
    """Some frames of a video, (B, 3, R, R) but for the source s (1, 3, R, R)."""

    s: Tensor
    d: Tensor
    truth: Tensor | None  # None where nobody knows it
    outputs: dict[str, Tensor]  # what our columns and other methods make of them


def open_bench(settings: Settings) -> Bench:
    """The videos and the model that settings name, and how it drives; InputError where a method lacks a prediction."""
    cases = plan(settings)
    for _, folder in settings.predictions:
        for case in cases:
            find_prediction(folder, case.name)
    device = pick_device(settings.device).name
    precision = pick_precision(settings.precision, device).name
    weights = find_weights(settings.weights)
    model = at_precision(fuse(load_model(weights, device)), precision)
    columns: Any = {"full": "none", **{name: name for name in settings.ablations}}
    if settings.protocol == "reconstruction":
        columns = {"raw m(d)": "no_id"}  # section 4: r and P_test are not used
    about = {"computed": f"{device}, {precision}", "weights_sha256": weights.digest}
    return Bench(cases, model, columns, settings, about)


@torch.inference_mode()
def drive(bench: Bench, case: Case) -> Iterator[Driven]:
    """A video, batch by batch. AnimaskError or OSError for what cannot be read or driven, or does not fit."""
    model, columns, settings = bench.model, bench.columns, bench.settings
    side = model.config.resolution
    s, m_s = encode_source(model, case.source(side))
    shots = case.shots(side)
    predictions = {name: read_prediction(folder, case.name, side) for name, folder in settings.predictions}
    while chunk := list(islice(shots, settings.batch)):
        d = to_tensor([shot.driver for shot in chunk], device_of(model))
        how = settings.threshold, settings.scale
        outputs = {name: model.drive(s, m_s, d, left_out, *how).f for name, left_out in columns.items()}
        if not all(output.isfinite().all() for output in outputs.values()):
            hint = "try --precision fp32; if that fails too, the weights are damaged"
            raise AnimaskError("the output holds values that are not finite", hint)
        for name, frames in predictions.items():
            given = list(islice(frames, len(chunk)))
            if len(given) < len(chunk):
                raise InputError(f"{case.name} by {name} has fewer frames than its driver")
            outputs[name] = to_tensor(given, d.device)
        truths = [shot.truth for shot in chunk if shot.truth is not None]
        yield Driven(s, d, to_tensor(truths, d.device) if truths else None, outputs)
    for name, frames in predictions.items():
        if next(frames, None) is not None:
            raise InputError(f"{case.name} by {name} has more frames than its driver")


def look(detectors: dict[str, Detector], frames: Tensor) -> Seen:
    """Frames (B, 3, R, R), and what the detectors find in them; points in pixels of the paper's frame."""
    seen = {name: detector.find(frames) for name, detector in detectors.items()}
    if "points" in seen:
        seen["points"] = seen["points"] * (REFERENCE_SIDE / frames.shape[-1])
    return {"frames": frames, **seen}


class Record(NamedTuple):
    """A video, how many frames of it were driven, and their values."""

    case: Case
    frames: int
    values: Values


@torch.inference_mode()
def evaluate_case(bench: Bench, detectors: dict[str, Detector], case: Case) -> Record:
    """All values of one video. Raises as `drive`, and InputError for a video of one frame."""
    source, frames = Seen(), 0
    values: Values = {}
    for part in drive(bench, case):
        frames += len(part.d)
        source = source or look(detectors, part.s)
        copied = {name: x.expand(len(part.d), *x.shape[1:]) for name, x in source.items()}
        truth = look(detectors, part.d if part.truth is None else part.truth)
        if part.truth is None and "identity" in truth:  # then the points are the driver's, but not the identity
            truth["identity"] = copied["identity"]
        seen = {column: look(detectors, output) for column, output in part.outputs.items()}
        for column, output in (seen | {COPY: copied}).items():
            for name in bench.settings.metrics:
                compares, _, function = METRICS[name]
                values.setdefault((column, name), []).extend(function(output[compares], truth[compares]).tolist())
    if not values:
        raise InputError(f"{case.name} has no frame to drive with")
    return Record(case, frames, values)


def total(records: list[Record], by_people: bool) -> Scores:
    """The scores of every column and metric, over people or over all frames."""
    scores: Scores = {}
    for column, metric in records[0].values:
        groups: dict[str, list[float]] = {}
        for record in records:
            groups.setdefault(record.case.person if by_people else "", []).extend(record.values[column, metric])
        scores.setdefault(column, {})[metric] = average(list(groups.values()))
    return scores


def evaluate(settings: Settings, progress: Progress = lambda done, total: None) -> Result:
    """The metrics of some weights on a data set, beside those of copying the source and of other methods.

    A video that cannot be read is left out and named in the result. Raises InputError for settings or data that do not
    fit, MissingError for weights or networks that are not there, AnimaskError if no video could be evaluated.
    """
    started = time.monotonic()
    check_metrics(settings)
    bench = open_bench(settings)
    used = {METRICS[name].compares for name in settings.metrics}
    detectors: dict[str, Detector] = {
        name: DETECTORS[name, settings.kind](device_of(bench.model)) for name in ("points", "identity") if name in used
    }
    records, failed = [], {}
    for number, case in enumerate(bench.cases, 1):
        try:
            records.append(evaluate_case(bench, detectors, case))
        except (AnimaskError, OSError) as error:
            failed[case.name] = str(error)
        progress(number, len(bench.cases))
    if not records:
        raise AnimaskError(f"no video could be evaluated; the first: {failed[bench.cases[0].name]}")
    result = summarise(bench, detectors, records, failed, time.monotonic() - started)
    if settings.report:
        write_page(settings.report, result, take_strips(bench, records[:EXAMPLES]))
    return result


def summarise(
    bench: Bench, detectors: dict[str, Detector], records: list[Record], failed: dict[str, str], seconds: float
) -> Result:
    """The totals, and how they were found."""
    settings = bench.settings
    columns = total(records, settings.by_people)
    copied = {name: score.mean for name, score in columns[COPY].items() if name in DISTANCES and score.mean > 0}
    shares = {
        column: {name: scores[name].mean / mean for name, mean in copied.items() if scores[name].used}
        for column, scores in columns.items()
    }
    known = PUBLISHED.get(settings.dataset, {}) if settings.protocol == "reconstruction" else {}
    networks = [detector.about for detector in detectors.values()]
    if "lpips" in settings.metrics:
        networks.append(describe_network("LPIPS 0.1, AlexNet", bundled(FILES["alex"])))
    protocol = describe(settings, bench.model.config) | bench.about | ({"published": NETWORKS} if known else {})
    metrics = {name: METRICS[name].words for name in settings.metrics}
    videos = [
        {"name": x.case.name, "person": x.case.person, "frames": x.frames, "columns": total([x], by_people=False)}
        for x in records
    ]
    people, frames = len({record.case.person for record in records}), sum(record.frames for record in records)
    return Result(protocol, metrics, networks, columns, shares, known, videos, failed, people, frames, seconds)


def take_strips(bench: Bench, records: list[Record]) -> dict[str, np.ndarray]:
    """By caption some frames of videos side by side, RGB uint8: of source, driver, truth, every column."""
    rows: dict[str, list[np.ndarray]] = {}
    for record in records:
        places, at = np.linspace(0, record.frames - 1, STRIP).round(), 0
        for part in drive(bench, record.case):
            picks = [number for number in range(len(part.d)) if at + number in places]
            at += len(part.d)
            shown = {"source": part.s.expand_as(part.d), "driver": part.d}
            if part.truth is not None and not part.truth.equal(part.d):
                shown["truth"] = part.truth
            for name, frames in (shown | part.outputs).items():
                thumbs = [fit(x, THUMB) for x in to_images(frames[picks])]
                rows.setdefault(f"{record.case.name}: {name}", []).extend(thumbs)
    return {caption: np.hstack(row) for caption, row in rows.items()}


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
