"""What becomes of a quick run's verdicts beside the full run's."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import quick_suites
from benchmarks.quick_suites import CONTRADICTED, LESS, MISSING, NOT_CONFIRMED, STANDS, standing
from orchestrator.analysis import Verdict

REFERENCE = next((Path(__file__).resolve().parents[3] / "results").rglob("journal.jsonl")).parent
FASTER, SLOWER = Verdict.FASTER, Verdict.SLOWER
ALIKE, INVALID = Verdict.INDISTINGUISHABLE, Verdict.INVALID


@pytest.mark.parametrize(
    ("quick", "full", "said"),
    [
        (FASTER, FASTER, STANDS),
        (FASTER, SLOWER, CONTRADICTED),
        (SLOWER, ALIKE, NOT_CONFIRMED),
        (SLOWER, INVALID, NOT_CONFIRMED),
        (ALIKE, SLOWER, LESS),
        (ALIKE, ALIKE, STANDS),
        (INVALID, FASTER, LESS),
        (FASTER, None, MISSING),
    ],
)
def test_a_quick_verdict_stands_or_says_what_is_wrong(
    quick: Verdict, full: Verdict | None, said: str
) -> None:
    assert standing(quick, full) == said


def test_a_run_stands_beside_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert quick_suites.main(["--runs", str(REFERENCE), str(REFERENCE)]) == 0
    shown = capsys.readouterr().out
    assert "contradicted" not in shown and shown.count("stands") > 3
