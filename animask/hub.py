"""Files of Hub repositories: found in the Hub's own cache, downloaded into it and checked, and published.

The cache, its environment variables (HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE, HF_TOKEN) and the resuming of a broken
download are those of huggingface-hub. This module says what may be downloaded, checks what came, and has a sentence
for everything that goes wrong.
"""

import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, cast

from animask.errors import AnimaskError, InputError, MissingError
from animask.headers import PICKLE_HINT, PICKLES

SCHEME = "hf://"
MAIN = "main"
DEFAULT_FILE = "model.safetensors"
CARD_FILE = "README.md"
LOGIN_HINT = "check the name; for a private one log in with `hf auth login` or set HF_TOKEN"
ENDPOINT_HINT = "check HF_ENDPOINT, and whether a proxy answers in place of the Hub"
MAX_BYTES = 8 * 10**9  # of one file: the paper's model has 0.2e9, VGG-19 0.6e9
ABANDONED_SECONDS = 600  # a download that has not grown for so long has no process any more

_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"  # begins and ends with a letter, so never ".."
_NAME = re.compile(rf"{SCHEME}(?P<repo>{_PART}/{_PART})(?:@(?P<revision>refs/pr/\d+|{_PART}))?(?:/(?P<file>.+))?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LEFTOVER = re.compile(r"\.[0-9a-f]{8}\.incomplete$")  # one name a download, so nobody can continue it


class Reference(NamedTuple):
    """A file of a Hub repository: owner/name, branch, tag or commit, path inside (empty: the usual one), known hash."""

    repo: str
    revision: str = MAIN
    file: str = ""
    sha256: str = ""

    def __str__(self) -> str:
        revision = "" if self.revision == MAIN else f"@{self.revision}"
        return f"{SCHEME}{self.repo}{revision}" + (f"/{self.file}" if self.file else "")


class HubFile(NamedTuple):
    """A file in the Hub's cache, its commit and its SHA-256; `note` says why the Hub could not be asked, or nothing."""

    reference: Reference
    commit: str
    path: Path
    sha256: str
    note: str


class HubCommit(NamedTuple):
    """What was published: repository, commit and the address of its page."""

    repo: str
    commit: str
    url: str


class UnreachableError(MissingError):
    """The Hub cannot be asked now, and what is wanted is not in the cache."""


VGG19 = Reference("timm/vgg19.tv_in1k", file="model.safetensors")
YUNET = Reference(
    "opencv/face_detection_yunet",
    "3cc26e7f1014a5ee5d74a42acee58bafc9d0a310",
    "face_detection_yunet_2023mar.onnx",
    "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parse(name: str) -> Reference:
    """`hf://owner/repo[@revision][/file]` to its parts; InputError for another form or a file that may not be read."""
    match = _NAME.fullmatch(name)
    if match is None or ".." in f"{match['repo']}{match['revision']}" or "--" in match["repo"]:
        hint = "write hf://owner/repo, hf://owner/repo@revision or hf://owner/repo@revision/file.safetensors"
        raise InputError(f"{name!r} is not the name of weights on the Hub", hint)
    if match["file"]:
        check_file(match["file"])
    return Reference(match["repo"], match["revision"] or MAIN, match["file"] or "")


def check_file(name: str) -> None:
    """Raise InputError for a path that could leave its folder, and for what is not safetensors."""
    parts = name.split("/")
    if {"", ".", ".."} & set(parts) or re.search(r"[\\:]", name) or not name.isprintable():
        raise InputError(f"{name!r} is no path inside a Hub repository", "give a relative path without ..")
    if name.lower().endswith(PICKLES):
        raise InputError(f"{name} is a pickle", PICKLE_HINT)
    if not name.endswith(".safetensors"):
        raise InputError(f"{name} is not a .safetensors file", PICKLE_HINT)


def cache_root() -> Path:
    """The Hub's cache: $HF_HUB_CACHE, or hub in $HF_HOME, or in ~/.cache/huggingface."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def repo_folder(repo: str) -> Path:
    """Where the cache keeps a repository."""
    return cache_root() / f"models--{repo.replace('/', '--')}"


def place(reference: Reference) -> Path:
    """Where a file is found that was put into the cache by hand."""
    folder = repo_folder(reference.repo) / "snapshots" / reference.revision
    return folder / (reference.file or DEFAULT_FILE)


def snapshots(reference: Reference) -> list[Path]:
    """The folders of the cache in which a reference is looked for: of the branch's commit, and of its own name."""
    folder = repo_folder(reference.repo)
    names = [reference.revision]
    with suppress(OSError, UnicodeDecodeError):
        names.insert(0, (folder / "refs" / reference.revision).read_text(encoding="ascii")[:100].strip())
    return [folder / "snapshots" / name for name in names if re.fullmatch(_PART, name)]


def cached(reference: Reference) -> Path | None:
    """The file in the Hub's cache, without asking the Hub; None if it is not there."""
    for folder in snapshots(reference):
        path = folder / (reference.file or DEFAULT_FILE)
        if path.is_file():
            return path
    return None


def lone(reference: Reference) -> Path | None:
    """The only .safetensors file in the cache of a repository whose file is not named; None where it is not one."""
    for folder in snapshots(reference):
        found = [] if reference.file else sorted(folder.rglob("*.safetensors"))
        if len(found) == 1:
            return found[0]
    return None


def cached_files() -> list[tuple[Reference, Path]]:
    """All .safetensors files in the Hub's cache; a commit that a branch points to goes by the name of the branch."""
    found = []
    for path in sorted(cache_root().glob("models--*--*/snapshots/*/**/*.safetensors")):
        folder, _, commit, *parts = path.relative_to(cache_root()).parts
        reference = Reference(folder.removeprefix("models--").replace("--", "/", 1), file="/".join(parts))
        if snapshots(reference)[0].name != commit:
            reference = reference._replace(revision=commit)
        found.append((reference, path))
    return found


def snapshot_of(path: Path) -> Path:
    """The snapshot folder, named after a commit, that a file of the cache lies in."""
    return cache_root() / Path(*path.relative_to(cache_root()).parts[:3])


def stated_hash(path: Path) -> str:
    """The SHA-256 that the Hub gave for a cached file; empty for a small file, or one put there by hand.

    The cache is made of links to files that are named after it.
    """
    name = path.readlink().name if path.is_symlink() else ""
    return name if _SHA256.fullmatch(name) else ""


def find(reference: Reference) -> Path:
    """The file from the cache, or else from the Hub. Raises as `pull` does."""
    return cached(reference) or pull(reference).path


def pull(reference: Reference, force: bool = False) -> HubFile:
    """The newest file of the branch from the Hub into its cache, checked; broken connections are resumed.

    force: download it even if it is there. Where the Hub cannot be asked, the file in the cache will do, with a note.
    Raises MissingError for what is not there or cannot be reached, InputError for what may not be read or has the
    wrong hash (such a file is removed), AnimaskError where the download fails.
    """
    try:
        reference, stated = ask(reference)
    except UnreachableError as error:
        path = cached(reference) or lone(reference)
        if path is None or force:
            raise
        return check_cached(reference, path, reference.sha256 or stated_hash(path), error.message)
    from huggingface_hub import hf_hub_download

    clean_leftovers(reference)
    with explained(reference, by_hand(reference)):
        path = Path(hf_hub_download(reference.repo, reference.file, revision=reference.revision, force_download=force))
    return check_cached(reference, path, stated, "")


def ask(reference: Reference) -> tuple[Reference, str]:
    """Ask the Hub: the reference with its file, and the SHA-256 to expect (empty where none is stated).

    Raises as `pull` does; nothing is downloaded.
    """
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.constants import HF_HUB_ETAG_TIMEOUT as TIMEOUT

    with explained(reference, by_hand(reference)):
        if not reference.file:
            info = HfApi().model_info(reference.repo, revision=reference.revision, timeout=TIMEOUT)
            reference = choose_file(reference, [item.rfilename for item in info.siblings or []])
        url = hf_hub_url(reference.repo, reference.file, revision=reference.revision)
        metadata = get_hf_file_metadata(url, timeout=TIMEOUT)
    tag = metadata.etag or ""
    if not re.fullmatch(_PART, tag):  # the cache makes a file name of it
        raise AnimaskError(f"the answer for {reference} has the entity tag {tag!r}, which no Hub gives", ENDPOINT_HINT)
    if (metadata.size or 0) > MAX_BYTES:
        raise InputError(f"{reference} has {metadata.size} bytes", f"animask reads files of up to {MAX_BYTES} bytes")
    stated = tag if _SHA256.fullmatch(tag) else ""
    if reference.sha256 and stated and stated != reference.sha256:
        raise InputError(
            f"{reference} has the SHA-256 {stated} on the Hub, not {reference.sha256}; it was not downloaded",
            "the file was changed, or the hash belongs to another one",
        )
    return reference, reference.sha256 or stated


def choose_file(reference: Reference, names: list[str]) -> Reference:
    """The reference with the weights of its repository: model.safetensors, or the only .safetensors file."""
    found = [name for name in names if name.endswith(".safetensors")]
    if DEFAULT_FILE in found:
        found = [DEFAULT_FILE]
    if len(found) > 1:
        listed = ", ".join(map(repr, found[:8]))
        raise InputError(f"{reference} has several .safetensors files: {listed}", f"name one: {reference}/FILE")
    if not found:
        pickles = [name for name in names if name.lower().endswith(PICKLES)]
        what = f", only {pickles[0]!r}, a pickle" if pickles else ""
        raise InputError(f"{reference} has no .safetensors file{what}", PICKLE_HINT)
    check_file(found[0])
    return reference._replace(file=found[0])


def check_cached(reference: Reference, path: Path, stated: str, note: str) -> HubFile:
    """What lies in the cache at `path`; a file whose hash is not the stated one is removed, with an InputError."""
    folder = snapshot_of(path)
    found = sha256(path)
    if stated and found != stated:
        discard(path)
        raise InputError(
            f"{reference} came with the SHA-256 {found}, where {stated} is stated; it was removed from the cache",
            "pull it again; if that does not help, the file on the Hub or the way to it is damaged",
        )
    return HubFile(reference._replace(file=path.relative_to(folder).as_posix()), folder.name, path, found, note)


def discard(path: Path) -> None:
    """Remove a damaged file from the cache: the link in the snapshot, and the blob that it points to."""
    if path.is_symlink():
        (path.parent / path.readlink()).unlink(missing_ok=True)
    path.unlink()


def clean_leftovers(reference: Reference) -> None:
    """Remove what killed downloads of this repository left in the cache."""
    for path in (repo_folder(reference.repo) / "blobs").glob("*.incomplete"):
        with suppress(OSError):  # another process may be faster
            if _LEFTOVER.search(path.name) and time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                path.unlink()


def pull_card(file: HubFile) -> None:
    """The model card of a pulled file into the cache, where its repository has one. Raises as `pull` does."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    card = file.reference._replace(file=CARD_FILE)
    with explained(card, "the weights themselves are in the cache"), suppress(EntryNotFoundError):
        hf_hub_download(card.repo, CARD_FILE, revision=file.commit)


def push(path: Path, repo: str, card: str, private: bool) -> HubCommit:
    """Publish a weights file as model.safetensors of owner/name, which is created if it is not there.

    card: the model card, README.md; one that the repository has already is kept. private: for a new repository.
    Raises InputError for another form of name, MissingError and AnimaskError where the Hub refuses or fails.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    reference = parse(f"{SCHEME}{repo}")
    if reference != Reference(repo):
        raise InputError(f"{repo!r} is not the name of a Hub repository", "write owner/name")
    api = HfApi()
    with explained(reference, "nothing was published; try again when it can be reached"):
        url = api.create_repo(repo, private=private, exist_ok=True)
        files = [CommitOperationAdd(DEFAULT_FILE, str(path))]
        if not api.file_exists(repo, CARD_FILE):
            files.append(CommitOperationAdd(CARD_FILE, card.encode()))
        commit = api.create_commit(repo, files, commit_message="Weights, published with animask")
    return HubCommit(repo, commit.oid, str(url))


@contextmanager
def explained(reference: Reference, hint: str) -> Iterator[None]:
    """Turn what huggingface-hub raises into a sentence; `hint` is for a Hub that cannot be reached."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, http_error()) as error:
        raise explain(reference, error, hint) from error


def explain(reference: Reference, error: Exception, hint: str) -> AnimaskError:
    """The sentence for a failure, see `explained`: first the kinds that huggingface-hub tells apart."""
    from huggingface_hub import errors

    hub, file, revision = endpoint(), reference.file or DEFAULT_FILE, reference.revision
    page = f"{hub}/{reference.repo}"
    see = f"see {page}/tree/main"
    known: tuple[tuple[type[Exception], type[AnimaskError], str, str], ...] = (
        (errors.OfflineModeIsEnabled, UnreachableError, f"{reference} needs the Hub, and HF_HUB_OFFLINE is set", hint),
        (errors.GatedRepoError, MissingError, f"{page} is gated", "ask for access on its page, then `hf auth login`"),
        (errors.RepositoryNotFoundError, MissingError, f"there is no public repository {page}", LOGIN_HINT),
        (errors.RevisionNotFoundError, MissingError, f"{page} has no revision {revision!r}", see),
        (errors.LocalEntryNotFoundError, UnreachableError, f"{hub} could not be asked for {reference}", hint),
        (errors.EntryNotFoundError, MissingError, f"{page} has no file {file!r} at {revision}", see),
        (errors.FileMetadataError, AnimaskError, f"the answer for {page} is not that of a Hub", ENDPOINT_HINT),
    )
    for kind, answer, sentence, advice in known:
        if isinstance(error, kind):
            return answer(sentence, advice)
    return explain_failure(reference, error, hint)


def explain_failure(reference: Reference, error: Exception, hint: str) -> AnimaskError:
    """The sentence for a status, a broken connection or a full disk."""
    from huggingface_hub import errors

    hub, reason = endpoint(), first_line(error)
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return MissingError(f"{hub}/{reference.repo} refused with status {status}", LOGIN_HINT)
        passing = status in (408, 429) or status >= 500
        answer = UnreachableError if passing else AnimaskError
        return answer(f"{hub} answered with status {status} for {reference}", hint)
    if isinstance(error, OSError) and error.errno:
        sentence = f"{reference} could not be kept in {cache_root()}: {error.strerror}"
        return AnimaskError(sentence, "make room there, or set HF_HOME to another folder")
    if isinstance(error, OSError | http_error()):
        return UnreachableError(f"the connection to {hub} for {reference} failed: {reason}", hint)
    return AnimaskError(f"the exchange with {hub} for {reference} failed: {reason}", "try again")


def http_error() -> type[Exception]:
    """What all errors of the HTTP library derive from: requests, httpx or httpx2, as huggingface-hub has it."""
    from huggingface_hub.errors import HfHubHTTPError

    return cast(type[Exception], HfHubHTTPError.__mro__[1])


def endpoint() -> str:
    """The Hub's address, $HF_ENDPOINT, without a name and password in it."""
    from huggingface_hub import constants

    return re.sub(r"//[^/@]*@", "//", constants.ENDPOINT)


def by_hand(reference: Reference) -> str:
    """Where a file was looked for, and how it gets there without this program."""
    url = f"{endpoint()}/{reference.repo}/resolve/{reference.revision}/{reference.file or DEFAULT_FILE}"
    return f"it was looked for at {place(reference)}: get {url} where there is a network and put it there"


def first_line(error: Exception) -> str:
    """The first line of an exception's text, printable and short."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return "".join(letter for letter in text if letter.isprintable())[:200]
