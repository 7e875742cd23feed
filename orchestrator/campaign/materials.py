"""The plan and the files it needs: found, built, written into the manifest, found again."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator import __version__
from orchestrator.artifacts.blob import Blob
from orchestrator.artifacts.files import sha256_of
from orchestrator.artifacts.sites import known_sizes
from orchestrator.campaign.samples import draw_samples, stored_shards, with_feedings
from orchestrator.campaign.words import Places, Preparation
from orchestrator.config import Device, Inventory, Suite
from orchestrator.console import Console
from orchestrator.errors import (
    ArtifactError,
    ModelBuildError,
)
from orchestrator.fleet.materials import Materials
from orchestrator.frameworks import registry
from orchestrator.frameworks.about import CURRENT
from orchestrator.frameworks.building import FOLDER, IMAGENET, RANDOM, representative_images
from orchestrator.frameworks.parts import parts_of, runner_for, top1_of
from orchestrator.frameworks.runner import Files
from orchestrator.isa.build import CapObject, build_cap_object
from orchestrator.measures.accuracy.samples import SampleSet
from orchestrator.plan import Plan, make_plan
from orchestrator.runs.journal import utc_now
from orchestrator.runs.manifest import (
    Manifest,
)
from orchestrator.runs.records import ArtifactRecord, CalibrationRecord
from orchestrator.trial import InputSpec, Variant
from orchestrator.zoo import (
    BuildOptions,
    ModelArtifact,
    OwnFiles,
    artifacts_by_hash,
    check_variants,
    ensure_artifacts,
    find_artifacts,
    find_kept,
    find_program,
    keep,
    resolve,
)

_PACKAGES = ("fabric", "paramiko", "numpy", "scipy", "pandas", "pydantic")


def build_options(suite: Suite, chosen: BuildOptions) -> BuildOptions:
    """Say how the models of a suite are built: as chosen, and so that the oldest runtime it names
    can load them. All runtimes of a suite measure the same files, so that they alone differ."""
    older = registry.compatibility_for(suite.runtimes)
    return chosen if older is None else replace(chosen, compatibility=older)


def prepare(
    devices: Sequence[Device], suite: Suite, places: Places, *, seed: int, open_samples: bool = True
) -> Preparation:
    """Make the plan, and read and compare the files that are there. Raises OrchestrateError.

    Touches no device and changes nothing. Without ``open_samples`` those of accuracy are counted
    alone, which says enough for a plan that nobody carries out.
    """
    suite, drawn = draw_samples(suite, seed, opened=open_samples)
    own = resolve(suite)
    plan = make_plan(devices, own.suite, seed=seed)
    if drawn is not None:
        drawn = with_feedings(drawn, plan, {v: a.inputs for v, a in own.artifacts.items()})
    _check_commands(plan, own)
    zoo = [variant for variant in plan.variants if variant not in own.artifacts]
    options = build_options(own.suite, places.building)
    built = _of_each_framework(
        own.suite,
        zoo,
        lambda mine, framework: find_artifacts(
            mine, places.models, damaged_ok=True, options=options, framework=framework
        ),
    )
    prepared = Preparation(own.suite, plan, own, built, options, known_sizes(places.models), drawn)
    check_variants(own, prepared.built)
    return prepared


def _check_commands(plan: Plan, own: OwnFiles) -> None:
    """Raise UsageError where a runner cannot be told to run one of the user's files as the suite
    says: better now than when a device has begun."""
    for trial in {(t.factors, t.variant): t for d in plan.devices for t in d.trials}.values():
        artifact = own.artifacts.get(trial.variant)
        if artifact is not None:
            files = Files(
                model_sha256=artifact.sha256,
                model_size_bytes=artifact.size_bytes,
                python="python3",
                binary_sha256=artifact.sha256,  # any: nothing is run
                inputs=artifact.inputs,
                signature=artifact.signature,
                default_signature=artifact.default_signature,
                cap_sha256=artifact.sha256,
            )
            runner_for(trial).command(trial, plan.settings, files)


def _of_each_framework(
    suite: Suite,
    variants: Iterable[Variant],
    get: Callable[[Sequence[Variant], str], Mapping[Variant, ModelArtifact]],
) -> dict[Variant, ModelArtifact]:
    """What ``get`` gives of each framework's variants, under the names that the plan has."""
    found: dict[Variant, ModelArtifact] = {}
    for framework in suite.frameworks:
        mark = suite.mark(framework.name)
        mine = {replace(v, framework=""): v for v in variants if v.framework == mark}
        for plain, artifact in get(tuple(mine), framework.name).items():
            found[mine[plain]] = replace(artifact, variant=mine[plain])
    return found


