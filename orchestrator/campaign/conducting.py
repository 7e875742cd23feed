"""Begins a run or goes on with one, and waits until every device has done its part.

Devices are reached first, because that fails fast and costs nothing; models are built next, while
no device measures; then every device runs its part in a thread of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from orchestrator.analysis import comparison_precision
from orchestrator.artifacts.blob import Blob
from orchestrator.campaign.materials import (
    build,
    cap_of,
    materials_of,
    new_manifest,
    prepare,
    stored_materials,
)
from orchestrator.campaign.reaching import (
    Fleet,
    closing,
    reach_all,
    reach_and_supply,
    supply_all,
)
from orchestrator.campaign.samples import make_samples
from orchestrator.campaign.words import Conclusion, Contacts, Places, Preparation
from orchestrator.config import Device, Inventory, Suite
from orchestrator.console import Console
from orchestrator.errors import (
    ArtifactError,
    DeviceError,
    NoDeviceReachedError,
    TransientDeviceError,
    UsageError,
)
from orchestrator.fleet import lease
from orchestrator.fleet.agent_archive import build_agent_archive
from orchestrator.fleet.execution import Campaign, DeviceRun
from orchestrator.fleet.materials import Materials, SuppliedDevice
from orchestrator.fleet.progress import DeviceProgress, State, StopLevel, StopRequest
from orchestrator.fleet.reach import Way, transport_to
from orchestrator.fleet.recording import Target
from orchestrator.measurement import Outcome
from orchestrator.measures.accuracy.samples import SampleSet
from orchestrator.plan import Plan, make_plan
from orchestrator.runs.directory import RunDirectory, new_run_id
from orchestrator.runs.journal import Journal
from orchestrator.runs.manifest import (
    read_manifest,
    write_manifest,
)
from orchestrator.supply import Supplies, stored_supplies
from orchestrator.trial import TrialKind
from orchestrator.zoo import find_program


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
    begun: Callable[[RunDirectory], None] = lambda _: None,
) -> Conclusion:
    """Run ``suite`` on ``devices`` from the beginning. Raises OrchestrateError.

    ``way`` leads to each device; ``begun`` is called with the run's folder as soon as it is there.
    """
    prepared = prepare(devices, suite, places, seed=seed)
    plan = prepared.plan
    for warning in (*plan.uncompared, *lease.shortfalls(plan, devices)):
        console.say(warning)
    cap = cap_of(plan, places.models)
    fleet = Fleet(inventory, tuple(devices), plan, build_agent_archive(), new_run_id(), way)
    reached = reach_all(fleet, console)
    with closing(reached):
        # before models are built for minutes: an image that cannot be read ends it here
        samples, shards = _samples(prepared, places, console)
        models = build(prepared, places.models, console)
        manifest = replace(
            new_manifest(fleet.run_id, inventory, prepared, models, samples),
            devices=tuple(device.name for device in devices),
        )
        program = find_program(prepared.suite, places.models)
        materials = materials_of(manifest, models, cap, shards, program)
        supplies = Supplies(plan, manifest, {}, places.models, console.say)
        supplied = supply_all(fleet, reached, supplies, console)
        if not supplied.nodes:
            raise ArtifactError(
                "\n".join(["no device can run anything", *map(str, supplied.errors)])
            )
        directory = RunDirectory.create(places.results, fleet.run_id)
        supplies.keep_in(directory.path)
        with Journal(directory.path) as journal:
            begun(directory)
            journal.on_made_again = partial(_made_again, directory, supplies, console)
            for error in supplied.errors:
                journal.append(error.device, "device_lost", reason=error.reason)
            campaign = _campaign(plan, directory, journal, console=console, stop=stop)
            runs = _device_runs(campaign, devices)
            return _conduct(
                campaign, runs, supplied, fleet=fleet, materials=materials, supplies=supplies
            )


def _samples(
    prepared: Preparation, places: Places, console: Console
) -> tuple[SampleSet | None, Mapping[str, Blob]]:
    """Return what accuracy is measured on, ready to be pushed; nothing where it is not measured."""
    if prepared.samples is None:
        return None, {}
    return make_samples(prepared.samples, places.models, console.say)


def _made_again(directory: RunDirectory, supplies: Supplies, console: Console) -> None:
    """The run's folder was removed while it was written, and its journal is there again."""
    supplies.keep_in(directory.path)
    console.say(
        f"{directory.path} was removed and is made again: its journal is whole, the raw logs of "
        f"the trials before this are gone"
    )


def begin_without_devices(
    inventory: Inventory,
    devices: Sequence[Device],
    suite: Suite,
    places: Places,
    *,
    seed: int,
    console: Console,
) -> RunDirectory:
    """Begin a run whose models are there and that has no device yet. Raises OrchestrateError.

    ``devices`` are those that it is to have: the plan must be possible for them.
    """
    prepared = prepare(devices, suite, places, seed=seed)
    samples, _ = _samples(prepared, places, console)
    models = build(prepared, places.models, console)
    directory = RunDirectory.create(places.results, new_run_id())
    manifest = new_manifest(directory.run_id, inventory, prepared, models, samples)
    write_manifest(directory.path, manifest)
    Journal(directory.path).close()
    console.say(f"run {directory.run_id} in {directory.path}")
    return directory


