"""Paths of this machine that a run's folder leaves out: it is made to be passed on.

They say who measured and where, and nothing of what was measured.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

#: What stands for our own Python in a command line, as it does in a bundle's.
PYTHON = "{python}"


def argv_to_keep(argv: Sequence[str]) -> list[str]:
    """A command line as a log has it."""
    return [PYTHON if word == sys.executable else word for word in argv]


def facts_to_keep(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a machine told, with the name alone of our own Python."""
    python = facts.get("python")
    if not isinstance(python, Mapping) or python.get("executable") != sys.executable:
        return facts
    return {**facts, "python": {**python, "executable": Path(sys.executable).name}}
