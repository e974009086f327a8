"""`evaluate`: settings to scores; video by video, on one process or on those that torchrun started."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import torch
from torch import distributed

from animask.animation import Settings as AnimationSettings
from animask.animation import device_of, encode_source, open_model
from animask.errors import AnimaskError
from animask.evaluation.description import describe
from animask.evaluation.protocols import Case, Settings, plan
from animask.evaluation.published import published
from animask.evaluation.report import write_report
from animask.evaluation.results import Journal, Record, Result, Values, compare, judge, total
from animask.evaluation.scoring import Scorer, check_metrics
from animask.evaluation.variants import COPY, Variant, drive, make_variants
from animask.images import to_tensor
from animask.model import Animator

Progress = Callable[[int, int], None]


class Bench(NamedTuple):
    """What every video of an evaluation meets; batch: driver frames at a time."""

    model: Animator
    variants: list[Variant]
    scorer: Scorer
    batch: int


@torch.inference_mode()
def evaluate_case(bench: Bench, case: Case) -> Record:
    """All values of one video; AnimaskError or OSError where it cannot be read or driven."""
    model, variants, scorer, batch = bench
    picture, shots = case.open(model.config.resolution)
    source = encode_source(model, picture)
    copy = scorer.see(source.s)
    names = (*(variant.name for variant in variants), COPY)
    values: Values = {name: {metric: [] for metric in scorer.metrics} for name in names}
    frames = 0
    while chunk := list(islice(shots, batch)):
        d = to_tensor([shot.driver for shot in chunk], source.s.device)
        truths = [shot.truth for shot in chunk if shot.truth is not None]
        truth, driver = scorer.target(copy, d, to_tensor(truths, source.s.device) if truths else None)
        m_d = model.m(d)  # once for all variants
        outputs = {variant.name: scorer.see(drive(model, variant, source, m_d).f) for variant in variants}
        for name, output in (outputs | {COPY: copy.repeat(len(chunk))}).items():
            for metric, numbers in scorer.score(output, truth, driver).items():
                values[name][metric] += numbers
        frames += len(chunk)
    if not frames:
        raise AnimaskError(f"{case.name} has no frame to drive with")
    return Record(case.name, frames, values)


def attempt(bench: Bench, case: Case) -> Record:
    """The values of one video, or why there are none."""
    try:
        return evaluate_case(bench, case)
    except (AnimaskError, OSError) as error:
        return Record(case.name, 0, {}, str(error))


def evaluate(settings: Settings, progress: Progress | None = None) -> Result:
    """The metrics of some weights on a data set; where torch.distributed is set up, each process does its share.

    progress(done, total) counts the videos of this process. A video that cannot be read is left out and named in
    the result. Raises InputError for settings or data that do not fit, MissingError for weights or networks that
    are not there, AnimaskError if no video could be evaluated.
    """
    started = time.monotonic()
    check_metrics(settings)
    cases, variants = plan(settings), make_variants(settings)
    opened = AnimationSettings(settings.weights, device=settings.device, precision=settings.precision)
    model, device, precision = open_model(opened)
    bench = Bench(model, variants, Scorer(settings, device_of(model)), settings.batch)
    protocol = describe(settings, variants, model.config, bench.scorer, f"{device}, {precision}")
    journal = Journal(settings.jsonl, protocol)
    made = run(bench, [case for case in cases if case.name not in journal.done], journal, progress)
    records = journal.done | {record.video: record for record in made}
    result = summarise(settings, bench, protocol, [records[case.name] for case in cases])
    if any(case.source == case.driver for case in cases):
        result = replace(result, claim="")  # the claim is about identities that differ
    result = result.timed(time.monotonic() - started, sum(record.frames for record in made))
    if settings.report and place()[0] == 0:
        write_report(settings.report, result, model, variants, cases)
    return result


def run(bench: Bench, cases: list[Case], journal: Journal, progress: Progress | None) -> list[Record]:
    """The records of all cases, made by all processes and kept in the journal."""
    rank, world = place()
    wait()  # until all have read what earlier runs left
    if rank == 0:
        journal.write(journal.done.values())
    wait()
    own = cases[rank::world]
    made: list[Record] = []
    for case in own:
        made.append(attempt(bench, case))
        journal.add(made[-1], rank)
        if progress:
            progress(len(made), len(own))
    made = gather(made)
    if rank == 0:
        journal.write([*journal.done.values(), *(record for record in made if not record.error)])
    return made


def summarise(settings: Settings, bench: Bench, protocol: dict[str, object], records: list[Record]) -> Result:
    """The totals of the records, of those that failed only the reasons."""
    failed = {record.video: record.error for record in records if record.error}
    good = [record for record in records if not record.error]
    if not good:
        raise AnimaskError(f"no video could be evaluated; the first: {next(iter(failed.values()))}")
    higher = {name: metric.higher for name, metric in bench.scorer.metrics.items()}
    comparisons = compare(good, bench.variants[0].name, list(settings.ablations), higher)
    return Result(
        protocol=protocol,
        variants=total(good),
        published=published(settings.dataset, settings.protocol),
        comparisons=comparisons,
        claim=judge(comparisons),
        videos=[{"name": record.video, "frames": record.frames, "variants": total([record])} for record in good],
        failed=failed,
        frames=sum(record.frames for record in good),
        seconds=math.nan,
        seconds_per_1000_frames=math.nan,
    )


def place() -> tuple[int, int]:
    """The number of this process and of all: 0 and 1 where torch.distributed is not set up."""
    if not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def wait() -> None:
    """Until all processes are here."""
    if distributed.is_initialized():
        distributed.barrier()


def gather(records: list[Record]) -> list[Record]:
    """The records of all processes, on all of them."""
    if not distributed.is_initialized():
        return records
    found: list[list[Record]] = [[] for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(found, records)
    return [record for part in found for record in part]
