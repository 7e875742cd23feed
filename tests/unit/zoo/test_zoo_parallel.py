"""Builds side by side: never above the limit, and ended when something goes wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.zoo.parallel import MEMORY_LIMIT_MB, Capacity, Job, capacity, run_jobs


def job(name: str, memory_mb: int, run: Callable[[], None] = lambda: None) -> Job:
    return Job(name, memory_mb, run)


def run(jobs: list[Job], room: Capacity) -> None:
    run_jobs(jobs, room, on_interrupt=lambda: None)


@given(
    sizes=st.lists(st.integers(0, 9000), max_size=12),
    cores=st.integers(1, 4),
)
def test_what_runs_at_a_time_fits(sizes: list[int], cores: int) -> None:
    room, guard, done = Capacity(8000, cores), threading.Lock(), []
    running: list[int] = []

    def work(size: int) -> Callable[[], None]:
        def build() -> None:
            with guard:
                running.append(size)
                assert len(running) <= cores
                assert sum(running) <= 8000 or len(running) == 1
            with guard:
                running.remove(size)
                done.append(size)

        return build

    run([job(str(i), size, work(size)) for i, size in enumerate(sizes)], room)
    assert sorted(done) == sorted(sizes)


def test_a_small_one_goes_beside_a_large_one_that_another_large_one_waits_for() -> None:
    small_ended = threading.Event()
    order: list[str] = []

    def large() -> None:
        order.append("large")
        assert small_ended.wait(10)  # so it ends only if the small one starts beside it

    jobs = [
        job("large", 7000, large),
        job("other", 7000, lambda: order.append("other")),
        job("small", 1000, small_ended.set),
    ]
    run(jobs, Capacity(8000, 2))
    assert order == ["large", "other"]


def test_one_above_the_limit_goes_alone() -> None:
    assert Capacity(8000, 2).has_room((), job("huge", 9000))
    assert not Capacity(8000, 2).has_room((job("tiny", 1),), job("huge", 9000))


def test_an_error_lets_the_others_end_and_starts_no_more() -> None:
    failed, ended = threading.Event(), []

    def fail() -> None:
        failed.set()
        raise RuntimeError("no space left")

    def steady() -> None:
        failed.wait(10)
        ended.append("steady")

    jobs = [job("a", 1, steady), job("b", 1, fail), job("c", 1, lambda: ended.append("c"))]
    with pytest.raises(RuntimeError, match="no space left"):
        run(jobs, Capacity(8000, 2))
    assert ended == ["steady"]


def test_an_interrupt_ends_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    killed = threading.Event()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.zoo.parallel._Crew.wait", interrupted)
    jobs = [job("a", 1, lambda: waits(killed))]
    with pytest.raises(KeyboardInterrupt):
        run_jobs(jobs, Capacity(8000, 2), killed.set)
    assert "build a" not in {thread.name for thread in threading.enumerate()}


def waits(event: threading.Event) -> None:
    assert event.wait(10)


def test_this_machine_has_room_for_something() -> None:
    room = capacity()
    assert room.jobs >= 1
    assert 0 < room.memory_mb <= MEMORY_LIMIT_MB
