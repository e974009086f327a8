"""The command line. Commands turn flags into settings, call one public function and print; torch loads inside them."""

import signal
import sys
from typing import Annotated

import typer
from typer import Option

from animask.cli.animate import animate
from animask.cli.bench import bench
from animask.cli.eval import evaluate
from animask.cli.export import export
from animask.cli.info import info
from animask.cli.prepare import prepare
from animask.cli.screen import explain, show_error
from animask.cli.train import train
from animask.errors import AnimaskError

LISTS = ("--metrics", "--ablation", "--predictions", "--answers")  # of eval: they take several values after one flag

app = typer.Typer(
    name="animask",
    help="Animate a still picture with the motion of a video (Image Animation with Perturbed Masks, CVPR 2022).",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(animate)
app.command()(train)
app.command("eval")(evaluate)
app.command()(prepare)
app.command()(bench)
app.command()(export)
app.command()(info)


def show_version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        from importlib.metadata import version

        print(version("animask"))
        raise typer.Exit


@app.callback()
def callback(
    version: Annotated[
        bool, Option("--version", help="Show the version.", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    """Options before the command."""


def spread_lists(arguments: list[str]) -> list[str]:
    """`eval --metrics l1 akd` and `--metrics l1,akd` as `--metrics l1 --metrics akd`, which the parser understands."""
    if "eval" not in arguments[:1]:
        return arguments
    result: list[str] = []
    flag = ""
    for argument in arguments:
        values = argument
        if argument.startswith("-"):
            name, _, values = argument.partition("=")
            flag = name if name in LISTS else ""
        result += [item for value in values.split(",") if value for item in (flag, value)] if flag else [argument]
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns or exits with the exit code: 0, 1 failed, 2 usage or input, 3 missing, 130."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # like Ctrl-C: nothing half-written is left
    try:
        app(spread_lists(sys.argv[1:] if arguments is None else arguments))
    except (AnimaskError, OSError, MemoryError) as error:
        if isinstance(error, OSError) and error.strerror is None:
            raise
        known = error if isinstance(error, AnimaskError) else explain(error)
        show_error(known)
        sys.exit(known.exit_code)
    return 0
