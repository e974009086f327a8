"""Configurations: presets, what is refused and with which words, and the TOML reader."""

import dataclasses
import json
import re

import pytest

from animask import config
from animask.config import MODEL_PRESETS, TRAIN_PRESETS, ModelConfig, TrainConfig
from animask.errors import InputError

# presets


def test_paper_preset_has_the_values_of_the_paper():
    model, train = config.preset("paper")
    assert (model.resolution, model.mask_size, model.blocks, model.residual_blocks) == (256, 64, 5, 6)
    assert (model.encoder_order, model.mask_head) == ("relu-bn", "plain")
    assert (model.threshold, model.threshold_train, model.scale) == ("median", "median", 0.75)
    assert (train.lr, train.beta1, train.beta2, train.batch) == (2e-4, 0.5, 0.9, 16)
    assert (train.epochs, train.decay, train.r_start) == (100, (60, 90), 1)
    assert (train.lambda_mask, train.lambda_rec) == (100, 10)
    assert (train.perceptual, train.perceptual_layers, train.scales) == ("vgg19", (1, 3, 5), (1, 2, 4))


def test_released_preset_differs_where_the_released_code_does():
    model, train = config.preset("released")
    changed = {
        "preset": "released",
        "encoder_order": "bn-relu",
        "temperature": 0.1,
        "mask_shrink": "gaussian",
        "threshold": 100 / 255,
        "threshold_train": 100 / 255,
        "cuts": (15 / 64, 45 / 64),
    }
    assert model == config.update(ModelConfig(), changed)
    assert (train.beta2, train.jitter, train.flips) == (0.999, "all", "time-or-mirror")


def test_every_preset_has_the_plain_head_and_carries_its_name():
    assert {model.mask_head for model in MODEL_PRESETS.values()} == {"plain"}
    assert [model.preset for model in MODEL_PRESETS.values()] == list(MODEL_PRESETS)
    assert list(TRAIN_PRESETS) == list(MODEL_PRESETS)


@pytest.mark.parametrize("name", MODEL_PRESETS)
def test_presets_survive_the_way_through_json(name):
    model, train = config.preset(name)
    assert config.model_from_dict(json.loads(json.dumps(config.to_dict(model)))) == model
    values = json.loads(json.dumps(config.to_dict(train)))
    assert config.update(TrainConfig(steps=7, batch=3), values) == train


def test_changed_settings_survive_the_way_through_json():
    model = ModelConfig(resolution=128, threshold=0.25, cuts=(0.25, 0.5), mask_head="normalised")
    assert config.model_from_dict(json.loads(json.dumps(config.to_dict(model)))) == model


def test_unknown_preset_names_the_nearest_and_all():
    with pytest.raises(InputError, match="unknown preset 'papr'") as caught:
        config.preset("papr")
    assert caught.value.hint == "choose one of paper, released, compact, tiny; did you mean 'paper'?"
    assert caught.value.exit_code == 2


def test_configurations_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig().width = 32
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().lr = 1.0


# resolution


@pytest.mark.parametrize(("resolution", "blocks"), [(64, 2), (96, 3), (128, 5), (384, 5), (512, 5)])
def test_any_resolution_that_divides_is_accepted(resolution, blocks):
    assert ModelConfig(resolution=resolution, blocks=blocks).mask_size == resolution // 4


@pytest.mark.parametrize("resolution", [1, 64, 100, 192, 255, 257, 300, 1000])
def test_resolution_that_does_not_divide_is_refused_with_one_that_does(resolution):
    with pytest.raises(InputError, match=f"resolution {resolution} does not divide by 128") as caught:
        ModelConfig(resolution=resolution)
    suggested = int(re.search(r"\d+", caught.value.hint)[0])
    assert ModelConfig(resolution=suggested).resolution == suggested
    assert abs(suggested - resolution) <= 127


