"""How often a lost device is tried again."""

from __future__ import annotations

import pytest

from orchestrator.fleet.patience import Patience


def pauses(total_s: float, try_s: float) -> list[float]:
    """Every pause, where a try takes ``try_s`` and fails."""
    patience, away_s, found = Patience(total_s), 0.0, []
    while (pause_s := patience.pause(away_s)) is not None:
        found.append(pause_s)
        away_s += pause_s + try_s
    return found


def test_tries_become_rarer_but_never_rare_and_outlast_a_boot() -> None:
    found = pauses(600.0, 20.0)
    assert found[0] < 2
    assert max(found) <= 30 * 1.25
    assert sum(found) + 20.0 * len(found) >= 600
    assert 10 <= len(found) <= 30


def test_the_last_try_is_made_when_patience_ends_and_no_later() -> None:
    for _ in range(50):
        assert sum(pauses(10.0, 0.0)) == pytest.approx(10.0)
    assert len(pauses(10.0, 60.0)) == 1


def test_devices_lost_together_do_not_come_back_together() -> None:
    assert len({round(Patience(600.0).pause(0.0) or 0.0, 6) for _ in range(20)}) > 10
