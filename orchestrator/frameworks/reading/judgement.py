"""What every runner judges alike: bad endings, refused trials, and the findings of a good one.

Pure. A runner reads its own output and hands the figures here, so that the same trap gets the
same code whichever runner fell into it.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.factors import ABSENT
from orchestrator.frameworks import registry
from orchestrator.frameworks.about import RunnerAbout
from orchestrator.frameworks.runner import Evidence, Reading
from orchestrator.isa.levels import LEVELS, unknown_isa
from orchestrator.measurement import Finding, Invocations, Measurement, Outcome
from orchestrator.measures.registry import measure_of
from orchestrator.trial import PhaseSettings, RunSettings, Trial

#: Fewer warm-up inferences than this leave caches, clocks and lazy allocations unsettled.
MIN_WARMUP_COUNT = 5

#: The median lies about halfway: with this drift, off either end by the precision that is asked
#: for by default.
DRIFT_SHARE = 0.05

#: Where fewer of the operators that multiply do it on integers, their file is quantized in vain; a
#: few are often left out on purpose.
MOSTLY_INTEGERS = 0.9

#: The stage of a process that has not run an inference yet.
LOADING = "while loading the model"

#: The last is a Jetson's driver: the GPU's memory is the machine's, and 12 is ENOMEM.
_OUT_OF_MEMORY = re.compile(
    r"std::bad_alloc|Cannot allocate memory|ENOMEM|MemoryError|NvMapMem\w*: (?:\d+ )?error 12"
)
_WHOSE_MEMORY = {
    "cgroup": "; its control group's memory limit was reached: raise the container's, or measure "
    "a smaller model or batch",
    "machine": "; the machine's own memory was used up: end what else runs there, or measure a "
    "smaller model or batch",
}


def effective_settings(trial: Trial, settings: RunSettings) -> RunSettings:
    """Return the phases of this trial: its measure's, made out of the suite's."""
    return measure_of(trial.kind).settings(settings)


def refuse_unknown_factors(trial: Trial, runner: RunnerAbout) -> None:
    """Raise UsageError for a factor the runner cannot apply: it would vary in name only."""
    factors = trial.factors
    for name in ABSENT:
        level, known = getattr(factors, name), runner.levels(name)
        if level not in known:
            takers = registry.runners_where(lambda each: level in each.levels(name))  # noqa: B023
            whose = f" (a factor of runner {' and '.join(takers)})" if takers else ""
            raise UsageError(
                f"{trial.trial_id}: {name} {level!r}{whose} means nothing to runner "
                f"{runner.name}; use {_in_words(known)}"
            )
    if unknown_isa(factors.isa):
        raise UsageError(
            f"{trial.trial_id}: isa {factors.isa!r} is not known; use one of: native, "
            f"{', '.join(LEVELS)}"
        )
    if factors.input_size < 0:
        raise UsageError(
            f"{trial.trial_id}: input_size must be at least 0, not {factors.input_size}"
        )
    if factors.input_size and not runner.input_sizes:
        raise UsageError(
            f"{trial.trial_id}: runner {runner.name} runs a model at its own input size; leave out "
            f"input_size{_or_runner(runner, lambda each: each.input_sizes)}"
        )
    if factors.batch > 1 and not runner.batches:
        raise UsageError(
            f"{trial.trial_id}: runner {runner.name} cannot run batch {factors.batch}; write "
            f"batch: [1]{_or_runner(runner, lambda each: each.batches)}"
        )
    if factors.threads < 1 or factors.batch < 1:
        raise UsageError(
            f"{trial.trial_id}: threads and batch must be at least 1, "
            f"not {factors.threads} and {factors.batch}"
        )


def _in_words(levels: Sequence[Any]) -> str:
    if isinstance(levels, range):
        return f"a number from {levels[0]} to {levels[-1]}"
    return f"one of: {', '.join(map(str, levels))}"


def _or_runner(runner: RunnerAbout, able: Callable[[RunnerAbout], bool]) -> str:
    """Which runner of the same files can do it."""
    others = [each.name for each in registry.framework_of(runner.name).runners if able(each)]
    return f", or use runner: {others[0]}" if others else ""


def decimal(value: float) -> str:
    """``value`` as a flag takes it: no exponent, no trailing zeros, microsecond resolution."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def bad_ending(evidence: Evidence, settings: RunSettings, stage: str = "") -> Reading | None:
    """Return the reading of a process that was stopped from outside; None if it ended by itself.

    ``stage`` is what the process was at, ``LOADING`` or words like "in the warm-up phase"; empty
    where nothing tells.
    """
    during = f" {stage}" if stage else ""
    if evidence.timed_out:
        return Reading(
            Outcome.TIMEOUT,
            reason=f"did not finish within {decimal(settings.timeout_s)} s{during}; "
            "raise the protocol's timeout or ask for fewer runs",
        )
    starved = evidence.oom_killed and evidence.exit_code != 0
    if evidence.signal is not None or starved:
        return Reading(Outcome.KILLED, reason=_killed(evidence, during))
    if evidence.exit_code is None:
        return failed("the agent reported neither an exit code nor a signal")
    return None


