"""The reader of TensorFlow Lite's logs: ``benchmark_model``'s, and those of LiteRT's own tool.

The same reader as for our own trials decides what a log means, so that a figure is believed here
exactly where it would be believed there.
"""

from __future__ import annotations

import re
from dataclasses import replace

from orchestrator.errors import UsageError
from orchestrator.factors import NOT_TOLD, untold
from orchestrator.frameworks.logs import LoggedProcess, LogReader
from orchestrator.frameworks.runner import Evidence, Files, Reading
from orchestrator.frameworks.tflite.about import BENCHMARK_MODEL
from orchestrator.frameworks.tflite.benchmark_log import BenchmarkLog, parse_benchmark_log
from orchestrator.frameworks.tflite.benchmark_model import read_log
from orchestrator.frameworks.tflite.litert_json import TOOL, summaries
from orchestrator.frameworks.tflite.log_prefixes import bare, unknown
from orchestrator.frameworks.tflite.log_processes import Process, processes
from orchestrator.trial import PhaseSettings, RunSettings, Trial, TrialKind, Variant

#: Lines of one kind that a message names.
_SHOWN = 3
#: Findings on what was asked for, which nobody can tell of a log.
_ABOUT_REQUESTS = ("wrong_file", "wrong_threads", "delegate_mismatch", "output_capped")
_IN_STREAM = re.compile(r"stdout line (\d+)")


def read_logs(name: str, text: str) -> list[LoggedProcess]:
    """Return every process in the file called ``name``. Raises UsageError where something unknown
    stands before a figure, or a summary is damaged."""
    found = summaries(name, text)
    if found is None:
        found = [(each, parse_benchmark_log(each.text)) for each in processes(name, text)]
    behind = tuple(
        f"{name}: line {line}: a figure stands behind {before[:100]!r}, which is none of the "
        "prefixes that are known (logcat, CI time stamps, absl, loggers); take it off and import "
        "the rest"
        for line, before in unknown(bare(text))
        if not name.endswith(".ipynb")
    )
    if behind:
        raise UsageError("\n".join(behind[:_SHOWN]))
    return [_process(name, process, log) for process, log in found]


LOGS = LogReader(
    read=read_logs,
    known_by="output of benchmark_model (a line 'STARTING!', 'count=…' or 'Inference timings in "
    "us: …')",
    takes="logs, notebooks, litert-benchmark's JSON",
)


def _process(name: str, process: Process, log: BenchmarkLog) -> LoggedProcess:
    return LoggedProcess(
        begins=process.begins,
        text=process.text,
        factors=untold(
            log.tool if log.tool == TOOL else BENCHMARK_MODEL.name,
            delegate=log.delegate or NOT_TOLD,
            threads=max(0, log.threads or 0),
        ),
        reading=_reading(name, process, log),
        graph=log.parameters.get("Graph", ""),
        size_bytes=log.model_size_bytes,
        measured=bool(log.phases or log.timings or log.problems),
    )


def _reading(name: str, process: Process, log: BenchmarkLog) -> Reading:
    """What the log means. Nobody asked this process for anything but itself: its own request is
    what it is held to, its own file is the artifact, and no size or switch can disagree."""
    evidence = Evidence(
        exit_code=0, signal=None, timed_out=False, oom_killed=False, wall_s=0.0,
        stdout=process.text, stderr="", stdout_bytes=len(process.text.encode("utf-8", "replace")),
        stderr_bytes=0,
    )  # fmt: skip
    asked = untold(BENCHMARK_MODEL.name, delegate="xnnpack" if log.xnnpack_seen else "none")
    trial = Trial("imported", "", TrialKind.TIMING, Variant("", ""), asked, block=0)
    files = Files("", log.model_size_bytes or 0, python="")
    reading = read_log(trial, _settings(log), files, evidence, log)
    kept = tuple(f for f in reading.findings if f.code not in _ABOUT_REQUESTS)
    if reading.reason is not None:
        reason = _IN_STREAM.sub(lambda m: process.where(int(m[1])), reading.reason)
        return replace(reading, reason=f"{name}: {process.begins}: {reason}")
    return replace(reading, findings=kept)


def _settings(log: BenchmarkLog) -> RunSettings:
    def phase(number: int) -> PhaseSettings:
        request = log.phases[number].request if len(log.phases) > number else None
        if request is None:
            return PhaseSettings(0, 0.0)
        return PhaseSettings(request.min_runs, max(0.0, request.min_seconds or 0.0))

    return RunSettings(phase(0), phase(1), timeout_s=0.0)
