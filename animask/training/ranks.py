"""One process or many (torchrun): who am I, how gradients and batch statistics are shared."""

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.parallel import DistributedDataParallel

from animask.devices import pick_device
from animask.model import Animator


class SyncBatchNorm(nn.BatchNorm2d):
    """BatchNorm whose batch is that of all ranks; torch's own does this on GPUs only. State as nn.BatchNorm2d."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        y = x.float()
        sums = torch.stack((y.mean((0, 2, 3)), (y * y).mean((0, 2, 3))))
        mean, square = all_reduce(sums) / distributed.get_world_size()
        var = square - mean * mean
        with torch.no_grad():
            n = x.numel() // x.shape[1] * distributed.get_world_size()
            self.running_mean.lerp_(mean, self.momentum)  # type: ignore[union-attr, arg-type]
            self.running_var.lerp_(var * n / (n - 1), self.momentum)  # type: ignore[union-attr, arg-type]
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        y = (y - mean.view(1, -1, 1, 1)) * torch.rsqrt(var + self.eps).view(1, -1, 1, 1)
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
    """This process among its equals: number `rank` of `world`, computing on `device`."""

    device: torch.device
    rank: int = 0
    world: int = 1

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
        return DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank, so that all stop at the same step."""
        if self.world == 1:
            return flag
        value = torch.tensor(float(flag), device=self.device)
        distributed.all_reduce(value)
        return bool(value.item())

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the ranks of one tensor."""
        if self.world > 1:
            distributed.all_reduce(values)
        return values / self.world

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.world > 1:
            distributed.barrier()

    def leave(self) -> None:
        """The last call of a rank."""
        if self.world > 1 and distributed.is_initialized():
            distributed.destroy_process_group()


def join(device: str) -> Ranks:
    """The ranks that torchrun started, or one alone; nccl between GPUs, gloo between CPUs."""
    name = pick_device(device).name
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Ranks(torch.device(name))
    if name == "cuda":
        name = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(name)
    distributed.init_process_group("nccl" if name.startswith("cuda") else "gloo", timeout=timedelta(hours=2))
    return Ranks(torch.device(name), distributed.get_rank(), world)
