"""One ``orchestrate run`` from inventory to report: reach, build, push, measure, write down.

Devices are reached first, because that fails fast and costs nothing; models are built next, while
no device measures; then every device runs its part in a thread of its own.
"""

from __future__ import annotations

import importlib.metadata
import platform
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from orchestrator import __version__
from orchestrator.analysis import comparison_precision
from orchestrator.artifacts.sites import known_sizes
from orchestrator.config import Device, Inventory, Suite
from orchestrator.console import Console
from orchestrator.errors import (
    ArtifactError,
    DeviceError,
    NoDeviceReachedError,
    PermanentDeviceError,
    TransientDeviceError,
    UsageError,
)
from orchestrator.fleet import lease
from orchestrator.fleet.agent_archive import AgentArchive, build_agent_archive
from orchestrator.fleet.execution import Campaign, DeviceRun
from orchestrator.fleet.progress import DeviceProgress, State, StopLevel, StopRequest
from orchestrator.fleet.provision import Blob, Node, check_suitability
from orchestrator.fleet.reach import Way, reach_device, transport_to
from orchestrator.fleet.recording import Materials, Target
from orchestrator.isa.build import CapObject, build_cap_object
from orchestrator.measurement import Outcome
from orchestrator.plan import Plan, make_plan
from orchestrator.runs.directory import RunDirectory, new_run_id
from orchestrator.runs.journal import Journal, utc_now
from orchestrator.runs.manifest import (
    Manifest,
    read_manifest,
    write_manifest,
)
from orchestrator.runs.records import ArtifactRecord
from orchestrator.runtimes import parse_runtime
from orchestrator.supply import Supplies, with_given
from orchestrator.trial import Variant
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
    way: Way = transport_to

    def reach(self, device: Device) -> Node:
        """Connect to one device and its agent. Raises DeviceError."""
        if device.lease_ends is not None and lease.left_s(device.lease_ends) <= 0:
            raise PermanentDeviceError(
                f"its lease ended at {lease.shown(device.lease_ends)}; with a new one correct "
                f"`lease_ends:` in the inventory",
                device=device.name,
            )
        return reach_device(device, self.inventory, self.archive, run_id=self.run_id, way=self.way)

    def reach_fit(self, device: Device) -> Node:
        """The same, and see at once whether the device is the right one and has what it needs."""
        node = self.reach(device)
        try:
            # the runtimes are looked for, and provided, once all devices are reached
            plan = self.plan.device(device.name)
            check_suitability(node, device.expect, plan, device.cpus, plan.runtimes)
        except DeviceError:
            node.close()
            raise
        return node


@dataclass(frozen=True)
class Prepared:
    """A plan, and what of its variants is there: the user's own files, and what the zoo has built.

    ``suite`` is the suite with the schemes of the user's own models in it; ``bundle_sizes`` the
    bytes of pinned runtimes that were provided before, for whatever node.
    """

    suite: Suite
    plan: Plan
    own: OwnFiles
    built: Mapping[Variant, ModelArtifact]
    options: BuildOptions
    bundle_sizes: Mapping[str, int]

    @property
    def zoo_variants(self) -> tuple[Variant, ...]:
        return tuple(v for v in self.plan.variants if v not in self.own.artifacts)


@dataclass(frozen=True)
class Reached:
    """Who answered, and why the others did not."""

    nodes: Mapping[str, Node]
    errors: tuple[DeviceError, ...]


