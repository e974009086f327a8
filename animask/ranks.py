"""One process or many: who am I, how gradients are shared, and on a CPU one process a core, with one thread each.

Two threads that wait for each other at every operation are several times slower as soon as anything else runs; ranks
meet once a step. Several GPUs are torchrun's.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, distributed, nn

from animask.devices import pick_device
from animask.errors import AnimaskError, InputError
from animask.model import Animator

PATIENCE = timedelta(hours=12)  # others wait while the first rank decodes a data set
MOST = 4  # ranks on a CPU, unless more are asked for
GRACE = 20  # seconds that other ranks have to end


@dataclass(frozen=True)
class Ranks:
    """This process among its equals: number `rank` of `world`, `local` of its machine, computing on `device`."""

    device: torch.device
    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def leads(self) -> bool:
        """Whether this rank writes files and talks."""
        return self.rank == 0

    def synchronise(self, model: Animator) -> Animator:
        """The model with batch statistics over all GPUs; on a CPU each rank has its own, or all would wait for all."""
        if self.world > 1 and self.device.type == "cuda":
            return cast(Animator, nn.SyncBatchNorm.convert_sync_batchnorm(model))
        return model

    def share_gradients(self, model: nn.Module) -> None:
        """Give every parameter that learns the mean of its gradients over all ranks."""
        if self.world == 1:
            return
        gradients = [x.grad for x in model.parameters() if x.grad is not None]
        flat = torch.cat([x.flatten() for x in gradients])
        distributed.all_reduce(flat)
        for gradient, part in zip(gradients, flat.div_(self.world).split([x.numel() for x in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def highest(self, *values: float) -> list[float]:
        """The highest of each value over all ranks, so that all do the same; the processes meet, no GPU waits."""
        tensor = torch.tensor(values, dtype=torch.float64)
        if self.world > 1:
            distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
        return tensor.tolist()

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the ranks of one tensor, which is changed."""
        if self.world > 1:
            distributed.all_reduce(values)
        return values / self.world

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """The first rank of every machine goes before the others, so that caches are filled once.

        Where one of the first fails, it raises, and all others end with its exit code.
        """
        if self.local:
            self.end_with(0)
        code = 1
        try:
            yield
            code = 0
        except AnimaskError as error:
            code = error.exit_code
            raise
        finally:
            if not self.local:
                self.end_with(code)

    def end_with(self, code: int) -> None:
        """Meet the other ranks, and raise SystemExit if one of them, but not this, has failed."""
        (worst,) = self.highest(code)
        if worst and not code:
            raise SystemExit(int(worst))


class Place(NamedTuple):
    """Where a process stands among `world`, and how they meet: an address as torch.distributed takes it."""

    rank: int
    world: int
    local: int
    meeting: str


def find_place() -> Place:
    """As torchrun says, or alone."""
    rank, world, local = (
        int(os.environ.get(*item)) for item in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
    )
    return Place(rank, world, local, "env://")


@contextmanager
def join(place: Place, device: str) -> Iterator[Ranks]:
    """This process among the others; nccl between GPUs, gloo between CPUs. InputError if there is no such device."""
    name = pick_device(device).name
    if place.world == 1:
        yield Ranks(torch.device(name))
        return
    if name == "cuda":
        name = f"cuda:{place.local}"
        torch.cuda.set_device(name)
    backend = "cpu:gloo,cuda:nccl" if name.startswith("cuda") else "gloo"
    distributed.init_process_group(
        backend, init_method=place.meeting, timeout=PATIENCE, rank=place.rank, world_size=place.world
    )
    try:
        yield Ranks(torch.device(name), place.rank, place.world, place.local)
    finally:
        distributed.destroy_process_group()


def count_ranks(device: str, wanted: int | None) -> int:
    """Processes that a run starts itself: as many as wanted, or on a CPU one a core, at most MOST.

    Raises InputError where several are wanted on something else, or torchrun has started some already.
    """
    alone = "WORLD_SIZE" in os.environ or pick_device(device).name != "cpu"
    if alone and (wanted or 1) > 1:
        raise InputError("Several processes are started on a CPU only.", "Use torchrun for several GPUs.")
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return 1 if alone else wanted or min(MOST, cores)


@contextmanager
def companions(count: int, function: Callable[..., None], *arguments: Any) -> Iterator[Place]:
    """The place of this process, the first of `count`; the others run `function(place, *arguments)` meanwhile.

    They do not hear signals: this one does, and all agree to end. Raises AnimaskError where one of them is lost.
    """
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{folder}/meeting"
        places = [Place(rank, count, rank, meeting) for rank in range(count)]
        context = multiprocessing.get_context("spawn")
        others = [context.Process(target=function, args=(place, *arguments)) for place in places[1:]]
        with deaf():
            for process in others:
                process.start()
        try:
            yield places[0]
            for process in others:
                process.join(GRACE)
        except RuntimeError as error:  # gloo has lost a connection
            for process in others:
                process.join(1)
            lost = [process.exitcode for process in others if process.exitcode]
            if not lost:
                raise
            hint = "It may have been killed for want of memory: try a smaller --batch or --ranks."
            raise AnimaskError(f"A process of the run has ended with code {lost[0]}.", hint) from error
        finally:
            for process in others:
                process.kill()
                process.join()


@contextmanager
def deaf() -> Iterator[None]:
    """Processes that are started inside do not hear Ctrl-C and SIGTERM, not even before their first line."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
