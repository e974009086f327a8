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
from typing import Any

import torch
from torch import Tensor, distributed, nn

from animask.devices import pick_device
from animask.errors import AnimaskError, InputError

PATIENCE = timedelta(hours=12)  # others wait while the first rank decodes a data set
MOST = 4  # ranks on a CPU, unless more are asked for
GRACE = 20  # seconds that other ranks have to end
SIGNALS = signal.SIGINT, signal.SIGTERM


@dataclass(frozen=True)
class Ranks:
    """This process among its equals, computing on `device`."""

    device: torch.device
    rank: int = 0  # of `world`
    world: int = 1
    local: int = 0  # rank on its machine
    meeting: str = "env://"  # where they meet, for torch.distributed; by default what torchrun says

    @property
    def leads(self) -> bool:
        """Whether this rank writes files and talks."""
        return self.rank == 0

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Among the others while inside: nccl between GPUs, gloo between CPUs. If the leading one ends, so do all."""
        if self.world == 1:
            yield
            return
        backend = "gloo"
        if self.device.type == "cuda":
            backend = "cpu:gloo,cuda:nccl"
            torch.cuda.set_device(self.local if self.device.index is None else self.device)
        distributed.init_process_group(backend, self.meeting, PATIENCE, self.world, self.rank)
        try:
            yield
        except RuntimeError as error:
            if self.leads or "onnection" not in str(error):
                raise
            raise SystemExit(1) from error  # the leading process has said why
        finally:
            distributed.destroy_process_group()

    def share_gradients(self, model: nn.Module) -> None:
        """Give every parameter that learns the mean of its gradients over all ranks."""
        if self.world == 1:
            return
        gradients = [x.grad for x in model.parameters() if x.grad is not None]
        mean = self.mean(torch.cat([x.flatten() for x in gradients]))
        for gradient, part in zip(gradients, mean.split([x.numel() for x in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the ranks of one tensor, which is changed."""
        if self.world > 1:
            distributed.all_reduce(values)
        return values / self.world

    def highest(self, *values: float) -> list[float]:
        """The highest of each value over all ranks, so that all do the same; the processes meet, no GPU waits."""
        tensor = torch.tensor(values, dtype=torch.float64)
        if self.world > 1:
            distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
        return tensor.tolist()


def count_ranks(device: str, wanted: int | None) -> int:
    """Processes that a run starts itself: on a CPU `wanted`, or one a core up to MOST; elsewhere one.

    Raises InputError where several are wanted on something else, or torchrun has started some already.
    """
    alone = "WORLD_SIZE" in os.environ or pick_device(device).name != "cpu"
    if alone and (wanted or 1) > 1:
        raise InputError("Several processes are started on a CPU only.", "Use torchrun for several GPUs.")
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return 1 if alone else wanted or min(MOST, cores)


@contextmanager
def companions(count: int, device: str, function: Callable[..., Any], *arguments: Any) -> Iterator[Ranks]:
    """This process as the first of `count`; the others run `function(ranks, *arguments)` meanwhile.

    One alone starts no others, and is what torchrun says it is. The others do not hear signals: this one does, and all
    agree to end. Raises InputError if there is no such device, AnimaskError where one of them is lost.
    """
    own = torch.device(pick_device(device).name)
    if count == 1:
        rank, world, local = (os.environ.get(*x) for x in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")))
        yield Ranks(own, int(rank), int(world), int(local))
        return
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        places = [Ranks(own, rank, count, rank, f"file://{folder}/meeting") for rank in range(count)]
        others = [context.Process(target=function, args=(ranks, *arguments)) for ranks in places[1:]]
        with handling(signal.SIG_IGN):  # not even before their first line
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
def handling(handler: Any) -> Iterator[None]:
    """Ctrl-C and SIGTERM go to a handler while inside, unless they are ignored already; in the main thread only."""
    main = threading.current_thread() is threading.main_thread()
    before = {x: signal.signal(x, handler) for x in SIGNALS if main and signal.getsignal(x) is not signal.SIG_IGN}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
