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

from animask.config import MODEL_PRESETS, nearest
from animask.detectors import IDENTITIES, POINTS, bundled, describe_file
from animask.devices import pick_device, pick_precision
from animask.errors import AnimaskError, InputError, MissingError
from animask.fusion import fuse
from animask.images import crop_resize, to_images, to_tensor
from animask.lpips import FILES, Lpips
from animask.metrics import KeyPoints, aed, akd, csim, identity_leak, l1, mkr, psnr, ssim
from animask.model import Ablation, Animator
from animask.protocols import Case, Settings, Shot, check_predictions, columns_of, describe, plan, read_prediction
from animask.results import COPY, NETWORKS, Record, Result, Values, published, shares_of_copying, total, write_page
from animask.streaming import Source, at_precision, device_of, encode_source
from animask.weights import find_weights, load_model

REFERENCE_SIDE = MODEL_PRESETS["paper"].resolution  # key-point distances are in pixels of the paper's frame
EXAMPLES, STRIP, THUMB = 3, 7, 128  # on the page: videos, frames of a strip, and their side in pixels

Progress = Callable[[int, int], None]


class Seen(NamedTuple):
    """What the metrics look at in B frames; None where no metric needs it, or where nobody knows it."""

    frames: Any  # Tensor (B, 3, R, R)
    points: Any  # KeyPoints
    identity: Any  # Tensor (B, E)

    def repeat(self, count: int) -> "Seen":
        """The same of one frame, `count` times."""
        points = self.points and KeyPoints(*(x.expand(count, *x.shape[1:]) for x in self.points))
        frames, identity = (x if x is None else x.expand(count, *x.shape[1:]) for x in (self.frames, self.identity))
        return Seen(frames, points, identity)


class Metric(NamedTuple):
    """What a metric compares (a field of Seen), words on its range and direction, and how it is computed.

    measure: output, truth and driver to the values (B,), NaN for frames that are skipped.
    """

    compares: str
    words: str
    measure: Callable[[Seen, Seen, Seen], Tensor]


@cache
def open_lpips(device: torch.device) -> Lpips:
    """The network of lpips, on a device."""
    return Lpips().to(device)


LOW, HIGH = "lower is better", "higher is better"
PIXELS = f"0 up, pixels of {REFERENCE_SIDE}, mean per coordinate, {LOW}"
LEAK = f"-2 to 2, above 0: nearer to the driver than the truth is, {LOW}"
METRICS = {
    "l1": Metric("frames", f"0 to 1, {LOW}", lambda x, y, d: l1(x.frames, y.frames)),
    "psnr": Metric("frames", f"0 to infinity, dB, {HIGH}", lambda x, y, d: psnr(x.frames, y.frames)),
    "ssim": Metric("frames", f"-1 to 1, {HIGH}", lambda x, y, d: ssim(x.frames, y.frames)),
    "lpips": Metric(
        "frames",
        f"0 to about 1, {LOW}",
        lambda x, y, d: open_lpips(x.frames.device)(x.frames.float(), y.frames.float()),
    ),
    "akd": Metric("points", PIXELS, lambda x, y, d: akd(x.points, y.points, REFERENCE_SIDE / x.frames.shape[-1])),
    "mkr": Metric("points", f"0 to 1, {LOW}", lambda x, y, d: mkr(x.points, y.points)),
    "aed": Metric("identity", f"0 to 4, squared, {LOW}", lambda x, y, d: aed(x.identity, y.identity)),
    "csim": Metric("identity", f"-1 to 1, {HIGH}", lambda x, y, d: csim(x.identity, y.identity)),
    "leak": Metric("identity", LEAK, lambda x, y, d: identity_leak(x.identity, y.identity, d.identity)),
}


