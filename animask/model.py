"""`Animator`: the equations that join the four networks; the one core of animate, train and eval.

s: source, d: driver, m: masks (`m_s`, `m_d` raw, `m_dp` perturbed, `m_dr` refined), c: coarse, f: final.
Frames are (B, 3, R, R) and masks (B, 1, R/4, R/4), float in [0, 1].
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from animask.config import ModelConfig
from animask.networks import HighResGenerator, LowResGenerator, MaskGenerator, MaskRefiner, down, up
from animask.perturb import p_test, p_train

Ablation = Literal["none", "no_pert", "no_ref", "no_id"]  # section 4.3: without P_test, without r, without both


class Trace(NamedTuple):
    """What one driven frame leaves behind, the columns of the paper's figure 3; f is c if h is not run."""

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


def learns(network: nn.Module) -> bool:
    """Whether a network's parameters take gradients."""
    return next(network.parameters()).requires_grad


class Animator(nn.Module):
    """m, r, ℓ (`l`) and h, and the equations between them. The `detach` calls live here and nowhere else."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.m = MaskGenerator(config)
        self.r = MaskRefiner(config)
        self.l = LowResGenerator(config)
        self.h = HighResGenerator(config)

    def refine(self, s: Tensor, m_s: Tensor, m_dp: Tensor) -> Tensor:
        """The perturbed driver mask with the identity of the source; the loss on it trains r only."""
        return self.r(cat(self.down(s), m_s.detach(), m_dp.detach()))  # eq. (2), (5)

    def coarse(self, s: Tensor, m_s: Tensor, m_x: Tensor) -> Tensor:
        """c from the source and the mask to follow; the loss on it trains ℓ and m."""
        return self.l(cat(self.down(s), m_s, m_x))  # eq. (3), (6)

    def final(self, s: Tensor, m_s: Tensor, m_x: Tensor, c: Tensor) -> Tensor:
        """f from c and the full-size source; the loss on it trains h only."""
        return self.h(cat(s, self.up(m_s).detach(), self.up(m_x).detach(), c.detach()))  # eq. (4), (7)

    def render(self, s: Tensor, m_s: Tensor, m_x: Tensor) -> tuple[Tensor, Tensor]:
        """c and f from the source and the mask to follow: refined to animate, raw (m(d)) to reconstruct."""
        c = self.coarse(s, m_s, m_x)  # eq. (3), (6)
        return c, self.final(s, m_s, m_x, c)  # eq. (4), (7)

    def drive(self, s: Tensor, m_s: Tensor, d: Tensor, ablation: Ablation = "none") -> Trace:
        """Test time, equations (2) to (4); m_s = m(s), eq. (1), is computed once per source by the caller.

        s: (1 or B, 3, R, R), m_s: its mask, d: (B, 3, R, R). ablation: the step that is left out; without both
        ("no_id") the generators see m(d) itself, which is how the paper reconstructs.
        """
        return self.follow(s, m_s, self.m(d), ablation)

    def follow(self, s: Tensor, m_s: Tensor, m_d: Tensor, ablation: Ablation = "none") -> Trace:
        """`drive` by the raw masks of the driver frames, m_d = m(d): (B, 1, R/4, R/4)."""
        perturbs, refines = ablation in ("none", "no_ref"), ablation in ("none", "no_pert")
        m_dp = p_test(m_d, self.config.threshold, self.config.scale) if perturbs else m_d
        m_dr = self.refine(s, m_s, m_dp) if refines else m_dp  # eq. (2)
        c, f = self.render(s, m_s, m_dr)  # eq. (3), (4)
        return Trace(m_s, m_d, m_dp, m_dr, c, f)

    def forward(
        self, s: Tensor, d: Tensor, generator: torch.Generator | None = None, other: Tensor | None = None
    ) -> Trace:
        """Training, equations (5) to (7): ℓ and h see the raw driver mask. s, d = A(target): (B, 3, R, R).

        h is left out (f is c) while its parameters do not learn. Of the masks in the trace, only m_dr
        carries a gradient.

        other: (K, 3, R, R), other identities in the poses of the last K targets; rendered data can have them.
        # paper: no data show two identities in one pose, so r learns from P_train alone and ℓ and h from raw masks.
        # here: these K go the way of test time, P_test and r, with the truth known; the shortest way to r's task.
        """
        if other is None:
            m_s, m_d = self.m(torch.cat((s, d))).chunk(2)  # one pass, so that BatchNorm sees both alike
            m_dp = p_train(m_d.detach(), self.config.threshold_train, self.config.cuts, generator)
            m_dr = self.refine(s, m_s, m_dp)  # eq. (5)
            m_x = m_d
        else:
            n, own = len(s), len(s) - len(other)
            m_s, m_d, m_o = self.m(torch.cat((s, d, other))).split((n, n, len(other)))
            m_dp = p_train(m_d[:own].detach(), self.config.threshold_train, self.config.cuts, generator)
            m_dp = torch.cat((m_dp, p_test(m_o.detach(), self.config.threshold, self.config.scale)))
            m_dr = self.refine(s, m_s, m_dp)
            refined = m_dr[own:].detach() if learns(self.r) else m_d[own:]  # r's answer is noise before it learns
            m_x = torch.cat((m_d[:own], refined))
        c = self.coarse(s, m_s, m_x)  # eq. (6)
        f = self.final(s, m_s, m_x, c) if learns(self.h) else c  # eq. (7)
        return Trace(m_s.detach(), m_d.detach(), m_dp, m_dr, c, f)

    def down(self, x: Tensor) -> Tensor:
        """D of the paper."""
        return down(x, self.config.reduction)

    def up(self, x: Tensor) -> Tensor:
        """U of the paper."""
        return up(x, self.config.reduction)
