"""What an ``.onnx`` file is fed. It says its inputs' names and types itself, and their shapes where
they are not open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.frameworks.feeding import (
    IMAGE_RANK,
    OPEN,
    SOME_PIXELS,
    Asked,
    FeedingError,
    OwnInput,
    at_batch_one,
    check_batches,
    check_spec,
    closed,
    example,
    matched,
    shape_shown,
)
from orchestrator.frameworks.onnx.inspect import Inspection, TensorInfo
from orchestrator.trial import InputSpec

#: What the child can make values of.
_FED = frozenset(
    """
    float32 float16 float64 int8 uint8 int16 uint16 int32 uint32 int64 uint64 bool
    """.split()  # noqa: SIM905  # a word list reads better than as many quotes
)


def feed(found: Inspection, asked: Asked) -> tuple[InputSpec, ...]:
    """Every input of the file as it is fed. Raises FeedingError for what cannot be."""
    _refuse_other_types(found.inputs)
    wanted = matched([_own(tensor) for tensor in found.inputs], asked.inputs)
    sized = all(size > 0 for size in asked.input_sizes)
    if any(spec.shape for spec in wanted.values()) and asked.input_sizes != (0,):
        raise FeedingError(
            "is given its sizes twice, by `input` and by the factor `input_size`; keep one"
        )
    if asked.input_sizes != (0,):
        _refuse_fixed_sizes(found.inputs)
    specs = tuple(
        _spec(tensor, wanted.get(place, InputSpec()), named=bool(asked.inputs))
        for place, tensor in enumerate(found.inputs)
    )
    specs = at_batch_one([tensor.shape or () for tensor in found.inputs], specs)
    _refuse_open(found.inputs, specs, sized=sized)
    _refuse_fixed_batch(found.inputs, asked.batches)
    if asked.inputs:
        check_batches(specs, asked.batches)
    return specs


def _refuse_other_types(inputs: Sequence[TensorInfo]) -> None:
    for tensor in inputs:
        if tensor.dtype not in _FED:
            raise FeedingError(
                f"takes {tensor.dtype} as its input {tensor.name}, which is not made up here; "
                f"measure the network from behind it, on numbers"
            )


def _spec(tensor: TensorInfo, asked: InputSpec, *, named: bool) -> InputSpec:
    if asked.dtype and asked.dtype != tensor.dtype:
        raise FeedingError(
            f"takes {tensor.dtype} as its input {tensor.name}, not {asked.dtype}; delete "
            f"`dtype`, which an .onnx file says itself"
        )
    own = tensor.shape
    if own is None and not asked.shape:
        raise FeedingError(
            f"does not say the shape of its input {tensor.name}; write "
            f"{example([(tensor.name, [1, 3, SOME_PIXELS, SOME_PIXELS])])}"
        )
    if asked.shape and own is not None and not _agree(asked.shape, own):
        raise FeedingError(
            f"has an input {tensor.name} of shape {shape_shown(own)}, and {list(asked.shape)} is "
            f"another; what a file fixes cannot be changed"
        )
    shape = asked.shape or own or ()
    spec = replace(asked, dtype=tensor.dtype, name=tensor.name if named else "", shape=shape)
    check_spec(spec)
    return spec


def _agree(asked: Sequence[int], own: Sequence[int]) -> bool:
    return len(asked) == len(own) and all(
        size in (OPEN, wanted) for wanted, size in zip(asked, own, strict=True)
    )


def _refuse_open(inputs: Sequence[TensorInfo], specs: Sequence[InputSpec], *, sized: bool) -> None:
    missing = [
        tensor
        for tensor, spec in zip(inputs, specs, strict=True)
        if OPEN in spec.shape and not (sized and _is_sized_image(spec.shape))
    ]
    if not missing:
        return
    names = [(t.name, closed(t.shape or ())) for t in inputs if len(missing) > 1 or t in missing]
    written = example(names)
    if len(inputs) > 1 and len(names) == 1:
        written = f"`input: {{{names[0][0]}: {names[0][1]}}}`"
    also = ""
    if all(_is_sized_image(t.shape or ()) for t in missing):
        also = f", or the factor `input_size: [{SOME_PIXELS}]`"
    raise FeedingError(
        f"leaves open what it is fed ({', '.join(map(_shown, missing))}); say what to measure, for "
        f"example {written}{also}"
    )


def _refuse_fixed_batch(inputs: Sequence[TensorInfo], batches: Sequence[int]) -> None:
    """A runtime takes no other size than a file has fixed."""
    others = [batch for batch in batches if batch != 1]
    fixed = [t for t in inputs if t.shape and t.shape[0] != OPEN]
    if others and fixed:
        raise FeedingError(
            f"cannot be run at batch {others[0]}: its input {_shown(fixed[0])} has a fixed first "
            f"size; export it with that size open, or write `batch: [1]`"
        )


def _refuse_fixed_sizes(inputs: Sequence[TensorInfo]) -> None:
    for tensor in inputs:
        if not _is_sized_image(tensor.shape or ()):
            raise FeedingError(
                f"has an input {_shown(tensor)} whose height and width are not open; export it "
                f"with open ones, or delete `input_size`"
            )


def _is_sized_image(shape: Sequence[int]) -> bool:
    """Whether height and width are all that is open, the batch apart: what ``input_size`` sets."""
    if len(shape) != IMAGE_RANK:
        return False
    first = tuple(shape[2:]) == (OPEN, OPEN) and shape[1] != OPEN
    last = tuple(shape[1:3]) == (OPEN, OPEN) and shape[3] != OPEN
    return first or last


def _own(tensor: TensorInfo) -> OwnInput:
    return OwnInput(tensor.name, (tensor.name,), tensor.dtype, tensor.shape or ())


def _shown(tensor: TensorInfo) -> str:
    return f"{tensor.name} {tensor.dtype} {shape_shown(tensor.shape or ())}"
