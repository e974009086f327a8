"""`animask eval`: weights and a data set to the paper's metrics."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from animask.cli.animate import METHOD, Device, Precision, Scale, Threshold, Weights
from animask.cli.screen import progress_bar, say, show_result

if TYPE_CHECKING:
    from animask.evaluation import Progress
    from animask.protocols import Settings

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


KNOWN = "Several of l1 psnr ssim lpips akd mkr aed csim leak; default: l1 akd."
Metrics = Annotated[list[str] | None, Option(help=KNOWN, show_default=False)]
Dataset = Annotated[str, Option(help="toons, vox, taichi, bair or a folder.", rich_help_panel=DATA)]
Data = Annotated[Path | None, Option(help="Where the data set is, else $ANIMASK_DATA/NAME.", rich_help_panel=DATA)]
ProtocolOption = Annotated[
    Protocol, Option(help="reconstruction: each video from itself; animation: by another identity.")
]
STEPS = "Rows without P_test, r or both."
Ablations = Annotated[list[Ablation] | None, Option(help=STEPS, rich_help_panel=METHOD, show_default=False)]
PAIRS = "CSV with the columns source and driver; a clip may drive itself."
Pairs = Annotated[Path | None, Option(help=PAIRS, rich_help_panel=DATA)]
Limit = Annotated[int | None, Option(min=1, help="Videos; default: all, toons: 20.", rich_help_panel=DATA)]
Frames = Annotated[int | None, Option(min=2, help="Frames a video; default: all, toons: 16.", rich_help_panel=DATA)]
PrecisionOption = Annotated[Precision, Option(help="bf16 is faster and moves the third digit; auto: where fast.")]
Batch = Annotated[int, Option(min=1, max=1024, help="Driver frames at a time.")]
PAGE = "One HTML page: table, pictures."
Page = Annotated[Path | None, Option("--report", help=PAGE, callback=check_page, rich_help_panel=OUTPUT)]
Quiet = Annotated[bool, Option("-q", "--quiet", help="No progress, no table.", rich_help_panel=OUTPUT)]
Json = Annotated[bool, Option("--json", help="Print the result as JSON.", rich_help_panel=OUTPUT)]
Predictions = Annotated[
    list[str] | None,
    Option(
        metavar="NAME=FOLDER",
        help="What another method made of --list: a further row.",
        callback=read_predictions,
        rich_help_panel=OTHERS,
        show_default=False,
    ),
]
LIST = "Write sources, drivers, list.csv; stop."
ListFolder = Annotated[Path | None, Option("--list", metavar="FOLDER", help=LIST, rich_help_panel=OTHERS)]
BLIND = "Write a blind study page; stop."
Study = Annotated[Path | None, Option(metavar="OUT.html", help=BLIND, callback=check_page, rich_help_panel=OTHERS)]
COUNT = "Count what the study page saved; stop."
Answers = Annotated[list[Path] | None, Option(metavar="FILES", help=COUNT, rich_help_panel=OTHERS)]


def evaluate(
    metrics: Metrics = None,
    dataset: Dataset = "toons",
    data: Data = None,
    limit: Limit = None,
    frames: Frames = None,
    pairs: Pairs = None,
    weights: Weights = "portrait",
    protocol: ProtocolOption = Protocol.reconstruction,
    ablation: Ablations = None,
    threshold: Threshold = None,
    scale: Scale = None,
    device: Device = "auto",
    precision: PrecisionOption = Precision.fp32,
    batch: Batch = 8,
    predictions: Predictions = None,
    list_folder: ListFolder = None,
    study: Study = None,
    answers: Answers = None,
    report: Page = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure weights, and what other methods made, on a data set.

    [bold]Examples[/bold]

    animask eval --metrics l1 lpips akd

    animask eval --protocol animation --ablation no_pert no_ref no_id --metrics l1 lpips akd mkr --report eval.html
    """
    if answers:
        count(answers, dataset, as_json)
        return
    from animask.comparison import list_cases, write_study
    from animask.protocols import Settings

    settings = Settings(
        metrics=tuple(dict.fromkeys(metrics or Settings.metrics)),
        dataset=dataset,
        data=data,
        weights=weights,
        protocol=protocol.value,
        ablations=tuple(dict.fromkeys(item.value for item in ablation or ())),
        threshold=threshold,
        scale=scale,
        predictions=tuple(predictions or ()),  # type: ignore[arg-type]  # read_predictions made pairs of them
        pairs=pairs,
        limit=limit,
        frames=frames,
        batch=batch,
        device=device,
        precision=precision.value,
        report=report,
    )
    with progress_bar("evaluating", "videos", quiet) as progress:
        if list_folder:
            print(list_cases(settings, list_folder, progress))
        elif study:
            print(write_study(settings, study, progress))
        else:
            measure(settings, progress, quiet, as_json)


def measure(settings: "Settings", progress: "Progress | None", quiet: bool, as_json: bool) -> None:
    """Evaluate, and show the protocol, the table and what else there is to say. Exit code 1 where a video failed."""
    from animask.evaluation import evaluate as evaluate_settings
    from animask.results import sum_up, tabulate, to_json

    result = evaluate_settings(settings, progress)
    if not quiet:
        for name, value in (result.protocol | result.metrics).items():
            say(f"{name}: {value}")
        for network in result.networks:
            say(f"network: {network['network']}, {network['file']}, sha256 {network['sha256'][:16]}")
        draw(tabulate(result))
        say("\n".join(sum_up(result)))
    if settings.report or as_json:
        show_result(to_json(result), str(settings.report), as_json)
    sys.exit(1 if result.failed else 0)


def count(answers: list[Path], dataset: str, as_json: bool) -> None:
    """What the answers of a study say, with the paper's votes (table 3) where its data set is named."""
    from animask.comparison import VOTES, count_answers
    from animask.results import METHODS, to_json

    found = count_answers(answers)
    if as_json:
        show_result(to_json(found), "", True)
    rows = [["", "question", "votes", "share", "95 %"]]
    for question, votes in found.items():
        rows += [
            [name, question, f"{v.chosen} of {v.answers}", f"{v.share:.2f}", f"{v.low:.2f}-{v.high:.2f}"]
            for name, v in votes.items()
        ]
        if (question, dataset) in VOTES:
            shares = zip(METHODS, VOTES[question, dataset], strict=True)
            rows += [[f"{name} (published)", question, "", f"{share:.2f}", ""] for name, share in shares]
    draw(rows)


def draw(rows: list[list[str]]) -> None:
    """A table on stderr, its columns but the first one to the right; the first row is its head."""
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = [
        "  ".join([name.ljust(first), *(text.rjust(width) for text, width in zip(texts, widths, strict=True))])
        for name, *texts in rows
    ]
    say("\n".join(["", lines[0], "─" * len(lines[0]), *lines[1:], ""]))
