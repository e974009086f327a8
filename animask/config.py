"""What a model and a training run are: frozen dataclasses, named presets, and both as TOML."""

from __future__ import annotations

import difflib
import json
import math
import sys
import tomllib
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from animask.errors import InputError
from animask.files import read_text, replacing

MAX_ITEMS = 64  # of a list
KEYS: dict[str, type] = {"preset": str, "dataset": str, "model": dict, "train": dict}  # of a recipe
CLAY_SIZE = 64  # side of clay as data sets keep it, whatever the side of the masks


def within(default: Any, low: float, high: float = sys.maxsize) -> Any:
    """A field whose numbers lie between low and high, or each item of whose list does.

    The upper limits of a model keep a checkpoint from elsewhere from asking for a network that no machine can hold.
    """
    return field(default=default, metadata={"range": (low, high)})


@dataclass(frozen=True)
class ModelConfig:
    """Everything needed to build the four networks and to run P_test; saved in every checkpoint."""

    preset: str = "paper"
    resolution: int = within(256, 1, 4096)  # side of the square frames
    reduction: int = within(4, 1, 64)  # D shrinks and U enlarges by this factor
    blocks: int = within(5, 1, 8)  # encoding (and decoding) blocks of h
    dilations: tuple[int, ...] = within((1, 1, 1, 1, 1, 1), 1, 64)  # of the residual blocks of ℓ, one number a block
    width: int = within(64, 1, 1024)  # channels before the first doubling in h; the trunk of ℓ has four times as many
    mask_width: int = within(32, 1, 1024)  # the same of m
    refiner_width: int = within(64, 1, 1024)  # the same of r
    mask_blocks: int = within(5, 1, 8)  # encoding blocks of m and r
    mask_skips: bool = False  # skip connections in m and r, as in h; the paper has none there
    flow: bool = False  # ℓ says what moves where, and h mixes the source so moved in; the paper's h paints all anew
    max_channels: int = within(1024, 2, 8192)  # where the doubling stops
    encoder_order: Literal["relu-bn", "bn-relu"] = "relu-bn"  # what follows the convolution in an encoding block
    temperature: float = within(1.0, 1e-3, 1e3)  # logits of m and r are divided by it before the sigmoid
    mask_shrink: Literal["bilinear", "gaussian"] = "bilinear"  # of m's input; gaussian: 13×13, σ 1.5 before sampling
    threshold: float | Literal["median"] = within("median", 0, 1)  # ρ of P_test, or the median of each driver mask
    scale: float = within(0.75, 0.05, 2)  # of P_test
    threshold_train: float | Literal["median"] = within("median", 0, 1)  # ρ of P_train
    cuts: tuple[float, float] = within((0.0, 1.0), 0, 1)  # range of P_train's strip borders, as fractions of the side

    def __post_init__(self) -> None:
        check(self)
        if self.reduction & (self.reduction - 1):
            raise InputError(f"reduction must be a power of two, not {self.reduction}")
        if self.reduction > 4 * self.width:  # the trunk of ℓ halves its 4·width channels with every doubling
            raise InputError(f"reduction {self.reduction} is too large for width {self.width}", "at most 4·width")
        if self.max_channels < self.width:
            raise InputError(f"max_channels {self.max_channels} is less than width {self.width}")
        stride = max(2**self.blocks, self.reduction * 2**self.mask_blocks)
        if self.resolution % stride:
            hint = f"choose a multiple, such as {max(1, round(self.resolution / stride)) * stride}"
            raise InputError(f"resolution {self.resolution} does not divide by {stride}", hint)
        if self.cuts[0] >= self.cuts[1]:
            raise InputError(f"cuts must be two rising fractions, not {self.cuts}")

    @property
    def mask_size(self) -> int:
        """Side of the masks in pixels: 64 at a resolution of 256."""
        return self.resolution // self.reduction


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run; the defaults are the paper's (section 3.1)."""

    masks: Literal["found", "taught"] = "found"  # by the paper's losses alone, or shown as clay (see `objectives`)
    epochs: int = within(100, 1)  # of (identities × repeats) / batch steps
    steps: int | None = within(None, 1)  # in place of epochs; decay keeps its proportions
    minutes: float | None = within(None, 0)  # in place of both; the learning rate falls towards that time
    batch: int = within(16, 1)  # samples a process
    repeats: int = within(1, 1)  # of every identity in an epoch
    identities: Literal["prefix", "file"] = "prefix"  # the file name up to the first #, or all of it
    lr: float = within(2e-4, 1e-8, 1)
    beta1: float = within(0.5, 0, 0.999999)
    beta2: float = within(0.9, 0, 0.999999)
    schedule: Literal["step", "cosine"] = "step"  # ×0.1 at decay; or level for 0.4 of the run, then a cosine
    decay: tuple[int, ...] = within((60, 90), 1)  # epochs
    warmup: int = within(0, 0)  # steps of linear warm-up
    ema: float = within(0.999, 0, 0.999999)  # decay of the average of the weights
    lambda_mask: float = within(100.0, 0)  # weight of the loss of the masks
    lambda_rec: float = within(10.0, 0)  # weight of the loss of c and f
    lambda_looks: float = within(0.0, 0)  # taught: weight of the LPIPS of c and f
    perceptual: Literal["vgg19", "lpips"] = "vgg19"  # found: ImageNet's VGG-19, or the bundled LPIPS and pixels
    perceptual_layers: tuple[int, ...] = within((1, 3, 5), 1, 16)  # ReLUs of VGG-19, counted from 1
    scales: tuple[int, ...] = within((1, 2, 4), 1, 64)  # of the pyramid, as divisors of the side
    crop: int | None = within(None, 1)  # taught: side that h and LPIPS see; None: half a frame on a CPU, else all of it
    jitter: Literal["driver", "all"] = "driver"  # A on the driver only; or the pair shares one, the driver has its own
    flips: Literal["none", "mirror", "time-or-mirror"] = "none"  # time p .5, else horizontal p .5
    toons: float = within(0.0, 0, 1)  # share of the samples that are rendered toons
    toon_pool: int = within(1000, 2)  # toons that are rendered, once
    stills: float = within(0.0, 0, 1)  # share of single pictures, made to move
    stills_dir: str = ""  # their folder
    data: str = ""  # folder of the data set; empty: it is looked for by its name
    limit_videos: int | None = within(None, 1)  # clips that are used at most
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    workers: int = within(2, 0)  # loader processes of each rank
    seed: int = within(0, 0, 2**32 - 1)
    log_every: int = within(20, 1)
    preview_every: int = within(500, 1)
    save_every: int = within(500, 1)

    def __post_init__(self) -> None:
        check(self)
        if self.toons + self.stills > 1:
            raise InputError(f"toons + stills must be 1 at most, not {self.toons + self.stills:g}")
        if self.masks == "taught" and self.flips == "time-or-mirror":
            raise InputError("taught masks know no flips in time", "flips are none or mirror there")
        if not self.perceptual_layers or not self.scales:
            raise InputError("perceptual_layers and scales must hold at least one number each")


