"""The fast form of a model answers as the plain one does."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from training_cases import noise

from animask.config import MODEL_PRESETS, ModelConfig
from animask.fusion import SpreadConv, fuse, transposed
from animask.images import to_tensor
from animask.metrics import l1
from animask.model import Animator
from animask.streaming import at_precision
from animask.toons import pose_at, render, sample_identity
from animask.weights import load_model

NETWORKS = {"m": (3, 1), "r": (5, 4), "l": (5, 4), "h": (8, 1)}  # input channels, divisor of the input's side
SMALL = {"width": 4, "max_channels": 16, "dilations": (1, 4), "mask_width": 2, "refiner_width": 4}
CONFIGS = {
    "tiny": MODEL_PRESETS["tiny"],
    "compact": replace(MODEL_PRESETS["compact"], resolution=128, **SMALL),
    "compact-64": replace(MODEL_PRESETS["compact"], resolution=64, blocks=3, mask_blocks=3, **SMALL),
    "released": replace(MODEL_PRESETS["released"], resolution=128, **SMALL),
    "released-64": replace(MODEL_PRESETS["released"], resolution=64, blocks=4, mask_blocks=4, **SMALL),
}


def lively(config: ModelConfig) -> Animator:
    """A model as training might leave one: statistics and weights of BatchNorm of either sign, outputs that vary."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = Animator(config).requires_grad_(False).eval()
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.3)
                layer.running_var.uniform_(0.3, 2)
                if layer.affine:
                    layer.weight.normal_(0, 1)
                    layer.bias.normal_(0.5, 0.5)  # or whole layers would be cut to zero
        example = torch.rand(1, 8, config.resolution, config.resolution)
        for name, (inputs, divisor) in NETWORKS.items():
            head, seen = getattr(model, name).head, []
            handle = head.register_forward_hook(lambda layer, x, y, seen=seen: seen.append(y))
            getattr(model, name)(example[:, :inputs, ::divisor, ::divisor])
            handle.remove()
            steep = config.temperature if name in "mr" else 1.0
            head.weight *= 2 * steep / seen[0].std()
            head.bias.copy_(-seen[0].mean() * 2 * steep / seen[0].std())
    return model


@pytest.mark.parametrize("name", CONFIGS)
def test_every_network_answers_the_same_borders_included(name):
    config = CONFIGS[name]
    model = lively(config)
    fast = fuse(model)
    for part, (inputs, divisor) in NETWORKS.items():
        x = noise(2, inputs, config.resolution // divisor, config.resolution // divisor)
        with torch.inference_mode():
            plain, quick = getattr(model, part)(x), getattr(fast, part)(x)
        assert plain.std() > 0.01, part  # what hardly varies cannot tell
        assert quick.shape == plain.shape
        assert (quick - plain).abs().max() <= 1e-4, part


def test_the_model_itself_stays_as_it_is():
    model = lively(CONFIGS["tiny"]).train()
    before = copy.deepcopy(model.state_dict())
    fast = fuse(model)
    assert model.training and not fast.training
    assert not any(p.requires_grad for p in fast.parameters())
    assert fast.config == model.config
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_blocks_are_rewritten_where_it_pays():
    """512 channels at 2×2 pixels are not worth 16 taps; the last block, of few channels at the full side, is."""
    decoder = fuse(Animator(replace(MODEL_PRESETS["compact"], width=32, max_channels=512))).m.body.decoder
    kinds = [any(isinstance(layer, nn.ConvTranspose2d) for layer in block) for block in decoder]
    assert kinds[0] is False and kinds[-1] is True
    assert kinds == sorted(kinds)


def test_up_sampling_and_convolution_by_hand():
    """One pixel of value 1, taps 1 to 9: the four copies of the pixel see the sums of the taps that reach them."""
    conv = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    conv.weight = nn.Parameter(torch.arange(1.0, 10.0).view(1, 1, 3, 3), requires_grad=False)
    one = torch.ones(1, 1, 1, 1)
    # up-sampled: 2×2 ones; the upper left one meets taps 5, 6, 8, 9, the upper right one 4, 5, 7, 8, and so on
    assert transposed(conv)(one).tolist() == [[[[28.0, 24.0], [16.0, 12.0]]]]


@pytest.mark.parametrize(("outputs", "side", "stride"), [(1, 8, 4), (1, 6, 2), (3, 8, 2), (3, 5, 1), (5, 8, 4)])
def test_spread_convolution_equals_the_convolution(outputs, side, stride):
    conv = nn.Conv2d(2, outputs, 7, padding=3).requires_grad_(False)
    wide = SpreadConv(conv, side)
    x = noise(1, 2, side, side)
    assert wide.stride == (stride, stride)
    torch.testing.assert_close(wide(x), conv(x), atol=1e-5, rtol=1e-5)


def test_bfloat16_pictures_look_the_same():
    model = load_model()  # random networks multiply any difference
    fast = at_precision(fuse(model), "bf16")
    shown = [(1, 0.0), (2, 0.0), (2, 0.7), (2, 1.4)]
    pictures = [render(sample_identity(who), pose_at(who, time), model.config.resolution) for who, time in shown]
    s, d = to_tensor(pictures, "cpu").split((1, 3))
    with torch.inference_mode():
        plain, quick = model.drive(s, model.m(s), d).f, fast.drive(s, fast.m(s), d).f
    assert plain.std() > 0.1
    assert l1(quick, plain).mean() <= 1 / 255
    assert -10 * ((quick - plain) ** 2).mean().log10() >= 40
