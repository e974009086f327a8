"""Configurations: presets, what is refused, recipes, and how a run's settings come together."""

from dataclasses import fields, replace

import pytest

from animask import config
from animask.config import ModelConfig, TrainConfig, merge, resolve
from animask.errors import InputError

# presets


def test_paper_preset_has_the_values_of_the_paper():
    model, train = config.preset("paper")
    assert (model.resolution, model.mask_size, model.blocks, model.dilations) == (256, 64, 5, (1,) * 6)
    assert (model.width, model.mask_width, model.refiner_width, model.mask_blocks) == (64, 32, 64, 5)
    assert (model.encoder_order, model.mask_skips, model.flow, model.temperature) == ("relu-bn", False, False, 1.0)
    assert (model.threshold, model.threshold_train, model.scale) == ("median", "median", 0.75)
    assert (train.masks, train.lr, train.beta1, train.beta2, train.batch) == ("found", 2e-4, 0.5, 0.9, 16)
    assert (train.epochs, train.decay, train.lambda_mask, train.lambda_rec) == (100, (60, 90), 100, 10)
    assert (train.perceptual, train.perceptual_layers, train.scales) == ("vgg19", (1, 3, 5), (1, 2, 4))
    assert (train.jitter, train.flips, train.toons, train.stills) == ("driver", "none", 0, 0)


def test_released_preset_differs_where_the_released_code_does():
    model, train = config.preset("released")
    assert model == replace(
        ModelConfig(preset="released", temperature=0.1, mask_shrink="gaussian", encoder_order="bn-relu"),
        threshold=100 / 255,
        threshold_train=100 / 255,
        cuts=(15 / 64, 45 / 64),
    )
    assert train == TrainConfig(beta2=0.999, jitter="all", flips="time-or-mirror")


# values


@pytest.mark.parametrize("resolution", [1, 100, 192, 257])
def test_resolution_that_does_not_divide_is_refused_with_one_that_does(resolution):
    with pytest.raises(InputError, match="128") as caught:
        ModelConfig(resolution=resolution)
    suggested = int(caught.value.hint.split()[-1])
    assert abs(ModelConfig(resolution=suggested).resolution - resolution) <= 127


WRONG_MODEL = {
    **{"resolution": (256.0, "256", 0), "width": (True, 0, 10**5), "blocks": (0, 9, 10**30), "reduction": (3,)},
    **{"dilations": ((0,), (1,) * 65, [1, "2"], 3), "max_channels": (32,), "preset": (3,), "mask_skips": (1,)},
    **{"scale": ("0.75", False, 0.0), "temperature": (float("inf"), 0.0), "threshold": (10**400, "mean", 100)},
    **{"threshold_train": (None, -0.5), "encoder_order": ("relu_bn", ["relu-bn"])},
    "cuts": ([0.1], [0.1, "a"], 0.5, (0.5, 0.5), (0.5, 1.5)),
}
WRONG_TRAINING = {
    **{"epochs": (1.5,), "steps": ("many", 0), "minutes": (-1,), "batch": (0,), "crop": (0,), "workers": (-1,)},
    **{"decay": (60, (60, 0)), "lr": (None, 0.0), "beta1": (1.0,), "lambda_mask": (-1.0,), "seed": (-1,)},
    **{"perceptual": ("vgg",), "stills_dir": (["."],), "toons": (-0.5, 1.5)},
    **{"perceptual_layers": ((0, 1), (1, 17), ()), "scales": ([1, 2.5], ())},
}


@pytest.mark.parametrize(("kind", "wrong"), [(ModelConfig, WRONG_MODEL), (TrainConfig, WRONG_TRAINING)])
def test_wrong_values_are_refused_by_name(kind, wrong):
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(InputError, match=name):
                config.update(kind(), {name: value})


@pytest.mark.parametrize("kind", [ModelConfig, TrainConfig])
def test_no_number_is_nan(kind):
    for field in fields(kind):
        if "float" in field.type and "tuple" not in field.type:
            with pytest.raises(InputError, match=field.name):
                config.update(kind(), {field.name: float("nan")})


def test_shares_make_one_at_most():
    with pytest.raises(InputError, match=r"toons \+ stills"):
        TrainConfig(toons=0.75, stills=0.5)


def test_whole_numbers_pass_as_float_and_lists_become_tuples():
    model = config.update(ModelConfig(width=32), {"scale": 1, "threshold": 0, "cuts": [0, 1]})
    assert (model.width, model.scale, model.threshold, model.cuts) == (32, 1, 0, (0, 1))
    assert config.update(TrainConfig(), {"decay": []}).decay == ()


