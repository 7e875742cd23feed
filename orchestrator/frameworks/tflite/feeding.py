"""What a ``.tflite`` file is fed. It says its inputs' names and types itself, and their shapes
where they are not open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestrator.frameworks.feeding import (
    Asked,
    FeedingError,
    check_batches,
    check_spec,
    example,
)
from orchestrator.frameworks.tflite.inspect import Inspection, TensorInfo
from orchestrator.trial import InputSpec

_OPEN = -1
_IMAGE_RANK = 4
#: Of an example: what an open size might be.
_SOME_PIXELS, _SOME_LENGTH = 224, 128


def feed(found: Inspection, asked: Asked) -> tuple[InputSpec, ...]:
    """Every input of the file as it is fed. Raises FeedingError for what cannot be."""
    _refuse_strings(found.inputs)
    wanted = _matched(found.inputs, asked.inputs)
    if any(spec.shape for spec in wanted.values()) and asked.input_sizes != (0,):
        raise FeedingError(
            "is given its sizes twice, by `input` and by the factor `input_size`; keep one"
        )
    specs = tuple(
        _spec(tensor, wanted.get(place, InputSpec()), named=bool(asked.inputs))
        for place, tensor in enumerate(found.inputs)
    )
    specs = _at_batch_one(found.inputs, specs)
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


def _called(tensor: TensorInfo) -> str:
    return tensor.key or tensor.name


def _matched(inputs: Sequence[TensorInfo], asked: Sequence[InputSpec]) -> Mapping[int, InputSpec]:
    """What is asked for, by the input's place. Its name is the signature's, or the tensor's."""
    there = ", ".join(f"{_called(t)} {t.dtype} {_shape_shown(t.shape)}" for t in inputs)
    found: dict[int, InputSpec] = {}
    for spec in asked:
        places = [i for i, t in enumerate(inputs) if spec.name in (t.key, t.name)]
        if not spec.name and len(inputs) == 1:
            places = [0]
        if not spec.name and len(inputs) != 1:
            raise FeedingError(
                f"has {len(inputs)} inputs ({there}), and `input` does not name which it is about; "
                f"write {example([(_called(t), _closed(t)) for t in inputs])}"
            )
        if len(places) != 1 or places[0] in found:
            raise FeedingError(f"has no input {spec.name!r} of its own; it has {there}")
        found[places[0]] = spec
    return found


def _spec(tensor: TensorInfo, asked: InputSpec, *, named: bool) -> InputSpec:
    if asked.dtype and asked.dtype != tensor.dtype:
        raise FeedingError(
            f"takes {tensor.dtype} as its input {_called(tensor)}, not {asked.dtype}; delete "
            f"`dtype`, which a .tflite file says itself"
        )
    if asked.shape and len(asked.shape) != len(tensor.shape):
        raise FeedingError(
            f"has an input {_called(tensor)} of shape {_shape_shown(tensor.shape)}, and "
            f"{list(asked.shape)} has another number of sizes; write "
            f"{example([(_called(tensor), _closed(tensor))])}"
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
    open_ones = [(t, s.shape) for t, s in zip(inputs, specs, strict=True) if _OPEN in s.shape]
    missing = [t for t, shape in open_ones if not (sized and _is_sized_image(shape))]
    if not missing:
        return
    shapes = ", ".join(f"{_called(t)} {_shape_shown(t.shape)}" for t in missing)
    names = [(_called(t), _closed(t)) for t in inputs if len(missing) > 1 or t in missing]
    if len(inputs) > 1 and len(names) == 1:
        written = f"`input: {{{names[0][0]}: {names[0][1]}}}`"
    else:
        written = example(names)
    also = ""
    if all(_is_sized_image(shape) for _, shape in open_ones):
        also = f", or the factor `input_size: [{_SOME_PIXELS}]`"
    raise FeedingError(
        f"leaves open what it is fed ({shapes}), and a runtime would measure each open size as 1; "
        f"say what to measure, for example {written}{also}"
    )


def _at_batch_one(
    inputs: Sequence[TensorInfo], specs: Sequence[InputSpec]
) -> tuple[InputSpec, ...]:
    """The same with 1 in the place of an open batch: the first size, but for a list that stands
    alone, whose one size is its length."""
    batched = any(len(t.shape) > 1 and t.shape[0] == _OPEN for t in inputs)
    return tuple(
        replace(spec, shape=(1, *spec.shape[1:]))
        if spec.shape[:1] == (_OPEN,) and (len(spec.shape) > 1 or batched)
        else spec
        for spec in specs
    )


def _is_sized_image(shape: Sequence[int]) -> bool:
    """Whether height and width are all that is open, the batch apart: what ``input_size`` sets."""
    if len(shape) != _IMAGE_RANK:
        return False
    last = _OPEN not in (shape[0], shape[3]) and _OPEN in shape[1:3]
    return last or (_OPEN not in shape[:2] and tuple(shape[2:]) == (_OPEN, _OPEN))


def _closed(tensor: TensorInfo) -> list[int]:
    some = _SOME_PIXELS if len(tensor.shape) == _IMAGE_RANK else _SOME_LENGTH
    rest = [some if size == _OPEN else size for size in tensor.shape[1:]]
    first = tensor.shape[:1]
    if first == (_OPEN,):
        first = (1,) if rest else (some,)
    return [*first, *rest]


def _shape_shown(shape: Sequence[int]) -> str:
    return "[" + ", ".join("open" if size == _OPEN else str(size) for size in shape) + "]"
