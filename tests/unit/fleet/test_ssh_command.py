"""A command line for a POSIX shell of the far side, checked by real shells."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.fleet.transport import shell_command

PRINT = "import os,sys; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode,sys.argv[1:])))"
ANY_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)


def heard(shell: str, arguments: list[str], home: str = "/root") -> list[str]:
    command = shell_command([sys.executable, "-c", PRINT, *arguments])
    done = subprocess.run(
        [*shell.split(), "-c", command],
        capture_output=True,
        check=True,
        env={**os.environ, "HOME": home},
    )
    return [os.fsdecode(word) for word in done.stdout.split(b"\0")]


@settings(max_examples=40, deadline=None)
@given(st.lists(ANY_TEXT.filter(lambda text: not text.startswith("~")), min_size=1, max_size=4))
def test_any_argument_survives_a_shell(arguments: list[str]) -> None:
    assert heard("sh", arguments) == arguments


@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "zsh", "busybox sh"])
def test_home_is_expanded_by_every_shell(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell.split(maxsplit=1)[0]) is None:
        pytest.skip(f"{shell} is not installed")
    home = tmp_path / "ho me"
    home.mkdir()
    arguments = ["~", "~/", "~/a $b'c", "~root", "x~/"]
    expected = [str(home), f"{home}/", f"{home}/a $b'c", "~root", "x~/"]
    assert heard(shell, arguments, str(home)) == expected


def test_the_shell_is_replaced_by_the_program() -> None:
    done = subprocess.run(
        ["sh", "-c", "echo $$; " + shell_command(["sh", "-c", "echo $$"])],
        capture_output=True,
        check=True,
    )
    first, second = done.stdout.split()
    assert first == second
