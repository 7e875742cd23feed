"""There is one way to a terminal, and it cleans what goes there."""

from __future__ import annotations

import ast
import io
import os
import pty
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.console import Console
from orchestrator.fleet.progress import DeviceProgress, State
from orchestrator.printable import show

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "tests/data/zoo/full_int8.tflite"


class Stream(io.StringIO):
    """A terminal of some encoding."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]  # of io.StringIO it is None
        return self._encoding


def shown(text: str, *, colour: bool = False, encoding: str = "utf-8") -> str:
    stream = Stream(encoding)
    show(stream, text, colour=colour)
    return stream.getvalue()


def test_every_character_that_is_no_text_is_left_out() -> None:
    for c in map(chr, range(sys.maxunicode + 1)):
        category = unicodedata.category(c)
        if category in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in "\t\n":
            assert c not in shown(f"a{c}b"), hex(ord(c))
        elif category != "Cn":  # a later version of Unicode knows what it is
            assert shown(f"a{c}b") == f"a{c}b", hex(ord(c))


def test_lines_and_tabs_stay() -> None:
    assert shown("a\tb\n\nc\n") == "a\tb\n\nc\n"


def test_an_escape_that_nothing_ends_swallows_its_line_alone() -> None:
    assert shown("one\x1b]0;title\ntwo\n") == "one\ntwo\n"


@pytest.mark.parametrize(
    "escape", ["\x1b[8m", "\x1b[5m", "\x1b[2J", "\x1b[38;5;1m", "\x1b]0;x\x07"]
)
def test_with_colour_only_plain_colours_stay(escape: str) -> None:
    assert shown(f"\x1b[1;32mgreen\x1b[0m {escape}x", colour=True) == "\x1b[1;32mgreen\x1b[0m x"
    assert shown(f"\x1b[1;32mgreen\x1b[0m {escape}x") == "green x"


def test_what_an_encoding_lacks_is_written_as_its_code() -> None:
    assert shown("2 × 3\n", encoding="ascii") == "2 \\xd7 3\n"


def test_progress_is_cleaned_on_a_terminal_too() -> None:
    class Terminal(Stream):
        def isatty(self) -> bool:
            return True

    stream = Terminal("utf-8")
    with Console(stream) as console:
        console.say("said \x1b]0;owned\x07")
        console.observe(DeviceProgress("d\x1b[8m", State.LOST, "why \x1b]0;owned\x07\x9b31m"))
    said = stream.getvalue()
    assert "said" in said
    assert not any(sign in said for sign in ("owned", "\x1b[8m", "\x9b", "\x07"))


def planted(folder: Path) -> Path:
    """A model whose names hold escapes."""
    data = bytearray(MODEL.read_bytes())
    for name in (b"serving_default", b"StatefulPartitionedCall", b"min_runtime_version", b"1.14.0"):
        at = data.find(name)
        while at >= 0:
            data[at : at + 6] = b"\x1b[8m\x1b\x5d"
            at = data.find(name, at + 1)
    path = folder / "planted.tflite"
    path.write_bytes(data)
    return path


def test_no_escape_of_a_model_reaches_a_terminal(tmp_path: Path) -> None:
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "orchestrator", "models", "inspect", str(planted(tmp_path))]
    done = subprocess.run(command, cwd=ROOT, stdout=its, stderr=its, check=False)
    os.close(its)
    said = b""
    while not said.endswith(b"runtime\r\n") and len(said) < 10_000:
        try:
            said += os.read(ours, 10_000)
        except OSError:  # all was read
            break
    os.close(ours)
    assert done.returncode == 0
    assert b"scheme" in said
    assert not any(sign in said for sign in (b"\x1b[8m", b"\x1b]", b"\x9b", b"\x07"))


def test_what_was_typed_wrongly_is_cleaned(capfd: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "orchestrator", "runs", "x\x1b]0;owned\x07"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "unrecognized arguments" in done.stderr
    assert "\x1b" not in done.stderr


# --- no other way --------------------------------------------------------------------------------

#: Children: their stdout is a wire to the process that started them, never a terminal.
CHILDREN = ("zoo/build.py", "artifacts/sites/pip_for_target.py")
#: Where the streams themselves may be named: they are handed to ``show``, or asked what they are.
KNOWS_THE_STREAMS = ("cli.py", "console.py", "answers/terminal.py")


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / "orchestrator").rglob("*.py")):
        name = path.relative_to(ROOT / "orchestrator").as_posix()
        if name not in CHILDREN:
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def test_nothing_is_printed_past_the_one_way() -> None:
    for name, tree in sources():
        for node in ast.walk(tree):
            text = ast.unparse(node)
            if isinstance(node, ast.Attribute) and text in (
                "sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__",
            ):  # fmt: skip
                assert name in KNOWS_THE_STREAMS, f"{name}:{node.lineno}"
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            assert called not in ("print", "os.write(1", "os.write(2"), f"{name}:{node.lineno}"
            for stream in ("sys.stdout", "sys.stderr", "self._stream"):
                assert called not in (f"{stream}.write", f"{stream}.writelines"), name


def test_tables_are_drawn_into_text_and_not_onto_a_terminal() -> None:
    for name, tree in sources():
        uses_rich = any(
            isinstance(node, ast.ImportFrom) and node.module == "rich.console"
            for node in ast.walk(tree)
        )
        for node in ast.walk(tree) if uses_rich else ():
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Console", "RichConsole"):
                files = [ast.unparse(k.value) for k in node.keywords if k.arg == "file"]
                expected = ["stream"] if name == "console.py" else ["out", "stream"]
                assert len(files) == 1, f"{name}:{node.lineno}"
                assert files[0] in expected, f"{name}:{node.lineno}"
