"""What is kept of a long stream."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrate_agent.process.capture import Capture


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300), st.integers(1, 50))
def test_head_and_tail_are_kept_and_the_rest_is_counted(data: bytes, step: int) -> None:
    capture = Capture(limit_bytes=100)
    for at in range(0, len(data), step):
        capture.feed(data[at : at + step])
    assert capture.total_bytes == len(data)
    if len(data) <= 100:
        expected = data.decode("utf-8", "replace")
    else:
        head, tail = data[:50].decode("utf-8", "replace"), data[-50:].decode("utf-8", "replace")
        expected = f"{head}\n[... {len(data) - 100} bytes left out ...]\n{tail}"
    assert capture.text() == expected


def test_a_flood_does_not_fill_the_memory() -> None:
    capture = Capture(limit_bytes=1000)
    for _ in range(10_000):
        capture.feed(b"x" * 100)
        assert len(capture._tail) <= 1100
