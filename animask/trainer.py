"""One model in training: its step, its average, its learning rate, and how far it is."""

import copy
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from animask.config import TrainConfig
from animask.found import Found
from animask.model import Animator
from animask.pairs import Batch, shake
from animask.ranks import Ranks
from animask.taught import Taught

R_START = 1  # epochs before r learns to refine masks that are found
LEVEL, LEAST = 0.4, 0.02  # a cosine begins after this share of a run, and ends at this part of the rate
LONGEST = 100.0  # gradient of a taught step
SETTLING = 12  # batches that the statistics of the average are taken of


@torch.no_grad()
def average(ema: Animator, model: Animator, step: int, decay: float) -> None:
    """Take the weights after step number `step` into their moving average; running statistics are copied.

    The decay starts low, (1 + n) / (10 + n), so that the random weights of the start fade.
    """
    share = 1 - min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), share)
    torch._foreach_copy_(list(ema.buffers()), list(model.buffers()))


class Trainer:
    """The networks, their average, the optimiser, and how far they are.

    lesson: what makes a batch a loss. epoch: steps of one; config.steps or config.minutes take the place of
    config.epochs of them. step: steps done. samples: drawn by all ranks together. seconds: of all parts of the run.
    """

    def __init__(self, model: Animator, lesson: Found | Taught, config: TrainConfig, epoch: int, ranks: Ranks) -> None:
        self.config, self.ranks, self.device = config, ranks, ranks.device
        self.model = model.to(self.device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        if ranks.world > 1 and self.device.type == "cuda":  # on a CPU all would wait for all in every layer
            self.model = nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
        self.lesson = lesson.to(self.device)
        self.ema = copy.deepcopy(self.model).requires_grad_(False).eval()
        betas = (config.beta1, config.beta2)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.lr, betas=betas, fused=True)
        self.step, self.samples, self.seconds = 0, 0, 0.0
        self.total = config.steps or config.epochs * epoch

    def share(self) -> float:
        """How much of the run is done, 0 to 1."""
        if self.config.minutes is not None:
            return min(1.0, self.seconds / max(1e-9, 60 * self.config.minutes))
        return min(1.0, self.step / self.total)

    def reached(self, epoch: float) -> bool:
        """Whether this many epochs are done; a quotient may fall just short of one."""
        return self.share() * self.config.epochs >= epoch - 1e-6

    def lr(self) -> float:
        """The learning rate of the present step: warm-up, then ×0.1 decays or a late cosine."""
        config = self.config
        rate = config.lr * min(1.0, (self.step + 1) / max(1, config.warmup))
        if config.schedule == "cosine":
            x = max(0.0, self.share() - LEVEL) / (1 - LEVEL)
            return rate * (LEAST + (1 - LEAST) * (1 + math.cos(math.pi * x)) / 2)
        return rate * 0.1 ** sum(map(self.reached, config.decay))

    def learn(self, batch: Batch) -> dict[str, Tensor]:
        """One step on a loaded batch; returns its figures on the device, without waiting for them."""
        taught = self.config.masks == "taught"
        self.model.r.requires_grad_(taught or self.reached(R_START))
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr()
        loss, figures = self.judge(self.model, batch, self.chance())
        self.optimizer.zero_grad()
        loss.backward()
        self.ranks.share_gradients(self.model)
        if taught:
            nn.utils.clip_grad_norm_(self.model.parameters(), LONGEST)
        self.optimizer.step()
        self.step += 1
        self.samples += len(batch.s) * self.ranks.world
        average(self.ema, self.model, self.step, self.config.ema)
        return {name: value.detach().float() for name, value in figures.items()}

    def judge(self, model: Animator, batch: Batch, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a model and its figures on a loaded batch; all chance follows from the seed."""
        generator = torch.Generator(self.device).manual_seed(seed)
        batch = Batch(*(x.to(self.device, non_blocking=True) for x in batch))
        batch = shake(batch, self.config, model.config.mask_size, generator)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            return self.lesson(model, batch, generator)

    def chance(self) -> int:
        """The seed of this step's draws on this rank; from the step alone, so that a resumed run draws the same."""
        return (self.config.seed * 1_000_003 + self.step) * self.ranks.world + self.ranks.rank

    @torch.no_grad()
    def settle(self, batches: Iterator[Batch]) -> None:
        """Take BatchNorm's statistics of the averaged weights anew: copied ones belong to the last steps' weights."""
        model = self.ema
        for norm in model.modules():
            if isinstance(norm, nn.BatchNorm2d | nn.SyncBatchNorm):
                norm.reset_running_stats()
                norm.momentum = None  # the mean of all batches
        model.train()
        for number in range(SETTLING):
            self.judge(model, next(batches), self.chance() + number)
        model.eval()
