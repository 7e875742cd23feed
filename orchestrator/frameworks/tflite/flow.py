"""What the graphs of a ``.tflite`` file cost together, along the calls from one to another.

A WHILE costs its body as often as it runs, where the file tells how often; an IF costs a branch,
where both cost the same. What the file does not tell is named, never guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from orchestrator.frameworks.tflite.file import Graph, ModelFile, Operator
from orchestrator.frameworks.tflite.work import multiplies, multiply_accumulates

_DEEPEST = 50  # calls within calls; a recursion has no end
_LONGEST_SUM = 16  # additions between a loop's variable and what it is compared with
_MOST_COMPARISONS = 64
_WITHOUT_CHANGE = frozenset(("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "CAST"))


@dataclass(frozen=True)
class Amount:
    """Multiply-accumulates, how many of them are on integers, and the operators whose number is
    not known."""

    total: int = 0
    quantized: int = 0
    unknown: frozenset[str] = frozenset()

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            self.total + other.total,
            self.quantized + other.quantized,
            self.unknown | other.unknown,
        )

    def times(self, count: int) -> Amount:
        return Amount(self.total * count, self.quantized * count, self.unknown)


def reachable(model: ModelFile, entry: int, *, once: bool = True) -> tuple[int, ...]:
    """The graph and all that it calls; without those that run ``once`` before the first
    inference, where that is not asked for."""
    found, left = {entry: None}, [entry]
    while left:
        for operator in model.graphs[left.pop()].operators:
            for part, index in operator.called.items():
                if index not in found and (once or part != "init"):
                    found[index] = None
                    left.append(index)
    return tuple(sorted(found))


class Accountant:
    """Counts the work of a file's graphs, each graph once."""

    def __init__(self, model: ModelFile, quantized: Callable[[Operator, Graph], bool]) -> None:
        self._model = model
        self._quantized = quantized
        self._known: dict[int, Amount] = {}
        self._open: list[int] = []

    def amount(self, index: int) -> Amount:
        """What one run of a graph costs."""
        if index in self._known:
            return self._known[index]
        if index in self._open or len(self._open) >= _DEEPEST:
            return Amount(unknown=frozenset(("a recursion",)))
        self._open.append(index)
        graph = self._model.graphs[index]
        total, quantized = 0, 0
        unknown: set[str] = set()
        for operator in graph.operators:
            one = self._of(operator, graph)
            total += one.total
            quantized += one.quantized
            unknown |= one.unknown
        self._open.pop()
        self._known[index] = Amount(total, quantized, frozenset(unknown))
        return self._known[index]

    def _of(self, operator: Operator, graph: Graph) -> Amount:
        if operator.called:
            return self._of_call(operator, graph)
        if not multiplies(operator):
            return Amount()
        count = multiply_accumulates(operator, graph)
        if count is None:
            return Amount(unknown=frozenset((operator.name,)))
        return Amount(count, count if self._quantized(operator, graph) else 0)

    def _of_call(self, operator: Operator, graph: Graph) -> Amount:
        called = operator.called
        if "init" in called:
            return Amount()  # before the first inference, and never again
        parts = {part: self.amount(index) for part, index in called.items()}
        if "body" in parts:
            return self._of_loop(operator, graph, parts)
        amounts = list(parts.values())
        if len(set(amounts)) == 1:
            return amounts[0]
        return Amount(unknown=frozenset((operator.name,)).union(*(a.unknown for a in amounts)))

    def _of_loop(self, operator: Operator, graph: Graph, parts: Mapping[str, Amount]) -> Amount:
        each = parts["body"] + parts["cond"]
        if each == Amount():
            return each
        condition, body = (self._model.graphs[operator.called[p]] for p in ("cond", "body"))
        steps = rounds(operator, graph, condition, body)
        if steps is None:
            return Amount(unknown=each.unknown | {operator.name})
        return parts["body"].times(steps) + parts["cond"].times(steps + 1)


# -- how often a loop runs ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sum:
    """One of a graph's inputs, by its place, and what is added to it; None for no input."""

    place: int | None
    added: int


@dataclass(frozen=True)
class _Line:
    """A number at the beginning of each round: ``start`` and ``step`` more in each."""

    start: int
    step: int


