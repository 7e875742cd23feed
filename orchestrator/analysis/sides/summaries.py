"""The columns other than the speed-up: sizes, memory, versions, microarchitecture. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from orchestrator.analysis.sides.outputs import checked_by, outputs_of
from orchestrator.analysis.sides.side import Side
from orchestrator.frameworks.registry import find_runner
from orchestrator.runs.records import ArtifactRecord, RunRecord
from orchestrator.trial import Factors, InputSpec

_MB = 1e6
#: The suite of a run that was imported.
IMPORTED = "imported"


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


def looked_at(run: RunRecord, *sides: Side) -> str:
    """``once by ai-edge-litert 2.3.0``: who looked at what was computed, and that nobody did, where
    the runner shows no outputs; empty where it does, and where nothing was measured here."""
    ran = {r.trial.factors.runner for side in sides for r in side.timed}
    blind = [name for name in sorted(ran) if (of := find_runner(name)) and not of.shows_outputs]
    if not blind or run.suite == IMPORTED:
        return ""
    whose = f"in the place of {blind[0]}, which shows none"
    unseen = [side for side in sides if outputs_of(side) is None]
    looked = [checked_by(run, side) for side in unseen]
    if all(outputs is not None for outputs, _ in looked):
        return f"once by {'/'.join(sorted({by for _, by in looked}))}, {whose}"
    return f"by nobody: {blind[0]} shows none, and {_why_not(run, unseen)}"


def _why_not(run: RunRecord, sides: Sequence[Side]) -> str:
    """Why no other runtime looked at the files of some side."""
    for side in sides:
        for record in side.records[:1]:
            check = run.check_of(record.trial.device, record.artifact_sha256 or "")
            if check is not None and check.reason:
                return f"another runtime could not look at {side.scheme}: {check.reason}"
            if check is not None and check.measurement and check.measurement.outputs:
                problem = check.measurement.outputs.problem
                if problem:
                    return f"another runtime could not tell of {side.scheme}: {problem}"
    return "no other runtime looked in its place"


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
