"""What box plots and bars are drawn of: every process, and the centre over blocks."""

from __future__ import annotations

import math

import pytest

from orchestrator.analysis import analyse
from orchestrator.analysis.sides.groups import comparison_groups
from orchestrator.analysis.speedups.distributions import distributions
from orchestrator.measurement import Memory
from tests.analysis_runs import BASELINE, artifacts, bad, blocks_of, memory_trial, ok, run_of

INT8 = "full_int8"


def test_every_process_that_ended_ok_stands_in_the_order_of_blocks() -> None:
    trials = [
        ok(INT8, 1, 3000.0),
        ok(INT8, 0, 2000.0),
        bad(INT8, 2),
        ok(INT8, 3, None),
        ok(BASELINE, 0, 5000.0, replicate=1),
        ok(BASELINE, 0, 4000.0),
        memory_trial(INT8, Memory(peak_bytes=1)),
    ]
    baseline, treatment = distributions(comparison_groups(run_of(trials)))
    assert (baseline.scheme, baseline.centres_ms) == (BASELINE, (4.0, 5.0))
    assert (treatment.scheme, treatment.centres_ms) == (INT8, (2.0, 3.0))
    assert baseline.centre_ms == pytest.approx(4.0)  # the second baseline is not a second sample
    assert treatment.centre_ms == pytest.approx(math.sqrt(6))
    assert treatment.low_ms is None and treatment.high_ms is None  # too few blocks


def test_the_interval_is_that_of_the_blocks() -> None:
    run = run_of([ok(BASELINE, block, 1000.0 * (block + 1)) for block in range(6)])
    (found,) = distributions(comparison_groups(run))
    # with six blocks the signed-rank interval reaches from the smallest to the largest
    assert found.low_ms == pytest.approx(1.0)
    assert found.high_ms == pytest.approx(6.0)
    assert found.centre_ms is not None and 1 < found.centre_ms < 6


def test_they_stand_as_inventory_and_manifest_have_them() -> None:
    models = ("resnet50", "mobilenet_v1")
    times = {INT8: 1000.0, BASELINE: 2000.0}
    trials = [
        trial
        for device in ("b", "a")
        for model in sorted(models)
        for trial in blocks_of(times, 2, device=device, model=model)
    ]
    run = run_of(trials, devices=("b", "a"), artifacts=artifacts((INT8, BASELINE), models))
    assert [(d.device, d.model, d.scheme) for d in analyse(run).distributions] == [
        (device, model, scheme)
        for device in ("b", "a")
        for model in models
        for scheme in (BASELINE, INT8)
    ]
