"""Which machine a node is, by what it reports: the facts that one device's trials hold equal. Pure.

Times of two machines are not one device's, even where both have the same CPU. A fact that a node
cannot tell is not compared.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Tuple, Union

Value = Union[str, int, bool, Tuple[str, ...]]

#: The facts by section ("" for the top): what chooses the kernels a runtime runs, how many CPUs
#: there are to run them, and what tells one machine from another of its kind.
_FACTS = (
    ("system", ("architecture", "userland_bits")),
    (
        "cpu",
        (
            *("vendor", "model_name", "family", "model", "stepping"),
            *("implementer", "part", "variant", "revision", "microarchitecture"),
            *("logical_cpus", "physical_cores", "sockets", "smt", "features"),
        ),
    ),
    ("board", ("vendor", "product")),
    ("", ("virtualization", "machine_id")),
)
#: A name in two sections is told apart in messages.
_NAMES = {("board", "vendor"): "board vendor", ("board", "product"): "board"}
#: What newer kernels report of the same CPU.
_OF_THE_KERNEL = frozenset(("cpuid_fault",))


def identity(facts: Mapping[str, Any]) -> Dict[str, Value]:
    """Return those of ``facts`` that say which machine this is, by name; what is not told is left
    out."""
    found: Dict[str, Value] = {}
    for section, names in _FACTS:
        told = facts.get(section) if section else facts
        if not isinstance(told, Mapping):
            continue
        for name in names:
            value = told.get(name)
            if isinstance(value, list):
                value = tuple(sorted({str(each) for each in value} - _OF_THE_KERNEL))
            if isinstance(value, (str, int, tuple)):
                found[_NAMES.get((section, name), name)] = value
    return found


def differences(known: Mapping[str, Value], found: Mapping[str, Value]) -> Tuple[str, ...]:
    """Say in words which facts both tell and are not the same: ``model_name was A, is B``."""
    return tuple(
        f"{name} was {_words(known[name], value)}, is {_words(value, known[name])}"
        for name, value in found.items()
        if name in known and known[name] != value
    )


def _words(value: Value, other: Value) -> str:
    """Say which values of a list the other one lacks, and of any other fact its value."""
    if not isinstance(value, tuple):
        return f"{value!s:.200}"
    extra: List[str] = [each for each in value if not isinstance(other, tuple) or each not in other]
    return f"with {' '.join(extra)!s:.200}" if extra else "without"
