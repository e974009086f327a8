"""Whatever comes in, the answer is a documented exit code and one sentence; nothing half-made is left.

All cases are in `safe_cases`. Those that take long are marked slow, but for a seeded sample of them.
"""

import random
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import safe_cases as cases
from safe_cases import Case, Samples

from animask.animation import read_pairs
from animask.config import read_toml
from animask.errors import InputError
from animask.headers import read_header
from animask.images import read_image
from animask.preparation.boxes import read_boxes
from animask.training import previews
from animask.video import probe
from animask.video.probing import check_file

CASES = [*cases.damaged(), *cases.misfits(), *cases.odd_pictures(), *cases.odd_videos(), *cases.odd_names()]
SAMPLE = 45  # of the cases that may get as far as making something


def is_quick(case: Case) -> bool:
    """Whether a case ends before anything is computed."""
    return 0 not in case.codes and case.role != "driver"


def in_marks() -> list[object]:
    """The cases as parameters; most that take long are marked."""
    long = [case.id for case in CASES if not is_quick(case)]
    kept = set(random.Random(cases.SEED).sample(long, SAMPLE))
    here = {case.id for case in CASES if is_quick(case)} | kept
    return [pytest.param(case, id=case.id, marks=() if case.id in here else pytest.mark.slow) for case in CASES]


@pytest.fixture(scope="module")
def samples(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return cases.make_samples(tmp_path_factory.mktemp("samples"), tiny_weights)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for the case, with the folder `out` for results; the caches are elsewhere."""
    (tmp_path / "case" / "out").mkdir(parents=True)
    monkeypatch.setenv("ANIMASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(previews, "CASES", 5)
    monkeypatch.chdir(tmp_path / "case")
    return tmp_path / "case"


def test_there_are_hundreds_of_different_cases() -> None:
    names = [case.id for case in CASES]
    assert len(names) >= 300
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("case", in_marks())
def test_case(case: Case, samples: Samples, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    own, children = cases.memory()
    path = case.make(samples, place)
    given = sorted(item for item in place.rglob("*") if item.name != "out")
    done = cases.perform(cases.command(case, path, samples, place), place, capfd)
    assert done.code in case.codes, done
    assert "Traceback" not in done.err
    if done.code:
        assert done.err.startswith("animask: ") or case.role == "pairs", done.err
        assert done.err.endswith("\n") and done.err[:-1].isprintable(), repr(done.err)
        assert case.words in done.err
        assert done.out == "" or case.role == "pairs"
        assert done.left == [] or case.role in ("pairs", "boxes", "recipe"), done.left
    else:
        assert done.out.endswith("\n") and done.left, done
    assert not [item for item in done.left if "partial" in item.name]
    assert (
        sorted(item for item in place.rglob("*") if place / "out" not in item.parents and item.name != "out") == given
    )
    assert cases.memory()[0] - own < cases.MEGABYTES
    assert cases.memory()[1] < max(cases.MEGABYTES, children + 1)  # other tests may have had larger children


READERS = {
    "picture": (read_image, "picture.png"),
    "video": (probe, "driver.mp4"),
    "sound": (check_file, "sound.wav"),
    "weights": (read_header, "weights.safetensors"),
    "recipe": (read_toml, "recipe.toml"),
    "pairs": (read_pairs, "pairs.csv"),
    "boxes": (read_boxes, "boxes.csv"),
}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("where", ["file", "folder"])
def test_what_may_not_be_read_is_refused(kind: str, where: str, samples: Samples) -> None:
    """Neither a file without permission nor one in a folder without it; also as root, who becomes another user."""
    read, name = READERS[kind]
    with TemporaryDirectory() as folder:  # others may look into this one
        place = Path(folder, "place")
        place.mkdir()
        path = Path(shutil.copy(samples.path(name), place / name))
        Path(folder).chmod(0o755)
        place.chmod(0o755 if where == "file" else 0o600)
        path.chmod(0 if where == "file" else 0o644)
        with cases.as_somebody(), pytest.raises(InputError, match=r"Permission|is not a file"):
            read(path)
        place.chmod(0o700)
