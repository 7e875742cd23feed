"""What the kernel says of a process that died for want of memory, and what is said of that."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrate_agent.machine import oom
from orchestrator.frameworks.reading.judgement import bad_ending
from orchestrator.measurement import Outcome
from tests import runner_cases as cases

#: Recorded, Linux 6.18.
CGROUP = (
    b"4,1,1,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,"
    b"oom_memcg=/t,task_memcg=/t,task=python,pid=26168,uid=0\n"
    b"3,2,2,-;Memory cgroup out of memory: Killed process 26168 (python) total-vm:101252kB, "
    b"anon-rss:91648kB, file-rss:6040kB, shmem-rss:0kB, UID:0 pgtables:240kB oom_score_adj:0"
)
#: Composed after mm/oom_kill.c of Linux 6 and 4.9.
MACHINE = b"3,2,2,-;Out of memory: Killed process 26168 (python) total-vm:1kB, anon-rss:1kB"
OLD_MACHINE = (
    b"3,1,1,-;Out of memory: Kill process 26168 (python) score 917 or sacrifice child\n"
    b"3,2,2,-;Killed process 26168 (python) total-vm:1kB, anon-rss:1kB, file-rss:0kB"
)
OLD_CGROUP = OLD_MACHINE.replace(b"Out of", b"Memory cgroup out of")


@pytest.mark.parametrize(
    ("records", "pid", "told"),
    [
        (CGROUP, 26168, oom.Oom(True, "cgroup")),
        (CGROUP, 2616, oom.Oom(False)),
        (MACHINE, 26168, oom.Oom(True, "machine")),
        (OLD_MACHINE, 26168, oom.Oom(True, "machine")),
        (OLD_CGROUP, 26168, oom.Oom(True, "cgroup")),
        (b"3,2,2,-;Killed process 26168 (python) total-vm:1kB", 26168, oom.Oom(True)),
        (CGROUP + b"\n" + MACHINE.replace(b"26168", b"7"), 7, oom.Oom(True, "machine")),
        (b"", 26168, oom.Oom(False)),
    ],
)
def test_whose_memory_ran_out_is_read_from_the_kernel_s_log(
    records: bytes, pid: int, told: oom.Oom
) -> None:
    assert oom.told_by(records, pid) == told


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("oom 0\noom_kill 0\n", "oom 2\noom_kill 1\n", oom.Oom(True, "cgroup")),
        # killed, and not for this group's limit: another's, or the machine's
        ("oom 3\noom_kill 0\n", "oom 3\noom_kill 1\n", oom.Oom(True)),
        ("oom 3\noom_kill 1\n", "oom 4\noom_kill 1\n", oom.Oom(False)),
        # version 1
        ("under_oom 0\noom_kill 4\n", "under_oom 0\noom_kill 5\n", oom.Oom(True)),
        ("", "", oom.Oom(None)),
    ],
)
def test_counters_tell_where_the_log_may_not_be_read(
    before: str, after: str, told: oom.Oom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters = tmp_path / "memory.events"
    monkeypatch.setattr(oom, "_open_kernel_log", lambda: None)
    monkeypatch.setattr(oom, "_counter_files", lambda: [str(counters)])
    counters.write_text(before)
    watch = oom.OomWatch()
    counters.write_text(after)
    assert watch.look(26168) == told


@pytest.mark.parametrize(
    ("memory", "words"),
    [("cgroup", "its control group's memory limit"), ("machine", "the machine's own memory")],
)
def test_the_reason_says_whose_memory_ran_out(memory: str, words: str) -> None:
    evidence = cases.evidence(signal_number=9, oom_killed=True, oom_memory=memory)
    reading = bad_ending(evidence, cases.SETTINGS)
    assert reading is not None and reading.outcome is Outcome.KILLED
    assert (reading.reason or "").startswith("out of memory: ") and words in (reading.reason or "")
