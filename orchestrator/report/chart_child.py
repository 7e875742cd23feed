"""The process that draws: a request a line on stdin, its answer a line on stdout, until stdin ends.

What charts show is described with altair, and Vega-Lite draws it in an engine that reserves
gigabytes of addresses and ends its process where it gets none, as under the limits of batch
systems. That process is this one, and not the one that has the tables.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import vl_convert

from orchestrator.report import drawings
from orchestrator.report.drawing import Drawing
from orchestrator.report.explain import drawings as of_explanations

PNG_SCALE = 2.0

_DESCRIBED: Mapping[str, Callable[..., tuple[Drawing, ...]]] = {
    "table": drawings.describe,
    "sweeps": drawings.describe_sweeps,
    "explanation": of_explanations.describe,
}


def main() -> int:
    """Do what is asked for. Whatever the libraries print goes to stderr."""
    wire = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        answer = _described(request) if "describe" in request else _drawn(request)
        wire.write(json.dumps(answer).encode() + b"\n")
        wire.flush()
    return 0


def _described(request: Mapping[str, Any]) -> dict[str, Any]:
    """``drawings``, of what our own parent process hands over, or why they are ``refused``."""
    arguments = pickle.loads(base64.b64decode(request["arguments"]))  # noqa: S301  # our parent's
    drawings.VALIDATE = request["validate"]
    try:
        found = _DESCRIBED[request["describe"]](*arguments)
    except Exception as exc:  # noqa: BLE001  # the parent says it; it has nobody else to ask
        return {"refused": f"{type(exc).__name__}: {exc}"}
    return {"drawings": [asdict(drawing) for drawing in found]}


def _drawn(request: Mapping[str, Any]) -> dict[str, str]:
    """``data`` in base64, or why it is ``refused``."""
    specification = request["specification"]
    try:
        # our charts carry their figures with them; none may be fetched
        if request["shape"] == "svg":
            data = vl_convert.vegalite_to_svg(specification, allowed_base_urls=[]).encode()
        else:
            data = vl_convert.vegalite_to_png(specification, scale=PNG_SCALE, allowed_base_urls=[])
    except ValueError as exc:
        return {"refused": str(exc)}
    return {"data": base64.b64encode(data).decode("ascii")}


if __name__ == "__main__":
    sys.exit(main())
