"""What a capped process says of itself, and whether that is what was asked for. Pure.

``cap_cpuid.c`` writes the lines; its comment says how they look and which process writes them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from orchestrator.isa.levels import LEAVES, Leaf, kept, visible

MARK = "@orchestrate-cpuid "
_LINE = re.compile(
    r"@orchestrate-cpuid (?P<when>begin|end) cap=(?P<state>[0-9a-f]{8}) (?P<answers>\S*)\n?"
)
_ANSWER = re.compile(
    r"(?P<leaf>[0-9a-f]{8})\.(?P<subleaf>[0-9a-f]{8})="
    r"(?P<eax>[0-9a-f]{8}),(?P<ebx>[0-9a-f]{8}),(?P<ecx>[0-9a-f]{8}),(?P<edx>[0-9a-f]{8});"
)
#: errno of a kernel or CPU that cannot make CPUID fault, and of a filter that does not let us.
_REFUSALS = {
    1: "a system-call filter forbids arch_prctl(ARCH_SET_CPUID)",
    19: "the CPU, or its hypervisor, cannot make CPUID fault",
    22: "the kernel has no arch_prctl(ARCH_SET_CPUID)",
    38: "a system-call filter forbids arch_prctl",
}


class UnprovenError(ValueError):
    """The process did not prove that it was capped; the message says why."""


@dataclass(frozen=True)
class IsaProof:
    """What the measured process read back from CPUID, at its start and at its end.

    ``features`` are those of :data:`orchestrator.isa.levels.FEATURES` that it saw.
    ``object_sha256`` is the preloaded object's.
    """

    level: str
    features: tuple[str, ...]
    object_sha256: str

    def to_json(self) -> dict[str, Any]:
        return {
            "level": self.level,
            "features": list(self.features),
            "object_sha256": self.object_sha256,
        }


def without_proof(stderr: str) -> str:
    """``stderr`` without our own lines, as the runner wrote it."""
    return _LINE.sub("", stderr)


def prove(level: str, stderr: str, object_sha256: str) -> IsaProof:
    """That the process was capped to ``level`` from its start to its end. Raises UnprovenError.

    A wrapper that starts the program by ``exec`` writes a first line too: all must be right, and
    the last one must be an end.
    """
    lines = list(_LINE.finditer(stderr))
    if not lines:
        raise UnprovenError(
            "it never said that the preloaded object is there: a static or setuid program, or one "
            "of another architecture, ignores LD_PRELOAD; use a dynamically linked one"
        )
    seen = {_features(level, line) for line in lines}
    if lines[-1]["when"] != "end":
        raise UnprovenError(
            "it said that it began and not that it ended: the program was replaced by one that "
            "ignores LD_PRELOAD (a static or setuid one), or left by _exit"
        )
    if len(seen) > 1:
        raise UnprovenError("CPUID answered otherwise at its end than at its start")
    return IsaProof(level, tuple(sorted(seen.pop())), object_sha256)


def _features(level: str, line: re.Match[str]) -> frozenset[str]:
    state = int(line["state"], 16)
    if state:
        why = _REFUSALS.get(state, f"arch_prctl(ARCH_SET_CPUID) answered {state}")
        raise UnprovenError(f"CPUID was not capped: {why}")
    answers: dict[Leaf, tuple[int, ...]] = {}
    for found in _ANSWER.finditer(line["answers"]):
        leaf, subleaf, *registers = (int(group, 16) for group in found.groups())
        answers[leaf, subleaf] = tuple(registers)
    if set(answers) != set(LEAVES):
        raise UnprovenError("its line on CPUID is not whole")
    seen, asked = visible(answers), kept(level)
    if seen - asked:
        raise UnprovenError(f"it still saw {', '.join(sorted(seen - asked))}")
    if asked - seen:
        raise UnprovenError(
            f"the CPU, or its hypervisor, has no {', '.join(sorted(asked - seen))}, which "
            f"{level} has; ask for an older level"
        )
    return seen
