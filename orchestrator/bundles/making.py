"""A run's manifest → one file that runs a device's part of the plan there."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

from orchestrate_agent.carried import bundle as carried
from orchestrator import campaign
from orchestrator.artifacts.binaries import BinaryArtifact, platform_of, resolve_binary
from orchestrator.artifacts.blob import Blob
from orchestrator.artifacts.files import locked, partial_name, put_in_place, translated
from orchestrator.artifacts.sites import STATED, stated_facts
from orchestrator.artifacts.sites import target_of as site_target_of
from orchestrator.config import Device, Inventory, Suite
from orchestrator.console import Console
from orchestrator.errors import ArtifactError, UsageError
from orchestrator.fleet.agent_archive import build_agent_archive
from orchestrator.fleet.materials import DeviceSupply, needed_by
from orchestrator.fleet.recording import Requests
from orchestrator.frameworks import registry
from orchestrator.plain_files import created
from orchestrator.plan import DevicePlan, Plan, make_plan
from orchestrator.runs.directory import RunDirectory
from orchestrator.runs.journal import FILE_NAME as JOURNAL_NAME
from orchestrator.runs.journal import JournalReader
from orchestrator.runs.manifest import (
    LOCK_NAME,
    BinaryRecord,
    Manifest,
    SiteRecord,
    read_manifest,
    write_manifest,
)
from orchestrator.runtimes import parse_runtime
from orchestrator.schedule import outline_of
from orchestrator.supply import binary_record, site_record, sites_for_stated, stored_supplies

#: A Python older than 3.13 imports from no zip file beyond what 32 bits count.
MAX_BYTES = 2**32 - 2**20
_EPOCH = (1980, 1, 1, 0, 0, 0)
_STATED_AS = 'expect: {architecture: x86_64, python: "3.12", libc: glibc 2.35}'
_PRINTED_BY = (
    "python3 -c 'import os, platform as p; print(p.machine(), p.python_version(), "
    """os.confstr("CS_GNU_LIBC_VERSION"))'"""
)


@dataclass(frozen=True)
class BundleFile:
    """A bundle on disk; ``trials`` is how many it may run at most."""

    path: Path
    size_bytes: int
    trials: int


def check(device: Device, suite: Suite) -> None:
    """Raise UsageError where no bundle can be made for the device."""
    if device.transport != "bundle":
        raise UsageError(
            f"device {device.name} has `transport: {device.transport}`: `orchestrate run` reaches "
            f"it; a bundle is for a device with `transport: bundle`"
        )
    part = _outlook(device, suite)
    _check_runtimes(device, part.runtimes)
    if part.needs_binary:
        _platform(device)


def _outlook(device: Device, suite: Suite) -> DevicePlan:
    """What the device will run, but for how much: a data set is looked at once the run is made."""
    if suite.accuracy is not None and suite.accuracy.samples is None:
        one = suite.accuracy.model_copy(update={"samples": 1})
        suite = suite.model_copy(update={"accuracy": one})
    return make_plan([device], suite, seed=0).devices[0]


def _check_runtimes(device: Device, runtimes: Collection[str]) -> None:
    facts = stated_facts(device.expect)
    pinned = sorted(name for name in runtimes if parse_runtime(name).version is not None)
    if facts is None and pinned:
        missing = " and ".join(name for name in STATED if name not in device.expect)
        raise UsageError(
            f"device {device.name}: the suite pins {', '.join(pinned)}, and a bundle carries "
            f"runtimes only for a platform that is stated: the inventory lacks {missing} of "
            f"`{_STATED_AS}`; `{_PRINTED_BY}` there prints them. Or write the runtime without a "
            f"version, and `pip install` that version there"
        )
    if facts is not None and runtimes:
        try:
            site_target_of(facts)
        except ArtifactError as exc:
            raise UsageError(
                f"device {device.name}: there are no runtimes for what `expect:` states: {exc}; "
                f"it is written like `{_STATED_AS}`"
            ) from exc


