"""The protocol of an evaluation in words and numbers, so that its figures can be compared with others."""

from importlib.metadata import version
from typing import Any

from animask.config import ModelConfig
from animask.evaluation.protocols import FIRST_DRIVER, TOON_FRAMES, TOON_RATE, Settings
from animask.evaluation.published import explain
from animask.evaluation.scoring import Scorer
from animask.evaluation.variants import Variant
from animask.weights import find_weights, sha256

SOURCE = {
    "reconstruction": "frame 0 of each video is the source and does not count; the later frames drive",
    "animation": "frame 0 of the source video is the source; all frames of the driver video drive, its frame 0 too, "
    "unless it drives itself",
}
METHOD = {
    "reconstruction": "the generators see m(d) itself; r and P_test are not used (section 4 of the paper)",
    "animation": "equations 1 to 4, with P_test and r",
}
TRUE_FRAME = "the source's identity in the driver's pose, rendered"
NO_FRAME = (
    "the driver frame where a clip drives itself; else unknown: key points are compared with the driver's, "
    "identities with the source's"
)


def describe(
    settings: Settings, variants: list[Variant], config: ModelConfig, scorer: Scorer, place: str
) -> dict[str, Any]:
    """What the result and the lines of the journal say about how they were made. place: device and precision."""
    animates = settings.protocol == "animation"
    toons = settings.dataset == "toons"
    truth = "each driver frame itself" if not animates else TRUE_FRAME if toons else NO_FRAME
    figures = explain(settings.dataset, settings.protocol)
    used = {variant.name: p_test(variant, config) for variant in variants}
    return {
        "animask": version("animask"),
        "dataset": settings.dataset,
        "protocol": settings.protocol,
        "source": SOURCE[settings.protocol],
        "truth": f"{truth}; never from a video that was encoded again",
        "method": METHOD[settings.protocol],
        "p_test": used,
        "frames": frames(settings),
        "pairs": pairs(settings),
        "resolution": config.resolution,
        "computed": place,
        "weights": settings.weights,
        "weights_sha256": sha256(find_weights(settings.weights)),
        "networks": scorer.about,
        **({"published": figures} if figures else {}),
        "metrics": {
            name: f"{metric.range}, {'higher' if metric.higher else 'lower'} is better"
            for name, metric in scorer.metrics.items()
        },
        "mean": "over all used frames of all videos; a frame is skipped where a detector finds nothing to compare",
    }


def p_test(variant: Variant, config: ModelConfig) -> str:
    """The setting of P_test in a variant, in words."""
    if variant.ablation == "no_id":
        return "neither P_test nor r"
    if variant.ablation == "no_pert":
        return "no P_test; r"
    threshold = config.threshold if variant.threshold is None else variant.threshold
    rho = "the median of each driver mask" if threshold == "median" else f"{threshold:g}"
    scale = config.scale if variant.scale is None else variant.scale
    return f"ρ = {rho}, scale {scale:g}; {'no r' if variant.ablation == 'no_ref' else 'r'}"


def frames(settings: Settings) -> str:
    """Which frames of a video are used, in words."""
    if settings.dataset == "toons":
        return f"{settings.frames or TOON_FRAMES} a video, {TOON_RATE:g} a second, from time 0 on"
    return "all" if settings.frames is None else f"at most {settings.frames} driver frames a video, evenly spread"


def pairs(settings: Settings) -> str:
    """Which source meets which driver, in words."""
    if settings.pairs:
        return f"from {settings.pairs.name}"
    if settings.protocol == "reconstruction":
        return "each video with itself"
    if settings.dataset == "toons":
        return f"toon n with the motion and the looks of toon n + {FIRST_DRIVER}; none was trained on"
    return "each test clip with the next one of another identity, by name"
