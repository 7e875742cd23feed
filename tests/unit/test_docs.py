"""The documents lead where they say: links to files of ours, and the list of decisions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")])
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_ELSEWHERE = re.compile(r"[a-z]+:|#")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_finds_it(page: Path) -> None:
    links = [to for to in _LINK.findall(page.read_text("utf-8")) if not _ELSEWHERE.match(to)]
    assert [to for to in links if not (page.parent / to.split("#")[0]).exists()] == []


def test_every_decision_is_listed_once() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = _LINK.findall((folder / "README.md").read_text("utf-8"))
    pages = sorted(page.name for page in folder.glob("[0-9]*.md"))
    assert sorted(to for to in listed if to[:1].isdigit()) == pages
