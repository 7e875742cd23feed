"""What one trial measured: plain values with their units in the names.

These are the records that flow from a runner's output (``runners``) through the journal
(``runs``) into the comparison (``analysis``). They hold figures only, never text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from orchestrator.figures import INFERENCE_TIME


class Outcome(str, Enum):
    """How a trial ended. Every trial ends in exactly one of these."""

    OK = "ok"
    FAILED = "failed"
    KILLED = "killed"
    TIMEOUT = "timeout"
    INCOMPATIBLE = "incompatible"


@dataclass(frozen=True, slots=True)
class Invocations:
    """Statistics over the successive inferences of one phase of one process.

    Times in microseconds, as ``benchmark_model`` defines them: ``std_us`` is the population
    standard deviation; ``first_us`` is the first inference of the phase. A runner that does not
    report a figure leaves it ``None``; nothing is filled in for it.
    """

    count: int
    first_us: float | None = None
    min_us: float | None = None
    max_us: float | None = None
    mean_us: float | None = None
    std_us: float | None = None
    p5_us: float | None = None
    median_us: float | None = None
    p95_us: float | None = None

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"a phase cannot have {self.count} invocations")

    @property
    def centre_us(self) -> float | None:
        """The median where the runner reports one, else the mean, else None."""
        return self.median_us if self.median_us is not None else self.mean_us


@dataclass(frozen=True, slots=True)
class Samples:
    """Statistics over what one process found of one figure, in that figure's unit.

    ``deviation`` is the population standard deviation. What a runner does not report is None. A
    figure that is not in the list of figures brings its ``unit`` along, and which way of it is
    ``better``: ``lower`` or ``higher``.
    """

    count: int
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    median: float | None = None
    deviation: float | None = None
    unit: str = ""
    better: str = ""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"a figure cannot be that of {self.count} samples")

    @property
    def centre(self) -> float | None:
        """The median where the runner reports one, else the mean, else None."""
        return self.median if self.median is not None else self.mean


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of the runner's process, in bytes.

    ``init_bytes`` and ``overall_bytes`` are growth of the peak resident set since the tool
    started, after initialisation and at the end; ``peak_bytes`` is the process's peak resident
    set. ``gpu_peak_bytes`` is the most that the runtime had allocated on a GPU. ``None`` where the
    runner does not say.
    """

    init_bytes: int | None = None
    overall_bytes: int | None = None
    peak_bytes: int | None = None
    gpu_peak_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Delegation:
    """What a delegate really took: nodes delegated of nodes in all; None where not told."""

    name: str | None = None
    delegated_nodes: int | None = None
    total_nodes: int | None = None


#: Kinds of operators in one profile, and characters of a kind's name: no network has as many, and
#: each stands in the journal.
MOST_OPERATORS, LONGEST_KIND = 1000, 200


@dataclass(frozen=True, slots=True)
class Operator:
    """All operators of one kind, as the runner's profiler names it: how many ran in an inference,
    and how long they took of it together, in microseconds."""

    kind: str
    count: float
    us: float


@dataclass(frozen=True, slots=True)
class Energy:
    """What a device consumed in the steady phase of one trial, in joules, and by which meter.

    All that the meter sees counts: the idle part of the machine, and copying the inputs in.
    ``window_s`` is how long the phase was.
    """

    source: str
    joules: float
    inferences: int
    window_s: float

    def __post_init__(self) -> None:
        if self.inferences < 1 or self.joules < 0:
            raise ValueError(f"{self.joules} J over {self.inferences} inferences is not an energy")

    @property
    def mj_per_inference(self) -> float:
        """Millijoules for one invocation of the model, whatever its batch."""
        return self.joules * 1e3 / self.inferences


