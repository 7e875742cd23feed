"""What the analysis computed, as plain JSON values: six digits, null for what is not a number."""

from __future__ import annotations

import math
from enum import Enum
from typing import Any


def jsonable(value: Any) -> Any:
    """``value`` with its enumerations, tuples and figures made plain, however deep they stand."""
    if isinstance(value, dict):
        return {key: jsonable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value.value if isinstance(value, Enum) else value
