"""The variants of an evaluation: the method with some settings, its ablations, and what each makes of driver frames."""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from animask.animation import Source
from animask.errors import AnimaskError
from animask.evaluation.protocols import Settings, Threshold
from animask.model import Ablation, Animator, Trace

COPY = "copy"  # answers the source frame, whatever the driver does
FULL = "full"
RAW = "raw m(d)"


class Variant(NamedTuple):
    """A way of driving that is evaluated; threshold, scale: of P_test, None for what the weights say."""

    name: str
    ablation: Ablation
    threshold: Threshold
    scale: float | None


def make_variants(settings: Settings) -> list[Variant]:
    """The method with every threshold and scale that was asked for, then its ablations with the first of these."""
    if settings.protocol == "reconstruction":
        return [Variant(RAW, "no_id", None, None)]
    choices = [(threshold, scale) for threshold in settings.thresholds for scale in settings.scales]
    variants = []
    for threshold, scale in choices:
        words = [f" ρ {threshold}"] * (threshold is not None) + [f" ×{scale}"] * (scale is not None)
        variants.append(Variant(FULL + "".join(words if len(choices) > 1 else []), "none", threshold, scale))
    ablations: Any = settings.ablations
    return variants + [Variant(name, name, *choices[0]) for name in ablations]


@torch.inference_mode()
def drive(model: Animator, variant: Variant, source: Source, m_d: Tensor) -> Trace:
    """What a variant makes of the masks of driver frames, m_d = m(d): (B, 1, R/4, R/4).

    Raises AnimaskError for output that is not finite.
    """
    own = model.config
    changes = {"threshold": variant.threshold, "scale": variant.scale}
    given: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    model.config = replace(own, **given)
    try:
        trace = model.follow(source.s, source.m_s, m_d, variant.ablation)
    finally:
        model.config = own
    if not trace.f.isfinite().all():
        hint = "try --precision fp32; if that fails too, the weights are damaged"
        raise AnimaskError("the output holds values that are not finite", hint)
    return trace