def rounds(operator: Operator, graph: Graph, condition: Graph, body: Graph) -> int | None:
    """How often a WHILE's body runs: where its condition compares variables that begin with a
    constant and grow by one in each round, with constants. None where the file does not tell.
    """
    comparisons = _comparisons(condition)
    if not comparisons:
        return None
    variables = _Variables(operator, graph, body)
    ends = []
    for name, left, right in comparisons:
        lines = variables.line(left), variables.line(right)
        if lines[0] is None or lines[1] is None:
            return None
        ends.append(_first_failure(name, lines[0], lines[1]))
    known = [end for end in ends if end is not None]
    return min(known, default=None)


class _Variables:
    """What is known of the numbers that a loop hands from round to round."""

    def __init__(self, operator: Operator, graph: Graph, body: Graph) -> None:
        self._operator = operator
        self._graph = graph
        self._body = body

    def line(self, found: _Sum | None) -> _Line | None:
        if found is None:
            return None
        if found.place is None:
            return _Line(found.added, 0)
        if found.place >= min(len(self._operator.slots), len(self._body.outputs)):
            return None
        start = _sum(self._graph, self._operator.slots[found.place])
        after = _sum(self._body, self._body.outputs[found.place])
        if start is None or start.place is not None or after is None:
            return None
        if after.place != found.place:
            return None
        return _Line(start.added + found.added, after.added)


def _comparisons(condition: Graph) -> list[tuple[str, _Sum | None, _Sum | None]]:
    """What a condition compares, where all of it must hold; nothing where it says something else.

    The names are LESS and LESS_EQUAL: the other two are the same with sides exchanged.
    """
    found: list[tuple[str, _Sum | None, _Sum | None]] = []
    left = list(condition.outputs[: _MOST_COMPARISONS + 1])
    while left:
        operator = condition.makers.get(left.pop())
        if operator is None or len(found) + len(left) > _MOST_COMPARISONS:
            return []
        if operator.name in _WITHOUT_CHANGE:
            left += operator.inputs[:1]
        elif operator.name == "LOGICAL_AND":
            left += operator.inputs
        elif operator.name in _EXCHANGED and len(operator.inputs) == 2:
            name, exchanged = _EXCHANGED[operator.name]
            sides = [_sum(condition, index) for index in operator.inputs]
            found.append((name, *(reversed(sides) if exchanged else sides)))
        else:
            return []
    return found


_EXCHANGED = {
    "LESS": ("LESS", False),
    "LESS_EQUAL": ("LESS_EQUAL", False),
    "GREATER": ("LESS", True),
    "GREATER_EQUAL": ("LESS_EQUAL", True),
}


def _sum(graph: Graph, index: int) -> _Sum | None:
    """A tensor as one of the graph's inputs and a constant, or as a constant."""
    added = 0
    for _ in range(_LONGEST_SUM):
        if index < 0:
            return None
        values = graph.tensors[index].values
        if len(values) == 1:
            return _Sum(None, values[0] + added)
        if index in graph.inputs[:_MOST_COMPARISONS]:
            return _Sum(graph.inputs.index(index), added)
        operator = graph.makers.get(index)
        if operator is None or not operator.inputs:
            return None
        index, more = _before(operator, graph)
        added += more
    return None


def _before(operator: Operator, graph: Graph) -> tuple[int, int]:
    """The tensor that an operator adds a constant to, and the constant; (-1, 0) otherwise."""
    if operator.name in _WITHOUT_CHANGE:
        return operator.inputs[0], 0
    if operator.name in ("ADD", "SUB") and len(operator.inputs) == 2:
        first, second = operator.inputs
        ahead, behind = graph.tensors[first].values, graph.tensors[second].values
        if len(behind) == 1:
            return first, behind[0] if operator.name == "ADD" else -behind[0]
        if len(ahead) == 1 and operator.name == "ADD":
            return second, ahead[0]
    return -1, 0


def _first_failure(name: str, left: _Line, right: _Line) -> int | None:
    """The first round at whose beginning left < right (or ≤) does not hold; None for never."""
    lead = left.start - right.start - (name == "LESS_EQUAL")
    if lead >= 0:
        return 0
    step = left.step - right.step
    return None if step <= 0 else -(lead // step)