@dataclass(frozen=True, slots=True)
class OutputSummary:
    """One output of one inference on real inputs that are the same in every process, in short.

    ``seen`` values of it were looked at; ``finite``, ``zeros`` and ``distinct`` count among them.
    ``mean``, ``deviation``, ``low`` and ``high`` are of the finite ones, in the real values that a
    quantized output stands for. ``step`` is the distance of two neighbouring values of such an
    output, None of any other. Distances of two ``sketch`` are about those of the values; it is
    empty where not all are finite. ``digest`` is equal where every byte is.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    seen: int
    finite: int
    zeros: int
    distinct: int
    mean: float | None
    deviation: float | None
    low: float | None
    high: float | None
    step: float | None
    sketch: tuple[float, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class Outputs:
    """What one process answered to those inputs: its first outputs, in the runtime's order.

    ``input_error`` is how far what the file can hold is from what was to be fed, as a share of it;
    ``problem`` says why there are no outputs, and is None where there are.
    """

    summaries: tuple[OutputSummary, ...] = ()
    input_error: float = 0.0
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Answers:
    """What one process answered to ``count`` samples of a data set, from the one at ``first`` of
    the draw on.

    The answers stand in the trial's raw log; ``digest`` is the SHA-256 of their lines.
    """

    first: int
    count: int
    digest: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """Everything one process of one runner measured on one variant.

    ``steady`` holds the times of the steady phase, the figure ``inference_us``; it is None where
    the trial has no time. ``figures`` holds what was found of every other figure by its name
    (:mod:`orchestrator.figures`). One of the two is there.
    ``steady_window_s`` is when the steady phase began and ended by the device's monotonic clock,
    where the runner tells. ``operators`` is what a profile trial found. ``runtime_from`` is whose
    the runtime was: the ``device``'s own, or out of the ``bundle`` that was pushed; None where
    there is no such choice, or nobody recorded it. ``outputs`` is what was computed, None of a
    runner that does not show it; ``answers`` what a trial of accuracy answered.
    """

    init_us: float | None
    first_us: float | None
    warmup: Invocations | None
    steady: Invocations | None
    memory: Memory | None = None
    model_size_bytes: int | None = None
    delegation: Delegation | None = None
    runtime_name: str | None = None
    runtime_version: str | None = None
    steady_window_s: tuple[float, float] | None = None
    operators: tuple[Operator, ...] = ()
    runtime_from: str | None = None
    figures: Mapping[str, Samples] = field(default_factory=dict)
    outputs: Outputs | None = None
    answers: Answers | None = None

    def __post_init__(self) -> None:
        if self.steady is None and not self.figures and self.answers is None:
            raise ValueError("a measurement without a time needs another figure, or answers")

    @property
    def timing(self) -> Invocations:
        """The times of the steady phase. Raises ValueError where the trial has none."""
        if self.steady is None:
            raise ValueError("this trial has no times")
        return self.steady

    def centre(self, figure: str) -> float | None:
        """Return what stands for this process of a figure, in its unit; None where it was not
        found."""
        if figure == INFERENCE_TIME.name:
            return None if self.steady is None else self.steady.centre_us
        found = self.figures.get(figure)
        return None if found is None else found.centre

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in a ``finished`` line of the journal."""
        data = asdict(self)
        for name in (
            "operators",
            "figures",
            "outputs",
            "answers",
        ):  # as lines were before there were any
            if not data[name]:
                del data[name]
        for found in data.get("figures", {}).values():
            if not found["better"]:  # one of the list
                del found["unit"], found["better"]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Measurement:
        """Read what :meth:`to_json` wrote; keys that are not a measurement's are ignored."""

        return cls(
            init_us=data.get("init_us"),
            first_us=data.get("first_us"),
            warmup=_part(Invocations, data.get("warmup")),
            steady=_part(Invocations, data["steady"]),
            memory=_part(Memory, data.get("memory")),
            model_size_bytes=data.get("model_size_bytes"),
            delegation=_part(Delegation, data.get("delegation")),
            runtime_name=data.get("runtime_name"),
            runtime_version=data.get("runtime_version"),
            steady_window_s=_window(data.get("steady_window_s")),
            operators=tuple(_made(Operator, each) for each in data.get("operators", ())),
            runtime_from=data.get("runtime_from"),
            figures={n: _made(Samples, each) for n, each in (data.get("figures") or {}).items()},
            outputs=_outputs(data.get("outputs")),
            answers=_part(Answers, data.get("answers")),
        )


def _outputs(data: Mapping[str, Any] | None) -> Outputs | None:
    if data is None:
        return None
    lists = ("shape", "sketch")
    summaries = (
        _made(OutputSummary, {**each, **{name: tuple(each.get(name) or ()) for name in lists}})
        for each in data.get("summaries", ())
    )
    return _made(Outputs, {**data, "summaries": tuple(summaries)})  # type: ignore[no-any-return]


def _window(value: Any) -> tuple[float, float] | None:
    return None if value is None else (float(value[0]), float(value[1]))


def _part(kind: Any, data: Any) -> Any:
    return None if data is None else _made(kind, data)


def _made(kind: Any, data: Mapping[str, Any]) -> Any:
    """A ``kind`` of what it knows in ``data``, which nearly always is all of it: a large journal is
    read one and a half times as fast by trying that first."""
    try:
        return kind(**data)
    except TypeError:
        return kind(**{name: data[name] for name in kind.__dataclass_fields__ if name in data})


@dataclass(frozen=True, slots=True)
class Finding:
    """Something the audit saw in a trial or a comparison: a code, a sentence and a remedy.

    ``forbids`` is true where the finding makes a comparison ``invalid``.
    """

    code: str
    message: str
    remedy: str
    forbids: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Finding:
        found: Finding = _made(cls, data)
        return found
