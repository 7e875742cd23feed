"""The user's own files as variants: read, checked against their names, kept for resuming.

A run measures bytes, not a path: whoever exports ``my.tflite`` again while a run is interrupted
must not mix two models in one table. So the bytes a run measures are copied into the models folder
under their SHA-256, and a resumed run takes them from there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from orchestrator.artifacts.blob import Blob
from orchestrator.artifacts.files import (
    make_folder,
    partial_name,
    put_in_place,
    sha256_of,
    translated,
)
from orchestrator.config import Suite, UserFile, UserModel
from orchestrator.config.scheme_names import promised, promises_floats
from orchestrator.config.user_models import split_name
from orchestrator.errors import ArtifactError, ModelBuildError, UsageError
from orchestrator.frameworks import registry
from orchestrator.frameworks.feeding import Asked, FeedingError
from orchestrator.frameworks.file_kinds import inspect_any
from orchestrator.frameworks.files import InspectedFile
from orchestrator.frameworks.parts import file_reader
from orchestrator.plain_files import created
from orchestrator.trial import InputSpec, Variant
from orchestrator.zoo.models import ModelArtifact

FOLDER = "files"

#: What the weights of a user's file are called; with the file's name behind it.
PROVENANCE = "user file"
#: And those of a variant that has none.
ARGUMENTS = "arguments"

_Found: TypeAlias = InspectedFile[Any]


@dataclass(frozen=True)
class OwnFiles:
    """A suite whose user models have schemes, and the file of each of their variants."""

    suite: Suite
    artifacts: Mapping[Variant, ModelArtifact]


def resolve(suite: Suite) -> OwnFiles:
    """Read every file of the user's and say which variant it is. Raises UsageError.

    A variant is called as the suite calls it, else by the scheme its bytes have.
    """
    models, artifacts = [], {}
    for model in suite.user_models:
        resolved, files = _resolve_model(suite, model)
        models.append(resolved)
        artifacts.update(files)
    whole = with_program(suite.model_copy(update={"user_models": tuple(models)}))
    return OwnFiles(whole, artifacts)


def with_program(suite: Suite) -> Suite:
    """Return the suite with the hash of the program that it sends to devices, if it sends one.

    Raises UsageError where the program cannot be read, or is another than the suite says.
    """
    section = suite.command
    if section is None or section.program is None:
        return suite
    try:
        found = sha256_of(section.program)
    except OSError as exc:
        raise UsageError(f"{section.program}: {exc.strerror or exc}") from exc
    if section.sha256 not in (None, found):
        raise UsageError(
            f"{section.program}: has the SHA-256 {found}, and the suite says {section.sha256}; "
            f"take the right file, or delete `sha256`"
        )
    known = section.model_copy(update={"sha256": found})
    return suite.model_copy(update={"command": known})


def _resolve_model(
    suite: Suite, model: UserModel
) -> tuple[UserModel, dict[Variant, ModelArtifact]]:
    if model.arguments:
        return _resolve_arguments(suite, model)
    artifacts: dict[Variant, ModelArtifact] = {}
    files = []
    found_of = {file: _read(suite, model, file) for file in model.files}
    baseline = _baseline(suite, found_of)
    for file, found in found_of.items():
        no_op = _no_op(file, found, baseline, found_of)
        if no_op is None:
            _check_label(model, file, found)
        held = found.contents
        scheme = file.label or (held.scheme if no_op is None else split_name(file.path)[1] or "")
        variant = Variant(model.name, scheme, framework=suite.mark(found.framework.name))
        if variant in artifacts:
            _refuse_same(model, artifacts[variant], file, found, scheme)
        artifacts[variant] = ModelArtifact(
            variant=variant,
            path=file.path,
            sha256=held.sha256,
            size_bytes=held.size_bytes,
            weights=f"{PROVENANCE} {file.path.name}",
            entry={"framework": found.framework.name, "scheme": held.scheme},
            no_op=no_op,
            inputs=_fed(suite, model, file, found),
            signature=model.signature,
            default_signature=None if model.signature else found.default_signature,
            exported=found.export,
            remarks=found.remarks(file.label or split_name(file.path)[1] or ""),
        )
        name = Path(file.path.name)
        files.append(
            file.model_copy(update={"path": name, "scheme": scheme, "sha256": held.sha256})
        )
    _refuse_no_baseline(suite, model, artifacts)
    return model.model_copy(update={"files": tuple(files)}), artifacts


def _refuse_no_baseline(
    suite: Suite, model: UserModel, artifacts: Mapping[Variant, ModelArtifact]
) -> None:
    if suite.baseline not in {variant.scheme for variant in artifacts}:
        there = ", ".join(f"{v.scheme} ({a.path.name})" for v, a in artifacts.items())
        raise UsageError(
            f"{model.place}: {model.name} has no {suite.baseline} to compare with, only {there}; "
            f"add that file, or set the suite's `baseline`"
        )


def _resolve_arguments(
    suite: Suite, model: UserModel
) -> tuple[UserModel, dict[Variant, ModelArtifact]]:
    """Make variants of arguments: each is found by what it is told, and has no file."""
    artifacts: dict[Variant, ModelArtifact] = {}
    files = []
    for file in model.files:
        if file.arguments is None or file.label is None:
            raise UsageError(
                f"{model.place}: some variants of {model.name} are files and others arguments; "
                f"write all in one way"
            )
        told = [model.name, file.label, *file.arguments]
        digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()
        variant = Variant(model.name, file.label)
        artifacts[variant] = ModelArtifact(
            variant=variant,
            path=file.path,
            sha256=digest,
            size_bytes=0,
            weights=ARGUMENTS,
            entry={"framework": suite.frameworks[0].name, "scheme": file.label},
        )
        files.append(file.model_copy(update={"scheme": file.label, "sha256": digest}))
    _refuse_no_baseline(suite, model, artifacts)
    return model.model_copy(update={"files": tuple(files)}), artifacts


def _baseline(suite: Suite, found: Mapping[UserFile, _Found]) -> UserFile | None:
    """The file that the suite compares with, where a label or its bytes alone tell it."""
    labelled = [file for file in found if file.label == suite.baseline]
    unlabelled = [
        file
        for file, inspection in found.items()
        if file.label is None
        and inspection.contents.scheme == suite.baseline
        and not _names_integers(file.path)
    ]
    return next(iter(labelled or unlabelled), None)


def _names_integers(path: Path) -> bool:
    ending = split_name(path)[1]
    return ending is not None and not promises_floats(ending)


def _no_op(
    file: UserFile,
    found: _Found,
    baseline: UserFile | None,
    found_of: Mapping[UserFile, _Found],
) -> str | None:
    """Why a file is its baseline under another name, packed anew; None where it is not."""
    if baseline is None or file == baseline or not found.is_repacked(found_of[baseline]):
        return None
    if file.label is None and not _names_integers(file.path):
        return None  # two names for one thing, neither of which says otherwise
    return (
        f"{file.path.name} holds the network of {baseline.path.name} with the same types and the "
        f"same weights ({found.contents.scheme})"
    )


def _refuse_same(
    model: UserModel,
    other: ModelArtifact,
    file: UserFile,
    found: _Found,
    scheme: str,
) -> None:
    alike = (
        "have the same content" if found.contents.sha256 == other.sha256 else f"are both {scheme}"
    )
    raise UsageError(
        f"{model.place}: {other.path.name} and {file.path.name} {alike}; leave one out, or name "
        f"what differs: {{name: {model.name}, variants: {{…}}}}"
    )


def _read(suite: Suite, model: UserModel, file: UserFile) -> _Found:
    """What the file holds, if it can be measured and is what it is called."""
    taking_any = next((each for each in suite.frameworks if each.any_file), None)
    reader = None if taking_any is None else file_reader(taking_any)
    inspect = inspect_any if reader is None else reader.inspect
    try:
        found = inspect(file.path, model.signature)
    except ModelBuildError as exc:
        raise UsageError(f"{model.place}: {exc}") from exc
    _refuse_other_frameworks(suite, model, file, found)
    why = found.unmeasurable()
    if why is not None:
        raise UsageError(f"{model.place}: {file.path.name} {why}")
    return found


def _refuse_other_frameworks(suite: Suite, model: UserModel, file: UserFile, found: _Found) -> None:
    own = found.framework
    if own in suite.frameworks:
        return
    if len(own.runners) == 1:
        what = f"and needs runner: {own.runners[0].name}; this suite has `runner: {suite.runner}`"
        raise UsageError(f"{model.place}: {file.path.name} is {found.kind} {what}")
    takes = suite.frameworks[0].takes or f"files for {suite.frameworks[0].label}"
    raise UsageError(
        f"{model.place}: {file.path.name} is {found.kind}; `runner: {suite.runner}` runs {takes}"
    )


def _fed(suite: Suite, model: UserModel, file: UserFile, found: _Found) -> tuple[InputSpec, ...]:
    asked = Asked(model.input or (), suite.factors.batch, suite.factors.input_size)
    try:
        return found.feed(asked)
    except FeedingError as exc:
        raise UsageError(f"{model.place}: {file.path.name} {exc}") from exc


def _check_label(model: UserModel, file: UserFile, found: _Found) -> None:
    """Whether the variant's name, or the file's, promises something else than the file holds."""
    if file.label is not None:
        words, called = file.label, f"the variant {file.label}"
    else:
        words, called = split_name(file.path)[1] or "", f"the name {file.path.name}"
    promise = promised(words)
    held = found.contents.scheme
    if promise is None or promise(held) or found.may_be_called(words):
        return
    raise UsageError(
        f"{model.place}: {called} contradicts {file.path.name}, which holds {held} "
        f"(`orchestrate models inspect` says more); name it for what it is, or take the right "
        f"file"
    )


def check_variants(own: OwnFiles, zoo: Mapping[Variant, ModelArtifact]) -> None:
    """Raise UsageError where two variants are the same bytes, or a file is not its scheme.

    ``zoo`` is what of the catalogue is built; the user's own files were read by :func:`resolve`.
    """
    seen: dict[str, ModelArtifact] = {}
    for artifact in (*own.artifacts.values(), *zoo.values()):
        if artifact.no_op is not None:
            continue  # is its baseline under another name, which the table says of it
        other = seen.setdefault(artifact.sha256, artifact)
        if other is not artifact:
            raise UsageError(
                f"{_named(other)} and {_named(artifact)} are the same file, byte for byte (SHA-256 "
                f"{artifact.sha256[:16]}…): a comparison of the two says nothing; leave one out"
            )
    for artifact in zoo.values():
        _check_built(artifact)


def _named(artifact: ModelArtifact) -> str:
    return f"{artifact.variant} ({artifact.path.name})"


def _check_built(artifact: ModelArtifact) -> None:
    reader, named = file_reader(registry.framework(artifact.framework)), artifact.variant.scheme
    if reader is None:
        return
    try:
        scheme = reader.built_scheme(artifact.path, named, artifact.no_op is not None)
    except ModelBuildError:
        return  # damaged: its hash will not be right either, and it is built again
    if scheme != named and sha256_of(artifact.path) == artifact.sha256:
        raise UsageError(
            f"{artifact.variant} contradicts {artifact.path}, which holds {scheme}; delete it, and "
            f"it is built again"
        )


# -- kept for resuming ----------------------------------------------------------------------------


def keep(own: OwnFiles, models_dir: Path) -> dict[Variant, ModelArtifact]:
    """Copy the files into ``models_dir`` under their hashes, the program's too, and return the
    copies of variants. Raises ArtifactError."""
    section = own.suite.command
    if section is not None and section.program is not None and section.sha256 is not None:
        _keep_file(section.program, section.sha256, models_dir)
    return {
        variant: replace(artifact, path=_keep_file(artifact.path, artifact.sha256, models_dir))
        if artifact.has_file
        else artifact
        for variant, artifact in own.artifacts.items()
    }


def _keep_file(path: Path, sha256: str, models_dir: Path) -> Path:
    target = _place(sha256, models_dir)
    make_folder(target.parent)
    with translated(target):
        if not target.is_file() or sha256_of(target) != sha256:
            partial = partial_name(target)
            try:
                with path.open("rb") as source, created(partial) as copy:
                    shutil.copyfileobj(source, copy, 1024 * 1024)
                _check_copied(partial, path, sha256)
                put_in_place(partial, target)
            finally:
                partial.unlink(missing_ok=True)
    return target


def _check_copied(partial: Path, path: Path, sha256: str) -> None:
    if sha256_of(partial) != sha256:
        raise ArtifactError(
            f"{path}: has changed since it was read; let it be finished, then run again"
        )


def find_kept(
    hashes: Iterable[tuple[Variant, str, str]], models_dir: Path
) -> dict[Variant, ModelArtifact]:
    """Find those of (variant, SHA-256, weights) that are kept and whole."""
    found = {}
    for variant, sha256, weights in hashes:
        path = _place(sha256, models_dir)
        if path.is_file() and sha256_of(path) == sha256:
            size = path.stat().st_size
            found[variant] = ModelArtifact(variant, path, sha256, size, weights, {})
    return found


def find_program(suite: Suite, models_dir: Path) -> Blob | None:
    """Find the program that a suite of a run sends to devices; None where it sends none.

    Raises ArtifactError where the folder lacks it.
    """
    section = suite.command
    if section is None or section.program is None or section.sha256 is None:
        return None
    path = _place(section.sha256, models_dir)
    if not path.is_file() or sha256_of(path) != section.sha256:
        raise ArtifactError(
            f"{models_dir}: holds no program with SHA-256 {section.sha256} "
            f"({section.program.name}), which the run measures; name the folder that does with "
            f"--models"
        )
    return Blob(section.sha256, path, path.stat().st_size)


def _place(sha256: str, models_dir: Path) -> Path:
    return models_dir / FOLDER / sha256
