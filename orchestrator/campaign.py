"""One ``orchestrate run`` from inventory to report: reach, build, push, measure, write down.

Devices are reached first, because that fails fast and costs nothing; models are built next, while
no device measures; then every device runs its part in a thread of its own.
"""

from __future__ import annotations

import importlib.metadata
import platform
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from orchestrator import __version__
from orchestrator.analysis import comparison_precision
from orchestrator.artifacts.binaries import (
    BinaryArtifact,
    platform_of,
    resolve_binary,
    stored_binary,
)
from orchestrator.config import Device, Inventory, Suite
from orchestrator.console import Console
from orchestrator.errors import (
    ArtifactError,
    DeviceError,
    NoDeviceReachedError,
    PermanentDeviceError,
    UsageError,
)
from orchestrator.fleet.agent_archive import AgentArchive, build_agent_archive
from orchestrator.fleet.execution import Campaign, DeviceRun
from orchestrator.fleet.progress import DeviceProgress, State, StopLevel, StopRequest
from orchestrator.fleet.provision import Blob, Node, check_suitability
from orchestrator.fleet.reach import reach_device
from orchestrator.fleet.recording import Materials, Target
from orchestrator.isa.build import CapObject, build_cap_object
from orchestrator.measurement import Outcome
from orchestrator.plan import Plan, Variant, make_plan
from orchestrator.runs.directory import RunDirectory, new_run_id
from orchestrator.runs.journal import Journal, utc_now
from orchestrator.runs.manifest import BinaryRecord, Manifest, read_manifest, write_manifest
from orchestrator.runs.records import ArtifactRecord
from orchestrator.zoo import (
    DEFAULT_OPTIONS,
    BuildOptions,
    ModelArtifact,
    OwnFiles,
    artifacts_by_hash,
    check_variants,
    ensure_artifacts,
    find_artifacts,
    find_kept,
    keep,
    resolve,
)

_PACKAGES = ("fabric", "paramiko", "numpy", "scipy", "pandas", "pydantic")


@dataclass(frozen=True)
class Places:
    """The folders a run reads and writes, and how models that are missing are to be built."""

    results: Path
    models: Path
    building: BuildOptions = DEFAULT_OPTIONS


@dataclass(frozen=True)
class Conclusion:
    """How a run ended: where it is, and whether everything in it went well.

    ``complete`` means that nothing is left that ``--resume`` could do.
    """

    directory: RunDirectory
    complete: bool
    failed_trials: int
    lost_devices: tuple[str, ...]
    interrupted: bool


@dataclass(frozen=True)
class Fleet:
    """The devices of a run, what is asked of them, and how to reach them."""

    inventory: Inventory
    devices: tuple[Device, ...]
    plan: Plan
    archive: AgentArchive
    run_id: str

    def reach(self, device: Device) -> Node:
        """Connect to one device and its agent. Raises DeviceError."""
        return reach_device(device, self.inventory, self.archive, run_id=self.run_id)

    def reach_fit(self, device: Device) -> Node:
        """The same, and see at once whether the device is the right one and has what it needs."""
        node = self.reach(device)
        try:
            check_suitability(node, device.expect, self.plan.device(device.name), device.cpus)
        except DeviceError:
            node.close()
            raise
        return node


@dataclass(frozen=True)
class Prepared:
    """A plan, and what of its variants is there: the user's own files, and what the zoo has built.

    ``suite`` is the suite with the schemes of the user's own models in it.
    """

    suite: Suite
    plan: Plan
    own: OwnFiles
    built: Mapping[Variant, ModelArtifact]
    options: BuildOptions

    @property
    def zoo_variants(self) -> tuple[Variant, ...]:
        return tuple(v for v in self.plan.variants if v not in self.own.artifacts)


@dataclass(frozen=True)
class Reached:
    """Who answered, and why the others did not."""

    nodes: Mapping[str, Node]
    errors: tuple[DeviceError, ...]


def build_options(suite: Suite, chosen: BuildOptions) -> BuildOptions:
    """How the models of a suite are built: as chosen, and so that the runtime it names can load
    them."""
    old = suite.runtime == "tflite-runtime"
    return replace(chosen, compatibility="tflite-2.14") if old else chosen


def prepare(devices: Sequence[Device], suite: Suite, places: Places, *, seed: int) -> Prepared:
    """The plan, and the files that are there, read and compared. Raises OrchestrateError.

    Touches no device and changes nothing.
    """
    own = resolve(suite)
    plan = make_plan(devices, own.suite, seed=seed)
    zoo = [variant for variant in plan.variants if variant not in own.artifacts]
    options = build_options(own.suite, places.building)
    built = find_artifacts(
        zoo, places.models, damaged_ok=True, options=options, framework=own.suite.framework
    )
    prepared = Prepared(own.suite, plan, own, built, options)
    check_variants(own, prepared.built)
    return prepared


