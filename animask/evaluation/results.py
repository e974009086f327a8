"""What an evaluation found: one record a video, kept as JSON lines while it runs, and the totals of all."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from animask.errors import InputError
from animask.partials import partial_path

Values = dict[str, dict[str, list[float]]]  # by variant, then by metric: one number a frame


@dataclass(frozen=True)
class Record:
    """One video: its name, how many frames were driven, and their values; or why there are none."""

    video: str
    frames: int
    values: Values
    error: str = ""


class Score(NamedTuple):
    """The mean over all used frames of all videos, NaN if there is none; frames used, and skipped by the metric."""

    mean: float
    used: int
    skipped: int

    def text(self) -> str:
        """The score for people, with the number of skipped frames in brackets."""
        return show(self.mean) + (f" ({self.skipped})" if self.skipped else "")


class Comparison(NamedTuple):
    """The full method, `main`, beside a variant without a step; better_in: of so many videos, by their means."""

    main: str
    variant: str
    metric: str
    full: float
    without: float
    better_in: int
    videos: int
    higher: bool

    @property
    def holds(self) -> bool:
        """Whether the full method is better by the mean over these frames."""
        return self.full > self.without if self.higher else self.full < self.without


@dataclass(frozen=True)
class Result:
    """An evaluation: how it was made, the score of every variant and metric, and each video.

    variants: Score by variant and metric. published: the paper's own figures, where the data are the paper's.
    comparisons: the full method against its ablations; claim: what they say of the paper's.
    videos: name, frames and scores of each. failed: reason by name.
    """

    protocol: dict[str, Any]
    variants: dict[str, dict[str, Score]]
    published: dict[str, dict[str, float]]
    comparisons: list[Comparison]
    claim: str
    videos: list[dict[str, Any]]
    failed: dict[str, str]
    frames: int
    seconds: float
    seconds_per_1000_frames: float

    def is_higher(self, metric: str) -> bool:
        """Whether more of a metric is better."""
        return "higher" in self.protocol["metrics"][metric]

    @property
    def note(self) -> str:
        """What brackets in the table mean; "" where no frame was skipped."""
        skips = any(score.skipped for scores in self.variants.values() for score in scores.values())
        return "in brackets: frames that were skipped, because a detector found nothing to compare" if skips else ""

    def timed(self, seconds: float, made: int) -> "Result":
        """With the time that it took; `made`: frames that were computed in that time, not read from a journal."""
        return replace(self, seconds=seconds, seconds_per_1000_frames=1000 * seconds / made if made else math.nan)


def show(value: float) -> str:
    """A figure for people in four digits, below 1 to four places; a dash where there is none."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:#.4g}" if abs(value) >= 1 else f"{round(value, 4) + 0.0:.4f}"  # + 0.0: no "-0.0000"


