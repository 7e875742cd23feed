"""This script runs pip with the environment markers of another machine: ``MARKERS ARGUMENT …``.

``pip install --platform … --python-version …`` chooses wheels for that platform, yet asks its own
interpreter whether a requirement like ``strenum; python_version < "3.11"`` holds: on a controller
with another Python, or another CPU, packages would be missing or too many, and nothing would say
so. What comes of it is checked afterwards (``resolve``), so that a pip that this does not reach is
noticed. The markers are a JSON object; the arguments are pip's.
"""

from __future__ import annotations

import json
import sys


def main() -> int:
    """Run pip; returns its exit code."""
    from pip._internal.cli.main import main as pip  # noqa: PLC0415 (a script, with its own pip)
    from pip._vendor.packaging import markers  # noqa: PLC0415

    told = json.loads(sys.argv[1])
    markers.default_environment = lambda: dict(told)
    return int(pip(sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(main())
