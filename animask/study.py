"""The paper's study (section 4.4): one blind page that shows what several methods made, and what people answered."""

import base64
import json
import math
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from animask.errors import InputError
from animask.evaluation import drive, open_bench, to_url
from animask.files import read_text, replacing
from animask.images import to_images
from animask.protocol import Progress, Settings
from animask.video import write_video

METHODS = ("X2Face", "Monkey-Net", "FOMM", "paper")
# Table 3 of the paper: question, dataset, then the share of votes for each of METHODS.
VOTES = {
    ("realistic", "taichi"): (0.00, 0.04, 0.16, 0.80),
    ("realistic", "vox"): (0.00, 0.08, 0.16, 0.76),
    ("realistic", "bair"): (0.00, 0.04, 0.24, 0.72),
    ("faithful", "taichi"): (0.00, 0.04, 0.08, 0.88),
    ("faithful", "vox"): (0.00, 0.00, 0.12, 0.88),
    ("faithful", "bair"): (0.04, 0.04, 0.16, 0.76),
}
QUESTIONS = {"realistic": "Which is the most realistic?", "faithful": "Which follows the driver best?"}
Z = 1.959964  # of a normal distribution: 95 % lie within
PAGE = Path(__file__).with_name("study.html")  # STUDY in it stands for the videos and questions as JSON


@dataclass(frozen=True)
class Votes:
    """How often a column was chosen, of so many answers; the share with its 95 % interval (Wilson, 1927).

    The interval takes answers for independent; those of one person are not quite.
    """

    chosen: int
    answers: int
    share: float
    low: float
    high: float


def write_study(settings: Settings, path: Path, progress: Progress = lambda done, total: None) -> Path:
    """Write the page: picture, driver, and what every variant and method made, in random order; returns the path.

    Raises what `evaluate` raises, and InputError for a video that cannot be read.
    """
    bench = open_bench(settings)
    columns, trials = [*bench.columns, *(name for name, _ in settings.predictions)], []
    for number, case in enumerate(bench.cases, 1):
        source = ""
        films: dict[str, list[np.ndarray]] = {}
        for part in drive(bench, case):
            source = source or to_url(to_images(part.s)[0])
            for name, frames in {"": part.d, **part.outputs}.items():
                films.setdefault(name, []).extend(to_images(frames))
        driver, *made = (film_url(frames, case.rate) for frames in films.values())
        trials.append({"name": case.name, "source": source, "driver": driver, "made": made})
        progress(number, len(bench.cases))
    study = json.dumps({"columns": columns, "questions": QUESTIONS, "trials": trials}).replace("<", "\\u003c")
    with replacing(path) as partial:
        partial.write_text(PAGE.read_text("utf-8").replace("STUDY", study, 1), "utf-8")
    return path


def film_url(frames: list[np.ndarray], rate: Fraction) -> str:
    """A silent MP4 of square frames, RGB uint8, as a data URL."""
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "film.mp4"
        write_video(film, frames, rate)
        return f"data:video/mp4;base64,{base64.b64encode(film.read_bytes()).decode()}"


def count_answers(paths: Sequence[Path]) -> dict[str, dict[str, Votes]]:
    """Files that the page saved to votes by question and column. InputError for other files, or of several studies."""
    columns: list[str] = []
    votes: Counter[tuple[str, str]] = Counter()
    answers = 0
    for path in paths:
        try:
            content = json.loads(read_text(path))
            columns = columns or list(content["columns"])
            chosen = [(question, answer[question]) for answer in content["answers"] for question in QUESTIONS]
            if columns != content["columns"] or not {name for _, name in chosen} <= set(columns):
                raise InputError(f"{path} belongs to another study than {paths[0]}")
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} holds no answers of a study") from error
        votes.update(chosen)
        answers += len(content["answers"])
    return {question: {name: interval(votes[question, name], answers) for name in columns} for question in QUESTIONS}


def interval(chosen: int, answers: int) -> Votes:
    """The share of `chosen` among answers, and its 95 % interval."""
    if not answers:
        return Votes(0, 0, math.nan, 0.0, 1.0)
    share, n = chosen / answers, answers
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return Votes(chosen, n, share, max(0.0, middle - half), min(1.0, middle + half))
