"""What the tests of the runner ``onnxruntime`` share: what its child prints."""

from __future__ import annotations

import json
from typing import Any

SIZE = 5856


def result(**changes: Any) -> dict[str, Any]:
    """A result line's object."""
    return {
        "schema": 1,
        "runtime": "onnxruntime",
        "runtime_version": "1.32.0",
        "threads": 1,
        "batch": 1,
        "input_size": 0,
        "delegate": "none",
        "model_size_bytes": SIZE,
        "init_us": 985.099,
        "warmup_us": [67.0, 13.5, 12.5, 12.25, 12.0],
        "steady_us": [11.0 + i * 7 % 30 for i in range(30)],
        "memory": {
            point: {"peak_bytes": peak}
            for point, peak in (("start", 40_000_000), ("init", 43_000_000), ("end", 44_000_000))
        },
        "ran": {"taken": 0, "assigned": 65, "products": 26, "integer": 0, "conversions": 0},
        **changes,
    }


def said(data: object) -> str:
    """The child's output with this result."""
    return f"@orchestrate-stage report\n@orchestrate-result {json.dumps(data)}\n"
