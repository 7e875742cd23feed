"""What a ``.tflite`` file holds, in the lines that ``orchestrate models inspect`` shows."""

from __future__ import annotations

from orchestrator.factors import OPEN
from orchestrator.frameworks.files import Description, Table
from orchestrator.frameworks.tflite.inspect import Inspection, SignatureInfo, TensorInfo, Work
from orchestrator.printable import printable


def describe(found: Inspection) -> Description:
    """Say what the file holds, the signature that is meant first."""
    lines = [
        f"scheme       {found.scheme}{_granularity(found)}",
        f"types        {_types(found)}",
        *_uses(found),
        f"size         {found.size_bytes / 1e6:.3f} MB, SHA-256 {found.sha256}",
        *(f"weights      partly in another file: {printable(n)}" for n in found.external_files),
        f"parameters   {found.parameters:,}",
        f"work         {_work(found.work)}",
        f"quantized    {_quantized(found.work)}",
        f"runtime      {_runtime(found)}",
    ]
    if found.signature is not None:
        lines.append(f"signature    {_signature(found)}")
    lines += [f"export       {_export(found)}"] * (found.export is not None)
    for name, tensors in (("input", found.inputs), ("output", found.outputs)):
        lines += [f"{name:<12} {_tensor(t)}" for t in tensors]
    operators = [
        (printable(op.name), str(op.version), str(op.count), _since(op.runtime, op.because))
        for op in found.operators
    ]
    tables: list[Table] = [(("operator", "version", "count", "since runtime"), operators)]
    if len(found.signatures) > 1:
        each = ("signature", "inputs", "outputs", "parameters", "multiply-accumulates")
        tables.append((each, [_signature_row(s) for s in found.signatures]))
    return Description(lines, tables)


def _granularity(found: Inspection) -> str:
    if found.granularity is None:
        return ""
    if found.granularity == "mixed":
        return ", some layers with a scale a channel, some with one scale"
    block = f" ({found.block_size})" if found.block_size else ""
    return f", {found.granularity.replace('_', ' ')}{block}"


def _types(found: Inspection) -> str:
    weights = ", ".join(found.weight_types) or "none"
    if found.block_size:
        weights += f" in blocks of {found.block_size}"
    return f"weights {weights}; activations {', '.join(found.activation_types) or 'none'}"


def _uses(found: Inspection) -> list[str]:
    """How the weights are held, where operators disagree."""
    if len(found.weights) < 2:
        return []
    return [
        f"             {use.scheme}: {use.operators} operators, {use.elements:,} weights"
        for use in found.weights
    ]


def _export(found: Inspection) -> str:
    """How the batch stands in it, which can decide what a delegate takes."""
    computed = f"{found.shape_operators or 'no'} SHAPE computes a shape while it runs"
    return f"{'batch left open' if found.export == OPEN else 'batch fixed'}; {computed}"


def _signature(found: Inspection) -> str:
    name = printable(str(found.signature))
    others = [printable(str(s.name)) for s in found.signatures if s.name != found.signature]
    if not others:
        return name
    return f"{name} is what this is about; there are also {', '.join(others)}"


def _signature_row(signature: SignatureInfo) -> tuple[str, ...]:
    work = signature.multiply_accumulates
    return (
        printable(str(signature.name)),
        ", ".join(_called(t) for t in signature.inputs),
        ", ".join(_called(t) for t in signature.outputs),
        f"{signature.parameters:,}",
        "unknown" if work is None else f"{work:,}",
    )


def _called(tensor: TensorInfo) -> str:
    return f"{printable(tensor.key or tensor.name)} {tensor.dtype} {list(tensor.shape)}"


def _tensor(tensor: TensorInfo) -> str:
    key = "" if tensor.key in (None, tensor.name) else f" ({printable(str(tensor.key))})"
    return f"{tensor.dtype} {list(tensor.shape)} {printable(tensor.name)}{key}"


def _since(runtime: str | None, because: str | None) -> str:
    return (runtime or "unknown") + (f", for {printable(because)}" if because else "")


def _work(work: Work) -> str:
    """Say how much work one item is: an open batch counts as 1."""
    if work.multiply_accumulates is None:
        uncounted = printable(", ".join(work.uncounted))
        return f"unknown: the file alone does not tell the work of {uncounted}"
    return f"{work.multiply_accumulates:,} multiply-accumulates an item"


def _quantized(work: Work) -> str:
    parts = [f"{100 * work.quantized_operators_share:.0f} % of operators"]
    if work.quantized_work_share is not None:
        parts.append(f"{100 * work.quantized_work_share:.1f} % of multiply-accumulates")
    return ", ".join(parts)


def _runtime(found: Inspection) -> str:
    """Name the oldest runtime, by the table of operators and by what the converter noted."""
    oldest = f"TensorFlow Lite {found.oldest_runtime or 'unknown'} or later"
    if found.oldest_runtime is None:
        oldest = "unknown"
    if found.oldest_because is not None and found.oldest_runtime is not None:
        oldest += f", for {found.oldest_because}"
    if found.unknown_operators:
        oldest += f", not counting {', '.join(found.unknown_operators)}, which are not known here"
    return f"{oldest} (the file says {printable(found.min_runtime or 'nothing')})"
