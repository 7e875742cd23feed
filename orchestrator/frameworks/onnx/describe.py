"""What an ``.onnx`` file holds, in the lines that ``orchestrate models inspect`` shows."""

from __future__ import annotations

from orchestrator.frameworks.files import Description, Table
from orchestrator.frameworks.onnx.inspect import Inspection, TensorInfo, Work
from orchestrator.printable import printable


def describe(found: Inspection) -> Description:
    """Say what the file holds."""
    lines = [
        f"scheme       {found.scheme}{_form(found)}",
        f"types        weights {', '.join(found.weight_types) or 'none'}; activations "
        f"{', '.join(found.activation_types) or 'none'}",
        *_uses(found),
        f"size         {found.size_bytes / 1e6:.3f} MB, SHA-256 {found.sha256}",
        *(f"weights      partly in another file: {printable(n)}" for n in found.external_files),
        f"parameters   {found.parameters:,}",
        f"work         {_work(found.work)}",
        f"quantized    {_quantized(found.work)}",
        f"opset        {_opset(found)}",
        f"made by      {printable(found.producer) or 'not told'}",
    ]
    if found.export is not None:
        lines.append(f"export       batch {'left open' if found.export == 'open' else 'fixed'}")
    for name, tensors in (("input", found.inputs), ("output", found.outputs)):
        lines += [f"{name:<12} {_tensor(t)}" for t in tensors]
    operators = [(printable(name), str(count)) for name, count in found.operators]
    tables: list[Table] = [(("operator", "count"), operators)]
    if found.functions:
        named = [(printable(name),) for name in found.functions]
        tables.append((("operator of the file's own",), named))
    return Description(lines, tables)


def _form(found: Inspection) -> str:
    parts = [found.form] if found.form and not found.scheme.startswith("dynamic") else []
    if found.granularity is not None:
        parts.append(f"weights {found.granularity.replace('_', ' ')}")
    if found.reduced_range:
        parts.append("weights of 7 bits (-64 to 64)")
    return "".join(f", {part}" for part in parts)


def _uses(found: Inspection) -> list[str]:
    """How the weights are held, where operators disagree."""
    if len(found.weights) < 2:
        return []
    return [
        f"             {use.scheme}: {use.operators} operators, {use.elements:,} weights"
        for use in found.weights
    ]


def _opset(found: Inspection) -> str:
    own = "not told" if found.opset is None else str(found.opset)
    others = "".join(f", {printable(domain)} {n}" for domain, n in found.domains)
    told = "not told" if found.ir_version is None else str(found.ir_version)
    return f"{own}{others}; IR version {told}"


def _work(work: Work) -> str:
    """Say how much work one item is: an open batch counts as 1."""
    if work.multiply_accumulates is None:
        uncounted = printable(", ".join(work.uncounted))
        return f"unknown: the file alone does not tell the work of {uncounted}"
    return f"{work.multiply_accumulates:,} multiply-accumulates an item"


def _quantized(work: Work) -> str:
    parts = []
    if work.quantized_operators_share is not None:
        parts.append(f"{100 * work.quantized_operators_share:.0f} % of operators")
    if work.quantized_work_share is not None:
        parts.append(f"{100 * work.quantized_work_share:.1f} % of multiply-accumulates")
    return ", ".join(parts) or "no operator"


def _tensor(tensor: TensorInfo) -> str:
    if tensor.shape is None:
        return f"{tensor.dtype}, no shape told, {printable(tensor.name)}"
    return f"{tensor.dtype} {list(tensor.shape)} {printable(tensor.name)}"
