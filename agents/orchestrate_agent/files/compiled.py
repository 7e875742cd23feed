"""The agent's archive once more, with what its measuring children import compiled.

Python keeps no compiled code of what it imports from a zip file, so that every child would compile
the same modules anew, before each trial. This copy has their code beside their sources; a child of
another version of Python does not know that code, and reads the source as before.
"""

from __future__ import annotations

import contextlib
import importlib.util
import marshal
import os
import sys
import zipfile
from typing import Optional

from orchestrate_agent import home

FOLDER = "agents"

_PACKAGE = "orchestrate_agent/"
#: What stands on the way to a child.
_WAY = ("__main__.py", *(_PACKAGE + name for name in ("__init__.py", "__main__.py", "errors.py")))
_CHILDREN = (_PACKAGE + "children/", _PACKAGE + "home.py")
#: Of a compiled file whose source is not looked at again (PEP 552): it lies beside it.
_UNCHECKED = (1).to_bytes(4, "little")
_EPOCH = (1980, 1, 1, 0, 0, 0)


def compiled(archive: str) -> str:
    """Write that copy into the home and return its absolute path; ``archive`` itself where it
    cannot be written or read, since it does as well.

    Made anew by every daemon: what a power cut left of an earlier one is not trusted.
    """
    name, ending = os.path.splitext(os.path.basename(archive))
    path = os.path.abspath(
        os.path.join(FOLDER, f"{name}.{sys.implementation.cache_tag or 'none'}{ending}")
    )
    partial = f"{path}.{os.getpid()}.part"
    try:
        os.makedirs(FOLDER, 0o700, exist_ok=True)
        with zipfile.ZipFile(archive) as source, zipfile.ZipFile(partial, "w") as copy:
            for entry in source.namelist():
                data = source.read(entry)
                _add(copy, entry, data)
                code = _code(entry, data, path)
                if code is not None:
                    _add(copy, f"{entry}c", code)
        os.replace(partial, path)
    except (OSError, zipfile.BadZipFile, SyntaxError, ValueError) as exc:
        home.log(f"children compile their modules themselves: {path}: {exc}")
        with contextlib.suppress(OSError):
            os.unlink(partial)
        return archive
    return path


def _code(entry: str, source: bytes, path: str) -> Optional[bytes]:
    """The compiled file of this entry; None of what no child imports."""
    if not entry.endswith(".py") or not (entry in _WAY or entry.startswith(_CHILDREN)):
        return None
    code = compile(source, os.path.join(path, entry), "exec", dont_inherit=True)
    head = importlib.util.MAGIC_NUMBER + _UNCHECKED + importlib.util.source_hash(source)
    return head + marshal.dumps(code)


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    # the same bytes each time: a child may be reading the one that this one replaces
    archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)
