"""Runs builds side by side as long as their memory adds up to what there is."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

#: What all builds together may hold.
MEMORY_LIMIT_MB = 8000


@dataclass(frozen=True)
class Job:
    """One model's build. ``memory_mb`` is the most it takes."""

    name: str
    memory_mb: int
    run: Callable[[], None]


@dataclass(frozen=True)
class Capacity:
    """How much may be held, and how many may run, at a time."""

    memory_mb: int
    jobs: int

    def has_room(self, running: Sequence[Job], job: Job) -> bool:
        """Whether ``job`` may start while those run. One alone always may, or it never would."""
        held = sum(other.memory_mb for other in running)
        fits = held + job.memory_mb <= self.memory_mb and len(running) < self.jobs
        return fits or not running


def capacity() -> Capacity:
    """Measure the capacity of this machine now: the limit, or what memory is available where that
    is less."""
    return Capacity(min(MEMORY_LIMIT_MB, _available_mb()), len(os.sched_getaffinity(0)))


def _available_mb() -> int:
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return MEMORY_LIMIT_MB
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 // 1_000_000 if found else MEMORY_LIMIT_MB


def run_jobs(jobs: Sequence[Job], room: Capacity, on_interrupt: Callable[[], None]) -> None:
    """Run all the jobs, each in a thread, in their order as far as there is room.

    When one fails, no further one is started, those in hand end, and its error is raised. When the
    caller is interrupted, ``on_interrupt`` is to end them at once.
    """
    crew = _Crew()
    waiting = list(jobs)
    try:
        while waiting and not crew.errors:
            running = crew.running
            job = next((job for job in waiting if room.has_room(running, job)), None)
            if job is None:
                crew.wait(running)
            else:
                waiting.remove(job)
                crew.start(job)
        while running := crew.running:
            crew.wait(running)
    except BaseException:
        on_interrupt()
        crew.join()
        raise
    if crew.errors:
        raise crew.errors[0]


class _Crew:
    """The jobs that run. All but the threads' own code is called by one thread."""

    def __init__(self) -> None:
        self.running: tuple[Job, ...] = ()
        self.errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()

    def start(self, job: Job) -> None:
        with self._changed:
            self.running = (*self.running, job)
        thread = threading.Thread(target=self._run, args=(job,), name=f"build {job.name}")
        self._threads.append(thread)
        thread.start()

    def wait(self, before: tuple[Job, ...]) -> None:
        """Wait until the jobs that run are not those ``before`` any more."""
        with self._changed:
            self._changed.wait_for(lambda: self.running != before)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _run(self, job: Job) -> None:
        try:
            job.run()
        except BaseException as exc:  # noqa: BLE001  # the caller's thread raises it
            self.errors.append(exc)
        with self._changed:
            self.running = tuple(other for other in self.running if other is not job)
            self._changed.notify_all()
