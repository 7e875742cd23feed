"""What the runners with a Python child have in common: the reading of the child's result line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.frameworks.about import RunnerAbout
from orchestrator.frameworks.reading import judgement
from orchestrator.frameworks.reading.answers import answers_of, outputs_of
from orchestrator.frameworks.reading.child_output import (
    Explain,
    NonsenseError,
    drift_of,
    figure,
    integer,
    memory_of,
    peak_is_own,
    result_of,
    statistics_of,
    string,
    times_of,
    unexplained,
    window_of,
)
from orchestrator.frameworks.reading.judgement import failed
from orchestrator.frameworks.runner import DIRECT, Command, Evidence, Files, Reading
from orchestrator.measurement import (
    Delegation,
    Finding,
    Measurement,
    Operator,
    Outcome,
    Samples,
)
from orchestrator.measures.memory.reading import believable_memory
from orchestrator.runtimes import ANY, Runtime, parse_runtime
from orchestrator.trial import RunSettings, Trial


@dataclass(frozen=True)
class ChildReport:
    """What one runner's child tells in addition to what all of them tell.

    ``ran``: what, as asked for, as it ran. ``delegate_seen``: whether the runtime said that it
    created the delegate. ``operators`` are those of a profile trial. ``figures`` are what was found
    besides the time of an inference, or instead of one; ``remarks`` is what else there is to say.
    ``arithmetic`` is what the network was computed in, where the runtime tells.
    """

    ran: Sequence[tuple[str, object, object]]
    delegation: Delegation | None = None
    delegate_seen: bool = False
    operators: tuple[Operator, ...] = ()
    figures: Mapping[str, Samples] = field(default_factory=dict)
    remarks: tuple[Finding, ...] = ()
    arithmetic: judgement.Arithmetic | None = None


def asked_runtime(trial: Trial, runner: RunnerAbout) -> Runtime:
    """Return what the trial asks for. Raises UsageError where the runner has no such runtime."""
    try:
        runtime = parse_runtime(trial.factors.runtime)
    except ValueError as exc:
        raise UsageError(f"{trial.trial_id}: runtime: {exc}") from exc
    if runtime.name not in (ANY, *runner.runtimes):
        raise UsageError(
            f"{trial.trial_id}: runtime {runtime.name!r} is not of runner {runner.name}; use one "
            f"of: {', '.join((ANY, *runner.runtimes))}"
        )
    return runtime


def child_command(name: str, files: Files, arguments: Sequence[str]) -> Command:
    """Return the command of the child called ``name``: in the device's own Python as it is, or on a
    site bundle alone.

    On a bundle nothing that is installed there is seen (``-I -S``), so that what is loaded cannot
    depend on it.
    """
    blobs: tuple[str, ...] = (files.model_sha256,)
    if files.samples is not None:
        blobs += (files.samples.sha256,)
    if files.site_sha256 is None:
        return Command((files.python, "{agent}", name, *arguments), blobs=blobs)
    site = files.site_sha256
    return Command(
        (files.python, "-I", "-S", "{agent}", name, "--site", f"{{site:{site}}}", *arguments),
        blobs=(*blobs, site),
    )


def read_child(
    trial: Trial,
    settings: RunSettings,
    files: Files,
    evidence: Evidence,
    own: Callable[[Mapping[str, Any]], ChildReport],
    *,
    explain: Explain = unexplained,
) -> Reading:
    """Say what the evidence means. Never raises on the child's output.

    ``own`` reads the runner's own part of the result line; NonsenseError from it is a failure of
    the trial like any other nonsense. ``explain`` says what a runtime means that refuses a file.
    """
    try:
        data = result_of(evidence, judgement.effective_settings(trial, settings), explain)
        if isinstance(data, Reading):
            return data
        return _reading(trial, settings, files, evidence, data=data, own=own(data))
    except NonsenseError as error:
        return failed(f"exit code 0, but {error}")


def _reading(
    trial: Trial,
    settings: RunSettings,
    files: Files,
    evidence: Evidence,
    *,
    data: Mapping[str, Any],
    own: ChildReport,
) -> Reading:
    """Every field checked. Raises NonsenseError for anything but figures in their places."""
    runtime = string(data, "runtime")
    version = None if data.get("runtime_version") is None else string(data, "runtime_version")
    warmup_us, steady_us = times_of(data, "warmup_us"), times_of(data, "steady_us")
    warmup, steady = statistics_of(warmup_us), statistics_of(steady_us)
    size_bytes = integer(data, "model_size_bytes")
    _check_as_asked([("batch", trial.factors.batch, integer(data, "batch")), *own.ran])
    answers = None
    if files.samples is not None:
        answers = answers_of(evidence.stdout, data, files.samples)
    elif steady.count == 0 and not own.figures:
        raise NonsenseError("no inference ran in the steady phase")
    _check_runtime(trial, files, version, bundled=data.get("bundled") is True)
    inherited = evidence.launch == DIRECT and not peak_is_own(data)
    memory, remarks = believable_memory(memory_of(data), inherited=inherited)
    measurement = Measurement(
        init_us=figure(data, "init_us"),
        first_us=judgement.first_inference_us(warmup, steady),
        warmup=warmup if warmup.count else None,
        steady=steady if steady.count else None,
        memory=memory,
        model_size_bytes=size_bytes,
        delegation=own.delegation,
        runtime_name=runtime,
        runtime_version=version,
        runtime_from="device" if files.site_sha256 is None else "bundle",
        steady_window_s=window_of(data),
        operators=own.operators,
        figures=own.figures,
        outputs=outputs_of(data),
        answers=answers,
    )
    applied = judgement.RunTraits(
        size_matches=size_bytes == files.model_size_bytes,
        delegate_seen=own.delegate_seen,
        threads=integer(data, "threads"),
        drift=drift_of(steady_us),
        arithmetic=own.arithmetic,
    )
    remarks += judgement.findings(trial, settings, evidence, measurement, applied) + own.remarks
    return Reading(Outcome.OK, measurement=measurement, findings=remarks)


def _check_runtime(trial: Trial, files: Files, version: str | None, *, bundled: bool) -> None:
    """Raise NonsenseError if another library was loaded than the trial stands for."""
    runtime = parse_runtime(trial.factors.runtime)
    if not runtime.is_version(version):
        raise NonsenseError(f"the child loaded version {version} of {runtime.name}, not {runtime}")
    if bundled != (files.site_sha256 is not None):
        whose = "a site bundle" if bundled else "the device"
        raise NonsenseError(f"the child loaded {runtime.name} from {whose}")


def _check_as_asked(ran: Sequence[tuple[str, object, object]]) -> None:
    """Raise NonsenseError if something else was measured than the trial asks for."""
    for what, wanted, got in ran:
        if wanted != got:
            raise NonsenseError(f"the child ran {what} {got!r} and was asked for {wanted!r}")
