"""Shards: files of many images of one sensor, unmixed one by one into files of results."""

from distax.shards.columns import Columns
from distax.shards.results import FORMATS, read_results
from distax.shards.sources import find_shards, open_shard
from distax.shards.unmixing import Outcome, unmix_shards

__all__ = [
    "FORMATS",
    "Columns",
    "Outcome",
    "find_shards",
    "open_shard",
    "read_results",
    "unmix_shards",
]
