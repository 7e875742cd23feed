"""Zip files that somebody else made: what is wrong with a member, before a byte of it is unpacked,
and what reading one raises."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib

#: What reading a zip file raises, whatever is wrong with its bytes.
BROKEN = (
    OSError, EOFError, ValueError, RuntimeError, NotImplementedError, LookupError, struct.error,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def why_broken(exc: BaseException) -> str:
    """Say what one of ``BROKEN`` means, for a message."""
    why = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
    return f"cannot be read ({why[:200] or type(exc).__name__})"


def flaw(member: zipfile.ZipInfo, *, most_bytes: int, packer: str) -> str | None:
    """Return what is wrong with a member that is not a plain file, is packed otherwise than
    ``packer`` packs, or would have more than ``most_bytes``; None where nothing is."""
    name = member.filename
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
        return f"{name} is not a plain file"
    encrypted = member.flag_bits & 1
    if encrypted or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"{name} is packed in a way that no {packer} packs"
    if member.file_size > most_bytes:
        return f"{name} would have {member.file_size} bytes of {member.compress_size}"
    return None
