"""Folders of videos, rendered toons and single pictures to training pairs.

Every sample is a pure function of `(seed, number)`, so a run resumes at any number, on any number of workers
and ranks, with the samples that it would have seen without the stop.
"""

from animask.datasets.cache import TOON_IDENTITIES, cache_folder, cached, fill_cache, thin, toon_pool
from animask.datasets.clips import NAMES, Clip, list_clips, locate, read_clip
from animask.datasets.opening import open_pairs, read_pictures
from animask.datasets.pairs import Batch, Numbers, Pairs, collate
from animask.datasets.speed import DataSpeed, measure_data

__all__ = [
    "NAMES",
    "TOON_IDENTITIES",
    "Batch",
    "Clip",
    "DataSpeed",
    "Numbers",
    "Pairs",
    "cache_folder",
    "cached",
    "collate",
    "fill_cache",
    "list_clips",
    "locate",
    "measure_data",
    "open_pairs",
    "read_clip",
    "read_pictures",
    "thin",
    "toon_pool",
]
