"""Reads what ``benchmark_model`` prints, of any version since 2018. Pure; never raises on text.

Source of the format: ``benchmark_model.cc``, ``benchmark_tflite_model.cc`` and
``stats_calculator.h`` of TensorFlow Lite / LiteRT. Numbers come from a default C++ stream, with
6 significant digits: ``18``, ``38364.6``, ``1.39218e+06``.

What is on a line that looks like a figure and is not one (``nan``, a line cut in the middle, a
negative time) goes into ``problems`` with its place; nothing is skipped silently.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.measurement import (
    LONGEST_KIND,
    MOST_OPERATORS,
    Invocations,
    Memory,
    Operator,
)

#: The tool's memory "MB" are KiB / 1024; its file size "MB" are bytes / 10⁶.
MIB = 1024 * 1024
MEGABYTE = 1_000_000
#: Digits a default C++ stream prints of a floating-point number.
STREAM_DIGITS = 6


@dataclass(frozen=True)
class PhaseRequest:
    """A "Running benchmark for at least …" line; None where that version does not say."""

    min_runs: int
    min_seconds: float | None = None
    max_seconds: float | None = None


@dataclass(frozen=True)
class PhaseLog:
    """One phase: what was asked, and what came of it. ``stats`` is None if it never ended."""

    request: PhaseRequest | None
    stats: Invocations | None


@dataclass(frozen=True)
class Timings:
    """The closing line. ``first_us`` is None in the versions that do not print it."""

    init_us: float
    first_us: float | None
    warmup_mean_us: float
    steady_mean_us: float


@dataclass(frozen=True)
class MemoryStatus:
    """The process's resident memory at the end, in bytes (the tool prints whole MiB)."""

    rss_bytes: int | None = None
    anonymous_bytes: int | None = None
    file_bytes: int | None = None


@dataclass(frozen=True)
class BenchmarkLog:
    """Everything found in one log. Absent lines leave ``None`` or empty tuples.

    ``parameters`` are the ``Name: [value]`` lines. ``model_size_bytes`` is rounded to 6
    significant digits: compare with :meth:`size_agrees`.
    """

    timings: Timings | None = None
    phases: tuple[PhaseLog, ...] = ()
    memory: Memory | None = None
    memory_status: MemoryStatus | None = None
    model_size_bytes: int | None = None
    session_init_us: float | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    unconsumed_flags: str | None = None
    delegate_lines: tuple[str, ...] = ()
    delegated_nodes: int | None = None
    total_nodes: int | None = None
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    operators: tuple[Operator, ...] = ()

    @property
    def warmup(self) -> Invocations | None:
        return self.phases[0].stats if self.phases else None

    @property
    def steady(self) -> Invocations | None:
        return self.phases[1].stats if len(self.phases) > 1 else None

    @property
    def threads(self) -> int | None:
        """CPU threads the tool says it uses; None where it was left to its default."""
        for name in ("#threads used for CPU inference", "Num threads"):
            value = self.parameters.get(name, "")
            if re.fullmatch(r"[0-9]{1,9}", value):
                return int(value)
        return None

    @property
    def use_xnnpack(self) -> bool | None:
        """The flag as the tool understood it; None where it was not given."""
        return {"0": False, "1": True}.get(self.parameters.get("Use xnnpack", ""))

    @property
    def xnnpack_seen(self) -> bool:
        """Whether a line shows XNNPACK at work, or tried; the flag alone shows nothing."""
        return any("XNNPACK" in line.upper() for line in self.delegate_lines)

    def size_agrees(self, size_bytes: int) -> bool:
        """Whether the file of ``size_bytes`` would have been printed as this log prints it."""
        printed = self.model_size_bytes
        return printed is not None and printed == round(float(stream(size_bytes / 1e6)) * MEGABYTE)


def stream(value: float) -> str:
    """``value`` as a default C++ stream prints it."""
    return f"{value:.{STREAM_DIGITS}g}"


