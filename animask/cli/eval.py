"""`animask eval`: weights and a data set to the paper's metrics."""

import sys
from dataclasses import fields
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from animask.cli.animate import Device, Precision, Scale, Threshold, Weights, method
from animask.cli.screen import progress_bar, say, show_result

if TYPE_CHECKING:
    from animask.protocol import Progress, Settings

Protocol = StrEnum("Protocol", ["reconstruction", "animation"])
Ablation = StrEnum("Ablation", ["no_pert", "no_ref", "no_id"])


def read_predictions(texts: list[str] | None) -> list[tuple[str, Path]]:
    """NAME=FOLDER, once or more."""
    pairs = [text.partition("=")[::2] for text in texts or []]
    if not all(name and folder for name, folder in pairs) or len({name for name, _ in pairs}) < len(pairs):
        raise typer.BadParameter("give NAME=FOLDER, each NAME once")
    return [(name, Path(folder)) for name, folder in pairs]


def check_page(path: Path | None) -> Path | None:
    """The path of a page, whose name must say that it is HTML."""
    if path and path.suffix.lower() not in (".html", ".htm"):
        raise typer.BadParameter("the page is HTML: name it .html")
    return path


HEADINGS = ("Data", "Other methods", "What comes out")
of_data, other, written = (partial(Option, rich_help_panel=heading) for heading in HEADINGS)
METRICS = "Several of l1 psnr ssim lpips akd mkr aed csim; default: l1 akd."
PROTOCOL = "reconstruction: each video from itself; animation: by another identity."
FASTER = "bf16 is faster and moves the third digit; auto: where fast."
MADE = "What another method made of --list: a further row."
LIST = "Write sources, drivers, list.csv; stop."
STUDY = "Write a blind study page; stop."


def evaluate(
    context: typer.Context,
    metrics: Annotated[list[str] | None, Option(help=METRICS)] = None,
    dataset: Annotated[str, of_data(help="toons, vox, taichi, bair or a folder.")] = "toons",
    data: Annotated[Path | None, of_data(help="Where the data set is, else $ANIMASK_DATA/NAME.")] = None,
    limit: Annotated[int | None, of_data(min=1, help="Videos; default: all, toons: 20.")] = None,
    frames: Annotated[int | None, of_data(min=2, help="Frames a video; default: all, toons: 16.")] = None,
    weights: Weights = "portrait",
    protocol: Annotated[Protocol, Option(help=PROTOCOL)] = Protocol.reconstruction,
    ablations: Annotated[list[Ablation] | None, method("--ablation", help="Rows without P_test, r or both.")] = None,
    threshold: Threshold = None,
    scale: Scale = None,
    device: Device = "auto",
    precision: Annotated[Precision, Option(help=FASTER)] = Precision.fp32,
    batch: Annotated[int, Option(min=1, max=1024, help="Driver frames at a time.")] = 8,
    predictions: Annotated[list[str] | None, other(metavar="NAME=FOLDER", help=MADE, callback=read_predictions)] = None,
    list_folder: Annotated[Path | None, other("--list", metavar="FOLDER", help=LIST)] = None,
    study: Annotated[Path | None, other(metavar="OUT.html", help=STUDY, callback=check_page)] = None,
    answers: Annotated[list[Path] | None, other(metavar="FILES", help="Count what the study page saved; stop.")] = None,
    report: Annotated[Path | None, written(help="One HTML page: table, pictures.", callback=check_page)] = None,
    quiet: Annotated[bool, written("-q", "--quiet", help="No progress, no table.")] = False,
    as_json: Annotated[bool, written("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure weights, and what other methods made, on a data set.

    [bold]Examples[/bold]

    animask eval --metrics l1 lpips akd

    animask eval --protocol animation --ablation no_pert no_ref no_id --metrics l1 lpips akd mkr --report eval.html
    """
    if answers:
        count(answers, dataset, as_json)
        return
    from animask.protocol import Settings, list_cases
    from animask.study import write_study

    given = {field.name: context.params[field.name] for field in fields(Settings)}
    lists = {"metrics": tuple(dict.fromkeys(metrics or Settings.metrics)), "ablations": tuple(ablations or ())}
    settings = Settings(**given | lists | {"predictions": tuple(predictions or ())})
    with progress_bar("evaluating", "videos", quiet) as progress:
        if list_folder:
            print(list_cases(settings, list_folder, progress))
        elif study:
            print(write_study(settings, study, progress))
        else:
            measure(settings, progress, quiet, as_json)


def measure(settings: "Settings", progress: "Progress", quiet: bool, as_json: bool) -> None:
    """Evaluate, and show the protocol, the table and what else there is to say. Exit code 1 where a video failed."""
    from animask.evaluation import evaluate as evaluate_settings
    from animask.evaluation import sum_up, tabulate

    result = evaluate_settings(settings, progress)
    if not quiet:
        for name, value in (result.protocol | result.metrics).items():
            say(f"{name}: {value}")
        for network in result.networks:
            say(f"network: {network['network']}, {network['file']}, sha256 {network['sha256'][:16]}")
        draw(tabulate(result))
        say("\n".join(sum_up(result)))
    if settings.report or as_json:
        show_result(result, str(settings.report), as_json)
    sys.exit(1 if result.failed else 0)


def count(answers: list[Path], dataset: str, as_json: bool) -> None:
    """What the answers of a study say, with the paper's votes (table 3) where its data set is named."""
    from animask.study import METHODS, VOTES, count_answers

    found = count_answers(answers)
    if as_json:
        show_result(found, "", True)
    rows = [["", "question", "votes", "share", "95 %"]]
    for question, votes in found.items():
        for name, v in votes.items():
            rows.append([name, question, f"{v.chosen} of {v.answers}", f"{v.share:.2f}", f"{v.low:.2f}-{v.high:.2f}"])
        for name, share in zip(METHODS, VOTES.get((question, dataset), ()), strict=False):
            rows.append([f"{name} (published)", question, "", f"{share:.2f}", ""])
    draw(rows)


def draw(rows: list[list[str]]) -> None:
    """A table on stderr, its columns but the first one to the right; the first row is its head."""
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = [
        "  ".join([name.ljust(first), *(text.rjust(width) for text, width in zip(texts, widths, strict=True))])
        for name, *texts in rows
    ]
    say("\n".join(["", lines[0], "─" * len(lines[0]), *lines[1:], ""]))
