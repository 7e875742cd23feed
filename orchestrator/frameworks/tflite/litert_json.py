"""The JSON that ``litert-benchmark --result_json`` writes → what its log would say. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.frameworks.tflite.benchmark_log import BenchmarkLog, PhaseLog, Timings
from orchestrator.frameworks.tflite.log_processes import Process
from orchestrator.measurement import Invocations
from orchestrator.shape import NUMBER, TEXT, WHOLE, Shape, problem

#: What the tool is called as a runner of imported figures.
TOOL = "litert-benchmark"

_TIMES = ("init", "warmup_first", "warmup_avg", "avg", "min", "max", "median", "p5", "p95")
_SHAPE: Shape = {
    **dict.fromkeys(("model", "signature"), TEXT),
    "accelerators": [TEXT],
    "num_threads": WHOLE,
    "latency": {
        **dict.fromkeys((f"{name}_ms" for name in _TIMES), NUMBER),
        **dict.fromkeys(("num_runs", "num_warmup_runs"), WHOLE),
    },
}
_NEEDED = ("init_ms", "warmup_avg_ms", "avg_ms", "num_runs", "num_warmup_runs")


def summaries(name: str, text: str) -> list[tuple[Process, BenchmarkLog]] | None:
    """Return what each summary in the file called ``name`` says, one or a list of them; None where
    the text is nothing of the kind. Raises UsageError where it is damaged."""
    if not text.lstrip().startswith(("{", "[")) or '"latency"' not in text:
        return None
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    each = data if isinstance(data, list) else [data]
    if not all(isinstance(one, dict) and isinstance(one.get("latency"), dict) for one in each):
        return None
    found = []
    for number, one in enumerate(each, 1):
        place = f"summary {number}, " if len(each) > 1 else ""
        wrong = problem(one, _SHAPE)
        missing = [key for key in _NEEDED if one["latency"].get(key) is None]
        if wrong or missing:
            what = (
                f"{wrong[0].lstrip('.')} is not {wrong[1]}" if wrong else f"no latency.{missing[0]}"
            )
            raise UsageError(f"{name}: {place}not a summary of litert-benchmark ({what})")
        found.append((Process(place, 1, json.dumps(one, indent=1)), _log(one)))
    return found


def _log(one: Mapping[str, Any]) -> BenchmarkLog:
    latency = one["latency"]

    def us(name: str) -> float | None:
        value = latency.get(f"{name}_ms")
        return None if value is None or value < 0 else round(value * 1e3, 3)

    problems = [f"{name}_ms is negative" for name in _TIMES if (latency.get(f"{name}_ms") or 0) < 0]
    problems += [f"{n} is negative" for n in ("num_runs", "num_warmup_runs") if latency[n] < 0]
    warmups, runs = max(0, latency["num_warmup_runs"]), max(0, latency["num_runs"])
    steady = Invocations(
        runs,
        mean_us=us("avg"), min_us=us("min"), max_us=us("max"), median_us=us("median"),
        p5_us=us("p5"), p95_us=us("p95"),
    )  # fmt: skip
    warmup = Invocations(warmups, first_us=us("warmup_first"), mean_us=us("warmup_avg"))
    parameters = {"Graph": one["model"]} if one.get("model") else {}
    threads = one.get("num_threads")
    names = [name.lower() for name in one.get("accelerators") or ()]
    return BenchmarkLog(
        timings=Timings(
            us("init") or 0.0,
            us("warmup_first") if warmups else None,
            us("warmup_avg") or 0.0,
            us("avg") or 0.0,
        ),
        phases=(
            PhaseLog(None, warmup if warmups else Invocations(0)),
            PhaseLog(None, steady if runs else Invocations(0)),
        ),
        parameters=parameters if threads is None else {**parameters, "Num threads": str(threads)},
        problems=tuple(problems),
        applied=tuple(name for name in names if name != "cpu") or tuple(names),
        tool=TOOL,
    )
