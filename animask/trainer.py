"""One model in training: its step, its average, its learning rate, how far it is, and its checkpoint."""

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from animask.config import TrainConfig
from animask.errors import InputError
from animask.model import Animator
from animask.objectives import Found, Taught
from animask.pairs import Batch, shake
from animask.ranks import Ranks
from animask.weights import read_config, read_metadata, read_tensors, write_tensors

R_START = 1  # epochs before r learns to refine masks that are found
LEVEL, LEAST = 0.4, 0.02  # a cosine begins after this share of a run, and ends at this part of the rate
LONGEST = 100.0  # gradient of a taught step
CHECKPOINT = "checkpoint.safetensors"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")
SETTLING = 12  # batches that the statistics of the average are taken of


@torch.no_grad()
def update_average(ema: Animator, model: Animator, step: int, decay: float) -> None:
    """Take the weights after step number `step` into their moving average; running statistics are copied."""
    share = 1 - min(decay, (1 + step) / (10 + step))  # at first low, so that random weights fade
    torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), share)
    torch._foreach_copy_(list(ema.buffers()), list(model.buffers()))


class Trainer:
    """The networks, their average, the optimiser, and how far they are."""

    def __init__(
        self, model: Animator, objective: Found | Taught, config: TrainConfig, epoch: int, ranks: Ranks
    ) -> None:
        """objective: what makes a batch a loss. epoch: steps of one."""
        self.config, self.ranks, self.device = config, ranks, ranks.device
        self.model = model.to(self.device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        if ranks.world > 1 and self.device.type == "cuda":  # on a CPU all would wait for all in every layer
            self.model = nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
        self.objective = objective.to(self.device)
        self.ema = copy.deepcopy(self.model).requires_grad_(False).eval()
        betas = (config.beta1, config.beta2)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.lr, betas=betas, fused=True)
        self.step, self.samples, self.seconds = 0, 0, 0.0  # done; drawn by all ranks together; of all parts of the run
        self.total = config.steps or config.epochs * epoch  # steps; config.minutes take their place

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
        update_average(self.ema, self.model, self.step, self.config.ema)
        return {name: value.detach().float() for name, value in figures.items()}

    def judge(self, model: Animator, batch: Batch, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a model and its figures on a loaded batch; all chance follows from the seed."""
        generator = torch.Generator(self.device).manual_seed(seed)
        batch = Batch(*(x.to(self.device, non_blocking=True) for x in batch))
        batch = shake(batch, self.config, model.config.mask_size, generator)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            return self.objective(model, batch, generator)

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


def save_checkpoint(trainer: Trainer, run: Path) -> None:
    """Everything that a resumed run needs, written beside and renamed: a kill leaves the last one whole.

    Random states are not among it: they follow from seed and position. Leaves the file as it is and raises
    FloatingPointError if a weight is not finite, AnimaskError if the disk is full.
    """
    tensors = {f"model.{key}": value for key, value in trainer.model.state_dict().items()}
    tensors |= {f"ema.{key}": value for key, value in trainer.ema.state_dict().items()}
    for name, parameter in trainer.model.named_parameters():
        for key, value in trainer.optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = value
    bad = [key for key, value in tensors.items() if not value.isfinite().all()]
    if bad:
        raise FloatingPointError(f"{bad[0]} is not finite")
    tensors = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in tensors.items()}
    about = {"config": json.dumps(asdict(trainer.model.config)), "step": str(trainer.step)}
    about |= {"samples": str(trainer.samples), "seconds": str(trainer.seconds)}
    write_tensors(tensors, run / CHECKPOINT, about)


def load_checkpoint(trainer: Trainer, run: Path) -> None:
    """Continue from the checkpoint of a run folder; InputError if it cannot be read, or is of another model."""
    path = run / CHECKPOINT
    about = read_metadata(path)
    saved, wanted = asdict(read_config(path, about)), asdict(trainer.model.config)
    different = [f"{key} = {saved[key]!r}" for key in saved if saved[key] != wanted[key]]
    if different:
        words = f"{path} is of another model: {', '.join(different)}."
        raise InputError(words, "Resume with the settings that the run began with.")
    try:
        tensors = read_tensors(path)
        for prefix, module in (("model.", trainer.model), ("ema.", trainer.ema)):
            module.load_state_dict({x.removeprefix(prefix): tensors[x] for x in tensors if x.startswith(prefix)})
        for name, parameter in trainer.model.named_parameters():
            if f"optimizer.step.{name}" in tensors:  # not of r, where it does not learn yet
                step, *moments = (tensors[f"optimizer.{key}.{name}"].to(parameter.device) for key in MOMENTS)
                # as the optimiser makes them, with the parameter's order in memory
                moments = [torch.empty_like(parameter).copy_(moment) for moment in moments]
                trainer.optimizer.state[parameter] = dict(zip(MOMENTS, (step, *moments), strict=True))
        trainer.step, trainer.samples = int(about["step"]), int(about["samples"])
        trainer.seconds = float(about["seconds"])
    except (KeyError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is damaged: {reason}.", "Start a new run with another --out.") from error