def check(config: Any) -> None:
    """Raise InputError for a field without its declared type, for too long a list, and for a number out of range."""
    kinds = get_type_hints(type(config))
    for x in fields(config):
        name, value = x.name, getattr(config, x.name)
        items = value if isinstance(value, tuple) else (value,)
        if len(items) > MAX_ITEMS:
            raise InputError(f"{name} has {len(items)} items; at most {MAX_ITEMS} are allowed")
        if not matches(value, kinds[name]):
            raise InputError(f"{name} = {value!r} is not valid.", f"Expected {x.type}.")
        low, high = x.metadata.get("range", (-math.inf, math.inf))
        for item in items:
            if isinstance(item, int | float) and not low <= item <= high:  # so NaN fails
                wanted = f"at least {low:g}" if high == sys.maxsize else f"between {low:g} and {high:g}"
                raise InputError(f"{name} must be {wanted}, not {item}")


def matches(value: Any, kind: Any) -> bool:
    """Whether a value has a declared type: Literal, union, tuple or a plain one. Whole numbers pass as float."""
    options = get_args(kind)
    if get_origin(kind) is Literal:
        return value in options
    if get_origin(kind) is tuple:  # of equal types
        fits = isinstance(value, tuple) and (Ellipsis in options or len(value) == len(options))
        return fits and all(matches(item, options[0]) for item in value)
    if options:
        return any(matches(value, option) for option in options)
    if isinstance(value, bool):  # which is an int to Python
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


