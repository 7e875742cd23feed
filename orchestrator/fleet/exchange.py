"""What ``local`` and ``ssh`` share: feeding a far process, collecting it, speaking lines with it.

A transport provides a :class:`FarProcess`; :func:`complete` and :class:`LineChannel` do the rest,
so that both behave alike.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Protocol

from orchestrate_agent import protocol
from orchestrator.errors import AgentError, DeviceError, TransientDeviceError
from orchestrator.fleet.transport import CAPTURE_BYTES, ChannelTimeout, CommandEnd, Readable

_CHUNK_BYTES = 1024 * 1024
_STDERR_TAIL_BYTES = 8 * 1024
#: A channel whose far side does not take one ``send`` in so long is closed, in seconds.
SEND_TIMEOUT_S = 60.0
#: How long an ended command may take to tell its exit code and last words, in seconds.
_LAST_WORDS_S = 1.0


class FarProcess(Protocol):
    """A running command and its streams. One thread each may write, read stdout, read stderr.

    None of these raises because the far side went away: a write then takes 0 bytes, a read gives
    ``b""``, and :meth:`lost` tells why.
    """

    def write(self, data: memoryview) -> int:
        """Send some of ``data``; blocks; 0 when the process no longer reads."""
        ...

    def close_stdin(self) -> None: ...

    def read_stdout(self) -> bytes: ...

    def read_stderr(self) -> bytes: ...

    def wait(self, timeout_s: float | None) -> int | None:
        """The exit code, or None when there is none (yet)."""
        ...

    def lost(self) -> str | None:
        """Why the way to the process broke; None while it stands."""
        ...

    def kill(self) -> None:
        """End it, and every call above that waits. From any thread, more than once."""
        ...

    def release(self) -> None:
        """Free what it holds, once no other call is under way."""
        ...


def complete(
    process: FarProcess,
    name: str,
    *,
    device: str,
    stdin: Readable | bytes | None,
    timeout_s: float,
    on_sent: Callable[[int], None] | None,
) -> CommandEnd:
    """See ``Transport.run``. ``name`` stands for the command in messages."""
    stdout = _Capture(process.read_stdout, keep_head=True)
    stderr = _Capture(process.read_stderr, keep_head=False)
    try:
        with Deadline(timeout_s, process.kill) as deadline:
            _feed(process, stdin, on_sent)
            process.close_stdin()
            stdout.join()
            stderr.join()
            exit_code = process.wait(None)
    finally:
        process.kill()
        stdout.join()
        stderr.join()
        process.release()
    said = _last_words(stderr.tail())
    if deadline.expired:
        raise ChannelTimeout(f"{name} did not end within {timeout_s:g} s{said}", device=device)
    if exit_code is None:
        raise TransientDeviceError(f"{name} was cut off: {process.lost()}", device=device)
    if stdout.dropped:
        raise AgentError(
            f"{name} printed more than {CAPTURE_BYTES} bytes; is a login script there printing?",
            device=device,
        )
    return CommandEnd(exit_code, bytes(stdout.data), bytes(stderr.data))


def _feed(
    process: FarProcess, stdin: Readable | bytes | None, on_sent: Callable[[int], None] | None
) -> None:
    sent = 0
    for chunk in _chunks(stdin):
        view = memoryview(chunk)
        while view:
            taken = process.write(view)
            if not taken:
                return
            view = view[taken:]
            sent += taken
        if on_sent is not None:
            on_sent(sent)


def _chunks(stdin: Readable | bytes | None) -> Iterator[bytes]:
    if isinstance(stdin, bytes):
        yield stdin
    elif stdin is not None:
        while chunk := stdin.read(_CHUNK_BYTES):
            yield chunk


class Deadline:
    """Calls ``on_expiry`` from another thread unless the block ends within ``seconds``."""

    def __init__(self, seconds: float, on_expiry: Callable[[], None]) -> None:
        self.expired = False
        self._on_expiry = on_expiry
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True

    def __enter__(self) -> Deadline:
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()

    def _expire(self) -> None:
        self.expired = True
        self._on_expiry()


class _Capture:
    """Drains one stream in a thread of its own and keeps a bounded part of it."""

    def __init__(
        self, read: Callable[[], bytes], *, keep_head: bool, limit_bytes: int = CAPTURE_BYTES
    ) -> None:
        self.data = bytearray()
        self.dropped = 0
        self._read = read
        self._keep_head = keep_head
        self._limit = limit_bytes
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def join(self, timeout_s: float | None = None) -> None:
        self._thread.join(timeout_s)

    def tail(self) -> bytes:
        """A copy of what is kept, taken in one step while the draining thread goes on."""
        return bytes(self.data)

    def _drain(self) -> None:
        while chunk := self._read():
            self.data += chunk
            excess = len(self.data) - self._limit
            if excess > 0:
                self.dropped += excess
                if self._keep_head:
                    del self.data[self._limit :]
                else:
                    del self.data[:excess]


class LineChannel:
    """A ``Channel`` over any far process. See there for who may call what."""

    def __init__(
        self,
        process: FarProcess,
        name: str,
        *,
        device: str,
        max_line_bytes: int = protocol.MAX_LINE_BYTES,
    ) -> None:
        self._process = process
        self._name = name
        self._device = device
        self._lines = _LineBuffer(max_line_bytes)
        self._sending = threading.Lock()
        self._closing = threading.Lock()
        self._closed = False
        self._stderr = _Capture(
            process.read_stderr, keep_head=False, limit_bytes=_STDERR_TAIL_BYTES
        )
        self._reader = threading.Thread(target=self._pump, daemon=True)
        self._reader.start()

    @property
    def closed(self) -> bool:
        return self._closed

    def send(self, data: bytes) -> None:
        with self._sending:
            if self._closed:
                raise self._ended()
            with Deadline(SEND_TIMEOUT_S, self._process.kill) as deadline:
                complete = self._write_all(memoryview(data))
        if deadline.expired:
            self.close()
            raise ChannelTimeout(
                f"{self._name} did not take {len(data)} bytes within {SEND_TIMEOUT_S:g} s",
                device=self._device,
            )
        if not complete:
            raise self._ended()

    def _write_all(self, view: memoryview) -> bool:
        while view:
            taken = self._process.write(view)
            if not taken:
                return False
            view = view[taken:]
        return True

    def readline(self, timeout_s: float | None) -> bytes:
        try:
            return self._lines.take(timeout_s)
        except TimeoutError as exc:
            raise ChannelTimeout(
                f"{self._name} said nothing for {timeout_s:g} s", device=self._device
            ) from exc
        except EOFError as exc:
            raise self._ended(str(exc)) from exc
        except OverflowError as exc:
            self.close()
            raise AgentError(f"{self._name} sent a line {exc}", device=self._device) from exc

    def close(self) -> None:
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._process.kill()
            self._lines.discard()
            self._reader.join()
            self._stderr.join()
            with self._sending:
                self._process.release()

    def exit_code(self) -> int | None:
        return self._process.wait(_LAST_WORDS_S)

    def stderr_tail(self) -> str:
        return self._stderr.tail().decode(errors="replace")

    def _pump(self) -> None:
        while (chunk := self._process.read_stdout()) and self._lines.feed(chunk):
            pass
        self._lines.finish()

    def _ended(self, detail: str = "") -> DeviceError:
        """The error for a far side that is gone, with all that is known about why."""
        if self._closed:
            return TransientDeviceError(f"{self._name} was closed here", device=self._device)
        exit_code = self._process.wait(_LAST_WORDS_S)
        self._stderr.join(_LAST_WORDS_S)
        if exit_code is None:
            why = self._process.lost() or "it closed its output"
        else:
            why = f"it ended with exit code {exit_code}"
        message = f"{self._name} is gone: {why}{detail}{_last_words(self._stderr.tail())}"
        return TransientDeviceError(message, device=self._device)


class _LineBuffer:
    """Bytes in from one thread, lines out to another; holds at most one line and a chunk."""

    def __init__(self, max_line_bytes: int) -> None:
        self._max = max_line_bytes
        self._data = bytearray()
        self._searched = 0
        self._ended = False
        self._discarded = False
        self._changed = threading.Condition()

    def feed(self, chunk: bytes) -> bool:
        """Append, waiting while the buffer is full. False once nobody wants it any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._discarded or len(self._data) <= self._max)
            if self._discarded:
                return False
            self._data += chunk
            self._changed.notify_all()
            return True

    def finish(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def discard(self) -> None:
        with self._changed:
            self._discarded = self._ended = True
            self._data.clear()
            self._searched = 0
            self._changed.notify_all()

    def take(self, timeout_s: float | None) -> bytes:
        """Return the next line. Raises TimeoutError, EOFError (with what was torn), OverflowError
        (with the bound)."""
        with self._changed:
            if not self._changed.wait_for(self._settled, timeout_s):
                raise TimeoutError
            end = self._data.find(b"\n", self._searched)
            if end > self._max or (end < 0 and len(self._data) > self._max):
                raise OverflowError(f"longer than {self._max} bytes")
            if end < 0:
                torn = len(self._data)
                raise EOFError(f", {torn} bytes into a line" if torn else "")
            line = bytes(self._data[:end])
            del self._data[: end + 1]
            self._searched = 0
            self._changed.notify_all()
            return line

    def _settled(self) -> bool:
        # what was searched once is not searched again: a 16 MB line comes in 500 pieces
        if self._data.find(b"\n", self._searched) >= 0:
            return True
        self._searched = len(self._data)
        return self._ended or len(self._data) > self._max


def _last_words(stderr: bytes) -> str:
    text = stderr[-_STDERR_TAIL_BYTES:].decode(errors="replace").strip()
    return f"; it said: {text}" if text else ""
