"""What a capped process says of itself, and whether that is what was asked for. Pure.

``cap_cpuid.c`` writes the lines; its comment says how they look and which process writes them.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.isa.levels import LEAVES, Leaf, kept, visible

MARK = "@orchestrate-cpuid "
#: How CPUID is made to trap.
FAULTING, REWRITING = "faulting", "rewriting"
_LINE = re.compile(
    r"@orchestrate-cpuid (?P<when>begin|end) cap=(?P<state>[0-9a-f]{8}) "
    r"by=(?P<way>faulting|rewriting) (?P<answers>\S*)"
    r"(?: lost=(?P<lost>[0-9a-f]{8}) (?P<objects>\S*))?\n?"
)
_ANSWER = re.compile(
    r"(?P<leaf>[0-9a-f]{8})\.(?P<subleaf>[0-9a-f]{8})="
    r"(?P<eax>[0-9a-f]{8}),(?P<ebx>[0-9a-f]{8}),(?P<ecx>[0-9a-f]{8}),(?P<edx>[0-9a-f]{8});"
)
_OBJECT = re.compile(r"(?P<name>[A-Za-z0-9._+-]{1,47})=(?P<counts>[0-9a-f]{8}(?:,[0-9a-f]{8}){4});")

#: Objects that ask CPUID in every process; whether the measured program did is not theirs to say.
_C_RUNTIME = ("ld-", "libc.so", "libm.so", "libgcc_s.so", "libstdc++.so")

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
class RewrittenObject:
    """An object of the process whose CPUID instructions were rewritten, and how often they ran.

    ``undecided`` are the places that may be one: held from executing, and nothing ran there.
    """

    name: str
    sites: int
    answered: int
    undecided: int


@dataclass(frozen=True)
class IsaProof:
    """What the measured process read back from CPUID, at its start and at its end.

    ``features`` are those of :data:`orchestrator.isa.levels.FEATURES` that it saw. ``way`` is how
    CPUID was made to trap: ``faulting`` or ``rewriting``, the latter in ``objects``.
    ``object_sha256`` is the capping object's.
    """

    level: str
    features: tuple[str, ...]
    object_sha256: str
    way: str
    objects: tuple[RewrittenObject, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "level": self.level,
            "features": list(self.features),
            "object_sha256": self.object_sha256,
            "way": self.way,
            **({"objects": [asdict(each) for each in self.objects]} if self.objects else {}),
        }


def without_proof(stderr: str) -> str:
    """``stderr`` without our own lines, as the runner wrote it."""
    return _LINE.sub("", stderr)


def prove(level: str, stderr: str, object_sha256: str, libraries: Sequence[str] = ()) -> IsaProof:
    """Prove that the process was capped to ``level`` from its start to its end. Raises
    UnprovenError.

    A wrapper that starts the program by ``exec`` writes a first line too: all must be right, and
    the last one must be an end. Where instructions were rewritten, one of an object whose name
    holds one of ``libraries`` must have been answered; without ``libraries``, one of any object
    that is not the C library's.
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
    last = lines[-1]
    objects = _rewritten(last, libraries) if last["way"] == REWRITING else ()
    return IsaProof(level, tuple(sorted(seen.pop())), object_sha256, last["way"], objects)


def _rewritten(line: re.Match[str], libraries: Sequence[str]) -> tuple[RewrittenObject, ...]:
    """What the process says of its objects, if all of them were dealt with."""
    found = list(_OBJECT.finditer(line["objects"] or ""))
    if line["lost"] != "00000000" or "".join(m[0] for m in found) != line["objects"]:
        raise UnprovenError("it loaded more CPUID instructions than can be followed")
    objects = tuple(_object(each["name"], each["counts"]) for each in found)
    if not any(o.answered and _of_interest(o.name, libraries) for o in objects):
        asked = ", ".join(o.name for o in objects if o.answered) or "nothing"
        raise UnprovenError(
            f"no CPUID instruction of the measured libraries was answered (only {asked} asked): "
            f"they were capped by nothing that is known of"
        )
    return objects


def _object(name: str, counts: str) -> RewrittenObject:
    sites, answered, held, ran, refused = (int(count, 16) for count in counts.split(","))
    if refused == errno.ENOEXEC:
        raise UnprovenError(f"the program headers of {name} could not be read")
    if refused:
        raise UnprovenError(f"CPUID in {name} could not be rewritten: {_denied(refused)}")
    if ran:
        raise UnprovenError(
            f"{held} {'place' if held == 1 else 'places'} that may be CPUID could not be decided "
            f"in {name}, and other code ran"
        )
    return RewrittenObject(name, sites, answered, held)


def _denied(error: int) -> str:
    return (
        f"mprotect answered {errno.errorcode.get(error, error)}, as where a security policy "
        f"(SELinux, MemoryDenyWriteExecute) forbids to change code"
    )


def _of_interest(name: str, libraries: Sequence[str]) -> bool:
    if libraries:
        return any(word in name.lower() for word in libraries)
    return not name.startswith(_C_RUNTIME)


def _features(level: str, line: re.Match[str]) -> frozenset[str]:
    state = int(line["state"], 16)
    if state:
        if line["way"] == REWRITING:
            why = f"its instructions could not be rewritten: {_denied(state)}"
        else:
            why = _REFUSALS.get(state, f"arch_prctl(ARCH_SET_CPUID) answered {state}")
            why += "; and the loader took no audit object, which would rewrite the instructions"
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
