"""`animask eval`: weights and a data set to the paper's metrics."""

import math
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from animask.cli.animate import METHOD, Device, Precision, Weights, read_threshold
from animask.cli.screen import progress_bar, say, show_result

if TYPE_CHECKING:
    from rich.table import Table

    from animask.evaluation import Result, Settings

Protocol = StrEnum("Protocol", ["reconstruction", "animation"])
Ablation = StrEnum("Ablation", ["no_pert", "no_ref", "no_id"])
Detectors = StrEnum("Detectors", ["auto", "toons", "faces", "bodies"])
DATA, OUTPUT = "Data", "What comes out"


def read_thresholds(texts: list[str] | None) -> list[float | str]:
    """ρ of P_test, once or more."""
    return [read_threshold(text) for text in texts or []]


Metrics = Annotated[
    list[str] | None,
    typer.Option(help="Several of l1 psnr ssim lpips akd mkr aed csim leak; default: l1 akd.", show_default=False),
]
Dataset = Annotated[str, typer.Option(help="toons, vox, taichi, bair or a folder.", rich_help_panel=DATA)]
Data = Annotated[
    Path | None, typer.Option(help="Where the data set is, else $ANIMASK_DATA/NAME.", rich_help_panel=DATA)
]
ProtocolOption = Annotated[
    Protocol, typer.Option(help="reconstruction: each video from itself; animation: by another identity.")
]
Ablations = Annotated[
    list[Ablation] | None,
    typer.Option(help="Rows without P_test, r or both.", rich_help_panel=METHOD, show_default=False),
]
Thresholds = Annotated[
    list[str] | None,
    typer.Option(
        help="ρ of P_test, median or numbers; a row for each.",
        callback=read_thresholds,
        rich_help_panel=METHOD,
        show_default=False,
    ),
]
Scales = Annotated[
    list[float] | None,
    typer.Option(
        min=0.05, max=2.0, help="Scale of P_test; a row for each.", rich_help_panel=METHOD, show_default=False
    ),
]
Pairs = Annotated[
    Path | None,
    typer.Option(help="CSV with the columns source and driver; a clip may drive itself.", rich_help_panel=DATA),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Videos; default: all, toons: 20.", rich_help_panel=DATA)]
Frames = Annotated[
    int | None, typer.Option(min=2, help="Frames a video; default: all, toons: 16.", rich_help_panel=DATA)
]
DetectorsOption = Annotated[
    Detectors, typer.Option(help="Networks for akd mkr aed csim leak; auto: by the data set.", rich_help_panel=DATA)
]
PrecisionOption = Annotated[Precision, typer.Option(help="bf16 is faster and moves the third digit; auto: where fast.")]
Batch = Annotated[int, typer.Option(min=1, max=1024, help="Driver frames at a time.")]
Lines = Annotated[
    Path | None,
    typer.Option("--jsonl", "--out", help="Results of each video as they come; goes on.", rich_help_panel=OUTPUT),
]
Page = Annotated[
    Path | None, typer.Option("--report", help="One HTML page: table, plots, pictures.", rich_help_panel=OUTPUT)
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress, no table.", rich_help_panel=OUTPUT)]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.", rich_help_panel=OUTPUT)]


