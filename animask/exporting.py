"""A model as one ONNX graph, for programs that run it without PyTorch."""

import importlib.util
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from animask.errors import InputError, MissingError
from animask.files import replacing
from animask.fusion import fuse
from animask.model import Animator
from animask.weights import find_weights, load_model

NEEDED = ("onnx", "onnxscript")  # by PyTorch's exporter
MOST_FRAMES = 4096  # of one call: the exporter wants a limit


class Drive(nn.Module):
    """Equations (1) to (4) as one function of two images."""

    def __init__(self, model: Animator) -> None:
        super().__init__()
        self.model = model

    def forward(self, source: Tensor, driver: Tensor) -> Tensor:
        """source: (1, 3, R, R), driver: (B, 3, R, R), float in [0, 1]; returns f, in the shape of driver."""
        return self.model.drive(source, self.model.m(source), driver).f


def export_onnx(weights: str, output: Path) -> None:
    """Write the fast form of a model in float32 as an ONNX file, with the metadata of the weights.

    Inputs `source` (1, 3, R, R) and `driver` (B, 3, R, R), output `frames` (B, 3, R, R): RGB in [0, 1]. Raises
    InputError if `output` exists or has another suffix, MissingError if the weights, or the packages that the
    exporter of PyTorch needs, are not there.
    """
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise MissingError(f"{' and '.join(missing)} cannot be imported", "in the checkout: pip install '.[onnx]'")
    if output.suffix.lower() != ".onnx":
        raise InputError(f"{output} does not end in .onnx", "choose a name such as model.onnx")
    with replacing(output, overwrite=False) as temporary:
        found = find_weights(weights)
        model, side = Drive(fuse(load_model(found))), found.config.resolution
        images = torch.zeros(1, 3, side, side), torch.zeros(3, 3, side, side)
        names: Any = {"input_names": ["source", "driver"], "output_names": ["frames"]}
        shapes = {"source": {}, "driver": {0: torch.export.Dim("frames", min=2, max=MOST_FRAMES)}}
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # what it says concerns other packages
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter, on itself
            graph = torch.onnx.export(model, images, dynamic_shapes=shapes, dynamo=True, verbose=False, **names)
        assert graph is not None, "exporting without a file gives a program"
        graph.model.metadata_props.update(found.metadata)
        graph.save(temporary)
