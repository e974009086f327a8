"""The training loop: equations (5) to (9), on one device or on many ranks; resumable at any step."""

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from animask.config import TrainConfig, model_from_dict, to_dict
from animask.datasets import Batch, Numbers, Pairs, collate
from animask.errors import AnimaskError, InputError
from animask.images import to_images, write_image
from animask.losses import mask_loss
from animask.model import Animator, Trace
from animask.perturb import augment
from animask.weights import read_metadata, read_tensors, save_model, write_tensors

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


def average(decay: float) -> Callable[..., None]:
    """EMA of the weights whose decay starts low, (1 + n) / (10 + n), so that the first random weights fade."""

    def update(kept: list[Tensor], now: list[Tensor], count: Tensor) -> None:
        n = float(count)
        torch._foreach_lerp_(kept, now, 1 - min(decay, (1 + n) / (10 + n)))

    return update


class Trainer:
    """One model in training: the networks, their average, the optimiser, and the number of steps done."""

    def __init__(
        self, model: Animator, loss: nn.Module, config: TrainConfig, epoch: int, device: torch.device
    ) -> None:
        self.config, self.device, self.epoch = config, device, epoch
        self.model = model.to(device, memory_format=torch.channels_last).train()
        self.loss = loss.to(device, memory_format=torch.channels_last)
        self.ema = AveragedModel(model, multi_avg_fn=average(config.ema))
        betas = (config.beta1, config.beta2)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, betas=betas, fused=True)
        self.step = 0
        self.total = config.steps or config.epochs * epoch
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")

    def lr(self) -> float:
        """The learning rate of the present step: warm-up, then ×0.1 decays or a cosine to zero."""
        config, done = self.config, self.step / self.total
        rate = config.lr * min(1.0, (self.step + 1) / max(1, config.warmup))
        if config.schedule == "cosine":
            return rate * (1 + math.cos(math.pi * done)) / 2
        return rate * 0.1 ** sum(done * config.epochs >= epoch for epoch in config.decay)

    def learn(self, batch: Batch) -> Tensor:
        """One step on a batch of uint8 frames; returns MEASURES as one detached tensor, without waiting for it."""
        config = self.config
        done = self.step / self.total * config.epochs
        self.model.r.requires_grad_(done >= config.r_start)
        self.model.h.requires_grad_(done >= config.h_start)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr()
        generator = torch.Generator(self.device).manual_seed(config.seed * 1_000_003 + self.step)
        s, d, target = (x.to(self.device, non_blocking=True).float() / 255 for x in batch)
        with self.autocast:
            trace = self.model(s, augment(d, generator), generator)
        truth = self.loss.features(target)
        loss_c = self.loss.distance(self.loss.features(trace.c.float()), truth)  # eq. (9)
        loss_f = loss_c.new_zeros(())
        if trace.f is not None:
            loss_f = self.loss.distance(self.loss.features(trace.f.float()), truth)
        loss_mask = mask_loss(trace.m_dr.float(), trace.m_d.float())  # eq. (8)
        loss = config.lambda_mask * loss_mask + config.lambda_rec * (loss_c + loss_f)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.ema.update_parameters(self.model)
        self.step += 1
        return measure(trace, s, target, (loss, loss_c, loss_f, loss_mask))


@torch.no_grad()
def measure(trace: Trace, s: Tensor, target: Tensor, losses: tuple[Tensor, ...]) -> Tensor:
    """MEASURES of one step; L1 figures are means over pixels in [0, 1]."""
    f = trace.c if trace.f is None else trace.f
    m_s, m_d = trace.m_s.float(), trace.m_d.float()
    spread = m_d.std(dim=(1, 2, 3)).mean()
    images = [(x.float() - target).abs().mean() for x in (trace.c, f, s)]
    return torch.stack([*losses, m_d.mean(), spread, (m_d - m_s).abs().mean(), *images]).detach().float()


CHECKPOINT, PREVIOUS, WEIGHTS = (
    "checkpoint.safetensors",
    "checkpoint.previous.safetensors",
    "weights.safetensors",
)


def save_checkpoint(trainer: Trainer, run: Path) -> None:
    """Everything that a resumed run needs, under a temporary name first; the one before is kept as PREVIOUS."""
    tensors = {f"model.{key}": value for key, value in trainer.model.state_dict().items()}
    tensors |= {f"ema.{key}": value for key, value in trainer.ema.state_dict().items()}
    for name, parameter in trainer.model.named_parameters():
        for key, value in trainer.optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = value
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    path = run / CHECKPOINT
    if path.exists():
        path.replace(run / PREVIOUS)
    about = {
        "config": json.dumps(to_dict(trainer.model.config)),
        "train": json.dumps(to_dict(trainer.config)),
    }
    write_tensors(tensors, path, {**about, "step": str(trainer.step)})


def load_checkpoint(trainer: Trainer, run: Path) -> None:
    """Continue from the last checkpoint of a run folder, or from the one before it if the last is unreadable."""
    for path in (run / CHECKPOINT, run / PREVIOUS):
        if path.exists():
            break
    else:
        raise InputError(f"{run} holds no checkpoint to resume from", "leave --resume out to start a new run")
    metadata = read_metadata(path)
    if model_from_dict(json.loads(metadata["config"])) != trainer.model.config:
        raise InputError(
            f"{path} was trained with another model configuration", "resume with the same settings"
        )
    tensors = read_tensors(path)
    for name, module in (("model.", trainer.model), ("ema.", trainer.ema)):
        state = {key.removeprefix(name): value for key, value in tensors.items() if key.startswith(name)}
        module.load_state_dict(state)
    for name, parameter in trainer.model.named_parameters():
        keys = ("step", "exp_avg", "exp_avg_sq")
        if f"optimizer.step.{name}" in tensors:
            state = {key: tensors[f"optimizer.{key}.{name}"] for key in keys}
            trainer.optimizer.state[parameter] = {
                key: value if key == "step" else value.to(parameter) for key, value in state.items()
            }
    trainer.step = int(metadata["step"])