def _platform(device: Device) -> str:
    architecture = device.expect.get("architecture")
    if architecture is None:
        raise UsageError(
            f"device {device.name} runs {registry.tool().name}, and nobody can ask it for which "
            f"platform; say so in the inventory: `expect: {{architecture: x86_64}}`, or aarch64, "
            f"armv7l"
        )
    return platform_of(registry.tool(), str(architecture))


def join(
    directory: RunDirectory,
    name: str,
    inventory: Inventory | None,
    models_dir: Path,
    console: Console,
) -> None:
    """Make a device part of a run, if it is not yet. Raises OrchestrateError.

    A run keeps its devices as it began with them; what is in ``inventory`` counts for a device that
    nothing has come from. Other devices' trials do not change: each device's plan follows from its
    own entry.
    """
    before = read_manifest(directory.path)
    manifest = _with_entry(directory, before, name, inventory)
    device, suite = _device(manifest, name), Suite.from_json(manifest.suite)
    check(device, suite)
    if name in before.devices and manifest == before:
        return
    given = provide(device, suite, models_dir, console)
    with locked(directory.path / LOCK_NAME):
        manifest = _with_entry(directory, read_manifest(directory.path), name, inventory)
        joined = replace(
            manifest,
            devices=tuple(dict.fromkeys((*manifest.devices, name))),
            binaries=(*(b for b in manifest.binaries if b.device != name), *given.binaries),
            sites=(*(s for s in manifest.sites if s.device != name), *given.sites),
        )
        write_manifest(directory.path, joined)


@dataclass(frozen=True)
class SupplyRecords:
    """What a bundle's device gets in addition to the models, as the manifest has it."""

    binaries: tuple[BinaryRecord, ...]
    sites: tuple[SiteRecord, ...]


def provide(device: Device, suite: Suite, models_dir: Path, console: Console) -> SupplyRecords:
    """Have the device's binary, and its runtimes where its platform is stated, in ``models_dir``.

    What is there is not fetched again. Raises OrchestrateError.
    """
    part = _outlook(device, suite)
    binaries = [_binary(device, models_dir, console)] if part.needs_binary else []
    try:
        sites = sites_for_stated(device, part, models_dir, console.say)
    except ArtifactError as exc:
        raise ArtifactError(
            f"device {device.name}: {exc} (its Python is what `expect:` says)"
        ) from exc
    return SupplyRecords(
        tuple(binary_record(device.name, binary) for binary in binaries),
        tuple(site_record(device.name, runtime, site) for runtime, site in sites.items()),
    )


def _with_entry(
    directory: RunDirectory, manifest: Manifest, name: str, inventory: Inventory | None
) -> Manifest:
    if inventory is None or _has_begun(directory, manifest, name):
        return manifest
    known = {each["name"]: each for each in manifest.inventory.get("devices") or ()}
    given = {each["name"]: each for each in inventory.for_a_run()["devices"]}
    if name in known and name not in given:
        return manifest
    known[name] = given[inventory.device(name).name]
    return replace(manifest, inventory={**manifest.inventory, "devices": list(known.values())})


def _has_begun(directory: RunDirectory, manifest: Manifest, name: str) -> bool:
    """Whether something is known from the device, or may come without a bundle."""
    if name not in manifest.devices:
        return False
    if name not in manifest.bundled:
        return True
    return any(event["device"] == name for event in JournalReader(directory.path / JOURNAL_NAME))


def _device(manifest: Manifest, name: str) -> Device:
    return Inventory.from_json(manifest.inventory).device(name)


def _binary(device: Device, models_dir: Path, console: Console) -> BinaryArtifact:
    if device.binary is None:  # cannot be: the plan was refused
        raise ArtifactError(f"device {device.name} has no `{registry.tool().name}:`")
    return resolve_binary(device.binary, _platform(device), models_dir, on_progress=console.say)


