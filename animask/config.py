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
from animask.files import read_text

MAX_CONFIG_BYTES = 1_000_000
KEYS: dict[str, type] = {"preset": str, "dataset": str, "model": dict, "train": dict}  # of a recipe
CLAY_SIZE = 64  # side of clay as data sets keep it, whatever the side of the masks


@dataclass(frozen=True)
class ModelConfig:
    """Everything needed to build the four networks and to run P_test; saved in every checkpoint."""

    preset: str = "paper"
    resolution: int = 256  # side of the square frames
    reduction: int = 4  # D shrinks and U enlarges by this factor
    blocks: int = 5  # encoding (and decoding) blocks of h
    dilations: tuple[int, ...] = (1, 1, 1, 1, 1, 1)  # of the residual blocks of ℓ, one number a block
    width: int = 64  # channels before the first doubling in h; the trunk of ℓ has four times as many
    mask_width: int = 32  # the same of m
    refiner_width: int = 64  # the same of r
    mask_blocks: int = 5  # encoding blocks of m and r
    mask_skips: bool = False  # skip connections in m and r, as in h; the paper has none there
    blend: bool = False  # h mixes the source's pixels in, by a share that it draws; the paper's h paints all anew
    max_channels: int = 1024  # where the doubling stops
    encoder_order: Literal["relu-bn", "bn-relu"] = "relu-bn"  # what follows the convolution in an encoding block
    temperature: float = 1.0  # logits of m and r are divided by it before the sigmoid
    mask_shrink: Literal["bilinear", "gaussian"] = "bilinear"  # of m's input; gaussian: 13×13, σ 1.5 before sampling
    threshold: float | Literal["median"] = "median"  # ρ of P_test, in [0, 1], or the median of each driver mask
    scale: float = 0.75  # of P_test
    threshold_train: float | Literal["median"] = "median"  # ρ of P_train
    cuts: tuple[float, float] = (0.0, 1.0)  # range of the strip borders of P_train, as fractions of the side

    def __post_init__(self) -> None:
        check_types(self)
        check_ranges(self, MODEL_RANGES)
        if self.reduction & (self.reduction - 1):
            raise InputError(f"reduction must be a power of two, not {self.reduction}")
        if self.reduction > 4 * self.width:  # the trunk of ℓ halves its 4·width channels with every doubling
            raise InputError(f"reduction {self.reduction} is too large for width {self.width}", "at most 4·width")
        if self.max_channels < self.width:
            raise InputError(f"max_channels {self.max_channels} is less than width {self.width}")
        stride = max(2**self.blocks, self.reduction * 2**self.mask_blocks)
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
    """Settings of a training run; the defaults are the paper's (section 3.1)."""

    masks: Literal["found", "taught"] = "found"  # by the paper's losses alone, or shown as clay (see `taught`)
    epochs: int = 100  # of (identities × repeats) / batch steps
    steps: int | None = None  # in place of epochs; decay keeps its proportions
    minutes: float | None = None  # in place of both; the learning rate falls towards that time
    batch: int = 16  # samples a process
    repeats: int = 1  # of every identity in an epoch
    identities: Literal["prefix", "file"] = "prefix"  # the file name up to the first #, or all of it
    lr: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.9
    schedule: Literal["step", "cosine"] = "step"  # ×0.1 at decay; or level for 0.4 of the run, then a cosine
    decay: tuple[int, ...] = (60, 90)  # epochs
    warmup: int = 0  # steps of linear warm-up
    ema: float = 0.999  # decay of the average of the weights
    lambda_mask: float = 100.0  # weight of the loss of the masks
    lambda_rec: float = 10.0  # weight of the loss of c and f
    lambda_looks: float = 0.0  # taught: weight of the LPIPS of c and f
    perceptual: Literal["vgg19", "lpips"] = "vgg19"  # found: ImageNet's VGG-19, or the bundled LPIPS and pixels
    perceptual_layers: tuple[int, ...] = (1, 3, 5)  # ReLUs of VGG-19, counted from 1
    scales: tuple[int, ...] = (1, 2, 4)  # of the pyramid, as divisors of the side
    crop: int | None = None  # taught: side that h and LPIPS see; None: half a frame on a CPU, all of it elsewhere
    jitter: Literal["driver", "all"] = "driver"  # A on the driver only; or the pair shares one, the driver has its own
    flips: Literal["none", "mirror", "time-or-mirror"] = "none"  # time p .5, else horizontal p .5
    toons: float = 0.0  # share of the samples that are rendered toons
    toon_pool: int = 1000  # toons that are rendered, once
    stills: float = 0.0  # share of single pictures, made to move
    stills_dir: str = ""  # their folder
    data: str = ""  # folder of the data set; empty: it is looked for by its name
    limit_videos: int | None = None  # clips that are used at most
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    workers: int = 2  # loader processes of each rank
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
    "dilations": (1, 64),
    "mask_blocks": (1, 8),
    **dict.fromkeys(("width", "mask_width", "refiner_width"), (1, 1024)),
    "max_channels": (2, 8192),
    "temperature": (1e-3, 1e3),
    "scale": (0.05, 2.0),
}
TRAIN_RANGES = {
    **dict.fromkeys(("epochs", "steps", "batch", "repeats", "decay", "limit_videos", "crop"), (1, math.inf)),
    **dict.fromkeys(("log_every", "preview_every", "save_every"), (1, math.inf)),
    **dict.fromkeys(("warmup", "workers"), (0, math.inf)),
    **dict.fromkeys(("minutes", "lambda_mask", "lambda_rec", "lambda_looks"), (0, math.inf)),
    **dict.fromkeys(("toons", "stills"), (0, 1)),
    **dict.fromkeys(("beta1", "beta2", "ema"), (0, 0.999999)),
    "toon_pool": (2, math.inf),
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


# What a data set of the paper asks for, whatever the preset.
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
    """Raise InputError for a field whose value does not have its declared type; whole numbers pass as float."""
    for field in dataclasses.fields(config):
        value, kind = getattr(config, field.name), get_type_hints(type(config))[field.name]
        if not matches(value, kind):
            raise InputError(f"{field.name} = {value!r} is not valid.", f"Expected {describe(kind)}.")


def describe(kind: Any) -> str:
    """The declared type in words."""
    inner = get_args(kind)
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, inner))
    if get_origin(kind) is tuple:
        return f"a list, each {describe(inner[0])}"
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "nothing"}
    return " or ".join(map(describe, inner)) if inner else names[kind]


