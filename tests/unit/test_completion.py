"""Completion in the real shells: what the key adds to a line."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

INVENTORY = "devices: [{name: zebra, transport: local}, {name: zephyr, transport: local}]\n"
RUN = "20260102T030405Z-abcdef"

#: What is typed, and the words that the key adds or offers.
LINES: Mapping[str, Sequence[str]] = {
    "orchestrate run --inventory fleet.yaml --device ze": ("zebra", "zephyr"),
    "orchestrate plan --suite discrepancy-": ("discrepancy-quick",),
    "orchestrate models build vgg1": ("vgg16", "vgg19"),
    "orchestrate report 2026": (RUN,),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fleet.yaml").write_text(INVENTORY)
    run = tmp_path / "results" / RUN
    run.mkdir(parents=True)
    (run / "run.json").write_text("{}")
    return tmp_path


def environment(folder: Path) -> dict[str, str]:
    here = str(Path(sys.executable).parent)
    path = f"{here}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(folder), "TERM": "xterm", "LANG": "C.UTF-8", "PS1": "$ "}


class Terminal:
    """A shell on a terminal of its own, and a hand at its keyboard."""

    def __init__(self, argv: Sequence[str], folder: Path) -> None:
        self._ours, its = pty.openpty()
        self._shell = subprocess.Popen(
            argv, cwd=folder, env=environment(folder), stdin=its, stdout=its, stderr=its,
            start_new_session=True,
        )  # fmt: skip
        os.close(its)

    def types(self, keys: str, until: Sequence[str]) -> str:
        """Type and return what is shown, once all of ``until`` is. Fails after half a minute."""
        os.write(self._ours, keys.encode())
        seen, end = "", time.monotonic() + 30
        while not all(word in seen for word in until):
            ready, _, _ = select.select([self._ours], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{keys!r} showed {seen!r}, not {until}"
            seen += os.read(self._ours, 65536).decode("utf-8", "replace")
        return seen

    def close(self) -> None:
        self._shell.kill()
        self._shell.wait()
        os.close(self._ours)


#: Takes the line away.
_WHOLE_LINE = "\x15"
BEGIN = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(orchestrate completion bash)"'),
    "zsh": (
        ["zsh", "-f", "-i"],
        'autoload -Uz compinit; compinit -u -D; eval "$(orchestrate completion zsh)"',
    ),
}


@pytest.mark.parametrize("shell", BEGIN)
def test_the_key_completes(shell: str, folder: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    argv, begin = BEGIN[shell]
    terminal = Terminal(argv, folder)
    try:
        # written so that the echo of the line is not taken for its effect
        terminal.types(f"{begin}; echo be''gun\n", ["begun"])
        for typed, words in LINES.items():
            started = typed.rpartition(" ")[2]
            # the rest of a word, where it is the only one; where there are several, all of them
            expected = [words[0].removeprefix(started)] if len(words) == 1 else words
            terminal.types(typed, [typed])
            terminal.types("\t\t", expected)
            terminal.types(_WHOLE_LINE, [])
    finally:
        terminal.close()


def test_fish_completes(folder: Path) -> None:
    if shutil.which("fish") is None:
        pytest.skip("no fish here")
    asked = "; ".join(f"complete -C '{line}'; echo ====" for line in LINES)
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"orchestrate completion fish | source; {asked}"],
        cwd=folder, env=environment(folder), capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    answers = done.stdout.split("====\n")
    for words, answer in zip(LINES.values(), answers[:-1], strict=True):
        for word in words:
            assert word in answer, done.stdout + done.stderr
