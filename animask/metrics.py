"""The paper's metrics (section 4), one pure function each, and how their values are averaged.

Every function takes the output, then the truth, and returns one value for each frame, float32 `(B,)`. NaN means that
the metric skips this frame, because what it compares was not found there.

Frames are float `(B, 3, H, W)` in [0, 1]; key points `(B, K, 2)` in pixels, a point that is not visible NaN;
embeddings `(B, E)`, a face that is not found a row of NaN. Sizes that do not agree and frames outside [0, 1], or with
NaN, raise ValueError: none may pass for a skipped one.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

WINDOW, SIGMA = 11, 1.5  # of ssim: pixels
C1, C2 = 0.01**2, 0.03**2


@dataclass(frozen=True)
class Score:
    """A mean, NaN if there is none; frames used, and skipped by the metric."""

    mean: float
    used: int
    skipped: int


def average(groups: list[list[float]]) -> Score:
    """The mean of the groups' means (a person is a group, or all frames are one), without values that are NaN."""
    used = [[value for value in group if not math.isnan(value)] for group in groups]
    means = [math.fsum(group) / len(group) for group in used if group]
    count = sum(map(len, used))
    return Score(math.fsum(means) / len(means) if means else math.nan, count, sum(map(len, groups)) - count)


def l1(output: Tensor, truth: Tensor) -> Tensor:
    """L1 distance of frames: mean |output - truth| over C, H, W. In [0, 1], lower is better.

    Source: the paper, section 4; the same in FOMM's reconstruction script.
    """
    output, truth = check_frames(output, truth)
    return (output - truth).abs().mean(dim=(1, 2, 3))


def psnr(output: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of frames, peak 1: -10 log10(MSE over C, H, W) dB. In [0, inf], higher is better.

    The score is the mean of the frames' dB, not the dB of their mean MSE. Source: the textbook; not in the paper.
    """
    output, truth = check_frames(output, truth)
    return -10 * (output - truth).square().mean(dim=(1, 2, 3)).log10()


def ssim(output: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of frames, mean over RGB and the valid region. In [-1, 1], higher is better.

    (2 μx μy + C1)(2 σxy + C2) / ((μx² + μy² + C1)(σx² + σy² + C2)), C1 = 0.01², C2 = 0.03² (range 1), local
    moments under an 11×11 Gaussian, σ 1.5, at the (H - 10)×(W - 10) places where the window fits.
    Source: the paper, Table 2, after Wang et al. 2004 (scikit-image: gaussian_weights, use_sample_covariance=False).
    """
    output, truth = check_frames(output, truth)
    mean_x, mean_y = blur(output), blur(truth)
    variance_x = blur(output * output) - mean_x * mean_x
    variance_y = blur(truth * truth) - mean_y * mean_y
    covariance = blur(output * truth) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x * mean_x + mean_y * mean_y + C1)
    structure = (2 * covariance + C2) / (variance_x + variance_y + C2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def akd(output: Tensor, truth: Tensor) -> Tensor:
    """Average key-point distance, in pixels: mean |output - truth| over x, y and joints visible in both; 0 up.

    In spite of its name no Euclidean distance: an error of (3, 4) counts 3.5. Skipped: frames without a joint visible
    in both, so those whose generated face was missed. Lower is better.
    Source: the paper, section 4, after FOMM, whose pose-evaluation scripts take this mean frame by frame.
    """
    output, truth = check_shapes(output, truth, 3)
    return (output - truth).abs().mean(dim=2).nanmean(dim=1)


def mkr(output: Tensor, truth: Tensor) -> Tensor:
    """Missing key-point rate: of the joints visible in the truth, the share that is not in the output.

    In [0, 1], lower is better. Skipped: frames whose truth has no joint; an output that misses them all counts 1.
    Source: the paper, section 4, after FOMM.
    """
    output, truth = check_shapes(output, truth, 3)
    missing, visible = output.isnan().any(dim=2), ~truth.isnan().any(dim=2)
    return (visible & missing).sum(dim=1) / visible.sum(dim=1)


def aed(output: Tensor, truth: Tensor) -> Tensor:
    """Average Euclidean distance of embeddings, squared: Σ (output - truth)² over E. 0 up, lower is better.

    Embeddings are taken as they are; L2-normalised ones, as the paper's for faces, give [0, 4].
    Source: the paper, section 4, after FOMM, whose pose-evaluation scripts sum the squares, without a root.
    """
    output, truth = check_shapes(output, truth, 2)
    return (output - truth).square().sum(dim=1)


def csim(output: Tensor, truth: Tensor) -> Tensor:
    """Cosine similarity of embeddings: <output, truth> / (|output| |truth|). In [-1, 1], higher is better.

    Source: the paper, section 4 and Table 2 (identity embeddings from ArcFace).
    """
    output, truth = check_shapes(output, truth, 2)
    return (output * truth).sum(dim=1) / (output.norm(dim=1) * truth.norm(dim=1))


def blur(x: Tensor) -> Tensor:
    """`(B, 3, H, W)` to `(B, 3, H - 10, W - 10)`: means under the Gaussian window, where it fits.

    Shifted sums, not a convolution: on a GPU that may run in TF32, whose 10 bits are too few for a variance.
    """
    offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    window = torch.softmax(-offsets.square() / (2 * SIGMA**2), dim=0).tolist()
    for dim in (2, 3):
        size = x.shape[dim] - WINDOW + 1
        total = window[0] * x.narrow(dim, 0, size)
        for i, weight in enumerate(window[1:], start=1):
            total.add_(x.narrow(dim, i, size), alpha=weight)
        x = total
    return x


def check_shapes(output: Tensor, truth: Tensor, dims: int) -> tuple[Tensor, Tensor]:
    """Both as float32. Raise ValueError unless they have one shape, of so many dimensions."""
    if output.shape != truth.shape or truth.dim() != dims:
        raise ValueError(f"expected two of one shape, got {tuple(output.shape)} and {tuple(truth.shape)}")
    return output.float(), truth.float()


def check_frames(output: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Both as float32. Raise ValueError unless they have one shape (B, 3, H, W) and are within [0, 1]."""
    if not all(((frames >= 0) & (frames <= 1)).all() for frames in (output, truth)):  # NaN is neither
        raise ValueError("frames must be within [0, 1], and finite")
    return check_shapes(output, truth, 4)
