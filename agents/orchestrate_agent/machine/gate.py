"""Waits, before a trial, until the machine is cool and quiet, or for as long as is allowed."""

from __future__ import annotations

import time
from typing import Callable, Optional

from orchestrate_agent.machine import health, sensors
from orchestrate_agent.protocol import Gate, Json
from orchestrate_agent.sysfs import Tree

#: How long the load is watched for one answer. The kernel counts in ticks of 10 ms a CPU, so on two
#: CPUs one tick is 2.5 % of it.
WINDOW_S = 0.2
#: Looks at who can run come before, so many at most: most machines are idle, and need not be
#: watched. So many in a row that find nobody are enough, as a process that computes all the time is
#: in each; the first ones may meet a controller on this machine that writes the last trial down.
GLANCES = 10
ALONE_GLANCES = 3
GLANCE_S = 0.005


def wait(tree: Tree, gate: Gate, pause: Callable[[float], bool]) -> Json:
    """How it went: ``waited_s``, ``timed_out``, and the last ``load`` and ``temperature_c`` seen.

    ``pause`` sleeps for so many seconds, and is true where the trial was called off. ``load`` is
    the share of all CPUs' time spent at work, None where a few glances found nobody else at work.
    What the node does not tell cannot hold a trial up.
    """
    start = time.monotonic()
    watched = gate.load is not None and not _alone(tree, pause)
    while True:
        load = _load(tree, pause) if watched else None
        temperature_c = sensors.temperature_c(tree)
        quiet = _within(load, gate.load) and _within(temperature_c, gate.temperature_c)
        waited_s = time.monotonic() - start
        over = waited_s >= gate.timeout_s
        if quiet or over or pause(0.0 if watched else WINDOW_S):
            return {
                "waited_s": round(time.monotonic() - start, 3),
                "timed_out": not quiet and over,
                "load": load,
                "load_bound": gate.load,
                "temperature_c": temperature_c,
                "temperature_bound_c": gate.temperature_c,
            }


def _alone(tree: Tree, pause: Callable[[float], bool]) -> bool:
    """Whether we were the only one that could run, some times in a row."""
    alone = 0
    for _ in range(GLANCES):
        running = health.running_processes(tree)
        if running is None:
            return False
        alone = alone + 1 if running <= 1 else 0
        if alone == ALONE_GLANCES:
            return True
        pause(GLANCE_S)
    return False


def _load(tree: Tree, pause: Callable[[float], bool]) -> Optional[float]:
    before = health.cpu_seconds(tree)
    if before is None:
        return None
    pause(WINDOW_S)
    share = health.busy_share(before, health.cpu_seconds(tree))
    return None if share is None else round(share, 4)


def _within(value: Optional[float], bound: Optional[float]) -> bool:
    return value is None or bound is None or value <= bound
