"""What accuracy is measured on in a run: found, drawn, prepared once, and found again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.artifacts.blob import Blob
from orchestrator.config import Suite
from orchestrator.config.accuracy import Accuracy
from orchestrator.datasets import (
    Dataset,
    Feeding,
    Shard,
    count,
    feeding_of,
    find_shard,
    prepare_shards,
    resolve,
    sample_bytes,
    values_of,
)
from orchestrator.errors import ArtifactError, UsageError
from orchestrator.frameworks import registry
from orchestrator.frameworks.parts import preprocessing_of
from orchestrator.measures.accuracy.geometry import Geometry
from orchestrator.measures.accuracy.samples import FeedRecord, SampleSet, ShardRecord
from orchestrator.plan import DevicePlan, Plan
from orchestrator.runs.manifest import Manifest
from orchestrator.trial import InputSpec, TrialKind, Variant

#: Where prepared samples are kept, below the folder of models.
FOLDER = "samples"
#: Model, framework and input size: what is fed depends on these.
FeedKey = tuple[str, str, int]


@dataclass(frozen=True)
class DrawnSamples:
    """The samples of a suite that measures accuracy, and what each model is to be fed of them."""

    section: Accuracy
    dataset: Dataset
    feedings: Mapping[FeedKey, Feeding] = field(default_factory=dict)


def draw_samples(
    suite: Suite, seed: int, *, opened: bool = True
) -> tuple[Suite, DrawnSamples | None]:
    """Find and draw the samples of a suite; the suite returned says how many they are.

    Not ``opened``, they are counted. None where it measures no accuracy. Raises UsageError naming
    what is wrong with the data.
    """
    if suite.accuracy is None:
        return suite, None
    section, dataset = (resolve if opened else count)(suite.accuracy, Path(), seed)
    resolved = suite.model_copy(update={"accuracy": section})
    return resolved, DrawnSamples(section, dataset)


def with_feedings(
    drawn: DrawnSamples, plan: Plan, inputs: Mapping[Variant, tuple[InputSpec, ...]]
) -> DrawnSamples:
    """Say what each model of the plan is fed; ``inputs`` are those of the user's own files.

    Raises UsageError where nobody knows, or where the data does not fit.
    """
    found: dict[FeedKey, Feeding] = {}
    for device in plan.devices:
        for trial in device.trials:
            if trial.kind is not TrialKind.ACCURACY:
                continue
            key = key_of(trial.variant, trial.factors.input_size)
            if key not in found:
                framework = registry.framework_of(trial.factors.runner)
                own = trial.variant in inputs
                found[key] = feeding_of(
                    drawn.section,
                    drawn.dataset,
                    trial.variant.model,
                    None if own else preprocessing_of(framework, trial.variant.model),
                    inputs.get(trial.variant, ()),
                    input_size=trial.factors.input_size,
                )
    return DrawnSamples(drawn.section, drawn.dataset, found)


def key_of(variant: Variant, input_size: int) -> FeedKey:
    """What is fed to a variant is found by."""
    return variant.model, variant.framework, input_size


def bytes_for(drawn: DrawnSamples, device: DevicePlan) -> int:
    """How many bytes of samples a device needs, before any is prepared."""
    keys = {
        key_of(trial.variant, trial.factors.input_size)
        for trial in device.trials
        if trial.kind is TrialKind.ACCURACY
    }
    geometries = {drawn.feedings[key].geometry for key in keys}
    each = sum(sample_bytes(drawn.dataset, geometry) for geometry in geometries)
    return each * len(drawn.dataset.items)


def make_samples(
    drawn: DrawnSamples, models_dir: Path, say: Callable[[str], None]
) -> tuple[SampleSet, dict[str, Blob]]:
    """Prepare the samples for every model, or find what was prepared before.

    Returns what the run keeps of them, and their files by hash. Raises UsageError naming a sample
    that cannot be read, ArtifactError where they cannot be kept.
    """
    dataset = drawn.dataset
    made: dict[object, tuple[Shard, ...]] = {}
    for feeding in drawn.feedings.values():
        if feeding.geometry not in made:
            say(f"samples: preparing {len(dataset.items)} of {dataset.source}")
            made[feeding.geometry] = prepare_shards(
                dataset, feeding.geometry, drawn.section.shard_size, models_dir / FOLDER
            )
    feeds = tuple(
        _feed_record(key, feeding, made[feeding.geometry])
        for key, feeding in drawn.feedings.items()
    )
    shards = (shard for found in made.values() for shard in found)
    blobs = {each.sha256: Blob(each.sha256, each.path, each.size_bytes) for each in shards}
    return _sample_set(drawn, feeds), blobs


def _feed_record(key: FeedKey, feeding: Feeding, shards: tuple[Shard, ...]) -> FeedRecord:
    geometry = feeding.geometry
    model, framework, input_size = key
    return FeedRecord(
        model,
        framework,
        input_size,
        feeding.mean,
        feeding.std,
        tuple(ShardRecord(each.sha256, each.size_bytes, each.first, each.count) for each in shards),
        height=0 if geometry is None else geometry.height,
        width=0 if geometry is None else geometry.width,
        resize="" if geometry is None else geometry.resize,
        colour="" if geometry is None else geometry.colour,
        **asdict(values_of(shards)),
    )


def _sample_set(drawn: DrawnSamples, feeds: tuple[FeedRecord, ...]) -> SampleSet:
    section, dataset = drawn.section, drawn.dataset
    written = section.model_dump(mode="json")
    return SampleSet(
        task=section.task,
        margin=section.margin,
        source=dataset.source,
        digest=dataset.digest,
        keys=tuple(each.key for each in dataset.items),
        labels=tuple(each.label for each in dataset.items),
        classes=dataset.classes,
        feeds=feeds,
        outputs=written.get("outputs"),
        truth=dataset.truth,
        image_ids=tuple(each.image_id for each in dataset.items if each.image_id is not None),
        sizes=tuple(each.size for each in dataset.items if each.size is not None),
        category_ids=dataset.category_ids,
        iou=section.iou,
    )


def stored_shards(manifest: Manifest, models_dir: Path) -> dict[str, Blob]:
    """Find exactly the samples of an earlier run, or make them again from the data set that it was
    started with. Raises ArtifactError where neither can be had."""
    if manifest.samples is None:
        return {}
    cache, again = models_dir / FOLDER, _SamplesAgain(manifest, models_dir / FOLDER)
    found = {}
    for feed in manifest.samples.feeds:
        for shard in feed.shards:
            path = find_shard(cache, shard.sha256)
            if path is None:
                again.make(feed, shard.sha256)
                path = find_shard(cache, shard.sha256)
            if path is None:
                raise again.refused(
                    shard.sha256, "the data set is the same, and another Pillow makes other pixels"
                )
            found[shard.sha256] = Blob(shard.sha256, path, shard.size_bytes)
    return found


class _SamplesAgain:
    """Samples of a run whose files are gone, from the data set that its suite names."""

    def __init__(self, manifest: Manifest, cache: Path) -> None:
        self._manifest = manifest
        self._cache = cache
        self._drawn: DrawnSamples | None = None

    def make(self, feed: FeedRecord, sha256: str) -> None:
        """Prepare what a model is fed. ArtifactError where the data set is gone or another one."""
        try:
            if self._drawn is None:
                suite = Suite.from_json(self._manifest.suite)
                self._drawn = draw_samples(suite, self._manifest.seed)[1]
            if self._drawn is not None:
                prepare_shards(
                    self._drawn.dataset,
                    _geometry_of(feed),
                    self._drawn.section.shard_size,
                    self._cache,
                )
        except UsageError as exc:
            raise self.refused(sha256, str(exc)) from exc

    def refused(self, sha256: str, why: str) -> ArtifactError:
        """That the samples can neither be found nor made."""
        return ArtifactError(
            f"{self._cache}: holds no samples with SHA-256 {sha256}, which run "
            f"{self._manifest.run_id} measures accuracy on; name the folder that does with "
            f"--models. They could not be made again: {why}"
        )


def _geometry_of(feed: FeedRecord) -> Geometry | None:
    """How the images of a feed were prepared; None for arrays."""
    if not feed.height:
        return None
    # as it was checked when the run began; of another word nothing is drawn alike
    resize: Any = feed.resize
    colour: Any = feed.colour
    return Geometry(feed.height, feed.width, resize, colour)
