"""What the inputs of a user's file are fed: what the suite says, held against what the file says.

Whatever cannot be fed is refused here, before a device is touched. Each framework's ``feeding``
knows its own files; the words that they share are here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.trial import InputSpec

#: Smallest and largest value of each type of whole numbers.
BOUNDS: Mapping[str, tuple[int, int]] = {
    "bool": (0, 1),
    "uint8": (0, 2**8 - 1),
    "int8": (-(2**7), 2**7 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "uint32": (0, 2**32 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}


#: A size that a file leaves open.
OPEN = -1
IMAGE_RANK = 4
#: Of an example: what an open size might be.
SOME_PIXELS, SOME_LENGTH = 224, 128


class FeedingError(Exception):
    """Why a file cannot be fed as the suite says. The message follows the file's name."""


@dataclass(frozen=True)
class Asked:
    """What the suite says of inputs: of this model's, and by the factors that reshape them."""

    inputs: tuple[InputSpec, ...]
    batches: tuple[int, ...] = (1,)
    input_sizes: tuple[int, ...] = (0,)


def check_batches(specs: Iterable[InputSpec], batches: Sequence[int]) -> None:
    """A batch replaces the first size, so that it has to be 1. Raises FeedingError."""
    others = [batch for batch in batches if batch != 1]
    for spec in specs if others else ():
        if not spec.shape or spec.shape[0] != 1:
            of = f" of {spec.name}" if spec.name else ""
            raise FeedingError(
                f"cannot be run at batch {others[0]}: the shape {list(spec.shape)}{of} does not "
                f"begin with 1, which the batch would replace; write `batch: [1]`"
            )


def check_range(spec: InputSpec) -> None:
    """Whether the range is one of the type's. Raises ValueError."""
    if spec.low is None or spec.high is None or spec.dtype not in BOUNDS:
        return
    lowest, highest = BOUNDS[spec.dtype]
    whole = float(spec.low).is_integer() and float(spec.high).is_integer()
    if not whole or spec.low < lowest or spec.high > highest:
        raise ValueError(
            f"`range: [{spec.low:g}, {spec.high:g}]` is not one of {spec.dtype}, which holds whole "
            f"numbers from {lowest} to {highest}"
        )


def check_spec(spec: InputSpec) -> None:
    """Whether the range is one of the type that the file has. Raises FeedingError."""
    try:
        check_range(spec)
    except ValueError as exc:
        of = f" for {spec.name}" if spec.name else ""
        raise FeedingError(
            f"cannot be fed so{of}: {exc}; write another range, or measure it with a suite of its "
            f"own"
        ) from exc


def as_written(name: str, shape: Iterable[int]) -> str:
    """``name: [1, 128]``, as a line of ``input:``; quoted where YAML needs that."""
    plain = name.replace("_", "a").replace(".", "a").isalnum() and not name[:1].isdigit()
    return f"{name if plain else repr(name)}: {list(shape)}"


def example(inputs: Sequence[tuple[str, Sequence[int]]]) -> str:
    """``input: [1, 224, 224, 3]``, or with names where there are several."""
    if len(inputs) == 1:
        return f"`input: {list(inputs[0][1])}`"
    return f"`input: {{{', '.join(as_written(name, shape) for name, shape in inputs)}}}`"


@dataclass(frozen=True)
class OwnInput:
    """An input as its file has it, for messages: what it is called, by which ``names`` a suite may
    mean it, its type, and its shape with ``OPEN`` for an open size."""

    called: str
    names: tuple[str | None, ...]
    dtype: str
    shape: tuple[int, ...]


def matched(inputs: Sequence[OwnInput], asked: Sequence[InputSpec]) -> Mapping[int, InputSpec]:
    """Return what is asked for, by the input's place. Raises FeedingError for what fits no input,
    or more than one."""
    there = ", ".join(f"{each.called} {each.dtype} {shape_shown(each.shape)}" for each in inputs)
    found: dict[int, InputSpec] = {}
    for spec in asked:
        places = [i for i, each in enumerate(inputs) if spec.name in each.names]
        if not spec.name and len(inputs) == 1:
            places = [0]
        if not spec.name and len(inputs) != 1:
            raise FeedingError(
                f"has {len(inputs)} inputs ({there}), and `input` does not name which it is about; "
                f"write {example([(each.called, closed(each.shape)) for each in inputs])}"
            )
        if len(places) != 1 or places[0] in found:
            raise FeedingError(f"has no input {spec.name!r} of its own; it has {there}")
        found[places[0]] = spec
    return found


def at_batch_one(
    shapes: Iterable[Sequence[int]], specs: Sequence[InputSpec]
) -> tuple[InputSpec, ...]:
    """Return the same with 1 in the place of an open batch: the first size, but for a list that
    stands alone, whose one size is its length. ``shapes`` are the file's own."""
    batched = any(len(shape) > 1 and shape[0] == OPEN for shape in shapes)
    return tuple(
        replace(spec, shape=(1, *spec.shape[1:]))
        if spec.shape[:1] == (OPEN,) and (len(spec.shape) > 1 or batched)
        else spec
        for spec in specs
    )


def closed(shape: Sequence[int]) -> list[int]:
    """Return the shape with a size that might be meant in the place of each open one."""
    some = SOME_PIXELS if len(shape) == IMAGE_RANK else SOME_LENGTH
    rest = [some if size == OPEN else size for size in shape[1:]]
    first = list(shape[:1])
    if first == [OPEN]:
        first = [1] if rest else [some]
    return [*first, *rest]


def shape_shown(shape: Sequence[int]) -> str:
    """``[open, 224, 224, 3]``."""
    return "[" + ", ".join("open" if size == OPEN else str(size) for size in shape) + "]"
