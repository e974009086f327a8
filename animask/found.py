"""A training step in which masks are found, as in the paper: equations (5) to (9)."""

import torch
from torch import Tensor, nn

from animask.config import TrainConfig
from animask.losses import make_loss, mask_loss
from animask.model import Animator
from animask.pairs import Batch
from animask.perturb import augment


class Found(nn.Module):
    """The loss of a batch for all four networks, and figures of it. vgg: ImageNet's weights, where they are needed."""

    def __init__(self, config: TrainConfig, vgg: dict[str, Tensor] | None) -> None:
        super().__init__()
        self.config = config
        self.loss = make_loss(config.perceptual, config.perceptual_layers, config.scales, vgg)

    def forward(self, model: Animator, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """batch: floats in [0, 1], as `shake` makes them. Raises nothing; the figures wait for no device."""
        s, target = batch.s, batch.target
        d = augment(target, generator)
        if self.config.jitter == "all":
            s, target = augment(torch.cat((s, target), dim=3), generator).chunk(2, dim=3)  # one draw for the pair
        trace = model(s, d, generator)  # eq. (5) to (7)
        truth = self.loss.features(target)
        loss_c = self.loss.distance(self.loss.features(trace.c), truth)  # eq. (9)
        loss_f = self.loss.distance(self.loss.features(trace.f), truth)  # eq. (9)
        loss_mask = mask_loss(trace.m_dr, trace.m_d)  # eq. (8)
        loss = self.config.lambda_mask * loss_mask + self.config.lambda_rec * (loss_c + loss_f)
        figures = {"loss": loss, "loss_c": loss_c, "loss_f": loss_f, "loss_mask": loss_mask}
        return loss, figures | measure(s, target, trace.m_s, trace.m_d, trace.c, trace.f, target)


@torch.no_grad()
def measure(
    s: Tensor, target: Tensor, m_s: Tensor, m_d: Tensor, c: Tensor, f: Tensor, truth: Tensor
) -> dict[str, Tensor]:
    """What the masks are like, and L1 of c, f and of answering the source; means over pixels in [0, 1].

    truth: the target, or the part of it that f shows.
    """
    return {
        "l1_c": (c - target).abs().mean(),
        "l1_f": (f - truth).abs().mean(),
        "l1_copy": (s - target).abs().mean(),
        "mask_mean": m_d.mean(),
        "mask_spread": m_d.std(dim=(1, 2, 3)).mean(),
        "mask_motion": (m_d - m_s).abs().mean(),
    }
