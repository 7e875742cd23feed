"""The English that the user and the next developer read: what of it a program can check.

GLOSSARY.md has the words, and ARCHITECTURE.md the picture. Here are the habits that made sentences
hard to read: docstrings that are fragments, "is no" where "is not a" is meant, and a user who is
a man.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = sorted(path for top in ("orchestrator", "agents") for path in (ROOT / top).rglob("*.py"))
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "agents").glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "suites").glob("*.yaml"),
    ]
)

#: A sentence begins with a capital letter, or with a name in code.
_BEGINS = re.compile(r"[A-Z]|`")
#: A docstring that begins so says what a thing is of, or like, and not what it is or does.
_FRAGMENT = re.compile(
    r"(Of|As|By|With|Without|Under|Until|Since|Whose|Ours|Theirs)\b(?! soon as)"
    r"|The same (for|of|as|with|without)\b"
)
#: "x is no list" reads as "there is no x" before the noun comes; "x is not a list" does not.
_IS_NO = re.compile(
    r"\b(is|are|was|were) no\b"
    # idioms of time and degree, in which "no" belongs to the comparative
    r"(?! (longer|more|less|fewer|later|older|newer|hotter|larger|smaller|wider|narrower|better)\b)"
)
#: What exists or not: "there is no compiler" has no noun before the verb to be confused about.
_THERE = re.compile(r"\b[Tt]here $")
#: A user, a neighbour, an attacker may be anybody.
_HE = re.compile(r"\b([Hh]e|[Hh]is|[Hh]im|[Hh]imself)\b")
#: Names of people.
_NAMES = re.compile(r"\bHe et al\.")


def public_docstrings(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Line, name and docstring of a module and of all in it that has no leading underscore."""

    def inside(node: ast.AST) -> Iterator[tuple[int, str, str]]:
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text, name = ast.get_docstring(node), getattr(node, "name", "module")
            if text is not None:
                yield getattr(node, "lineno", 1), name, text
        for child in ast.iter_child_nodes(node):
            if not str(getattr(child, "name", None) or "").startswith("_"):
                yield from inside(child)

    return inside(tree)


def flaws_of_docstring(text: str) -> Iterator[str]:
    """What is wrong with a public docstring, none where it is a sentence."""
    summary = " ".join(text.split("\n\n", 1)[0].split())
    if not _BEGINS.match(summary):
        yield "does not begin with a capital letter or a name in backticks"
    if not summary.endswith((".", "?", ":")):  # a colon before a list
        yield "does not end in a full stop"
    if _FRAGMENT.match(summary):
        yield "is a fragment: say what it is, or what it does"


def flaws_of_text(text: str) -> Iterator[str]:
    """What is wrong with any English text."""
    text = " ".join(text.split())
    for found in _IS_NO.finditer(text):
        if not _THERE.search(text[: found.start()]):
            yield f"write 'not a': …{text[max(0, found.start() - 30) : found.end() + 20]}…"
    for found in _HE.finditer(_NAMES.sub("", text)):
        yield f"write 'the user' or 'they': {found.group()}"


@cache
def texts_of(path: Path) -> tuple[tuple[int, str], ...]:
    """Every string and every comment of a module with its line; a block of comments is one."""
    source = path.read_text(encoding="utf-8")
    found: list[tuple[int, str]] = []
    in_pieces: set[ast.AST] = set()
    for node in ast.walk(ast.parse(source)):  # a whole comes before its pieces
        if isinstance(node, ast.JoinedStr):
            in_pieces.update(node.values)
            parts = (str(v.value) if isinstance(v, ast.Constant) else "X" for v in node.values)
            found.append((node.lineno, "".join(parts)))
        elif isinstance(node, ast.Constant) and node not in in_pieces:
            found.append((node.lineno, node.value if isinstance(node.value, str) else ""))
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            text, line = token.string.lstrip("#: "), token.start[0]
            if line == last + 1:
                found[-1] = (found[-1][0], f"{found[-1][1]} {text}")
            else:
                found.append((line, text))
            last = line
    return tuple(found)


def test_public_docstrings_are_sentences() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name} {flaw}"
        for path in CODE
        for line, name, text in public_docstrings(ast.parse(path.read_text(encoding="utf-8")))
        for flaw in flaws_of_docstring(text)
    ]
    assert not wrong, "\n".join(wrong)


def test_strings_and_comments_are_plain_english() -> None:
    wrong = {
        f"{path.relative_to(ROOT)}:{line}: {flaw}"
        for path in CODE
        for line, text in texts_of(path)
        for flaw in flaws_of_text(text)
    }
    assert not wrong, "\n".join(sorted(wrong))


def test_documents_are_plain_english() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {flaw}"
        for path in DOCUMENTS
        for flaw in flaws_of_text(path.read_text(encoding="utf-8"))
    ]
    assert DOCUMENTS and not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("docstring", "flaw"),
    [
        ("Return the blocks of a plan.", None),
        ("``--device`` names one of the inventory's machines.", None),
        ("As soon as the device answers, its facts are written down.", None),
        ("the blocks of a plan.", "capital"),
        ("Return the blocks of a plan", "full stop"),
        ("Of one device's session.", "fragment"),
        ("The same for bytes in memory.", "fragment"),
        ("Whose files a runner takes.", "fragment"),
    ],
)
def test_the_check_of_docstrings_sees(docstring: str, flaw: str | None) -> None:
    found = list(flaws_of_docstring(docstring))
    assert found == [] if flaw is None else any(flaw in each for each in found)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("'x' is no duration; write 30s", True),
        ("fields that are no keys of the file", True),
        ("the user names his own file", True),
        ("what the user wants, he says", True),
        ("'x' is not a duration; write 30s", False),
        ("there is no C compiler", False),
        ("There are no wheels for it", False),
        ("the CPU is no hotter than 80 degrees", False),
        ("events are no longer sent", False),
        ("ReLU (He et al. 2015)", False),
        ("the history of this machine", False),
    ],
)
def test_the_check_of_texts_sees(text: str, wrong: bool) -> None:
    assert bool(list(flaws_of_text(text))) is wrong