def start(
    inventory: Inventory,
    devices: Sequence[Device],
    suite: Suite,
    places: Places,
    *,
    seed: int,
    console: Console,
    stop: StopRequest,
) -> Conclusion:
    """Run ``suite`` on ``devices`` from the beginning. Raises OrchestrateError."""
    prepared = prepare(devices, suite, places, seed=seed)
    plan = prepared.plan
    cap = _cap(plan, places.models)
    fleet = Fleet(inventory, tuple(devices), plan, build_agent_archive(), new_run_id())
    reached = reach_all(fleet, console)
    with _closing(reached):
        models = _build(prepared, places.models, console)
        reached, binaries = _fetch_binaries(fleet, reached, plan, places.models, console)
        directory = RunDirectory.create(places.results, fleet.run_id)
        manifest = replace(
            _manifest(fleet.run_id, inventory, prepared, models),
            devices=tuple(device.name for device in devices),
            binaries=tuple(binary_record(name, b) for name, b in binaries.items()),
            facts={name: node.facts for name, node in reached.nodes.items()},
        )
        write_manifest(directory.path, manifest)
        console.say(f"run {fleet.run_id} in {directory.path}")
        materials = _materials(manifest, models, binaries, cap)
        with Journal(directory.path) as journal:
            for error in reached.errors:
                journal.append(error.device, "device_lost", reason=error.reason)
            campaign = _campaign(plan, materials, directory, journal, console=console, stop=stop)
            return _conduct(campaign, _device_runs(campaign, fleet), reached)


def begin_without_devices(
    inventory: Inventory,
    devices: Sequence[Device],
    suite: Suite,
    places: Places,
    *,
    seed: int,
    console: Console,
) -> RunDirectory:
    """A run whose models are there and that has no device yet. Raises OrchestrateError.

    ``devices`` are those that it is to have: the plan must be possible for them.
    """
    prepared = prepare(devices, suite, places, seed=seed)
    models = _build(prepared, places.models, console)
    directory = RunDirectory.create(places.results, new_run_id())
    write_manifest(directory.path, _manifest(directory.run_id, inventory, prepared, models))
    Journal(directory.path).close()
    console.say(f"run {directory.run_id} in {directory.path}")
    return directory


def _build(prepared: Prepared, models_dir: Path, console: Console) -> dict[Variant, ModelArtifact]:
    """Every file of the plan, those that are missing built."""
    suite, options = prepared.suite, prepared.options
    if options.compatibility != "current":
        console.say(
            f"models: built for {options.compatibility}, because suite {suite.name} asks for "
            f"runtime {suite.runtime}"
        )
    models = ensure_artifacts(
        prepared.zoo_variants,
        models_dir,
        on_progress=lambda p: console.say(f"models {p.done}/{p.total}: {p.step}"),
        options=options,
        framework=suite.framework,
    )
    return models | keep(prepared.own, models_dir)


def _manifest(
    run_id: str,
    inventory: Inventory,
    prepared: Prepared,
    models: Mapping[Variant, ModelArtifact],
) -> Manifest:
    """Of a run without a device."""
    return Manifest(
        run_id=run_id,
        created=utc_now(),
        seed=prepared.plan.seed,
        inventory=inventory.to_json(),
        suite=prepared.suite.to_json(),
        devices=(),
        versions=_versions(),
        artifacts=tuple(_artifact_record(models[variant]) for variant in prepared.plan.variants),
    )


def resume(
    directory: RunDirectory,
    inventory: Inventory | None,
    places: Places,
    *,
    console: Console,
    stop: StopRequest,
) -> Conclusion:
    """Go on with a run from where its journal ends. Raises OrchestrateError.

    ``inventory`` says how the run's devices are reached now (a node may have a new address); None
    takes the inventory that the run was started with.
    """
    manifest = read_manifest(directory.path)
    inventory = inventory or Inventory.from_json(manifest.inventory)
    suite = Suite.from_json(manifest.suite)
    names = [name for name in manifest.devices if name not in manifest.bundled]
    if not names:
        raise UsageError(
            f"{directory.run_id}: nothing reaches its devices from here; run their bundles again "
            f"there, and `orchestrate import` what they write"
        )
    devices = inventory.select(names)
    plan = make_plan(devices, suite, seed=manifest.seed)
    fleet = Fleet(inventory, devices, plan, build_agent_archive(), manifest.run_id)
    materials = stored_materials(manifest, plan, places.models)
    with Journal(directory.path) as journal:
        if journal.torn is not None:
            console.say(f"{journal.path}: the last line was torn; what it held is fetched again")
        campaign = _campaign(plan, materials, directory, journal, console=console, stop=stop)
        runs = _device_runs(campaign, fleet)
        left = tuple(device for device in devices if not runs[device.name].complete)
        if not left:
            console.say(f"run {manifest.run_id} is complete; nothing is left to do")
            return _conclude(campaign, runs, lost=frozenset())
        reached = reach_all(replace(fleet, devices=left), console)
        with _closing(reached):
            for error in reached.errors:
                journal.append(error.device, "device_lost", reason=error.reason)
            return _conduct(campaign, runs, reached)