def evaluate(
    context: typer.Context,
    metrics: Metrics = None,
    dataset: Dataset = "toons",
    data: Data = None,
    limit: Limit = None,
    frames: Frames = None,
    pairs: Pairs = None,
    detectors: DetectorsOption = Detectors.auto,
    weights: Weights = "portrait",
    protocol: ProtocolOption = Protocol.reconstruction,
    ablation: Ablations = None,
    threshold: Thresholds = None,
    scale: Scales = None,
    device: Device = "auto",
    precision: PrecisionOption = Precision.fp32,
    batch: Batch = 8,
    jsonl: Lines = None,
    report: Page = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure weights on a data set. Several processes: torchrun --nproc-per-node 4 -m animask eval ...

    [bold]Examples[/bold]

    animask eval --metrics l1 akd

    animask eval --protocol animation --ablation no_pert no_ref no_id --metrics l1 ssim akd csim leak --report eval.html
    """
    if report and report.suffix.lower() not in (".html", ".htm"):
        raise typer.BadParameter("the page is HTML: name it .html", param_hint="--report")
    measure(read_settings(context.params), quiet, as_json)


def read_settings(flags: dict[str, Any]) -> "Settings":
    """The settings that the flags name."""
    from animask.evaluation import Settings

    same = ("dataset", "data", "limit", "frames", "pairs", "weights", "device", "batch", "jsonl", "report")
    values = {name: flags[name] for name in same}
    values |= {name: flags[name].value for name in ("detectors", "protocol", "precision")}
    if flags["metrics"]:
        values["metrics"] = tuple(dict.fromkeys(flags["metrics"]))
    values["ablations"] = tuple(dict.fromkeys(item.value for item in flags["ablation"] or ()))
    values["thresholds"] = tuple(dict.fromkeys(flags["threshold"] or (None,)))
    values["scales"] = tuple(dict.fromkeys(flags["scale"] or (None,)))
    return Settings(**values)


def measure(settings: "Settings", quiet: bool, as_json: bool) -> None:
    """Evaluate, alone or as one of the processes of torchrun, the first of which talks and prints the result."""
    from dataclasses import replace

    from animask.evaluation import evaluate as evaluate_settings
    from animask.evaluation import to_json
    from animask.training.ranks import join

    ranks = join(settings.device)
    settings = replace(settings, device=str(ranks.device))
    at = (0, 0)
    try:
        with progress_bar("evaluating", "videos", quiet or not ranks.leads) as show:

            def progress(done: int, total: int) -> None:
                nonlocal at
                at = done, total
                if show:
                    show(done, total)

            result = evaluate_settings(settings, progress)
    except KeyboardInterrupt:
        kept = f"{settings.jsonl} keeps them; the same command goes on" if settings.jsonl else "--jsonl would keep them"
        say(f"animask: interrupted at video {at[0]} of {at[1]}; {kept}")
        sys.exit(130)
    finally:
        ranks.leave()
    if ranks.leads:
        if not quiet:
            describe(result)
        path = settings.report or settings.jsonl
        if path or as_json:
            show_result(to_json(result), str(path), as_json)
        sys.exit(1 if result.failed else 0)


def describe(result: "Result") -> None:
    """The protocol, the table and what else there is to say, for people."""
    from rich.console import Console

    from animask.evaluation import sum_up

    for name, value in result.protocol.items():
        if isinstance(value, str | int):
            say(f"{name}: {value}")
    for variant, setting in result.protocol["p_test"].items():
        say(f"P_test, {variant}: {setting}")
    for metric, meaning in result.protocol["metrics"].items():
        say(f"{metric}: {meaning}")
    for network in result.protocol["networks"]:
        say(f"network: {network['network']}, {network['file']}, sha256 {network['sha256'][:16]}")
    console = Console(stderr=True)
    for table in draw(result, console.width):
        console.print("", table)
    for text in (result.note, *sum_up(result.comparisons), result.claim):
        if text:
            say(text)
    for name, reason in result.failed.items():
        say(f"left out: {name}: {reason}")
    pace = result.seconds_per_1000_frames
    speed = f", {pace:.0f} s per 1,000" if math.isfinite(pace) else ""
    say(f"{len(result.videos)} videos, {result.frames} driven frames, {result.seconds:.1f} s{speed}")


def draw(result: "Result", width: int) -> Iterator["Table"]:
    """Our variants as rows, then the published methods; metrics as columns, in as many tables as the width asks for.

    width: in characters.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from animask.evaluation import tabulate

    heads, ours, theirs = tabulate(result)
    names = max(map(len, (*ours, *theirs)))
    columns = zip(heads, *ours.values(), *theirs.values(), strict=True)
    for part in fold([max(map(len, texts)) for texts in columns], width - names):
        table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
        table.add_column("", overflow="fold")
        for head in heads[part]:
            table.add_column(head, justify="right", no_wrap=True)
        for rows in (ours, theirs):
            for name, texts in rows.items():
                table.add_row(name, *texts[part])
            table.add_section()
        yield table


def fold(widths: list[int], room: int) -> Iterator[slice]:
    """Runs of columns of these widths, two characters apart, that fit into so many characters; at least one each."""
    start, used = 0, 0
    for number, width in enumerate(widths):
        if number > start and used + 2 + width > room:
            yield slice(start, number)
            start, used = number, 0
        used += 2 + width
    yield slice(start, len(widths))
