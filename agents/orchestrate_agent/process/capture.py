"""Keeps the head and the tail of a stream, however long the stream is."""

from __future__ import annotations

from orchestrate_agent.protocol import CAPTURE_BYTES


class Capture:
    """Keeps ``limit_bytes`` of a stream at most: half from the head, half from the tail."""

    def __init__(self, limit_bytes: int = CAPTURE_BYTES) -> None:
        self._half = limit_bytes // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.total_bytes = 0

    def feed(self, data: bytes) -> None:
        """Take the next piece of the stream."""
        self.total_bytes += len(data)
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        # trimmed only when it has doubled, so that each byte is moved once on average
        if len(self._tail) > 2 * self._half:
            del self._tail[: -self._half]

    def text(self) -> str:
        """What was kept, with a line that says how much was left out where some was."""
        left_out = self.total_bytes - 2 * self._half
        if left_out <= 0:
            return (self._head + self._tail).decode("utf-8", "replace")
        tail = self._tail[-self._half :]
        gap = f"\n[... {left_out} bytes left out ...]\n"
        return self._head.decode("utf-8", "replace") + gap + tail.decode("utf-8", "replace")
