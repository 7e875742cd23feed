"""Brings the machine into the state that a trial asks for, and out of it again."""

from __future__ import annotations

from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from orchestrate_agent.machine import gate, placement, power
from orchestrate_agent.machine.power import Sampler, Source
from orchestrate_agent.machine.tuning import Tuner
from orchestrate_agent.protocol import Json, TrialRequest
from orchestrate_agent.sysfs import Tree


class Readiness(NamedTuple):
    """What holds for one trial: the CPUs to pin it to, and ``conditions`` of its ``finished``.

    ``refused``, where it is not empty, says why the trial must not run.
    """

    cpus: Optional[Tuple[int, ...]]
    conditions: Json
    refused: str


class MachineControl:
    """Belongs to the worker's thread, which holds the machine's lock meanwhile."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._tuner = Tuner(tree)
        self._tuned = False
        self._source: Optional[Source] = None
        self._source_sought = False

    def prepare(
        self, requests: Sequence[TrialRequest], pause: Callable[[float], bool]
    ) -> List[Readiness]:
        """Tune, choose CPUs, wait: once for both trials of a duet, as the first asks.

        ``pause`` sleeps, and is true where the trials were called off.
        """
        wanted = requests[0].conditions
        told: Dict[str, str] = {}
        reasons: List[str] = []
        if wanted.tune:
            self._tuned = True
            told, reasons = self._tuner.apply()
        if len(requests) > 1 and wanted.energy:
            reasons = [*reasons, "energy: the meter cannot tell two trials at once apart"]
        placed = [self._place(request) for request in requests]
        first, last = placed[0][0], placed[-1][0]
        if len(placed) > 1 and first and last and placement.share_cores(self._tree, first, last):
            reasons = [*reasons, "duet: both halves have CPUs of one core, which share its units"]
        passed = None if wanted.gate is None else gate.wait(self._tree, wanted.gate, pause)
        prepared = []
        for request, (cpus, why) in zip(requests, placed):
            conditions: Json = {
                "pinned": None if cpus is None else sorted(cpus),
                "tuned": told,
                "reasons": [*reasons, *_said("pinning", why)],
                "gate": passed,
            }
            duet = request.conditions.duet
            if duet is not None:
                together = len(requests) > 1
                more = {"together": together, "partner_cpu_s": None}
                conditions["duet"] = {**duet.to_json(), **more}
            prepared.append(Readiness(cpus, conditions, why if duet is not None else ""))
        return prepared

    def _place(self, request: TrialRequest) -> Tuple[Optional[Tuple[int, ...]], str]:
        """The CPUs to pin to, None for no pinning, and why not those that were asked for."""
        pin, duet = request.conditions.pin, request.conditions.duet
        if pin is None:
            return request.cpus, ""
        if duet is not None:
            return placement.choose_half(self._tree, pin, duet.half, request.cpus)
        chosen, why = placement.choose(self._tree, pin, request.cpus)
        return chosen or request.cpus, why

    def sampler(self, requests: Sequence[TrialRequest]) -> Optional[Sampler]:
        """What samples the energy of this trial; None where it is not asked for or not told.

        A meter sees both trials of a duet, so that what it says is neither's.
        """
        if len(requests) > 1 or not requests[0].conditions.energy:
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