class Scorer:
    """The metrics of an evaluation with their networks; `about` says which networks."""

    def __init__(self, settings: Settings, device: torch.device | str) -> None:
        check_metrics(settings)
        self.metrics = {name: METRICS[name] for name in settings.metrics}
        used = {metric.compares for metric in self.metrics.values()}
        self.points = POINTS[settings.kind](device) if "points" in used else None
        self.identity = IDENTITIES[settings.kind](device) if "identity" in used else None
        self.about: list[dict[str, Any]] = [found.about for found in (self.points, self.identity) if found]
        if "lpips" in settings.metrics:
            self.about.append({"network": "LPIPS 0.1, AlexNet", **describe_file(bundled(FILES["alex"]))})

    def see(self, frames: Tensor) -> Seen:
        """Frames (B, 3, R, R) and what the detectors find in them."""
        return Seen(frames, self.points and self.points(frames), self.identity and self.identity(frames))

    def target(self, source: Seen, driver: Tensor, truth: Tensor | None) -> tuple[Seen, Seen]:
        """What the outputs of driver frames (B, 3, R, R) should be, and what the driver shows if a metric asks.

        Where nobody knows the true frames, the key points should be the driver's, the identity the source's.
        """
        shown = self.see(driver) if truth is None or "leak" in self.metrics else Seen(None, None, None)
        if truth is not None:
            return self.see(truth), shown
        return Seen(None, shown.points, source.repeat(len(driver)).identity), shown

    def score(self, output: Seen, truth: Seen, driver: Seen) -> dict[str, list[float]]:
        """The values of every metric, one a frame; NaN for those it skips, and where nobody knows the truth."""
        unknown = [math.nan] * len(output.frames)
        return {
            name: unknown if getattr(truth, metric.compares) is None else metric.measure(output, truth, driver).tolist()
            for name, metric in self.metrics.items()
        }


def check_metrics(settings: Settings) -> None:
    """Raise InputError for metrics that are not known or that the protocol cannot give, MissingError for those that
    no detector can."""
    for name in settings.metrics or ("",):
        if name not in METRICS:
            raise InputError(f"unknown metric {name!r}", f"choose from {', '.join(METRICS)}{nearest(name, METRICS)}")
    frames = [name for name in settings.metrics if METRICS[name].compares == "frames"]
    if settings.protocol == "animation" and settings.dataset != "toons" and frames and not settings.pairs:
        hint = "choose from akd, mkr, aed, csim, leak; or name --pairs of clips that drive themselves, or take toons"
        raise InputError(f"{', '.join(frames)}: nobody knows the true frames of an animation of these data", hint)
    if settings.protocol == "reconstruction" and "leak" in settings.metrics:
        raise InputError("leak compares two identities", "add --protocol animation")
    if not settings.kind and len(frames) < len(settings.metrics):
        hint = "l1, psnr, ssim and lpips work on any data"
        raise MissingError(f"animask knows no detector for the pictures of {settings.dataset}", hint)


class Bench(NamedTuple):
    """What every video of an evaluation meets."""

    model: Animator
    columns: dict[str, Ablation]  # by name, the step that is left out
    settings: Settings


class Driven(NamedTuple):
    """Some driver frames d (B, 3, R, R), their shots, and what every column but copying makes of them, (B, 3, R, R)."""

    d: Tensor
    shots: list[Shot]
    outputs: dict[str, Tensor]


def open_bench(settings: Settings) -> tuple[Bench, str]:
    """The model that the settings name, and how it drives; and where and in which precision it computes."""
    device = pick_device(settings.device).name
    precision = pick_precision(settings.precision, device).name
    model = at_precision(fuse(load_model(settings.weights, device)), precision)
    return Bench(model, columns_of(settings), settings), f"{device}, {precision}"


def drive_case(bench: Bench, case: Case) -> tuple[Source, Iterator[Driven]]:
    """The source of a video, and batch by batch what drives it and what every column makes of that.

    AnimaskError or OSError, also on the way, where something cannot be read, driven, or is no fitting prediction.
    """
    model, columns, settings = bench
    side = model.config.resolution
    picture, shots = case.open(side)
    source = encode_source(model, picture)
    predictions = {name: read_prediction(folder, case.name, side) for name, folder in settings.predictions}

    @torch.inference_mode()
    def step(chunk: list[Shot]) -> Driven:
        d = to_tensor([shot.driver for shot in chunk], device_of(model))
        m_d = model.m(d)  # once for all columns
        rho, scale = settings.threshold, settings.scale
        outputs = {name: model.follow(*source, m_d, left_out, rho, scale).f for name, left_out in columns.items()}
        if not all(output.isfinite().all() for output in outputs.values()):
            hint = "try --precision fp32; if that fails too, the weights are damaged"
            raise AnimaskError("the output holds values that are not finite", hint)
        for name, frames in predictions.items():
            given = list(islice(frames, len(chunk)))
            if len(given) < len(chunk):
                raise InputError(f"{case.name} by {name} has fewer frames than its driver")
            outputs[name] = to_tensor(given, d.device)
        return Driven(d, chunk, outputs)

    def drive() -> Iterator[Driven]:
        while chunk := list(islice(shots, settings.batch)):
            yield step(chunk)
        for name, rest in predictions.items():
            if next(rest, None) is not None:
                raise InputError(f"{case.name} by {name} has more frames than its driver")

    return source, drive()


