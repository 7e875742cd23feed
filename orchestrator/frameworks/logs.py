"""What a framework's reader of its tools' logs gives to whoever imports them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.factors import Factors
from orchestrator.frameworks.runner import Reading


@dataclass(frozen=True)
class LoggedProcess:
    """One process whose output a log holds.

    ``begins`` is its place in the log. ``factors`` are the tool that ran, as the runner, and what
    the log tells; the others are untold. ``graph`` is the file that it says it ran, empty where it
    does not. ``measured`` says whether anything of a measurement is there. ``size_bytes`` is the
    model file's size as it was printed.
    """

    begins: str
    text: str
    factors: Factors
    reading: Reading
    graph: str = ""
    size_bytes: int | None = None
    measured: bool = True


@dataclass(frozen=True)
class LogReader:
    """What reads the logs of a framework's tools. Pure.

    ``read`` takes a log's name and its text and gives the processes in it, none where the text is
    nothing that it knows; it raises UsageError where a figure cannot be read safely. ``known_by``
    says what such a log holds, ``takes`` which files it reads: both stand in a message.
    """

    read: Callable[[str, str], Sequence[LoggedProcess]]
    known_by: str
    takes: str
