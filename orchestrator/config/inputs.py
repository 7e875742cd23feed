"""``input:`` of a user's model: what its inputs are fed, where the file does not say it.

One form for every framework: the only input's shape, or a name and what is known of it for each::

    input: [1, 224, 224, 3]
    input: {ids: {shape: [1, 128], dtype: int64, range: [0, 30521]}, mask: [1, 128]}
    input: {shape: [1, 3, 32, 32], dtype: float16}
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

from orchestrator.config.text import hint, listed, shown
from orchestrator.frameworks.feeding import BOUNDS, check_range
from orchestrator.trial import InputSpec

_KEYS = ("shape", "dtype", "range")
_FLOATS = ("float16", "bfloat16", "float32", "float64")
DTYPES = (*_FLOATS, *BOUNDS)

_MOST_INPUTS = 64
_LONGEST_NAME = 400
EXAMPLE = (
    "write for example `input: [1, 3, 224, 224]`, or "
    "`input: {ids: {shape: [1, 128], dtype: int64, range: [0, 30521]}, mask: [1, 128]}`"
)


def read_inputs(value: object) -> tuple[InputSpec, ...]:
    """What ``input:`` says, in any of its forms. Raises ValueError."""
    if isinstance(value, tuple) and value and all(isinstance(v, InputSpec) for v in value):
        return value
    if isinstance(value, list | tuple):
        return (InputSpec(_shape(value)),)
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"is not a shape, and names no inputs; {EXAMPLE}")
    if set(value) <= set(_KEYS):
        return (_spec("", value),)
    if len(value) > _MOST_INPUTS:
        raise ValueError(f"names {len(value)} inputs; {_MOST_INPUTS} are the most")
    return tuple(_named(name, said) for name, said in value.items())


def _named(name: object, said: object) -> InputSpec:
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise ValueError(f"{shown(str(name))} is not an input's name; {EXAMPLE}")
    try:
        return InputSpec(_shape(said), name) if isinstance(said, list) else _spec(name, said)
    except ValueError as exc:
        raise ValueError(f"{shown(name)}: {exc}") from exc


def _spec(name: str, said: object) -> InputSpec:
    if not isinstance(said, Mapping) or not said:
        raise ValueError(f"is not a shape, nor `shape`, `dtype` and `range`; {EXAMPLE}")
    for key in said:
        if key not in _KEYS:
            raise ValueError(
                f"unknown key {shown(str(key))}; {hint(str(key), list(_KEYS), 'the keys are')}"
            )
    shape = _shape(said["shape"]) if "shape" in said else ()
    dtype = said.get("dtype", "")
    if dtype and dtype not in DTYPES:
        raise ValueError(f"{shown(str(dtype))} is not a type; write one of {listed(DTYPES)}")
    low, high = _range(said["range"]) if "range" in said else (None, None)
    spec = InputSpec(shape, name, dtype, low, high)
    if dtype:
        check_range(spec)
    return spec


def _shape(value: object) -> tuple[int, ...]:
    if (
        not isinstance(value, list | tuple)
        or not 0 < len(value) <= 8
        or not all(type(size) is int and 1 <= size <= 2**31 - 1 for size in value)
        or math.prod(value) > 2**33
    ):
        raise ValueError("is not an input's shape; write for example `input: [1, 3, 224, 224]`")
    return tuple(value)


def _range(value: object) -> tuple[float, float]:
    right = isinstance(value, list | tuple) and len(value) == 2
    numbers = value if right and isinstance(value, list | tuple) else ()
    if not right or not all(
        isinstance(each, int | float) and not isinstance(each, bool) and abs(each) < 2**63
        for each in numbers
    ):
        raise ValueError("`range` is its smallest and largest value: `range: [0, 999]`")
    low, high = numbers
    if low > high:
        raise ValueError(f"`range` begins above its end; write `range: [{high:g}, {low:g}]`")
    return low, high


def written(specs: tuple[InputSpec, ...]) -> object:
    """Return the inputs as a suite's file has them."""
    forms = {spec.name: _form(spec) for spec in specs}
    return forms[""] if list(forms) == [""] else forms


def _form(spec: InputSpec) -> object:
    said: dict[str, object] = {"shape": list(spec.shape)} if spec.shape else {}
    if spec.dtype:
        said["dtype"] = spec.dtype
    if spec.low is not None:
        said["range"] = [spec.low, spec.high]
    return said["shape"] if list(said) == ["shape"] else said


Inputs = Annotated[tuple[InputSpec, ...], BeforeValidator(read_inputs), PlainSerializer(written)]