@pytest.mark.parametrize(
    ("read", "nearest", "hint"),
    [
        (lambda: config.preset("papr"), "'paper'", "compact"),
        (lambda: config.update(ModelConfig(), {"widht": 3}), "'width'", "resolution"),
        (lambda: config.read_toml(config.Path("frist")), "frist", "first"),
    ],
)
def test_what_is_unknown_is_answered_with_what_there_is(read, nearest, hint):
    with pytest.raises(InputError, match=nearest) as caught:
        read()
    assert hint in caught.value.hint


# recipes


@pytest.mark.parametrize(("name", "dataset"), [("first", {}), ("portrait", {"dataset": "faces"})])
def test_bundled_recipes_are_taught(name, dataset):
    _, model, train = resolve(config.read_toml(config.Path(name)) | dataset)
    assert (model.preset, train.masks, train.toons > 0) == ("compact", "taught", True)


@pytest.mark.parametrize(
    "text",
    [
        *("[model\n", b"\xff\xfe\x00", "x = " + "1" * 5000, "x = " + "[" * 5000, b"#" * 1_000_001),
        *("[modle]\nwidth = 3\n", "model = 3\n", "dataset = [1]\n"),
    ],
    ids=["syntax", "bytes", "digits", "depth", "size", "section", "model", "dataset"],
)
def test_recipe_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=r"recipe\.toml"):
        config.read_toml(path)


@pytest.mark.parametrize("text", ['a "quoted" \\ path', "späße 😀", "tab\t, line\n, bell\x07", "c:\\new"])
def test_the_resolved_configuration_is_read_back(text, tmp_path):
    for name in config.MODEL_PRESETS:
        model, train = config.MODEL_PRESETS[name], config.update(config.TRAIN_PRESETS[name], {"steps": 5, "data": text})
        config.write_toml(tmp_path / "config.toml", text, model, train)
        assert resolve(config.read_toml(tmp_path / "config.toml")) == (text, model, train)
        assert model.preset == name


def test_merged_recipes_say_what_the_second_says():
    first = {"preset": "tiny", "model": {"width": 8, "blocks": 2}, "train": {"lr": 1e-3}}
    second = {"model": {"width": 16}, "dataset": "toons"}
    tables = {"model": {"width": 16, "blocks": 2}, "train": {"lr": 1e-3}}
    assert merge(first, second) == {"preset": "tiny", "dataset": "toons", **tables}


@pytest.mark.parametrize(
    ("first", "second", "data"),
    [
        ({"dataset": "vox"}, {}, "folder"),
        ({"dataset": "vox"}, {"dataset": "vox"}, "folder"),
        ({}, {"dataset": "vox"}, "folder"),
        ({"dataset": "vox"}, {"dataset": "taichi"}, None),
        ({"dataset": "vox"}, {"dataset": "taichi", "train": {"data": "here"}}, "here"),
    ],
)
def test_a_folder_belongs_to_its_data_set(first, second, data):
    assert merge(first | {"train": {"data": "folder"}}, second)["train"].get("data") == data


# a run's settings


def test_settings_come_from_preset_data_set_and_recipe_in_this_order():
    assert resolve({"dataset": "vox"}) == ("vox", ModelConfig(), TrainConfig(repeats=75))
    recipe = {"preset": "compact", "dataset": "vox", "model": {"resolution": 128}, "train": {"repeats": 3}}
    _, model, train = resolve(recipe)
    assert (model.preset, model.width, model.resolution, train.lr, train.repeats) == ("compact", 16, 128, 1e-3, 3)
    with pytest.raises(InputError, match="data set"):
        resolve({})


@pytest.mark.parametrize("dataset", ["taichi", "bair", "vox"])
def test_released_values_for_bodies(dataset):
    _, model, train = resolve({"preset": "released", "dataset": dataset})
    body = dataset != "vox"
    assert model.threshold == model.threshold_train == (60 if body else 100) / 255
    assert train.perceptual_layers == ((1, 3, 5, 9, 13) if body else (1, 3, 5))
    assert train.scales == ((1, 2, 4, 8) if body else (1, 2, 4))
    assert (train.identities, train.repeats) == {"taichi": ("prefix", 150), "bair": ("file", 1)}.get(
        dataset, ("prefix", 75)
    )


def test_record_of_another_preset_is_refused():
    recipe = {"dataset": "toons", "model": {"preset": "compact", "width": 16, "max_channels": 256}}
    assert resolve(recipe)[1].preset == "compact"
    with pytest.raises(InputError, match="compact"):
        resolve({**recipe, "preset": "paper"})
