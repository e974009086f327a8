"""A training step in which masks are taught: m and r are shown the clay that they should draw, ℓ and h paint from it.

paper: m, ℓ and h learn from the reconstruction alone, and r from P_train; here: where clay is known, what a good mask
is can be shown, because finding it from nothing takes far more data and time. At test time nothing changes.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from animask.config import TrainConfig
from animask.found import measure
from animask.losses import clay_loss, clay_weight, pixel_loss, roughness
from animask.lpips import Lpips
from animask.model import Animator, View, whole
from animask.moves import borrow_outline, smooth_warp
from animask.networks import move
from animask.pairs import TOON, Batch
from animask.perturb import augment, p_test

OWN_CLAY, OTHER_CLAY = 0.3, 0.15  # how often P_test gets true clay of clips and of other toons, in place of m's masks
LENT = 0.65  # how often a clip's mask gets the outline of another
TRUTH = 0.08  # how often ℓ and h see true clay
RAW, RAW_TOON = 0.6, 0.35  # up to here m(d) itself, beyond it r's answer
AROUND = 0.6  # how often the crop lies around the face
SMOOTH = 4.0  # weight of a flow's roughness
SKIN = 0.47  # clay of a face is brighter


class Taught(nn.Module):
    """The loss of a batch for all four networks, and figures of it."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self.alex, self.vgg = Lpips("alex"), Lpips("vgg16")

    def forward(self, model: Animator, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """batch: floats in [0, 1] with clay, as `shake` makes them. The figures wait for no device."""
        s, target, clay, config = batch.s, batch.target, batch.clay_d, self.config
        view = window(clay, s.shape[3], config.crop or s.shape[3], generator)
        m_s, m_d, m_o = draw_masks(model, batch, generator)  # eq. (1)
        m_dp = perturb_masks(model, batch, m_d, m_o, generator)
        m_dr = model.refine(s, m_s, m_dp)  # eq. (2)
        m_x = choose_masks(batch, m_d, m_dr, generator)
        # paper: the loss on c trains m too; here: ℓ alone, because m is taught
        coarse = model.coarse(s, m_s.detach(), m_x)  # eq. (3)
        f = model.final(s, m_s, m_x, coarse, view)  # eq. (4)
        c, flow = coarse[:, :3], coarse[:, 3:]
        loss_m = 3 * clay_loss(torch.cat((m_s, m_d, m_o)), torch.cat((batch.clay_s, clay, batch.clay_o)))
        loss_r = 2 * clay_loss(m_dr, clay)
        weight, truth = model.up(clay_weight(clay)), view(target)
        loss_c, loss_f = pixel_loss(c - target, weight), pixel_loss(f - truth, view(weight))
        if model.config.flow:
            moved = move(model.down(s), model.down(flow))
            loss_c = loss_c + pixel_loss(moved - model.down(target), clay_weight(clay)) + SMOOTH * roughness(flow)
        looks_c, looks_f = self.looks(torch.cat((view(c), f)), torch.cat((truth, truth))).chunk(2)
        looks = looks_f.mean() + looks_c.mean() / 2
        loss = config.lambda_mask * (loss_m + loss_r) + config.lambda_rec * (loss_c + loss_f)
        loss = loss + config.lambda_looks * looks
        figures = {"loss": loss, "loss_c": loss_c, "loss_f": loss_f, "looks": looks_f.mean()}
        figures |= {"m": (m_d - clay).abs().mean(), "r": (m_dr - clay).abs().mean()}
        return loss, figures | measure(s, target, m_s, m_d, c, f, truth)

    def looks(self, x: Tensor, y: Tensor) -> Tensor:
        """LPIPS of two batches of images, (B,): by AlexNet, which takes every fourth pixel and alone would leave a
        lattice on faces, and by VGG-16.
        """
        return self.alex(x, y) + self.vgg(avg_pool2d(x, 2), avg_pool2d(y, 2))


def draw_masks(model: Animator, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """m of the source, of A(target) and of A(other), in one pass: BatchNorm sees all alike."""
    tinted = augment(torch.cat((batch.target, batch.other)), generator)
    m_s, m_d, m_o = model.m(torch.cat((batch.s, tinted))).split([len(batch.s), len(batch.target), len(batch.other)])
    return m_s, m_d, m_o


@torch.no_grad()
def perturb_masks(model: Animator, batch: Batch, m_d: Tensor, m_o: Tensor, generator: torch.Generator) -> Tensor:
    """What r gets: P_test of the other toon's mask; or of the own mask, as if it were of another person."""
    # paper: P_train of the own mask; here: the masks of others, because its strips and noise make r blur
    n, reals = len(m_o), len(m_d) - len(m_o)
    other = torch.where(draw(n, batch, generator) < OTHER_CLAY, batch.clay_o, m_o)
    own = torch.where(draw(reals, batch, generator) < OWN_CLAY, batch.clay_d[n:], m_d[n:])
    if reals:
        with torch.autocast(own.device.type, enabled=False):  # bfloat16 would blur the positions
            lent = borrow_outline(own, own.roll(1, 0), generator)
            own = smooth_warp(torch.where(draw(reals, batch, generator) < LENT, lent, own), generator)
    return p_test(torch.cat((other, own)), model.config.threshold, model.config.scale)


@torch.no_grad()
def choose_masks(batch: Batch, m_d: Tensor, m_dr: Tensor, generator: torch.Generator) -> Tensor:
    """The masks that ℓ and h follow: true clay, m(d), or r's answer, sample by sample."""
    chance = draw(len(m_d), batch, generator)
    raw = torch.where(batch.kinds == TOON, RAW_TOON, RAW).view(-1, 1, 1, 1)
    return torch.where(chance < TRUTH, batch.clay_d, torch.where(chance < raw, m_d, m_dr))


def draw(count: int, batch: Batch, generator: torch.Generator) -> Tensor:
    """Chances (count, 1, 1, 1) from [0, 1)."""
    return torch.rand((count, 1, 1, 1), device=batch.s.device, generator=generator)


def window(clay: Tensor, side: int, crop: int, generator: torch.Generator) -> View:
    """What cuts squares of `crop` pixels from batches of images of `side` pixels, the same from each batch.

    They lie around the face, which is what is bright in the clay (B, 1, S, S), in most samples, else anywhere: or
    backgrounds would blur.
    """
    if crop >= side:
        return whole
    b, size, device = len(clay), clay.shape[3], clay.device
    bright = (clay[:, 0] > SKIN).float()
    mass = bright.sum((1, 2))
    at = (torch.arange(size, device=device) + 0.5) * side / size
    middle = torch.stack(((bright.sum(2) * at).sum(1), (bright.sum(1) * at).sum(1)), dim=1) / mass.clamp(min=1)[:, None]
    jitter = (torch.rand((b, 2), device=device, generator=generator) * 2 - 1) * crop / 8
    anywhere = torch.rand((b, 2), device=device, generator=generator) * (side - crop)
    around = (torch.rand(b, device=device, generator=generator) < AROUND) & (mass >= size * size / 200)
    corner = torch.where(around[:, None], (middle - crop / 2 + jitter).clamp(0, side - crop), anywhere).round().long()
    line = torch.arange(crop, device=device)
    rows, columns = (corner[:, i, None] + line for i in (0, 1))

    def cut(x: Tensor) -> Tensor:
        x = x.gather(2, rows.view(b, 1, crop, 1).expand(-1, x.shape[1], -1, side))
        return x.gather(3, columns.view(b, 1, 1, crop).expand(-1, x.shape[1], crop, -1))

    return cut