def build(
    prepared: Preparation, models_dir: Path, console: Console
) -> dict[Variant, ModelArtifact]:
    """Return every file of the plan, having built those that were missing."""
    suite, options = prepared.suite, prepared.options
    if options.compatibility != CURRENT:
        console.say(
            f"models: built for {options.compatibility}, because suite {suite.name} asks for "
            f"runtime {' and '.join(suite.runtimes)}"
        )
    models = _of_each_framework(
        suite,
        prepared.zoo_variants,
        lambda mine, framework: ensure_artifacts(
            mine,
            models_dir,
            on_progress=lambda p: console.say(f"models {p.done}/{p.total}: {p.step}"),
            options=options,
            framework=framework,
        ),
    )
    return models | keep(prepared.own, models_dir)


def new_manifest(
    run_id: str,
    inventory: Inventory,
    prepared: Preparation,
    models: Mapping[Variant, ModelArtifact],
    samples: SampleSet | None = None,
) -> Manifest:
    """Make the manifest of a run that has no device yet."""
    ranges = _check_ranges(models[variant] for variant in prepared.plan.variants)
    calibrated_on = _samples_calibrated_on(prepared)
    return Manifest(
        run_id=run_id,
        created=utc_now(),
        seed=prepared.plan.seed,
        inventory=inventory.for_a_run(),
        suite=prepared.suite.for_a_run(),
        devices=(),
        versions=_versions(),
        artifacts=tuple(
            replace(
                _artifact_record(models[variant]),
                check_range=ranges.get(_network(variant)),
                calibration=_calibration(models[variant], calibrated_on),
                published_top1=_published_top1(prepared, models[variant]),
                trained_on_samples=_samples_trained_on(prepared, models[variant]),
            )
            for variant in prepared.plan.variants
        ),
        samples=samples,
    )


def _samples_calibrated_on(prepared: Preparation) -> int:
    """How many samples of accuracy are among the images that the models are calibrated on, by the
    hashes of their files. Raises ModelBuildError."""
    folder, drawn = prepared.options.representative, prepared.samples
    if folder is None or drawn is None:
        return 0
    images = {sha256_of(path) for path in representative_images(folder)}
    return sum(item.sha256 in images for item in drawn.dataset.items)


def _samples_trained_on(prepared: Preparation, model: ModelArtifact) -> int:
    """How many samples of accuracy the file's weights were trained on further. Raises
    ModelBuildError."""
    data = model.entry.get("dataset")
    if prepared.samples is None or not isinstance(data, Mapping) or data.get("kind") != FOLDER:
        return 0
    trained_on = parts_of(registry.framework(model.framework)).trained_on
    images = {sha256_of(path) for path in trained_on(prepared.options)}
    return sum(item.sha256 in images for item in prepared.samples.dataset.items)


def _calibration(model: ModelArtifact, sampled: int) -> CalibrationRecord | None:
    """What the file's ranges were found on; of a file of the user's nobody knows."""
    found = model.entry.get("representative")
    if not isinstance(found, Mapping):
        return None
    kind = str(found.get("kind"))
    # files of other calibration data than the run's own are not found
    return CalibrationRecord(kind, int(found.get("count", 0)), 0 if kind == RANDOM else sampled)


def _network(variant: Variant) -> tuple[str, str]:
    return variant.model, variant.framework


def _check_ranges(
    models: Iterable[ModelArtifact],
) -> Mapping[tuple[str, str], tuple[float, float]]:
    """The real values that every file of a network can hold, where one of them holds integers."""
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for model in models:
        try:
            own = parts_of(registry.framework(model.framework)).real_range(model.path)
        except ModelBuildError:
            continue  # what no one can read is for its trials to tell
        if own is not None:
            low, high = found.get(_network(model.variant), own)
            found[_network(model.variant)] = (max(low, own[0]), min(high, own[1]))
    return {network: bounds for network, bounds in found.items() if bounds[0] < bounds[1]}


