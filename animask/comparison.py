"""Other methods beside ours: the list of what they should make, and the paper's study (section 4.4).

A prediction is FOLDER/NAME.mp4 (or another video), or the folder FOLDER/NAME of pictures, where NAME is that of the
case in the list. It has as many frames as the case has driver frames, each of the size that is evaluated. The study is
one blind page, whose answers are a file, and what many answers say.
"""

import base64
import csv
import json
import math
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from animask.errors import InputError
from animask.evaluation import Progress, drive_case, open_bench
from animask.files import read_text, replacing
from animask.images import to_images, write_image
from animask.protocols import Settings, check_predictions, plan
from animask.results import to_url
from animask.video import VideoWriter
from animask.weights import find_weights

# Table 3 of the paper: question, dataset, then the share of votes for each of results.METHODS.
VOTES = {
    ("realistic", "taichi"): (0.00, 0.04, 0.16, 0.80),
    ("realistic", "vox"): (0.00, 0.08, 0.16, 0.76),
    ("realistic", "bair"): (0.00, 0.04, 0.24, 0.72),
    ("faithful", "taichi"): (0.00, 0.04, 0.08, 0.88),
    ("faithful", "vox"): (0.00, 0.00, 0.12, 0.88),
    ("faithful", "bair"): (0.04, 0.04, 0.16, 0.76),
}
QUESTIONS = {"realistic": "Which is the most realistic?", "faithful": "Which follows the driver best?"}
MOST_ANSWERS = 1 << 24  # bytes of a file of answers
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


def list_cases(settings: Settings, folder: Path, progress: Progress | None = None) -> Path:
    """Write FOLDER/list.csv (source, driver, output) with the sources as PNG and the drivers as lossless videos.

    They are of the size that the weights of the settings take. `animask animate --pairs` reads such a list, and so
    can a loop over another method's demo script. Returns the path of the list.
    """
    side, cases = find_weights(settings.weights).config.resolution, plan(settings)
    rows = [("source", "driver", "output")]
    for part in ("sources", "drivers"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number, case in enumerate(cases):
        source, driver = folder / "sources" / f"{case.name}.png", folder / "drivers" / f"{case.name}.mp4"
        picture, shots = case.open(side)
        write_image(source, picture)
        encode(driver, (shot.driver for shot in shots), case.rate, side, crf=0)
        rows.append((str(source), str(driver), f"{case.name}.mp4"))
        if progress:
            progress(number + 1, len(cases))
    with replacing(folder / "list.csv") as partial, partial.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "list.csv"


class Votes(NamedTuple):
    """How often a column was chosen, of so many answers; the share with its 95 % interval (Wilson, 1927).

    The interval takes answers for independent; those of one person are not quite.
    """

    chosen: int
    answers: int
    share: float
    low: float
    high: float


def write_study(settings: Settings, path: Path, progress: Progress | None = None) -> Path:
    """Write the page: picture, driver, and what every variant and every other method made, in random order.

    Everything is inside the page; who made what is not to be seen on it. Raises what `evaluate` raises, and
    InputError for a video that cannot be read. Returns the path.
    """
    cases = plan(settings)
    check_predictions(settings, cases)
    bench = open_bench(settings)[0]
    columns, trials = [*bench.columns, *(name for name, _ in settings.predictions)], []
    for number, case in enumerate(cases):
        source, driven = drive_case(bench, case)
        films: dict[str, list[np.ndarray]] = {}
        for part in driven:
            for name, frames in {"": part.d, **part.outputs}.items():
                films.setdefault(name, []).extend(to_images(frames))
        driver, *made = (film_url(frames, case.rate) for frames in films.values())
        trials.append({"name": case.name, "source": to_url(to_images(source.s)[0]), "driver": driver, "made": made})
        if progress:
            progress(number + 1, len(cases))
    study = json.dumps({"columns": columns, "questions": QUESTIONS, "trials": trials}).replace("<", "\\u003c")
    with replacing(path) as partial:
        partial.write_text(PAGE.replace("STUDY", study, 1), "utf-8")
    return path


def film_url(frames: list[np.ndarray], rate: Fraction) -> str:
    """A silent MP4 of square frames as a data URL."""
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "film.mp4"
        encode(film, frames, rate, len(frames[0]))
        return f"data:video/mp4;base64,{base64.b64encode(film.read_bytes()).decode()}"


def encode(path: Path, frames: Iterable[np.ndarray], rate: Fraction, side: int, crf: int = 17) -> None:
    """Frames, RGB uint8 (side, side, 3), to a video without sound."""
    with VideoWriter(path, rate, (side, side), crf=crf) as writer:
        for frame in frames:
            writer.write(frame)


def count_answers(paths: Sequence[Path]) -> dict[str, dict[str, Votes]]:
    """Files that the page saved to votes by question and column. InputError for other files, or of several studies."""
    columns: list[str] = []
    votes: dict[str, Counter[str]] = {question: Counter() for question in QUESTIONS}
    for path in paths:
        try:
            content = json.loads(read_text(path, MOST_ANSWERS))
            columns = columns or list(content["columns"])
            chosen = [(question, answer[question]) for answer in content["answers"] for question in QUESTIONS]
            if columns != content["columns"] or not {name for _, name in chosen} <= set(columns):
                raise InputError(f"{path} belongs to another study than {paths[0]}")
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} holds no answers of a study") from error
        for question, name in chosen:
            votes[question][name] += 1
    return {
        question: {column: interval(found[column], found.total()) for column in columns}
        for question, found in votes.items()
    }


def interval(chosen: int, answers: int) -> Votes:
    """The share of `chosen` among answers, and its 95 % interval."""
    if not answers:
        return Votes(0, 0, math.nan, 0.0, 1.0)
    share, n = chosen / answers, answers
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return Votes(chosen, n, share, max(0.0, middle - half), min(1.0, middle + half))
