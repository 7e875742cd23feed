"""Any runner under a capped instruction set: the object loaded, and its proof demanded."""

from __future__ import annotations

import signal
from dataclasses import replace

from orchestrator.errors import UsageError
from orchestrator.frameworks.runner import Command, Evidence, Files, Reading, Runner
from orchestrator.isa import levels
from orchestrator.isa.proof import UnprovenError, prove, without_proof
from orchestrator.measurement import Outcome
from orchestrator.trial import RunSettings, Trial

#: What ``cap_cpuid.c`` reads.
VARIABLE = "ORCHESTRATE_CPUID_CLEAR"

_TRAPS: dict[int, str] = {signal.SIGSEGV: "SIGSEGV", signal.SIGILL: "SIGILL"}


class CappedRunner:
    """``runner`` as a process that sees an older CPU; see :class:`..base.Runner`."""

    def __init__(self, runner: Runner) -> None:
        self.about = runner.about
        self.name = runner.name
        self._runner = runner

    def command(self, trial: Trial, settings: RunSettings, files: Files) -> Command:
        """The runner's command with the object in its process. Raises UsageError."""
        command = self._runner.command(trial, settings, files)
        if files.cap_sha256 is None:
            raise UsageError(
                f"{trial.trial_id}: isa {trial.factors.isa!r} needs the object that caps CPUID, "
                f"and none was built; start the run anew, or use isa: [native]"
            )
        cap = variables(trial.factors.isa, f"{{blob:{files.cap_sha256}}}")
        return replace(
            command, env={**command.env, **cap}, blobs=(*command.blobs, files.cap_sha256)
        )

    def read(
        self, trial: Trial, settings: RunSettings, files: Files, evidence: Evidence
    ) -> Reading:
        """What the evidence means; without a proof of the cap, a failure, whatever was measured."""
        own = replace(evidence, stderr=without_proof(evidence.stderr))
        reading = self._runner.read(trial, settings, files, own)
        if reading.outcome is not Outcome.OK:
            return _with_hint(reading, own)
        level = trial.factors.isa
        try:
            proof = prove(level, evidence.stderr, files.cap_sha256 or "", self.about.measured_in)
        except UnprovenError as exc:
            said = _loader_said(own.stderr)
            return Reading(
                Outcome.FAILED,
                reason=f"not proven to have run with isa {level}: {exc}{said}",
            )
        return replace(reading, isa_proof=proof)


def variables(isa: str, path: str) -> dict[str, str]:
    """What the environment of a process capped to ``isa`` holds, the object being at ``path``.

    It is named twice: the loader takes it as an audit object first, and lets that copy go where
    CPUID can fault. Functions are bound at the start, since a glibc before 2.35 that audits goes
    through its resolver in each call of one that is bound lazily.
    """
    return {
        "LD_AUDIT": path,
        "LD_PRELOAD": path,
        "LD_BIND_NOW": "1",
        VARIABLE: levels.setting(isa),
    }


def _with_hint(reading: Reading, evidence: Evidence) -> Reading:
    if evidence.signal is None or evidence.signal not in _TRAPS:
        return reading
    hint = (
        f"; under a capped isa also a program that handles {_TRAPS[evidence.signal]} itself (a "
        f"crash handler, a JIT) dies so"
    )
    return replace(reading, reason=f"{reading.reason}{hint}")


def _loader_said(stderr: str) -> str:
    """What the dynamic loader says where it cannot load the object, if it says anything."""
    said = [line.strip() for line in stderr.splitlines() if "ERROR: ld.so:" in line]
    return f" ({said[0][:300]})" if said else ""
