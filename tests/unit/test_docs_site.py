"""The site that mkdocs makes of the documents is whole, and loads nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("mkdocs", reason="the site is built where the extra `docs` is installed")
pytest.importorskip("material", reason="the site is built where the extra `docs` is installed")

ROOT = Path(__file__).parents[2]
#: Attributes by which a page loads something by itself; a link is followed by its reader alone.
_LOADS = {("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"), ("source", "src")}


class Page(HTMLParser):
    """What a page refers to, what it loads, and what it can be linked to by."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            elif tag == "a" and name == "href" and value:
                self.links.append(value)
            elif (tag, name) in _LOADS and value and dict(attrs).get("rel") != "canonical":
                self.loads.append(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    found = {path: Page(path.read_text("utf-8")) for path in site.rglob("*.html")}
    assert len(found) > 50
    return found


def test_every_link_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    """Those of the theme included, which mkdocs does not look at."""
    broken = []
    for path, page in pages.items():
        if path.name == "404.html":  # its links begin at the server's top
            continue
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            to = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            to = to / "index.html" if to.is_dir() else to
            ids = pages[to].ids if to in pages else set()
            if not to.is_file() or (parts.fragment and unquote(parts.fragment) not in ids):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    loaded = {each for page in pages.values() for each in page.loads if urlsplit(each).netloc}
    assert loaded == set()
    for style in site.rglob("*.css"):
        assert re.findall(r"url\(\s*['\"]?(?:https?:)?//", style.read_text("utf-8")) == [], style


def test_what_lies_outside_of_the_documents_is_there(site: Path) -> None:
    for name in ("README", "ARCHITECTURE", "GLOSSARY", "CHANGELOG", "SECURITY"):
        file = "index.html" if name == "README" else f"{name}.html"
        assert (site / "project" / file).is_file(), name
    assert (site / "project" / "suites" / "quick.yaml").is_file()
