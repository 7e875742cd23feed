"""Brings the machine into the state that a trial asks for, and out of it again."""

from __future__ import annotations

from typing import Callable, Dict, List, Optional, Tuple

from agents import gate, placement, power
from agents.power import Sampler, Source
from agents.protocol import Json, TrialRequest
from agents.sysfs import Tree
from agents.tuning import Tuner


class Setting:
    """Belongs to the worker's thread, which holds the machine's lock meanwhile."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._tuner = Tuner(tree)
        self._tuned = False
        self._source: Optional[Source] = None
        self._source_sought = False

    def prepare(
        self, request: TrialRequest, pause: Callable[[float], bool]
    ) -> Tuple[Optional[Tuple[int, ...]], Json]:
        """Tune, choose CPUs, wait; returns (the CPUs to pin to, ``conditions`` of ``finished``).

        ``pause`` sleeps, and is true where the trial was called off.
        """
        wanted = request.conditions
        told: Dict[str, str] = {}
        reasons: List[str] = []
        if wanted.tune:
            self._tuned = True
            told, reasons = self._tuner.apply()
        cpus, why = request.cpus, ""
        if wanted.pin is not None:
            chosen, why = placement.choose(self._tree, wanted.pin, request.cpus)
            cpus = chosen or cpus
        passed = None if wanted.gate is None else gate.wait(self._tree, wanted.gate, pause)
        return cpus, {
            "pinned": None if cpus is None else sorted(cpus),
            "tuned": told,
            "reasons": [*reasons, *_said("pinning", why)],
            "gate": passed,
        }

    def sampler(self, request: TrialRequest) -> Optional[Sampler]:
        """What samples the energy of this trial; None where it is not asked for or not told."""
        if not request.conditions.energy:
            return None
        if not self._source_sought:
            self._source_sought = True
            self._source = power.find(self._tree)
        return None if self._source is None else Sampler(self._source)

    def restore(self) -> None:
        """Put back what :meth:`prepare` changed. The next trial tells of a failure."""
        if self._tuned:
            self._tuned = bool(self._tuner.restore())


def _said(what: str, why: str) -> List[str]:
    return [f"{what}: {why}"] if why else []
