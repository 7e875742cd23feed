"""The official ``benchmark_model`` binary: its command line, and what its output means.

The tool fails in silence: an unknown flag is a warning, a full disk or ``num_runs=0`` is exit 0
with nothing measured, a failing operator prints a plausible count line. So a trial is ``ok`` only
when everything it must print is there and says that inferences ran.
"""

from __future__ import annotations

import math

from orchestrator.errors import UsageError
from orchestrator.frameworks.reading import judgement
from orchestrator.frameworks.reading.judgement import failed
from orchestrator.frameworks.runner import DIRECT, Command, Evidence, Files, Reading
from orchestrator.frameworks.tflite.about import BENCHMARK_MODEL
from orchestrator.frameworks.tflite.benchmark_log import BenchmarkLog, parse_benchmark_log, stream
from orchestrator.frameworks.tflite.messages import incompatibility
from orchestrator.measurement import Delegation, Finding, Invocations, Measurement, Outcome
from orchestrator.measures.memory.reading import believable_memory
from orchestrator.trial import RunSettings, Trial, TrialKind

#: Types that the tool draws from the range that it is given.
_WITH_A_RANGE = ("uint8", "int8", "int16", "int32", "int64")
#: What the bounds of a range can be.
_LEAST, _MOST = -(2**31), 2**31 - 1
_FAILED_TO_INVOKE = "failed to invoke"
#: Half of the last digit in the summaries of LiteRT's tools, and the share of a time that it may
#: be.
ROUNDED_US = 5.0
MOST_ROUNDED = 0.001


class BenchmarkModelRunner:
    """Runs the official binary; see :class:`orchestrator.frameworks.runner.Runner`."""

    about = BENCHMARK_MODEL
    name = about.name

    def command(self, trial: Trial, settings: RunSettings, files: Files) -> Command:
        """Return the binary with every flag that matters set once, as ``--name=value``.

        Raises UsageError for what the tool cannot do.
        """
        judgement.refuse_unknown_factors(trial, self.about)
        binary = files.binary_sha256
        if binary is None:
            raise UsageError(
                f"{trial.trial_id}: {trial.device} has no benchmark_model binary; name one in "
                "the suite or the inventory, or use runner: litert"
            )
        argv = (f"{{exe:{binary}}}", *_flags(trial, settings, files))
        return Command(argv=argv, blobs=(binary, files.model_sha256))

    def read(
        self, trial: Trial, settings: RunSettings, files: Files, evidence: Evidence
    ) -> Reading:
        """Say what the evidence means. Never raises on the tool's output."""
        log = parse_benchmark_log(evidence.stdout, evidence.stderr)
        return read_log(trial, settings, files, evidence, log)


def read_log(
    trial: Trial, settings: RunSettings, files: Files, evidence: Evidence, log: BenchmarkLog
) -> Reading:
    """Say what the evidence means, ``log`` being what it says."""
    bad = judgement.bad_ending(evidence, settings, _stage(log)) or _failure(log, evidence)
    if bad is not None:
        return bad
    missing = _missing(log, trial)
    if missing is not None:
        return failed(missing)
    return _ok(trial, settings, files, evidence, log)


def _flags(trial: Trial, settings: RunSettings, files: Files) -> list[str]:
    asked = judgement.effective_settings(trial, settings)
    decimal = judgement.decimal
    flags = [
        f"--graph={{blob:{files.model_sha256}}}",
        f"--num_threads={trial.factors.threads}",
        f"--warmup_runs={asked.warmup.runs}",
        f"--warmup_min_secs={decimal(asked.warmup.seconds)}",
        f"--num_runs={asked.steady.runs}",
        f"--min_secs={decimal(asked.steady.seconds)}",
        # It bounds each phase alone, so a phase can only reach it after our own timeout struck:
        # the default of 150 s would end a slow model's phase early without a word.
        f"--max_secs={math.ceil(asked.timeout_s)}",
        f"--use_xnnpack={'true' if trial.factors.delegate == 'xnnpack' else 'false'}",
    ]
    flags += _input_flags(trial, files)
    # LiteRT's build of the tool takes the file's first signature by itself, not that of graph 0
    signature = files.signature or files.default_signature
    if signature:
        flags.append(f"--signature_to_run_for={signature}")
    if trial.kind is TrialKind.MEMORY:
        flags.append("--report_peak_memory_footprint=true")
    if trial.kind is TrialKind.PROFILE:
        flags.append("--enable_op_profiling=true")
    return flags


