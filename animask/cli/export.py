"""`animask export`: a model for programs without PyTorch."""

from pathlib import Path
from typing import Annotated

from typer import Argument

from animask.cli.animate import Weights
from animask.cli.screen import show_result


def export(
    output: Annotated[Path, Argument(help="The ONNX file to write.", metavar="OUT.onnx")], weights: Weights = "portrait"
) -> None:
    """Write a model as one ONNX graph: source and driver frames in, animated frames out.

    [bold]Examples[/bold]

    animask export portrait.onnx

    animask export mine.onnx --weights runs/mine/weights.safetensors
    """
    from animask.fusion import export_onnx

    export_onnx(weights, output)
    show_result("", str(output), as_json=False)