def build_options(suite: Suite, chosen: BuildOptions) -> BuildOptions:
    """How the models of a suite are built: as chosen, and so that the oldest runtime it names can
    load them. All runtimes of a suite measure the same files, so that they alone differ."""
    old = any(parse_runtime(each).name == "tflite-runtime" for each in suite.runtimes)
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
    prepared = Prepared(own.suite, plan, own, built, options, known_sizes(places.models))
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
    way: Way = transport_to,
) -> Conclusion:
    """Run ``suite`` on ``devices`` from the beginning. Raises OrchestrateError.

    ``way`` leads to each device.
    """
    prepared = prepare(devices, suite, places, seed=seed)
    plan = prepared.plan
    for shortfall in lease.shortfalls(plan, devices):
        console.say(shortfall)
    cap = _cap(plan, places.models)
    fleet = Fleet(inventory, tuple(devices), plan, build_agent_archive(), new_run_id(), way)
    reached = reach_all(fleet, console)
    with _closing(reached):
        models = _build(prepared, places.models, console)
        manifest = replace(
            _manifest(fleet.run_id, inventory, prepared, models),
            devices=tuple(device.name for device in devices),
        )
        materials = _materials(manifest, models, cap)
        supplies = Supplies(plan, manifest, materials, places.models, console.say)
        reached = _supplied(fleet, reached, supplies, console)
        if not reached.nodes:
            raise ArtifactError(
                "\n".join(["no device can run anything", *map(str, reached.errors)])
            )
        directory = RunDirectory.create(places.results, fleet.run_id)
        supplies.keep_in(directory.path)
        console.say(f"run {fleet.run_id} in {directory.path}")
        with Journal(directory.path) as journal:
            for error in reached.errors:
                journal.append(error.device, "device_lost", reason=error.reason)
            campaign = _campaign(plan, materials, directory, journal, console=console, stop=stop)
            return _conduct(campaign, _device_runs(campaign, fleet, supplies), reached)


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
            f"runtime {' and '.join(suite.runtimes)}"
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
    way: Way = transport_to,
) -> Conclusion:
    """Go on with a run from where its journal ends. Raises OrchestrateError.

    ``inventory`` says how the run's devices are reached now (a node may have a new address); None
    takes the inventory that the run was started with. ``way`` leads to each device.
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
    fleet = Fleet(inventory, devices, plan, build_agent_archive(), manifest.run_id, way)
    materials = stored_materials(manifest, plan, places.models)
    supplies = Supplies(plan, manifest, materials, places.models, console.say)
    with Journal(directory.path) as journal:
        supplies.keep_in(directory.path)
        if journal.torn is not None:
            console.say(f"{journal.path}: the last line was torn; what it held is fetched again")
        for flaw in journal.flaws:
            console.say(flaw.message)
        campaign = _campaign(plan, materials, directory, journal, console=console, stop=stop)
        runs = _device_runs(campaign, fleet, supplies)
        left = tuple(device for device in devices if not runs[device.name].complete)
        if not left:
            console.say(f"run {manifest.run_id} is complete; nothing is left to do")
            return _conclude(campaign, runs, lost=frozenset())
        reached = reach_all(replace(fleet, devices=left), console, all_may_be_late=True)
        with _closing(reached):
            reached = _supplied(fleet, reached, supplies, console)
            for error in reached.errors:
                journal.append(error.device, "device_lost", reason=error.reason)
            before = len(journal.events)
            conclusion = _conduct(campaign, runs, reached)
            came = (event["event"] == "device_ready" for event in journal.events[before:])
            if conclusion.lost_devices and not reached.nodes and not any(came):
                raise NoDeviceReachedError(
                    f"no device could be reached; run {manifest.run_id} is as it was and can be "
                    f"resumed: {', '.join(conclusion.lost_devices)}"
                )
            return conclusion


def reach_all(fleet: Fleet, console: Console, *, all_may_be_late: bool = False) -> Reached:
    """Reach every device at once.

    Raises NoDeviceReachedError where none answers; with ``all_may_be_late`` only where none can be
    expected to.
    """
    results = _at_once(lambda device: _try_to_reach(fleet, device, console), fleet.devices)
    nodes = {result.device: result for result in results if isinstance(result, Node)}
    errors = tuple(result for result in results if isinstance(result, DeviceError))
    expected = all_may_be_late and any(isinstance(e, TransientDeviceError) for e in errors)
    if not nodes and not expected:
        raise NoDeviceReachedError("\n".join(["no device could be reached", *map(str, errors)]))
    return Reached(nodes, errors)


def _at_once(
    reach: Callable[[Device], Node | DeviceError], devices: Sequence[Device]
) -> list[Node | DeviceError]:
    """Each device in a thread of its own; Ctrl-C does not wait for those that do not answer."""
    results: list[Future[Node | DeviceError]] = [Future() for _ in devices]

    def keep(device: Device, result: Future[Node | DeviceError]) -> None:
        try:
            result.set_result(reach(device))
        except BaseException as exc:  # noqa: BLE001 (raised where the result is asked for)
            result.set_exception(exc)

    for device, result in zip(devices, results, strict=True):
        # a daemon: the threads of a pool would be waited for when Python ends
        threading.Thread(target=keep, args=(device, result), daemon=True).start()
    return [result.result() for result in results]


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


def _supplied(fleet: Fleet, reached: Reached, supplies: Supplies, console: Console) -> Reached:
    """Have what every reached device needs; one for which it cannot be had is lost."""
    nodes, errors = dict(reached.nodes), list(reached.errors)
    for device in fleet.devices:
        if device.name not in nodes:
            continue
        try:
            supplies.complete(device, nodes[device.name])
        except DeviceError as exc:
            console.observe(DeviceProgress(device.name, State.LOST, exc.reason))
            errors.append(exc)
            nodes.pop(device.name).close()
    return Reached(nodes, tuple(errors))


def _reach_supplied(fleet: Fleet, supplies: Supplies, device: Device) -> Node:
    """Connect to ``device`` and have what it needs. Raises DeviceError, JournalError."""
    node = fleet.reach(device)
    try:
        supplies.complete(device, node)
    except BaseException:
        node.close()
        raise
    return node


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
    return with_given(_materials(manifest, models, _cap(plan, models_dir)), manifest, models_dir)


def named_materials(manifest: Manifest, plan: Plan, models_dir: Path) -> Materials:
    """The same without the bytes: enough to say what a trial's evidence means."""
    return with_given(_materials(manifest, {}, _cap(plan, models_dir)), manifest, None)


