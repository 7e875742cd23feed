"""Text that holds the output of one ``benchmark_model`` process or many → the processes. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.frameworks.tflite.log_prefixes import bare

#: The end of a line, since a process that died may have left half a line before it.
_START = re.compile(r".*\bSTARTING!")
#: Lines of a measurement that is under way; after a closing line they belong to the next process.
_LEVEL = r"(?:INFO: ?)?(?:\[[\w./+-]{1,200}:\d{1,6}\] ?)?"
_UNDER_WAY = re.compile(
    _LEVEL + r"(?:Loaded model|The input model file size|Initialized session in"
    r"|Running benchmark for|count=|Inference timings in us|Average inference timings in us"
    r"|Loading model from: |Model: {2,}\S|(?:=+ )?BENCHMARK RESULTS\b|Inference \(avg\): )"
)
_CLOSING = re.compile(
    _LEVEL + r"(?:Inference timings in us|Average inference timings in us|Inference \(avg\): )"
)


@dataclass(frozen=True)
class Process:
    """The output of one process: where it begins (``notebook cell 7, line 3``, or ``line 3``), the
    number of its first line there, and its text without what others put before its lines."""

    place: str
    first_line: int
    text: str

    def where(self, line: int) -> str:
        """Return the place of its ``line``-th line, from 1."""
        return f"{self.place}line {self.first_line + line - 1}"

    @property
    def begins(self) -> str:
        return self.where(1)


def processes(name: str, text: str) -> tuple[Process, ...]:
    """Return every process in ``text``, the content of the file called ``name``.

    A notebook (``.ipynb``) is read cell by cell. Raises UsageError where it cannot be read.
    """
    parts = _cells(name, text) if name.endswith(".ipynb") else (("", text),)
    return tuple(process for place, part in parts for process in _split(place, bare(part)))


def _split(place: str, text: str) -> Iterator[Process]:
    """A process begins at ``STARTING!``; where that line was cut away, after a closing line."""
    lines = text.split("\n")
    begins = [0]
    closed = started = False
    for number, line in enumerate(lines):
        said = line.strip()
        if _START.fullmatch(said):
            # what the runtime prints on stderr may stand before it, and belongs to it
            if started:
                begins.append(number)
            closed, started = False, True
        elif _UNDER_WAY.match(said):
            if closed:
                begins.append(number)
                closed = False
            started = True
            closed = closed or _CLOSING.match(said) is not None
    for first, end in zip(begins, [*begins[1:], len(lines)], strict=True):
        part = lines[first:end]
        if any(_START.fullmatch(line.strip()) or _UNDER_WAY.match(line.strip()) for line in part):
            yield Process(place, first + 1, "\n".join(part))


def _cells(name: str, text: str) -> Iterator[tuple[str, str]]:
    """The text of each cell's outputs, as one."""
    try:
        cells = json.loads(text)["cells"]
        for number, cell in enumerate(cells, 1):
            said = "".join(map(_said, cell.get("outputs", ())))
            if said:
                yield f"cell {number}, ", said
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise UsageError(f"{name}: not a notebook that can be read ({exc!r})") from exc


def _said(output: dict[str, Any]) -> str:
    text = output.get("text", output.get("data", {}).get("text/plain", ""))
    return text if isinstance(text, str) else "".join(text)
