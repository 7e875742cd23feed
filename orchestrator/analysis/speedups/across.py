"""What the first runner's baseline takes beside the files of the others, where a suite asks. Pure.

Two files of one network are compared, made by two frameworks or run by two programs: their weights
and all that happens to them may differ. Blocks of one number stand in one round of the plan, so
that they are pairs; they are further apart in time than the trials of one block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from orchestrator.analysis.sides.groups import ComparisonGroup
from orchestrator.analysis.table import NoiseFloor
from orchestrator.factors import ABSENT, VARIED, Factors
from orchestrator.frameworks import registry
from orchestrator.measurement import Finding

#: What both sides of such a comparison have alike.
_ALIKE = tuple(each for each in VARIED if each.name not in (*ABSENT, "runtime"))


def counterparts(
    order: Sequence[str], groups: Sequence[ComparisonGroup]
) -> Iterator[tuple[int, int]]:
    """The places of two groups that are to be compared: one of the first runner's, another's.

    ``order`` are the suite's runners; device, model and the factors that every runner takes are the
    same. Nothing where ``order`` is empty.
    """
    for first, reference in enumerate(groups):
        for second, group in enumerate(groups):
            if (
                order
                and reference.factors is not None
                and group.factors is not None
                and _rank(order, reference.factors) == 0
                and _rank(order, group.factors) > 0
                and (reference.device, reference.model) == (group.device, group.model)
                and all(e.of(reference.factors) == e.of(group.factors) for e in _ALIKE)
            ):
                yield first, second


def _rank(order: Sequence[str], factors: Factors) -> int:
    """Where the suite has the runner; one that it does not name stands for its ``auto``."""
    name = factors.runner if factors.runner in order else registry.AUTO
    return list(order).index(name) if name in order else len(order)


def wider(one: NoiseFloor, other: NoiseFloor) -> NoiseFloor:
    """Return the larger of two groups' noise floors; it is unknown where either is."""
    known = [floor.floor for floor in (one, other) if floor.floor is not None]
    widest = max(known) if len(known) == 2 else None
    return replace(one, floor=widest, blocks=min(one.blocks, other.blocks))


def two_files(reference: ComparisonGroup, group: ComparisonGroup) -> Finding:
    """What has to be known of every such comparison."""
    names = [g.factors.runner if g.factors else "" for g in (reference, group)]
    return Finding(
        "two_files",
        f"two files of one network are compared, one by runner {names[0]} and one by runner "
        f"{names[1]}: the runtime, its kernels, the weights and the way the file was made may all "
        "differ, and their blocks were measured in one round, not in one block",
        "read it as what the whole of one way of running takes beside the whole of the other; what "
        "quantizing does is in each runner's own rows",
    )