def plain(value: Any) -> Any:
    """Anything of a result as JSON has it: named tuples as objects, numbers that are not finite as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def to_json(result: Result) -> dict[str, Any]:
    """The result as `--json` prints it."""
    names = list(result.__dataclass_fields__)
    content: dict[str, Any] = plain({name: getattr(result, name) for name in names})
    return content


def tabulate(result: Result) -> tuple[list[str], dict[str, list[str]], dict[str, list[str]]]:
    """The table in words: a heading for each metric, then a row for each of our variants and each published method."""
    metrics = list(result.protocol["metrics"])
    heads = [f"{metric} {'↑' if result.is_higher(metric) else '↓'}" for metric in metrics]
    ours = {name: [scores[metric].text() for metric in metrics] for name, scores in result.variants.items()}
    theirs = {
        name: [show(figures.get(metric, math.nan)) for metric in metrics] for name, figures in result.published.items()
    }
    return heads, ours, theirs


def average(values: list[float]) -> Score:
    """The score of one metric over frames; NaN marks a skipped frame."""
    used = [value for value in values if not math.isnan(value)]
    return Score(math.fsum(used) / len(used) if used else math.nan, len(used), len(values) - len(used))


def total(records: list[Record]) -> dict[str, dict[str, Score]]:
    """The scores of every variant and metric over the frames of all videos."""
    if not records:
        return {}
    return {
        variant: {
            metric: average([value for record in records for value in record.values[variant][metric]])
            for metric in metrics
        }
        for variant, metrics in records[0].values.items()
    }


def compare(records: list[Record], main: str, ablations: list[str], higher: dict[str, bool]) -> list[Comparison]:
    """The full method against each of its ablations, by every metric, on the frames that were skipped in neither.

    main: the variant that is the full method. higher: whether more of a metric is better.
    """
    found = []
    for metric, up in higher.items():
        for variant in ablations:
            videos = [pairs for record in records if (pairs := shared(record, main, variant, metric))]
            if not videos:
                continue
            full, without = means([pair for pairs in videos for pair in pairs])
            better = sum((a > b) if up else (a < b) for a, b in map(means, videos))
            found.append(Comparison(main, variant, metric, full, without, better, len(videos), up))
    return found


def shared(record: Record, first: str, second: str, metric: str) -> list[tuple[float, float]]:
    """The values of two variants in the frames of a video that the metric skipped in neither."""
    pairs = zip(*(record.values[name][metric] for name in (first, second)), strict=True)
    return [(a, b) for a, b in pairs if not math.isnan(a) and not math.isnan(b)]


def means(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """The means of both sides."""
    return math.fsum(a for a, _ in pairs) / len(pairs), math.fsum(b for _, b in pairs) / len(pairs)


def sum_up(comparisons: list[Comparison]) -> list[str]:
    """One sentence for each ablation: by which metrics the full method is better, and in how many of the videos."""
    sentences = []
    for variant in dict.fromkeys(item.variant for item in comparisons):
        words: dict[bool, list[str]] = {True: [], False: []}
        for item in comparisons:
            if item.variant == variant:
                words[item.holds].append(f"{item.metric} ({item.better_in} of {item.videos} videos)")
        rest = f"; not by {', '.join(words[False])}" if words[False] else ""
        main = comparisons[0].main
        sentences.append(f"{main} is better than {variant} by {', '.join(words[True]) or 'no metric'}{rest}")
    return sentences


def judge(comparisons: list[Comparison]) -> str:
    """By which metrics the paper's claim that P_test and r are both needed holds; "" without both ablations."""
    known: dict[str, set[str]] = {}
    for item in comparisons:
        known.setdefault(item.metric, set()).add(item.variant)
    metrics = [metric for metric, variants in known.items() if {"no_pert", "no_ref"} <= variants]
    if not metrics:
        return ""
    fails = [name for name in metrics if not all(item.holds for item in comparisons if item.metric == name)]
    holds = [name for name in metrics if name not in fails]
    claim = "The paper's claim that both steps, P_test and r, are needed"
    return f"{claim}: holds by {', '.join(holds) or 'no metric'}; does not hold by {', '.join(fails) or 'none'}"


@dataclass
class Journal:
    """Records as JSON lines under a line that says how they were made; one file for each rank while a run lasts.

    path: None keeps nothing. done: what earlier runs with the same protocol left. Raises InputError for a file
    that is something else.
    """

    path: Path | None
    protocol: dict[str, Any]
    done: dict[str, Record] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for path in self.files():
            self.done |= {record.video: record for record in read_records(path, self.protocol)}

    def files(self) -> list[Path]:
        """The files that are there: that of the lead, and those of the other ranks."""
        if self.path is None:
            return []
        return [
            path for path in (self.path, *sorted(self.path.parent.glob(f"{self.path.name}.rank*"))) if path.exists()
        ]

    def write(self, records: Iterable[Record]) -> None:
        """Put these records, and nothing else, into the lead's file, in one step."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = partial_path(self.path)
        lines = [json.dumps({"protocol": plain(self.protocol)}), *(to_line(record) for record in records)]
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
        partial.replace(self.path)
        for path in self.files()[1:]:
            path.unlink(missing_ok=True)

    def add(self, record: Record, rank: int) -> None:
        """Append one record to the file of this rank."""
        if self.path is None or record.error:
            return
        path = self.path if rank == 0 else self.path.with_name(f"{self.path.name}.rank{rank}")
        begins = not path.exists()
        with path.open("a", encoding="utf-8") as file:
            if begins:
                file.write(json.dumps({"protocol": plain(self.protocol)}) + "\n")
            file.write(to_line(record) + "\n")


def to_line(record: Record) -> str:
    """A record as one line of JSON: null for a frame that was skipped, "inf" for infinity."""
    values = {
        variant: {
            metric: [None if math.isnan(x) else "inf" if math.isinf(x) else x for x in numbers]
            for metric, numbers in metrics.items()
        }
        for variant, metrics in record.values.items()
    }
    return json.dumps(asdict(record) | {"values": values})


def read_records(path: Path, protocol: dict[str, Any]) -> list[Record]:
    """The records of a file; a last line that was cut off is left out.

    Raises InputError if the file was made in another way, or is something else.
    """
    hint = "choose another name, or remove the file"
    records, made = [], None
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            content = json.loads(line)
            if made is None:
                made = content["protocol"]
                continue
            values = {
                variant: {
                    metric: [math.nan if x is None else float(x) for x in numbers]
                    for metric, numbers in metrics.items()
                }
                for variant, metrics in content["values"].items()
            }
            records.append(Record(content["video"], content["frames"], values))
        except (ValueError, KeyError, TypeError, AttributeError):
            break
    if made != plain(protocol):
        raise InputError(f"{path} holds no results of an evaluation with these settings", hint)
    return records
