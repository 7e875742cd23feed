"""What a command gives back: the text for stdout and the exit code."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes are part of the contract with scripts."""

    OK = 0
    FAILED = 1  # something failed; what was measured is saved
    USAGE = 2  # the command line, inventory or suite is wrong; nothing was touched
    UNREACHED = 3  # no device could be reached
    INTERRUPTED = 130  # resumable


@dataclass(frozen=True)
class Answer:
    """``text`` goes to stdout as it is; it ends with a newline unless it is empty."""

    text: str
    code: ExitCode = ExitCode.OK
