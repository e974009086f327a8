"""`Animator`: the equations that join the four networks; the one core of animate, train and eval.

s: source, d: driver, m: masks (`m_s`, `m_d` raw, `m_dp` perturbed, `m_dr` refined), c: coarse, f: final.
Frames are (B, 3, R, R) and masks (B, 1, R/4, R/4), float in [0, 1].
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from animask.config import ModelConfig
from animask.networks import HighResGenerator, LowResGenerator, MaskGenerator, MaskRefiner, down, move, up
from animask.perturb import Threshold, p_test, p_train

View = Callable[[Tensor], Tensor]
Ablation = Literal["none", "no_pert", "no_ref", "no_id"]  # section 4.3: without P_test, without r, without both


class Trace(NamedTuple):
    """What one driven frame leaves behind, the columns of the paper's figure 3."""

    m_s: Tensor
    m_d: Tensor
    m_dp: Tensor
    m_dr: Tensor
    c: Tensor
    f: Tensor


def cat(*tensors: Tensor) -> Tensor:
    """Join along the channels; a batch of one is repeated for the others."""
    batch = max(x.shape[0] for x in tensors)
    return torch.cat([x.expand(batch, -1, -1, -1) for x in tensors], dim=1)


def whole(x: Tensor) -> Tensor:
    """All of an image."""
    return x


class Animator(nn.Module):
    """m, r, ℓ (`l`) and h, and the equations between them. The `detach` calls live here and nowhere else."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.m = MaskGenerator(config)
        self.r = MaskRefiner(config)
        self.l = LowResGenerator(config)
        self.h = HighResGenerator(config)
        self.down, self.up = partial(down, factor=config.reduction), partial(up, factor=config.reduction)  # D, U

    def refine(self, s: Tensor, m_s: Tensor, m_dp: Tensor) -> Tensor:
        """The perturbed driver mask with the identity of the source; the loss on it trains r only."""
        return self.r(cat(self.down(s), m_s.detach(), m_dp.detach()))  # eq. (2), (5)

    def coarse(self, s: Tensor, m_s: Tensor, m_x: Tensor) -> Tensor:
        """c, and the flow if there is one, from the source and the mask to follow; the loss on it trains ℓ and m."""
        return self.l(cat(self.down(s), m_s, m_x))  # eq. (3), (6)

    def final(self, s: Tensor, m_s: Tensor, m_x: Tensor, c: Tensor, view: View = whole) -> Tensor:
        """f, or a part of it, from c and the full-size source; the loss on it trains h only, and the flow.

        c: as `coarse` gives it. view: what cuts the part from a batch of full-size images.
        """
        c, flow = c[:, :3].detach(), c[:, 3:]
        seen = cat(s, self.up(m_s).detach())
        if self.config.flow:
            seen = move(seen, flow)  # paper: h sees the source as it is; here, with flow: where it should be
        return self.h(view(cat(seen, self.up(m_x).detach(), c)))  # eq. (4), (7)

    def render(self, s: Tensor, m_s: Tensor, m_x: Tensor) -> tuple[Tensor, Tensor]:
        """c and f from the source and the mask to follow: refined to animate, raw (m(d)) to reconstruct."""
        c = self.coarse(s, m_s, m_x)  # eq. (3), (6)
        return c[:, :3], self.final(s, m_s, m_x, c)  # eq. (4), (7)

    def drive(
        self,
        s: Tensor,
        m_s: Tensor,
        d: Tensor,
        ablation: Ablation = "none",
        threshold: Threshold | None = None,
        scale: float | None = None,
    ) -> Trace:
        """Test time, equations (2) to (4); m_s = m(s), eq. (1), is computed once per source by the caller.

        s: (1 or B, 3, R, R), m_s: its mask, d: (B, 3, R, R). ablation: the step that is left out; without both
        ("no_id") the generators see m(d) itself, which is how the paper reconstructs. threshold (ρ), scale: of
        P_test, None for those of the configuration.
        """
        m_d = self.m(d)
        perturbs, refines = ablation in ("none", "no_ref"), ablation in ("none", "no_pert")
        threshold = self.config.threshold if threshold is None else threshold
        scale = self.config.scale if scale is None else scale
        m_dp = p_test(m_d, threshold, scale) if perturbs else m_d
        m_dr = self.refine(s, m_s, m_dp) if refines else m_dp  # eq. (2)
        c, f = self.render(s, m_s, m_dr)  # eq. (3), (4)
        return Trace(m_s, m_d, m_dp, m_dr, c, f)

    def forward(self, s: Tensor, d: Tensor, generator: torch.Generator | None = None) -> Trace:
        """Training, equations (5) to (7): ℓ and h see the raw driver mask. s, d = A(target): (B, 3, R, R).

        Of the masks in the trace, only m_dr carries a gradient.
        """
        m_s, m_d = self.m(torch.cat((s, d))).chunk(2)  # one pass: BatchNorm sees both alike
        m_dp = p_train(m_d.detach(), self.config.threshold_train, self.config.cuts, generator)
        m_dr = self.refine(s, m_s, m_dp)  # eq. (5)
        c, f = self.render(s, m_s, m_d)  # eq. (6), (7): of the raw driver mask
        return Trace(m_s.detach(), m_d.detach(), m_dp, m_dr, c, f)
