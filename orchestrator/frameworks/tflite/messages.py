"""What TensorFlow Lite's runtimes print, where it says what happened to a trial. Pure."""

from __future__ import annotations

import re

#: The runtime says this on stderr whenever the delegate comes to life, in every version known.
XNNPACK_CREATED = "Created TensorFlow Lite XNNPACK delegate"

# The runtime's own words when a file needs what this build of it does not have.
_INCOMPATIBLE = (
    re.compile(r"Encountered unresolved custom op: (?P<op>\S+?)\.?(?:\s|$)"),
    re.compile(r"Didn't find op for builtin opcode '(?P<op>[^']*)' version '(?P<version>[^']*)'"),
    re.compile(r"Op builtin_code out of range: (?P<op>\d+)"),
    re.compile(
        r"(?:Regular TensorFlow ops are|Select TensorFlow op\(s\)[^.]{0,60}) not supported"
        r"(?:(?!\(Flex).){0,600}(?:\((?P<flex>Flex\w+)\))?",
        re.DOTALL,
    ),
    re.compile(r"Model provided is schema version (?P<version>\d+) not equal"),
    re.compile(r"Registration failed"),
    # an operator that XNNPACK took while it chose, and then finds that it cannot compute
    re.compile(r"failed to delegate (?P<taken>\w+) node #\d+"),
)


def incompatibility(text: str) -> str | None:
    """Say why this runtime cannot load a file, in a sentence; None if ``text`` does not say so."""
    for pattern in _INCOMPATIBLE:
        found = pattern.search(text)
        if found is not None:
            return _incompatible_reason(found)
    return None


def _incompatible_reason(found: re.Match[str]) -> str:
    groups = found.groupdict()
    if "flex" in groups:
        op = groups["flex"]
        called = f"operator {op.removeprefix('Flex')} ({op})" if op else "operators"
        return (
            f"the model needs TensorFlow's own {called}, which this runtime has no delegate for "
            "(SELECT_TF_OPS); convert the model with TFLITE_BUILTINS alone, after replacing what "
            "has no such operator, or use the binary benchmark_model_plus_flex"
        )
    if "taken" in groups:
        return (
            f"the runtime's XNNPACK delegate takes operator {groups['taken']} and cannot compute "
            "it as this file holds it (sparse weights are such); measure it with delegate: [none], "
            "or convert the model in another way"
        )
    op, version = groups.get("op"), groups.get("version")
    needs = f"op {op}" if op else "an op"
    if version:
        needs = f"{needs} version {version}" if op else f"schema version {version}"
    return (
        f"the runtime lacks {needs}, which the model needs ({found.group().strip()!r}); "
        "use a newer runtime, or convert the model for this one"
    )
