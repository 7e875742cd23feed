"""Which CPUs a trial ran on is told where their work was mostly its own."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.runs.directory import trial_record
from tests.analysis_runs import trial


def event(during: Any, rusage: Any) -> dict[str, Any]:
    made = trial("float32", 0).to_json()
    return {**made, "outcome": "failed", "reason": "x", "during": during, "rusage": rusage}


@pytest.mark.parametrize(
    ("during", "rusage", "told"),
    [
        ({"busy_by_cpu_s": {"0": 0.1, "1": 1.0}}, {"user_s": 0.9, "sys_s": 0.1}, True),
        ({"busy_by_cpu_s": {"0": 1.0, "1": 1.0}}, {"user_s": 0.9, "sys_s": 0.1}, False),
        ({"busy_by_cpu_s": None}, {"user_s": 0.9, "sys_s": 0.1}, False),
        ({"busy_by_cpu_s": {"0": 1.0}}, {"user_s": None, "sys_s": None}, False),
        ({"busy_by_cpu_s": {"0": 1.0}}, None, False),
        (None, None, False),
    ],
)
def test_it_is_told(during: Any, rusage: Any, told: bool) -> None:
    record = trial_record(event(during, rusage))
    assert record.ran_on == (during["busy_by_cpu_s"] if told else {})
