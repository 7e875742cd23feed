"""The readers of hyperfine's and pyperf's JSON: a process of theirs is a process of ours.

Their own means and deviations are not taken: each run's time, or its values, are, and the intervals
are those of the analysis.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.factors import untold
from orchestrator.frameworks.logs import LoggedProcess, LogReader
from orchestrator.frameworks.reading.child_output import statistics_of
from orchestrator.frameworks.reading.judgement import failed
from orchestrator.frameworks.runner import Reading
from orchestrator.measurement import Measurement, Outcome

HYPERFINE, PYPERF = "hyperfine", "pyperf"
#: pyperf's, of files that this reads.
_PYPERF_VERSION = "1."
_MOST_RUNS = 100_000


def read_logs(name: str, text: str) -> list[LoggedProcess]:
    """Return every process in the file called ``name``, none where it is neither tool's.

    Raises UsageError where the file is one of theirs and damaged, or tells no single times.
    """
    if not text.lstrip().startswith("{"):
        return []
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return []
    if not isinstance(data, dict):
        return []
    try:
        if _is_hyperfine(data):
            found = list(_of_hyperfine(data["results"]))
        elif _is_pyperf(data):
            found = list(_of_pyperf(data))
        else:
            return []
    except _DamagedError as exc:
        raise UsageError(f"{name}: {exc}") from exc
    if len(found) > _MOST_RUNS:
        raise UsageError(f"{name}: holds {len(found)} runs, more than {_MOST_RUNS}")
    return found


LOGS = LogReader(
    read=read_logs,
    known_by="runs of hyperfine (--export-json) or pyperf (-o)",
    takes="hyperfine's and pyperf's JSON",
)


class _DamagedError(ValueError):
    """The file has not the shape that its tool gives it; the message says where."""


def _process(tool: str, begins: str, graph: str, reading: Reading, said: object) -> LoggedProcess:
    return LoggedProcess(
        begins=begins,
        text=json.dumps(said),
        factors=untold(tool),
        reading=reading,
        graph=graph,
    )


def _reading(times_us: Sequence[float]) -> Reading:
    steady = statistics_of(times_us)
    measured = Measurement(init_us=None, first_us=None, warmup=None, steady=steady)
    return Reading(Outcome.OK, measured, steady_us=tuple(times_us))


def _us(value: object, where: str) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    seconds = float(value) if is_number else math.nan  # type: ignore[arg-type]  # it is a number
    if not 0 < seconds < math.inf:
        raise _DamagedError(f"{where}: {str(value)[:40]!r} is not a time in seconds")
    return seconds * 1e6


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise _DamagedError(f"{where} is not a list")
    return value


def _objects(value: object, where: str) -> Iterator[Mapping[str, Any]]:
    for number, each in enumerate(_list(value, where), 1):
        if not isinstance(each, dict):
            raise _DamagedError(f"{where}, {number}: is not an object")
        yield each


# -- hyperfine ------------------------------------------------------------------------------------


def _is_hyperfine(data: Mapping[str, Any]) -> bool:
    results = data.get("results")
    first = results[0] if isinstance(results, list) and results else None
    return isinstance(first, dict) and "command" in first


def _of_hyperfine(results: object) -> Iterator[LoggedProcess]:
    for number, each in enumerate(_objects(results, "results"), 1):
        command = each.get("name") or each.get("command")
        where = f"command {number}"
        if not isinstance(command, str):
            raise _DamagedError(f"{where} has no name")
        for run, (seconds, code) in enumerate(_hyperfine_runs(each, where), 1):
            begins = f"{where}, run {run}"
            if code in (0, None):
                reading = _reading([_us(seconds, begins)])
            else:
                reading = failed(f"{begins}: exit code {code}")
            said = {"command": command, "run": run, "seconds": seconds, "exit_code": code}
            yield _process(HYPERFINE, begins, command, reading, said)


def _hyperfine_runs(each: Mapping[str, Any], where: str) -> list[tuple[object, object]]:
    """Return the wall time and the exit code of each run: of hyperfine 1, or of 2."""
    if "measurements" in each:
        runs = list(_objects(each["measurements"], f"{where}, measurements"))
        return [(_wall(run, where), run.get("exit_code", 0)) for run in runs]
    if "times" not in each:
        raise _DamagedError(
            f"{where} has no times of single runs, and a mean alone says too little"
        )
    times = _list(each["times"], f"{where}, times")
    codes = _list(each.get("exit_codes") or [0] * len(times), f"{where}, exit_codes")
    if len(codes) != len(times):
        raise _DamagedError(f"{where} has {len(times)} times and {len(codes)} exit codes")
    return list(zip(times, codes, strict=True))


def _wall(run: Mapping[str, Any], where: str) -> object:
    wall = run.get("time_wall_clock")
    if not isinstance(wall, dict) or wall.get("unit") != "second":
        raise _DamagedError(f"{where}: a run has no wall-clock time in seconds")
    return wall.get("value")


# -- pyperf ---------------------------------------------------------------------------------------


def _is_pyperf(data: Mapping[str, Any]) -> bool:
    return isinstance(data.get("benchmarks"), list) and isinstance(data.get("version"), str)


def _of_pyperf(data: Mapping[str, Any]) -> Iterator[LoggedProcess]:
    version = str(data["version"])
    if not version.startswith(_PYPERF_VERSION):
        raise _DamagedError(
            f"is written by another version of pyperf (format {version[:20]}); "
            f"`python3 -m pyperf convert` makes it one of {_PYPERF_VERSION}x"
        )
    shared = _metadata(data)
    for number, benchmark in enumerate(_objects(data["benchmarks"], "benchmarks"), 1):
        told = {**shared, **_metadata(benchmark)}
        where = f"benchmark {number}"
        graph = told.get("name")
        if not isinstance(graph, str):
            raise _DamagedError(f"{where} has no name")
        if told.get("unit", "second") != "second":
            raise _DamagedError(f"{where} ({graph[:60]}) is in {told['unit']}, not in seconds")
        for run, each in enumerate(_objects(benchmark.get("runs"), f"{where}, runs"), 1):
            values = each.get("values")
            if not values:
                continue  # a process that calibrates the number of loops
            begins = f"{where}, run {run}"
            times = [_us(value, begins) for value in _list(values, f"{begins}, values")]
            yield _process(PYPERF, begins, graph, _reading(times), {"name": graph, **each})


def _metadata(of: Mapping[str, Any]) -> Mapping[str, Any]:
    found = of.get("metadata")
    return found if isinstance(found, dict) else {}
