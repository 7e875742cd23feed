"""The seam every runner stands behind: settings in, command out; evidence in, reading out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from orchestrator.frameworks.about import RunnerAbout
from orchestrator.isa.proof import IsaProof
from orchestrator.measurement import Finding, Measurement, Outcome
from orchestrator.trial import InputSpec, RunSettings, Trial


@dataclass(frozen=True)
class FedShard:
    """The samples of one trial of accuracy: a file of ``count`` of them, from the one at ``first``
    of the draw on, and what is made of their values: less ``mean``, divided by ``std``.

    ``whole`` is how many values of a sample's outputs are wanted as they are, ``masks`` the output
    of which masks are wanted instead, and ``mask_scores`` the one by which the best of them are.
    """

    sha256: str
    first: int
    count: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    whole: int
    masks: str | None = None
    mask_scores: str | None = None


@dataclass(frozen=True)
class Files:
    """What a trial needs on the device, by SHA-256, and the interpreter for Python runners.

    ``inputs`` are the model's inputs as far as they are known, and ``signature`` names the way to
    call it where one was chosen; ``default_signature`` is what a runtime takes by itself where none
    was and there are several, empty where that has no name. ``cap_sha256`` is the object that caps
    the instruction set, where the trial asks for that; ``site_sha256`` the site bundle that the
    runner's Python library is taken from, where it is not the device's own.
    """

    model_sha256: str
    model_size_bytes: int
    python: str
    binary_sha256: str | None = None
    inputs: tuple[InputSpec, ...] = ()
    signature: str | None = None
    default_signature: str | None = None
    cap_sha256: str | None = None
    site_sha256: str | None = None
    check_range: tuple[float, float] | None = None
    samples: FedShard | None = None


@dataclass(frozen=True)
class Command:
    """What the agent runs. The agent replaces, anywhere inside an argument or a
    variable's value:

    ``{blob:SHA256}`` the path of a pushed blob; ``{exe:SHA256}`` the same, made executable;
    ``{site:SHA256}`` the folder that a pushed site bundle was unpacked into;
    ``{agent}`` the path of the agent's own zipapp.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    blobs: tuple[str, ...] = ()


#: ``Evidence.launch`` where the process began with the agent's peak of memory.
DIRECT = "direct"


@dataclass(frozen=True)
class Evidence:
    """How the process ended and all it said; nothing is interpreted yet.

    ``exit_code`` is None when a signal ended it (then ``signal`` is its number). ``stdout`` and
    ``stderr`` are capped by the agent (``stdout_bytes``/``stderr_bytes`` tell how long they were).
    ``wall_s`` is the whole process's duration in seconds. ``oom_memory`` says whose memory had run
    out where the kernel killed it for that and tells: the ``cgroup``'s or the ``machine``'s.
    ``launch`` is how the agent started it: ``forked`` by a small shell, or ``direct``, so that its
    ``ru_maxrss`` began with the agent's peak (see ``orchestrate_agent.process.launch``); None where
    that is not known.
    """

    exit_code: int | None
    signal: int | None
    timed_out: bool
    oom_killed: bool
    wall_s: float
    stdout: str
    stderr: str
    stdout_bytes: int
    stderr_bytes: int
    oom_memory: str | None = None
    launch: str | None = None


@dataclass(frozen=True)
class Reading:
    """What the evidence means. ``reason`` says in one sentence why an outcome is not ``ok``.

    ``measurement`` is present exactly when the outcome is ``ok``. ``isa_proof`` is that of a
    process whose instruction set was capped; there is no such measurement without it. ``steady_us``
    are the single times of the steady phase where the runner printed them in a form of its own: the
    raw log keeps them in ours.
    """

    outcome: Outcome
    measurement: Measurement | None = None
    reason: str | None = None
    findings: tuple[Finding, ...] = ()
    isa_proof: IsaProof | None = None
    steady_us: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if (self.outcome is Outcome.OK) != (self.measurement is not None):
            raise ValueError("a measurement goes with the outcome ok, and only with it")
        if self.outcome is not Outcome.OK and not self.reason:
            raise ValueError(f"outcome {self.outcome.value} needs a reason")


class Runner(Protocol):
    """One way to execute a variant and measure it; ``about`` is what it can be asked for."""

    about: RunnerAbout
    name: str

    def command(self, trial: Trial, settings: RunSettings, files: Files) -> Command:
        """The command line that measures ``trial``."""
        ...

    def read(
        self, trial: Trial, settings: RunSettings, files: Files, evidence: Evidence
    ) -> Reading:
        """What the evidence means. Never raises on a runner's output, however odd it is."""
        ...