def reach_all(fleet: Fleet, console: Console) -> Reached:
    """Reach every device at once. Raises NoDeviceReachedError where none answers."""
    with ThreadPoolExecutor(max_workers=max(1, len(fleet.devices))) as pool:
        results = list(
            pool.map(lambda device: _try_to_reach(fleet, device, console), fleet.devices)
        )
    nodes = {result.device: result for result in results if isinstance(result, Node)}
    errors = tuple(result for result in results if isinstance(result, DeviceError))
    if not nodes:
        raise NoDeviceReachedError("\n".join(["no device could be reached", *map(str, errors)]))
    return Reached(nodes, errors)


def _try_to_reach(fleet: Fleet, device: Device, console: Console) -> Node | DeviceError:
    console.observe(DeviceProgress(device.name, State.CONNECTING))
    try:
        node = fleet.reach_fit(device)
    except DeviceError as exc:
        console.observe(DeviceProgress(device.name, State.LOST, exc.reason))
        return exc
    console.observe(DeviceProgress(device.name, State.READY))
    return node


@contextmanager
def _closing(reached: Reached) -> Iterator[None]:
    """Let go of every device at the end, also of those whose turn never came."""
    try:
        yield
    finally:
        for node in reached.nodes.values():
            node.close()


# -- the bytes ------------------------------------------------------------------------------------


def _fetch_binaries(
    fleet: Fleet, reached: Reached, plan: Plan, models_dir: Path, console: Console
) -> tuple[Reached, dict[str, BinaryArtifact]]:
    """Each reached device's ``benchmark_model``, where its part of the plan needs one.

    A device whose binary cannot be had is lost; the others go on.
    """
    binaries: dict[str, BinaryArtifact] = {}
    nodes, errors = dict(reached.nodes), list(reached.errors)
    for device in fleet.devices:
        if device.name not in nodes or not plan.device(device.name).needs_binary:
            continue
        try:
            binaries[device.name] = _fetch_binary(device, nodes[device.name], models_dir, console)
        except ArtifactError as exc:
            console.observe(DeviceProgress(device.name, State.LOST, str(exc)))
            errors.append(PermanentDeviceError(str(exc), device=device.name))
            nodes.pop(device.name).close()
    if not nodes:
        raise ArtifactError("\n".join(["no device can run anything", *map(str, errors)]))
    return Reached(nodes, tuple(errors)), binaries


def _fetch_binary(device: Device, node: Node, models_dir: Path, console: Console) -> BinaryArtifact:
    if device.benchmark_model is None:
        raise ArtifactError("the inventory names no `benchmark_model:` for it")
    system = node.facts.get("system")
    machine = system.get("architecture") if isinstance(system, dict) else None
    return resolve_binary(
        device.benchmark_model, platform_of(str(machine)), models_dir, on_progress=console.say
    )


def _cap(plan: Plan, models_dir: Path) -> CapObject | None:
    """The object that caps the instruction set, if some device's plan asks for that.

    Not of the manifest: it has no figure in it, and another build of it caps the same.
    """
    return build_cap_object(models_dir) if any(d.capped_isas for d in plan.devices) else None


def stored_materials(manifest: Manifest, plan: Plan, models_dir: Path) -> Materials:
    """The bytes of an earlier run, exactly those: another build of a model is another model.

    Raises ArtifactError where one is not there any more.
    """
    own = {each["name"] for each in manifest.suite.get("user_models", ())}
    records = [record for record in manifest.artifacts if record.variant.model in own]
    zoo = {r.variant: r.sha256 for r in manifest.artifacts if r.variant.model not in own}
    models = artifacts_by_hash(zoo, models_dir)
    models |= find_kept([(r.variant, r.sha256, r.weights) for r in records], models_dir)
    for record in manifest.artifacts:
        model = models.get(record.variant)
        if model is None or model.sha256 != record.sha256:
            raise ArtifactError(
                f"{models_dir}: holds no {record.variant} with SHA-256 {record.sha256}, which run "
                f"{manifest.run_id} measures; name the folder that does with --models"
            )
    binaries = {b.device: stored_binary(b.sha256, models_dir) for b in manifest.binaries}
    return _materials(manifest, models, binaries, _cap(plan, models_dir))


