"""The data set that a suite's section means, found on this machine."""

from __future__ import annotations

from pathlib import Path

from orchestrator.config.accuracy import GENERATED_SAMPLES, Accuracy
from orchestrator.datasets.arrays import find_arrays
from orchestrator.datasets.coco import find_coco
from orchestrator.datasets.dataset import Dataset, Item, digest_of, draw, ranked
from orchestrator.datasets.folders import find_images
from orchestrator.datasets.images import check_pillow
from orchestrator.errors import UsageError


def find_dataset(section: Accuracy, base: Path, seed: int = 0) -> Dataset:
    """Return all samples that a section means. ``base`` is where relative paths begin.

    No image is opened. ``seed`` is that of generated images, where the section names no data.
    Raises UsageError naming the place and the next step.
    """
    section = section.from_folder(base)
    place = section.dataset
    if place is None:
        return _generated(section, seed)
    if place.holds_arrays and place.path is not None:
        return find_arrays(section, place.path)
    check_pillow()
    if place.path is not None:
        return find_images(section, place.path)
    return find_coco(section)


def resolve(section: Accuracy, base: Path, seed: int) -> tuple[Accuracy, Dataset]:
    """Return the section with how many samples were drawn and their digest, and the samples.

    Raises UsageError, too, where a section that has a digest finds other samples: a run that goes
    on measures those that it began with.
    """
    dataset = draw(find_dataset(section, base, seed), section.samples, seed)
    if section.digest not in (None, dataset.digest):
        raise UsageError(
            f"data set {dataset.source}: its samples are not those that this run began with "
            "(images, labels or annotations were added, removed or changed); restore them, or "
            "begin another run"
        )
    return section.resolved(len(dataset.items), dataset.digest), dataset


def count(section: Accuracy, base: Path, seed: int) -> tuple[Accuracy, Dataset]:
    """Return what :func:`resolve` does, but for the digest: no sample is opened, so that one that
    cannot be read is not found out."""
    dataset = ranked(find_dataset(section, base, seed), section.samples, seed)
    return section.model_copy(update={"samples": len(dataset.items)}), dataset


def _generated(section: Accuracy, seed: int) -> Dataset:
    count = section.samples or GENERATED_SAMPLES
    items = tuple(Item(f"generated/{number}", row=number) for number in range(count))
    digest = digest_of([f"generated {seed} {count}"])
    return Dataset(items, (), digest, f"generated(seed={seed})", generated=seed)
