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

from animask.cases import Progress, Settings
from animask.errors import InputError
from animask.evaluation import drive, open_bench, to_url
from animask.files import read_text, replacing
from animask.images import to_images
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
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Study</title>
<style>
body { font: 16px/1.5 system-ui; max-width: 70rem; margin: 0 auto; padding: 1rem; }
div { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1rem 0; }
figure { margin: 0; width: 12rem; }
img, video { width: 100%; }
</style></head><body><p id="at"></p><p>Each video should show the picture moving as the driver does.</p>
<div id="given"></div><div id="made"></div><form id="form"></form><script>
const study = STUDY, answers = [], byId = name => document.getElementById(name);
const shuffled = list => list.map(x => [Math.random(), x]).sort((a, b) => a[0] - b[0]).map(x => x[1]);
const make = (tag, fields) => Object.assign(document.createElement(tag), fields);
const trials = shuffled(study.trials);
function add(place, text, tag, fields) {
  place.append(make("figure"));
  place.lastChild.append(make(tag, fields), text);
}
function show() {
  for (const name of ["given", "made", "form"]) byId(name).replaceChildren();
  const trial = trials[answers.length], order = shuffled([...study.columns.keys()]);
  if (!trial) return finish();
  const film = {autoplay: true, loop: true, muted: true, playsInline: true};
  byId("at").textContent = `${answers.length + 1} of ${trials.length}`;
  add(byId("given"), "picture", "img", {src: trial.source});
  add(byId("given"), "driver", "video", {...film, src: trial.driver});
  order.forEach((n, place) => add(byId("made"), `video ${place + 1}`, "video", {...film, src: trial.made[n]}));
  for (const [question, text] of Object.entries(study.questions)) {
    const line = make("p", {textContent: text});
    order.forEach((n, place) => {
      line.append(make("label"));
      line.lastChild.append(make("input", {type: "radio", name: question, value: n, required: true}), `${place + 1} `);
    });
    byId("form").append(line);
  }
  byId("form").append(make("button", {textContent: "next"}));
}
byId("form").onsubmit = event => {
  event.preventDefault();
  const chosen = [...new FormData(byId("form"))].map(([question, n]) => [question, study.columns[n]]);
  answers.push({video: trials[answers.length].name, ...Object.fromEntries(chosen)});
  show();
};
function finish() {
  byId("at").textContent = "Thank you. Please save the file and send it back:";
  const file = new Blob([JSON.stringify({columns: study.columns, answers})], {type: "application/json"});
  byId("form").append(make("a", {textContent: "save", download: "answers.json", href: URL.createObjectURL(file)}));
}
show();
</script></body></html>
"""


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
        partial.write_text(PAGE.replace("STUDY", study, 1), "utf-8")
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
