"""Runs the queue's trials, one after the other, or the two of a duet at once. Between two of them,
and while one runs, nothing else here wakes up: every wait blocks in the kernel."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Iterator, List, Mapping, Optional, Sequence, Tuple

from orchestrate_agent import home
from orchestrate_agent.daemon.spool import SpoolError, not_written, require_room
from orchestrate_agent.daemon.trial_queue import Entry, TrialQueue, not_started
from orchestrate_agent.errors import AgentError
from orchestrate_agent.files.blobs import DamagedBlobError
from orchestrate_agent.files.compiled import compiled
from orchestrate_agent.files.sites import SiteStore
from orchestrate_agent.machine.setting import MachineControl, Readiness
from orchestrate_agent.node import Command, Node
from orchestrate_agent.process.launch import StartError
from orchestrate_agent.process.procs import kill_adopted
from orchestrate_agent.process.trial import Ending, Process
from orchestrate_agent.protocol import (
    ENVIRONMENT,
    LOCK,
    PREPARATION,
    Json,
    TrialRequest,
    substitute,
)

#: The trials that are run at once: one, or the two of a duet.
Entries = Tuple[Entry, ...]


class Worker:
    """One thread's work: take a trial, run it, write how it went."""

    def __init__(
        self,
        queue: TrialQueue,
        sites: SiteStore,
        archive: str,
        on_fatal: Callable[[str], None],
        node: Node,
    ) -> None:
        self._queue = queue
        self._sites = sites
        self._archive = archive
        self._compiled: Optional[str] = None
        self._on_fatal = on_fatal
        self._node = node
        self._machine = node.lock(queue.changed)
        self._setting = MachineControl(node.tree)

    def run(self) -> None:
        """Work until the queue says stop. What cannot be recorded must not run, and what runs on a
        node that is gone cannot be recorded: then ``on_fatal`` is called, as after anything else
        that ends this thread, since a daemon without a worker would be waited for in vain."""
        try:
            while True:
                entries = self._queue.take()
                if entries is None:
                    return
                require_room()
                self._run_recorded(entries)
        except (SpoolError, AgentError) as exc:
            self._on_fatal(str(exc))
        except BaseException as exc:  # noqa: BLE001 (whatever it is, the daemon must not outlive it)
            home.log(f"the worker died: {traceback.format_exc()}")
            self._on_fatal(f"its worker died: {exc!r}")

    def _run_recorded(self, entries: Entries) -> None:
        try:
            finished = self._run(entries)
            self._queue.end(entries, finished)
        except SpoolError:
            raise
        except AgentError as exc:
            self._queue.put_back(entries, str(exc))
            raise
        except Exception as exc:  # noqa: BLE001 (the trial must end, and the next one run)
            home.log(f"trial {entries[0].request.trial_id}: {traceback.format_exc()}")
            failed = not_started(f"the agent failed: {exc!r}; see agents logs")
            self._queue.end(entries, [failed for _ in entries])

    def _run(self, entries: Entries) -> Sequence[Json]:
        """The fields of each ``finished``. Where the trials are called off they do not matter."""
        machine_lock: Optional[str] = None
        called_off: Sequence[Json] = [{} for _ in entries]
        try:
            if any(entry.request.exclusive for entry in entries):
                with self._queue.held_up_by(LOCK):
                    machine_lock = self._machine.acquire(lambda: self._queue.called_off(entries))
            if self._queue.called_off(entries):
                return called_off
            finished = self._run_in_folders(entries) or called_off
            return [{**fields, "machine_lock": machine_lock} for fields in finished]
        finally:
            try:
                self._setting.restore()  # under the lock: nobody else's trial meets our clocks
            finally:
                self._machine.release()

    def _run_in_folders(self, entries: Entries) -> Optional[Sequence[Json]]:
        with contextlib.ExitStack() as folders:
            each = [folders.enter_context(_folder(entry)) for entry in entries]
            return self._run_processes(entries, each)

    def _run_processes(self, entries: Entries, folders: Sequence[str]) -> Optional[Sequence[Json]]:
        """Run the trials; None where they were called off before they began."""
        with self._queue.held_up_by(PREPARATION):
            prepared = self._setting.prepare(
                [entry.request for entry in entries],
                lambda seconds: self._queue.pause(entries, seconds),
            )
        before = self._node.health()
        attempts: List[_Attempt] = []
        power: Optional[Json] = None
        try:
            for entry, folder, each in zip(entries, folders, prepared):
                attempts.append(self._attempt(entry, folder, each))
            standing = [
                (entry, attempt.process.id, attempt.process.kill)
                for entry, attempt in zip(entries, attempts)
                if attempt.process is not None
            ]
            sampler = self._setting.sampler([entry.request for entry in entries])
            try:
                if standing and not self._queue.start(entries, standing, before):
                    return None
                if sampler is not None and standing:
                    sampler.start()
                _run_at_once(attempts)
                for entry, attempt in zip(entries, attempts):
                    attempt.take_end(self._node)
                    if attempt.failed:
                        attempt.lacking = self._gone(entry)
            finally:
                if sampler is not None:
                    power = sampler.stop() if standing else None
        finally:
            _end_all([each.process for each in attempts if each.process is not None])
        _tell_of_each_other(attempts)
        told = {"health_before": before, "health": self._node.health()}
        return [attempt.finished(told, power) for attempt in attempts]

    def _attempt(self, entry: Entry, folder: str, prepared: Readiness) -> _Attempt:
        if prepared.refused:
            return _Attempt(prepared.conditions, None, prepared.refused)
        try:
            process = self._prepare(entry, folder, prepared.cpus)
        except DamagedBlobError as exc:
            return _Attempt(prepared.conditions, None, lacking=str(exc))
        except StartError as exc:
            return _Attempt(prepared.conditions, None, str(exc), cause=ENVIRONMENT)
        return _Attempt(prepared.conditions, process, folder=folder)

    def _gone(self, entry: Entry) -> str:
        """Which file of a trial that failed is not there any more, or is damaged; empty where all
        are as they were, and the failure is the trial's own."""
        self._sites.doubt()
        try:
            self._check_files(entry.request)
        except DamagedBlobError as exc:
            return str(exc)
        return ""

    def _check_files(self, request: TrialRequest) -> None:
        """Raise DamagedBlobError where something is missing that was pushed for the trial."""
        texts = (*request.argv, *request.env.values())
        if any("{agent}" in text for text in texts) and not os.path.isfile(self._archive):
            raise DamagedBlobError(f"{self._archive} is gone; place the agent again")
        for sha256 in request.blobs:
            self._node.blobs.path(sha256)
        self._substituted(texts)

    def _prepare(self, entry: Entry, folder: str, cpus: Optional[Tuple[int, ...]]) -> Process:
        """The process at its gate. Raises StartError, DamagedBlobError."""
        request = entry.request
        self._check_files(request)
        command = Command(
            argv=self._substituted(request.argv),
            env=dict(zip(request.env, self._substituted(tuple(request.env.values())))),
            timeout_s=request.timeout_s,
            cpus=cpus,
            exclusive=request.exclusive,
            name=entry.name,
        )
        return self._node.process(command, folder)

    def _substituted(self, texts: Tuple[str, ...]) -> Tuple[str, ...]:
        return substitute(
            texts,
            blob=self._node.blobs.path,
            exe=self._node.blobs.executable,
            site=self._sites.path,
            agent=self._agent,
            python=sys.executable,
        )

    def _agent(self) -> str:
        """The archive that a child runs from."""
        if self._compiled is None or not os.path.isfile(self._compiled):
            self._compiled = compiled(self._archive)
        return self._compiled


