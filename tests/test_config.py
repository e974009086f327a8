"""Configurations: presets, what is refused, and the TOML reader."""

import json

import pytest

from animask import config
from animask.config import MODEL_PRESETS, TRAIN_PRESETS, ModelConfig, TrainConfig
from animask.errors import InputError

# presets


def test_paper_preset_has_the_values_of_the_paper():
    model, train = config.preset("paper")
    assert (model.resolution, model.mask_size, model.blocks, len(model.dilations)) == (256, 64, 5, 6)
    assert (model.width, model.mask_width, model.refiner_width, model.mask_blocks, model.mask_skips) == (
        *(64, 32, 64, 5),
        False,
    )
    assert (model.encoder_order, set(model.dilations), model.temperature) == ("relu-bn", {1}, 1.0)
    assert (model.threshold, model.threshold_train, model.scale) == ("median", "median", 0.75)
    assert (train.masks, train.lr, train.beta1, train.beta2, train.batch) == ("found", 2e-4, 0.5, 0.9, 16)
    assert (train.epochs, train.decay, train.lambda_mask, train.lambda_rec) == (100, (60, 90), 100, 10)
    assert (train.perceptual, train.perceptual_layers, train.scales) == ("vgg19", (1, 3, 5), (1, 2, 4))
    assert (train.jitter, train.flips, train.toons, train.stills) == ("driver", "none", 0, 0)


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
    assert train == TrainConfig(beta2=0.999, jitter="all", flips="time-or-mirror")


def test_compact_is_taught_and_presets_carry_their_names():
    assert {name: train.masks for name, train in TRAIN_PRESETS.items()} == {
        "paper": "found",
        "released": "found",
        "compact": "taught",
        "tiny": "found",
    }
    assert [model.preset for model in MODEL_PRESETS.values()] == list(MODEL_PRESETS) == list(TRAIN_PRESETS)


@pytest.mark.parametrize("name", MODEL_PRESETS)
def test_presets_survive_the_way_through_json(name):
    model, train = config.preset(name)
    assert config.model_from_dict(json.loads(json.dumps(config.to_dict(model)))) == model
    values = json.loads(json.dumps(config.to_dict(train)))
    assert config.update(TrainConfig(steps=7, batch=3), values) == train


def test_unknown_preset_names_the_nearest():
    with pytest.raises(InputError, match="'paper'") as caught:
        config.preset("papr")
    assert "compact" in caught.value.hint


# resolution


@pytest.mark.parametrize(("resolution", "blocks"), [(64, 2), (96, 3), (128, 5), (384, 5), (512, 5)])
def test_any_resolution_that_divides_is_accepted(resolution, blocks):
    config = ModelConfig(resolution=resolution, blocks=blocks, mask_blocks=min(blocks, 4))
    assert config.mask_size == resolution // 4


@pytest.mark.parametrize("resolution", [1, 64, 100, 192, 255, 257, 1000])
def test_resolution_that_does_not_divide_is_refused_with_one_that_does(resolution):
    with pytest.raises(InputError, match="128") as caught:
        ModelConfig(resolution=resolution)
    suggested = int(caught.value.hint.split()[-1].rstrip("."))
    assert ModelConfig(resolution=suggested).resolution == suggested
    assert abs(suggested - resolution) <= 127


# wrong values


WRONG_MODEL = {
    "resolution": (256.0, "256", 0),
    "width": (True, 0),
    "blocks": (0, 10**12, 10**30),
    "mask_blocks": (9,),
    "dilations": ((0,),),
    "reduction": (3,),
    "max_channels": (32,),
    "preset": (3,),
    "scale": ("0.75", False, 0.0),
    "temperature": (float("nan"), float("inf"), 0.0),
    "threshold": (10**400, "mean", 100),
    "threshold_train": (None, -0.5),
    "encoder_order": ("relu_bn", ["relu-bn"]),
    "cuts": ([0.1], [0.1, "a"], 0.5, (0.5, 0.5), (0.5, 1.5)),
}
WRONG_TRAINING = {
    **{"epochs": (1.5,), "steps": ("many", 0), "minutes": (-1,), "batch": (0,), "crop": (0,), "workers": (-1,)},
    **{"decay": (60, (60, 0)), "lr": (None, 0.0), "beta1": (1.0,), "lambda_mask": (-1.0,), "seed": (-1,)},
    **{"perceptual": ("vgg",), "masks": ("learnt",), "stills_dir": (["."],), "toons": (-0.5, 1.5)},
    **{"perceptual_layers": ((0, 1), (1, 17), ()), "scales": ([1, 2.5], ())},
}


