"""Has charts described and drawn by a child process, which may die of it without taking the tables
along."""

from __future__ import annotations

import atexit
import base64
import json
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from orchestrator.errors import OrchestrateError
from orchestrator.report.drawing import Drawing

#: How long one chart may take, the start of the child included, in seconds.
DRAWING_S = 120.0
#: One chart may be too much for the child; after this many deaths no other is tried.
MOST_DEATHS = 2

_READ_BYTES = 1 << 20


class NotDrawnError(OrchestrateError):
    """A chart is not there; the message says why, and the tables have its figures."""


class Draughtsman:
    """One child for all charts, started with the first. Safe to use from several threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._deaths: list[str] = []
        atexit.register(self.close)

    def describe(self, what: str, *arguments: object, validate: bool) -> tuple[Drawing, ...]:
        """The charts of ``what`` (see :mod:`.chart_child`), which is handed over whole. Raises
        NotDrawnError."""
        packed = base64.b64encode(pickle.dumps(arguments)).decode("ascii")
        request = {"describe": what, "arguments": packed, "validate": validate}
        answer = self._answer(request, "the charts", "their")
        return tuple(Drawing(**each) for each in answer["drawings"])

    def draw(self, drawing: Drawing, shape: str) -> bytes:
        """The chart as ``svg`` or ``png``. Raises NotDrawnError."""
        request = {"shape": shape, "specification": {**drawing.specification}}
        answer = self._answer(request, f"the chart {drawing.name}", "its")
        return base64.b64decode(answer["data"])

    def _answer(self, request: dict[str, Any], what: str, whose: str) -> dict[str, Any]:
        with self._guard:
            if len(self._deaths) >= MOST_DEATHS:
                raise _not_drawn(what, self._deaths[-1], whose)
            try:
                answer = self._ask(request)
            except (OSError, EOFError, TimeoutError, ValueError) as exc:
                self._deaths.append(self._end(exc))
                raise _not_drawn(what, self._deaths[-1], whose) from exc
        if "refused" in answer:
            why = str(answer["refused"]).strip().splitlines()
            raise _not_drawn(what, why[0] if why else "no reason given", whose)
        return answer

    def close(self) -> None:
        """End the child. May be repeated."""
        if self._child is not None:
            self._end(EOFError())

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "orchestrator.report.chart_child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # an engine that dies prints its registers
                bufsize=0,
                start_new_session=True,
            )
        sink, source = self._child.stdin, self._child.stdout
        if sink is None or source is None:  # cannot be: both were asked for
            raise EOFError
        line = memoryview(json.dumps(request).encode() + b"\n")
        while line:
            line = line[sink.write(line) or 0 :]
        answer: dict[str, Any] = json.loads(_read_line(source.fileno()))
        return answer

    def _end(self, exc: BaseException) -> str:
        """Why the child is of no use any more, which is gone then."""
        child, self._child = self._child, None
        if child is None:
            return f"the chart library cannot be started: {exc}"
        late = isinstance(exc, TimeoutError)
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()
        try:
            code = child.wait(0.0 if late else 5.0)
        except subprocess.TimeoutExpired:
            child.kill()
            code = child.wait()
        if late:
            return f"the chart library took more than {DRAWING_S:g} s"
        how = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        return (
            f"the chart library died of it ({how}); a limit of memory or of addresses "
            f"(`ulimit -v`, a batch system's) leaves it no room"
        )


def _read_line(fd: int) -> bytes:
    deadline, data = time.monotonic() + DRAWING_S, bytearray()
    while not data.endswith(b"\n"):
        ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError
        chunk = os.read(fd, _READ_BYTES)
        if not chunk:
            raise EOFError
        data += chunk
    return bytes(data)


def _not_drawn(what: str, why: str, whose: str) -> NotDrawnError:
    return NotDrawnError(f"{what} cannot be drawn ({why}); the tables have {whose} figures")
