"""Says what one side of a comparison ran under, and where two sides differ. Pure.

Device, model and factors are equal by construction: pairs form within a group. What can still
differ is what the device turned out to have: these are the conditions compared here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from orchestrator.analysis.sides.control import power_mode
from orchestrator.measurement import Finding, Measurement
from orchestrator.runs.records import ArtifactRecord, TrialRecord

_NOT_TOLD = "not told"


@dataclass(frozen=True)
class SideConditions:
    """Every distinct value one side saw over its trials; alike sides saw one and the same.

    ``binary`` is the SHA-256 of benchmark_model, ``statistic`` which centre the times are
    (``median`` or ``mean``), ``weights`` the provenance of the artifact's weights, ``power_mode``
    a Jetson's.
    """

    runtime: frozenset[str]
    runtime_version: frozenset[str]
    binary: frozenset[str]
    statistic: frozenset[str]
    weights: frozenset[str]
    power_mode: frozenset[str]


@dataclass(frozen=True)
class Difference:
    """One condition that two sides do not share, each side in words."""

    condition: str
    baseline: str
    treatment: str


def conditions(records: Iterable[TrialRecord], artifact: ArtifactRecord | None) -> SideConditions:
    """Collect what ``records``, the ok trials of one side, ran under."""
    measured = [(r, r.measurement) for r in records if r.measurement is not None]
    return SideConditions(
        runtime=frozenset(m.runtime_name or _NOT_TOLD for _, m in measured),
        runtime_version=frozenset(m.runtime_version or _NOT_TOLD for _, m in measured),
        binary=frozenset(r.binary_sha256 or _NOT_TOLD for r, _ in measured),
        statistic=frozenset(_statistic(m) for _, m in measured),
        weights=frozenset((_provenance(artifact.weights),)) if artifact else frozenset(),
        power_mode=frozenset(
            mode for r, _ in measured if (mode := power_mode(r.health_before or {})) is not None
        ),
    )


def statistic_of(records: Iterable[TrialRecord]) -> str:
    """Name what the times of ``records`` are: ``median``, ``mean``, or both where they are
    mixed."""
    found = {_statistic(r.measurement) for r in records if r.measurement is not None}
    return _words(frozenset(found)) or "median"


def differences(baseline: SideConditions, treatment: SideConditions) -> tuple[Difference, ...]:
    """Find every condition under which the two sides were not one and the same throughout.

    A side that nothing is known of (no ok trial, no artifact) differs in nothing.
    """
    found = []
    for each in fields(SideConditions):
        one, other = getattr(baseline, each.name), getattr(treatment, each.name)
        if one and other and len(one | other) > 1:
            found.append(Difference(each.name, _words(one), _words(other)))
    return tuple(found)


def to_finding(difference: Difference, baseline: str, treatment: str) -> Finding:
    """The finding that refuses a comparison of ``treatment`` with ``baseline``."""
    code, remedy = _VERDICT_ON[difference.condition]
    return Finding(
        code,
        f"unlike {difference.condition.replace('_', ' ')}: {baseline} {difference.baseline}, "
        f"{treatment} {difference.treatment}",
        remedy,
        forbids=True,
    )


_SAME_RUNTIME = (
    "runtime_mismatch",
    "run both schemes again in one run with one runtime; do not upgrade it between resumes",
)
_VERDICT_ON = {
    "runtime": _SAME_RUNTIME,
    "runtime_version": _SAME_RUNTIME,
    "binary": _SAME_RUNTIME,
    "statistic": (
        "statistic_mismatch",
        "use one build of the runner for both schemes, one that prints medians where it can",
    ),
    "power_mode": (
        "power_mode_mismatch",
        "set one mode (`sudo nvpmodel -m NUMBER`) and leave it for the whole run, resumes included",
    ),
    "weights": (
        "weights_mismatch",
        "build both artifacts from the same weights: `orchestrate models build`",
    ),
}


def _provenance(weights: str) -> str:
    """Nothing in two files of the user's tells whether they have the same weights: the user says
    so by making them variants of one model."""
    return "user file" if weights.startswith("user file ") else weights


def _statistic(measurement: Measurement) -> str:
    if measurement.steady is None:
        return "no time"
    return "mean" if measurement.steady.median_us is None else "median"


def _words(values: frozenset[str]) -> str:
    return " and ".join(sorted(value[:12] if _is_sha256(value) else value for value in values))


def _is_sha256(value: str) -> bool:
    return len(value) == 64 and all(c in "0123456789abcdef" for c in value)
