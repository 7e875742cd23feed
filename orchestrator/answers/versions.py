"""``orchestrate --version``: what a bug report has to say."""

from __future__ import annotations

import platform

from orchestrator import __version__
from orchestrator.installed import NEEDED, packages


def text() -> str:
    """Our version on the first line; then Python, the system, and every package that we use and
    that is here, an extra a line."""
    lines = [
        f"orchestrate {__version__}",
        f"Python {platform.python_version()} ({platform.python_implementation()}), "
        f"{platform.platform()}",
    ]
    for extra, some in packages().items():
        here = [each.here for each in some if each.version is not None]
        if here:
            lines.append(f"{extra or 'needs'}: {', '.join(here)}")
    missing = [
        extra for extra, some in packages().items()
        if extra != NEEDED and not all(each.version for each in some)
    ]  # fmt: skip
    if missing:
        lines.append(f"not installed, or not whole: {', '.join(missing)}")
    return "\n".join(lines) + "\n"
