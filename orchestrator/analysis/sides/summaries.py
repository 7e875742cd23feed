"""The columns other than the speed-up: sizes, memory, versions, microarchitecture. Pure."""

from __future__ import annotations

from statistics import median

from orchestrator.analysis.sides.side import Side
from orchestrator.runs.records import ArtifactRecord, RunRecord
from orchestrator.trial import Factors, InputSpec

_MB = 1e6


def microarchitecture(run: RunRecord, device: str) -> str:
    """What the device's agent says it is; empty where it cannot tell or was never reached."""
    cpu = run.facts.get(device, {}).get("cpu")
    name = cpu.get("microarchitecture") if isinstance(cpu, dict) else None
    return name if isinstance(name, str) else ""


def runtime_versions(*sides: Side) -> str:
    """What ran, by name and version; several joined by ``/`` (then a finding says so)."""
    return "/".join(sorted(filter(None, frozenset().union(*(side.versions for side in sides)))))


def runtime_from(*sides: Side) -> str:
    """Say whose runtime it was, ``device`` or ``bundle``; empty where there is no such choice."""
    told = {m.runtime_from for side in sides for r in side.timed if (m := r.measurement)}
    return "/".join(sorted(filter(None, told)))


def isa_way(*sides: Side) -> str:
    """How the CPUID of capped processes was made to trap; empty where they were not capped."""
    return "/".join(sorted({r.isa_way for side in sides for r in side.timed if r.isa_way}))


def delegated(side: Side) -> str:
    """``30/34``: nodes that a delegate took, of all; empty where the runtime does not tell."""
    return ", ".join(sorted(f"{taken}/{nodes}" for taken, nodes in side.delegations))


def size_mb(side: Side) -> float | None:
    """The file's own; of imported figures, whose file nobody has, what the runner printed; none of
    a variant that differs by arguments, and has no file."""
    if side.artifact is not None:
        return side.artifact.size_bytes / _MB if side.artifact.size_bytes else None
    printed = [r.measurement.model_size_bytes for r in side.timed if r.measurement is not None]
    return _median_mb([size for size in printed if size is not None])


def _median_mb(values: list[int]) -> float | None:
    return median(values) / _MB if values else None


def inputs_fed(side: Side, factors: Factors | None) -> str:
    """``1 × 224 × 224 × 3``, as it was fed under these factors; empty where nobody knows."""
    if side.artifact is None or factors is None:
        return ""
    shapes = [_fed(spec, factors) for spec in side.artifact.inputs]
    known = ", ".join(shapes) if all(shapes) else ""
    return "; ".join(each for each in (known, _called(side.artifact)) if each)


def _called(artifact: ArtifactRecord) -> str:
    """``signature encode``, and whose choice that was; empty where there is one way to call it."""
    if artifact.signature:
        return f"signature {artifact.signature}"
    if artifact.default_signature is None:
        return ""
    called = f"signature {artifact.default_signature}" if artifact.default_signature else "graph 0"
    return f"{called}, which the runtime takes by itself"


def _fed(spec: InputSpec, factors: Factors) -> str:
    """One input; empty where the factor ``input_size`` sets sizes that the record does not have."""
    size = factors.input_size
    if size and -1 not in spec.shape:
        return ""
    shape = " × ".join(str(size if each == -1 else each) for each in spec.at_batch(factors.batch))
    values = "" if spec.low is None else f" from {spec.low:g} to {spec.high:g}"
    return " ".join(word for word in (spec.name, shape or "one value", spec.dtype) if word) + values
