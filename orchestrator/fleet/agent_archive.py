"""The agent as one file: a zipapp of the package ``orchestrate_agent``, named by its sources."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

from orchestrate_agent import contents
from orchestrator.errors import ArtifactError

# The first thing a node's Python reads; written so that Python 2 gets far enough to say so.
# sys.path is made absolute because the daemon changes its working directory and imports after it.
_MAIN = b"""\
import os
import sys

if sys.version_info < (3, 8):
    sys.stderr.write(
        "agent: this is Python %d.%d, the agent needs 3.8 or later; set the device's "
        "`python:` in the inventory to a newer one\\n" % tuple(sys.version_info[:2])
    )
    sys.exit(2)
sys.path[0] = os.path.abspath(sys.path[0])

from orchestrate_agent.__main__ import main

sys.exit(main())
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment a zip can name
_MODE = 0o644 << 16


@dataclass(frozen=True)
class AgentArchive:
    """``data`` is the zipapp; ``sha256`` is that of its sorted sources, not of ``data``.

    The file on the node is ``agents/<sha256>.pyz``: equal sources make an equal agent.
    """

    sha256: str
    data: bytes


def build_agent_archive() -> AgentArchive:
    """Pack the agent as it is installed here, into the same bytes each time.

    Raises ArtifactError where the installation lacks a module.
    """
    sources = dict(sorted(_sources().items()))
    sources["__main__.py"] = _MAIN
    sha256 = _hash(sources)
    sources["orchestrate_agent/SOURCE_SHA256"] = sha256.encode("ascii") + b"\n"
    return AgentArchive(sha256, _zip(sources))


def _sources() -> dict[str, bytes]:
    folder = Path(contents.__file__).parent
    try:
        return {f"{folder.name}/{name}": (folder / name).read_bytes() for name in contents.MODULES}
    except OSError as exc:
        raise ArtifactError(
            f"{exc.filename}: this module of the agent cannot be read ({exc.strerror}), and no "
            f"device can do without it; install orchestrate again"
        ) from exc


def _hash(sources: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in sources.items():
        # the lengths keep two different sets of files from running into the same bytes
        digest.update(f"{len(name)} {name} {len(content)} ".encode())
        digest.update(content)
    return digest.hexdigest()


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    # Stored, not compressed: the bytes depend on no zlib, and the node's Python needs none.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = _MODE
            archive.writestr(info, content)
    return buffer.getvalue()