def resume(
    directory: RunDirectory,
    inventory: Inventory | None,
    places: Places,
    *,
    console: Console,
    stop: StopRequest,
    way: Way = transport_to,
    begun: Callable[[RunDirectory], None] = lambda _: None,
) -> Conclusion:
    """Go on with a run from where its journal ends. Raises OrchestrateError.

    ``inventory`` says how the run's devices are reached now (a node may have a new address); None
    takes the inventory that the run was started with. ``way`` leads to each device; ``begun`` is
    called with the run's folder once it is ours alone.
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
    with Journal(directory.path) as journal:
        begun(directory)
        if journal.torn is not None:
            console.say(f"{journal.path}: the last line was torn; what it held is fetched again")
        for flaw in journal.flaws:
            console.say(flaw.message)
        campaign = _campaign(plan, directory, journal, console=console, stop=stop)
        runs = _device_runs(campaign, devices)
        left = tuple(device for device in devices if not runs[device.name].complete)
        if not left:
            console.say(f"run {manifest.run_id} is complete; nothing is left to do")
            return _conclude(campaign, runs, lost=frozenset())
        # only now: what is complete needs no file, and those of an old run may be gone
        materials = stored_materials(manifest, plan, places.models)
        given = stored_supplies(manifest, places.models)
        supplies = Supplies(plan, manifest, given, places.models, console.say)
        journal.on_made_again = partial(_made_again, directory, supplies, console)
        supplies.keep_in(directory.path)
        reached = reach_all(replace(fleet, devices=left), console, all_may_be_late=True)
        with closing(reached):
            supplied = supply_all(fleet, reached, supplies, console)
            for error in supplied.errors:
                journal.append(error.device, "device_lost", reason=error.reason)
            before = len(journal.events)
            conclusion = _conduct(
                campaign, runs, supplied, fleet=fleet, materials=materials, supplies=supplies
            )
            came = (event["event"] == "device_ready" for event in journal.events[before:])
            if conclusion.lost_devices and not supplied.nodes and not any(came):
                raise NoDeviceReachedError(
                    f"no device could be reached; run {manifest.run_id} is as it was and can be "
                    f"resumed: {', '.join(conclusion.lost_devices)}"
                )
            return conclusion


def _device_runs(campaign: Campaign, devices: Sequence[Device]) -> dict[str, DeviceRun]:
    return {
        device.name: DeviceRun(
            campaign,
            target_of(device),
            expect=device.expect,
            retry_for_s=device.retry_for_s,
            lease_ends=device.lease_ends,
        )
        for device in devices
    }


def target_of(device: Device) -> Target:
    """Return what the device's trials need to know of it."""
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
    directory: RunDirectory,
    journal: Journal,
    *,
    console: Console,
    stop: StopRequest,
) -> Campaign:
    return Campaign(
        plan=plan,
        directory=directory,
        journal=journal,
        precision_of=lambda records: comparison_precision(records, plan.baseline),
        observer=console.observe,
        stop=stop,
    )


def _conduct(
    campaign: Campaign,
    runs: Mapping[str, DeviceRun],
    reached: Contacts[SuppliedDevice],
    *,
    fleet: Fleet,
    materials: Materials,
    supplies: Supplies,
) -> Conclusion:
    """Run every device in a thread of its own and wait for all of them.

    One that did not answer yet, and may come, is tried again while the others measure; where there
    are no others, for as long as one that was lost.
    """
    late = {e.device: e for e in reached.errors if isinstance(e, TransientDeviceError)}
    lost = {error.device for error in reached.errors} - late.keys()
    failures: list[BaseException] = []
    contacts: dict[str, SuppliedDevice | TransientDeviceError] = {**reached.nodes, **late}
    again = {d.name: partial(reach_and_supply, fleet, supplies, d) for d in fleet.devices}
    threads = [
        threading.Thread(
            target=_run_one,
            args=(
                campaign,
                partial(runs[name].run, node, materials, again[name]),
                lost,
                failures,
            ),
            name=name,
            daemon=True,  # whoever leaves by a third Ctrl-C does not wait for a dead link
        )
        for name, node in contacts.items()
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
    run: Callable[[], None],
    lost: set[str],
    failures: list[BaseException],
) -> None:
    try:
        try:
            run()
        except DeviceError as exc:
            lost.add(exc.device)
            campaign.observer(DeviceProgress(exc.device, State.LOST, exc.reason))
            campaign.journal.append(exc.device, "device_lost", reason=exc.reason)
    except BaseException as exc:  # noqa: BLE001 (handed to the main thread, which raises it)
        failures.append(exc)


def _conclude(
    campaign: Campaign, runs: Mapping[str, DeviceRun], *, lost: frozenset[str]
) -> Conclusion:
    # a file that nobody could look at was measured all the same, and the report says so
    finished = [
        e
        for e in campaign.journal.events
        if e["event"] == "finished" and e.get("kind") != TrialKind.CHECK.value
    ]
    return Conclusion(
        directory=campaign.directory,
        complete=all(run.complete for run in runs.values()),
        failed_trials=sum(e.get("outcome") != Outcome.OK.value for e in finished),
        lost_devices=tuple(sorted(lost)),
        interrupted=campaign.stop.level is not StopLevel.GO_ON,
    )
