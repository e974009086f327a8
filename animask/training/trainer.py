"""One model in training and its step: equations (5) to (9)."""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor

from animask.config import TrainConfig
from animask.datasets import Batch
from animask.losses import Reconstruction, mask_loss
from animask.model import Animator, Trace, learns
from animask.perturb import augment
from animask.training.ranks import Ranks

MEASURES = (
    "loss",
    "loss_c",
    "loss_f",
    "loss_mask",
    "mask_mean",
    "mask_spread",
    "mask_motion",
    "l1_c",
    "l1_f",
    "l1_copy",
)


class Average:
    """Exponential moving average of the weights; buffers (running statistics) are copied.

    Its decay starts low, (1 + n) / (10 + n), so that the random weights of the start fade.
    """

    def __init__(self, model: Animator, decay: float) -> None:
        self.decay = decay
        self.module = copy.deepcopy(model).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, model: Animator, step: int) -> None:
        """Take in the weights after step number `step`."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.module.parameters()), list(model.parameters()), share)
        torch._foreach_copy_(list(self.module.buffers()), list(model.buffers()))


class Trainer:
    """The networks, their average, the optimiser, and how far they are.

    epoch: steps that make an epoch, unless config.steps sets their number, which then stand for config.epochs.
    step: steps done. samples: of the data set, drawn by all ranks together.
    """

    def __init__(self, model: Animator, loss: Reconstruction, config: TrainConfig, epoch: int, ranks: Ranks) -> None:
        self.config, self.ranks, self.device = config, ranks, ranks.device
        model = model.to(self.device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.model = ranks.synchronise(model)
        self.loss = loss.to(self.device)
        self.ema = Average(self.model, config.ema)
        if config.compile:  # each network whole; what joins them draws from a generator, where graphs break
            for network in (self.model.m, self.model.r, self.model.l, self.model.h):
                network.compile()
        betas = (config.beta1, config.beta2)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.lr, betas=betas, fused=True)
        self.step = self.samples = 0
        self.total = config.steps or config.epochs * epoch
        self.forward: Callable[..., Trace] | None = None

    def reached(self, epoch: float) -> bool:
        """Whether this many epochs are done; products, because a quotient may fall just short of an epoch."""
        return self.step * self.config.epochs >= epoch * self.total

    def lr(self) -> float:
        """The learning rate of the present step: warm-up, then ×0.1 decays or a cosine to zero."""
        config = self.config
        rate = config.lr * min(1.0, (self.step + 1) / max(1, config.warmup))
        if config.schedule == "cosine":
            return rate * (1 + math.cos(math.pi * self.step / self.total)) / 2
        return rate * 0.1 ** sum(map(self.reached, config.decay))

    def enter(self) -> Callable[..., Trace]:
        """Let r and h learn from their epochs on; wraps the model for the ranks again when that changes."""
        starts = ((self.model.r, self.config.r_start), (self.model.h, self.config.h_start))
        changed = [network for network, start in starts if learns(network) != self.reached(start)]
        for network in changed:
            network.requires_grad_(not learns(network))
        if self.forward is None or changed:
            self.forward = self.ranks.wrap(self.model)
        return self.forward

    def learn(self, batch: Batch) -> Tensor:
        """One step on uint8 frames; returns MEASURES as one tensor on the device, without waiting for it."""
        forward = self.enter()
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr()
        generator = torch.Generator(self.device).manual_seed(self.chance())
        s, d, target, other = self.frames(batch, generator)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            trace = forward(s, d, generator, other)
            losses = self.losses(trace, target)
        self.optimizer.zero_grad()
        losses[0].backward()
        self.optimizer.step()
        self.step += 1
        self.samples += len(s) * self.ranks.world
        self.ema.update(self.model, self.step)
        return measure(trace, s, target, losses)

    def chance(self) -> int:
        """The seed of this step's draws on this rank; from the step alone, so that a resumed run draws the same."""
        return (self.config.seed * 1_000_003 + self.step) * self.ranks.world + self.ranks.rank

    def frames(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Source, driver A(d), target and A(other) on the device, float in [0, 1]; with jitter "all" the pair shares
        an A too.
        """
        s, d, target, *others = (x.to(self.device, non_blocking=True).float() / 255 for x in batch if x is not None)
        d = augment(d, generator)
        other = augment(others[0], generator) if others else None
        if self.config.jitter == "all":
            s, target = augment(torch.cat((s, target), dim=3), generator).chunk(2, dim=3)  # one draw for the pair
        return s, d, target, other

    def losses(self, trace: Trace, target: Tensor) -> list[Tensor]:
        """The combined loss and its parts: loss, loss_c, loss_f, loss_mask."""
        truth = self.loss.features(target)
        loss_c = self.loss.distance(self.loss.features(trace.c), truth)  # eq. (9)
        loss_f = torch.zeros_like(loss_c)
        if learns(self.model.h):
            loss_f = self.loss.distance(self.loss.features(trace.f), truth)  # eq. (9)
        loss_mask = mask_loss(trace.m_dr, trace.m_d)  # eq. (8)
        loss = self.config.lambda_mask * loss_mask + self.config.lambda_rec * (loss_c + loss_f)
        return [loss, loss_c, loss_f, loss_mask]


@torch.no_grad()
def measure(trace: Trace, s: Tensor, target: Tensor, losses: list[Tensor]) -> Tensor:
    """MEASURES of one step; L1 figures are means over pixels in [0, 1], l1_copy that of answering the source."""
    spread = trace.m_d.std(dim=(1, 2, 3)).mean()
    motion = (trace.m_d - trace.m_s).abs().mean()
    images = [(x - target).abs().mean() for x in (trace.c, trace.f, s)]
    return torch.stack([*(x.float() for x in losses), trace.m_d.mean(), spread, motion, *images])
