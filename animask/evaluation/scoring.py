"""Outputs and what they should be to one number a frame for each metric."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from animask.config import MODEL_PRESETS, nearest
from animask.detectors import Lpips, open_identity, open_points
from animask.errors import InputError, MissingError
from animask.evaluation.protocols import Settings
from animask.metrics import KeyPoints, aed, akd, csim, identity_leak, l1, mkr, psnr, ssim

REFERENCE_SIDE = MODEL_PRESETS["paper"].resolution  # key-point distances are in pixels of the paper's frame


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
    """What a metric compares (a field of Seen), its range, whether higher is better, and how it is computed.

    measure: output, truth and driver to the values (B,), NaN for frames that are skipped.
    """

    compares: str
    range: str
    higher: bool
    measure: Callable[[Seen, Seen, Seen], Tensor]


def measure_akd(output: Seen, truth: Seen, driver: Seen) -> Tensor:
    """akd in pixels of the paper's frame, whatever the size of these."""
    return akd(output.points, truth.points, REFERENCE_SIDE / output.frames.shape[-1])


METRICS = {
    "l1": Metric("frames", "0 to 1", False, lambda x, y, d: l1(x.frames, y.frames)),
    "psnr": Metric("frames", "0 to infinity, dB", True, lambda x, y, d: psnr(x.frames, y.frames)),
    "ssim": Metric("frames", "-1 to 1", True, lambda x, y, d: ssim(x.frames, y.frames)),
    "akd": Metric("points", f"0 up, pixels of {REFERENCE_SIDE}, mean per coordinate", False, measure_akd),
    "mkr": Metric("points", "0 to 1", False, lambda x, y, d: mkr(x.points, y.points)),
    "aed": Metric("identity", "0 to 4, squared", False, lambda x, y, d: aed(x.identity, y.identity)),
    "csim": Metric("identity", "-1 to 1", True, lambda x, y, d: csim(x.identity, y.identity)),
    "leak": Metric(
        "identity",
        "-2 to 2, above 0: nearer to the driver than the truth is",
        False,
        lambda x, y, d: identity_leak(x.identity, y.identity, d.identity),
    ),
}
LPIPS = "lpips"  # compares frames too, by a network that is opened when it is asked for


class Scorer:
    """The metrics of an evaluation with their networks; `about` says which networks."""

    def __init__(self, settings: Settings, device: torch.device | str) -> None:
        check_metrics(settings)
        self.metrics = {name: METRICS[name] for name in settings.metrics if name != LPIPS}
        used = {metric.compares for metric in self.metrics.values()}
        self.points = open_points(settings.kind, device) if "points" in used else None
        self.identity = open_identity(settings.kind, device) if "identity" in used else None
        networks = [network for network in (self.points, self.identity) if network]
        if LPIPS in settings.metrics:
            lpips = Lpips(device)
            networks.append(lpips)
            self.metrics[LPIPS] = Metric("frames", "0 to about 1", False, lambda x, y, d: lpips(x.frames, y.frames))
        self.about: list[dict[str, Any]] = [network.about for network in networks]

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
    known = (*METRICS, LPIPS)
    for name in settings.metrics:
        if name not in known:
            raise InputError(f"unknown metric {name!r}", f"choose from {', '.join(known)}{nearest(name, known)}")
    if not settings.metrics:
        raise InputError("no metric is named", f"choose from {', '.join(known)}")
    frames = [name for name in settings.metrics if name == LPIPS or METRICS[name].compares == "frames"]
    if settings.protocol == "animation" and settings.dataset != "toons" and frames and not settings.pairs:
        hint = "choose from akd, mkr, aed, csim, leak; or name --pairs of clips that drive themselves, or take toons"
        raise InputError(f"{', '.join(frames)}: nobody knows the true frames of an animation of these data", hint)
    if settings.protocol == "reconstruction" and "leak" in settings.metrics:
        raise InputError("leak compares two identities", "add --protocol animation")
    if not settings.kind and len(frames) < len(settings.metrics):
        hint = "l1, psnr and ssim work on any data; or name another kind of picture with --detectors"
        raise MissingError(f"animask knows no detector for the pictures of {settings.dataset}", hint)
