"""A framework, a runner and a scheme are named in their own folder and in the registries alone.

Whatever else there is asks the registry, so that another framework is a folder and a line.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.frameworks import registry

ROOT = Path(__file__).resolve().parents[2]

#: Where names have their place: a framework's folder, its measuring child, and the two lists.
OWN = (
    *(f"orchestrator/frameworks/{name}/" for name in registry.names()),
    "orchestrator/frameworks/registry.py",
    "agents/orchestrate_agent/children/",
    # which files the agent's archive has
    "agents/orchestrate_agent/contents.py",
)

#: Where they are types of numbers.
OF_NUMBERS = ("orchestrator/config/inputs.py", "orchestrator/frameworks/images.py")


#: A runner that is called by a word of every program's: its name cannot be told from other uses of
#: the word, but where something is compared with it.
ORDINARY = {"command"}


def names() -> tuple[str, ...]:
    schemes = {scheme.name for scheme in registry.schemes()}
    every = {*registry.names(), *registry.runner_names(), *schemes}
    assert every >= ORDINARY
    return tuple(sorted(every - ORDINARY))


def _pattern() -> re.Pattern[str]:
    return re.compile(rf"(?<![a-z0-9])({'|'.join(names())})(?![a-z0-9])")


def words_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name and string in code, docstrings left out, with its line."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in docstrings:
                yield line, node.value
            continue
        for field in ("id", "attr", "arg", "name", "asname", "module"):
            if isinstance(word := getattr(node, field, None), str):
                yield line, word


def apart(text: str) -> str:
    """``TorchRunner`` → ``torch_runner``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text).lower()


def naming(path: Path) -> list[str]:
    """The places of a file that name one."""
    pattern = _pattern()
    found = []
    for line, text in words_of(ast.parse(path.read_text(encoding="utf-8"))):
        if pattern.search(apart(text)):
            found.append(f"{path.relative_to(ROOT)}:{line}: {text[:60]!r}")
    return found


def files() -> list[Path]:
    folders = ("orchestrator", "agents/orchestrate_agent")
    every = [path for top in folders for path in sorted((ROOT / top).rglob("*.py"))]
    return [
        path for path in every if not str(path.relative_to(ROOT)).startswith((*OWN, *OF_NUMBERS))
    ]


def test_only_a_framework_s_own_files_and_the_registries_name_it() -> None:
    found = [place for path in files() for place in naming(path)]
    assert not found, "ask the registry instead:\n" + "\n".join(found)


def test_nothing_is_compared_with_an_ordinary_name() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in files()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Compare)
        for side in (node.left, *node.comparators)
        if isinstance(side, ast.Constant) and side.value in ORDINARY
    ]
    assert not found, "ask the registry instead:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("code", "is_found"),
    [
        ("x = 'runner: torch'", True),
        ("def f(): return TorchRunner", True),
        ("from a.tflite import b", True),
        ("f(float16=1)", True),
        ("class OperatorChange: ...", False),
        ('def f():\n    """What torch does."""', False),
        ("x = 'torchvision'", False),
    ],
)
def test_a_name_is_found_as_a_word(code: str, is_found: bool) -> None:
    pattern = _pattern()
    texts = (
        re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", t).lower() for _, t in words_of(ast.parse(code))
    )
    assert any(pattern.search(text) for text in texts) is is_found
