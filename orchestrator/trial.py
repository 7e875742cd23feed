"""The words of a measurement: variant, factors, trial, group, and the settings of a run. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from orchestrator.factors import OPEN, key_of
from orchestrator.factors import Factors as Factors  # noqa: PLC0414  # re-exported: one of the words
from orchestrator.program import Program

#: Memory and profile trials belong to no block.
NO_BLOCK = -1
#: The replicate of the baseline that is the partner of a group's first treatment; 0 and 1 are the
#: A/A's.
FIRST_PARTNER = 2


class TrialKind(str, Enum):
    """What a trial is for. Watching memory or operators disturbs timing, and answering samples
    takes long, so each has trials of its own."""

    TIMING = "timing"
    MEMORY = "memory"
    PROFILE = "profile"
    ACCURACY = "accuracy"
    CHECK = "check"


@dataclass(frozen=True, order=True)
class Variant:
    """Model × scheme × export: what an artifact is built from.

    ``export`` is how the batch stands in the file, and the default how it stood before there was a
    choice; of a file that was not built here it says nothing. ``framework`` tells variants of one
    run apart that only their framework tells apart; it is empty where a run has one framework.
    """

    model: str
    scheme: str
    export: str = OPEN
    framework: str = ""

    def __str__(self) -> str:
        fixed = "" if self.export == OPEN else f", export {self.export}"
        whose = f" ({self.framework})" if self.framework else ""
        return f"{self.model} {self.scheme}{fixed}{whose}"

    def to_json(self) -> dict[str, str]:
        """Return it as files carry it: the usual export is left out, as in those of before there
        was one, and so is the framework of a run that has one."""
        fixed = {} if self.export == OPEN else {"export": self.export}
        whose = {"framework": self.framework} if self.framework else {}
        return {"model": self.model, "scheme": self.scheme, **fixed, **whose}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Variant:
        """The inverse of :meth:`to_json`, which other keys may stand beside."""
        export, framework = data.get("export", OPEN), data.get("framework", "")
        return cls(data["model"], data["scheme"], export, framework)


@dataclass(frozen=True)
class InputSpec:
    """What one input of a model file is fed.

    ``shape`` begins with the batch, where there is one; -1 is a size that the factor ``input_size``
    sets, and an empty shape stands for the file's own. With a ``name`` the runner is asked to feed
    the input of that name so; without one it is what the file takes by itself, or, for files that
    have no names, the input at this place. ``low`` and ``high`` are the smallest and the largest
    value as the input's type holds them, None where the runner's own range is taken.
    """

    shape: tuple[int, ...] = ()
    name: str = ""
    dtype: str = ""
    low: float | None = None
    high: float | None = None

    def at_batch(self, batch: int) -> tuple[int, ...]:
        """The shape that is fed at this batch."""
        return self.shape if batch == 1 else (batch, *self.shape[1:])

    def to_json(self) -> dict[str, Any]:
        """What is known of it, as plain values."""
        return {name: value for name, value in asdict(self).items() if value not in ((), "", None)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> InputSpec:
        """The inverse of :meth:`to_json`."""
        return cls(**{**data, "shape": tuple(data.get("shape", ()))})


@dataclass(frozen=True)
class PhaseSettings:
    """A phase ends when it has run at least ``runs`` inferences and at least ``seconds``."""

    runs: int
    seconds: float


@dataclass(frozen=True)
class GateSettings:
    """A timing trial waits, ``timeout_s`` at most, until other processes use no more than ``load``
    of all CPUs' time and the CPU is no hotter than ``temperature_c`` (None: any)."""

    load: float
    temperature_c: float | None
    timeout_s: float


@dataclass(frozen=True)
class RunSettings:
    """What the suite's protocol asks of every trial. ``timeout_s`` bounds the whole process.

    ``gate`` None: a trial waits for nothing. ``program`` is what runners run that have nothing of
    their own to run; None where the suite describes none.
    """

    warmup: PhaseSettings
    steady: PhaseSettings
    timeout_s: float
    gate: GateSettings | None = None
    program: Program | None = None


@dataclass(frozen=True, slots=True)
class Duet:
    """Which trial runs at the same time as this one, and on which half of the CPUs, 0 or 1."""

    partner: str
    half: int


@dataclass(frozen=True, slots=True)
class Trial:
    """One process of one runner on one variant: the unit of evidence.

    ``block`` counts from 0 within a comparison group; trials that do not time have block -1.
    ``replicate`` is 0, or 1 for the second baseline of a block (the A/A partner). ``trial_id`` is a
    file name, the same each time the plan is made from the same seed. In a block of duets every
    treatment has a baseline of its own, with a replicate from 2 on.
    """

    trial_id: str
    device: str
    kind: TrialKind
    variant: Variant
    factors: Factors
    block: int
    replicate: int = 0
    duet: Duet | None = None

    def to_json(self) -> dict[str, Any]:
        """The trial's fields as a journal line carries them: flat, factors included."""
        return {
            "trial_id": self.trial_id,
            "device": self.device,
            "kind": self.kind.value,
            **self.variant.to_json(),
            "block": self.block,
            "replicate": self.replicate,
            **asdict(self.factors),
            # left out of trials that run alone, whose lines stay as they were
            **({} if self.duet is None else {"duet": asdict(self.duet)}),
        }


@dataclass(frozen=True)
class Group:
    """What is compared with each other: one model's schemes on one device, all factors equal.

    ``own`` are the factors that mean something to the group's runner alone: they are part of its
    key whatever they are. ``framework`` is that of its variants.
    """

    device: str
    model: str
    factors: Factors
    schemes: tuple[str, ...]
    baseline: str
    own: tuple[str, ...] = ()
    framework: str = ""

    @property
    def key(self) -> str:
        """A stable name of the group, unique within a run."""
        return "/".join((self.device, self.model, *key_of(self.factors, self.own)))