# What a data set of the paper asks for, whatever the preset.
DATASETS: dict[str, dict[str, Any]] = {
    "vox": {"repeats": 75},
    "taichi": {"repeats": 150},
    "bair": {"identities": "file"},
    "toons": {"toons": 1.0, "repeats": 1000},
}
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
        flow=True,
        max_channels=256,
        dilations=(1, 2, 4, 8, 4, 2),
        mask_width=16,
        refiner_width=24,
        mask_blocks=4,
        mask_skips=True,
        scale=1.0,
    ),
    "tiny": ModelConfig(
        "tiny", 64, blocks=2, dilations=(1, 1), width=4, max_channels=16, mask_width=2, refiner_width=4, mask_blocks=2
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


def resolve(recipe: dict[str, Any]) -> tuple[str, ModelConfig, TrainConfig]:
    """The data set and the settings of a run: the preset's, then the data set's, then what the recipe says.

    recipe: as of `read_toml`. InputError without a data set, or if it records a run of another preset than it names.
    """
    dataset, record = recipe.get("dataset"), recipe.get("model", {}).get("preset")
    name = recipe.get("preset") or record or "paper"
    if record and name != record:
        raise InputError(f"preset {name!r} was asked for, but the settings are those of {record!r}")
    if not dataset:
        raise InputError("no data set is named", "give --dataset vox, taichi, bair, toons or a folder")
    model, train = preset(name)
    if name == "released" and dataset in ("taichi", "bair"):  # the authors' code has other values there than for faces
        model = replace(model, threshold=60 / 255, threshold_train=60 / 255)
        train = replace(train, perceptual_layers=(1, 3, 5, 9, 13), scales=(1, 2, 4, 8))
    train = replace(train, **DATASETS.get(dataset, {}))
    return dataset, update(model, recipe.get("model", {}), "[model]"), update(train, recipe.get("train", {}), "[train]")


def merge(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Two recipes in one; what both say is as the second says. A folder of data belongs to its data set alone."""
    tables = {key: first.get(key, {}) | second.get(key, {}) for key in ("model", "train")}
    merged = {**first, **second, **tables}
    if first.get("dataset", merged.get("dataset")) != merged.get("dataset") and "data" not in second.get("train", {}):
        tables["train"].pop("data", None)
    return merged


def nearest(name: str, known: Any) -> str:
    """`; did you mean ...?` for the closest known name, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def check_keys(table: dict[str, Any], known: Collection[str], where: str) -> None:
    """Raise InputError for a key that is not known, and name the nearest one."""
    for key in table:
        if key not in known:
            raise InputError(f"Unknown key {key!r} in {where}{nearest(key, known)}.", f"Known are {', '.join(known)}.")


def update(config: Any, changes: dict[str, Any], where: str = "the configuration") -> Any:
    """A copy of a configuration with some fields changed, lists as tuples; InputError for what is not valid."""
    if not isinstance(changes, dict):
        raise InputError(f"{where} is not a table of names and values.")
    check_keys(changes, [field.name for field in fields(config)], where)
    return replace(config, **{key: tuple(x) if isinstance(x, list) else x for key, x in changes.items()})


def read_toml(path: Path) -> dict[str, Any]:
    """A recipe: sections `[model]` and `[train]`, and `preset` and `dataset` above them.

    path: a TOML file, or the name of a bundled recipe. Raises InputError for anything else.
    """
    bundled = {recipe.stem: recipe for recipe in (Path(__file__).parent / "recipes").glob("*.toml")}
    if not path.exists() and str(path) not in bundled:
        raise InputError(f"{path} does not exist.", f"Give a TOML file or a bundled recipe: {', '.join(bundled)}.")
    try:
        content = tomllib.loads(read_text(path if path.exists() else bundled[str(path)], 1_000_000))
    except (ValueError, RecursionError) as error:  # also endless digits, deep nesting
        raise InputError(f"{path} is not a readable TOML file: {error}.") from error
    check_keys(content, KEYS, str(path))
    for key, value in content.items():
        if not isinstance(value, KEYS[key]):
            raise InputError(f"{key!r} in {path} has the wrong form.", "Model and train are sections, others texts.")
    return content


def write_toml(path: Path, dataset: str, model: ModelConfig, train: TrainConfig) -> None:
    """The resolved configuration, in the form that --config reads; JSON's texts, numbers and lists are TOML's too."""
    quote = partial(json.dumps, ensure_ascii=False)
    lines = [f"dataset = {quote(dataset)}"]
    for name, config in (("model", model), ("train", train)):
        lines += ["", f"[{name}]", *(f"{k} = {quote(v)}" for k, v in asdict(config).items() if v is not None)]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="replace")