def _materials(
    manifest: Manifest,
    models: Mapping[Variant, ModelArtifact],
    cap: CapObject | None,
) -> Materials:
    own = manifest.suite.get("user_models", ())
    return Materials(
        artifacts={record.variant: record for record in manifest.artifacts},
        inputs={each["name"]: tuple(each["input"]) for each in own if each.get("input")},
        blobs={v: Blob(m.sha256, m.path, m.size_bytes) for v, m in models.items()},
        cap=None if cap is None else Blob(cap.sha256, cap.path, cap.size_bytes),
    )


def _artifact_record(model: ModelArtifact) -> ArtifactRecord:
    return ArtifactRecord(model.variant, model.sha256, model.size_bytes, model.weights, model.no_op)


def _versions() -> dict[str, str]:
    packages = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"orchestrate": __version__, "python": platform.python_version(), **packages}


# -- running --------------------------------------------------------------------------------------


def _device_runs(campaign: Campaign, fleet: Fleet, supplies: Supplies) -> dict[str, DeviceRun]:
    return {
        device.name: DeviceRun(
            campaign,
            target_of(device),
            expect=device.expect,
            reach=partial(_reach_supplied, fleet, supplies, device),
            retry_for_s=device.retry_for_s,
            lease_ends=device.lease_ends,
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
        # an Android device is charged while it is plugged in
        energy=device.energy and device.transport != "adb",
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
    """Run every device in a thread of its own and wait for all of them.

    One that did not answer yet, and may come, is tried again while the others measure; if there
    are none, for as long as one that was lost.
    """
    late = {e.device: e for e in reached.errors if isinstance(e, TransientDeviceError)}
    lost = {error.device for error in reached.errors} - late.keys()
    failures: list[BaseException] = []
    threads = [
        threading.Thread(
            target=_run_one,
            args=(campaign, runs[name], node, lost, failures),
            name=name,
            daemon=True,  # whoever leaves by a third Ctrl-C does not wait for a dead link
        )
        for name, node in {**reached.nodes, **late}.items()
    ]
    campaign.stop.armed = True
    for thread in threads:
        thread.start()
    on_time = len(reached.nodes)
    for thread in threads[:on_time]:
        thread.join()
    for name in late if on_time else ():
        runs[name].others_are_done()
    for thread in threads[on_time:]:
        thread.join()
    campaign.stop.armed = False
    if failures:
        raise failures[0]
    return _conclude(campaign, runs, lost=frozenset(lost))


def _run_one(
    campaign: Campaign,
    run: DeviceRun,
    node: Node | TransientDeviceError,
    lost: set[str],
    failures: list[BaseException],
) -> None:
    try:
        try:
            run.run(node)
        except DeviceError as exc:
            lost.add(exc.device)
            campaign.observer(DeviceProgress(exc.device, State.LOST, exc.reason))
            campaign.journal.append(exc.device, "device_lost", reason=exc.reason)
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
