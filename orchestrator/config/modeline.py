"""The first line of a YAML file of ours, which tells an editor where the file's schema is."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.config.schema import shipped_schema


def modeline(kind: str, folder: Path) -> str:
    """Return the line for a file in ``folder``, with its line break.

    It leads to the schema of the version that wrote it, as it is installed on this machine: nothing
    is fetched, and the schema cannot be older than the program. The path is relative, as editors
    take it from the file; one with blanks, at which they would cut it, is an address.
    """
    schema = shipped_schema(kind)
    path = os.path.relpath(schema, folder.resolve())
    named = schema.as_uri() if any(map(str.isspace, path)) else Path(path).as_posix()
    return f"# yaml-language-server: $schema={named}\n"
