"""``orchestrate run``: measures, writes everything down and answers with the table."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from types import FrameType

from orchestrator import campaign, trust
from orchestrator.analysis import analyse
from orchestrator.analysis.tails import with_quick_tails
from orchestrator.answer import Answer, ExitCode
from orchestrator.answers.on_end import parse_command, start_command
from orchestrator.answers.selection import (
    building_of,
    inventory_of,
    reachable,
    refuse_overrides,
    seed_of,
    suite_of,
)
from orchestrator.answers.so_far import SoFar
from orchestrator.answers.terminal import answer_width, colour_wanted
from orchestrator.commands.run import RunArguments
from orchestrator.config import Inventory, Suite
from orchestrator.console import Console
from orchestrator.errors import UsageError
from orchestrator.fleet.progress import StopLevel, StopRequest
from orchestrator.fleet.reach import Way, transport_to
from orchestrator.live import LivePage
from orchestrator.published import publications
from orchestrator.report import render, write_reports
from orchestrator.report.background import read_background
from orchestrator.runs.directory import RunDirectory
from orchestrator.runs.manifest import read_manifest
from orchestrator.zoo import with_program


def answer(arguments: RunArguments) -> Answer:
    """Measure, write the reports beside the journal, and answer with the table."""
    command = parse_command(arguments.on_end)
    console = Console()
    live = LivePage(console.say, SoFar(console).show)
    console.tell_also(live.observe)
    outcome, how, code = "error", "", ExitCode.FAILED
    try:
        conclusion, found = _run(arguments, console, live)
        outcome, how, code = _outcome(conclusion), _ending(conclusion), found.code
    except KeyboardInterrupt:
        outcome, code = "interrupted", ExitCode.INTERRUPTED
        how = "It was left before its devices ended; --resume goes on."
        raise
    except Exception as exc:
        how = f"It ended with an error: {exc}"
        raise
    finally:
        live.end(how)
        if live.directory is not None:
            start_command(command, live.directory, outcome, code, console.say)
    return found


def _run(
    arguments: RunArguments, console: Console, live: LivePage
) -> tuple[campaign.Conclusion, Answer]:
    stop = StopRequest()
    with console, _signals(stop, console), _engine(arguments) as way:
        conclusion = _measure(arguments, console, stop, way, live)
    record = conclusion.directory.read()
    table = analyse(record, publications())
    background = read_background(conclusion.directory, record, table)
    whole = with_quick_tails(record, table)
    write_reports(whole, conclusion.directory.path, background, console.say)
    shown, shape = (whole, "json") if arguments.json else (table, "text")
    text = render(
        shown, shape, width=answer_width(), color=colour_wanted(), verbose=arguments.verbose
    )
    console.say(_closing_words(conclusion))
    for line in _bundles_to_make(conclusion.directory):
        console.say(line)
    return conclusion, Answer(text, _exit_code(conclusion))


def _measure(
    arguments: RunArguments, console: Console, stop: StopRequest, way: Way, live: LivePage
) -> campaign.Conclusion:
    places = campaign.Places(arguments.results, arguments.models, building_of(arguments))
    if arguments.resume is not None:
        refuse_overrides(arguments, "--resume")
        _refuse_device(arguments)
        directory = RunDirectory.find(arguments.results, arguments.resume)
        inventory = _inventory_to_go_on(arguments, directory)
        return campaign.resume(
            directory, inventory, places, console=console, stop=stop, way=way, begun=live.begin
        )
    if arguments.trust:
        raise UsageError("--trust belongs to --resume: an inventory that you name is trusted")
    inventory = inventory_of(arguments)
    suite = suite_of(arguments, inventory)
    trust.remember(inventory, with_program(suite))
    devices = reachable(inventory, arguments.device)
    return campaign.start(
        inventory,
        devices,
        suite,
        places,
        seed=seed_of(arguments),
        console=console,
        stop=stop,
        way=way,
        begun=live.begin,
    )


def _inventory_to_go_on(arguments: RunArguments, directory: RunDirectory) -> Inventory:
    """The inventory named, else the one that stands in the run's folder. Raises OrchestrateError
    where that would start what nobody here has wanted."""
    manifest = read_manifest(directory.path)
    if manifest.suite.get("runner") == "imported":
        raise UsageError(f"{directory.run_id} was imported: there is nothing to go on with")
    suite = Suite.from_json(manifest.suite)
    own = None if arguments.inventory is None else inventory_of(arguments)
    theirs = Inventory.from_json(manifest.inventory) if own is None else None
    if not arguments.trust:
        trust.check(theirs, directory.run_id, suite)
    inventory = own or theirs
    if inventory is None:  # only for the type checker: one of the two is there
        raise UsageError("which machines? name an inventory: --inventory inventory.yaml")
    trust.remember(inventory, suite)
    return inventory


@contextmanager
def _engine(arguments: RunArguments) -> Iterator[Way]:
    """The way to the devices: connections of our own, or of a Dask cluster's workers."""
    if arguments.engine == "threads":
        if arguments.scheduler is not None:
            raise UsageError("--scheduler names a Dask cluster; add --engine dask")
        yield transport_to
        return
    if arguments.scheduler is None:
        raise UsageError("which Dask cluster? name its scheduler: --scheduler tcp://HOST:8786")
    try:
        # imported here, because it is an extra, and slow to load
        from orchestrator.fleet.cluster import Cluster  # noqa: PLC0415
    except ModuleNotFoundError as exc:
        raise UsageError(
            f"--engine dask needs {exc.name}; `pip install 'orchestrate-quantized[dask]'`"
        ) from exc
    with closing(Cluster(arguments.scheduler)) as cluster:
        yield partial(transport_to, through=cluster)


