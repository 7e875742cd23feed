"""What devices are given in addition to the models: their ``benchmark_model``, their runtimes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from orchestrate_agent.children.probe import has_runtime
from orchestrator.artifacts.binaries import (
    BinaryArtifact,
    android_platform_of,
    platform_of,
    resolve_binary,
    stored_binary,
)
from orchestrator.artifacts.blob import Blob
from orchestrator.artifacts.files import locked
from orchestrator.artifacts.sites import (
    SiteArtifact,
    provide_site,
    stated_facts,
    stored_site,
    target_of,
)
from orchestrator.config import Device
from orchestrator.errors import ArtifactError, PermanentDeviceError
from orchestrator.fleet.materials import DeviceSupply
from orchestrator.fleet.provision import ReachedDevice, installed_runtimes
from orchestrator.frameworks import registry
from orchestrator.frameworks.about import Library
from orchestrator.plan import DevicePlan, Plan
from orchestrator.runs.manifest import (
    FILE_NAME,
    LOCK_NAME,
    BinaryRecord,
    Manifest,
    SiteRecord,
    read_manifest,
    write_manifest,
)
from orchestrator.runs.passing_on import facts_to_keep
from orchestrator.runtimes import ANY, Runtime, parse_runtime

Say = Callable[[str], None]


class Supplies:
    """Gives each device what it needs, which is known once it was reached, and notes it in the
    manifest; one that is reached late gets it then.

    Threads: :meth:`complete` may be called from any.
    """

    def __init__(
        self,
        plan: Plan,
        manifest: Manifest,
        given: Mapping[str, DeviceSupply],
        models_dir: Path,
        say: Say,
    ) -> None:
        """``given`` is what the manifest says that devices have, by their names."""
        self._plan = plan
        self._manifest = manifest
        self._given = dict(given)
        self._models_dir = models_dir
        self._say = say
        self._folder: Path | None = None
        self._guard = threading.Lock()

    def keep_in(self, folder: Path) -> None:
        """Write the manifest into a new run's folder; and there, whenever a device was completed.

        Raises JournalError.
        """
        with self._guard:
            self._folder = folder
            if not (folder / FILE_NAME).exists():
                write_manifest(folder, self._manifest)

    def complete(self, device: Device, node: ReachedDevice) -> DeviceSupply:
        """Get what ``device`` needs and lacks, and note it; returns all that it was given.

        Raises DeviceError, JournalError.
        """
        with self._guard:
            plan = self._plan.device(device.name)
            try:
                # its facts are noted together with all that it was given
                if device.name in self._manifest.facts:
                    given = (site for site in self._manifest.sites if site.device == device.name)
                    check_fit(node, {site.runtime: site.target for site in given})
                    return self._given.get(device.name, DeviceSupply())
                binary = (
                    binary_for(device, node, self._models_dir, self._say)
                    if plan.needs_binary
                    else None
                )
                sites = sites_for(node, plan, self._models_dir, self._say)
            except ArtifactError as exc:
                raise PermanentDeviceError(str(exc), device=device.name) from exc
            return self._note(device.name, node, binary, sites)

    def _note(
        self,
        device: str,
        node: ReachedDevice,
        binary: BinaryArtifact | None,
        sites: dict[str, SiteArtifact],
    ) -> DeviceSupply:
        given = [] if binary is None else [binary_record(device, binary)]
        bundles = [site_record(device, runtime, site) for runtime, site in sites.items()]
        if self._folder is None:
            self._manifest = _completed(self._manifest, device, node, given, bundles)
        else:
            # a bundle's device may have joined the run meanwhile
            with locked(self._folder / LOCK_NAME):
                known = read_manifest(self._folder)
                self._manifest = _completed(known, device, node, given, bundles)
                write_manifest(self._folder, self._manifest)
        paths = {site.sha256: site.path for site in sites.values()}
        if binary is not None:
            paths[binary.sha256] = binary.path
        self._given[device] = _supply_of(given, bundles, lambda record: paths[record.sha256])
        return self._given[device]


def _completed(
    manifest: Manifest,
    device: str,
    node: ReachedDevice,
    binaries: Sequence[BinaryRecord],
    sites: Sequence[SiteRecord],
) -> Manifest:
    return replace(
        manifest,
        binaries=(*manifest.binaries, *binaries),
        sites=(*manifest.sites, *sites),
        facts={**manifest.facts, device: facts_to_keep(node.facts)},
    )


def stored_supplies(manifest: Manifest, models_dir: Path | None) -> dict[str, DeviceSupply]:
    """What the manifest says that devices were given, by their names.

    ``models_dir`` None: without the bytes, by name and hash alone. Raises ArtifactError where it
    lacks them.
    """

    def path_of(record: BinaryRecord | SiteRecord) -> Path:
        if models_dir is None:
            return Path(record.sha256)
        if isinstance(record, BinaryRecord):
            return stored_binary(record.sha256, models_dir).path
        return stored_site(record.sha256, models_dir)

    return {
        device: _supply_of(
            [record for record in manifest.binaries if record.device == device],
            [record for record in manifest.sites if record.device == device],
            path_of,
        )
        for device in {*(r.device for r in manifest.binaries), *(r.device for r in manifest.sites)}
    }


def _supply_of(
    binaries: Sequence[BinaryRecord],
    sites: Sequence[SiteRecord],
    path_of: Callable[[BinaryRecord | SiteRecord], Path],
) -> DeviceSupply:
    """What the records of one device say that it has."""
    blobs = [Blob(r.sha256, path_of(r), r.size_bytes) for r in binaries]
    return DeviceSupply(
        binary=blobs[-1] if blobs else None,
        # a file of the user's own is what they mean it to be, and its hash is in the manifest
        unpinned=any(not record.pinned and "://" in record.source for record in binaries),
        sites={r.runtime: Blob(r.sha256, path_of(r), r.size_bytes) for r in sites},
    )


def binary_for(device: Device, node: ReachedDevice, models_dir: Path, say: Say) -> BinaryArtifact:
    """The device's ``benchmark_model``. Raises ArtifactError."""
    if device.binary is None:
        raise ArtifactError(f"the inventory names no `{registry.tool().name}:` for it")
    platform = _platform_of(node.facts)
    return resolve_binary(device.binary, platform, models_dir, on_progress=say)