def matches(value: Any, kind: Any) -> bool:
    """Does a value have the declared type? Understands Literal, unions, tuples and plain types; numbers are finite."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        items = inner[:1] * len(value) if inner[-1] is Ellipsis and isinstance(value, tuple) else inner
        return isinstance(value, tuple) and len(value) == len(items) and all(map(matches, value, items))
    if get_args(kind):
        return any(matches(value, option) for option in get_args(kind))
    if kind in (int, float):
        number = isinstance(value, (int, kind)) and not isinstance(value, bool)
        return number and abs(value) <= (sys.maxsize if kind is int else sys.float_info.max)
    return isinstance(value, kind)


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
    "compact": ModelConfig(
        preset="compact",
        width=16,
        blend=True,
        max_channels=256,
        dilations=(1, 2, 4, 8, 4, 2),
        mask_width=16,
        refiner_width=24,
        mask_blocks=4,
        mask_skips=True,
        scale=1.0,
    ),
    "tiny": ModelConfig(
        preset="tiny",
        resolution=64,
        blocks=2,
        dilations=(1, 1),
        width=4,
        max_channels=16,
        mask_width=2,
        refiner_width=4,
        mask_blocks=2,
    ),
}
TRAIN_PRESETS = {
    "paper": TrainConfig(),
    "released": TrainConfig(beta2=0.999, jitter="all", flips="time-or-mirror"),
    "compact": TrainConfig(
        masks="taught",
        lr=1e-3,
        beta2=0.99,
        schedule="cosine",
        warmup=150,
        ema=0.998,
        lambda_mask=10.0,
        lambda_looks=10.0,
        flips="mirror",
    ),
    "tiny": TrainConfig(),
}


def preset(name: str) -> tuple[ModelConfig, TrainConfig]:
    """The model and training settings of a named preset; InputError names the known ones."""
    if name not in MODEL_PRESETS:
        known = ", ".join(MODEL_PRESETS)
        raise InputError(f"Unknown preset {name!r}{nearest(name, MODEL_PRESETS)}.", f"Choose one of {known}.")
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
        raise InputError(f"{where} is not a table of names and values.")
    known = [field.name for field in dataclasses.fields(config)]
    for key in changes:
        if key not in known:
            raise InputError(f"Unknown key {key!r} in {where}{nearest(key, known)}.", f"Known are {', '.join(known)}.")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in changes.items()}
    return dataclasses.replace(config, **values)


def read_toml(path: Path) -> dict[str, Any]:
    """A recipe: sections `[model]` and `[train]`, and `preset` and `dataset` above them.

    path: a TOML file, or the name of a bundled recipe. Raises InputError for anything else.
    """
    bundled = {recipe.stem: recipe for recipe in (Path(__file__).parent / "recipes").glob("*.toml")}
    if not path.exists() and str(path) not in bundled:
        raise InputError(f"{path} does not exist.", f"Give a TOML file or a bundled recipe: {', '.join(bundled)}.")
    try:
        content = tomllib.loads(read_text(path if path.exists() else bundled[str(path)], MAX_CONFIG_BYTES))
    except (ValueError, RecursionError) as error:  # also endless digits, deep nesting
        raise InputError(f"{path} is not a readable TOML file: {error}.") from error
    for key, value in content.items():
        if key not in KEYS:
            raise InputError(f"Unknown key {key!r} in {path}{nearest(key, KEYS)}.", f"Known are {', '.join(KEYS)}.")
        if not isinstance(value, KEYS[key]):
            raise InputError(f"{key!r} in {path} has the wrong form.", "Model and train are sections, others texts.")
    return content


def to_dict(config: Any) -> dict[str, Any]:
    """The fields of a configuration as plain values for JSON or TOML."""
    return dataclasses.asdict(config)


def model_from_dict(values: dict[str, Any]) -> ModelConfig:
    """A ModelConfig from the values that `to_dict` gave; every value is checked."""
    return update(ModelConfig(), values, "the model's configuration")
