"""What bytes become is looked up, and is what arithmetic makes of them, to the bit."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pytest

from orchestrate_agent.children.arrays import Table, prepared

ROWS = np.random.default_rng(2).integers(0, 256, (2, 5, 4, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("mean", "std"),
    [((), ()), ((127.5,), (127.5,)), ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))],
)
@pytest.mark.parametrize("scale", [None, 0.0078])
def test_a_table_gives_what_arithmetic_gives(
    mean: tuple[float, ...], std: tuple[float, ...], scale: float | None
) -> None:
    args = argparse.Namespace(mean=list(mean), std=list(std))

    def convert(rows: Any) -> Any:
        values = prepared(np, rows, args)
        if scale is None:
            return values
        return np.clip(np.rint(values / scale), -128, 127).astype(np.int8)

    table = Table(np, args, convert)
    for rows in (ROWS, ROWS[::-1].copy()):
        found, expected = table.values(rows), convert(rows)
        assert found.dtype == expected.dtype
        assert found.tobytes() == expected.tobytes()


def test_channels_that_do_not_fit_are_refused_as_without_a_table() -> None:
    args = argparse.Namespace(mean=[1.0, 2.0, 3.0], std=[])
    with pytest.raises(ValueError, match="broadcast"):
        Table(np, args, lambda rows: prepared(np, rows, args)).values(ROWS[..., :2])
