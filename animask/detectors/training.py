"""How the bundled toon detectors were trained and are measured.

python -m animask.detectors.training pool POOL

python -m animask.detectors.training train keypoints POOL -o toons-keypoints.safetensors --steps 3000 --batch 32

python -m animask.detectors.training train identity POOL -o toons-identity.safetensors --steps 1000 --batch 128

The figures of the bundled networks on toons that they never saw:

python -m animask.detectors.training measure keypoints

python -m animask.detectors.training measure identity
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import typer
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.nn import functional

from animask.detectors.networks import Found, IdentityNet, KeyPointNet
from animask.detectors.pool import FIRST_TRAINING, SIDE, Pool, dress, make_pool, open_pool
from animask.detectors.toons import IDENTITY_FILE, KEYPOINT_FILE, ToonIdentity, ToonKeyPoints, bundled
from animask.metrics import KeyPoints
from animask.partials import partial_path
from animask.toons import KEYPOINTS, render, sample_identity, sample_pose
from animask.toons import keypoints as true_points

POSES = 4
EMPTY = 0.06  # share of training frames that show no head
SPREAD = 1.5  # of the target on the heat map, in cells
TEMPERATURE = 0.1  # of the contrastive loss
HELD_OUT = 200  # identities, from seed 0 on, that the figures are measured on
MIRRORED = [
    KEYPOINTS.index(name.replace("left", "#").replace("right", "left").replace("#", "right")) for name in KEYPOINTS
]

Sample = tuple[np.ndarray, np.ndarray, np.ndarray]


def distort(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What an animator does to a face: blur, lost detail, noise, compression, a shift of colour."""
    if rng.random() < 0.6:
        frame = cv2.GaussianBlur(frame, (0, 0), float(rng.uniform(0.3, 2.2)))
    if rng.random() < 0.2:
        small = cv2.resize(frame, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        frame = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.2:
        coded = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 90))])[1]
        frame = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))
    gain, shift = rng.uniform(0.92, 1.08, 3), rng.uniform(-8, 8, 3)
    noise = rng.normal(0, rng.uniform(0, 6), frame.shape) if rng.random() < 0.3 else 0.0
    return np.clip(frame * gain + shift + noise, 0, 255).astype(np.uint8)


def move(frame: np.ndarray, places: np.ndarray, visible: np.ndarray, rng: np.random.Generator) -> Sample:
    """Mirrored by chance, then shifted, turned and scaled a little, with its key points."""
    if rng.random() < 0.5:
        frame, places, visible = frame[:, ::-1], places[MIRRORED], visible[MIRRORED]
        places = places * (-1, 1) + (SIDE - 1, 0)
    middle, turn, zoom = ((SIDE - 1) / 2,) * 2, float(rng.uniform(-8, 8)), float(rng.uniform(0.9, 1.1))
    matrix: Any = cv2.getRotationMatrix2D(middle, turn, zoom)
    matrix[:, 2] += rng.uniform(-6, 6, 2)
    frame = cv2.warpAffine(np.ascontiguousarray(frame), matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT_101)
    places = places @ matrix[:, :2].T + matrix[:, 2]
    inside = ((places > -0.5) & (places < SIDE - 0.5)).all(1)
    return frame, places.astype(np.float32), visible & inside