def parse_benchmark_log(stdout: str, stderr: str = "") -> BenchmarkLog:
    """Everything that the two streams of one process say."""
    scan = _Scan()
    for name, text in (("stdout", stdout), ("stderr", stderr)):
        # not splitlines(): it also splits at form feeds and the like, inside a path
        for number, line in enumerate(text.split("\n"), start=1):
            scan.line(f"{name} line {number}", line.strip())
    return scan.result()


_LEVEL = re.compile(r"(?:(INFO|VERBOSE|WARN|WARNING|ERROR|FATAL): ?)?(.*)", re.DOTALL)
_VALUE = r"[^\s,=()]+"
_NUMBER = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_RUNNING = re.compile(
    rf"Running benchmark for (?:at least )?({_VALUE}) iterations"
    rf"(?: and at least ({_VALUE}) seconds)?"
    rf"(?: but terminate if exceeding ({_VALUE}) seconds)?\.?"
)
_COUNT = re.compile(
    rf"count=(?P<count>{_VALUE})"
    rf"(?: first=(?P<first>{_VALUE}) curr={_VALUE} min=(?P<min>{_VALUE}) max=(?P<max>{_VALUE})"
    rf" avg=(?P<mean>{_VALUE}) std=(?P<std>{_VALUE})"
    rf"| curr=(?P<only>{_VALUE})(?P<same>\(all same\))?)?"
    rf"(?: p5=(?P<p5>{_VALUE}) median=(?P<median>{_VALUE}) p95=(?P<p95>{_VALUE}))?"
)
_TIMINGS = re.compile(
    rf"Inference timings in us: Init: ({_VALUE}), First inference: ({_VALUE}), "
    rf"Warmup \(avg\): ({_VALUE}), Inference \(avg\): ({_VALUE})"
)
_OLD_TIMINGS = re.compile(
    rf"Average inference timings in us: Warmup: ({_VALUE}), Init: ({_VALUE}), "
    rf"(?:Inference|no stats): ({_VALUE})"
)
_MEMORY = re.compile(rf"[^:]*\(MB\): init=({_VALUE}) overall=({_VALUE})")
_PEAK = re.compile(rf"Overall peak memory footprint \(MB\) via periodic monitoring: ({_VALUE})")
_SIZE = re.compile(rf"The input model file size \(MB\): ({_VALUE})")
_SESSION = re.compile(rf"Initialized session in ({_VALUE}?)ms\.?")
_STATUS = re.compile(rf"[-+] (VmRSS|RssAnnon|RssFile \+ RssShmem) *: ({_VALUE}) MB")
_UNCONSUMED = re.compile(r"Unconsumed cmdline flags:(.*)")
_REPLACING = re.compile(
    r"Replacing ([0-9]{1,9}) out of ([0-9]{1,9}) node\(s\) with delegate \([^)]*XNNPack.*"
)
_DELEGATE = re.compile(
    r"(?:Created TensorFlow Lite |XNNPACK delegate created|Explicitly applied |Applied |Though "
    r"|Replacing [0-9]+ out of |Going to apply ).*"
)
_TOOK_NOTHING = re.compile(r"Though XNNPACK delegate is .*will not be executed.*")

#: The operator profile: of the regular runs, and in it the table by kind of operator.
_PROFILE = "Operator-wise Profiling Info for Regular Benchmark Runs"
_BY_KIND = re.compile(r"=+ Summary by node type =+")
_OPERATOR = re.compile(
    rf"(?P<kind>[^\t]+)\t *(?P<count>{_VALUE})\t *(?P<ms>{_VALUE})\t *{_VALUE}%\t *{_VALUE}%"
    rf"\t *{_VALUE}\t *{_VALUE}"
)

_STATUS_FIELDS = {
    "VmRSS": "rss_bytes",
    "RssAnnon": "anonymous_bytes",
    "RssFile + RssShmem": "file_bytes",
}
#: No figure of this tool is this large, and multiplying it by a unit stays finite.
_TOO_LARGE = 1e18


class _BadFigureError(ValueError):
    """A figure that is no figure; the message says which."""