class _Attempt:
    """One trial's process, or why there is none, and how it went."""

    def __init__(
        self,
        conditions: Json,
        process: Optional[Process],
        refused: str = "",
        *,
        folder: str = "",
        cause: Optional[str] = None,
        lacking: str = "",
    ) -> None:
        self._folder = folder
        self.conditions = conditions
        self.process = process
        self.refused = refused
        self.cause = cause
        #: What the node lost of the trial's files.
        self.lacking = lacking
        self.ending: Optional[Ending] = None

    def run(self) -> None:
        if self.process is not None:
            self.ending = self.process.run()

    def take_end(self, node: Node) -> None:
        """How it went where it ran. Raises DeviceLostError."""
        if self.process is not None and self.ending is not None:
            self.ending = node.ended(self.ending, self.process, self._folder)

    @property
    def failed(self) -> bool:
        """Whether it ran and did not end well by itself."""
        return self.ending is not None and self.ending.exit_code != 0 and not self.ending.timed_out

    def finished(self, healths: Mapping[str, Any], power: Optional[Json]) -> Json:
        """The fields of ``finished``, without the lock's."""
        told = {**healths, "conditions": self.conditions}
        if self.lacking:
            return {"lacking": self.lacking}
        if self.ending is None:
            return not_started(self.refused, cause=self.cause, **told)
        return {**self.ending.to_json(), **told, "power": power}


def _run_at_once(attempts: Sequence[_Attempt]) -> None:
    """Run all of them at once, each to its own end."""
    if len(attempts) == 1:
        attempts[0].run()
        return
    with ThreadPoolExecutor(len(attempts)) as pool:
        for running in [pool.submit(attempt.run) for attempt in attempts]:
            running.result()


def _tell_of_each_other(attempts: Sequence[_Attempt]) -> None:
    """Note that what the other one computed is not the load of a stranger."""
    if len(attempts) < 2:
        return
    for own, other in (attempts, attempts[::-1]):
        if other.ending is None:
            own.conditions["duet"]["together"] = False
        else:
            usage = other.ending.rusage
            if usage.get("user_s") is not None:
                own.conditions["duet"]["partner_cpu_s"] = usage["user_s"] + usage["sys_s"]


@contextlib.contextmanager
def _folder(entry: Entry) -> Iterator[str]:
    """A folder of the trial's own, gone after it."""
    parent = entry.session.spool.work_folder()
    try:
        folder = tempfile.mkdtemp(prefix="trial-", dir=parent)
    except OSError as exc:
        # not the trial's failure, and what came of it could not be written down either
        raise not_written(parent, exc) from exc
    try:
        yield folder
    finally:
        _remove(folder)


def _end_all(processes: Sequence[Process]) -> None:
    """End what left a trial's group: it would go on during the next trial, and spoil it."""
    for process in processes:
        process.close()
    count = sum(process.end_runaways() for process in processes)
    if any(process.adopts for process in processes):
        count += kill_adopted()
    if count:
        marks = " and ".join(process.id.mark for process in processes)
        home.log(f"trial {marks}: {count} processes had left its group and were killed")


def _remove(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if os.path.exists(folder):  # the next daemon tries again
        home.log(f"{folder} could not be removed")