def _input_flags(trial: Trial, files: Files) -> list[str]:
    """What the suite asks for of inputs: all of them, in the order of the file, as the tool wants.

    Raises UsageError for what its flags cannot say.
    """
    asked = [spec for spec in files.inputs if spec.name]
    if not asked:
        return []
    ranged = [spec for spec in asked if spec.low is not None]
    for spec in asked:
        why = ""
        if "," in spec.name or (ranged and ":" in spec.name):
            why = "its flags cannot hold this name"
        elif not spec.shape:
            why = "its flags cannot hold the shape of a scalar"
        elif spec in ranged and spec.dtype not in _WITH_A_RANGE:
            why = f"it draws {spec.dtype} from a range of its own, whatever is asked for"
        elif spec in ranged and not _LEAST <= (spec.low or 0) <= (spec.high or 0) <= _MOST:
            why = "its flags hold bounds of 32 bits"
        if why:
            raise UsageError(
                f"{trial.trial_id}: benchmark_model cannot be told what to feed input "
                f"{spec.name}: {why}; use runner: litert"
            )
    flags = [
        f"--input_layer={','.join(spec.name for spec in asked)}",
        f"--input_layer_shape={':'.join(','.join(map(str, spec.shape)) for spec in asked)}",
    ]
    if ranged:
        bounds = (f"{s.name},{int(s.low or 0)},{int(s.high or 0)}" for s in ranged)
        flags.append(f"--input_layer_value_range={':'.join(bounds)}")
    return flags


def _stage(log: BenchmarkLog) -> str:
    """What the tool was at when its output ends."""
    finished = sum(phase.stats is not None for phase in log.phases)
    if not log.phases:
        return judgement.LOADING
    return ("in the warm-up phase", "in the steady phase", "while reporting")[min(finished, 2)]


def _failure(log: BenchmarkLog, evidence: Evidence) -> Reading | None:
    """The reading of a process that ended by itself and says that it failed."""
    if evidence.exit_code != 0:
        return _nonzero(log, evidence)
    if log.unconsumed_flags is not None:
        return failed(
            f"this benchmark_model does not know the flags {log.unconsumed_flags} and ran "
            "without them; use a newer binary"
        )
    broken = [error for error in log.errors if _FAILED_TO_INVOKE in error]
    if broken:
        return failed(f"an operator failed while inferences were timed: {broken[0][:300]}")
    return None


def _nonzero(log: BenchmarkLog, evidence: Evidence) -> Reading:
    incompatible = incompatibility(evidence.stderr)
    if incompatible is not None:
        return Reading(Outcome.INCOMPATIBLE, reason=incompatible)
    said = judgement.joined(log.errors) or judgement.tail(evidence.stderr)
    starved = judgement.says_out_of_memory(evidence.stderr)
    cause = "out of memory: " if starved else ""
    return failed(f"exit code {evidence.exit_code}: {cause}{said or 'and not a word on stderr'}")


def _missing(log: BenchmarkLog, trial: Trial) -> str | None:
    """Why an output with exit code 0 is not a measurement; None if it is one."""
    if log.problems:
        return f"the output cannot be read: {judgement.joined(log.problems)}"
    if log.timings is None:
        return (
            "exit code 0, but stdout has no line 'Inference timings in us: …', nor stderr the "
            "'BENCHMARK RESULTS' of LiteRT's tool"
        )
    if len(log.phases) != 2:
        return (
            "expected two lines 'count=…' on stdout, of the warm-up and of the steady phase, "
            f"and found {sum(phase.stats is not None for phase in log.phases)} "
            f"in {len(log.phases)} phases"
        )
    if log.steady is None or log.steady.count == 0:
        return "no inference ran in the steady phase: its line 'count=…' on stdout says 0"
    return _missing_of_kind(log, trial) or _contradiction(log)


