"""What a ``.tflite`` file is fed. It says its inputs' names and types itself, and their shapes
where they are not open."""

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
from orchestrator.frameworks.tflite.inspect import Inspection, TensorInfo
from orchestrator.trial import InputSpec


def feed(found: Inspection, asked: Asked) -> tuple[InputSpec, ...]:
    """Every input of the file as it is fed. Raises FeedingError for what cannot be."""
    _refuse_strings(found.inputs)
    wanted = matched([_own(tensor) for tensor in found.inputs], asked.inputs)
    if any(spec.shape for spec in wanted.values()) and asked.input_sizes != (0,):
        raise FeedingError(
            "is given its sizes twice, by `input` and by the factor `input_size`; keep one"
        )
    specs = tuple(
        _spec(tensor, wanted.get(place, InputSpec()), named=bool(asked.inputs))
        for place, tensor in enumerate(found.inputs)
    )
    specs = at_batch_one([tensor.shape for tensor in found.inputs], specs)
    _refuse_open(found.inputs, specs, asked.input_sizes)
    if asked.inputs:
        check_batches(specs, asked.batches)
    return specs


def _refuse_strings(inputs: Sequence[TensorInfo]) -> None:
    texts = [tensor for tensor in inputs if tensor.dtype == "string"]
    if texts:
        raise FeedingError(
            f"takes strings (its input {_called(texts[0])}), and no text is made up here; measure "
            f"the network from behind its look-up of words, which takes whole numbers"
        )


def _own(tensor: TensorInfo) -> OwnInput:
    """An input is meant by its name in the signature, or by the tensor's."""
    return OwnInput(_called(tensor), (tensor.key, tensor.name), tensor.dtype, tensor.shape)


def _called(tensor: TensorInfo) -> str:
    return tensor.key or tensor.name


def _spec(tensor: TensorInfo, asked: InputSpec, *, named: bool) -> InputSpec:
    if asked.dtype and asked.dtype != tensor.dtype:
        raise FeedingError(
            f"takes {tensor.dtype} as its input {_called(tensor)}, not {asked.dtype}; delete "
            f"`dtype`, which a .tflite file says itself"
        )
    if asked.shape and len(asked.shape) != len(tensor.shape):
        raise FeedingError(
            f"has an input {_called(tensor)} of shape {shape_shown(tensor.shape)}, and "
            f"{list(asked.shape)} has another number of sizes; write "
            f"{example([(_called(tensor), closed(tensor.shape))])}"
        )
    spec = replace(asked, dtype=tensor.dtype, name=tensor.name if named else "")
    if not asked.shape:
        spec = replace(spec, shape=tensor.shape)
    check_spec(spec)
    return spec


def _refuse_open(
    inputs: Sequence[TensorInfo], specs: Sequence[InputSpec], input_sizes: Sequence[int]
) -> None:
    """A runtime takes an open size for 1: right of a batch, and of nothing else."""
    sized = all(size > 0 for size in input_sizes)
    open_ones = [(t, s.shape) for t, s in zip(inputs, specs, strict=True) if OPEN in s.shape]
    missing = [t for t, shape in open_ones if not (sized and _is_sized_image(shape))]
    if not missing:
        return
    shapes = ", ".join(f"{_called(t)} {shape_shown(t.shape)}" for t in missing)
    names = [(_called(t), closed(t.shape)) for t in inputs if len(missing) > 1 or t in missing]
    if len(inputs) > 1 and len(names) == 1:
        written = f"`input: {{{names[0][0]}: {names[0][1]}}}`"
    else:
        written = example(names)
    also = ""
    if all(_is_sized_image(shape) for _, shape in open_ones):
        also = f", or the factor `input_size: [{SOME_PIXELS}]`"
    raise FeedingError(
        f"leaves open what it is fed ({shapes}), and a runtime would measure each open size as 1; "
        f"say what to measure, for example {written}{also}"
    )


def _is_sized_image(shape: Sequence[int]) -> bool:
    """Whether height and width are all that is open, the batch apart: what ``input_size`` sets."""
    if len(shape) != IMAGE_RANK:
        return False
    last = OPEN not in (shape[0], shape[3]) and OPEN in shape[1:3]
    return last or (OPEN not in shape[:2] and tuple(shape[2:]) == (OPEN, OPEN))