def _platform_of(facts: Mapping[str, Any]) -> str:
    """Raises ArtifactError."""
    system, android = facts.get("system") or {}, facts.get("android")
    if android is not None:
        if android.get("abi") is None:
            raise ArtifactError("it does not tell its ABI (`getprop ro.product.cpu.abi`)")
        return android_platform_of(registry.tool(), str(android["abi"]))
    return platform_of(
        registry.tool(), str(system.get("architecture")), system.get("userland_bits")
    )


def sites_for(
    node: ReachedDevice, plan: DevicePlan, models_dir: Path, say: Say
) -> dict[str, SiteArtifact]:
    """Bundles of the runtimes that the device does not have itself, by the factor's value.

    A pinned one is always provided, so that it is the same on every device. Raises ArtifactError,
    DeviceError.
    """
    asked = {text: parse_runtime(text) for text in sorted(plan.runtimes)}
    unpinned = any(runtime.version is None for runtime in asked.values())
    own = installed_runtimes(node) if unpinned or plan.choices_to_check else {}
    lacking = [
        runtime
        for text, runtime in asked.items()
        if runtime.version is not None
        or not has_runtime(own, [each.name for each in plan.choices[text]])
    ]
    say = _about(node.device, say)
    provided = {
        str(runtime): _site_for(
            runtime, plan.choices, node.facts, models_dir, say, python=node.place.python
        )
        for runtime in lacking
    }
    return provided | _to_check(node, plan, own, models_dir, say)


def _to_check(
    node: ReachedDevice, plan: DevicePlan, own: Mapping[str, str], models_dir: Path, say: Say
) -> dict[str, SiteArtifact]:
    """Bundles of what files are looked at with alone. Where there is none, nobody looks at them,
    and the report says so: what is measured needs no Python runtime."""
    found = {}
    for text, libraries in plan.choices_to_check.items():
        if has_runtime(own, [each.name for each in libraries]):
            continue
        try:
            found[text] = _site_for(
                parse_runtime(text), plan.choices_to_check, node.facts, models_dir, say
            )
        except ArtifactError as exc:
            say(f"nobody will look at what its files compute: {exc}")
    return found


def sites_for_stated(
    device: Device, plan: DevicePlan, models_dir: Path, say: Say
) -> dict[str, SiteArtifact]:
    """Bundles of all runtimes of a device that nobody can ask which it has, by the factor's value.

    There are none where ``expect:`` does not say what they would be for. Raises ArtifactError.
    """
    facts = stated_facts(device.expect)
    if facts is None:
        return {}
    say = _about(device.name, say)
    asked = [parse_runtime(text) for text in sorted(plan.runtimes)]
    choices = plan.choices
    return {str(runtime): _site_for(runtime, choices, facts, models_dir, say) for runtime in asked}


def _about(device: str, say: Say) -> Say:
    return lambda text: say(f"{device}: {text}")


def check_fit(node: ReachedDevice, targets: Mapping[str, str]) -> None:
    """Refuse bundles for a device whose Python is another one than they were made for.

    ``targets`` maps the factor's value to the target's key. Raises PermanentDeviceError.
    """
    if not targets:
        return
    now = target_of(node.facts).key
    for runtime, then in targets.items():
        # the Python and the machine; of C libraries a newer one loads what an older one did
        if (now.split("-")[0], now.split("-")[-1]) != (then.split("-")[0], then.split("-")[-1]):
            raise PermanentDeviceError(
                f"the run's {runtime} was provided for {then}, and its Python is {now} now; name "
                f"the earlier interpreter with `python:`, or start a new run",
                device=node.device,
            )


def _site_for(
    runtime: Runtime,
    choices: Mapping[str, Sequence[Library]],
    facts: Mapping[str, Any],
    models_dir: Path,
    say: Say,
    *,
    python: str | None = None,
) -> SiteArtifact:
    """``python`` is the one there that was asked for its own."""
    target = target_of(facts)
    failures = []
    for library in choices[str(runtime)]:
        if runtime.name == ANY and not library.stands_in:
            continue
        candidate = Runtime(library.name, runtime.version)
        try:
            return provide_site(candidate, library.constraints, target, models_dir, say)
        except ArtifactError as exc:
            failures.append(str(exc))
    whose = "" if runtime.version or python is None else f"`{python}` there has none, and "
    raise ArtifactError(f"runtime {runtime}: {whose}none can be provided: {'; '.join(failures)}")


def binary_record(device: str, binary: BinaryArtifact) -> BinaryRecord:
    # a run's folder may be passed on, and needs no path of this machine: the hash names the file
    source = binary.source if "://" in binary.source else Path(binary.source).name
    return BinaryRecord(device, binary.sha256, binary.size_bytes, source, binary.pinned)


def site_record(device: str, runtime: str, site: SiteArtifact) -> SiteRecord:
    return SiteRecord(
        device=device,
        runtime=runtime,
        requirement=site.requirement,
        target=site.target,
        sha256=site.sha256,
        size_bytes=site.size_bytes,
        packages=tuple(asdict(package) for package in site.packages),
    )