def _missing_of_kind(log: BenchmarkLog, trial: Trial) -> str | None:
    """What a memory or profile trial must tell, and this one does not."""
    if trial.kind is TrialKind.MEMORY and log.memory is None:
        return "a memory trial, but stdout has no line 'Memory footprint delta …: init=…'"
    if trial.kind is TrialKind.PROFILE and not log.operators:
        return (
            "a profile trial, but stdout has no operators under 'Operator-wise Profiling Info for "
            "Regular Benchmark Runs'; this build of the tool may have no profiler"
        )
    return None


def _contradiction(log: BenchmarkLog) -> str | None:
    """The closing line repeats both phases' averages; if they differ, lines got lost."""
    if log.timings is None:
        return None
    pairs = (
        ("warm-up", log.warmup, log.timings.warmup_mean_us),
        ("steady", log.steady, log.timings.steady_mean_us),
    )
    for phase, stats, closing_us in pairs:
        mean_us = stats.mean_us if stats is not None else None
        if mean_us is None:
            continue
        if log.tool:  # whose summary rounds
            same = abs(mean_us - closing_us) <= ROUNDED_US * 1.001
        else:
            same = stream(mean_us) == stream(closing_us)
        if not same:
            return (
                f"stdout contradicts itself: the {phase} line 'count=…' has the average "
                f"{mean_us:g} and the line 'Inference timings' {closing_us:g}"
            )
    return None


def _ok(
    trial: Trial, settings: RunSettings, files: Files, evidence: Evidence, log: BenchmarkLog
) -> Reading:
    measurement, remarks = _measurement(log, files, evidence.launch)
    remarks += _coarse(log, measurement)
    remarks += judgement.findings(
        trial,
        settings,
        evidence,
        measurement,
        judgement.RunTraits(
            size_matches=log.size_agrees(files.model_size_bytes),
            delegate_seen=log.xnnpack_seen,
            threads=log.threads,
        ),
    )
    return Reading(Outcome.OK, measurement=measurement, findings=remarks)


def _measurement(
    log: BenchmarkLog, files: Files, launch: str | None
) -> tuple[Measurement, tuple[Finding, ...]]:
    """The figures, and what is unbelievable among them. ``_missing`` has passed the log."""
    memory, remarks = believable_memory(log.memory, inherited=launch == DIRECT)
    measurement = Measurement(
        init_us=log.timings.init_us if log.timings else None,
        first_us=judgement.first_inference_us(log.warmup, log.steady),
        warmup=log.warmup,
        steady=log.steady or Invocations(0),
        memory=memory,
        model_size_bytes=log.model_size_bytes,
        delegation=_delegation(log),
        operators=log.operators,
        runtime_name=log.tool or "benchmark_model",
        # the tool has no version: its bytes are the only name it has
        runtime_version=(files.binary_sha256 or "")[:12] or None,
    )
    return measurement, remarks


def _coarse(log: BenchmarkLog, measurement: Measurement) -> tuple[Finding, ...]:
    """Say where the times are of the summary alone, which rounds them."""
    mean_us = measurement.steady.mean_us if measurement.steady else None
    alone = all(phase.request is None for phase in log.phases)
    if not log.tool or not alone or not mean_us or ROUNDED_US / mean_us <= MOST_ROUNDED:
        return ()
    return (
        Finding(
            "coarse_times",
            f"the tool prints hundredths of a millisecond: a time of {mean_us / 1e3:.2f} ms may be "
            f"off by {ROUNDED_US / mean_us:.1%}, whatever its interval",
            "keep the lines 'count=…' of the log, which have microseconds; or measure it with "
            "`orchestrate run`",
        ),
    )


def _delegation(log: BenchmarkLog) -> Delegation:
    name = log.delegate if log.delegate != "none" and (log.applied or log.xnnpack_seen) else None
    return Delegation(name, log.delegated_nodes, log.total_nodes)