def plan_of(manifest: Manifest, name: str) -> tuple[Device, Plan, DevicePlan]:
    """A device of the run, and its part of the plan, as the run began with it."""
    device = _device(manifest, name)
    plan = make_plan([device], Suite.from_json(manifest.suite), seed=manifest.seed)
    return device, plan, plan.device(name)


def make(
    directory: RunDirectory, name: str, output: Path, models_dir: Path, *, with_models: bool
) -> BundleFile:
    """Write the bundle of a device of the run, in one step. Raises OrchestrateError."""
    manifest = read_manifest(directory.path)
    device, plan, part = plan_of(manifest, name)
    materials = campaign.stored_materials(manifest, plan, models_dir)
    supply = stored_supplies(manifest, models_dir).get(name, DeviceSupply())
    requests = Requests(campaign.target_of(device), plan.settings, materials, supply)
    models = {blob.sha256 for blob in materials.blobs.values()}
    sites = supply.sites
    blobs = needed_by(part, materials, supply)
    inside = [blob for blob in blobs if with_models or blob.sha256 not in models]
    document = {
        "format": carried.FORMAT,
        "run_id": manifest.run_id,
        "device": name,
        "python": device.python_command,
        "runtimes": [
            [library.name for library in libraries]
            for text, libraries in sorted(part.choices.items())
            if text not in sites
        ],
        "sites": sorted({site.sha256 for site in sites.values()}),
        "expect": _expected(device) if sites else dict(device.expect),
        "outline": outline_of(plan, part).to_json(),
        "requests": [requests.request(trial) for trial in part.trials],
        "files": [asdict(_file(blob, models_dir, inside=blob in inside)) for blob in blobs],
    }
    data = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    _refuse_too_large(data, inside, sites.values())
    partial = partial_name(output)
    with translated(output):
        try:
            _write(partial, data, inside)
            put_in_place(partial, output)
        finally:
            partial.unlink(missing_ok=True)
        return BundleFile(output, output.stat().st_size, len(part.trials))


def _file(blob: Blob, models_dir: Path, *, inside: bool) -> carried.File:
    path = blob.path
    within = path.relative_to(models_dir) if path.is_relative_to(models_dir) else Path(path.name)
    return carried.File(blob.sha256, blob.size_bytes, within.as_posix(), carried=inside)


def _expected(device: Device) -> dict[str, Any]:
    """Complete the expected facts by what the inventory leaves open of the Python that the runtimes
    inside are for."""
    python = (stated_facts(device.expect) or {}).get("python", {})
    return {**device.expect, **{k: v for k, v in python.items() if k != "version"}}


def _refuse_too_large(document: bytes, inside: Collection[Blob], sites: Collection[Blob]) -> None:
    size = len(document) + sum(blob.size_bytes for blob in inside)
    if size <= MAX_BYTES:
        return
    of_sites = sum(site.size_bytes for site in sites)
    remedy = "make it with --without-models, or split the suite"
    if size - of_sites <= MAX_BYTES:
        remedy += "; or take `python` out of `expect:`, and install the runtimes there"
    raise UsageError(
        f"the bundle would have {size / 1e9:.1f} GB, {of_sites / 1e9:.1f} of them runtimes, and "
        f"Python runs none of more than {MAX_BYTES / 1e9:.1f} GB; {remedy}"
    )


def _write(path: Path, document: bytes, blobs: list[Blob]) -> None:
    with created(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in _agent():
            archive.writestr(_info(name), data)
        archive.writestr(_info(f"orchestrate_agent/{carried.DOCUMENT}"), document)
        for blob in blobs:
            info = _info(f"blobs/{blob.sha256}")
            info.file_size = blob.size_bytes
            with archive.open(info, "w") as member, blob.path.open("rb") as source:
                shutil.copyfileobj(source, member, 1024 * 1024)


def _agent() -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(BytesIO(build_agent_archive().data)) as agent:
        for name in agent.namelist():
            yield name, agent.read(name)


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.external_attr = 0o644 << 16
    return info
