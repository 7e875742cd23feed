"""What a machine consumes while a trial runs: energy since the trial began, sampled a few times a
second where the machine can tell.

Where the measured window lies in the trial is known only when its output is read, by the
controller. So the whole trial is sampled, and the controller takes the window's part by
interpolation. A counter (RAPL) is read; a power meter (the INA chips of a Jetson, the power
controller of a Raspberry Pi 5) is read and summed over time.
"""

from __future__ import annotations

import abc
import re
import threading
import time
from typing import Dict, List, Optional, Tuple

from orchestrate_agent.machine import health, ina, tools
from orchestrate_agent.protocol import Json
from orchestrate_agent.sysfs import Tree, to_float

#: A reading takes some tens of microseconds: less than a thousandth of one CPU.
INTERVAL_S = 0.25
#: ``vcgencmd`` is a process, of some milliseconds.
PMIC_INTERVAL_S = 0.4
#: Beyond this every second sample goes, and they come half as often.
MAX_SAMPLES = 1000

#: What a Jetson calls the rail that feeds all others.
_WHOLE_BOARD = re.compile(r"\A(VDD_IN|POM_5V_IN|VIN|5V_IN)\Z", re.IGNORECASE)
_PMIC_LINE = re.compile(r"^\s*(\S+)_(A|V)\s+(?:current|volt)\(\d+\)=([\d.]+)", re.M)


class Source(abc.ABC):
    """Tells what is consumed. ``name`` says by which means, ``interval_s`` how often to ask."""

    name: str
    interval_s = INTERVAL_S

    @abc.abstractmethod
    def joules(self) -> Optional[float]:
        """Return the joules consumed since the first call; None where a reading failed."""


class Rapl(Source):
    """The counters of all CPU packages: cores, caches and memory controller, not the DRAM."""

    name = "rapl package"

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._ranges = health.energy_ranges_uj(tree) or {}
        self._last: Optional[Dict[str, int]] = None
        self._total_uj = 0

    def joules(self) -> Optional[float]:
        now = health.energy_uj(self._tree)
        last = self._last or now
        if now is None or last is None or set(now) != set(last):
            return None
        self._last = now
        for name, value in now.items():
            grown = health.unwrapped(last[name], value, self._ranges.get(name))
            if grown is None:
                return None
            self._total_uj += grown
        return self._total_uj / 1e6


class Meter(Source):
    """A meter sums power over time by the trapezoid rule."""

    def __init__(self) -> None:
        self._last: Optional[Tuple[float, float]] = None
        self._total_j = 0.0

    def joules(self) -> Optional[float]:
        watts, now = self.watts(), time.monotonic()
        if watts is None:
            return None
        if self._last is not None:
            at, before = self._last
            self._total_j += (now - at) * (watts + before) / 2
        self._last = (now, watts)
        return self._total_j

    @abc.abstractmethod
    def watts(self) -> Optional[float]:
        """Return the watts taken now; None where they cannot be read."""


class Ina(Meter):
    """A Jetson's power monitors: the rail that feeds the whole board, else all rails."""

    def __init__(self, tree: Tree) -> None:
        super().__init__()
        self._tree = tree
        rails = ina.rails(tree)
        whole = [rail for rail in rails if _WHOLE_BOARD.match(rail.name)]
        self._rails = whole[:1] or rails
        self.name = "ina " + "+".join(rail.name for rail in self._rails)

    def watts(self) -> Optional[float]:
        each = [rail.watts(self._tree) for rail in self._rails]
        known = [watts for watts in each if watts is not None]
        return sum(known) if known and len(known) == len(each) else None


class Pmic(Meter):
    """A Raspberry Pi 5's power controller: the rails behind it, not what USB and fan take."""

    name = "pmic rails"
    interval_s = PMIC_INTERVAL_S

    def watts(self) -> Optional[float]:
        return pmic_watts(tools.ask(tools.VCGENCMD, "pmic_read_adc") or "")


def pmic_watts(text: str) -> Optional[float]:
    """Add up current times voltage over the rails that have both; None where none has."""
    told: Dict[Tuple[str, str], float] = {}
    for name, unit, number in _PMIC_LINE.findall(text):
        value = to_float(number)
        if value is not None:
            told[name, unit] = value
    rails = [name for name, unit in told if unit == "A" and (name, "V") in told]
    return sum(told[name, "A"] * told[name, "V"] for name in rails) if rails else None


def find(tree: Tree) -> Optional[Source]:
    """The first means this machine has that answers; None where it has none."""
    sources: List[Source] = [Rapl(tree)]
    if ina.rails(tree):
        sources.append(Ina(tree))
    if tree.is_live:
        sources.append(Pmic())
    return next((source for source in sources if source.joules() is not None), None)


class Sampler:
    """Samples from :meth:`start` to :meth:`stop` in a thread of its own."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._interval_s = source.interval_s
        self._samples: List[Tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._sample()
        self._thread.start()

    def stop(self) -> Json:
        """Return ``source`` and ``samples``: [seconds of the monotonic clock, joules since the
        first]."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()
            self._sample()
        first = self._samples[0][1] if self._samples else 0.0
        return {
            "source": self._source.name,
            "samples": [[round(at, 6), round(j - first, 6)] for at, j in self._samples],
        }

    def _run(self) -> None:
        while not self._over.wait(self._interval_s):
            self._sample()
            if len(self._samples) > MAX_SAMPLES:
                del self._samples[1::2]
                self._interval_s *= 2

    def _sample(self) -> None:
        joules = self._source.joules()
        if joules is not None:
            self._samples.append((time.monotonic(), joules))
