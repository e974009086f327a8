"""What is known of weights without loading them: hash, size, licence, texts; and the model card of published ones."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from animask import hub
from animask.config import to_dict
from animask.errors import InputError, MissingError
from animask.headers import read_header
from animask.weights import BUNDLED, EXTRAS, bundled_folder, commit_of, load_model, locate, read_config, sha256

CARD = "MODEL_CARD.md"  # beside bundled weights, or beside a file
MAX_CARD_BYTES = 10**6
UNSTATED = "not stated"
EXTRA_LICENCES = {"vgg19": "BSD-3-Clause", "yunet": "MIT"}
# What the Hub knows as a licence; others are called "other" there, with a name.
HUB_LICENCES = ("mit", "apache-2.0", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "gpl-3.0")

CARD_TEXT = """{head}
---

# {title}

Weights for animask, which animates a still picture with the motion of a video
(Image Animation with Perturbed Masks, CVPR 2022).

    animask weights pull hf://{repo}
    animask animate face.png driver.mp4 -o out.mp4 --weights hf://{repo}

| | |
|---|---|
{table}

Animate only pictures of people who agree to it, and say that the result is made by a machine. Do not use it to
deceive, harass or impersonate anyone.
"""

State = Literal["verified", "no hash stated", "damaged", "missing"]


@dataclass(frozen=True)
class Card:
    """What is known of a weights file without reading its tensors; all texts are printable.

    state: "verified" if the SHA-256 is the one that SHA256SUMS or the Hub states. commit: of the Hub, or empty.
    numbers: in all tensors. config: of the model, empty for the networks of others. text: the model card.
    """

    name: str
    path: str
    bytes: int
    sha256: str
    state: State
    commit: str
    licence: str
    numbers: int
    dtypes: list[str]
    config: dict[str, Any]
    metadata: dict[str, str]
    text: str


@dataclass(frozen=True)
class Status:
    """Whether weights are here and whole; `reason` is a sentence for what is not.

    limits: what they are known to do badly, in the words of their metadata.
    """

    name: str
    state: State
    path: str
    bytes: int
    sha256: str
    licence: str
    reason: str
    limits: str = ""


def describe(name: str | Path) -> Card:
    """A card for weights that are here, by any of their names; raises as `weights.locate` and `read_header` do."""
    found = locate(name)
    digest = sha256(found.path)
    state: State = "no hash stated" if not found.stated else "verified" if digest == found.stated else "damaged"
    metadata: dict[str, str] = {}
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    config: dict[str, Any] = {}
    if found.path.suffix == ".safetensors":
        header = read_header(found.path)
        texts = [(key, value) for key, value in header.metadata.items() if key not in ("config", "format")]
        metadata = {printable(key): printable(value) for key, value in texts}
        tensors = header.tensors
        if found.name not in EXTRAS:
            config = to_dict(read_config(found.path, header))
    text = read_card(found.name, found.path)
    return Card(
        name=found.name,
        path=str(found.path),
        bytes=found.path.stat().st_size,
        sha256=digest,
        state=state,
        commit=commit_of(found.path),
        licence=licence_of(found.name, metadata, text),
        numbers=sum(math.prod(shape) for _, shape in tensors.values()),
        dtypes=sorted({printable(dtype) for dtype, _ in tensors.values()}),
        config=config,
        metadata=metadata,
        text=text,
    )


def check(name: str | Path) -> Status:
    """The state of weights by name; never raises for what is missing or damaged."""
    try:
        card = describe(name)
    except MissingError as error:
        return Status(str(name), "missing", "", 0, "", "", error.message)
    except InputError as error:
        return Status(str(name), "damaged", "", 0, "", "", error.message)
    reason = "its SHA-256 is not the stated one" if card.state == "damaged" else ""
    limits = card.metadata.get("limits", "")
    return Status(card.name, card.state, card.path, card.bytes, card.sha256, card.licence, reason, limits)


def names_here() -> list[str]:
    """The bundled names, and the names of what animask can use of the Hub's cache."""
    extras = [name for name, reference in EXTRAS.items() if hub.cached(reference)]
    return [*BUNDLED, *extras, *(str(reference) for reference, path in hub.cached_files() if is_model(path))]


def is_model(path: Path) -> bool:
    """Whether a safetensors file says that it is a model of animask: its metadata has our configuration."""
    try:
        metadata = read_header(path).metadata
    except InputError:
        return False
    return '"preset"' in metadata.get("config", "")


def read_card(name: str, path: Path) -> str:
    """The model card of weights: of the bundled ones, of their repository's snapshot, or beside the file."""
    if name in BUNDLED:
        card = bundled_folder() / CARD
    elif hub.cache_root() in path.parents:
        card = hub.snapshot_of(path) / hub.CARD_FILE
    else:
        card = path.with_name(CARD)
    if not card.is_file():
        return ""
    with card.open("rb") as file:
        return printable(file.read(MAX_CARD_BYTES).decode(errors="replace"))


def licence_of(name: str, metadata: dict[str, str], card: str) -> str:
    """The licence of weights: from their metadata, the head of their card, or, for networks of others, from here."""
    stated = metadata.get("licence") or metadata.get("license") or EXTRA_LICENCES.get(name)
    head = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    if not stated and head and (line := re.search(r"^licen[sc]e: *(\S.*)$", head[1], re.MULTILINE)):
        stated = line[1].strip("\"' ")
    return (stated or UNSTATED)[:100]


def printable(text: str) -> str:
    """Text from elsewhere without what a terminal would obey."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "�" for letter in text)


def push(name: str | Path, repo: str, licence: str = "", private: bool = False) -> hub.HubCommit:
    """Publish weights as owner/name on the Hub with a model card; the whole file is checked first.

    licence: of the weights, where their metadata states none. Raises as `load_model` and `hub.push` do, and
    InputError for weights without a licence.
    """
    load_model(name)
    card = describe(name)
    licence = licence or card.licence
    if licence == UNSTATED:
        raise InputError("the weights state no licence", "say under which licence they may be used: --licence MIT")
    return hub.push(Path(card.path), repo, write_card(card, repo, printable(licence)), private)


def write_card(card: Card, repo: str, licence: str) -> str:
    """The model card of published weights: Markdown with the head that the Hub reads."""
    known = licence.lower() in HUB_LICENCES
    head = ["---", "library_name: animask", "tags: [image-animation, face-reenactment]"]
    head += [f"license: {licence.lower()}"] if known else ["license: other", f"license_name: {json.dumps(licence)}"]
    rows = {"Licence": licence, "SHA-256": card.sha256, "Numbers": f"{card.numbers:,}", **card.metadata}
    rows |= {f"config.{key}": str(value) for key, value in card.config.items()}
    table = [f"| {cell(key)} | {cell(value)} |" for key, value in rows.items()]
    return CARD_TEXT.format(head="\n".join(head), title=repo, repo=repo, table="\n".join(table))


def cell(text: str) -> str:
    """A text as one cell of a Markdown table."""
    line = " ".join(text.split())[:300]
    return re.sub(r"([\\|`<>*_\[\]])", r"\\\1", line)
