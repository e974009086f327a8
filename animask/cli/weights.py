"""`animask weights`: list, info, pull, verify, path, push."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Weights: what is here, whether it is whole, and the way from and to the Hub.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Name = Annotated[
    str, typer.Argument(help="portrait, a .safetensors file, hf://owner/repo, vgg19 or yunet.", metavar="NAME")
]
Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


@app.command("list")
def list_weights(as_json: Json = False) -> None:
    """List the weights that are here: bundled ones, and those in the Hub's cache.

    [bold]Examples[/bold]

    animask weights list

    animask weights list --json
    """
    from animask.cards import check, names_here

    statuses = [check(name) for name in names_here()]
    if as_json:
        print(json.dumps([asdict(status) for status in statuses]))
        return
    for status in statuses:
        size = f"{status.bytes / 1e6:.1f} MB" if status.bytes else "-"
        print(f"{status.name:<24} {size:>10}  {status.state:<14}  {status.licence}".rstrip())


@app.command()
def info(name: Name, as_json: Json = False) -> None:
    """Show what is known of weights: origin, size, SHA-256, licence, configuration, model card.

    [bold]Examples[/bold]

    animask weights info portrait

    animask weights info runs/vox/weights.safetensors --json
    """
    from animask.cards import describe

    card = describe(name)
    if as_json:
        print(json.dumps(asdict(card)))
        return
    rows = {"name": card.name, "path": card.path, "bytes": card.bytes, "sha256": f"{card.sha256} ({card.state})"}
    rows |= {"commit": card.commit, "licence": card.licence, "numbers": f"{card.numbers:,} {' '.join(card.dtypes)}"}
    rows |= {key: " ".join(value.split())[:300] for key, value in card.metadata.items()}
    rows |= {f"config.{key}": value for key, value in card.config.items()}
    for key, value in rows.items():
        print(f"{key + ':':<26}{value}")
    if card.text:
        print(f"\n{card.text.rstrip()}")


def show_bars(quiet: bool) -> None:
    """huggingface-hub's progress bars on terminals only; not all of them look for one."""
    from huggingface_hub.utils import disable_progress_bars

    if quiet or not sys.stderr.isatty():
        disable_progress_bars()


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="hf://owner/repo\\[@revision]\\[/file], vgg19 or yunet.", metavar="NAME")],
    digest: Annotated[str, typer.Option("--sha256", help="The SHA-256 that the file must have.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Download it even if it is there.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but errors.")] = False,
    as_json: Json = False,
) -> None:
    """Bring weights from the Hub into its cache, checked; prints the path.

    Once they are there, no other command asks the Hub for them again.

    HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE and HF_TOKEN do what they do elsewhere.

    [bold]Examples[/bold]

    animask weights pull hf://owner/repo@main/model.safetensors

    animask weights pull yunet
    """
    from animask import weights
    from animask.cli.screen import say, show_result

    show_bars(quiet)
    file = weights.pull(name, digest.lower(), force)
    size = file.path.stat().st_size
    if file.note:
        say(f"warning: {file.note}; this is the copy in the cache")
    if not quiet:
        say(f"{file.reference}, commit {file.commit}, {size} bytes, SHA-256 {file.sha256}")
    result = {"name": name, "repo": file.reference.repo, "revision": file.reference.revision, "commit": file.commit}
    result |= {"file": file.reference.file, "path": str(file.path), "sha256": file.sha256, "note": file.note}
    show_result({**result, "bytes": size}, str(file.path), as_json)


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Which; default: all that are here.")] = None,
    as_json: Json = False,
) -> None:
    """Compare the SHA-256 of weights with the stated one; exit code 1 if one is damaged, 3 if one is missing.

    [bold]Examples[/bold]

    animask weights verify

    animask weights verify portrait yunet
    """
    from animask.cards import check, names_here
    from animask.errors import AnimaskError, MissingError

    statuses = [check(name) for name in names or names_here()]
    if as_json:
        print(json.dumps([asdict(status) for status in statuses]))
    else:
        for status in statuses:
            print(f"{status.name}: {status.state} {status.reason or status.sha256}".rstrip())
    for state, kind in (("damaged", AnimaskError), ("missing", MissingError)):
        wrong = [status for status in statuses if status.state == state]
        if wrong:
            listed = ", ".join(status.name for status in wrong)
            raise kind(f"{len(wrong)} of {len(statuses)} weights {state}: {listed}", "the line of each says why")


@app.command()
def path(name: Name) -> None:
    """Print where a weights file lies, without asking the Hub.

    [bold]Examples[/bold]

    animask weights path portrait

    animask weights path hf://owner/repo
    """
    from animask.cli.screen import show_result
    from animask.weights import locate

    show_result("", str(locate(name).path), as_json=False)


@app.command()
def push(
    file: Annotated[Path, typer.Argument(help="What training left: weights.safetensors.", show_default=False)],
    repo: Annotated[str, typer.Argument(help="owner/name on the Hub; created if it is not there.", metavar="REPO")],
    licence: Annotated[str, typer.Option("--licence", help="Of the weights, if their metadata states none.")] = "",
    private: Annotated[bool, typer.Option("--private", help="If the repository is new: not for everybody.")] = False,
    as_json: Json = False,
) -> None:
    """Publish trained weights on the Hub with a model card; prints the name to pull them by.

    Log in first (`hf auth login`, or HF_TOKEN). A model card that is there already stays as it is.

    [bold]Examples[/bold]

    animask weights push runs/vox/weights.safetensors owner/talking-heads --licence MIT

    animask weights push runs/bair/weights.safetensors owner/robots --licence CC-BY-4.0 --private
    """
    from animask.cards import push as publish
    from animask.cli.screen import say, show_result

    show_bars(False)
    commit = publish(file, repo, licence, private)
    say(f"published: {commit.url}")
    show_result(commit._asdict(), f"hf://{commit.repo}@{commit.commit}", as_json)
