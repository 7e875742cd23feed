"""Files on an Android device, named by their SHA-256: pushed there once, checked there."""

from __future__ import annotations

import os
import time
import uuid
from typing import BinaryIO, Dict, FrozenSet, Iterable

from orchestrate_agent import home
from orchestrate_agent.android.adb import BLOBS, SHORT_S, Adb, Said
from orchestrate_agent.errors import EXIT_FAILED, EXIT_NO_SPACE, EXIT_WRONG_BYTES, AgentError
from orchestrate_agent.files import blobs
from orchestrate_agent.files.blobs import DamagedBlobError

#: A slow core hashes faster than this.
_SLOWEST_BYTES_PER_S = 5_000_000
#: One look serves all the blobs of a trial, which are asked for within so many seconds.
_FRESH_S = 0.5
#: What `adb push` says of a device that is full.
_NO_SPACE = "No space left"


def put(adb: Adb, sha256: str, size: int, source: BinaryIO) -> str:
    """Store the next ``size`` bytes of ``source`` on the device; ``stored`` or ``present``.

    They pass through the agent's folder here, where nothing stays. Raises AgentError as
    :func:`orchestrate_agent.files.blobs.put` does.
    """
    blobs.put(sha256, size, source)
    local = os.path.join(home.BLOBS, sha256)
    try:
        if AdbBlobs(adb).present([sha256]):
            return "present"
        _push(adb, local, sha256, size)
        return "stored"
    finally:
        os.unlink(local)


def _push(adb: Adb, local: str, sha256: str, size: int) -> None:
    temporary = f"{BLOBS}/.put-{uuid.uuid4().hex}"
    said = adb.push(local, temporary, size)
    if said.exit_code != 0:
        adb.shell(f"rm -f {temporary}")
        raise _not_pushed(said, sha256, size)
    there = _sha256(adb, temporary, size)
    if there != sha256:
        adb.shell(f"rm -f {temporary}")
        raise AgentError(
            f"blob {sha256}: the bytes that arrived have SHA-256 {there}; send it again",
            EXIT_WRONG_BYTES,
        )
    # all may be executed: what it is does not show in its name
    adb.shell(f"chmod 700 {temporary} && mv {temporary} {BLOBS}/{sha256}")


def _not_pushed(said: Said, sha256: str, size: int) -> AgentError:
    why = (said.stderr.strip() or said.stdout.strip())[-300:]
    if _NO_SPACE in why:
        return AgentError(
            f"no space left in {BLOBS} of the device for a blob of {size} bytes; free some there",
            EXIT_NO_SPACE,
        )
    return AgentError(f"cannot push blob {sha256} to the device: {why}", EXIT_FAILED)


def _sha256(adb: Adb, path: str, size: int) -> str:
    said = adb.shell(f"sha256sum {path} 2>&1", SHORT_S + size / _SLOWEST_BYTES_PER_S)
    return said.strip().partition(" ")[0]


class AdbBlobs:
    """A device's blobs as the daemon uses them; the same as
    :class:`orchestrate_agent.files.blobs.BlobStore`."""

    def __init__(self, adb: Adb) -> None:
        self._adb = adb
        self._verified: Dict[str, str] = {}
        self._stamps: Dict[str, str] = {}
        self._looked_at = float("-inf")

    def present(self, wanted: Iterable[str]) -> FrozenSet[str]:
        """Return those of ``wanted`` that the device has a file of; its bytes are not read."""
        self._look()
        return frozenset(self._stamps) & frozenset(wanted)

    def path(self, sha256: str) -> str:
        """The blob's path there. Raises DamagedBlobError, having removed what was damaged."""
        path = f"{BLOBS}/{sha256}"
        if time.monotonic() - self._looked_at > _FRESH_S:
            self._look()
        stamp = self._stamps.get(sha256)
        if stamp is None:
            raise DamagedBlobError(f"blob {sha256} is not on the device any more; push it again")
        if self._verified.get(sha256) != stamp:
            there = _sha256(self._adb, path, int(stamp.partition(" ")[0]))
            if there != sha256:
                self._adb.shell(f"rm -f {path}")
                del self._stamps[sha256]
                raise DamagedBlobError(
                    f"blob {sha256} was damaged on the device (its bytes have SHA-256 {there}) "
                    f"and was removed; push it again"
                )
            self._verified[sha256] = stamp
        return path

    def executable(self, sha256: str) -> str:
        """Return the same path as :meth:`path`: every blob there may be executed by its owner."""
        return self.path(sha256)

    def _look(self) -> None:
        """Size, time and inode of each that is there."""
        said = self._adb.shell(f"cd {BLOBS} && stat -c '%n %s %Y %i' * 2>/dev/null")
        named = (line.partition(" ") for line in said.splitlines())
        self._stamps = {name: stamp for name, _, stamp in named}
        self._looked_at = time.monotonic()
