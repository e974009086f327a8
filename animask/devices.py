"""Which device and which precision to compute with, and why."""

from typing import NamedTuple

import torch

from animask.errors import InputError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Choice(NamedTuple):
    """A decision and its reason in a few words."""

    name: str
    reason: str


def pick_device(name: str = "auto") -> Choice:
    """ "auto" to cuda, mps or cpu; "cuda:1" is the second GPU. Raises InputError for what is not there."""
    there = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    if name == "auto":
        kind = next(kind for kind, count in there.items() if count)
        return Choice(kind, "neither CUDA nor MPS is available" if kind == "cpu" else f"{kind} is available")
    kind, _, index = name.partition(":")
    if kind not in there or (index and not index.isdigit()):
        raise InputError(f"unknown device {name!r}", f"choose one of auto, {', '.join(there)}")
    if int(index or 0) >= there[kind]:
        raise InputError(f"device {name!r} is not available here", "use --device auto or --device cpu")
    return Choice(name, "asked for")


def pick_precision(name: str, device: str) -> Choice:
    """ "auto" to bf16 where the device computes it in hardware, else fp32, which is faster; InputError for the rest."""
    if name in DTYPES:
        return Choice(name, "asked for")
    if name != "auto":
        raise InputError(f"unknown precision {name!r}", f"choose one of auto, {', '.join(DTYPES)}")
    if device.startswith("cuda"):
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return Choice("bf16", "the GPU has bf16 units") if fast else Choice("fp32", "the GPU has no bf16 units")
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    if device == "cpu" and any(getattr(torch.cpu, probe, lambda: False)() for probe in probes):
        return Choice("bf16", "the CPU has bf16 units")
    return Choice("fp32", f"no bf16 units on this {device}")
