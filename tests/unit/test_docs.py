"""The documents lead where they say, show what the code says, and every command in them is one."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import shlex
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from orchestrator import cli
from orchestrator.config import load_inventory, load_suite
from orchestrator.errors import OrchestrateError
from tools import reference

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")])
#: What a newcomer reads. Stored outputs of runs, decisions and the changelog have their own form.
GUIDES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*/*.md")),
    *(ROOT / "docs" / name for name in ("README.md", "start.md")),
]
GUIDES = [page for page in GUIDES if page.parent.name != "decisions"]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_ELSEWHERE = re.compile(r"[a-z]+:")
_FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^>]+) -->\n+)?"
    r"^```(?P<kind>\w*)[^\n]*\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)

_ASSIGNMENT = re.compile(r"[A-Z_0-9]+=")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


# -- links ----------------------------------------------------------------------------------------


def prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text("utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        again = (f"{slug}-{number}" for number in range(1, 100))
        found.add(slug if slug not in found else next(each for each in again if each not in found))
    return found


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_to_a_file_finds_it(page: Path) -> None:
    broken = []
    for link in _LINK.findall(prose(page)):
        path, _, anchor = link.partition("#")
        to = page.parent / path if path else page
        if _ELSEWHERE.match(link):
            continue
        if not to.exists() or (anchor and anchor not in anchors(to)):
            broken.append(link)
    assert broken == []


def test_every_decision_is_listed_once() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = _LINK.findall((folder / "README.md").read_text("utf-8"))
    pages = sorted(page.name for page in folder.glob("[0-9]*.md"))
    assert sorted(to for to in listed if to[:1].isdigit()) == pages


def test_every_guide_is_reached_from_the_list() -> None:
    index = ROOT / "docs" / "README.md"
    listed = {(index.parent / to).resolve() for to in _LINK.findall(prose(index))}
    there = {*GUIDES} - {ROOT / "README.md", index}
    assert [named(page) for page in sorted(there - listed)] == []


# -- how it reads ---------------------------------------------------------------------------------


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 120


@pytest.mark.parametrize("page", GUIDES, ids=named)
def test_paragraphs_are_short(page: Path) -> None:
    blocks = re.split(r"\n\s*\n", re.sub(r"<!--.*?-->", "", prose(page), flags=re.DOTALL))
    written = (each for each in blocks if not each.lstrip().startswith(("|", "#")))
    items = (item for each in written for item in re.split(r"\n(?= *(?:-|\d+\.) )", each))
    assert [f"{len(i.split())} words: {i[:60]}" for i in items if len(i.split()) > 85] == []


# -- what is taken from the code ------------------------------------------------------------------


@pytest.mark.parametrize("page", reference.pages(), ids=named)
def test_what_a_page_takes_from_the_code_is_what_the_code_says(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text == reference.with_parts(text), f"write it again: {reference.COMMAND}"


def test_every_part_stands_on_a_page() -> None:
    text = "".join(page.read_text("utf-8") for page in reference.pages())
    assert [name for name in reference.PARTS if f"generated: {name} -->" not in text] == []


# -- commands -------------------------------------------------------------------------------------

#: Lines of other programs, by their first word, and why no test runs them.
OTHERS = {
    "pip": "installs from an index",
    ".venv/bin/pip": "installs from an index",
    "python3": "makes a virtual environment, or runs on another machine",
    "python": "runs a benchmark or an example of ours for minutes",
    "source": "changes the shell that it is typed into",
    "ssh": "needs the user's own machine",
    "bash": "runs all tests",
    "mkdocs": "`test_docs_site.py` builds the site",
    "dask": "starts servers; `test_engine_dask.py` does it",
    "apt-get": "installs, as root",
    "tests/arm64_root": "makes a root, for minutes and as root",
}


def commands(page: Path) -> Iterator[tuple[str, list[str]]]:
    """The commands of a page's `sh` blocks, each as it is written and as words."""
    for fence in _FENCE.finditer(page.read_text("utf-8")):
        if fence["kind"] != "sh" or fence["reason"]:
            continue
        for line in fence["text"].replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
            lexer.whitespace_split = True
            words: list[str] = []
            for word in [*lexer, ";"]:
                if not set(word) <= set("&|;"):
                    words.append(word)
                    continue
                while words and _ASSIGNMENT.match(words[0]):
                    words.pop(0)
                if words:
                    yield line.strip(), words
                words = []


