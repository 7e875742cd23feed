"""The child process that builds one model's schemes: ``python -m orchestrator.zoo.build``.

Takes one JSON object, a line, on stdin (see ``building.BuildRequest``) and lives as long as that
pipe is open: when the parent dies, it ends too. Writes JSON lines to stdout: ``{"step": …}``,
``{"stored": scheme}`` and ``{"error": …}``. Everything else that anybody prints goes to stderr,
which the parent keeps as the build's log. The request names the module that builds.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import replace
from typing import NoReturn, TextIO

from orchestrator.errors import OrchestrateError
from orchestrator.frameworks.building import BuildRequest
from orchestrator.frameworks.parts import load_parts


class _Site:
    """Tells the parent. See :class:`orchestrator.frameworks.building.BuildSite`."""

    def __init__(self, request: BuildRequest, wire: TextIO, *, resumed: bool) -> None:
        self.resumed = resumed
        self._request = request
        self._wire = wire

    def say(self, step: str) -> None:
        self._tell("step", step)

    def stored(self, scheme: str) -> None:
        self._tell("stored", scheme)

    def fail(self, error: str) -> None:
        self._tell("error", error)

    def begin_afresh(self, schemes: tuple[str, ...]) -> NoReturn:
        line = json.dumps(replace(self._request, schemes=schemes).to_json())
        os.dup2(self._wire.fileno(), 1)
        command = (sys.executable, "-m", "orchestrator.zoo.build", line)
        os.execv(sys.executable, command)  # noqa: S606

    def _tell(self, what: str, text: str) -> None:
        self._wire.write(json.dumps({what: text}) + "\n")
        self._wire.flush()


def main() -> int:
    """Build what stdin asks for. 0, or 1 after an ``error`` line."""
    wire = _take_stdout()
    resumed = len(sys.argv) > 1
    request = BuildRequest.from_json(json.loads(sys.argv[1] if resumed else sys.stdin.readline()))
    site = _Site(request, wire, resumed=resumed)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    parts = load_parts(request.parts)
    try:
        parts.build(request, site)
    except OrchestrateError as exc:
        site.fail(str(exc))
        return 1
    except ImportError as exc:
        site.fail(
            f"{parts.about.builder} or what it needs cannot be imported ({exc}); `pip install "
            f"'orchestrate-quantized[{parts.about.extra}]'` installs it"
        )
        return 1
    return 0


def _take_stdout() -> TextIO:
    """Keep stdout for our lines and point file descriptor 1 at stderr for everybody else's."""
    wire = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return wire


def _end_with_parent() -> None:
    while os.read(0, 1):  # not sys.stdin: a thread waiting in it disturbs the interpreter's end
        pass
    # Nothing needs tidying up: what is stored is whole, and the store removes partial files.
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