def cap_of(plan: Plan, models_dir: Path) -> CapObject | None:
    """Make the object that caps the instruction set, if some device's plan asks for that.

    Not of the manifest: it has no figure in it, and another build of it caps the same.
    """
    return build_cap_object(models_dir) if any(d.capped_isas for d in plan.devices) else None


def stored_materials(manifest: Manifest, plan: Plan, models_dir: Path) -> Materials:
    """Find exactly the bytes of an earlier run: another build of a model is another model.

    Raises ArtifactError where one is not there any more.
    """
    own = {each["name"] for each in manifest.suite.get("user_models", ())}
    mine = [record for record in manifest.artifacts if record.variant.model in own]
    records = [record for record in mine if record.size_bytes]
    zoo = {r.variant: r.sha256 for r in manifest.artifacts if r.variant.model not in own}
    models = artifacts_by_hash(zoo, models_dir)
    models |= find_kept([(r.variant, r.sha256, r.weights) for r in records], models_dir)
    for record in manifest.artifacts:
        if record in mine and not record.size_bytes:
            continue  # it differs by arguments, and has no file
        model = models.get(record.variant)
        if model is None or model.sha256 != record.sha256:
            raise ArtifactError(
                f"{models_dir}: holds no {record.variant} with SHA-256 {record.sha256}, which run "
                f"{manifest.run_id} measures; name the folder that does with --models"
            )
    shards = stored_shards(manifest, models_dir)
    program = find_program(Suite.from_json(manifest.suite), models_dir)
    return materials_of(manifest, models, cap_of(plan, models_dir), shards, program)


def named_materials(manifest: Manifest, plan: Plan, models_dir: Path) -> Materials:
    """Return the materials without their bytes: enough to say what a trial's evidence means."""
    section = Suite.from_json(manifest.suite).command
    named = None if section is None else section.sha256
    program = None if named is None else Blob(named, Path(named), 0)
    return materials_of(manifest, {}, cap_of(plan, models_dir), program=program)


def materials_of(
    manifest: Manifest,
    models: Mapping[Variant, ModelArtifact],
    cap: CapObject | None,
    shards: Mapping[str, Blob] | None = None,
    program: Blob | None = None,
) -> Materials:
    return Materials(
        artifacts={r.variant: replace(r, inputs=_inputs(manifest, r)) for r in manifest.artifacts},
        blobs={v: Blob(m.sha256, m.path, m.size_bytes) for v, m in models.items() if m.has_file},
        cap=None if cap is None else Blob(cap.sha256, cap.path, cap.size_bytes),
        samples=manifest.samples,
        shards=shards or {},
        program=program,
    )


def _inputs(manifest: Manifest, record: ArtifactRecord) -> tuple[InputSpec, ...]:
    """What a file is fed. Earlier runs have it in their suite alone, as the one input's shape."""
    if record.inputs:
        return record.inputs
    for each in manifest.suite.get("user_models", ()):
        shape = each.get("input")
        if each["name"] != record.variant.model or not isinstance(shape, list):
            continue
        if shape and all(type(size) is int and size > 0 for size in shape):
            return (InputSpec((1, *shape[1:])),)
    return ()


def _artifact_record(model: ModelArtifact) -> ArtifactRecord:
    return ArtifactRecord(
        model.variant,
        model.sha256,
        model.size_bytes,
        model.weights,
        model.no_op,
        model.inputs,
        model.signature,
        model.default_signature,
        model.exported,
        remarks=model.remarks,
    )


def _published_top1(prepared: Preparation, model: ModelArtifact) -> float | None:
    """What is published for the weights of a model of the catalogue; None of any other."""
    if model.variant in prepared.own.artifacts or model.weights != IMAGENET:
        return None
    return top1_of(registry.framework(model.framework), model.variant.model)


def _versions() -> dict[str, str]:
    packages = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"orchestrate": __version__, "python": platform.python_version(), **packages}
