"""Many jobs: one picture after the other with one model, or a list of pairs; a failure stops nothing else."""

import csv
import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from animask.animation import Job, Progress, Report, Session, Settings, animate_file, is_there
from animask.errors import AnimaskError, InputError
from animask.files import read_text

log = logging.getLogger(__name__)

SUFFIX = ".mp4"  # of outputs that only a folder is given for


@dataclass(frozen=True)
class Failure:
    """A job that failed, and why; the exit code that it would have had alone."""

    source: str
    driver: str
    output: str
    error: str
    hint: str
    exit_code: int


@dataclass(frozen=True)
class Summary:
    """What became of many jobs: reports of those done, outputs that were there already, and failures."""

    made: list[Report] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)


def list_jobs(sources: Sequence[Path], driver: Path, folder: Path) -> list[Job]:
    """One job a source, into `folder`: NAME.mp4 of the source NAME.png, NAME-2.mp4 for the second of that name."""
    jobs: list[Job] = []
    taken: set[str] = set()
    for source in sources:
        name, number = source.stem, 1
        while name.lower() in taken:  # some file systems take a.mp4 and A.mp4 for the same
            number += 1
            name = f"{source.stem}-{number}"
        taken.add(name.lower())
        jobs.append(Job(source, driver, folder / f"{name}{SUFFIX}"))
    return jobs


def read_pairs(path: Path, folder: Path | None = None) -> list[Job]:
    """The jobs in a CSV with the columns source, driver and, if there, output.

    Sources and drivers are paths as on the command line; outputs lie in `folder`, if given. Without an output, it is
    SOURCE--DRIVER.mp4. Raises InputError for a file that is no such CSV, or would write elsewhere, with the line.
    """
    reader = csv.DictReader(read_text(path).splitlines(), strict=True)
    jobs = []
    try:
        if not {"source", "driver"} <= set(reader.fieldnames or ()):
            raise InputError(f"{path} is no list of pairs.", "Its columns are source,driver,output.")
        for row in reader:
            source, driver = Path(row["source"] or ""), Path(row["driver"] or "")
            output = Path(row.get("output") or f"{source.stem}--{driver.stem}{SUFFIX}")
            if not source.name or not driver.name or "\0" in f"{source}{driver}{output}":
                raise InputError(f"{path}, line {reader.line_num}, names no source or no driver.")
            if folder is not None and (output.is_absolute() or ".." in output.parts):
                raise InputError(f"{path}, line {reader.line_num}: the output {output} does not lie in {folder}.")
            jobs.append(Job(source, driver, output if folder is None else folder / output))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}, is no CSV: {error}.") from error
    if not jobs:
        raise InputError(f"{path} lists no pairs.")
    return jobs


def check_jobs(jobs: Sequence[Job]) -> None:
    """Raise InputError where two jobs would write the same file, or one would write over an input of another."""
    inputs = {path.resolve() for job in jobs for path in job[:2]}
    seen: set[Path] = set()
    for job in jobs:
        output = job.output.resolve()
        if output in seen:
            raise InputError(f"Two results would be {job.output}.", "Give them different names.")
        if output in inputs:
            raise InputError(f"{job.output} is an input.", "Choose another name for the output.")
        seen.add(output)


def animate_many(
    jobs: Sequence[Job],
    settings: Settings | None = None,
    skip_existing: bool = False,
    progress: Progress = lambda done, total: None,
    tell: Callable[[str], None] = lambda line: None,
) -> Summary:
    """Do the jobs one after the other with one model; what fails is in the summary, and the rest goes on.

    progress: as in `animate_file`, for every job. tell: gets a line when a job ends. Raises InputError for outputs in
    conflict, MissingError where the weights are not there.
    """
    check_jobs(jobs)
    session, summary = Session(settings or Settings()), Summary()
    todo = [job for job in jobs if not (skip_existing and is_there(job.output))]
    summary.skipped.extend(str(job.output) for job in jobs if job not in todo)
    if todo:  # weights that are missing fail all jobs alike
        log.info("%d jobs on %s", len(todo), session.device)
    for number, job in enumerate(todo, 1):
        outcome = attempt(job, session, progress, tell)
        label = f"{number}/{len(todo)} {job.output}"
        if isinstance(outcome, Report):
            summary.made.append(outcome)
            tell(f"{label}: {outcome.frames} frames, {outcome.seconds:.1f} s")
        else:
            summary.failed.append(outcome)
            tell(f"{label}: failed: {outcome.error}")
    return summary


def attempt(job: Job, session: Session, progress: Progress, tell: Callable[[str], None]) -> Report | Failure:
    """One job; its failure is returned, and of one that nobody foresaw the traceback is told."""
    try:
        job.output.parent.mkdir(parents=True, exist_ok=True)
        return animate_file(*job, progress=progress, session=session)
    except AnimaskError as error:
        reason, hint, code = error.message, error.hint, error.exit_code
    except Exception as error:
        tell(traceback.format_exc())
        reason, hint, code = f"{type(error).__name__}: {error}", "", 1
    return Failure(str(job.source), str(job.driver), str(job.output), reason, hint, code)