@pytest.mark.parametrize(("kind", "wrong"), [(ModelConfig, WRONG_MODEL), (TrainConfig, WRONG_TRAINING)])
def test_wrong_values_are_refused_by_name(kind, wrong):
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(InputError, match=name):
                config.update(kind(), {name: value})


def test_shares_make_one_at_most():
    with pytest.raises(InputError, match=r"toons \+ stills"):
        TrainConfig(toons=0.75, stills=0.5)


def test_whole_numbers_pass_as_float_and_lists_become_tuples():
    model = config.update(ModelConfig(), {"scale": 1, "threshold": 0, "cuts": [0, 1]})
    assert (model.scale, model.threshold, model.cuts) == (1, 0, (0, 1))
    assert config.update(TrainConfig(), {"decay": []}).decay == ()
    before = MODEL_PRESETS["released"]
    assert config.to_dict(config.update(before, {"width": 32})) == {**config.to_dict(before), "width": 32}


def test_unknown_key_names_the_nearest_and_all():
    with pytest.raises(InputError, match="'width'") as caught:
        config.update(ModelConfig(), {"widht": 3})
    assert "resolution" in caught.value.hint


@pytest.mark.parametrize("values", [[1], 5, "width", None])
def test_configuration_that_is_no_table_is_refused(values):
    with pytest.raises(InputError):
        config.model_from_dict(values)


# TOML


def recipe(folder, text):
    path = folder / "recipe.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_recipe_is_read(tmp_path):
    path = recipe(tmp_path, 'preset = "compact"\n[model]\nresolution = 128\ncuts = [0.2, 0.8]\n[train]\nlr = 1e-3\n')
    content = config.read_toml(path)
    assert content == {"preset": "compact", "model": {"resolution": 128, "cuts": [0.2, 0.8]}, "train": {"lr": 1e-3}}


@pytest.mark.parametrize(("name", "dataset"), [("first", None), ("portrait", "faces")])
def test_bundled_recipes_are_taught(name, dataset):
    _, model, train = config.resolve(None, dataset, config.read_toml(config.Path(name)), {})
    assert (model.preset, train.masks, train.toons > 0) == ("compact", "taught", True)


@pytest.mark.parametrize(
    "text",
    [
        *("[model\n", "lr = \n", b"\xff\xfe\x00", "x = " + "1" * 5000, "x = " + "[" * 5000, b"#" * 1_000_001),
        *("[modle]\nwidth = 3\n", "zzz = 1\n", "model = 3\n", "[preset]\nname = 1\n", "dataset = [1]\n"),
    ],
    ids=["bracket", "empty", "bytes", "digits", "depth", "size", "section", "key", "model", "preset", "dataset"],
)
def test_recipe_that_is_none_is_refused(tmp_path, text):
    with pytest.raises(InputError, match=r"recipe\.toml"):
        config.read_toml(recipe(tmp_path, text))


def test_missing_recipe_names_the_bundled_ones(tmp_path):
    for path in (tmp_path / "none.toml", config.Path("frist")):
        with pytest.raises(InputError) as caught:
            config.read_toml(path)
        assert "first" in caught.value.hint
    with pytest.raises(InputError):
        config.read_toml(tmp_path)


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
    with pytest.raises(InputError, match="data set"):
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


def test_record_of_another_preset_is_refused():
    recipe = {"model": {"preset": "compact", "width": 16, "max_channels": 256}}
    assert config.resolve(None, "toons", recipe, {})[1].preset == "compact"
    with pytest.raises(InputError, match="compact"):
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
