"""What a TorchScript file is fed. It says which arguments its ``forward`` takes, of shapes and
types of numbers nothing; the types of its weights and the operators it calls are a hint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.frameworks.feeding import (
    Asked,
    FeedingError,
    check_batches,
    check_spec,
    example,
)
from orchestrator.frameworks.torch.file import Argument, TorchInspection
from orchestrator.trial import InputSpec

_DEFAULT = "float32"
_SOME_IMAGE, _SOME_IDS = (1, 3, 224, 224), (1, 128)


def feed(found: TorchInspection, asked: Asked) -> tuple[InputSpec, ...]:
    """Every input as it is fed, in the order of the arguments. Raises FeedingError."""
    taken = found.arguments
    if taken is not None:
        _refuse_other_than_tensors(taken)
    if not asked.inputs:
        raise FeedingError(f"does not say what it is fed; add `input`, for {_example(found)}")
    specs = _ordered(found, asked.inputs)
    for spec in specs:
        if not spec.shape:
            raise FeedingError(
                f"does not say the shape of {spec.name or 'its input'}; add `shape`, for "
                f"{_example(found)}"
            )
    _refuse_unsaid_types(found, specs)
    fed = tuple(replace(spec, dtype=spec.dtype or _DEFAULT) for spec in specs)
    for spec in fed:
        if spec.dtype in ("uint32", "uint64"):
            raise FeedingError(f"is PyTorch's, which does not compute in {spec.dtype}; use int64")
        check_spec(spec)
    check_batches(fed, asked.batches)
    if fed[0].name == "" and fed[0].shape[0] != 1:
        raise FeedingError(
            f"is fed {list(fed[0].shape)}, which begins with the batch; write 1 there, and "
            f"`batch: [{fed[0].shape[0]}]` among the factors, or name the input: "
            f"`input: {{x: {list(fed[0].shape)}}}`"
        )
    return fed


def _refuse_other_than_tensors(taken: Sequence[Argument]) -> None:
    for argument in taken:
        if argument.kind != "Tensor" and not argument.optional:
            raise FeedingError(
                f"takes {argument.kind} as its argument {argument.name}, and tensors alone are fed "
                f"here; export it with a forward that takes tensors"
            )


def _ordered(found: TorchInspection, asked: Sequence[InputSpec]) -> tuple[InputSpec, ...]:
    taken = found.arguments
    if taken is None:
        return tuple(asked)
    needed = [argument.name for argument in taken if not argument.optional]
    if len(needed) != len(asked):
        raise FeedingError(
            f"takes {len(needed)} inputs ({', '.join(needed) or 'none'}), and `input` tells of "
            f"{len(asked)}; write for {_example(found)}"
        )
    by_name = {spec.name: spec for spec in asked}
    if len(asked) == 1 and asked[0].name == "":
        return tuple(asked)
    strange = [name for name in by_name if name not in needed]
    if strange:
        raise FeedingError(f"has no argument {strange[0]!r}; its forward takes {', '.join(needed)}")
    return tuple(by_name[name] for name in needed)


def _refuse_unsaid_types(found: TorchInspection, specs: Sequence[InputSpec]) -> None:
    """Where float32 would be a guess against what the file shows."""
    if any(spec.dtype for spec in specs):
        return
    floats = _float_types(found)
    if len(floats) == 1 and floats[0] != _DEFAULT and not found.quantized:
        raise FeedingError(
            f"has weights of {floats[0]}, and `input` does not say that it is fed so; write "
            f"for {_example(found, specs)}"
        )
    if "embedding" in dict(found.operators):
        raise FeedingError(
            f"looks something up by number (torch.embedding), and `input` does not say which "
            f"numbers; write for {_example(found, specs)} with the size of its table, or "
            f"`dtype: float32` where none of its inputs is such"
        )


def _float_types(found: TorchInspection) -> list[str]:
    return sorted({s.dtype for s in found.stored if "float" in s.dtype and s.elements})


def _example(found: TorchInspection, specs: Sequence[InputSpec] = ()) -> str:
    """``example `input: …` `` in the form that this file needs."""
    taken = [a.name for a in found.arguments or () if not a.optional]
    ids = "embedding" in dict(found.operators)
    shapes = [list(spec.shape) for spec in specs] or [
        list(_SOME_IDS if ids else _SOME_IMAGE) for _ in (taken or [""])
    ]
    names = [spec.name for spec in specs] if specs and specs[0].name else taken
    floats = _float_types(found)
    more = ", dtype: int64, range: [0, 999]" if ids else ""
    if not ids and len(floats) == 1 and floats[0] != _DEFAULT:
        more = f", dtype: {floats[0]}"
    if not more:
        return f"example {example(list(zip(names or [''], shapes, strict=False)))}"
    forms = [f"{{shape: {shape}{more}}}" for shape in shapes]
    if len(forms) == 1:
        return f"example `input: {forms[0]}`"
    named = ", ".join(f"{name}: {form}" for name, form in zip(names, forms, strict=False))
    return f"example `input: {{{named}}}`"