def _killed(evidence: Evidence, during: str) -> str:
    how = signal_name(evidence.signal) if evidence.signal is not None else "the kernel"
    if evidence.oom_killed:
        whose = _WHOSE_MEMORY.get(evidence.oom_memory or "", "")
        return f"out of memory: the kernel's OOM killer ended the process ({how}){during}{whose}"
    if says_out_of_memory(evidence.stderr):
        return f"out of memory: an allocation failed and the process died by {how}{during}"
    hint = "; the file may be damaged, or too new for this runtime" if LOADING in during else ""
    return f"killed by {how}{during}{hint}{_quoted_tail(evidence.stderr)}"


def signal_name(number: int) -> str:
    """``SIGSEGV (signal 11)``, or the number alone where this machine has no name for it."""
    try:
        return f"{signal.Signals(number).name} (signal {number})"
    except ValueError:
        return f"signal {number}"


def failed(reason: str) -> Reading:
    return Reading(Outcome.FAILED, reason=reason)


def says_out_of_memory(text: str) -> bool:
    return _OUT_OF_MEMORY.search(text) is not None


def tail(text: str, lines: int = 3) -> str:
    """Return the last lines that say something, joined by `` | `` and bounded in length."""
    stripped = (line.strip() for line in text[-4096:].splitlines())
    said = [line for line in stripped if line and not line.startswith("INFO:")]
    return " | ".join(said[-lines:])[-500:]


def _quoted_tail(stderr: str) -> str:
    last = tail(stderr)
    return f"; the end of stderr: {last}" if last else ""


@dataclass(frozen=True)
class Arithmetic:
    """What the operators of one inference computed in, as the runtime that ran them tells.

    ``products`` are those that multiply and accumulate, ``integers`` those of them that did it on
    integers. ``conversions`` turned real numbers into integers or back.
    """

    products: int
    integers: int
    conversions: int


@dataclass(frozen=True)
class RunTraits:
    """What the runner's output shows of how the trial was really run.

    ``size_matches``: the file that ran is as long as the artifact, within the rounding of whoever
    printed it. ``delegate_seen``: a delegate was there, or was tried and took nothing.
    ``threads``: None where the output does not say. ``drift``: how much slower the last third of
    the steady phase was than the first, as a ratio; None where it was not, or nothing tells.
    ``arithmetic``: None where the runtime does not tell.
    """

    size_matches: bool
    delegate_seen: bool
    threads: int | None
    drift: float | None = None
    arithmetic: Arithmetic | None = None


def findings(
    trial: Trial,
    settings: RunSettings,
    evidence: Evidence,
    measurement: Measurement,
    applied: RunTraits,
) -> tuple[Finding, ...]:
    """Return what to remark on a trial that ended well."""
    asked = effective_settings(trial, settings)
    found = (
        _truncated(asked.steady, measurement.steady),
        _short_warmup(trial, measurement.warmup),
        None if applied.size_matches else _wrong_file(measurement.model_size_bytes),
        _wrong_threads(trial.factors.threads, applied.threads),
        output_capped(evidence),
        drift(trial, applied.drift),
        *_delegate(trial.factors.delegate, measurement, applied.delegate_seen),
        _computed_in_float(applied.arithmetic),
    )
    return tuple(finding for finding in found if finding is not None)


def _truncated(asked: PhaseSettings, steady: Invocations | None) -> Finding | None:
    if steady is None or steady.count >= asked.runs:
        return None
    return Finding(
        "truncated",
        f"{steady.count} steady inferences ran of the {asked.runs} asked for",
        "raise the protocol's timeout, or ask for fewer runs",
    )


