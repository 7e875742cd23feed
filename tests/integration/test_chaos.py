"""The short form of ``python -m benchmarks.chaos``: nothing is lost and nothing is run twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.chaos import KINDS, Chaos, faults_of, kills_of, why_not

SEED = 4


@pytest.mark.timeout(600)
def test_nothing_is_lost_while_everything_breaks(tmp_path: Path, built: Path) -> None:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    faults = faults_of(SEED, 22)
    with Chaos(tmp_path, built, SEED) as fleet:
        tally = fleet.run(faults)
    print(tally)
    assert tally.faults == Counter(fault.kind for fault in faults)
    assert set(tally.faults) == set(KINDS)
    assert tally.planned > 100
    assert (tally.lost, tally.duplicated, tally.wrong) == (0, 0, [])


@pytest.mark.timeout(600)
def test_a_controller_killed_again_and_again_in_one_run(tmp_path: Path, built: Path) -> None:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with Chaos(tmp_path, built, SEED, hosts=2, blocks=24) as fleet:
        tally = fleet.run(kills_of(SEED, 8))
    print(tally)
    assert tally.faults == Counter({"controller killed": 8})
    assert tally.runs == 1
    assert tally.planned == tally.finished > 2 * 3 * 24
    assert (tally.lost, tally.duplicated, tally.wrong) == (0, 0, [])


def test_the_schedule_is_the_seeds() -> None:
    assert faults_of(7, 40) == faults_of(7, 40)
    assert faults_of(7, 40) != faults_of(8, 40)
