"""One process or many (torchrun): who am I, how gradients and batch statistics are shared."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from animask.devices import pick_device
from animask.errors import AnimaskError
from animask.model import Animator

PATIENCE = timedelta(hours=12)  # others wait while the first rank decodes a data set


class SumOverRanks(torch.autograd.Function):
    """The sum of a tensor over all ranks; every rank's loss depends on it, so its gradient is summed as well."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return SumOverRanks.forward(ctx, gradients[0].contiguous())


class SyncBatchNorm(nn.BatchNorm2d):
    """BatchNorm whose batch is that of all ranks; torch's own does this on GPUs only. State as nn.BatchNorm2d."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        y = x.float()
        n = y.new_tensor(x.numel() // x.shape[1])  # not the same on all ranks: some batches have more others
        distributed.all_reduce(n)
        mean = SumOverRanks.apply(y.sum((0, 2, 3))) / n
        y = y - mean.view(1, -1, 1, 1)
        var = SumOverRanks.apply((y * y).sum((0, 2, 3))) / n  # of the centred values: nothing cancels
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)  # type: ignore[union-attr, arg-type]
            self.running_var.lerp_(var * n / (n - 1), self.momentum)  # type: ignore[union-attr, arg-type]
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        y = y * torch.rsqrt(var + self.eps).view(1, -1, 1, 1)
        if self.affine:
            y = y * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return y.to(x.dtype)


def replace_norms(module: nn.Module) -> None:
    """Turn every nn.BatchNorm2d inside into a SyncBatchNorm with the same parameters and state."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            norm = SyncBatchNorm(child.num_features, child.eps, child.momentum, child.affine)
            norm.load_state_dict(child.state_dict())
            setattr(module, name, norm.to(child.running_mean.device))  # type: ignore[union-attr]
        else:
            replace_norms(child)


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
        """The model with batch statistics over all ranks."""
        if self.world > 1 and self.device.type == "cuda":
            return cast(Animator, nn.SyncBatchNorm.convert_sync_batchnorm(model))
        if self.world > 1:
            replace_norms(model)
        return model

    def wrap(self, model: Animator) -> nn.Module:
        """The model with gradients averaged over all ranks; networks that do not learn stay out of it."""
        if self.world == 1:
            return model
        ids = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids)

    def highest(self, code: int) -> int:
        """The highest of the codes of all ranks, so that all do the same; the processes meet, no GPU is waited for."""
        if self.world == 1:
            return code
        value = torch.tensor(code)
        distributed.all_reduce(value, distributed.ReduceOp.MAX)
        return int(value)

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
        worst = self.highest(code)
        if worst and not code:
            raise SystemExit(worst)

    def leave(self) -> None:
        """The last call of a rank."""
        if self.world > 1 and distributed.is_initialized():
            distributed.destroy_process_group()


def join(device: str) -> Ranks:
    """The ranks that torchrun started, or one alone; nccl between GPUs, gloo between processes.

    Raises InputError for a device that is not there.
    """
    name = pick_device(device).name
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Ranks(torch.device(name))
    local = int(os.environ["LOCAL_RANK"])
    if name == "cuda":
        name = f"cuda:{local}"
        torch.cuda.set_device(name)
    backend = "cpu:gloo,cuda:nccl" if name.startswith("cuda") else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)
    return Ranks(torch.device(name), distributed.get_rank(), world, local)
