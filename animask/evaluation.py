"""`evaluate`: the paper's metrics (section 4) of some weights on a data set, beside copying and other methods."""

import math
import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from animask.cases import Case, Progress, Settings, check_predictions, describe, plan, read_prediction
from animask.config import MODEL_PRESETS, nearest
from animask.detectors import DETECTORS, Detector, describe_network
from animask.devices import pick_device, pick_precision
from animask.errors import AnimaskError, InputError, MissingError
from animask.files import bundled
from animask.fusion import fuse
from animask.images import fit, to_images, to_tensor
from animask.losses import FILES, Lpips
from animask.metrics import aed, akd, average, csim, l1, mkr, psnr, ssim
from animask.model import Ablation, Animator
from animask.results import NETWORKS, PUBLISHED, Result, Scores, write_page
from animask.streaming import at_precision, device_of, encode_source
from animask.weights import find_weights, load_model

REFERENCE_SIDE = MODEL_PRESETS["paper"].resolution  # key-point distances are in pixels of the paper's frame
COPY = "copy"  # the column that answers the source frame, whatever the driver does
DISTANCES = ("l1", "lpips", "akd", "aed")  # metrics of which a share of that of copying says something
EXAMPLES, STRIP, THUMB = 3, 7, 128  # on the page: videos, frames of a strip, and their side in pixels

Seen = dict[str, Tensor]  # what metrics compare in B frames: "frames", "points", "identity", each as in `metrics`


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


class Bench(NamedTuple):
    """What every video of an evaluation meets."""

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
    """The model that the settings name, and how it drives."""
    device = pick_device(settings.device).name
    precision = pick_precision(settings.precision, device).name
    weights = find_weights(settings.weights)
    model = at_precision(fuse(load_model(weights, device)), precision)
    columns: Any = {"full": "none", **{name: name for name in settings.ablations}}
    if settings.protocol == "reconstruction":
        columns = {"raw m(d)": "no_id"}  # section 4: r and P_test are not used
    return Bench(model, columns, settings, {"computed": f"{device}, {precision}", "weights_sha256": weights.digest})


@torch.inference_mode()
def drive(bench: Bench, case: Case) -> Iterator[Driven]:
    """A video, batch by batch. AnimaskError or OSError for what cannot be read or driven, or does not fit."""
    model, columns, settings, _ = bench
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


def expect(detectors: dict[str, Detector], part: Driven, copied: Seen) -> Seen:
    """What the outputs should be: the true frames, or what is known of them."""
    if part.truth is not None:
        return look(detectors, part.truth)
    known = {"points": look(detectors, part.d), "identity": copied}
    return {name: known[name][name] for name in detectors}


def measure(name: str, output: Seen, truth: Seen) -> list[float]:
    """The values of a metric, one a frame; NaN for those it skips, and where nobody knows the truth."""
    compares, _, function = METRICS[name]
    if compares not in truth:
        return [math.nan] * len(output["frames"])
    return function(output[compares], truth[compares]).tolist()


class Record(NamedTuple):
    """A video and its values, by column and metric: one number a frame, NaN where the metric skipped it."""

    case: Case
    values: dict[tuple[str, str], list[float]]

    @property
    def frames(self) -> int:
        """How many frames were driven."""
        return len(next(iter(self.values.values()), []))


@torch.inference_mode()
def evaluate_case(bench: Bench, detectors: dict[str, Detector], case: Case) -> Record:
    """All values of one video. Raises as `drive`, and InputError for a video of one frame."""
    record, source = Record(case, {}), Seen()
    for part in drive(bench, case):
        source = source or look(detectors, part.s)
        copied = {name: x.expand(len(part.d), *x.shape[1:]) for name, x in source.items()}
        truth = expect(detectors, part, copied)
        seen = {column: look(detectors, output) for column, output in part.outputs.items()}
        for column, output in (seen | {COPY: copied}).items():
            for name in bench.settings.metrics:
                record.values.setdefault((column, name), []).extend(measure(name, output, truth))
    if not record.frames:
        raise InputError(f"{case.name} has no frame to drive with")
    return record


def total(records: list[Record], by_people: bool) -> Scores:
    """The scores of every column and metric, over people or over all frames."""
    scores: Scores = {}
    for column, metric in records[0].values:
        groups: dict[str, list[float]] = {}
        for case, values in records:
            groups.setdefault(case.person if by_people else "", []).extend(values[column, metric])
        scores.setdefault(column, {})[metric] = average(list(groups.values()))
    return scores


def shares_of_copying(columns: Scores) -> dict[str, dict[str, float]]:
    """Of every column and distance: its mean as a share of that of copying the source."""
    copied = {name: score.mean for name, score in columns[COPY].items() if name in DISTANCES and score.mean > 0}
    return {
        column: {name: scores[name].mean / mean for name, mean in copied.items() if scores[name].used}
        for column, scores in columns.items()
    }


def evaluate(settings: Settings, progress: Progress = lambda done, total: None) -> Result:
    """The metrics of some weights on a data set, beside those of copying the source and of other methods.

    A video that cannot be read is left out and named in the result. Raises InputError for settings or data that do not
    fit, MissingError for weights or networks that are not there, AnimaskError if no video could be evaluated.
    """
    started = time.monotonic()
    check_metrics(settings)
    cases = plan(settings)
    check_predictions(settings, cases)
    bench = open_bench(settings)
    used = {METRICS[name].compares for name in settings.metrics}
    detectors: dict[str, Detector] = {
        name: DETECTORS[name, settings.kind](device_of(bench.model)) for name in ("points", "identity") if name in used
    }
    records, failed = [], {}
    for number, case in enumerate(cases):
        try:
            records.append(evaluate_case(bench, detectors, case))
        except (AnimaskError, OSError) as error:
            failed[case.name] = str(error)
        progress(number + 1, len(cases))
    if not records:
        raise AnimaskError(f"no video could be evaluated; the first: {failed[cases[0].name]}")
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
    known = PUBLISHED.get(settings.dataset, {}) if settings.protocol == "reconstruction" else {}
    networks = [detector.about for detector in detectors.values()]
    if "lpips" in settings.metrics:
        networks.append(describe_network("LPIPS 0.1, AlexNet", bundled(FILES["alex"])))
    return Result(
        protocol=describe(settings, bench.model.config) | bench.about | ({"published": NETWORKS} if known else {}),
        metrics={name: METRICS[name].words for name in settings.metrics},
        networks=networks,
        columns=columns,
        shares=shares_of_copying(columns),
        published=known,
        videos=[
            {"name": x.case.name, "person": x.case.person, "frames": x.frames, "columns": total([x], by_people=False)}
            for x in records
        ],
        failed=failed,
        people=len({record.case.person for record in records}),
        frames=sum(record.frames for record in records),
        seconds=seconds,
    )


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
