"""`animask eval`: weights and a data set to the paper's metrics."""

import sys
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from animask.cli.animate import METHOD, Device, Precision, Scale, Threshold, Weights
from animask.cli.screen import progress_bar, say, show_result

if TYPE_CHECKING:
    from animask.cases import Progress, Settings

Protocol = StrEnum("Protocol", ["reconstruction", "animation"])
Ablation = StrEnum("Ablation", ["no_pert", "no_ref", "no_id"])
DATA, OUTPUT, OTHERS = "Data", "What comes out", "Other methods"


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


KNOWN = "Several of l1 psnr ssim lpips akd mkr aed csim; default: l1 akd."
WHERE = "Where the data set is, else $ANIMASK_DATA/NAME."
FEWER = "Frames a video; default: all, toons: 16."
EACH = "reconstruction: each video from itself; animation: by another identity."
STEPS = "Rows without P_test, r or both."
FASTER = "bf16 is faster and moves the third digit; auto: where fast."
MADE = "What another method made of --list: a further row."
Predictions = Annotated[
    list[str] | None,
    Option(metavar="NAME=FOLDER", help=MADE, callback=read_predictions, rich_help_panel=OTHERS, show_default=False),
]
Ablations = Annotated[
    list[Ablation] | None, Option("--ablation", help=STEPS, rich_help_panel=METHOD, show_default=False)
]
LIST = "Write sources, drivers, list.csv; stop."
BLIND = "Write a blind study page; stop."
Study = Annotated[Path | None, Option(metavar="OUT.html", help=BLIND, callback=check_page, rich_help_panel=OTHERS)]
COUNT = "Count what the study page saved; stop."
PAGE = "One HTML page: table, pictures."
Report = Annotated[Path | None, Option(help=PAGE, callback=check_page, rich_help_panel=OUTPUT)]


def evaluate(
    context: typer.Context,
    metrics: Annotated[list[str] | None, Option(help=KNOWN, show_default=False)] = None,
    dataset: Annotated[str, Option(help="toons, vox, taichi, bair or a folder.", rich_help_panel=DATA)] = "toons",
    data: Annotated[Path | None, Option(help=WHERE, rich_help_panel=DATA)] = None,
    limit: Annotated[int | None, Option(min=1, help="Videos; default: all, toons: 20.", rich_help_panel=DATA)] = None,
    frames: Annotated[int | None, Option(min=2, help=FEWER, rich_help_panel=DATA)] = None,
    weights: Weights = "portrait",
    protocol: Annotated[Protocol, Option(help=EACH)] = Protocol.reconstruction,
    ablations: Ablations = None,
    threshold: Threshold = None,
    scale: Scale = None,
    device: Device = "auto",
    precision: Annotated[Precision, Option(help=FASTER)] = Precision.fp32,
    batch: Annotated[int, Option(min=1, max=1024, help="Driver frames at a time.")] = 8,
    predictions: Predictions = None,
    list_folder: Annotated[Path | None, Option("--list", metavar="FOLDER", help=LIST, rich_help_panel=OTHERS)] = None,
    study: Study = None,
    answers: Annotated[list[Path] | None, Option(metavar="FILES", help=COUNT, rich_help_panel=OTHERS)] = None,
    report: Report = None,
    quiet: Annotated[bool, Option("-q", "--quiet", help="No progress, no table.", rich_help_panel=OUTPUT)] = False,
    as_json: Annotated[bool, Option("--json", help="Print the result as JSON.", rich_help_panel=OUTPUT)] = False,
) -> None:
    """Measure weights, and what other methods made, on a data set.

    [bold]Examples[/bold]

    animask eval --metrics l1 lpips akd

    animask eval --protocol animation --ablation no_pert no_ref no_id --metrics l1 lpips akd mkr --report eval.html
    """
    if answers:
        count(answers, dataset, as_json)
        return
    from animask.cases import Settings, list_cases
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