def _short_warmup(trial: Trial, warmup: Invocations | None) -> Finding | None:
    count = 0 if warmup is None else warmup.count
    if not measure_of(trial.kind).quiet or count >= MIN_WARMUP_COUNT:
        return None
    return Finding(
        "short_warmup",
        f"only {count} inferences of warm-up; the steady phase may hold unsettled ones",
        f"set warmup.runs to at least {MIN_WARMUP_COUNT} in the suite's protocol",
    )


def drift(trial: Trial, ratio: float | None) -> Finding | None:
    """Tell that the steady phase was not steady; ``ratio`` is that of :class:`RunTraits`."""
    if not measure_of(trial.kind).quiet or ratio is None or abs(ratio - 1) <= DRIFT_SHARE:
        return None
    return Finding(
        "drift",
        f"the steady phase was not steady: over {DRIFT_SHARE:.0%} "
        f"{'slower' if ratio > 1 else 'faster'} in its last third than in its first",
        "warm up for longer, cool the device, or keep other work off it (`tune: true`, the gate)",
    )


def _wrong_file(measured: int | None) -> Finding:
    size = "of unknown size" if measured is None else f"of about {measured} bytes"
    return Finding(
        "wrong_file",
        f"the model that ran is a file {size}, which is not the artifact's size",
        "remove the device's copy of the artifact and run again",
        forbids=True,
    )


def _wrong_threads(asked: int, applied: int | None) -> Finding | None:
    if applied is None or applied == asked:
        return None
    return Finding(
        "wrong_threads",
        f"{applied} threads ran where the trial asked for {asked}",
        "check that this build of the runner obeys its thread count",
        forbids=True,
    )


def output_capped(evidence: Evidence) -> Finding | None:
    """Tell that more was printed than the agent keeps; None where it was not."""
    if evidence.stdout_bytes <= len(evidence.stdout.encode("utf-8", "replace")):
        return None
    return Finding(
        "output_capped",
        f"the runner printed {evidence.stdout_bytes} bytes and the middle was not kept",
        "the figures were read from what was kept; turn off whatever makes the runner talk",
    )


def _delegate(asked: str, measurement: Measurement, seen: bool) -> Iterator[Finding]:
    nodes = measurement.delegation.delegated_nodes if measurement.delegation else None
    if asked == "none":
        if seen or nodes:
            yield _mismatch(asked, "a delegate was applied though the trial asked for none")
    elif nodes == 0:
        yield Finding(
            "nothing_delegated",
            f"the delegate {asked} was asked for and took no node of this model: the built-in "
            f"kernels ran",
            "compare with delegate: [none], or use a runtime whose delegate has these kernels; of "
            "a file with an open batch (`orchestrate models inspect`) try export: fixed",
        )
    elif not seen and nodes is None:
        yield _mismatch(asked, f"the delegate {asked} was asked for and the output shows no sign")


def _mismatch(asked: str, message: str) -> Finding:
    has = "obeys its switch" if asked == "none" else f"has {asked} and obeys its switch"
    return Finding(
        "delegate_mismatch", message, f"check that this build of the runner {has}", forbids=True
    )


def _computed_in_float(arithmetic: Arithmetic | None) -> Finding | None:
    """A file may hold integers that a runtime turns back into floats before it multiplies."""
    if arithmetic is None or not arithmetic.conversions or not arithmetic.products:
        return None
    share = arithmetic.integers / arithmetic.products
    if share >= MOSTLY_INTEGERS:
        return None
    return Finding(
        "computed_in_float",
        f"{arithmetic.products - arithmetic.integers} of the {arithmetic.products} operators that "
        f"multiply computed in floats, between {arithmetic.conversions} that convert, though the "
        f"file is quantized",
        "quantize to other types (`orchestrate models inspect` names those of the file), or use a "
        "runtime that has kernels for them; `profile: {trials: 1}` says what the conversions cost",
    )


def first_inference_us(*phases: Invocations | None) -> float | None:
    """Return the first inference of the process: the first of the first phase that had any."""
    for phase in phases:
        if phase is not None and phase.count:
            return phase.first_us
    return None


def joined(parts: Iterable[str], limit: int = 3) -> str:
    """Return the first distinct ``parts``, as one clause of a reason, bounded in length."""
    return "; ".join(list(dict.fromkeys(parts))[:limit])[:500]