def _refuse_device(arguments: RunArguments) -> None:
    if arguments.device:
        raise UsageError(
            "--device does not go with --resume: a run keeps the plan it began with; "
            "leave it out, or begin a new run"
        )


def _outcome(conclusion: campaign.Conclusion) -> str:
    """The word that ``--on-end`` is told."""
    if conclusion.interrupted and not conclusion.complete:
        return "interrupted"
    if conclusion.lost_devices or not conclusion.complete:
        return "incomplete"
    return "failed" if conclusion.failed_trials else "ok"


def _exit_code(conclusion: campaign.Conclusion) -> ExitCode:
    if conclusion.interrupted and not conclusion.complete:
        return ExitCode.INTERRUPTED
    if conclusion.failed_trials or conclusion.lost_devices or not conclusion.complete:
        return ExitCode.FAILED
    return ExitCode.OK


def _ending(conclusion: campaign.Conclusion) -> str:
    """What the page says of a run that has ended."""
    if conclusion.complete:
        failed = conclusion.failed_trials
        return f"Complete; {failed} trials did not end ok." if failed else "Complete."
    lost = f" Lost: {', '.join(conclusion.lost_devices)}." if conclusion.lost_devices else ""
    return (
        f"Not complete.{lost} orchestrate run --resume {conclusion.directory.run_id} goes on with "
        f"it."
    )


def _closing_words(conclusion: campaign.Conclusion) -> str:
    directory = conclusion.directory
    if conclusion.complete:
        return f"everything is in {directory.path}"
    return (
        f"what was measured is in {directory.path}; go on with "
        f"`orchestrate run --resume {directory.run_id}`"
    )


def _bundles_to_make(directory: RunDirectory) -> list[str]:
    """What to say of the devices that nothing reaches."""
    manifest = read_manifest(directory.path)
    devices = Inventory.from_json(manifest.inventory).devices
    return [
        f"{device.name}: nothing reaches it from here; `orchestrate bundle --run "
        f"{directory.run_id} --device {device.name}` makes one file to run there"
        for device in devices
        if device.transport == "bundle" and device.name not in manifest.devices
    ]


@contextmanager
def _signals(stop: StopRequest, console: Console) -> Iterator[None]:
    """Turn Ctrl-C, a hang-up and a termination into a stop, while devices measure.

    Before that there is nothing to save, so KeyboardInterrupt ends the command at once. So does a
    third signal, where a device that says nothing any more holds up the end: what it has measured
    is in its spool.
    """

    def on_signal(number: int, frame: FrameType | None) -> None:
        if not stop.armed or stop.level is StopLevel.NOW:
            raise KeyboardInterrupt
        level = stop.raise_level()
        if level is StopLevel.FINISH_TRIAL:
            console.say("stopping after the trials in hand; once more stops them now")
        else:
            console.say("stopping now; once more leaves without waiting for the devices")

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {
        number: signal.signal(number, on_signal) for number in numbers
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
