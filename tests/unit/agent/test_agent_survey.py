"""What the agent's survey reads out of the kernel's files, and what it leaves out."""

from __future__ import annotations

from pathlib import Path

from orchestrate_agent.machine import lock as machine
from orchestrate_agent.machine import survey
from orchestrate_agent.sysfs import Tree
from orchestrator.fleet.survey import _skewed, _small_quota, _weak_supply

LOCKS = """\
1: POSIX  ADVISORY  WRITE 11 fe:00:{inode} 0 EOF
2: FLOCK  ADVISORY  READ  12 fe:00:{inode} 0 EOF
3: FLOCK  ADVISORY  WRITE 13 fe:00:1 0 EOF
4: FLOCK  ADVISORY  WRITE 42 fe:00:{inode} 0 EOF
4: -> FLOCK  ADVISORY  WRITE 14 fe:00:{inode} 0 EOF
"""


def plant(root: Path, files: dict[str, str]) -> Tree:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return Tree(str(root))


def test_the_holder_is_who_has_the_lock_not_who_waits_for_it(tmp_path: Path) -> None:
    inode = Path(machine.PLACE).stat().st_ino
    tree = plant(
        tmp_path,
        {
            "proc/locks": LOCKS.format(inode=inode),
            "proc/42/status": "Name:\tpython3 (x)\nUid:\t4242\t4242\t4242\t4242\n",
        },
    )
    told = {"pid": 42, "user": "4242", "name": "python3 (x)"}
    assert survey._holder(tree, inode) == told
    assert survey._holder(tree, inode + 1) is None
    assert survey._holder(Tree(str(tmp_path / "nothing")), inode) is None


def test_daemons_are_told_by_user_and_their_command_lines_are_not(tmp_path: Path) -> None:
    agent = f"/home/a/agents/{'ab' * 32}.pyz"
    tree = plant(
        tmp_path,
        {
            "proc/7/cmdline": f"python3\0-I\0{agent}\0serve\0--home\0/home/a\0",
            "proc/7/status": "Name:\tpython3\nUid:\t0\t0\t0\t0\n",
            "proc/8/cmdline": f"python3\0-I\0{agent}\0attach\0",
            "proc/9/cmdline": "tool\0--password\0serve\0",
            "proc/self/cmdline": "x",
        },
    )
    assert survey._agents(tree) == [{"pid": 7, "user": "root", "name": "python3"}]


def test_an_empty_machine_tells_nothing(tmp_path: Path) -> None:
    told = survey.collect(str(tmp_path / "missing"), str(tmp_path))
    assert (told["disk"], told["busy_share"]) == (None, None)
    assert told["busiest"] == told["agents"] == []


def test_a_clock_is_wrong_only_beyond_what_is_known_of_it() -> None:
    assert _skewed(None, 0.0) == _skewed(1.9, 0.0) == _skewed(-2.5, 0.6) == []
    (problem,) = _skewed(-90.0, 0.2)
    assert "90.0 s behind" in problem.message and problem.remedy


def test_a_quota_below_a_core_is_a_problem() -> None:
    for cpu in ({}, {"cpu_quota": None}, {"cpu_quota": 1.0}):
        assert _small_quota({"cpu": cpu}, None) == []
    (problem,) = _small_quota({"cpu": {"cpu_quota": 0.5}}, None)
    assert problem.code == "cpu_quota" and not problem.grave
    assert "0.5 CPUs' time" in problem.message and problem.remedy


def test_what_a_firmware_noted_since_the_boot_is_a_problem() -> None:
    for throttle in ({}, {"firmware_bits": None, "under_voltage": None}, {"firmware_bits": 0}):
        assert _weak_supply(throttle) == []
    (weak,) = _weak_supply({"firmware_bits": 0x50000})
    assert weak.code == "under_voltage" and not weak.grave and weak.remedy
    assert _weak_supply({"under_voltage": True}) == [weak]
    (hot,) = _weak_supply({"firmware_bits": 0x80008})
    assert hot.code == "throttled" and "soft_temperature_limit" in hot.message
