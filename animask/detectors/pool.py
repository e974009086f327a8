"""Rendered toons with their key points on disk: what the toon detectors learn from and are measured on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from animask.errors import InputError
from animask.toons import KEYPOINTS, Identity, keypoints, render, sample_identity, sample_pose

SIDE = 128  # of the frames that the detectors look at, in pixels
FIRST_TRAINING = 1_000_000  # identities from this seed on are for training, of animators too; those below are held out
FILES = ("frames.npy", "places.npy", "visible.npy")
STREAM = 7  # keeps the poses of the pool apart from other draws with the same seed


class Pool(NamedTuple):
    """N identities in P poses each. Nothing but the head tells two identities apart: backdrop and clothes change."""

    frames: np.ndarray  # (N, P, SIDE, SIDE, 3) RGB uint8
    places: np.ndarray  # (N, P, K, 2) float32, pixels of these frames
    visible: np.ndarray  # (N, P, K) bool


def dress(identity: Identity, other: Identity) -> Identity:
    """An identity before the backdrop and in the clothes of another, so that an embedding must look at the head."""
    return replace(
        identity,
        seed=other.seed,  # places the things of the backdrop; of the head only single hairs and freckles
        backdrop=other.backdrop,
        backdrop_colour=other.backdrop_colour,
        backdrop_accent=other.backdrop_accent,
        clothes=other.clothes,
        clothes_colour=other.clothes_colour,
        clothes_accent=other.clothes_accent,
        pattern=other.pattern,
    )


def make_pool(
    folder: Path, first: int, identities: int, poses: int, progress: Callable[[int, int], None] | None = None
) -> Pool:
    """Render the identities with seeds `first`, `first` + 1, ... in random poses into a folder, and open it."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes = ((SIDE, SIDE, 3), (len(KEYPOINTS), 2), (len(KEYPOINTS),))
    kinds = (np.uint8, np.float32, np.bool_)
    arrays = [
        np.lib.format.open_memmap(folder / name, mode="w+", dtype=kind, shape=(identities, poses, *shape))
        for name, kind, shape in zip(FILES, kinds, shapes, strict=True)
    ]
    for number in range(identities):
        rng = np.random.default_rng((first + number, STREAM))
        identity = sample_identity(first + number)
        for place in range(poses):
            shown, pose = dress(identity, sample_identity(first + int(rng.integers(10**6)))), sample_pose(rng)
            arrays[0][number, place] = render(shown, pose, SIDE)
            arrays[1][number, place], arrays[2][number, place] = keypoints(shown, pose, SIDE)
        if progress:
            progress(number + 1, identities)
    for array in arrays:
        array.flush()
    return open_pool(folder)


def open_pool(folder: Path) -> Pool:
    """A pool that was rendered before; InputError if it is not there."""
    if not all((folder / name).is_file() for name in FILES):
        raise InputError(
            f"{folder} holds no rendered faces", "make them with `python -m animask.detectors.training pool`"
        )
    return Pool(*(np.load(folder / name, mmap_mode="r") for name in FILES))
