"""The reader of llama-bench's JSON and JSONL: a test of it is one process of ours, and one sample.

Its repetitions are those of one process. Their median, and their deviation, are computed here from
the single samples: what it prints itself subtracts two nearly equal numbers, and has been 25 times
too large.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import stdev
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.factors import untold
from orchestrator.frameworks.llm.runner import samples_of
from orchestrator.frameworks.logs import LoggedProcess, LogReader
from orchestrator.frameworks.reading.judgement import failed
from orchestrator.frameworks.runner import Reading
from orchestrator.measurement import Finding, Measurement, Outcome
from orchestrator.shape import NUMBER, TEXT, WHOLE, NotNull, Shape, problem

TOOL = "llama-bench"

_SHAPE: Shape = {
    **dict.fromkeys(("model_filename", "build_commit", "backends"), TEXT),
    **dict.fromkeys(("n_prompt", "n_gen", "n_depth", "n_threads", "n_gpu_layers"), WHOLE),
    **dict.fromkeys(("model_size", "avg_ns", "stddev_ns"), NUMBER),
    "samples_ns": [NotNull(NUMBER)],
}
#: By more than this the printed deviation is another than that of the samples.
_MISPRINT = 0.05


def read_logs(name: str, text: str) -> list[LoggedProcess]:
    """Return every test in the file called ``name``, none where it is not llama-bench's.

    Raises UsageError where it is and is damaged, or tells no single samples.
    """
    tests = _tests(text)
    found = []
    for number, test in enumerate(tests, 1):
        place = f"test {number}"
        wrong = problem(test, _SHAPE)
        if wrong is not None:
            what = f"{wrong[0].lstrip('.')[:100]} is not {wrong[1]}"
            raise UsageError(f"{name}: {place} is not one of {TOOL} ({what})")
        if not test.get("samples_ns"):
            raise UsageError(
                f"{name}: {place} has no single samples, and its mean alone says too little; write "
                f"`{TOOL} -o json`"
            )
        found.append(_process(place, test))
    return found


LOGS = LogReader(
    read=read_logs,
    known_by=f"tests of {TOOL} (-o json or jsonl)",
    takes=f"{TOOL}'s JSON",
)


def _tests(text: str) -> list[Mapping[str, Any]]:
    stripped = text.lstrip()
    if not stripped.startswith(("[", "{")) or '"n_gen"' not in text:
        return []
    try:
        data = json.loads(text)
    except ValueError:
        return _lines(text)
    except RecursionError:
        return []
    each = data if isinstance(data, list) else [data]
    return each if all(map(_is_test, each)) else []


def _lines(text: str) -> list[Mapping[str, Any]]:
    """An object a line."""
    try:
        each = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        return []
    return each if all(map(_is_test, each)) else []


def _is_test(each: object) -> bool:
    return isinstance(each, dict) and {"model_filename", "n_prompt", "n_gen"} <= each.keys()


def _process(place: str, test: Mapping[str, Any]) -> LoggedProcess:
    prompt, generated, depth = (int(test.get(n) or 0) for n in ("n_prompt", "n_gen", "n_depth"))
    on_gpu = test.get("backends") not in (None, "", "CPU", "BLAS") and test.get("n_gpu_layers") != 0
    told: dict[str, Any] = {"prompt": prompt or depth, "generate": generated}
    told["threads"] = max(0, int(test.get("n_threads") or 0))
    if on_gpu:
        told["processor"] = str(test["backends"]).lower()[:40]
    size = test.get("model_size")
    return LoggedProcess(
        begins=place,
        text=json.dumps(test),
        factors=untold(TOOL, **told),
        reading=_reading(test, prompt, generated, depth),
        graph=str(test["model_filename"] or ""),
        # of the tensors, which says whether two files may be one
        size_bytes=None if size is None else int(size),
    )


def _reading(test: Mapping[str, Any], prompt: int, generated: int, depth: int) -> Reading:
    samples_ns = [float(each) for each in test["samples_ns"]]
    if not all(0 < each < math.inf for each in samples_ns):
        return failed("a repetition took no time, or is not a number")
    if bool(prompt) == bool(generated):
        return failed(
            "a test of prompt and generation together: their rates are never mixed into one; run "
            f"`{TOOL} -p` and `-n`"
        )
    if prompt and depth:
        return failed(f"reads a prompt behind {depth} tokens, which no setting here tells")
    tokens = prompt or generated
    name = "prompt_tokens_per_s" if prompt else "generated_tokens_per_s"
    rates = [tokens * 1e9 / each for each in samples_ns]
    measured = Measurement(None, None, None, None, figures={name: samples_of(rates)})
    return Reading(Outcome.OK, measured, findings=tuple(_misprinted(test, samples_ns)))


def _misprinted(test: Mapping[str, Any], samples_ns: Sequence[float]) -> Iterator[Finding]:
    printed = test.get("stddev_ns")
    if printed is None or len(samples_ns) < 2:
        return
    true = stdev(samples_ns)
    if abs(printed - true) <= max(_MISPRINT * true, 2.0):
        return
    yield Finding(
        "misprinted_deviation",
        f"{TOOL} printed a deviation that is not that of its samples: they were subtracted with "
        f"too few digits",
        "quote the deviation that is computed here; a later version of the tool may be right",
    )