def shuffle(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A frame without a head: its 16 tiles in another order."""
    tile = SIDE // 4
    tiles = frame.reshape(4, tile, 4, tile, 3).swapaxes(1, 2).reshape(16, tile, tile, 3)[rng.permutation(16)]
    return np.ascontiguousarray(tiles.reshape(4, 4, tile, tile, 3).swapaxes(1, 2).reshape(SIDE, SIDE, 3))


def to_batch(frames: list[np.ndarray]) -> Tensor:
    """uint8 frames to float (B, 3, SIDE, SIDE) in [0, 1], channels-last."""
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float().div_(255)


def point_loss(pool: Pool, batch: int, rng: np.random.Generator) -> Callable[[nn.Module], Tensor]:
    """The loss of a network on one batch of the pool: cross entropy of the maps, distance, visibility."""
    samples: list[Sample] = []
    for _ in range(batch):
        who, pose = rng.integers(len(pool.frames)), rng.integers(pool.frames.shape[1])
        frame, places, visible = move(pool.frames[who, pose], pool.places[who, pose], pool.visible[who, pose], rng)
        if rng.random() < EMPTY:
            frame, visible = shuffle(frame, rng), np.zeros_like(visible)
        samples.append((distort(frame, rng), places, visible))
    images = to_batch([frame for frame, _, _ in samples])
    truth = torch.from_numpy(np.stack([places for _, places, _ in samples]))
    weight = torch.from_numpy(np.stack([visible for _, _, visible in samples])).float()

    def loss(network: nn.Module) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            found: Found = network(images)
        target = bells(truth, found.heat.shape[2])
        entropy = -(target.flatten(2) * found.heat.flatten(2).log_softmax(2)).sum(2)
        distance = (found.places - truth).abs().sum(2)
        places_loss = ((entropy + distance) * weight).sum() / weight.sum()
        return places_loss + functional.binary_cross_entropy_with_logits(found.visible, weight)

    return loss


def bells(places: Tensor, side: int) -> Tensor:
    """Gaussians of sum 1 on maps (B, K, side, side) about places (B, K, 2) in pixels of twice the size."""
    cells = 2 * torch.arange(side) + 0.5
    columns, rows = (torch.exp(-(((cells - places[..., i, None]) / (2 * SPREAD)) ** 2) / 2) for i in (0, 1))
    maps = rows[..., :, None] * columns[..., None, :]
    return maps / maps.sum((2, 3), keepdim=True).clamp_min(1e-6)


def identity_loss(pool: Pool, batch: int, rng: np.random.Generator) -> Callable[[nn.Module], Tensor]:
    """The loss of a network on two frames each of batch / 2 identities: which two belong together (InfoNCE)."""
    chosen = rng.permutation(len(pool.frames))[: batch // 2]
    views = [rng.permutation(pool.frames.shape[1])[:2] for _ in chosen]
    frames = [pool.frames[who, pair[side]] for side in (0, 1) for who, pair in zip(chosen, views, strict=True)]
    images = to_batch([distort(frame, rng) for frame in frames])

    def loss(network: nn.Module) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            embedding: Tensor = network(images)
        first, second = embedding.float().chunk(2)
        likeness = first @ second.T / TEMPERATURE
        own = torch.arange(len(first))
        return (functional.cross_entropy(likeness, own) + functional.cross_entropy(likeness.T, own)) / 2

    return loss


LOSSES = {"keypoints": point_loss, "identity": identity_loss}
NETWORKS: dict[str, Callable[[], nn.Module]] = {"keypoints": KeyPointNet, "identity": IdentityNet}


def fit(name: str, pool: Pool, steps: int, batch: int, lr: float, seed: int) -> nn.Module:
    """Train the network called `name` on a pool; cosine learning rate after a warm-up, bf16 on the CPU."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = NETWORKS[name]().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr, weight_decay=0.02)
    started, mean = time.monotonic(), math.nan
    for step in range(steps):
        rate = lr * min(1.0, (step + 1) / 100) * (1 + math.cos(math.pi * step / steps)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = LOSSES[name](pool, batch, np.random.default_rng((seed, step)))(network)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mean = loss.item() if step == 0 else 0.98 * mean + 0.02 * loss.item()
        if (step + 1) % 50 == 0:
            typer.echo(f"step {step + 1}/{steps} loss {mean:.4f} {time.monotonic() - started:.0f} s", err=True)
    return network.eval()


def save(network: nn.Module, path: Path, about: dict[str, str]) -> None:
    """The network as fp16 safetensors, in one step."""
    tensors = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    partial = partial_path(path)
    partial.write_bytes(to_bytes(tensors, {"format": "pt", **about}))
    partial.replace(path)


def held_out(side: int, identities: int) -> Iterator[tuple[Tensor, KeyPoints]]:
    """Identities that no network was trained on, in random poses: frames (POSES, 3, side, side), true points."""
    for seed in range(identities):
        rng = np.random.default_rng((seed, POSES))
        identity, poses = sample_identity(seed), [sample_pose(rng) for _ in range(POSES)]
        frames = np.stack([render(identity, pose, side) for pose in poses])
        points = [true_points(identity, pose, side) for pose in poses]
        places, visible = (torch.from_numpy(np.stack(x)) for x in zip(*points, strict=True))
        yield torch.from_numpy(frames).permute(0, 3, 1, 2) / 255, KeyPoints(places, visible)


def measure_points(path: Path, side: int) -> dict[str, float]:
    """Errors on held-out toons in pixels of the frame, and how often visibility is right, in percent."""
    detector, distances, coordinates, right = ToonKeyPoints(path=path), [], [], []
    for frames, truth in held_out(side, HELD_OUT):
        found = detector(frames)
        offset = (found.xy - truth.xy)[truth.visible]
        distances.append(offset.norm(dim=1))
        coordinates.append(offset.abs().mean(dim=1))
        right.append((found.visible == truth.visible).float().flatten())
    distance = torch.cat(distances)
    return {
        "mean_distance_px": distance.mean().item(),
        "median_distance_px": distance.median().item(),
        "p95_distance_px": distance.quantile(0.95).item(),
        "mean_per_coordinate_px": torch.cat(coordinates).mean().item(),
        "visibility_right_percent": 100 * torch.cat(right).mean().item(),
    }


def measure_identity(path: Path, side: int) -> dict[str, float]:
    """Cosines of held-out toons, each pair of frames before backdrops and in clothes of others, and their ROC area."""
    detector, rows = ToonIdentity(path=path), []
    for seed in range(HELD_OUT):
        rng = np.random.default_rng((seed, POSES))
        shown = [dress(sample_identity(seed), sample_identity(int(rng.integers(10**6)))) for _ in range(POSES)]
        frames = [render(identity, sample_pose(rng), side) for identity in shown]
        rows.append(detector(to_batch(frames)))
    embeddings = torch.stack(rows)
    cosines = embeddings.flatten(0, 1) @ embeddings.flatten(0, 1).T
    who = torch.arange(HELD_OUT).repeat_interleave(POSES)
    together = who[:, None] == who[None]
    other_frame = ~torch.eye(len(who), dtype=torch.bool)
    same, different = cosines[together & other_frame], cosines[~together]
    return {
        "same_mean": same.mean().item(),
        "same_p05": same.quantile(0.05).item(),
        "different_mean": different.mean().item(),
        "different_p95": different.quantile(0.95).item(),
        "roc_auc": roc_area(same, different),
    }


def roc_area(same: Tensor, different: Tensor) -> float:
    """The chance that a pair of one identity is nearer than a pair of two (Mann and Whitney), ties count half."""
    ordered, same = different.sort().values, same.contiguous()
    below, up_to = (torch.searchsorted(ordered, same, right=right).double().mean() for right in (False, True))
    return float((below + up_to) / 2 / len(ordered))


FILES = {"keypoints": KEYPOINT_FILE, "identity": IDENTITY_FILE}
MEASURES = {"keypoints": measure_points, "identity": measure_identity}
FRAME = 256  # the figures are in pixels of the paper's frame

Name = StrEnum("Name", ["keypoints", "identity"])
app = typer.Typer(help=__doc__, add_completion=False, pretty_exceptions_enable=False)


@app.command()
def pool(
    folder: Path,
    first: Annotated[int, typer.Option(help="First identity.")] = FIRST_TRAINING,
    identities: int = 4000,
    poses: int = POSES,
) -> None:
    """Render identities in random poses into FOLDER, once; both networks learn from it."""

    def progress(done: int, total: int) -> None:
        if done % 100 == 0:
            typer.echo(f"{done} of {total} identities", err=True)

    make_pool(folder, first, identities, poses, progress)


@app.command()
def train(
    name: Name,
    folder: Annotated[Path, typer.Argument(help="A pool")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Weights to write.")],
    steps: int = 3000,
    batch: int = 32,
    lr: float = 2e-3,
    seed: int = 0,
) -> None:
    """Train one network; writes its weights and prints its figures on held-out toons."""
    torch.set_num_threads(1)
    made = open_pool(folder)
    network = fit(name, made, steps, batch, lr, seed)
    about = {"network": name, "date": date.today().isoformat(), "licence": "MIT"}
    about |= {"data": f"{len(made.frames)} rendered toons", "steps": str(steps), "batch": str(batch), "seed": str(seed)}
    save(network, output, about)
    figures = MEASURES[name](output, FRAME)
    save(network, output, about | {"held_out": json.dumps(figures)})
    typer.echo(json.dumps(figures))


@app.command()
def measure(
    name: Name,
    path: Annotated[Path | None, typer.Argument(help="Weights; default: the bundled ones.")] = None,
    side: int = FRAME,
) -> None:
    """Print the figures of weights on held-out toons."""
    typer.echo(json.dumps(MEASURES[name](path or bundled(FILES[name]), side)))


if __name__ == "__main__":
    app()
