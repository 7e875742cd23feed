"""Reads what ``benchmark_model`` prints, of any version since 2018. Pure; never raises on text.

Source of the format: ``benchmark_model.cc``, ``benchmark_tflite_model.cc`` and
``stats_calculator.h`` of TensorFlow Lite / LiteRT. Numbers come from a default C++ stream, with
6 significant digits: ``18``, ``38364.6``, ``1.39218e+06``. LiteRT 2.x has a tool of its own by the
same name (``benchmark_litert_model.h``) and one in Python (``litert-benchmark``): both close with a
summary in hundredths of a millisecond, and the first has the lines of each phase as well.

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
    significant digits: compare with :meth:`size_agrees`. ``applied`` are the delegates that a line
    shows at work, by name, ``idle`` those of which one says that they took nothing. ``tool`` is the
    name of LiteRT's own tool where that wrote the log: ``timings`` are then those of its summary,
    rounded to hundredths of a millisecond.
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
    applied: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    tool: str = ""

    @property
    def delegate(self) -> str:
        """What computed, as far as the log tells: a delegate's name, or several; else ``none``, or
        empty where nothing is told.

        XNNPACK takes by itself what another delegate leaves, and counts where it is the only one.
        """
        found = [name for name in self.applied if name not in self.idle]
        others = sorted({name for name in found if name != XNNPACK})
        if others:
            return "+".join(others)
        if self.xnnpack_seen:
            return XNNPACK
        if self.idle:
            return "none"
        asked = sorted(name for name, key in _FLAGS.items() if self._flag(key))
        if self.parameters.get("External delegate path"):
            asked.append(_external(self.parameters["External delegate path"]))
        if asked:
            return "+".join(asked)
        return {True: XNNPACK, False: "none", None: ""}[self.use_xnnpack]

    def _flag(self, key: str) -> bool:
        return any(v == "1" for name, v in self.parameters.items() if name.lower() == key)

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
    """Read everything that the two streams of one process say."""
    scan = _Scan()
    for name, text in (("stdout", stdout), ("stderr", stderr)):
        # not splitlines(): it also splits at form feeds and the like, inside a path
        for number, line in enumerate(text.split("\n"), start=1):
            scan.line(f"{name} line {number}", line.strip())
    return scan.result()


#: The delegate that is applied by default.
XNNPACK = "xnnpack"
#: Delegates that are asked for by a switch of their own, and the parameter's name in lower case.
_FLAGS = {
    "gpu": "use gpu",
    "nnapi": "use nnapi",
    "hexagon": "use hexagon",
    "coreml": "use coreml",
    "ynnpack": "use ynnpack",
    "npu": "use npu",
}
_LEVEL = re.compile(
    r"(?:(INFO|VERBOSE|WARN|WARNING|ERROR|FATAL): ?)?(?:\[[\w./+-]{1,200}:\d{1,6}\] ?)?(.*)",
    re.DOTALL,
)
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
    r"Replacing (?P<taken>[0-9]{1,9})(?: out of (?P<of>[0-9]{1,9}))? node\(s\) with delegate "
    r"\((?P<name>[^)]{1,100})\).*"
)
_DELEGATE = re.compile(
    r"(?:Created TensorFlow Lite |\S{1,100} delegate created|Explicitly applied |Applied |Though "
    r"|Replacing [0-9]+ |Going to apply ).*"
)
_TOOK_NOTHING = re.compile(r"Though (?P<name>\S{1,100}) delegate is .*will not be executed.*")
#: Lines that name a delegate which was made or applied.
_APPLIED = (
    re.compile(r"(?:Explicitly applied|Applied) (?P<name>\S{1,100}) delegate\b.*"),
    re.compile(r"(?P<name>\S{1,100}) delegate created\b.*"),
    re.compile(r"Created TensorFlow Lite (?P<name>\S{1,100}) delegate for CPU\b.*"),
    re.compile(r"Created TensorFlow Lite delegate for (?P<name>[^.]{1,100})\..*"),
    _REPLACING,
)
#: What the Python tool logs before it begins.
_MODEL = re.compile(r"Model: {2,}(?P<path>\S.*)")
_THREADS = re.compile(r"Num threads: {2,}(?P<threads>[0-9]{1,9})")
_ACCELERATORS = re.compile(r"Accelerators: +(?P<names>[A-Z]{1,9}(?: \| [A-Z]{1,9}){0,3})")

#: The summary of LiteRT's own tools: milliseconds, and counts of runs.
_SUMMARY = re.compile(
    rf"(?P<name>[A-Z][a-z]+ ?(?:\([a-z0-9]+\)|[a-z]+)): +(?P<value>{_VALUE})(?: ms)?"
    rf"(?: \((?P<runs>{_VALUE}) runs\))?"
)
_FOOTPRINT = re.compile(rf"(?P<name>[A-Z][a-z]+) (?:footprint|memory): +(?P<value>{_VALUE}) MB")

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
    """A figure cannot be read as one; the message says which."""


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
        #: Nodes that each delegate took, and of how many.
        self.nodes: dict[str, tuple[int, int | None]] = {}
        self.applied: list[str] = []
        self.idle: list[str] = []
        #: The summary of LiteRT's tools: by name, in microseconds, and how many runs it is of.
        self.summary: dict[str, float] = {}
        self.runs: dict[str, int] = {}
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
        elif text.startswith("Loading model from: "):
            self.parameters.setdefault("Graph", text.removeprefix("Loading model from: "))
        elif (told := _MODEL.fullmatch(text)) is not None:
            self.parameters.setdefault("Graph", told["path"])
        elif (told := _THREADS.fullmatch(text)) is not None:
            self.parameters.setdefault("Num threads", told["threads"])
        elif (told := _ACCELERATORS.fullmatch(text)) is not None:
            named = [each.lower() for each in told["names"].split(" | ")]
            self.applied += [each for each in named if each != "cpu"] or named
            self.found["tool"] = "litert-benchmark"
        elif _DELEGATE.fullmatch(text) and "delegate" in text:
            self.delegate_lines.append(text)
            self._delegated(text)

    def _delegated(self, text: str) -> None:
        idle = _TOOK_NOTHING.fullmatch(text)
        if idle is not None:
            name = self._name_of(idle["name"])
            self.idle += [name] if name not in (XNNPACK, "") else []
            self.nodes.setdefault(name, (0, None))
            return
        matched = next((m for p in _APPLIED if (m := p.fullmatch(text)) is not None), None)
        name = "" if matched is None else self._name_of(matched["name"])
        if matched is None or not name:
            return
        self.applied.append(name)
        if matched.re is _REPLACING:  # one line a subgraph
            taken, of = self.nodes.get(name, (0, 0))
            total = None if matched["of"] is None or of is None else of + int(matched["of"])
            self.nodes[name] = taken + int(matched["taken"]), total

    def _name_of(self, printed: str) -> str:
        """A delegate's name as we write it; empty for what is none of hardware or kernels."""
        name = re.sub(r"^TfLite|Delegate(?:V?\d*)$", "", printed).lower()
        if name in ("", "flex", "select tf ops", "default-nodelegate", "default-no"):
            return ""
        if name == "external":
            path = self.parameters.get("External delegate path", "")
            return _external(path) if path else name
        if name == "nnapi":
            accelerator = self.parameters.get("NNAPI accelerator name", "")
            return "-".join(filter(None, (name, _word(accelerator))))
        return _word(name)

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

    def _milliseconds(self, matched: re.Match[str]) -> None:
        name = matched["name"]
        if name in self.summary:
            raise _BadFigureError("a second time in one log")
        self.summary[name] = round(_number(matched["value"]) * 1e3, 3)
        if matched["runs"] is not None:
            self.runs[name] = _count_of(matched["runs"])

    def _footprint(self, matched: re.Match[str]) -> None:
        name = {"Init": "init_bytes", "Overall": "overall_bytes", "Peak": "peak_bytes"}
        self.memory[name[matched["name"]]] = _to_bytes(matched["value"], MIB)

    def _summed_up(self) -> None:
        """Take what LiteRT's summary tells where the lines of the phases do not tell it better."""
        told, means = self.summary, ("Warmup (avg)", "Inference (avg)")
        if not told.keys() >= {*means, "Model initialization"} or "timings" in self.found:
            return
        warmup, steady = (told[name] for name in means)
        init = self.found.get("session_init_us", told["Model initialization"])
        first = told.get("Warmup (first)")
        self.found["timings"] = Timings(init, first, warmup, steady)
        python = "Inference (median)" in told
        self.found["tool"] = "litert-benchmark" if python else "benchmark_model (LiteRT)"
        if self.phases:
            return
        counts = [self.runs.get(name) for name in means]
        if counts[0] is None or counts[1] is None:
            return
        of = {n: told.get(f"Inference ({n})") for n in ("min", "max", "std", "p5", "median", "p95")}
        self.phases = [
            PhaseLog(
                None,
                Invocations(counts[0], first_us=first, mean_us=warmup)
                if counts[0]
                else Invocations(0),
            ),
            PhaseLog(
                None,
                Invocations(
                    counts[1],
                    mean_us=steady,
                    min_us=of["min"],
                    max_us=of["max"],
                    # the Python tool's is of a sample
                    std_us=None if python else of["std"],
                    p5_us=of["p5"],
                    median_us=of["median"],
                    p95_us=of["p95"],
                )
                if counts[1]
                else Invocations(0),
            ),
        ]

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
        self._summed_up()
        log = self._collected()
        taken, of = self.nodes.get(log.delegate, (None, None))
        return replace(log, delegated_nodes=taken, total_nodes=of)

    def _collected(self) -> BenchmarkLog:
        return BenchmarkLog(
            applied=tuple(dict.fromkeys(self.applied)),
            idle=tuple(dict.fromkeys(self.idle)),
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
    ("Model initialization: ", _SUMMARY, _Scan._milliseconds),
    ("Warmup (", _SUMMARY, _Scan._milliseconds),
    ("Inference (", _SUMMARY, _Scan._milliseconds),
    ("Init footprint: ", _FOOTPRINT, _Scan._footprint),
    ("Overall footprint: ", _FOOTPRINT, _Scan._footprint),
    ("Peak memory: ", _FOOTPRINT, _Scan._footprint),
)


def _word(text: str) -> str:
    """``text`` as a part of a factor's value."""
    return re.sub(r"[^a-z0-9_.]+", "-", text.lower()).strip("-.")[:60]


def _external(path: str) -> str:
    """A delegate out of a library of its own, by that library's name."""
    stem = re.split(r"[/\\]", path)[-1].partition(".")[0].removeprefix("lib")
    return "-".join(filter(None, ("external", _word(stem))))


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
        raise _BadFigureError(f"{text[:40]!r} is not a figure")
    return value


def _signed(text: str) -> float:
    """A bound of a phase; ``--dry_run`` prints -1."""
    return -_number(text[1:]) if text.startswith("-") else _number(text)


def _count_of(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise _BadFigureError(f"{text[:40]!r} is not a count")
    return int(text)


def _to_bytes(text: str, unit: int) -> int:
    return round(_number(text) * unit)
