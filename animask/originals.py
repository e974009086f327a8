"""Which videos or pictures a data set is made from, and whose they are."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from animask.errors import InputError
from animask.images import PICTURE_SUFFIXES, is_animated
from animask.probing import choose_stream, open_video

# What these files promise they must keep: a broken one is named. Of others, videos are told by what is in them.
VIDEO_SUFFIXES = {".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif", ".mpg", ".ts", ".mts", ".flv", ".wmv"}
VIDEO, PICTURE, NEITHER = "a video", "a still picture", "no video or picture"  # what files are
MAX_NAME_BYTES = 100  # of an identity and of a name; a clip's file name has both, and at most 255 bytes


class Original(NamedTuple):
    """A video, a folder of frames, or a picture.

    label: its path below the folder that was given. identity and name hold no `#`; together they are unique.
    """

    path: Path
    label: str
    identity: str
    name: str

    @property
    def key(self) -> str:
        """How the names of its clips begin: identity#name, or the name alone where it is the identity."""
        return self.name if self.identity == self.name else f"{self.identity}#{self.name}"


def list_originals(
    inputs: Iterable[Path], without: Path, stills: bool = False
) -> tuple[list[Original], dict[str, int]]:
    """The videos among files and folders, sorted, or with `stills` the pictures; and how many files were left out, why.

    The identity of one in a sub-folder of an input folder is the sub-folder's name, otherwise the name before the
    first `#` of its own name. A folder that holds several pictures and no video is one video. Hidden files and those
    in the folder `without` do not count. Raises InputError for an input that is missing or holds none, and for two
    that would get the same name.
    """
    found: dict[str, Original] = {}
    left_out: Counter[str] = Counter()
    for given in inputs:
        if not given.exists():
            raise InputError(f"{given} does not exist.")
        base = given if given.is_dir() else given.parent
        paths = list(walk(given, without.resolve(), stills, left_out)) if given.is_dir() else [given]
        if not paths:
            kind = "pictures" if stills else "videos"
            raise InputError(f"The folder {given} holds no {kind}.", f"Give {kind} or a folder of {kind}.")
        for original in (name_original(path, base) for path in paths):
            other = found.setdefault(original.key, original)
            if other.path.resolve() != original.path.resolve():
                both = f"{other.path} and {original.path} would both become {original.key}."
                raise InputError(both, "Rename one, or put each into a sub-folder named after who is seen in it.")
    return [found[key] for key in sorted(found)], dict(left_out)


def walk(folder: Path, without: Path, stills: bool, left_out: Counter[str]) -> Iterator[Path]:
    """Videos and folders of frames below a folder, or pictures; the rest is counted in `left_out`."""
    for name, folders, files in os.walk(folder):
        here = Path(name)
        folders[:] = sorted(item for item in folders if item[0] != "." and (here / item).resolve() != without)
        kinds = {here / item: find_kind(here / item) for item in sorted(files) if item[0] != "."}
        wanted = [path for path, kind in kinds.items() if kind == (PICTURE if stills else VIDEO)]
        others = Counter(kinds[path] for path in kinds.keys() - wanted)
        if not stills and not wanted and others[PICTURE] > 1:
            wanted = [here]
            del others[PICTURE]
        left_out.update(others)
        yield from wanted


def find_kind(path: Path) -> str:
    """What a file is, by what is in it; a broken one by its name."""
    moves, suffix = is_animated(path), path.suffix.lower()
    if moves or (moves is None and suffix in VIDEO_SUFFIXES):
        return VIDEO
    if moves is False or suffix in PICTURE_SUFFIXES:
        return PICTURE
    try:
        with open_video(path) as container:
            return VIDEO if choose_stream(container.streams.video) else NEITHER
    except InputError:
        return NEITHER


def name_original(path: Path, base: Path) -> Original:
    """Identity and name from the path below the input folder: identity/anything/below.mp4."""
    below = Path(path.resolve().name) if path == base else path.relative_to(base)
    parts = (below if path.is_dir() else below.with_suffix("")).parts
    if len(parts) == 1 and all(halves := parts[0].split("#", 1)):
        parts = tuple(halves)
    identity, *rest = (part.replace("#", "-") for part in parts)
    return Original(path, below.as_posix(), shorten(identity), shorten("-".join(rest) or identity))


def shorten(name: str) -> str:
    """A name that leaves room for others in the name of a clip."""
    data = os.fsencode(name)
    return name if len(data) <= MAX_NAME_BYTES else data[:MAX_NAME_BYTES].decode(errors="ignore")