# wrong values


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("resolution", 256.0, "a whole number"),
        ("resolution", "256", "a whole number"),
        ("width", True, "a whole number"),
        ("blocks", 10**30, "a whole number"),
        ("preset", 3, "a text"),
        ("scale", "0.75", "a number"),
        ("scale", False, "a number"),
        ("temperature", float("nan"), "a number"),
        ("logit_spread", float("inf"), "a number"),
        ("threshold", 10**400, "a number or 'median'"),
        ("threshold", "mean", "a number or 'median'"),
        ("threshold_train", None, "a number or 'median'"),
        ("encoder_order", "relu_bn", "'relu-bn' or 'bn-relu'"),
        ("mask_head", ["plain"], "'plain' or 'normalised'"),
        ("cuts", [0.1], "a list of 2, each a number"),
        ("cuts", [0.1, "a"], "a list of 2, each a number"),
        ("cuts", 0.5, "a list of 2, each a number"),
    ],
)
def test_wrong_type_in_the_model_is_refused_with_what_was_expected(name, value, expected):
    with pytest.raises(InputError, match=f"^{name} = .* is not valid$") as caught:
        config.update(ModelConfig(), {name: value})
    assert caught.value.hint == f"expected {expected}"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("epochs", 1.5, "a whole number"),
        ("steps", "many", "a whole number or nothing"),
        ("lr", None, "a number"),
        ("compile", 1, "true or false"),
        ("decay", 60, "a list, each a whole number"),
        ("scales", [1, 2.5], "a list, each a whole number"),
        ("perceptual", "vgg", "'vgg19' or 'random' or 'pixels'"),
        ("stills_dir", ["."], "a text"),
    ],
)
def test_wrong_type_in_training_is_refused_with_what_was_expected(name, value, expected):
    with pytest.raises(InputError, match=f"^{name} = .* is not valid$") as caught:
        config.update(TrainConfig(), {name: value})
    assert caught.value.hint == f"expected {expected}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "width must be between 2 and 1024, not 0"),
        ({"width": 7}, "width must be even, not 7"),
        ({"blocks": 0}, "blocks must be between 1 and 8, not 0"),
        ({"blocks": 10**12}, "blocks must be between 1 and 8, not 1e+12"),
        ({"residual_blocks": -1}, "residual_blocks must be between 1 and 64, not -1"),
        ({"reduction": 3}, "reduction must be a power of two, not 3"),
        ({"reduction": 16, "width": 2}, "reduction 16 is too large for width 2"),
        ({"max_channels": 32}, "max_channels 32 is less than width 64"),
        ({"temperature": 0.0}, "temperature must be between 0.001 and 1000, not 0"),
        ({"scale": 0.0}, "scale must be between 0.05 and 2, not 0"),
        ({"threshold": 100}, "threshold must be between 0 and 1, not 100"),
        ({"threshold_train": -0.5}, "threshold_train must be between 0 and 1, not -0.5"),
        ({"cuts": (0.5, 0.5)}, "cuts must be two rising fractions in [0, 1], not (0.5, 0.5)"),
        ({"cuts": (0.5, 1.5)}, "cuts must be two rising fractions in [0, 1], not (0.5, 1.5)"),
    ],
)
def test_value_out_of_range_in_the_model_is_refused(changes, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        ModelConfig(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 0}, "batch must be at least 1, not 0"),
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"decay": (60, 0)}, "decay must be at least 1, not 0"),
        ({"lr": 0.0}, "lr must be between 1e-08 and 1, not 0"),
        ({"beta1": 1.0}, "beta1 must be between 0 and 0.999999, not 1"),
        ({"lambda_mask": -1.0}, "lambda_mask must be at least 0, not -1"),
        ({"r_start": -1.0}, "r_start must be at least 0, not -1"),
        ({"far": 0.6}, "far must be between 0 and 0.5, not 0.6"),
        ({"degrade": 2.0}, "degrade must be between 0 and 1, not 2"),
        ({"toons": 0.75, "stills": 0.5}, "toons + stills must be between 0 and 1, not 1.25"),
        ({"toons": -0.5, "stills": 0.75}, "toons must be between 0 and 1, not -0.5"),
        ({"perceptual_layers": (0, 1)}, "perceptual_layers must be between 1 and 16, not 0"),
        ({"perceptual_layers": (1, 17)}, "perceptual_layers must be between 1 and 16, not 17"),
        ({"perceptual_layers": ()}, "perceptual_layers must hold at least one number"),
        ({"scales": ()}, "scales must hold at least one number"),
        ({"workers": -1}, "workers must be at least 0, not -1"),
        ({"seed": -1}, "seed must be between 0 and 4.29497e+09, not -1"),
    ],
)
def test_value_out_of_range_in_training_is_refused(changes, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        TrainConfig(**changes)


def test_whole_numbers_pass_as_float_and_lists_become_tuples():
    model = config.update(ModelConfig(), {"scale": 1, "threshold": 0, "cuts": [0, 1]})
    assert (model.scale, model.threshold, model.cuts) == (1, 0, (0, 1))
    assert config.update(TrainConfig(), {"decay": []}).decay == ()


def test_update_leaves_the_rest_alone():
    before = MODEL_PRESETS["released"]
    after = config.update(before, {"width": 32})
    assert config.to_dict(after) == {**config.to_dict(before), "width": 32}


# unknown keys


def test_unknown_key_names_the_nearest():
    with pytest.raises(InputError, match=r"unknown key 'widht' in recipe\.toml") as caught:
        config.update(ModelConfig(), {"widht": 3}, "recipe.toml")
    assert caught.value.hint == "did you mean 'width'?"


def test_unknown_key_without_a_near_one_lists_all():
    with pytest.raises(InputError, match="unknown key 'qqq' in the configuration") as caught:
        config.update(ModelConfig(), {"qqq": 3})
    assert caught.value.hint.startswith("known keys: preset, resolution, reduction, ")


@pytest.mark.parametrize("values", [[1], 5, "width", None])
def test_configuration_that_is_no_table_is_refused(values):
    with pytest.raises(InputError, match="the model's configuration is not a table of names and values"):
        config.model_from_dict(values)


# TOML


def recipe(folder, text):
    path = folder / "recipe.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_recipe_is_read(tmp_path):
    path = recipe(tmp_path, 'preset = "compact"\n[model]\nresolution = 128\ncuts = [0.2, 0.8]\n[train]\nlr = 1e-3\n')
    content = config.read_toml(path)
    assert content == {
        "preset": "compact",
        "model": {"resolution": 128, "cuts": [0.2, 0.8]},
        "train": {"lr": 1e-3},
    }
    model = config.update(MODEL_PRESETS["compact"], content["model"])
    assert (model.resolution, model.width, model.cuts) == (128, 16, (0.2, 0.8))


def test_missing_recipe_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.toml is not a file"):
        config.read_toml(tmp_path / "none.toml")
    with pytest.raises(InputError, match="is not a file"):
        config.read_toml(tmp_path)


def test_recipe_that_is_too_large_is_refused(tmp_path):
    path = recipe(tmp_path, b"#" * config.MAX_CONFIG_BYTES)
    assert config.read_toml(path) == {}
    path = recipe(tmp_path, b"#" * (config.MAX_CONFIG_BYTES + 1))
    with pytest.raises(InputError, match="is larger than 1000000 bytes"):
        config.read_toml(path)


@pytest.mark.parametrize(
    "text",
    ["[model\n", "lr = \n", b"\xff\xfe\x00", "x = " + "1" * 5000, "x = " + "[" * 5000],
    ids=["bracket", "empty", "bytes", "digits", "depth"],
)
def test_recipe_with_bad_syntax_is_refused(tmp_path, text):
    with pytest.raises(InputError, match=r"recipe\.toml is not a readable TOML file: "):
        config.read_toml(recipe(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ("[modle]\nwidth = 3\n", "modle", "did you mean 'model'?"),
        ('presets = "tiny"\n', "presets", "did you mean 'preset'?"),
        ("zzz = 1\n", "zzz", "known: preset, dataset, [model], [train]"),
    ],
)
def test_unknown_section_is_refused(tmp_path, text, key, hint):
    with pytest.raises(InputError, match=f"unknown key '{key}' in .*recipe.toml") as caught:
        config.read_toml(recipe(tmp_path, text))
    assert caught.value.hint == hint


@pytest.mark.parametrize("text", ["model = 3\n", "[preset]\nname = 1\n", "preset = 3\n", "dataset = [1]\n"])
def test_section_of_the_wrong_form_is_refused(tmp_path, text):
    with pytest.raises(InputError, match="has the wrong form"):
        config.read_toml(recipe(tmp_path, text))


# a run's settings


def test_settings_come_from_preset_data_set_recipe_and_flags_in_this_order():
    recipe = {"preset": "compact", "model": {"resolution": 128}, "train": {"repeats": 3, "batch": 4}}
    name, model, train = config.resolve(None, "vox", {}, {})
    assert (name, model, train) == ("vox", ModelConfig(), TrainConfig(repeats=75))
    _, model, train = config.resolve(None, "vox", recipe, {})
    assert (model.preset, model.width, model.resolution, train.repeats, train.batch) == ("compact", 16, 128, 3, 4)
    changes = {"model": {"resolution": 384}, "train": {"batch": 2}}
    _, model, train = config.resolve("paper", "vox", recipe, changes)
    assert (model.preset, model.width, model.resolution, train.repeats, train.batch) == ("paper", 64, 384, 3, 2)


def test_data_set_of_the_recipe_is_used_and_one_is_needed():
    assert config.resolve("tiny", None, {"dataset": "toons"}, {})[0] == "toons"
    assert config.resolve("tiny", "bair", {"dataset": "toons"}, {})[0] == "bair"
    with pytest.raises(InputError, match="no data set is named"):
        config.resolve("tiny", None, {}, {})


def test_released_values_for_bodies():
    _, model, train = config.resolve("released", "taichi", {}, {})
    assert (model.threshold, model.threshold_train) == (60 / 255, 60 / 255)
    assert (train.perceptual_layers, train.scales, train.repeats) == ((1, 3, 5, 9, 13), (1, 2, 4, 8), 150)
    _, model, train = config.resolve("released", "bair", {}, {})
    assert (model.threshold, train.identities, train.repeats) == (60 / 255, "file", 1)
    _, model, train = config.resolve("released", "vox", {}, {})
    assert (model.threshold, train.perceptual_layers, train.scales) == (100 / 255, (1, 3, 5), (1, 2, 4))
    _, model, train = config.resolve("paper", "taichi", {}, {})
    assert (model.threshold, train.perceptual_layers, train.scales) == ("median", (1, 3, 5), (1, 2, 4))


def test_unknown_key_of_a_recipe_names_its_section():
    with pytest.raises(InputError, match=r"unknown key 'lrr' in \[train\]") as caught:
        config.resolve("tiny", "toons", {"train": {"lrr": 1}}, {})
    assert caught.value.hint == "did you mean 'lr'?"


def test_record_of_another_preset_is_refused():
    recipe = {"model": {"preset": "compact", "width": 16, "max_channels": 256}}
    assert config.resolve(None, "toons", recipe, {})[1].preset == "compact"
    with pytest.raises(InputError, match="preset 'paper' was asked for, but the settings are those of 'compact'"):
        config.resolve("paper", "toons", recipe, {})


def test_folder_of_the_recipe_belongs_to_its_data_set():
    recipe = {"dataset": "vox", "train": {"data": "vox-folder"}}
    assert config.resolve("tiny", None, recipe, {})[2].data == "vox-folder"
    assert config.resolve("tiny", "taichi", recipe, {})[2].data == ""
    assert config.resolve("tiny", "taichi", recipe, {"train": {"data": "here"}})[2].data == "here"


def test_merged_recipes_say_what_the_second_says():
    first = {"preset": "tiny", "model": {"width": 8, "blocks": 2}, "train": {"lr": 1e-3}}
    second = {"model": {"width": 16}, "dataset": "toons"}
    assert config.merge(first, second) == {
        "preset": "tiny",
        "dataset": "toons",
        "model": {"width": 16, "blocks": 2},
        "train": {"lr": 1e-3},
    }
