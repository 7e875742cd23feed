"""The process that draws: a chart a line on stdin, its picture a line on stdout, until stdin ends.

Vega-Lite runs in an engine that reserves gigabytes of addresses and ends its process where it gets
none, as under the limits of batch systems. That process is this one, and not the one that has the
tables.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import vl_convert

PNG_SCALE = 2.0


def main() -> int:
    """Draw what is asked for. Whatever the library prints goes to stderr."""
    wire = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        wire.write(json.dumps(_drawn(json.loads(line))).encode() + b"\n")
        wire.flush()
    return 0


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
