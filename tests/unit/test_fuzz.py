"""A few seconds of the fuzz, always the same cases (see ``benchmarks/fuzz.py``)."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import fuzz
from orchestrator import cli
from orchestrator.answer import Answer

SEED = 20261128


@pytest.mark.parametrize("number", range(24))
def test_a_changed_file_is_read_or_refused(number: int, tmp_path: Path) -> None:
    assert fuzz.try_case(SEED, number, tmp_path / "case")[1] == []


def case_of(monkeypatch: pytest.MonkeyPatch, folder: Path, command: Any) -> str:
    """What the fuzz says of a command that does this."""
    monkeypatch.setattr(cli, "main", command)
    _, wrong = fuzz.try_case(SEED, 0, folder)
    return "; ".join(wrong)


def test_what_must_not_happen_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unforeseen(argv: Any) -> int:
        raise TypeError("a value")

    def escape(argv: Any) -> int:
        sys.stdout.write("\x1b]0;owned\x07")
        return 0

    def outside(argv: Any) -> int:
        (tmp_path / "outside" / "outside" / "precious").write_text("changed")
        return 0

    def long(argv: Any) -> int:
        time.sleep(60)
        return 0

    monkeypatch.setattr(fuzz, "MOST_SECONDS", 1)
    expected = {unforeseen: "TypeError", escape: "said", outside: "outside of", long: "took more"}
    for command, words in expected.items():
        assert words in case_of(monkeypatch, tmp_path / command.__name__, command)
    assert case_of(monkeypatch, tmp_path / "fine", lambda argv: Answer("").code) == ""
