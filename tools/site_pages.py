"""A hook of mkdocs: files outside of docs/ that pages link to are part of the site, below project/.

So a link works in the repository and on the site, written as the repository has it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
#: Where the site has what lies elsewhere in the repository.
ELSEWHERE = "project/"

_LINK = re.compile(r"(?<=\]\()(?P<path>[^)\s#]+)(?P<anchor>#[^)\s]*)?(?=\))")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_ADDRESS = re.compile(r"[a-z]+:")


def on_files(files: Files, config: Any) -> Files:
    """Add the files that pages link to, and those that these link to in turn."""
    there = {Path(str(file.abs_src_path)) for file in files}
    waiting = [*there, *(_source(place) for place in _places(config.nav))]
    seen: set[Path] = set()
    while waiting:
        source = waiting.pop()
        if source in seen or not source.is_file() or not source.is_relative_to(ROOT):
            continue
        seen.add(source)
        if source not in there:
            files.append(File.generated(config, _place(source), abs_src_path=str(source)))
        if source.suffix == ".md":
            waiting += _linked(source)
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Write links as the site has them."""
    source = _source(page.file.src_uri)
    folder = Path(page.file.src_uri).parent

    def link(found: re.Match[str]) -> str:
        to = (source.parent / found["path"]).resolve()
        if _ADDRESS.match(found["path"]) or not to.is_file():
            return found[0]  # an address, or a broken link, of which mkdocs has to tell
        return f"{Path(os.path.relpath(_place(to), folder)).as_posix()}{found['anchor'] or ''}"

    parts: list[str] = []
    end = 0
    for fence in _FENCE.finditer(markdown):
        parts += [_LINK.sub(link, markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, _LINK.sub(link, markdown[end:])])


def _places(nav: Any) -> Iterator[str]:
    """Yield every page that the navigation names."""
    if isinstance(nav, str):
        yield nav
    elif nav:
        for each in nav.values() if isinstance(nav, dict) else nav:
            yield from _places(each)


def _linked(source: Path) -> Iterator[Path]:
    text = _FENCE.sub("", source.read_text("utf-8"))
    for found in _LINK.finditer(text):
        if not _ADDRESS.match(found["path"]):
            yield (source.parent / found["path"]).resolve()


def _place(source: Path) -> str:
    """Return where the site has a file of the repository."""
    if source.is_relative_to(DOCS):
        return source.relative_to(DOCS).as_posix()
    return ELSEWHERE + source.relative_to(ROOT).as_posix()


def _source(place: str) -> Path:
    """Return which file of the repository the site has at a place."""
    if place.startswith(ELSEWHERE):
        return ROOT / place.removeprefix(ELSEWHERE)
    return DOCS / place
