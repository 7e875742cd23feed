"""Raw ``benchmark_model`` logs → imported figures. Pure; what cannot be read is kept as a failure.

The same reader as for our own trials decides what a log means, so that a figure is believed here
exactly where it would be believed there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from orchestrator.errors import UsageError
from orchestrator.factors import NOT_TOLD, untold
from orchestrator.frameworks.runner import Evidence, Files, Reading
from orchestrator.frameworks.tflite.benchmark_log import BenchmarkLog, parse_benchmark_log
from orchestrator.frameworks.tflite.benchmark_model import read_log
from orchestrator.imports.litert_json import summaries
from orchestrator.imports.naming import variant_of
from orchestrator.imports.prefixes import bare, unknown
from orchestrator.imports.split import Process, processes
from orchestrator.imports.trials import ImportedFigure, Source, imported_finding
from orchestrator.trial import Factors, PhaseSettings, RunSettings, Trial, TrialKind, Variant

#: Lines of one kind that a message names.
_SHOWN = 3


@dataclass(frozen=True)
class ImportHints:
    """What the user says of logs that do not say it. ``threads`` 0 and an empty ``delegate``: not
    told. ``variant`` is what every process ran; else ``table`` and the files' names decide."""

    device: str
    microarchitecture: str = ""
    variant: Variant | None = None
    table: Mapping[str, Variant] = field(default_factory=dict)
    threads: int = 0
    delegate: str = ""


@dataclass(frozen=True)
class ReadLogs:
    """What a file held. ``remarks``, each with its place: processes that ended before they said
    which file they ran, or measured anything."""

    figures: tuple[ImportedFigure, ...]
    remarks: tuple[str, ...]


def read_logs(name: str, text: str, told: ImportHints) -> ReadLogs:
    """Every process in the file called ``name``.

    Raises UsageError where there is none, or where nothing says which model and scheme one is of;
    the message names every such place at once.
    """
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
    if not found:
        raise UsageError(
            f"{name}: holds no output of benchmark_model (a line 'STARTING!', 'count=…' or "
            "'Inference timings in us: …'); give logs, notebooks, litert-benchmark's JSON or the "
            "published table"
        )
    figures: list[ImportedFigure] = []
    remarks: list[str] = []
    unnamed: list[str] = []
    for process, log in found:
        graph = log.parameters.get("Graph", "")
        variant = told.variant or variant_of(graph, told.table)
        if variant is not None:
            figures.append(_imported(name, process, log, variant, told))
        elif graph:
            unnamed.append(f"{name}: {process.begins}: which model and scheme is {graph!r}?")
        elif log.phases or log.timings or log.problems:
            unnamed.append(f"{name}: {process.begins}: does not say which file it ran")
        else:
            remarks.append(f"{name}: {process.begins}: ended before it said which file it ran")
    if unnamed:
        raise UsageError(
            "\n".join(unnamed)
            + "\nsay so with --map FILE (csv: graph,model,scheme) or --model and --scheme"
        )
    return ReadLogs(tuple(figures), tuple(remarks))


def _imported(
    name: str, process: Process, log: BenchmarkLog, variant: Variant, told: ImportHints
) -> ImportedFigure:
    graph = log.parameters.get("Graph", "")
    by_user = told.variant is not None or graph in told.table
    by_user = by_user or re.split(r"[/\\]", graph)[-1] in told.table
    factors = untold(
        log.tool if log.tool == "litert-benchmark" else "benchmark_model",
        delegate=log.delegate or told.delegate or NOT_TOLD,
        threads=log.threads if log.threads is not None and log.threads > 0 else told.threads,
    )
    imported = ImportedFigure(
        device=told.device,
        microarchitecture=told.microarchitecture,
        variant=variant,
        factors=factors,
        reading=_reading(name, process, log, factors),
        source=Source(
            file=name,
            place=process.begins,
            graph=graph,
            naming="as the user said" if by_user else "by the file's name",
        ),
        text=process.text,
        size_bytes=log.model_size_bytes,
    )
    return imported.with_finding(imported_finding())


def _reading(name: str, process: Process, log: BenchmarkLog, factors: Factors) -> Reading:
    """What the log means. Nobody asked this process for anything but itself: its own request is
    what it is held to, its own file is the artifact, and no size or switch can disagree."""
    evidence = Evidence(
        exit_code=0, signal=None, timed_out=False, oom_killed=False, wall_s=0.0,
        stdout=process.text, stderr="", stdout_bytes=len(process.text.encode("utf-8", "replace")),
        stderr_bytes=0,
    )  # fmt: skip
    asked = replace(factors, delegate="xnnpack" if log.xnnpack_seen else "none")
    trial = Trial("imported", "", TrialKind.TIMING, Variant("", ""), asked, block=0)
    files = Files("", log.model_size_bytes or 0, python="")
    reading = read_log(trial, _settings(log), files, evidence, log)
    kept = tuple(f for f in reading.findings if f.code not in _ABOUT_REQUESTS)
    if reading.reason is not None:
        reason = _IN_STREAM.sub(lambda m: process.where(int(m[1])), reading.reason)
        return replace(reading, reason=f"{name}: {process.begins}: {reason}")
    return replace(reading, findings=kept)


#: Findings on what was asked for, which nobody can tell of a log.
_ABOUT_REQUESTS = ("wrong_file", "wrong_threads", "delegate_mismatch", "output_capped")
_IN_STREAM = re.compile(r"stdout line (\d+)")


def _settings(log: BenchmarkLog) -> RunSettings:
    def phase(number: int) -> PhaseSettings:
        request = log.phases[number].request if len(log.phases) > number else None
        if request is None:
            return PhaseSettings(0, 0.0)
        return PhaseSettings(request.min_runs, max(0.0, request.min_seconds or 0.0))

    return RunSettings(phase(0), phase(1), timeout_s=0.0)
