"""`animask info`: what a bug report needs."""

import json
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer

PACKAGES = ("animask", "torch", "opencv-python", "numpy", "huggingface-hub", "safetensors", "imageio-ffmpeg", "typer")
VARIABLES = ("ANIMASK_DEVICE", "ANIMASK_WEIGHTS", "ANIMASK_CACHE", "ANIMASK_DATA")
HUB_VARIABLES = ("HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE")  # never HF_TOKEN
MOST_FILES = 50_000  # counted in a cache before giving up


def info(as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """Show versions, device and precision with the reasons, ffmpeg, caches, and the weights that are here.

    It works without weights, GPU and network; paste it into a bug report.

    [bold]Examples[/bold]

    animask info

    animask info --json
    """
    report = collect()
    if as_json:
        print(json.dumps(report))
        return
    for section, values in report.items():
        for key, value in values.items():
            print(f"{section + ' ' + key + ':':<32} {in_words(value)}")


def collect() -> dict[str, dict[str, Any]]:
    """All sections of the report: plain values for JSON."""
    from animask.cards import check, names_here
    from animask.datasets import cache_folder
    from animask.hub import cache_root

    statuses = [asdict(check(name)) for name in names_here()]
    settings = {name: os.environ[name] for name in (*VARIABLES, *HUB_VARIABLES) if os.environ.get(name)}
    return {
        "version": versions(),
        "compute": compute(),
        "ffmpeg": ffmpeg(),
        "cache": {"frames": folder_size(cache_folder()), "hub": folder_size(cache_root())},
        "setting": {name: re.sub(r"//[^/@]*@", "//", value) for name, value in settings.items()},
        "weights": {status.pop("name"): status for status in statuses},
    }


def versions() -> dict[str, str]:
    """Versions of Python, the system and the packages that matter."""
    found = {"python": platform.python_version(), "system": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def compute() -> dict[str, Any]:
    """What `auto` chooses here, and why."""
    import torch

    from animask.devices import pick_device, pick_precision

    device = pick_device("auto")
    precision = pick_precision("auto", device.name)
    cuda = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {
        "device": device._asdict(),
        "precision": precision._asdict(),
        "gpus": cuda,
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
    }


def ffmpeg() -> dict[str, str]:
    """The program that reads and writes videos."""
    import imageio_ffmpeg

    try:
        return {"path": imageio_ffmpeg.get_ffmpeg_exe(), "version": imageio_ffmpeg.get_ffmpeg_version()}
    except RuntimeError as error:
        return {"path": f"not found: {error}", "version": ""}


def folder_size(folder: Path) -> dict[str, Any]:
    """Files and bytes in a folder, links not followed; `more` where there were too many to count."""
    count = total = 0
    more = False
    for entry in walk(str(folder)):
        count += 1
        total += entry.stat(follow_symlinks=False).st_size
        if count == MOST_FILES:
            more = True
            break
    return {"path": str(folder), "files": count, "bytes": total, "more": more}


def walk(folder: str) -> Iterator[os.DirEntry[str]]:
    """The files below a folder; what may not be read is left out."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from walk(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    yield entry
    except OSError:
        return


def in_words(value: Any) -> str:
    """A value of the report for people."""
    if not isinstance(value, dict):
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    if "more" in value:
        size = f"{'more than ' if value['more'] else ''}{value['files']} files, {value['bytes'] / 1e6:.0f} MB"
        return f"{value['path']} ({size})"
    if "state" in value:
        size = f", {value['bytes'] / 1e6:.1f} MB, licence {value['licence']}" if value["bytes"] else ""
        limits = f"; {value['limits']}" if value["limits"] else ""
        return f"{value['state']}{size}{': ' + value['reason'] if value['reason'] else ''}{limits}"
    return f"{value['name']} ({value['reason']})"
