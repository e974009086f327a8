"""`animask info`: what a bug report needs."""

import os
import platform
from typing import Annotated, Any

from typer import Argument, Option

from animask.cli.screen import plain, show_result
from animask.errors import AnimaskError
from animask.weights import BUNDLED, SUMS, find_weights, without_password

PACKAGES = ("animask", "torch", "opencv-python-headless", "pillow", "av", "numpy", "huggingface-hub", "safetensors")
VARIABLES = ("ANIMASK_DEVICE", "ANIMASK_WEIGHTS", "ANIMASK_CACHE", "HF_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE")


def info(
    weights: Annotated[list[str] | None, Argument(help="As --weights takes them; else the bundled ones.")] = None,
    as_json: Annotated[bool, Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show versions, device and precision with the reasons, settings, and what weights say of themselves.

    Works without weights, GPU and network; paste it into a bug report. Named weights on the Hub are downloaded.

    [bold]Examples[/bold]

    animask info

    animask info owner/name --json
    """
    report = look_around()
    report["weights"] = {name: describe_weights(name) for name in weights or BUNDLED}
    if as_json:
        show_result(report, "", as_json)
        return
    for section, values in report.items():
        for key, value in values.items():
            for part, text in value.items() if isinstance(value, dict) else [("", value)]:
                print(plain(f"{f'{section} {key} {part}'.strip() + ':':<32} {text}"))


def look_around() -> dict[str, dict[str, Any]]:
    """Versions, also of the ffmpeg that reads and writes videos; what `auto` chooses here, and why; the environment."""
    from importlib.metadata import distributions

    import av
    import torch
    from huggingface_hub import constants

    from animask.datasets import cache_folder
    from animask.devices import pick_device, pick_precision

    found = {item.name.replace("_", "-"): item.version for item in distributions()}
    packages = {name: found.get(name, "not installed") for name in PACKAGES}
    system = {"python": platform.python_version(), "system": platform.platform()}
    device = pick_device("auto")
    chosen = {"device": device._asdict(), "precision": pick_precision("auto", device.name)._asdict()}
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    told = {name: without_password(os.environ[name]) for name in VARIABLES if name in os.environ}
    return {
        "version": {**system, **packages, "ffmpeg": av.ffmpeg_version_info},
        "compute": {**chosen, "gpus": gpus, "threads": torch.get_num_threads(), "cpus": os.cpu_count()},
        "setting": {**told, "cache of frames": str(cache_folder()), "cache of the Hub": constants.HF_HUB_CACHE},
    }


def describe_weights(name: str) -> dict[str, Any]:
    """Path, size, hash and metadata of weights (licence, data, limits, ...), or what is wrong with them."""
    try:
        found = find_weights(name)
    except AnimaskError as error:
        return {"state": f"{error.message} ({error.hint})"}
    about = {key: value for key, value in sorted(found.metadata.items()) if key not in ("config", "format")}
    state = f"whole, and as {SUMS} says" if name in BUNDLED else "whole"
    known = {"state": state, "path": str(found.path), "bytes": found.path.stat().st_size, "sha256": found.digest}
    return {**known, "revision": found.revision, **about}
