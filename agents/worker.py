"""Runs the queue's trials, one after the other. Between two of them, and while one runs, nothing
else here wakes up: every wait blocks in the kernel."""

from __future__ import annotations

import os
import shutil
import tempfile
import traceback
from typing import Callable, Optional, Tuple

from agents import health, home
from agents.blobs import BlobStore, DamagedBlobError
from agents.launch import StartError, base_environment, find_executable
from agents.machine import MachineLock
from agents.process import Process
from agents.procs import kill_marked
from agents.protocol import Json, substitute
from agents.setting import Setting
from agents.spool import SpoolError
from agents.sysfs import Tree
from agents.trial_queue import Entry, TrialQueue, not_started


class Worker:
    """What one thread does: take a trial, run it, write how it went."""

    def __init__(
        self,
        queue: TrialQueue,
        blobs: BlobStore,
        archive: str,
        on_fatal: Callable[[str], None],
        root: str = "/",
    ) -> None:
        """``root``: where the files are that describe the machine; a test has its own."""
        self._queue = queue
        self._blobs = blobs
        self._archive = archive
        self._on_fatal = on_fatal
        self._machine = MachineLock(queue.changed)
        self._root = root
        self._setting = Setting(Tree(root))

    def run(self) -> None:
        """Until the queue says stop. What cannot be recorded must not run: then ``on_fatal``."""
        try:
            while True:
                entry = self._queue.take()
                if entry is None:
                    return
                self._run_recorded(entry)
        except SpoolError as exc:
            self._on_fatal(str(exc))

    def _run_recorded(self, entry: Entry) -> None:
        try:
            finished = self._run(entry)
            self._queue.end(entry, finished)
        except SpoolError:
            raise
        except Exception as exc:  # noqa: BLE001 (the trial must end, and the next one run)
            home.log(f"trial {entry.request.trial_id}: {traceback.format_exc()}")
            self._queue.end(entry, not_started(f"the agent failed: {exc!r}; see agents logs"))

    def _run(self, entry: Entry) -> Json:
        """The fields of ``finished``. Where the trial is called off they do not matter."""
        machine_lock: Optional[str] = None
        try:
            if entry.request.exclusive:
                machine_lock = self._machine.acquire(lambda: self._queue.called_off(entry))
            if self._queue.called_off(entry):
                return {}
            return {**self._run_in_folder(entry), "machine_lock": machine_lock}
        finally:
            try:
                self._setting.restore()  # under the lock: nobody else's trial meets our clocks
            finally:
                self._machine.release()

    def _run_in_folder(self, entry: Entry) -> Json:
        parent = entry.session.spool.work_folder()
        folder = tempfile.mkdtemp(prefix="trial-", dir=parent)
        try:
            return self._run_process(entry, folder)
        finally:
            _remove(folder)

    def _run_process(self, entry: Entry, folder: str) -> Json:
        request = entry.request
        cpus, conditions = self._setting.prepare(
            request, lambda seconds: self._queue.pause(entry, seconds)
        )
        before = health.snapshot(self._root)
        told = {"health_before": before, "conditions": conditions}
        try:
            process = self._prepare(entry, folder, cpus)
        except (StartError, DamagedBlobError) as exc:
            return not_started(str(exc), **told, health=health.snapshot(self._root))
        sampler = self._setting.sampler(request)
        power: Optional[Json] = None
        try:
            if not self._queue.start(entry, process.id, process.kill, before):
                return {}
            if sampler is not None:
                sampler.start()
            ending = process.run()
        finally:
            if sampler is not None:
                power = sampler.stop()
            process.close()
            _kill_runaways(process.id.mark)
        return {**ending.to_json(), **told, "health": health.snapshot(self._root), "power": power}

    def _prepare(self, entry: Entry, folder: str, cpus: Optional[Tuple[int, ...]]) -> Process:
        """The process at its gate. Raises StartError, DamagedBlobError."""
        request = entry.request
        for sha256 in request.blobs:
            self._blobs.path(sha256)
        own = dict(zip(request.env, self._substituted(tuple(request.env.values()))))  # noqa: B905
        env = {**base_environment(), "TMPDIR": folder, **own}
        argv = self._substituted(request.argv)
        return Process(
            (find_executable(argv[0], env["PATH"]), *argv[1:]),
            env=env,
            cwd=folder,
            timeout_s=request.timeout_s,
            cpus=cpus,
            name=entry.name,
        )

    def _substituted(self, texts: Tuple[str, ...]) -> Tuple[str, ...]:
        return substitute(
            texts, blob=self._blobs.path, exe=self._blobs.executable, agent=self._archive
        )


def _kill_runaways(mark: str) -> None:
    """What left the trial's group would go on beside the next trial, and spoil it."""
    count = kill_marked(mark)
    if count:
        home.log(f"trial {mark}: {count} processes had left its group and were killed")


def _remove(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if os.path.exists(folder):  # the next daemon tries again
        home.log(f"{folder} could not be removed")
