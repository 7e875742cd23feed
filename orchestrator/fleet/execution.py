"""Drives one device through its part of the plan, writing every event down before acting on it.

One thread a device. The device's daemon holds at most one block more than it is running, so that
it never waits for us, and goes on by itself when we are gone.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrate_agent.identity import Value, differences, identity
from orchestrate_agent.protocol import Event
from orchestrator.artifacts.blob import Blob
from orchestrator.errors import (
    AgentError,
    JournalError,
    PermanentDeviceError,
    TransientDeviceError,
    UsageError,
)
from orchestrator.fleet import lease
from orchestrator.fleet.intake import Intake
from orchestrator.fleet.link import AgentRefusalError
from orchestrator.fleet.materials import DeviceSupply, Materials, SuppliedDevice, needed_by
from orchestrator.fleet.patience import STOOD_S, Patience
from orchestrator.fleet.progress import DeviceProgress, Observer, State, StopLevel, StopRequest
from orchestrator.fleet.provision import (
    ReachedDevice,
    check_executable,
    check_suitability,
    place_agent,
    push,
    unpack_sites,
)
from orchestrator.fleet.recording import Recorder, Requests, Target
from orchestrator.fleet.vigil import SilenceError, Vigil
from orchestrator.frameworks import registry
from orchestrator.plan import Plan
from orchestrator.runs.directory import RunDirectory, trial_record
from orchestrator.runs.journal import Journal, naming
from orchestrator.runs.passing_on import facts_to_keep
from orchestrator.runs.records import TrialRecord
from orchestrator.schedule import PrecisionOf, Schedule
from orchestrator.trial import Trial

#: How long a wait for the next event lasts before we look whether the user wants to stop.
GLANCE_S = 1.0
#: After these a trial that had started runs no more.
_ENDS = frozenset(("finished", "interrupted", "cancelled"))
#: How often what a node lost is put back for one trial before the device counts as lost.
MOST_PUT_BACKS = 3
#: So many trials in a row that could not be started are the device's trouble, not a variant's.
MOST_NOT_STARTED = 3


@dataclass(frozen=True)
class Campaign:
    """What all devices of a run share while it is carried out."""

    plan: Plan
    directory: RunDirectory
    journal: Journal
    precision_of: PrecisionOf
    observer: Observer
    stop: StopRequest


class _StoppedError(Exception):
    """The user wants to stop while bytes are being pushed; nothing runs yet."""


class DeviceRun:
    """One device's run, from reached to done; survives losing the device in between."""

    def __init__(
        self,
        campaign: Campaign,
        target: Target,
        *,
        expect: Mapping[str, Any],
        retry_for_s: float,
        lease_ends: datetime | None = None,
    ) -> None:
        """``retry_for_s`` is for how long a device that was lost is tried again; no trial begins
        that is not expected to end before ``lease_ends``.

        Raises UsageError where the journal tells of trials that the plan does not have.
        """
        self._campaign = campaign
        self._expect = expect
        #: Told when it is run: a device that is complete needs neither.
        self._materials: Materials
        self._reach: Callable[[], SuppliedDevice]
        self._retry_for_s = retry_for_s
        self._lease_ends = lease_ends
        self._out_of_time = False
        self._reached = False
        self._others_are_done = threading.Event()
        self._target = target
        self._device = target.device
        self._cpus = target.cpus
        self._run_id = campaign.directory.run_id
        self._journal = campaign.journal
        self._plan = campaign.plan.device(target.device)
        self._trials = {trial.trial_id: trial for trial in self._plan.trials}
        self._schedule = Schedule(campaign.plan, self._plan, campaign.precision_of)
        #: Made whenever the device was reached, of what it was given then.
        self._recorder: Recorder
        self._agent_seq = 0
        #: The agent's events that the journal has beyond that one, where it lost some.
        self._known: set[int] = set()
        #: Which machine the device is, as it told when it was first ready; empty until then.
        self._identity: dict[str, Value] = {}
        #: Trials that lack a file which the node lost, and what.
        self._lacking: dict[str, str] = {}
        #: How often the files of a trial were put back since one finished.
        self._put_backs: Counter[str] = Counter()
        #: How many trials in a row could not be started.
        self._not_started = 0
        #: What the agent has been asked to run and has not ended.
        self._open: set[str] = set()
        #: What of that has started there, as far as we have heard.
        self._running: set[str] = set()
        self._intake = Intake(self._device)
        self._stopping = StopLevel.GO_ON
        #: A torn line may have planned a trial that the agent has all the same: the block that it
        #: belongs to is released in whole before any event is taken.
        self._complete_block = campaign.journal.torn is not None
        self._restore()

    @property
    def complete(self) -> bool:
        """Whether everything that this device had to do is done."""
        return self._schedule.complete

    def others_are_done(self) -> None:
        """Stop trying to reach the device if it has never answered: it holds nothing of this run.

        From any thread.
        """
        self._others_are_done.set()

    def run(
        self,
        reached: SuppliedDevice | TransientDeviceError | JournalError,
        materials: Materials,
        reach: Callable[[], SuppliedDevice],
    ) -> None:
        """Run until the plan is done or the user stops it, reaching the device again if lost:
        ``reach`` connects to it anew each time it is called, and has what it needs.

        Closes the node; in the place of one that did not answer yet stands the reason. Raises
        DeviceError when the device is lost for good, JournalError where the run cannot be written.
        """
        self._materials, self._reach = materials, reach
        patience, lost_at = Patience(self._retry_for_s), time.monotonic()
        while True:
            if isinstance(reached, TransientDeviceError | JournalError):
                reached = self._reach_again(reached, patience, lost_at)
            self._reached = True
            before, began = self._schedule.finished, time.monotonic()
            try:
                self._drive(reached.node, reached.supply)
            except (TransientDeviceError, JournalError) as exc:
                # All that counts is in the agent's spool or in the journal: nothing is half done,
                # and what could not be written comes again.
                trouble = exc
            else:
                return
            finally:
                reached.node.close()
            stood = time.monotonic() - began > STOOD_S and not self._put_back_often
            if self._schedule.finished > before or stood:
                patience, lost_at = Patience(self._retry_for_s), time.monotonic()
            reached = trouble

    def _reach_again(
        self, trouble: TransientDeviceError | JournalError, patience: Patience, lost_at: float
    ) -> SuppliedDevice:
        while (pause_s := patience.pause(time.monotonic() - lost_at)) is not None:
            why = trouble.reason if isinstance(trouble, TransientDeviceError) else str(trouble)
            self._tell(State.RETRYING, f"{why}; again in {pause_s:.0f} s")
            if not self._pause(pause_s):
                break
            try:
                return self._reach()
            except TransientDeviceError as exc:
                trouble = exc
        raise trouble

    def _pause(self, seconds: float) -> bool:
        """Wait before another try; returns whether to try again."""
        ends = time.monotonic() + seconds
        while (left_s := ends - time.monotonic()) > 0:
            if self._campaign.stop.wait(min(left_s, GLANCE_S)):
                return False
            if self._others_are_done.is_set() and not self._reached:
                return False
        return True

    # -- what the journal says already ------------------------------------------------------

    def _restore(self) -> None:
        for line, event in self._journal.numbered:
            if event["device"] == self._device:
                with naming(self._journal.path, line):
                    self._restore_event(event)
        # up to the first that is missing: a journal that lost lines asks for them again
        while self._agent_seq + 1 in self._known:
            self._agent_seq += 1
            self._known.discard(self._agent_seq)

    def _restore_event(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "spool_lost":
            self._agent_seq = event["agent_seq"]
            self._known.clear()
        elif (heard := event.get("agent_seq")) is not None:
            self._known.add(heard)
        if event["event"] == "device_ready":
            self._identity = identity(event.get("facts") or {}) | self._identity
        elif event["event"] == "planned":
            self._restore_planned(event["trial_id"])
        elif event["event"] == "started":
            self._running.add(event["trial_id"])
        elif event["event"] == "finished":
            self._note_finished(event)
        elif event["event"] == "stopped" and not event.get("resumable"):
            self._schedule.stop(event["group"], event["reason"])
        if event["event"] in _ENDS:
            self._running.discard(event["trial_id"])

    def _restore_planned(self, trial_id: str) -> None:
        if trial_id not in self._trials:
            raise UsageError(
                f"{self._device}: this run has planned {trial_id}, which does not follow from the "
                f"inventory as it is now; was the device given or denied a "
                f"`{registry.tool().name}:`? "
                f"Resume with the inventory that the run was started with"
            )
        self._schedule.release(trial_id)
        self._open.add(trial_id)

    def _note_finished(self, event: Mapping[str, Any]) -> None:
        record = trial_record(event)
        self._schedule.finish(record)
        self._open.discard(record.trial.trial_id)

    # -- the loop ---------------------------------------------------------------------------

    def _drive(self, node: ReachedDevice, supply: DeviceSupply) -> None:
        campaign = self._campaign
        requests = Requests(self._target, campaign.plan.settings, self._materials, supply)
        self._recorder = Recorder(requests, campaign.directory, campaign.journal)
        try:
            self._prepare(node, supply)
        except _StoppedError:
            self._tell(State.INTERRUPTED, "stopped before anything ran")
            return
        self._follow(node)
        self._lacking.clear()  # all of it is there now, and what waits is submitted with the rest
        self._submit(node, [self._trials[i] for i in self._trials if i in self._open])
        vigil = self._vigil(node)
        while not self._is_over(node):
            event = node.link.event(GLANCE_S)
            if event is not None:
                self._take(event)
                vigil.heard(event, time.monotonic())
                self._tell(State.RUNNING, _what(event))
            elif vigil.is_due(time.monotonic()):
                self._look(node, vigil)
            if self._lacking:
                self._put_back(node, supply)
        self._end(node)

    def _vigil(self, node: ReachedDevice) -> Vigil:
        now = time.monotonic()
        return Vigil(
            self._run_id,
            self._device,
            timeout_s=self._campaign.plan.settings.timeout_s,
            answer_s=node.place.answer_s,
            since=now,
            # what ran before we came may have begun just now
            running=dict.fromkeys(self._running, now),
        )

    def _look(self, node: ReachedDevice, vigil: Vigil) -> None:
        """Ask an agent that says nothing what it does. Raises DeviceError where it does nothing."""
        status = node.link.status(vigil.answer_s)
        try:
            waits_for = vigil.judge(status, time.monotonic())
        except SilenceError as exc:
            if exc.hangs:
                node.link.request("shutdown", force=True)
            raise TransientDeviceError(str(exc), device=self._device) from exc
        if waits_for is not None:
            self._tell(State.WAITING, f"for {waits_for}")

    def _prepare(self, node: ReachedDevice, supply: DeviceSupply) -> None:
        sites = supply.sites
        suitability = check_suitability(node, self._expect, self._plan, self._cpus, sites)
        program = self._campaign.plan.settings.program
        sends = program is not None and program.sends
        check_executable(node, self._plan, sites, sends_program=sends)
        self._check_same_machine(node)
        self._journal.append(
            self._device,
            "device_ready",
            facts=facts_to_keep(node.facts),
            agent_hash=node.hello.get("agent_hash"),
            unverified_expectations=list(suitability.unverified),
            runtimes=dict(suitability.runtimes),
        )
        self._provide(node, supply)

    def _provide(self, node: ReachedDevice, supply: DeviceSupply) -> None:
        """Have all on the node that its trials need."""
        sites = supply.sites
        blobs = needed_by(self._plan, self._materials, supply)
        pushed = push(node, blobs, self._on_sent)
        if sites:
            self._tell(State.PUSHING, "unpacking runtimes")
        unpack_sites(node, tuple(sites.values()))
        self._journal.append(
            self._device,
            "device_prepared",
            pushed_bytes=pushed,
            blobs=[blob.sha256 for blob in blobs],
            sites={runtime: site.sha256 for runtime, site in sites.items()},
        )

    @property
    def _put_back_often(self) -> bool:
        return any(count > MOST_PUT_BACKS for count in self._put_backs.values())

    def _put_back(self, node: ReachedDevice, supply: DeviceSupply) -> None:
        """Give the node again what it lost, and submit the trials that came to nothing for it.

        Raises TransientDeviceError where it loses it again and again.
        """
        lacking, self._lacking = self._lacking, {}
        if self._stopping is not StopLevel.GO_ON:  # they are run when the run is resumed
            self._open -= lacking.keys()
            return
        what = next(iter(lacking.values()))
        self._put_backs.update(lacking.keys())
        if self._put_back_often:
            raise TransientDeviceError(
                f"what its trials need vanishes again and again ({what}); see what removes files "
                f"from {node.place.workdir} there, or name another `workdir:` in the inventory",
                device=self._device,
            )
        self._tell(State.PUSHING, f"putting back what got lost there: {what}")
        place_agent(node.transport, node.place, node.archive)
        try:
            self._provide(node, supply)
        except _StoppedError:
            self._open -= lacking.keys()
            return
        self._submit(node, [self._trials[trial_id] for trial_id in lacking])

    def _check_same_machine(self, node: ReachedDevice) -> None:
        """Raise PermanentDeviceError where another machine answers than the one that was measured:
        an address, a lease or a retry may lead to a new node."""
        found = identity(node.facts)
        unlike = differences(self._identity, found)
        if unlike:
            raise PermanentDeviceError(
                f"another machine answers than the one that this run measures under this name "
                f"({'; '.join(unlike)}), and times of two are not one device's. Go on with the "
                f"first one; or give this one a device name of its own in the inventory and "
                f"measure it in a run of its own: `orchestrate run --inventory FILE --device NAME`",
                device=self._device,
            )
        self._identity = found | self._identity

    def _on_sent(self, blob: Blob, sent: int) -> None:
        if self._campaign.stop.level is not StopLevel.GO_ON:
            raise _StoppedError
        megabytes = f"{sent / 1e6:.0f} of {blob.size_bytes / 1e6:.0f} MB"
        self._tell(State.PUSHING, f"{blob.path.name}: {megabytes}")

    def _follow(self, node: ReachedDevice) -> None:
        try:
            node.link.follow(self._run_id, self._device, self._agent_seq + 1)
        except AgentRefusalError as exc:
            if exc.error.kind != "unknown_seq":
                raise
            # The device forgot what it had (a reinstalled node, an emptied home). We hold every
            # event up to our own number, so only what was under way is lost; it is run again.
            last_seq = exc.error.details.get("last_seq", 0)
            if not isinstance(last_seq, int) or not 0 <= last_seq < self._agent_seq:
                raise AgentError(
                    "says that it has lost its spool, and not how much of it", device=self._device
                ) from exc
            self._journal.append(
                self._device, "spool_lost", had=self._agent_seq, agent_seq=last_seq
            )
            self._agent_seq = last_seq
            self._known.clear()
            node.link.follow(self._run_id, self._device, last_seq + 1)

    def _is_over(self, node: ReachedDevice) -> bool:
        level = self._campaign.stop.level
        if level > self._stopping:
            self._stopping = level
            self._ask(node, "cancel", running=level is StopLevel.NOW)
        if self._stopping is not StopLevel.GO_ON:
            return not self._open
        self._release(node)
        return self._schedule.complete or (self._out_of_time and not self._open)

    def _release(self, node: ReachedDevice) -> None:
        # With one trial (or duet) left in hand the next block goes out, so that the device never
        # idles while we think; a group on its own is thereby judged without that last one.
        while not self._out_of_time and (
            self._complete_block or self._schedule.unfinished <= self._campaign.plan.at_once
        ):
            self._complete_block = False
            stopped = self._schedule.stopped
            trials = self._schedule.next_trials()
            self._write_stops(stopped)
            if not trials or not self._fit_in_lease(trials):
                return
            self._journal.append_all(self._device, "planned", [t.to_json() for t in trials])
            for trial in trials:
                self._schedule.release(trial.trial_id)
                self._open.add(trial.trial_id)
            self._submit(node, trials)

    def _fit_in_lease(self, trials: Sequence[Trial]) -> bool:
        """Whether ``trials`` end in time; what is left for a later lease is written down if not."""
        if self._lease_ends is None:
            return True
        left_s = lease.left_s(self._lease_ends)
        needed_s = self._schedule.expected_s(trials) + lease.MARGIN_S
        if needed_s <= left_s:
            return True
        self._out_of_time = True
        reason = (
            f"the lease ends at {lease.shown(self._lease_ends)}, in {max(0.0, left_s):.0f} s, "
            f"and the next trials need {needed_s:.0f} s"
        )
        self._journal.append_all(
            self._device,
            "stopped",
            [
                {"group": group.key, "reason": reason, "resumable": True}
                for group in self._plan.groups
                if group.key not in self._schedule.stopped
            ],
        )
        return False

    def _write_stops(self, before: Mapping[str, str]) -> None:
        for group, reason in self._schedule.stopped.items():
            if group not in before:
                self._journal.append(self._device, "stopped", group=group, reason=reason)

    def _submit(self, node: ReachedDevice, trials: Sequence[Trial]) -> None:
        if trials:
            self._ask(node, "submit", trials=[self._recorder.request(trial) for trial in trials])

    def _ask(self, node: ReachedDevice, op: str, **params: Any) -> None:
        node.link.request(op, run_id=self._run_id, device=self._device, **params)

    def _end(self, node: ReachedDevice) -> None:
        if self._out_of_time:
            self._tell(
                State.INTERRUPTED, "the lease ends; what is left can be resumed in a later one"
            )
            return
        if not self._schedule.complete:
            self._tell(State.INTERRUPTED, "stopped; what is left can be resumed")
            return
        # before the spool goes: a journal whose last line is torn must not lack a result then
        self._journal.append(self._device, "device_done")
        self._ask(node, "release")  # every event is in the journal: the spool has served
        self._tell(State.DONE, "")

    # -- events -----------------------------------------------------------------------------

    def _take(self, event: Event) -> None:
        if event.seq in self._known and event.seq == self._agent_seq + 1:
            self._known.discard(event.seq)
            self._agent_seq = event.seq
            return
        if self._known and event.trial_id in self._trials:
            self._plan_again(event.trial_id)
        under_way = self._schedule.is_under_way(event.trial_id)
        if self._known and event.event != "finished":
            under_way = under_way or self._schedule.is_released(event.trial_id)
        self._intake.admit(event, after=self._agent_seq, under_way=under_way)
        trial = self._trials[event.trial_id]
        if event.event == "finished":
            line = self._recorder.write_finished(trial, event)
            self._note_finished(line)
            self._put_backs.clear()
            self._agent_seq = event.seq
            self._check_started(trial_record(line))
        else:
            self._recorder.write(event)
        if event.event == "started":
            self._running.add(event.trial_id)
        elif event.event in _ENDS:
            self._running.discard(event.trial_id)
        # A trial that was cancelled is queued again when a resumed run submits it again.
        if event.event == "cancelled" and event.fields.get("lacking"):
            self._lacking[trial.trial_id] = f"{event.fields['lacking']!s:.300}"
        elif event.event == "cancelled":
            self._open.discard(trial.trial_id)
        elif event.event == "queued" and self._schedule.is_under_way(trial.trial_id):
            self._open.add(trial.trial_id)
        self._agent_seq = event.seq

    def _check_started(self, record: TrialRecord) -> None:
        """Raise PermanentDeviceError where nothing can be started there any more: to go on would
        use up the plan's trials, and say nothing of any variant."""
        self._not_started = self._not_started + 1 if record.blameless else 0
        if self._not_started >= MOST_NOT_STARTED:
            raise PermanentDeviceError(
                f"its trials cannot be started ({record.reason}); see to that, then go on with "
                f"`orchestrate run --resume`",
                device=self._device,
            )

    def _plan_again(self, trial_id: str) -> None:
        """Note as planned a trial that the agent knows and the journal lost with all its lines."""
        if not self._schedule.is_released(trial_id):
            self._journal.append_all(self._device, "planned", [self._trials[trial_id].to_json()])
            self._schedule.release(trial_id)
            self._open.add(trial_id)

    def _tell(self, state: State, detail: str) -> None:
        remaining = self._schedule.remaining()
        mean_s = self._schedule.mean_wall_s()
        self._campaign.observer(
            DeviceProgress(
                device=self._device,
                state=state,
                detail=detail,
                done=self._schedule.finished,
                expected=self._schedule.finished + remaining,
                eta_s=None if mean_s is None else mean_s * remaining,
            )
        )


def _what(event: Event) -> str:
    return f"{event.event} {event.trial_id.rpartition('.')[0] or event.trial_id}"