@torch.inference_mode()
def evaluate_case(bench: Bench, scorer: Scorer, case: Case) -> Record:
    """All values of one video, or why there are none."""
    values: Values = {}
    frames = 0
    try:
        source, driven = drive_case(bench, case)
        copy = scorer.see(source.s)
        for part in driven:
            truths = [shot.truth for shot in part.shots if shot.truth is not None]
            truth, driver = scorer.target(copy, part.d, to_tensor(truths, part.d.device) if truths else None)
            seen = {name: scorer.see(output) for name, output in part.outputs.items()}
            for name, output in (seen | {COPY: copy.repeat(len(part.shots))}).items():
                for metric, numbers in scorer.score(output, truth, driver).items():
                    values.setdefault(name, {}).setdefault(metric, []).extend(numbers)
            frames += len(part.shots)
        if not frames:
            raise InputError(f"{case.name} has no frame to drive with")
    except (AnimaskError, OSError) as error:
        return Record(case.name, case.person, 0, {}, str(error))
    return Record(case.name, case.person, frames, values)


def evaluate(settings: Settings, progress: Progress | None = None) -> Result:
    """The metrics of some weights on a data set, beside those of copying the source and of other methods.

    progress(done, total) counts videos. A video that cannot be read is left out and named in the result. Raises
    InputError for settings or data that do not fit, MissingError for weights or networks that are not there,
    AnimaskError if no video could be evaluated.
    """
    started = time.monotonic()
    check_metrics(settings)
    cases = plan(settings)
    check_predictions(settings, cases)
    bench, place = open_bench(settings)
    scorer = Scorer(settings, device_of(bench.model))
    records = []
    for number, case in enumerate(cases):
        records.append(evaluate_case(bench, scorer, case))
        if progress:
            progress(number + 1, len(cases))
    good = [record for record in records if not record.error]
    if not good:
        raise AnimaskError(f"no video could be evaluated; the first: {records[0].error}")
    columns, known = total(good, settings.by_people), published(settings.dataset, settings.protocol)
    where = {"computed": place, "weights_sha256": find_weights(settings.weights).digest}
    result = Result(
        protocol=describe(settings, bench.model.config) | where | ({"published": NETWORKS} if known else {}),
        metrics={name: metric.words for name, metric in scorer.metrics.items()},
        networks=scorer.about,
        columns=columns,
        shares=shares_of_copying(columns),
        published=known,
        videos=[{"name": x.video, "person": x.person, "frames": x.frames, "columns": total([x], False)} for x in good],
        failed={record.video: record.error for record in records if record.error},
        people=len({record.person for record in good}),
        frames=sum(record.frames for record in good),
        seconds=time.monotonic() - started,
    )
    if settings.report:
        write_page(settings.report, result, take_strips(bench, cases, good))
    return result


def take_strips(bench: Bench, cases: list[Case], good: list[Record]) -> dict[str, np.ndarray]:
    """Of the first videos, by caption: some frames side by side, RGB uint8, of source, driver, truth, every column."""
    frames = {record.video: record.frames for record in good[:EXAMPLES]}
    rows: dict[str, list[np.ndarray]] = {}
    for case in (case for case in cases if case.name in frames):
        source, driven = drive_case(bench, case)
        places, at = np.linspace(0, frames[case.name] - 1, STRIP).round(), 0
        for part in driven:
            for number, (driver, truth) in enumerate(part.shots):
                if at + number not in places:
                    continue
                shown = {"source": to_images(source.s)[0], "driver": driver}
                if truth is not None and truth is not driver:
                    shown["truth"] = truth
                shown |= {name: to_images(output[number : number + 1])[0] for name, output in part.outputs.items()}
                for name, picture in shown.items():
                    thumb = crop_resize(picture, (0, 0, len(picture)), THUMB)
                    rows.setdefault(f"{case.name}: {name}", []).append(thumb)
            at += len(part.shots)
    return {caption: np.hstack(row) for caption, row in rows.items()}
