"""A data set and its settings to the streams that a training run draws from."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from animask.config import ModelConfig, TrainConfig
from animask.datasets.cache import Report, cache_folder, fill_cache, toon_pool
from animask.datasets.clips import STRIP_SUFFIXES, Clip, list_clips, locate
from animask.datasets.pairs import Pairs
from animask.errors import InputError
from animask.images import centre_square, crop_resize, read_image

HELD_OUT_CLIPS = 64  # of the test split, for the previews while training


def open_pairs(dataset: str, model: ModelConfig, config: TrainConfig, report: Report) -> tuple[Pairs, Pairs]:
    """The training stream of a data set and a held-out stream of plain pairs, decoded into the cache.

    dataset: "toons", or what `locate` finds. report: takes lines for people. Raises InputError if there is no data.
    """
    size, folder = model.resolution, cache_folder()
    test = Pairs(size, {}, far=config.far, first_toon=0, seed=config.seed)
    found: dict[str, list[Path]] = {}
    if dataset != "toons":
        root = locate(dataset, Path(config.data) if config.data else None)
        clips = spread(list_clips(root, "train", config.identities))[: config.limit_videos]
        report(f"{len(clips)} training clips in {root}; decoding what is not in the cache yet ({folder})")
        found = fill_cache(clips, size, folder, config.workers, report)
        test = replace(test, clips=held_out_clips(root, found, config, size, folder, report))
    train = Pairs(
        resolution=size,
        clips=found,
        pictures=read_pictures(config.stills_dir, size, report) if config.stills else (),
        pool=toon_pool(config.toon_pool, size, folder, config.workers),
        repeats=config.repeats,
        toons=config.toons,
        cross=config.cross,
        stills=config.stills,
        far=config.far,
        flips=config.flips,
        shift=config.shift,
        degrade=config.degrade,
        seed=config.seed,
    )
    return train, test


def spread(clips: list[Clip]) -> list[Clip]:
    """The first clip of every identity, then the second, and so on, so that any beginning holds many identities."""
    seen: Counter[str] = Counter()
    turns = []
    for clip in clips:
        turns.append(seen[clip.identity])
        seen[clip.identity] += 1
    return [clip for _, clip in sorted(zip(turns, clips, strict=True), key=lambda pair: pair[0])]


def held_out_clips(
    root: Path, found: dict[str, list[Path]], config: TrainConfig, size: int, folder: Path, report: Report
) -> dict[str, list[Path]]:
    """Clips of the test split for the previews; the training clips, and a word, if there is no test split."""
    try:
        clips = spread(list_clips(root, "test", config.identities))[:HELD_OUT_CLIPS]
        return fill_cache(clips, size, folder, config.workers, report)
    except InputError:
        report("no test split that can be read: held-out figures are of training clips")
        return found


def read_pictures(folder: str, resolution: int, report: Report) -> tuple[np.ndarray, ...]:
    """All pictures of a folder as centred squares, sorted by name.

    A broken picture is reported once with its name and left out. Raises InputError if none is left.
    """
    if not folder:
        raise InputError("stills needs a folder of pictures", "name it with --stills, or stills_dir in a recipe")
    pictures = []
    for path in sorted(path for path in Path(folder).glob("*") if path.suffix.lower() in STRIP_SUFFIXES):
        try:
            picture = read_image(path)
            pictures.append(crop_resize(picture, centre_square(*picture.shape[:2]), resolution))
        except InputError as error:
            report(f"skipped {path.name}: {error}")
    if not pictures:
        raise InputError(f"no pictures in {Path(folder).absolute()}", "stills needs a folder of png or jpg files")
    return tuple(pictures)
