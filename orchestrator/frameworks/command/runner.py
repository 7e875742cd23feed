"""The ``command`` runner: a program that the suite describes, one process of it a trial."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.errors import UsageError
from orchestrator.frameworks.command.about import COMMAND
from orchestrator.frameworks.command.reading import Found, MissingFigureError, find
from orchestrator.frameworks.reading import judgement
from orchestrator.frameworks.reading.child_output import drift_of, statistics_of
from orchestrator.frameworks.runner import Command, Evidence, Files, Reading
from orchestrator.isa.levels import NATIVE
from orchestrator.measurement import Finding, Invocations, Measurement, Outcome, Samples
from orchestrator.program import ARGUMENTS, TIME, Program, filled, placeholders_in
from orchestrator.trial import RunSettings, Trial

#: What a program says of all its inferences, and not of how many there were, is of one at least.
_AT_LEAST_ONE = 1


class CommandRunner:
    """Runs the program; see :class:`orchestrator.frameworks.runner.Runner`."""

    about = COMMAND
    name = about.name

    def command(self, trial: Trial, settings: RunSettings, files: Files) -> Command:
        """The program's command line. Raises UsageError for what it cannot be told."""
        judgement.refuse_unknown_factors(trial, self.about)
        if trial.factors.isa != NATIVE:
            raise UsageError(
                f"{trial.trial_id}: nothing proves which instructions a program of your own sees; "
                f"write isa: [native]"
            )
        program = _program(trial, settings)
        values = _values(trial, settings, files)
        try:
            argv = [part for word in program.argv for part in _parts(word, trial, program, values)]
            env = {name: filled(word, values) for name, word in program.environment.items()}
        except KeyError as exc:
            raise UsageError(
                f"{trial.trial_id}: the command is to be told {{{exc.args[0]}}}, and the variant "
                f"{trial.variant.scheme} of {trial.variant.model} has no file; name one, or take "
                f"the placeholder out"
            ) from exc
        blobs = [files.model_sha256] if _has_file(files) else []
        blobs += [files.binary_sha256] if files.binary_sha256 is not None else []
        return Command(tuple(argv), env=env, blobs=tuple(blobs))

    def read(
        self, trial: Trial, settings: RunSettings, files: Files, evidence: Evidence
    ) -> Reading:
        """What the evidence means. Never raises on a program's output."""
        bad = judgement.bad_ending(evidence, settings)
        if bad is not None:
            return bad
        if evidence.exit_code != 0:
            said = judgement.tail(evidence.stderr) or judgement.tail(evidence.stdout)
            return judgement.failed(f"exit code {evidence.exit_code}: {said or 'not a word'}")
        program = _program(trial, settings)
        try:
            found = {each.name: find(each, evidence) for each in program.figures}
        except MissingFigureError as exc:
            return judgement.failed(str(exc))
        time = found.pop(TIME, None)
        times_us = () if time is None else time.values
        measurement = Measurement(
            init_us=None,
            first_us=None,
            warmup=None,
            steady=None if time is None else _invocations(time),
            model_size_bytes=files.model_size_bytes or None,
            figures={name: _samples(each) for name, each in found.items()},
        )
        remarks = tuple(_remarks(trial, settings, evidence, program, times_us))
        return Reading(Outcome.OK, measurement, findings=remarks, steady_us=times_us)


def _program(trial: Trial, settings: RunSettings) -> Program:
    if settings.program is None:
        raise UsageError(f"{trial.trial_id}: the suite has no `command:` that says what is run")
    return settings.program


def _has_file(files: Files) -> bool:
    return files.model_size_bytes > 0


def _values(trial: Trial, settings: RunSettings, files: Files) -> dict[str, str]:
    asked = judgement.effective_settings(trial, settings)
    values = {
        "name": trial.variant.model,
        "scheme": trial.variant.scheme,
        "threads": str(trial.factors.threads),
        "batch": str(trial.factors.batch),
        "warmup_runs": str(asked.warmup.runs),
        "runs": str(asked.steady.runs),
        "seconds": judgement.decimal(asked.steady.seconds),
    }
    if _has_file(files):
        values["model"] = f"{{blob:{files.model_sha256}}}"
    if files.binary_sha256 is not None:
        values["program"] = f"{{exe:{files.binary_sha256}}}"
    return values


def _parts(word: str, trial: Trial, program: Program, values: dict[str, str]) -> Iterator[str]:
    """The words that stand in the place of one: a variant's own arguments are several, or none."""
    if ARGUMENTS not in placeholders_in(word):
        yield filled(word, values)
        return
    for own in program.arguments.get((trial.variant.model, trial.variant.scheme), ()):
        yield filled(own, values)


def _invocations(found: Found) -> Invocations:
    if found.values:
        return statistics_of(found.values)
    said = found.summary
    return Invocations(
        count=int(said.get("count", _AT_LEAST_ONE)),
        min_us=said.get("min"),
        max_us=said.get("max"),
        mean_us=said.get("mean"),
        std_us=said.get("std"),
        median_us=said.get("median"),
    )


def _samples(found: Found) -> Samples:
    source, said = found.source, found.summary
    if found.values:
        times = statistics_of(found.values)  # whose definitions hold for any amounts
        return Samples(
            count=times.count,
            minimum=times.min_us,
            maximum=times.max_us,
            mean=times.mean_us,
            median=times.median_us,
            deviation=times.std_us,
            unit=source.unit,
            better=source.better.value,
        )
    return Samples(
        count=int(said.get("count", _AT_LEAST_ONE)),
        minimum=said.get("min"),
        maximum=said.get("max"),
        mean=said.get("mean"),
        median=said.get("median"),
        deviation=said.get("std"),
        unit=source.unit,
        better=source.better.value,
    )


def _remarks(
    trial: Trial,
    settings: RunSettings,
    evidence: Evidence,
    program: Program,
    times_us: Sequence[float],
) -> Iterator[Finding]:
    asked = judgement.effective_settings(trial, settings).steady.runs
    if program.tells("runs") and 0 < len(times_us) < asked:
        yield Finding(
            "truncated",
            f"{len(times_us)} steady inferences ran of the {asked} asked for",
            "raise the protocol's timeout, or ask for fewer runs",
        )
    if not program.tells("threads"):
        yield Finding(
            "threads_not_told",
            "the command is not told a number of threads: the program takes what it takes, which "
            "may not be what the table says",
            "write {threads} into `argv` or `environment`, if the program can be told",
        )
    for each in (judgement.output_capped(evidence), judgement.drift(trial, drift_of(times_us))):
        if each is not None:
            yield each