class _Scan:
    """Collects the figures line by line. A line that begins like a figure must be one."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self.phases: list[PhaseLog] = []
        self.memory: dict[str, int] = {}
        self.status: dict[str, int] = {}
        self.parameters: dict[str, str] = {}
        self.delegate_lines: list[str] = []
        self.warnings: list[str] = []
        self.errors: list[str] = []
        self.problems: list[str] = []
        self.operators: list[Operator] = []
        #: None outside of the profile, then whether the table by kind has begun.
        self._by_kind: bool | None = None

    def line(self, place: str, line: str) -> None:
        matched = _LEVEL.fullmatch(line)
        level, text = matched.groups() if matched else (None, line)
        if level in ("ERROR", "FATAL"):
            self.errors.append(text)
        elif level in ("WARN", "WARNING"):
            self.warnings.append(text)
        if text.startswith(_PROFILE):
            self._by_kind = False
        if self._by_kind is not None and self._profile(place, text):
            return
        for start, pattern, take in _FIGURES:
            if text.startswith(start):
                self._figure(place, text, pattern, take)
                return
        self._remark(text)

    def _profile(self, place: str, text: str) -> bool:
        """Whether the line is of the table by kind. That ends at the first one that has no tab."""
        if _BY_KIND.fullmatch(text):
            self._by_kind = True
        elif self._by_kind and "\t" in text:
            if not text.startswith("[Node type]"):
                self._figure(place, text, _OPERATOR, _Scan._operator)
        elif self._by_kind:
            self._by_kind = None
        return bool(self._by_kind)

    def _operator(self, matched: re.Match[str]) -> None:
        kind, count, ms = matched.groups()
        if len(kind) > LONGEST_KIND or len(self.operators) >= MOST_OPERATORS:
            raise _BadFigureError("more than any profile has")
        self.operators.append(Operator(kind.strip(), _count_of(count), round(_number(ms) * 1e3, 3)))

    def _figure(
        self,
        place: str,
        text: str,
        pattern: re.Pattern[str],
        take: Callable[[_Scan, re.Match[str]], None],
    ) -> None:
        try:
            take(self, _whole_line(pattern, text))
        except _BadFigureError as bad:
            self.problems.append(f"{place}: {bad}: {text[:200]!r}")

    def _remark(self, text: str) -> None:
        name, is_parameter, value = text.partition(": [")
        if is_parameter and value.endswith("]"):
            self.parameters.setdefault(name.strip(), value[:-1])
        elif _DELEGATE.fullmatch(text) and "delegate" in text:
            self.delegate_lines.append(text)
            self._delegated(text)

    def _delegated(self, text: str) -> None:
        replacing = _REPLACING.fullmatch(text)
        if replacing is not None:  # one line a subgraph
            delegated, total = int(replacing[1]), int(replacing[2])
            self.found["delegated_nodes"] = self.found.get("delegated_nodes", 0) + delegated
            self.found["total_nodes"] = self.found.get("total_nodes", 0) + total
        elif _TOOK_NOTHING.fullmatch(text):
            self.found.setdefault("delegated_nodes", 0)

    def _once(self, name: str, value: object) -> None:
        if name in self.found:
            raise _BadFigureError("a second time in one log")
        self.found[name] = value

    def _count(self, matched: re.Match[str]) -> None:
        stats = _invocations(matched)
        if self.phases and self.phases[-1].stats is None:
            self.phases[-1] = replace(self.phases[-1], stats=stats)
        else:
            self.phases.append(PhaseLog(None, stats))

    def _running(self, matched: re.Match[str]) -> None:
        runs, seconds, limit = matched.groups()
        request = PhaseRequest(
            _count_of(runs),
            None if seconds is None else _signed(seconds),
            None if limit is None else _signed(limit),
        )
        self.phases.append(PhaseLog(request, None))

    def _timings(self, matched: re.Match[str]) -> None:
        self._once("timings", Timings(*(_number(text) for text in matched.groups())))

    def _old_timings(self, matched: re.Match[str]) -> None:
        warmup, init, steady = (_number(text) for text in matched.groups())
        self._once("timings", Timings(init, None, warmup, steady))

    def _memory(self, matched: re.Match[str]) -> None:
        init, overall = (_to_bytes(text, MIB) for text in matched.groups())
        if "init_bytes" in self.memory:
            raise _BadFigureError("a second time in one log")
        self.memory.update(init_bytes=init, overall_bytes=overall)

    def _peak(self, matched: re.Match[str]) -> None:
        self.memory["peak_bytes"] = _to_bytes(matched[1], MIB)

    def _size(self, matched: re.Match[str]) -> None:
        self._once("model_size_bytes", _to_bytes(matched[1], MEGABYTE))

    def _session(self, matched: re.Match[str]) -> None:
        self._once("session_init_us", _number(matched[1]) * 1e3)

    def _memory_status(self, matched: re.Match[str]) -> None:
        self.status[_STATUS_FIELDS[matched[1]]] = _to_bytes(matched[2], MIB)

    def _unconsumed(self, matched: re.Match[str]) -> None:
        self.found["unconsumed_flags"] = matched[1].strip() or "(none named)"

    def result(self) -> BenchmarkLog:
        return BenchmarkLog(
            phases=tuple(self.phases),
            memory=Memory(**self.memory) if self.memory else None,
            memory_status=MemoryStatus(**self.status) if self.status else None,
            parameters=self.parameters,
            delegate_lines=tuple(dict.fromkeys(self.delegate_lines)),
            warnings=tuple(self.warnings),
            errors=tuple(self.errors),
            problems=tuple(self.problems),
            operators=tuple(self.operators),
            **self.found,
        )


#: How a line with a figure begins, how all of it must look, and who takes it.
_FIGURES: tuple[tuple[str, re.Pattern[str], Callable[[_Scan, re.Match[str]], None]], ...] = (
    ("count=", _COUNT, _Scan._count),
    ("Running benchmark for", _RUNNING, _Scan._running),
    ("Inference timings in us:", _TIMINGS, _Scan._timings),
    ("Average inference timings in us:", _OLD_TIMINGS, _Scan._old_timings),
    ("Memory footprint delta from the start", _MEMORY, _Scan._memory),
    ("Peak memory footprint (MB)", _MEMORY, _Scan._memory),
    ("Overall peak memory footprint", _PEAK, _Scan._peak),
    ("The input model file size", _SIZE, _Scan._size),
    ("Initialized session in", _SESSION, _Scan._session),
    ("- VmRSS ", _STATUS, _Scan._memory_status),
    ("+ Rss", _STATUS, _Scan._memory_status),
    ("Unconsumed cmdline flags", _UNCONSUMED, _Scan._unconsumed),
)


def _whole_line(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    matched = pattern.fullmatch(text)
    if matched is None:
        raise _BadFigureError("not as any known version prints it")
    return matched


def _invocations(matched: re.Match[str]) -> Invocations:
    part = matched.groupdict()
    count = _count_of(part["count"])
    if count == 0:
        return Invocations(0)
    percentiles = [None if part[p] is None else _number(part[p]) for p in ("p5", "median", "p95")]
    if part["only"] is not None:
        if (count == 1) == (part["same"] is not None):
            raise _BadFigureError("one value for many inferences")
        only = _number(part["only"])
        return Invocations(count, only, only, only, only, 0.0, *percentiles)
    if part["first"] is None:
        raise _BadFigureError("a count above 0 with no figures")
    five = (_number(part[name]) for name in ("first", "min", "max", "mean", "std"))
    return Invocations(count, *five, *percentiles)


def _number(text: str) -> float:
    """A figure that is finite and not negative, as a C++ stream prints it."""
    value = float(text) if _NUMBER.fullmatch(text) else math.inf
    if value > _TOO_LARGE:
        raise _BadFigureError(f"{text[:40]!r} is no figure")
    return value


def _signed(text: str) -> float:
    """A bound of a phase; ``--dry_run`` prints -1."""
    return -_number(text[1:]) if text.startswith("-") else _number(text)


def _count_of(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise _BadFigureError(f"{text[:40]!r} is no count")
    return int(text)


def _to_bytes(text: str, unit: int) -> int:
    return round(_number(text) * unit)
