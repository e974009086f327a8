"""What a model in training does: held-out figures and picture sheets, through the code that users run."""

from typing import NamedTuple

import numpy as np
import torch

from animask.animation import encode_source, lay_out, trace_frames
from animask.datasets import Pairs
from animask.images import to_tensor
from animask.model import Animator

CASES = 32  # held-out pairs that are measured
SHOWN = 4  # of them in the sheet: driven by their own target, then by the target of the next


class Cases(NamedTuple):
    """Held-out pairs, uint8 (CASES, R, R, 3): sources, and targets of the same identities."""

    sources: np.ndarray
    targets: np.ndarray


def held_out(pairs: Pairs) -> Cases:
    """The first pairs of a held-out stream."""
    samples = [pairs[number] for number in range(CASES)]
    return Cases(np.stack([s for s, _, _ in samples]), np.stack([target for _, _, target in samples]))


@torch.inference_mode()
def validate(model: Animator, cases: Cases, device: torch.device) -> dict[str, float]:
    """Reconstruction of held-out pairs without r and P_test, as the paper evaluates it; L1 of c, f and the source."""
    sums = np.zeros(3)
    for i in range(CASES):
        s, d = (to_tensor(images[i], device) for images in (cases.sources, cases.targets))
        m_s, m_d = model.m(s), model.m(d)
        c = model.coarse(s, m_s, m_d)
        f = model.final(s, m_s, m_d, c)
        sums += [float((x - d).abs().mean()) for x in (c, f, s)]
    return dict(zip(("val_l1_c", "val_l1_f", "val_l1_copy"), (sums / CASES).tolist(), strict=True))


def sheet(model: Animator, cases: Cases) -> np.ndarray:
    """Rows of the columns of the paper's figure 3: SHOWN reconstructions, then SHOWN animations across identities."""
    rows: list[np.ndarray] = []
    for i in range(SHOWN * 2):
        own = i % SHOWN
        driver = own if i < SHOWN else (own + 1) % CASES
        source = np.ascontiguousarray(cases.sources[own])
        trace = trace_frames(model, encode_source(model, source), [cases.targets[driver]])
        rows += lay_out(trace, source, [cases.targets[driver]], "strip")
    return np.vstack(rows)
