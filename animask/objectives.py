"""The two ways masks are learnt: found, as in the paper, equations (5) to (9); and taught, where m and r are shown the
clay that they should draw, and ℓ and h paint from it.

paper: m, ℓ and h learn from the reconstruction alone, and r from P_train; here, taught: where clay is known, what a
good mask is can be shown, because finding it from nothing takes far more data and time. At test time nothing changes.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d

from animask.config import TrainConfig
from animask.losses import LooksLoss, Lpips, PerceptualLoss, clay_loss, clay_weight, mask_loss, pixel_loss, roughness
from animask.model import Animator, View, whole
from animask.networks import move
from animask.pairs import TOON, Batch, resample
from animask.perturb import augment, p_test, uniform
from animask.weights import fetch_vgg19

OWN_CLAY, OTHER_CLAY = 0.3, 0.15  # how often P_test gets true clay of clips and of other toons, in place of m's masks
LENT = 0.65  # how often a clip's mask gets the outline of another
TRUTH = 0.08  # how often ℓ and h see true clay
RAW, RAW_TOON = 0.6, 0.35  # up to here m(d) itself, beyond it r's answer
AROUND = 0.6  # how often the crop lies around the face
SMOOTH = 4.0  # weight of a flow's roughness
SKIN = 0.47  # clay of a face is brighter
STRETCH = 0.18, 0.15  # of a warped mask, along x and y
WAVE = 0.035  # of a warped mask: spread of its 4×4 points
FACE = 0.38  # in masks a face is brighter, hair and clothes are darker
BODY = 68 / 255  # clay of a real person outside the face
SMALLEST = 0.015  # part of a mask that a face covers at least


class Found(nn.Module):
    """The paper's loss of a batch for all four networks, and figures of it; MissingError where VGG-19 is not there."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self.loss: PerceptualLoss | LooksLoss
        if config.perceptual == "lpips":
            self.loss = LooksLoss(config.scales)
        else:
            self.loss = PerceptualLoss(config.perceptual_layers, config.scales, fetch_vgg19())

    def forward(self, model: Animator, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """batch: floats in [0, 1], as `shake` makes them. The figures wait for no device."""
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
        tinted = augment(torch.cat((target, batch.other)), generator)
        # one pass: BatchNorm sees all alike
        m_s, m_d, m_o = model.m(torch.cat((s, tinted))).split([len(s), len(s), len(batch.other)])  # eq. (1)
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
        x, y = torch.cat((view(c), f)), torch.cat((truth, truth))
        # AlexNet takes every fourth pixel and alone would leave a lattice on faces
        looks_c, looks_f = (self.alex(x, y) + self.vgg(avg_pool2d(x, 2), avg_pool2d(y, 2))).chunk(2)
        looks = looks_f.mean() + looks_c.mean() / 2
        loss = config.lambda_mask * (loss_m + loss_r) + config.lambda_rec * (loss_c + loss_f)
        loss = loss + config.lambda_looks * looks
        figures = {"loss": loss, "loss_c": loss_c, "loss_f": loss_f, "looks": looks_f.mean()}
        figures |= {"m": (m_d - clay).abs().mean(), "r": (m_dr - clay).abs().mean()}
        return loss, figures | measure(s, target, m_s, m_d, c, f, truth)


@torch.no_grad()
def perturb_masks(model: Animator, batch: Batch, m_d: Tensor, m_o: Tensor, generator: torch.Generator) -> Tensor:
    """What r gets: P_test of the other toon's mask; or of the own mask, as if it were of another person."""
    # paper: P_train of the own mask; here: the masks of others, because its strips and noise make r blur
    n, reals = len(m_o), len(m_d) - len(m_o)
    other = torch.where(uniform((n, 1, 1, 1), 0, 1, m_o, generator) < OTHER_CLAY, batch.clay_o, m_o)
    own = torch.where(uniform((reals, 1, 1, 1), 0, 1, m_d, generator) < OWN_CLAY, batch.clay_d[n:], m_d[n:])
    if reals:
        with torch.autocast(own.device.type, enabled=False):  # bfloat16 would blur the positions
            lent = borrow_outline(own, own.roll(1, 0), generator)
            lends = uniform((reals, 1, 1, 1), 0, 1, own, generator) < LENT
            own = smooth_warp(torch.where(lends, lent, own), generator)
    return p_test(torch.cat((other, own)), model.config.threshold, model.config.scale)


@torch.no_grad()
def choose_masks(batch: Batch, m_d: Tensor, m_dr: Tensor, generator: torch.Generator) -> Tensor:
    """The masks that ℓ and h follow: true clay, m(d), or r's answer, sample by sample."""
    chance = uniform((len(m_d), 1, 1, 1), 0, 1, m_d, generator)
    raw = torch.where(batch.kinds == TOON, RAW_TOON, RAW).view(-1, 1, 1, 1)
    return torch.where(chance < TRUTH, batch.clay_d, torch.where(chance < raw, m_d, m_dr))


def window(clay: Tensor, side: int, crop: int, generator: torch.Generator) -> View:
    """What cuts `crop`² pixels from batches of images of side², from each at one place; clay: (B, 1, S, S).

    Mostly around the face, which is bright in the clay, else anywhere: or backgrounds would blur.
    """
    if crop >= side:
        return whole
    b, size, device = len(clay), clay.shape[3], clay.device
    bright = (clay[:, 0] > SKIN).float()
    mass = bright.sum((1, 2))
    at = (torch.arange(size, device=device) + 0.5) * side / size
    middle = torch.stack(((bright.sum(2) * at).sum(1), (bright.sum(1) * at).sum(1)), dim=1) / mass.clamp(min=1)[:, None]
    jitter = uniform((b, 2), -1, 1, clay, generator) * crop / 8
    anywhere = uniform((b, 2), 0, side - crop, clay, generator)
    around = (uniform((b,), 0, 1, clay, generator) < AROUND) & (mass >= size * size / 200)
    corner = torch.where(around[:, None], (middle - crop / 2 + jitter).clamp(0, side - crop), anywhere).round().long()
    line = torch.arange(crop, device=device)
    rows, columns = (corner[:, i, None] + line for i in (0, 1))

    def cut(x: Tensor) -> Tensor:
        x = x.gather(2, rows.view(b, 1, crop, 1).expand(-1, x.shape[1], -1, side))
        return x.gather(3, columns.view(b, 1, 1, crop).expand(-1, x.shape[1], crop, -1))

    return cut


@torch.no_grad()
def measure(
    s: Tensor, target: Tensor, m_s: Tensor, m_d: Tensor, c: Tensor, f: Tensor, truth: Tensor
) -> dict[str, Tensor]:
    """What the masks are like, and L1 of c, f and of answering the source; means over pixels in [0, 1].

    truth: the target, or the part of it that f shows.
    """
    frames = {"l1_c": (c - target).abs().mean(), "l1_f": (f - truth).abs().mean(), "l1_copy": (s - target).abs().mean()}
    spread, motion = m_d.std(dim=(1, 2, 3)).mean(), (m_d - m_s).abs().mean()
    return {**frames, "mask_mean": m_d.mean(), "mask_spread": spread, "mask_motion": motion}


def centre(mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Centre of mass x and y, each (B,), in [-1, 1], and the mass, of masks (B, 1, S, S)."""
    at = torch.linspace(-1, 1, mask.shape[3], device=mask.device)
    mass = mask.sum((1, 2, 3)).clamp(min=1e-6)
    return (mask.sum((1, 2)) * at).sum(1) / mass, (mask.sum((1, 3)) * at).sum(1) / mass, mass


def smooth_warp(mask: Tensor, generator: torch.Generator) -> Tensor:
    """A mask (B, 1, S, S) as of a person of another build: stretched about its centre of mass, and bent smoothly."""
    x, y, _ = centre(mask)
    sx, sy = (1 + uniform((len(mask),), -s, s, mask, generator) for s in STRETCH)
    zero = torch.zeros_like(x)
    wave = torch.randn((len(mask), 2, 4, 4), device=mask.device, generator=generator) * WAVE
    return resample(mask, (sx, zero, x * (1 - sx), zero, sy, y * (1 - sy)), wave, "border").clamp(0, 1)


def face(mask: Tensor) -> Tensor:
    """Where the face is in masks (B, 1, S, S), 1 or 0, its holes closed."""
    size = mask.shape[3] // 8 | 1
    grown = max_pool2d((mask > FACE).float(), size, 1, size // 2)
    return -max_pool2d(-grown, size, 1, size // 2)


def borrow_outline(own: Tensor, other: Tensor, generator: torch.Generator) -> Tensor:
    """The face of `own` within the outline of `other`, `own` where one of them has none; masks (B, 1, S, S)."""
    mine, lent = face(own), face(other)
    (x, y, mass), (x_lent, y_lent, mass_lent) = centre(mine), centre(lent)
    k = (mass_lent / mass).sqrt() * (1 + uniform((len(own),), -0.1, 0.1, own, generator))
    dx, dy = uniform((2, len(own)), -0.06, 0.06, own, generator)
    zero = torch.zeros_like(k)
    matrix = (k, zero, x_lent - k * (x + dx), zero, k, y_lent - k * (y + dy))
    outline = resample(torch.where(lent > 0.5, BODY, other), matrix, own.new_zeros((len(own), 2, 4, 4)), "border")
    soft = avg_pool2d(mine, 3, 1, 1)
    shown = torch.minimum(mass, mass_lent) > SMALLEST * own[0].numel()
    return torch.where(shown.view(-1, 1, 1, 1), soft * own + (1 - soft) * outline, own)
