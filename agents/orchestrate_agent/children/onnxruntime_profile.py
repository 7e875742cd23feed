"""What ONNX Runtime's own profiler says: which operators ran, where, in which types, for how long.

The profiler writes a file of JSON, with one event an operator and inference; times in whole
microseconds. A graph that a provider takes as a whole is one operator of it.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, NamedTuple, Sequence, Set

CPU = "CPUExecutionProvider"

_INTEGERS = ("int8", "uint8", "int16", "uint16", "int4", "uint4")
_PRODUCTS = ("Conv", "MatMul", "Gemm")
#: They quantize their first input themselves.
_QUANTIZING = ("DynamicQuantizeMatMul",)
_CONVERSIONS = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")


class Ran(NamedTuple):
    """What ran in one inference.

    ``taken`` are operators that another provider than the CPU's ran, of ``assigned`` in all: those
    of the file where the runtime tells, else those that ran. ``total`` ran.
    ``products`` are those that multiply and accumulate, ``integer`` those of them that computed on
    integers; of weights that the runtime packed the profiler tells no shape, so that they are
    counted and not weighed. ``conversions`` are operators that turn real numbers into integers or
    back.
    """

    taken: int
    assigned: int
    total: int
    products: int
    integer: int
    conversions: int

    def as_json(self) -> Dict[str, int]:
        return dict(self._asdict())


def read_events(path: str) -> List[Dict[str, Any]]:
    """Return the events of operators. Raises OSError or ValueError."""
    with open(path, encoding="utf-8") as file:
        events = json.load(file)
    return [
        each
        for each in events
        if isinstance(each, dict)
        and each.get("cat") == "Node"
        and str(each.get("name", "")).endswith("_kernel_time")
    ]


def operators_of(events: Sequence[Dict[str, Any]], runs: int) -> List[Sequence[Any]]:
    """Return (kind, how many, microseconds) of an inference; another provider's are told apart."""
    found: Dict[str, List[float]] = {}
    for event in events:
        args = event.get("args", {})
        kind = str(args.get("op_name"))
        provider = str(args.get("provider", CPU))
        if provider != CPU:
            kind = "%s (%s)" % (kind, provider.replace("ExecutionProvider", ""))
        sums = found.setdefault(kind, [0, 0])
        sums[0] += 1
        sums[1] += float(event.get("dur", 0))
    return [[kind, count / runs, us / runs] for kind, (count, us) in found.items()]


def ran_of(events: Sequence[Dict[str, Any]]) -> Ran:
    """Say what ran in the inference that these events are of."""
    seen: Set[str] = set()
    taken = total = products = integer = conversions = 0
    for event in events:
        args = event.get("args", {})
        key = "%s %s" % (args.get("node_index"), event.get("name"))
        if key in seen:  # of a loop
            continue
        seen.add(key)
        total += 1
        taken += args.get("provider", CPU) != CPU
        kind = str(args.get("op_name"))
        conversions += kind in _CONVERSIONS
        if any(word in kind for word in _PRODUCTS):
            products += 1
            integer += kind in _QUANTIZING or _first_type(args) in _INTEGERS
    return Ran(taken, total, total, products, integer, conversions)


def _first_type(args: Dict[str, Any]) -> str:
    inputs = args.get("input_type_shape") or [{}]
    return str(next(iter(inputs[0]), ""))
