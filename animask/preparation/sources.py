"""Which videos there are, and whose they are."""

import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from animask.errors import InputError

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif", ".mpg", ".mpeg", ".ts", ".mts", ".flv", ".wmv")
)
PICTURE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg"))
MAX_NAME_BYTES = 100  # of an identity and of a name; a clip's file name has both, and at most 255 bytes


@dataclass(frozen=True)
class Source:
    """A raw video, or a folder of frames.

    label: its path below the folder that was given. identity and name hold no `#`; together they are unique.
    """

    path: Path
    label: str
    identity: str
    name: str

    @property
    def key(self) -> str:
        """How the names of this video's clips begin."""
        return self.join(self.identity, self.name)

    @staticmethod
    def join(identity: str, name: str) -> str:
        """identity#name, or the name alone where it is the identity."""
        return name if identity == name else f"{identity}#{name}"

    @property
    def bytes(self) -> int:
        """The size of the file, or of the files in the folder; tells a changed video from the same one."""
        files = self.path.iterdir() if self.path.is_dir() else [self.path]
        return sum(file.stat().st_size for file in files if file.exists())  # a link may lead nowhere


def list_sources(inputs: Iterable[Path], without: Path) -> list[Source]:
    """The videos among files and folders, sorted by identity and name; those in the folder `without` are not.

    The identity of a video in a sub-folder of an input folder is the sub-folder's name, otherwise the name
    before the first `#` of its own name. A folder that holds pictures and no videos is one video. Raises
    InputError for an input that is missing or holds none, and for two videos that would get the same name.
    """
    found: dict[str, Source] = {}
    for given in inputs:
        if not given.exists():
            raise InputError(f"{given} does not exist.")
        base = given if given.is_dir() else given.parent
        paths = _walk(given, without.resolve()) if given.is_dir() else iter([given])
        sources = [_name(path, base) for path in paths]
        if not sources:
            raise InputError(f"The folder {given} holds no videos.", "Give videos or a folder of videos.")
        for source in sources:
            other = found.setdefault(source.key, source)
            if other.path.resolve() != source.path.resolve():
                raise InputError(
                    f"{other.path} and {source.path} would both become {source.key}.",
                    "Rename one of them, or put each into a sub-folder named after who is seen in it.",
                )
    return [found[key] for key in sorted(found)]


def _walk(folder: Path, without: Path) -> Iterator[Path]:
    """Videos and folders of frames below a folder; hidden ones are left out."""
    for name, folders, files in os.walk(folder):
        here = Path(name)
        folders[:] = sorted(item for item in folders if item[0] != "." and (here / item).resolve() != without)
        visible = [here / item for item in sorted(files) if item[0] != "."]
        videos = [path for path in visible if path.suffix.lower() in VIDEO_SUFFIXES]
        if not videos and any(path.suffix.lower() in PICTURE_SUFFIXES for path in visible):
            videos = [here]
        yield from videos


def _name(path: Path, base: Path) -> Source:
    """Identity and name from the path below the input folder: identity/anything/below.mp4."""
    own = path.name if path.is_dir() else path.stem
    parts = [*path.parent.relative_to(base).parts, own] if path != base else [path.resolve().name]
    label = path.relative_to(base).as_posix() if path != base else parts[0]
    if len(parts) == 1:
        identity, mark, rest = parts[0].partition("#")
        parts = [identity, rest] if mark and identity and rest else [parts[0]]
    identity, *rest_of = (part.replace("#", "-") for part in parts)
    return Source(path, label, shorten(identity), shorten("-".join(rest_of) or identity))


def shorten(name: str) -> str:
    """A name that leaves room for others in the name of a clip; a long one is cut, and told apart by its sum."""
    data = os.fsencode(name)
    if len(data) <= MAX_NAME_BYTES:
        return name
    return f"{os.fsdecode(data[: MAX_NAME_BYTES - 9]).encode(errors='ignore').decode()}-{zlib.crc32(data):08x}"