def named_materials(manifest: Manifest, plan: Plan, models_dir: Path) -> Materials:
    """The same without the bytes: enough to say what a trial's evidence means."""
    binaries = {
        b.device: BinaryArtifact(Path(b.source), b.sha256, b.size_bytes, b.source, b.pinned)
        for b in manifest.binaries
    }
    return _materials(manifest, {}, binaries, _cap(plan, models_dir))


def _materials(
    manifest: Manifest,
    models: Mapping[Variant, ModelArtifact],
    binaries: Mapping[str, BinaryArtifact],
    cap: CapObject | None,
) -> Materials:
    own = manifest.suite.get("user_models", ())
    return Materials(
        artifacts={record.variant: record for record in manifest.artifacts},
        inputs={each["name"]: tuple(each["input"]) for each in own if each.get("input")},
        blobs={v: Blob(m.sha256, m.path, m.size_bytes) for v, m in models.items()},
        binaries={d: Blob(b.sha256, b.path, b.size_bytes) for d, b in binaries.items()},
        cap=None if cap is None else Blob(cap.sha256, cap.path, cap.size_bytes),
        # a file of the user's own is what he means it to be, and its hash is in the manifest
        unpinned=frozenset(
            b.device for b in manifest.binaries if not b.pinned and "://" in b.source
        ),
    )


def _artifact_record(model: ModelArtifact) -> ArtifactRecord:
    return ArtifactRecord(model.variant, model.sha256, model.size_bytes, model.weights, model.no_op)


def binary_record(device: str, binary: BinaryArtifact) -> BinaryRecord:
    return BinaryRecord(device, binary.sha256, binary.size_bytes, binary.source, binary.pinned)


def _versions() -> dict[str, str]:
    packages = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"orchestrate": __version__, "python": platform.python_version(), **packages}


# -- running --------------------------------------------------------------------------------------


def _device_runs(campaign: Campaign, fleet: Fleet) -> dict[str, DeviceRun]:
    return {
        device.name: DeviceRun(
            campaign,
            target_of(device),
            expect=device.expect,
            reach=partial(fleet.reach, device),
        )
        for device in fleet.devices
    }


def target_of(device: Device) -> Target:
    """What the device's trials need to know of it."""
    return Target(
        device=device.name,
        python=device.python_command,
        exclusive=device.exclusive,
        cpus=device.cpus,
        pin=device.pins,
        tune=device.tune,
        energy=device.energy,
    )


def _campaign(
    plan: Plan,
    materials: Materials,
    directory: RunDirectory,
    journal: Journal,
    *,
    console: Console,
    stop: StopRequest,
) -> Campaign:
    return Campaign(
        plan=plan,
        materials=materials,
        directory=directory,
        journal=journal,
        precision_of=lambda records: comparison_precision(records, plan.baseline),
        observer=console.observe,
        stop=stop,
    )


def _conduct(campaign: Campaign, runs: Mapping[str, DeviceRun], reached: Reached) -> Conclusion:
    """Run every reached device in a thread of its own and wait for all of them."""
    lost = {error.device for error in reached.errors}
    failures: list[BaseException] = []
    threads = [
        threading.Thread(
            target=_run_one, args=(campaign, runs[name], node, lost, failures), name=name
        )
        for name, node in reached.nodes.items()
    ]
    campaign.stop.armed = True
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    campaign.stop.armed = False
    if failures:
        raise failures[0]
    return _conclude(campaign, runs, lost=frozenset(lost))


def _run_one(
    campaign: Campaign,
    run: DeviceRun,
    node: Node,
    lost: set[str],
    failures: list[BaseException],
) -> None:
    try:
        run.run(node)
    except DeviceError as exc:
        lost.add(node.device)
        campaign.journal.append(node.device, "device_lost", reason=exc.reason)
        campaign.observer(DeviceProgress(node.device, State.LOST, exc.reason))
    except BaseException as exc:  # noqa: BLE001 (handed to the main thread, which raises it)
        failures.append(exc)


def _conclude(
    campaign: Campaign, runs: Mapping[str, DeviceRun], *, lost: frozenset[str]
) -> Conclusion:
    finished = [e for e in campaign.journal.events if e["event"] == "finished"]
    return Conclusion(
        directory=campaign.directory,
        complete=all(run.complete for run in runs.values()),
        failed_trials=sum(e["outcome"] != Outcome.OK.value for e in finished),
        lost_devices=tuple(sorted(lost)),
        interrupted=campaign.stop.level is not StopLevel.GO_ON,
    )
