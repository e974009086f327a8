"""Which device and which precision to compute with, and why."""

from typing import NamedTuple

import torch

from animask.errors import InputError

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Choice(NamedTuple):
    """A decision and its reason in a few words."""

    name: str
    reason: str


def has_device(name: str) -> bool:
    """Whether torch can compute on "cuda" or "mps" here; "cpu" is always there. "cuda:1" asks for that one."""
    kind, _, index = name.partition(":")
    if kind == "cuda":
        return torch.cuda.is_available() and int(index or 0) < torch.cuda.device_count()
    if kind == "mps":
        return torch.backends.mps.is_available()
    return kind == "cpu"


def pick_device(name: str = "auto") -> Choice:
    """ "auto" to cuda, mps or cpu; a named device is checked. Raises InputError if it is not there."""
    if name == "auto":
        for kind in ("cuda", "mps"):
            if has_device(kind):
                return Choice(kind, f"{kind} is available")
        return Choice("cpu", "neither CUDA nor MPS is available")
    kind, _, index = name.partition(":")
    if kind not in DEVICES or (index and not index.isdigit()):
        raise InputError(f"unknown device {name!r}", f"choose one of {', '.join(DEVICES)}")
    if not has_device(name):
        raise InputError(f"device {name!r} is not available here", "use --device auto or --device cpu")
    return Choice(name, "asked for")


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AMX or AVX512-BF16); elsewhere it is slower than float32."""
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)


def pick_precision(name: str, device: str) -> Choice:
    """ "auto" to bf16 where the device computes it in hardware, fp32 elsewhere. Raises InputError for the rest."""
    if name not in PRECISIONS:
        raise InputError(f"unknown precision {name!r}", f"choose one of {', '.join(PRECISIONS)}")
    if name != "auto":
        return Choice(name, "asked for")
    if device.startswith("cuda"):
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return Choice("bf16", "the GPU has bf16 units") if fast else Choice("fp32", "the GPU has no bf16 units")
    if device == "cpu" and cpu_has_bf16():
        return Choice("bf16", "the CPU has bf16 units")
    return Choice("fp32", f"no bf16 units on this {device}")
