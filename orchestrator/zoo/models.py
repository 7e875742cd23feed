"""Finds built models, and builds those that are missing. Imports no framework itself."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from orchestrator.artifacts.files import locked, make_folder
from orchestrator.artifacts.store import ArtifactStore, Entry
from orchestrator.errors import ArtifactError, ModelBuildError
from orchestrator.factors import OPEN
from orchestrator.frameworks import registry
from orchestrator.frameworks.about import Framework
from orchestrator.frameworks.building import DEFAULT_OPTIONS, BuildOptions, BuildRequest
from orchestrator.frameworks.parts import check_known, check_toolchain, key_of, parts_of
from orchestrator.measurement import Finding
from orchestrator.trial import InputSpec, Variant
from orchestrator.zoo.child import run_build
from orchestrator.zoo.parallel import Job, capacity, run_jobs


@dataclass(frozen=True)
class ModelArtifact:
    """A variant's file. ``weights`` is ``imagenet`` or ``random(seed=N)``.

    A variant that differs by arguments has no file: its ``size_bytes`` is 0, and its hash is that
    of what it is told.

    ``no_op`` says in a sentence why the scheme changed nothing; None where it changed something.
    ``entry`` is all that the manifest says of it. ``inputs`` are what it is fed, ``signature`` how
    it is called where that was chosen, and ``default_signature`` what a runtime takes by itself
    where it was not and there are several: empty where that graph has no name. ``exported`` is how
    a file of the user's holds its batch, ``open`` or ``fixed``; None where nothing says it.
    ``remarks`` are those of the file's reader.
    """

    variant: Variant
    path: Path
    sha256: str
    size_bytes: int
    weights: str
    entry: Mapping[str, Any]
    no_op: str | None = None
    inputs: tuple[InputSpec, ...] = ()
    signature: str | None = None
    default_signature: str | None = None
    exported: str | None = None
    remarks: tuple[Finding, ...] = ()

    @property
    def has_file(self) -> bool:
        """Whether there is a file, which trials need."""
        return self.size_bytes > 0

    @property
    def framework(self) -> str:
        """Entries of before there were two say nothing: those are of the first."""
        return str(self.entry.get("framework", registry.default().name))


@dataclass(frozen=True)
class BuildProgress:
    """What building does now. ``done`` of ``total`` variants are there; ``variant`` is the one
    that has just been stored, None in between."""

    variant: Variant | None
    step: str
    done: int
    total: int


def find_artifacts(
    variants: Iterable[Variant],
    models_dir: Path,
    *,
    verify: bool = False,
    damaged_ok: bool = False,
    options: BuildOptions = DEFAULT_OPTIONS,
    framework: str | None = None,
) -> dict[Variant, ModelArtifact]:
    """Find those of the variants that are there; sizes are checked, and hashes where ``verify``.

    All schemes of a model in it have the same weights. Raises ArtifactError where a file is
    damaged (unless ``damaged_ok``: then it is as good as absent), ModelBuildError for a variant
    that the catalogue lacks.
    """
    of = registry.default() if framework is None else registry.framework(framework)
    stock = _Stock(ArtifactStore(models_dir), options, of)
    found, damaged = stock.look(_wanted(variants, of), verify=verify)
    if damaged and not damaged_ok:
        raise ArtifactError(
            f"{'; '.join(damaged.values())}. `orchestrate models build` builds it again"
        )
    return found


def stored_artifacts(models_dir: Path) -> tuple[ModelArtifact, ...]:
    """Return everything in the manifest, whether its file is there or not. Raises ArtifactError."""
    store = ArtifactStore(models_dir)
    return tuple(_artifact(entry, store) for entry in store.entries())


def artifacts_by_hash(
    hashes: Mapping[Variant, str], models_dir: Path
) -> dict[Variant, ModelArtifact]:
    """Find those of the files, each named by its SHA-256, that are there and whole, whatever the
    options that they were built with. Raises ArtifactError where one is damaged."""
    store = ArtifactStore(models_dir)
    found: dict[Variant, ModelArtifact] = {}
    wanted = {(replace(v, framework=""), sha256): v for v, sha256 in hashes.items()}
    for entry in store.entries():
        variant = wanted.get((_variant(entry), entry.sha256))
        if variant is None or not store.path(entry).exists():
            continue
        damage = store.damage(entry, verify=True)
        if damage is not None:
            raise ArtifactError(damage)
        found[variant] = replace(_artifact(entry, store), variant=variant)
    return found


def ensure_artifacts(
    variants: Iterable[Variant],
    models_dir: Path,
    *,
    on_progress: Callable[[BuildProgress], None] = lambda _: None,
    options: BuildOptions = DEFAULT_OPTIONS,
    framework: str | None = None,
) -> dict[Variant, ModelArtifact]:
    """All the variants, built where they are missing or damaged; every hash is verified.

    Models are built side by side where memory and cores allow; ``on_progress`` may be called from
    any thread, one call at a time.

    Raises ModelBuildError or ArtifactError. What was built until then stays and is found again.
    """
    of = registry.default() if framework is None else registry.framework(framework)
    wanted = _wanted(variants, of)
    builder = _Builder(wanted, models_dir, options, on_progress, of)
    found, _ = _Stock(builder.store, options, of).look(wanted, verify=True)
    if len(found) == len(wanted):
        return found  # no lock, so a folder that others own and may not be written to works too
    make_folder(models_dir)
    with locked(models_dir / ".build.lock", builder.on_wait):
        return builder.ensure()


class _Builder:
    """One call of ``ensure_artifacts``."""

    def __init__(
        self,
        wanted: tuple[Variant, ...],
        models_dir: Path,
        options: BuildOptions,
        on_progress: Callable[[BuildProgress], None],
        framework: Framework,
    ) -> None:
        self.store = ArtifactStore(models_dir)
        self._framework = framework
        self._wanted = wanted
        self._options = options
        self._on_progress = on_progress
        self._done: dict[str, int] = {}
        self._children: list[subprocess.Popen[bytes]] = []
        self._interrupted = False
        self._guard = threading.RLock()

    def on_wait(self) -> None:
        self._say(f"waiting: another process builds in {self.store.folder}")

    def ensure(self) -> dict[Variant, ModelArtifact]:
        """Make sure of everything, under the lock, as many models at a time as there is room
        for."""
        made: dict[Variant, ModelArtifact] = {}
        missing: list[str] = []
        for model in dict.fromkeys(variant.model for variant in self._wanted):
            wanted = [variant for variant in self._wanted if variant.model == model]
            found, _ = _Stock(self.store, self._options, self._framework).look(wanted, verify=True)
            self._done[model] = len(found)
            made |= found
            if len(found) < len(wanted):
                missing.append(model)

        def job(model: str) -> Job:
            def build() -> None:
                made.update(self._ensure_model(model))

            return Job(model, parts_of(self._framework).models[model].peak_mb, build)

        run_jobs([job(model) for model in missing], capacity(), self._kill_children)
        return {variant: made[variant] for variant in self._wanted}

    def _kill_children(self) -> None:
        with self._guard:
            self._interrupted = True
            for child in self._children:
                child.kill()

    def _on_start(self, child: subprocess.Popen[bytes]) -> None:
        with self._guard:
            self._children.append(child)
            if self._interrupted:
                child.kill()

    def _ensure_model(self, model: str) -> dict[Variant, ModelArtifact]:
        wanted = tuple(variant for variant in self._wanted if variant.model == model)
        # The first build may reveal that this toolchain cannot make the weights of the stored
        # schemes again; then those no longer count, and a second build makes them too.
        for attempt in range(3):
            stock = _Stock(self.store, self._options, self._framework)
            found, damaged = stock.look(wanted, verify=True)
            self._done[model] = len(found)
            if len(found) == len(wanted):
                return found
            for trouble in damaged.values():
                self._say(f"{model}: {trouble}: building it again")
            if attempt == 1:
                self._say(
                    f"{model}: these are not the weights of the stored files: building those again"
                )
            if attempt < 2:
                missing = [v for v in wanted if v not in found]
                for export in dict.fromkeys(v.export for v in missing):
                    schemes = tuple(v.scheme for v in missing if v.export == export)
                    self._build(model, schemes, export, stock.weights_policy(model))
        raise ModelBuildError(
            f"{model}: built, yet not in {self.store.manifest}; does something else change that "
            f"folder?"
        )

    def _build(self, model: str, schemes: tuple[str, ...], export: str, weights: str) -> None:
        _check_toolchain(self._framework)
        request = BuildRequest(
            model,
            schemes,
            weights,
            self._options,
            self.store.folder,
            framework=self._framework.name,
            parts=self._framework.parts,
            export=export,
        )
        run_build(
            request,
            lambda message: self._on_message(model, export, message),
            on_start=self._on_start,
        )

    def _on_message(self, model: str, export: str, message: Mapping[str, str]) -> None:
        scheme = message.get("stored")
        if scheme is None:
            self._say(f"{model}: {message['step']}")
            return
        with self._guard:
            self._done[model] += 1
            variant = Variant(model, scheme, export)
            plain = "" if export == OPEN else f", export {export},"
            self._say(f"{model}: {scheme}{plain} is ready", variant)

    def _say(self, step: str, variant: Variant | None = None) -> None:
        with self._guard:
            done = sum(self._done.values())
            self._on_progress(BuildProgress(variant, step, done, len(self._wanted)))


class _Stock:
    """What the store holds for these options, as of now.

    A model's schemes must share their weights, so those of the file that was built last count, and
    files with other weights do not exist for us.
    """

    def __init__(self, store: ArtifactStore, options: BuildOptions, framework: Framework) -> None:
        self._store = store
        self._framework = framework
        self._options = options
        self._keys: dict[Variant, str] = {}
        self._entries = [e for e in store.entries() if self._is_ours(e)]
        self._newest = {entry.model: entry for entry in self._entries}

    def look(
        self, wanted: Iterable[Variant], *, verify: bool
    ) -> tuple[dict[Variant, ModelArtifact], dict[Variant, str]]:
        """What is there and whole, and what is there but damaged, with the damage."""
        found: dict[Variant, ModelArtifact] = {}
        damaged: dict[Variant, str] = {}
        entries = {_variant(e): e for e in self._entries if self._counts(e)}
        for variant in wanted:
            if variant not in entries:
                continue
            damage = self._store.damage(entries[variant], verify=verify)
            if damage is None:
                found[variant] = _artifact(entries[variant], self._store)
            else:
                damaged[variant] = damage
        return found, damaged

    def weights_policy(self, model: str) -> str:
        """Stored schemes bind the others of their model to the same kind of weights."""
        newest = self._newest.get(model)
        if newest is None:
            return self._options.weights
        return "imagenet" if newest.details.get("weights") == "imagenet" else "random"

    def _is_ours(self, entry: Entry) -> bool:
        of = self._framework
        if entry.details.get("framework", registry.default().name) != of.name:
            return False
        known = entry.model in parts_of(of).models and entry.scheme in of.scheme_names
        return known and self._key(entry) == entry.recipe_key and self._store.path(entry).exists()

    def _key(self, entry: Entry) -> str:
        # Kept, because for a folder of images it takes reading them.
        variant = _variant(entry)
        if variant not in self._keys:
            self._keys[variant] = key_of(self._framework, variant, self._options)
        return self._keys[variant]

    def _counts(self, entry: Entry) -> bool:
        newest = self._newest[entry.model]
        return entry.details.get("weights_sha256") == newest.details.get("weights_sha256")


def _variant(entry: Entry) -> Variant:
    """Entries of before there was a choice of exports say nothing: those are open."""
    return Variant(entry.model, entry.scheme, str(entry.details.get("export", OPEN)))


def _artifact(entry: Entry, store: ArtifactStore) -> ModelArtifact:
    no_op = entry.details.get("no_op")
    return ModelArtifact(
        variant=_variant(entry),
        path=store.path(entry),
        sha256=entry.sha256,
        size_bytes=entry.size_bytes,
        weights=str(entry.details.get("weights", "unknown")),
        entry=entry.to_json(),
        no_op=None if no_op is None else str(no_op),
        inputs=_inputs(entry.details.get("input_shape")),
        remarks=tuple(map(Finding.from_json, entry.details.get("remarks") or ())),
    )


def _inputs(shape: object) -> tuple[InputSpec, ...]:
    """Of a catalogue's model, whose entry has the one input's shape without the batch."""
    known = isinstance(shape, list) and all(type(size) is int and size > 0 for size in shape)
    return (InputSpec((1, *cast("list[int]", shape))),) if known else ()


def _wanted(variants: Iterable[Variant], framework: Framework) -> tuple[Variant, ...]:
    wanted = tuple(dict.fromkeys(variants))
    for variant in wanted:
        check_known(framework, variant)
    return wanted


def _check_toolchain(framework: Framework) -> None:
    check_toolchain(framework)
