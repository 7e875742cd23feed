"""Labelled samples for accuracy: found, drawn, and prepared once for every device.

No image is decoded anywhere but here, since versions of a decoder differ: a device is given pixels.
"""

from __future__ import annotations

from orchestrator.datasets.dataset import Dataset, Item, draw
from orchestrator.datasets.feeding import Feeding, feeding_of
from orchestrator.datasets.find import count, find_dataset, resolve
from orchestrator.datasets.shards import Shard, find_shard, prepare_shards, sample_bytes, values_of
from orchestrator.measures.accuracy.geometry import Geometry, placement_of

__all__ = [
    "Dataset",
    "Feeding",
    "Geometry",
    "Item",
    "Shard",
    "count",
    "draw",
    "feeding_of",
    "find_dataset",
    "find_shard",
    "placement_of",
    "prepare_shards",
    "resolve",
    "sample_bytes",
    "values_of",
]
