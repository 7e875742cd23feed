"""What runs on a Dask worker: one device's SSH connection, and the worker's cache of blobs.

It decides nothing and keeps nothing but blobs, each checked against the hash that names it.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from distributed import get_worker

from orchestrator import __version__
from orchestrator.artifacts.blob import Blob
from orchestrator.errors import TransientDeviceError
from orchestrator.fleet.provision import BlobStream
from orchestrator.fleet.ssh import SshTransport
from orchestrator.fleet.ssh.route import SshEndpoint
from orchestrator.fleet.transport import Channel, ChannelTimeout, CommandEnd

#: A blob travels to the worker in pieces of so many bytes.
CHUNK_BYTES = 8 * 1024 * 1024
#: Below the worker's own folder, which Dask removes with the worker.
_CACHE = "orchestrate-blobs"
#: Calls on one device that may wait at the same time: two channels are read, one is written,
#: something runs, something is closed.
_THREADS = 8

T = TypeVar("T")


def worker_version() -> str:
    """Return the version of the package that is installed at a worker."""
    return __version__


class FarEnd:
    """A Dask actor: the far half of ``ClusterTransport``.

    Its methods are coroutines, because Dask runs those of all actors in one loop and has a single
    thread for the others; what waits for the network waits in threads of this device's own.
    """

    def __init__(self, endpoint: SshEndpoint) -> None:
        self._transport = SshTransport(endpoint)
        self._cache = Path(get_worker().local_directory) / _CACHE
        self._cache.mkdir(mode=0o700, exist_ok=True)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=endpoint.device)
        self._numbers = itertools.count()
        self._channels: dict[int, Channel] = {}
        self._push: Future[CommandEnd] | None = None
        self._sent = 0

    def __del__(self) -> None:
        # The controller has gone: Dask forgets what it asked for, and the connection must not stay.
        # Not in this thread, which may be Dask's loop, and not in ours, which may all be waiting.
        threading.Thread(target=self._transport.close, daemon=True).start()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def connect(self) -> None:
        await self._in_thread(self._transport.connect)

    async def close(self) -> None:
        await asyncio.to_thread(self._transport.close)

    # --- commands and channels ---------------------------------------------------------------

    async def run(self, argv: Sequence[str], stdin: bytes | None, timeout_s: float) -> CommandEnd:
        return await self._in_thread(self._transport.run, argv, stdin=stdin, timeout_s=timeout_s)

    async def open(self, argv: Sequence[str]) -> int:
        number = next(self._numbers)
        self._channels[number] = await self._in_thread(self._transport.open, argv)
        return number

    async def send(self, number: int, data: bytes) -> None:
        await self._in_thread(self._channel(number).send, data)

    async def readline(self, number: int, timeout_s: float | None) -> bytes | None:
        """Return the next line; None where there was none in time."""
        try:
            return await self._in_thread(self._channel(number).readline, timeout_s)
        except ChannelTimeout:
            return None

    async def close_channel(self, number: int) -> None:
        channel = self._channels.pop(number, None)
        if channel is not None:
            await asyncio.to_thread(channel.close)

    async def exit_code(self, number: int) -> int | None:
        return await self._in_thread(self._channel(number).exit_code)

    async def stderr_tail(self, number: int) -> str:
        return self._channel(number).stderr_tail()

    # --- blobs -------------------------------------------------------------------------------

    async def has(self, sha256: str) -> bool:
        """Whether this worker has the blob."""
        return (self._cache / sha256).exists()

    async def receive(self, sha256: str, number: int, data: bytes) -> bool:
        """Take piece ``number`` of a blob, an empty one being the end; returns whether more is
        wanted.

        Raises TransientDeviceError where the bytes are not those that the hash names.
        """
        return await self._in_thread(self._receive, sha256, number, data)

    def _receive(self, sha256: str, number: int, data: bytes) -> bool:
        partial_file = self._cache / f".{sha256}"
        if data:
            with partial_file.open("ab" if number else "wb") as file:
                file.write(data)
            return True
        digest = hashlib.sha256()
        with partial_file.open("rb") as file:
            for piece in iter(partial(file.read, CHUNK_BYTES), b""):
                digest.update(piece)
        if digest.hexdigest() != sha256:
            partial_file.unlink()
            raise self._broken(f"blob {sha256} arrived there with SHA-256 {digest.hexdigest()}")
        partial_file.replace(self._cache / sha256)
        return False

    async def begin_push(self, argv: Sequence[str], names: Sequence[str], timeout_s: float) -> None:
        """Start ``argv`` with blobs of the cache as its stdin; ``push_state`` tells how it goes."""
        blobs = []
        for name in names:
            path = self._cache / name
            blobs.append(Blob(name, path, path.stat().st_size))
        self._sent = 0
        stream = BlobStream(blobs)
        self._push = self._threads.submit(
            self._transport.run, argv, stdin=stream, timeout_s=timeout_s, on_sent=self._note_sent
        )
        self._push.add_done_callback(lambda _: stream.close())

    async def push_state(self, wait_s: float) -> tuple[int, CommandEnd | None]:
        """Bytes sent so far, and how the command ended, once it has."""
        if self._push is None:
            raise self._broken("nothing is being pushed")
        await asyncio.wait([asyncio.wrap_future(self._push)], timeout=wait_s)
        return self._sent, self._push.result() if self._push.done() else None

    def _note_sent(self, sent: int) -> None:
        self._sent = sent

    # --- within ------------------------------------------------------------------------------

    async def _in_thread(self, call: Callable[..., T], *arguments: Any, **named: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, partial(call, *arguments, **named))

    def _channel(self, number: int) -> Channel:
        try:
            return self._channels[number]
        except KeyError:
            raise self._broken("a channel that is closed was used") from None

    def _broken(self, what: str) -> TransientDeviceError:
        return TransientDeviceError(what, device=self._transport.device)
