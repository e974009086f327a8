"""What a model and a training run are: frozen dataclasses, named presets, and the TOML reader."""

import dataclasses
import difflib
import math
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from animask.errors import InputError

MAX_CONFIG_BYTES = 1_000_000


@dataclass(frozen=True)
class ModelConfig:
    """Everything needed to build the four networks and to run P_test; saved in every checkpoint.

    resolution: side of the square frames, in pixels. reduction: D shrinks and U enlarges by this factor.
    blocks: encoding (and decoding) blocks of m, r and h. residual_blocks: of ℓ.
    width: channels before the first doubling in r and h; m has half of it, the trunk of ℓ four times.
    max_channels: where the doubling stops. encoder_order: what follows the convolution in an encoding block.
    mask_head: "plain" as in the paper, or "normalised" (BatchNorm on the logits of m, see MaskGenerator).
    temperature: logits of m and r are divided by it before the sigmoid.
    logit_spread, logit_shift: spread and mean of the logits of the normalised head.
    mask_shrink: how m shrinks its input, "bilinear" or "gaussian" (13×13, σ 1.5 before sampling).
    threshold: ρ of P_test, a number in [0, 1] or "median" (of each driver mask). scale: of P_test.
    threshold_train: ρ of P_train. cuts: range of the strip borders of P_train, as fractions of the side.
    """

    preset: str = "paper"
    resolution: int = 256
    reduction: int = 4
    blocks: int = 5
    residual_blocks: int = 6
    width: int = 64
    max_channels: int = 1024
    encoder_order: Literal["relu-bn", "bn-relu"] = "relu-bn"
    mask_head: Literal["plain", "normalised"] = "plain"
    temperature: float = 1.0
    logit_spread: float = 2.0
    logit_shift: float = -2.0
    mask_shrink: Literal["bilinear", "gaussian"] = "bilinear"
    threshold: float | Literal["median"] = "median"
    scale: float = 0.75
    threshold_train: float | Literal["median"] = "median"
    cuts: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        check_types(self)
        check_ranges(self, MODEL_RANGES)
        if self.width % 2:
            raise InputError(f"width must be even, not {self.width}")
        if self.reduction & (self.reduction - 1):
            raise InputError(f"reduction must be a power of two, not {self.reduction}")
        if self.reduction > 4 * self.width:  # the trunk of ℓ halves its 4·width channels with every doubling
            raise InputError(f"reduction {self.reduction} is too large for width {self.width}", "at most 4·width")
        if self.max_channels < self.width:
            raise InputError(f"max_channels {self.max_channels} is less than width {self.width}")
        stride = self.reduction * 2**self.blocks
        if self.resolution < stride or self.resolution % stride:
            hint = f"choose a multiple, such as {max(1, round(self.resolution / stride)) * stride}"
            raise InputError(f"resolution {self.resolution} does not divide by {stride}", hint)
        for name in ("threshold", "threshold_train"):
            if getattr(self, name) != "median":
                check_range(name, getattr(self, name), 0.0, 1.0)
        if not 0.0 <= self.cuts[0] < self.cuts[1] <= 1.0:
            raise InputError(f"cuts must be two rising fractions in [0, 1], not {self.cuts}")

    @property
    def mask_size(self) -> int:
        """Side of the masks in pixels: 64 at a resolution of 256."""
        return self.resolution // self.reduction


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run; the defaults are the paper's (section 3.1).

    epochs × (identities × repeats) / batch steps, unless `steps` is given, which then replaces the epochs
    (decay and start fractions keep their proportions). decay: epochs after which lr is multiplied by 0.1.
    schedule: "step" (the paper's decay) or "cosine" (to zero). warmup: steps of linear warm-up.
    r_start, h_start: epochs after which r and h begin to learn; h never influences m, ℓ and r, so
    a late start of h costs them nothing and saves its arithmetic, more than half of a step.
    identities: "prefix" (the file name up to the first #) or "file". repeats: of every identity an epoch.
    perceptual: "vgg19", "random" (fixed-seed random weights, plus L1) or "pixels" (no network).
    perceptual_layers: ReLUs of VGG-19, counted from 1. scales: of the pyramid, as divisors of the side.
    far: source and driver lie at least this fraction of the clip's length apart, 0 to 0.5.
    jitter: "driver" (A on the driver only) or "all" (the pair shares one jitter, the driver has its own).
    flips: "none", "mirror" (horizontal p .5), or "time-or-mirror" (time p .5, else horizontal p .5).
    shift: source and target are shifted by up to this fraction of the side, scaled by 1 ± shift and turned
    by up to shift radians, each on its own draw. degrade: chance of a mild blur or compression noise in d.
    toons, stills: share of the samples from rendered toons and from single pictures made to move.
    toon_pool: identities that are rendered once, ahead; 0 renders a new one for every sample.
    cross: share of the toons that are driven by another toon in the target's pose, see Animator.forward.
    data: folder of the data set; empty: it is looked for by its name. limit_videos: clips that are used at most.
    """

    epochs: int = 100
    steps: int | None = None
    batch: int = 16
    repeats: int = 1
    lr: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.9
    schedule: Literal["step", "cosine"] = "step"
    decay: tuple[int, ...] = (60, 90)
    warmup: int = 0
    lambda_mask: float = 100.0
    lambda_rec: float = 10.0
    r_start: float = 1.0
    h_start: float = 0.0
    identities: Literal["prefix", "file"] = "prefix"
    perceptual: Literal["vgg19", "random", "pixels"] = "vgg19"
    perceptual_layers: tuple[int, ...] = (1, 3, 5)
    scales: tuple[int, ...] = (1, 2, 4)
    far: float = 0.0
    jitter: Literal["driver", "all"] = "driver"
    flips: Literal["none", "mirror", "time-or-mirror"] = "none"
    shift: float = 0.0
    degrade: float = 0.0
    toons: float = 0.0
    toon_pool: int = 0
    cross: float = 0.0
    stills: float = 0.0
    stills_dir: str = ""
    data: str = ""
    limit_videos: int | None = None
    ema: float = 0.999
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    workers: int = 2
    seed: int = 0
    log_every: int = 20
    preview_every: int = 500
    save_every: int = 500

    def __post_init__(self) -> None:
        check_types(self)
        check_ranges(self, TRAIN_RANGES)
        check_range("toons + stills", self.toons + self.stills, 0.0, 1.0)
        for name in ("perceptual_layers", "scales"):
            if not getattr(self, name):
                raise InputError(f"{name} must hold at least one number")


# What each field may be, and each item of a list. The upper limits of the model keep a checkpoint from
# elsewhere from asking for a network that no machine can hold.
MODEL_RANGES = {
    "resolution": (1, 4096),
    "reduction": (1, 64),
    "blocks": (1, 8),
    "residual_blocks": (1, 64),
    "width": (2, 1024),
    "max_channels": (2, 8192),
    "temperature": (1e-3, 1e3),
    "logit_spread": (1e-3, 1e3),
    "logit_shift": (-10.0, 10.0),
    "scale": (0.05, 2.0),
}
TRAIN_RANGES = {
    **dict.fromkeys(("epochs", "steps", "batch", "repeats", "decay", "limit_videos"), (1, math.inf)),
    **dict.fromkeys(("log_every", "preview_every", "save_every"), (1, math.inf)),
    **dict.fromkeys(("warmup", "toon_pool", "workers"), (0, math.inf)),
    **dict.fromkeys(("lambda_mask", "lambda_rec", "r_start", "h_start"), (0, math.inf)),
    **dict.fromkeys(("toons", "stills", "degrade", "cross"), (0, 1)),
    **dict.fromkeys(("far", "shift"), (0, 0.5)),
    **dict.fromkeys(("beta1", "beta2", "ema"), (0, 0.999999)),
    "lr": (1e-8, 1),
    "perceptual_layers": (1, 16),  # VGG-19 has sixteen ReLUs before its classifier
    "scales": (1, 64),
    "seed": (0, 2**32 - 1),
}


def check_ranges(config: Any, ranges: dict[str, tuple[float, float]]) -> None:
    """Raise InputError for a field, or an item of one, outside its range; None is left out."""
    for name, (low, high) in ranges.items():
        value = getattr(config, name)
        for item in value if isinstance(value, tuple) else (value,):
            if item is not None:
                check_range(name, item, low, high)


# What a data set of the paper asks for, whatever the preset (METHOD: repeats, identities).
DATASETS: dict[str, dict[str, Any]] = {
    "vox": {"repeats": 75},
    "taichi": {"repeats": 150},
    "bair": {"identities": "file"},
    "toons": {"toons": 1.0, "repeats": 1000},
}
# The authors' code has other values for tai-chi and BAIR than for faces: (model, train).
RELEASED_BODIES: tuple[dict[str, Any], dict[str, Any]] = (
    {"threshold": 60 / 255, "threshold_train": 60 / 255},
    {"perceptual_layers": (1, 3, 5, 9, 13), "scales": (1, 2, 4, 8)},
)


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise InputError unless low <= value <= high (so NaN fails)."""
    if not low <= value <= high:
        wanted = f"at least {low:g}" if math.isinf(high) else f"between {low:g} and {high:g}"
        raise InputError(f"{name} must be {wanted}, not {value:g}")


def check_types(config: Any) -> None:
    """Raise InputError for a field whose value does not have its declared type.

    Whole numbers pass as float; what is not finite, or too large for 64 bits, is no number.
    """
    for name, kind in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if not matches(value, kind):
            raise InputError(f"{name} = {value!r} is not valid", f"expected {describe(kind)}")


def matches(value: Any, kind: Any) -> bool:
    """Does a value have the declared type? Understands Literal, unions, tuples and the plain types."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        items = inner[:1] * len(value) if inner[-1] is Ellipsis and isinstance(value, tuple) else inner
        return isinstance(value, tuple) and len(value) == len(items) and all(map(matches, value, items))
    if get_args(kind):
        return any(matches(value, option) for option in get_args(kind))
    if kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and abs(value) <= sys.float_info.max
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= sys.maxsize
    return isinstance(value, kind)


def describe(kind: Any) -> str:
    """The declared type in words."""
    if get_origin(kind) is Literal:
        return " or ".join(repr(option) for option in get_args(kind))
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        count = "" if inner[-1] is Ellipsis else f" of {len(inner)}"
        return f"a list{count}, each {describe(inner[0])}"
    if get_args(kind):
        return " or ".join(describe(option) for option in get_args(kind))
    names = {
        int: "a whole number",
        float: "a number",
        str: "a text",
        bool: "true or false",
        type(None): "nothing",
    }
    return names.get(kind, str(kind))


# released: the values of the authors' code where they differ from the paper.
MODEL_PRESETS = {
    "paper": ModelConfig(),
    "released": ModelConfig(
        preset="released",
        encoder_order="bn-relu",
        temperature=0.1,
        mask_shrink="gaussian",
        threshold=100 / 255,
        threshold_train=100 / 255,
        cuts=(15 / 64, 45 / 64),
    ),
    "compact": ModelConfig(preset="compact", width=16, max_channels=256),
    "tiny": ModelConfig(preset="tiny", resolution=64, blocks=2, residual_blocks=2, width=4, max_channels=16),
}
TRAIN_PRESETS = {
    "paper": TrainConfig(),
    "released": TrainConfig(beta2=0.999, jitter="all", flips="time-or-mirror"),
    "compact": TrainConfig(),
    "tiny": TrainConfig(),
}


def preset(name: str) -> tuple[ModelConfig, TrainConfig]:
    """The model and training settings of a named preset; InputError names the known ones."""
    if name not in MODEL_PRESETS:
        raise InputError(
            f"unknown preset {name!r}",
            f"choose one of {', '.join(MODEL_PRESETS)}{nearest(name, MODEL_PRESETS)}",
        )
    return MODEL_PRESETS[name], TRAIN_PRESETS[name]


def resolve(
    preset_name: str | None, dataset: str | None, recipe: dict[str, Any], changes: dict[str, dict[str, Any]]
) -> tuple[str, ModelConfig, TrainConfig]:
    """The data set and the settings of a run: preset, then data set, then recipe file, then single changes.

    recipe: what `read_toml` gave, or {}. changes: {"model": {...}, "train": {...}} of flags that were given.
    Raises InputError if the recipe is the record of a run or model of another preset than the one that is asked for.
    """
    record = recipe.get("model", {}).get("preset")
    name = preset_name or recipe.get("preset") or record or "paper"
    if record and name != record:
        raise InputError(f"preset {name!r} was asked for, but the settings are those of {record!r}")
    planned, dataset = recipe.get("dataset"), dataset or recipe.get("dataset")
    if not dataset:
        raise InputError("no data set is named", "give --dataset vox, taichi, bair, toons or a folder")
    model, train = preset(name)
    if name == "released" and dataset in ("taichi", "bair"):
        model, train = update(model, RELEASED_BODIES[0]), update(train, RELEASED_BODIES[1])
    train = update(train, DATASETS.get(dataset, {}))
    for values in (recipe, changes):
        model = update(model, values.get("model", {}), "[model]")
        train = update(train, values.get("train", {}), "[train]")
    if planned and dataset != planned and "data" not in changes.get("train", {}):
        train = update(train, {"data": ""})  # the folder in the recipe is that of another data set
    return dataset, model, train


def merge(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Two recipes in one; what both say is as the second says."""
    tables = {key: first.get(key, {}) | second.get(key, {}) for key in ("model", "train")}
    return {**first, **second, **tables}


def nearest(name: str, known: Any) -> str:
    """`; did you mean ...?` for the closest known name, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def update(config: Any, changes: dict[str, Any], where: str = "the configuration") -> Any:
    """A copy of a configuration with some fields changed; InputError names the nearest known key."""
    if not isinstance(changes, dict):
        raise InputError(f"{where} is not a table of names and values")
    known = [field.name for field in dataclasses.fields(config)]
    for key in changes:
        if key not in known:
            hint = nearest(key, known).lstrip("; ") or f"known keys: {', '.join(known)}"
            raise InputError(f"unknown key {key!r} in {where}", hint)
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in changes.items()}
    return dataclasses.replace(config, **values)


def is_file(path: Path) -> bool:
    """Whether there is a file; what cannot be a name, or may not be looked at, is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def read_toml(path: Path) -> dict[str, Any]:
    """A recipe: sections `[model]` and `[train]`, and `preset` and `dataset` above them.

    path: a TOML file, or the name of a bundled recipe. Raises InputError for anything else.
    """
    bundled = Path(__file__).parent / "recipes" / f"{path.name}.toml"
    if path.name == str(path) and is_file(bundled) and not path.exists():
        path = bundled
    if not is_file(path):
        known = ", ".join(sorted(recipe.stem for recipe in bundled.parent.glob("*.toml")))
        raise InputError(f"{path} is not a file", f"--config takes a TOML file or a bundled recipe ({known})")
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise InputError(f"{path} is larger than {MAX_CONFIG_BYTES} bytes", "a configuration is a short text file")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:  # also bad UTF-8, endless digits, deep nesting
        raise InputError(f"{path} is not a readable TOML file: {error}") from error
    for key, value in content.items():
        if key not in ("preset", "dataset", "model", "train"):
            hint = nearest(key, ("preset", "dataset", "model", "train")).lstrip("; ")
            raise InputError(f"unknown key {key!r} in {path}", hint or "known: preset, dataset, [model], [train]")
        if not isinstance(value, dict if key in ("model", "train") else str):
            raise InputError(
                f"{key!r} in {path} has the wrong form",
                "preset and dataset are texts, model and train sections",
            )
    return content


def to_dict(config: Any) -> dict[str, Any]:
    """The fields of a configuration as plain values for JSON or TOML."""
    return dataclasses.asdict(config)


def model_from_dict(values: dict[str, Any]) -> ModelConfig:
    """A ModelConfig from the values that `to_dict` gave; every value is checked."""
    return update(ModelConfig(), values, "the model's configuration")