SHOWN = [(page, line, words) for page in GUIDES for line, words in commands(page)]
OURS = [each for each in SHOWN if each[2][0].endswith("orchestrate")]


def test_the_guides_show_commands() -> None:
    assert len(OURS) > 40
    assert {page.parent.name for page, *_ in OURS} >= {"how-to"}


@pytest.mark.parametrize(
    ("page", "line", "words"), OURS, ids=[f"{p.name}: {line}" for p, line, _ in OURS]
)
def test_a_command_that_a_page_shows_is_one(page: Path, line: str, words: list[str]) -> None:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parsed = cli._parser().parse_args(words[1:])
    except SystemExit as exc:
        assert exc.code == 0, f"{named(page)}: {line}\n{said.getvalue()}"
    else:
        assert isinstance(parsed, argparse.Namespace)


def test_other_programs_are_known() -> None:
    shown = {words[0] for _, _, words in SHOWN if not words[0].endswith("orchestrate")}
    assert sorted(shown ^ OTHERS.keys()) == [], "say why no test runs it, or delete the reason"


# -- files ----------------------------------------------------------------------------------------

YAML = [
    (page, fence["text"])
    for page in GUIDES
    for fence in _FENCE.finditer(page.read_text("utf-8"))
    if fence["kind"] == "yaml"
]


@pytest.mark.parametrize(
    ("page", "text"), YAML, ids=[f"{p.name}: {text.splitlines()[0]}" for p, text in YAML]
)
def test_a_file_that_a_page_shows_is_read(page: Path, text: str, tmp_path: Path) -> None:
    """An inventory or a suite, or a part of one, whose model files and data are there."""
    shown = yaml.safe_load(text)
    if isinstance(shown, list) or not shown.keys() & {"devices", "models"}:
        shown = _completed(shown)
    for model in shown.get("models", ()):
        for name in _files_of(model):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
    if program := shown.get("command", {}).get("program"):
        (tmp_path / program).touch()
    file = tmp_path / "shown.yaml"
    file.write_text(text if shown == yaml.safe_load(text) else yaml.safe_dump(shown), "utf-8")
    try:
        if "devices" in shown:
            load_inventory(file)
        else:
            load_suite(str(file))
    except OrchestrateError as exc:
        pytest.fail(f"{named(page)}: {exc}")


def _completed(part: object) -> dict[str, object]:
    """A part of a device or of a suite in the smallest file that it is a part of."""
    if isinstance(part, list):
        return {"devices": part}
    assert isinstance(part, dict)
    if "exec" in part or "expect" in part:
        return {"devices": [{"name": "shown", "transport": "exec", "exec": "sh -c", **part}]}
    return {"models": ["mobilenet_v1"], "schemes": ["float32", "dynamic_range"], **part}


def _files_of(model: object) -> list[str]:
    if not isinstance(model, dict):
        return []
    return [model["file"]] if "file" in model else [*model["variants"].values()]


def test_anchors_are_those_of_the_site_too() -> None:
    """GitHub and Python-Markdown make anchors unlike where a heading has two blanks or accents."""
    for page in GUIDES:
        for anchor in anchors(page):
            plain = unicodedata.normalize("NFKD", anchor).encode("ascii", "ignore").decode()
            assert "--" not in anchor and plain == anchor, f"{named(page)}#{anchor}"


def test_the_readme_shows_lines_of_the_report_that_the_first_run_reads() -> None:
    """Lines are left out there, none is another."""
    (table,) = (
        fence["text"]
        for fence in _FENCE.finditer((ROOT / "README.md").read_text("utf-8"))
        if fence["text"].startswith("here ")
    )
    whole = [line.rstrip() for line in (ROOT / "docs/start.md").read_text("utf-8").splitlines()]
    assert [line for line in table.splitlines() if line.rstrip() not in whole] == []
