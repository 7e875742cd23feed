"""``live.html`` in a run's folder: written anew every few seconds while the run goes on.

A thread of its own reads the run's journal as any other reader does, so that nothing of the run
waits for it. While nothing is new, nothing is written but a sign of life every half a minute; its
work has a low priority, because this may be the machine that is measured.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone

from orchestrator import plain_files
from orchestrator.analysis.table import SpeedupTable
from orchestrator.errors import OrchestrateError
from orchestrator.fleet.progress import DeviceProgress, State
from orchestrator.report.live import HEARTBEAT_S, STALE_S, LiveView, is_going_on, to_page
from orchestrator.runs.directory import RunDirectory
from orchestrator.runs.journal import has_writer
from orchestrator.runs.standing import DONE, DeviceStanding
from orchestrator.watching import MOST_SHARE, RunNow, Watch

FILE_NAME = "live.html"
#: The page is written at most so often, in seconds.
EVERY_S = 3.0
#: A page of this size is not one of ours.
_MOST_BYTES = 8 * 2**20
#: Of its thread: others on the machine come first.
_NICE = 5

#: What only who drives the devices knows; all else the journal tells.
_UNTOLD = frozenset(
    (State.CONNECTING, State.PUSHING, State.WAITING, State.RETRYING, State.INTERRUPTED)
)


class LivePage:
    """The page of one run, from its first line to its end. Its methods may be called from any
    thread, and none of them raises."""

    def __init__(
        self, say: Callable[[str], None], show: Callable[[SpeedupTable], None] = lambda _: None
    ) -> None:
        """``say`` is told where the page is, and once why it cannot be written; ``show`` is called
        with each table that is made while the run goes on."""
        self._say = say
        self._show = show
        self._heard = threading.Event()
        self._ended = threading.Event()
        self._progress: dict[str, DeviceProgress] = {}
        self._thread: threading.Thread | None = None
        self._directory: RunDirectory | None = None
        #: Seconds of one CPU that the page has taken.
        self.took_s = 0.0

    @property
    def directory(self) -> RunDirectory | None:
        """The run's folder, once there is one."""
        return self._directory

    def observe(self, progress: DeviceProgress) -> None:
        """A device's news; see ``fleet.progress.Observer``."""
        self._progress[progress.device] = progress
        self._heard.set()

    def begin(self, directory: RunDirectory) -> None:
        """Keep the page of the run in ``directory`` from now on."""
        self._directory = directory
        page = directory.path.absolute() / FILE_NAME
        self._say(f"run {directory.run_id} in {directory.path}; watch it: {page.as_uri()}")
        self._thread = threading.Thread(
            target=self._keep, args=(directory,), name="live page", daemon=True
        )
        self._thread.start()

    def end(self, how: str) -> None:
        """Write the page for the last time: ``how`` the run ended, in a sentence."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        if self._directory is not None:
            with contextlib.suppress(OSError, OrchestrateError):
                write_end(self._directory, how)

    def _keep(self, directory: RunDirectory) -> None:
        if sys.platform == "linux":  # elsewhere a thread has no priority of its own
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        try:
            watch, written, pause_s = Watch(directory), 0.0, EVERY_S
            shown: SpeedupTable | None = None
            while not self._ended.is_set():
                heard = self._heard.is_set()
                self._heard.clear()
                now, is_new = watch.look()
                if now.table is not None and now.table is not shown:
                    shown = now.table
                    self._show(shown)
                if is_new or heard or time.monotonic() - written >= HEARTBEAT_S:
                    written, began = time.monotonic(), time.thread_time()
                    _write(directory, view_of(self._with_progress(now)))
                    # a page of many comparisons takes a while, and takes no larger share for that
                    pause_s = max(EVERY_S, (time.thread_time() - began) / MOST_SHARE)
                self.took_s = time.thread_time()
                self._ended.wait(min(pause_s, HEARTBEAT_S))
        except Exception as exc:  # noqa: BLE001  # a page must not cost a measurement
            self._say(f"{directory.path / FILE_NAME} is no longer written: {exc}")

    def _with_progress(self, now: RunNow) -> RunNow:
        return replace(now, devices=tuple(map(self._device, now.devices)))

    def _device(self, device: DeviceStanding) -> DeviceStanding:
        told = self._progress.get(device.device)
        if told is None or told.state not in _UNTOLD:
            return device
        return replace(device, state=told.state.value, detail=told.detail)


def write_end(directory: RunDirectory, how: str) -> None:
    """Write the page of a run that has ended, with its whole table. Raises OrchestrateError or
    OSError."""
    now, _ = Watch(directory).look(whole=True)
    _write(directory, view_of(now, how, report=(directory.path / "report.html").is_file()))


def how_it_ended(directory: RunDirectory) -> str:
    """Say in a sentence how a run stands that nobody writes any more; empty where it goes on, or
    nobody can tell from here.

    Where its page says that it goes on, that is corrected; a page that cannot be written stays as
    it is. Raises JournalError where the run cannot be read.
    """
    if has_writer(directory.path):
        return ""
    path = directory.path / FILE_NAME
    try:
        text = plain_files.read(directory.path, FILE_NAME, most_bytes=_MOST_BYTES).decode()
        age_s = time.time() - path.lstat().st_mtime
    except (OSError, ValueError):  # no page, as of an earlier version's run, or none of ours
        return ""
    going_on = is_going_on(text)
    # a controller on another machine, which shares the disk, writes it twice within this time
    if going_on and age_s < STALE_S:
        return ""
    now, _ = Watch(directory).look()
    how = _how(now, directory.run_id, killed=going_on)
    if going_on:
        with contextlib.suppress(OSError):
            write_end(directory, how)
    return how


def _how(now: RunNow, run_id: str, *, killed: bool) -> str:
    if now.over and all(device.state == DONE for device in now.devices):
        if not killed:
            return "Complete."
        return (
            f"Everything is measured, but the controller ended before it wrote the report: "
            f"orchestrate report {run_id} makes it."
        )
    if not killed:
        return f"Not complete; orchestrate run --resume {run_id} goes on with it."
    return (
        f"The controller ended without a word, after the last event: it was killed, or its machine "
        f"went down. orchestrate run --resume {run_id} goes on, and collects what the devices "
        f"measured without it."
    )


def view_of(now: RunNow, ended: str = "", *, report: bool = False) -> LiveView:
    """What is shown of a run at one moment; ``ended``: how it ended, in a sentence."""
    return LiveView(
        run_id=now.run_id,
        created=now.created,
        suite=now.suite,
        precision=now.precision,
        devices=now.devices,
        table=now.table,
        table_trials=now.table_trials,
        trials=now.trials,
        last_event=now.last_event,
        note=now.table_note,
        ended=ended,
        report=report,
    )


def _write(directory: RunDirectory, view: LiveView) -> None:
    """Replace the page in one step. Raises OSError."""
    page = to_page(view, datetime.now(timezone.utc))
    plain_files.write(directory.path, FILE_NAME, page.encode(), synced=False)
