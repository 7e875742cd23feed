"""A real daemon on a machine of files: clocks are fixed for a trial and put back, even after
SIGKILL; trials run on the CPUs chosen; the gate and the meters are asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.fleet.agent_archive import build_agent_archive
from tests.agent_client import AgentSite, is_alive, shell, wait_until

CPUS = "sys/devices/system/cpu"
GOVERNOR = f"{CPUS}/cpufreq/policy0/scaling_governor"
NO_TURBO = f"{CPUS}/intel_pstate/no_turbo"
RAPL = "sys/class/powercap/intel-rapl:0"


class Machine:
    """The files that a daemon with ``--root`` takes for its machine's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        mine = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        for path, text in {
            "proc/sys/kernel/random/boot_id": "boot",
            "proc/self/status": f"Cpus_allowed_list:\t{mine}",
            GOVERNOR: "powersave",
            f"{CPUS}/cpufreq/policy0/scaling_available_governors": "performance powersave",
            NO_TURBO: "0",
            f"{RAPL}/name": "package-0",
            f"{RAPL}/energy_uj": "1000000",
            f"{RAPL}/max_energy_range_uj": "262143328850",
        }.items():
            self.write(path, text)

    def write(self, path: str, text: str) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        # in one step, as the kernel changes what its files say
        new = place.with_name(f".{place.name}.new")
        new.write_text(text + "\n")
        new.replace(place)

    def clocks(self) -> tuple[str, str]:
        governor, no_turbo = ((self.root / path).read_text() for path in (GOVERNOR, NO_TURBO))
        return governor.strip(), no_turbo.strip()


AS_FOUND, FIXED = ("powersave", "0"), ("performance", "1")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine")


@pytest.fixture
def site(tmp_path: Path, machine: Machine) -> Iterator[AgentSite]:
    site = AgentSite(tmp_path, build_agent_archive().data)
    start(site, machine)
    yield site
    site.close()


def start(site: AgentSite, machine: Machine) -> None:
    done = site.run("serve", "--root", str(machine.root))
    assert done.returncode == 0, done.stderr.decode()


def wanting(trial: dict[str, Any], **conditions: Any) -> dict[str, Any]:
    return {**trial, "conditions": conditions}


def test_clocks_are_fixed_while_a_trial_runs_and_put_back_after_it(
    site: AgentSite, machine: Machine
) -> None:
    root = machine.root
    trial = shell("t1", f"cat {root}/{GOVERNOR}; echo; cat {root}/{NO_TURBO}")
    finished = site.attach().run_trial(wanting(trial, tune=True))
    assert finished["stdout"].split() == list(FIXED)
    assert finished["conditions"]["tuned"] == {"governor": "performance", "turbo": "off"}
    assert finished["health_before"]["governor"] == "performance"
    assert finished["health"]["turbo"] is False
    assert machine.clocks() == AS_FOUND
    assert not (site.home / "spool" / "tuning.json").exists()


def test_a_trial_that_does_not_ask_leaves_the_machine_as_it_is(
    site: AgentSite, machine: Machine
) -> None:
    finished = site.attach().run_trial(shell("t1", f"cat {machine.root}/{GOVERNOR}"))
    assert finished["stdout"] == "powersave\n"
    assert finished["conditions"] == {"pinned": None, "tuned": {}, "reasons": [], "gate": None}
    assert finished["power"] is None


def test_a_killed_daemon_s_clocks_are_put_back_by_the_next(
    site: AgentSite, machine: Machine
) -> None:
    agent = site.attach()
    agent.follow("run")
    agent.submit("run", wanting(shell("t1", "sleep 300"), tune=True))
    pid = agent.wait_for("started", "t1").fields["process"]["pid"]
    assert machine.clocks() == FIXED
    site.kill_daemon()
    assert machine.clocks() == FIXED  # nobody is left who could have restored them
    assert (site.home / "spool" / "tuning.json").exists()

    # the next one is given nothing to do: what it restores it restores at its start
    for trials in (site.home / "spool").glob("run/here/*.jsonl"):
        trials.unlink()
    start(site, machine)
    assert machine.clocks() == AS_FOUND
    assert not (site.home / "spool" / "tuning.json").exists()
    os.kill(pid, signal.SIGKILL)


def test_a_killed_daemon_s_trial_runs_again_with_clocks_fixed(
    site: AgentSite, machine: Machine, tmp_path: Path
) -> None:
    agent = site.attach()
    agent.follow("run")
    flag = tmp_path / "flag"
    script = f"[ -e {flag} ] || {{ touch {flag}; sleep 300; }}; cat {machine.root}/{GOVERNOR}"
    agent.submit("run", wanting(shell("t1", script), tune=True))
    wait_until(flag.exists, "the trial to begin")
    site.kill_daemon()
    start(site, machine)
    back = site.attach()
    back.follow("run")
    assert back.wait_for("finished", "t1").fields["stdout"].strip() == "performance"
    assert machine.clocks() == AS_FOUND


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signalled_daemon_puts_the_clocks_back(
    number: signal.Signals, site: AgentSite, machine: Machine
) -> None:
    agent = site.attach()
    agent.follow("run")
    agent.submit("run", wanting(shell("t1", "sleep 300"), tune=True))
    agent.wait_for("started", "t1")
    assert machine.clocks() == FIXED
    pid = site.daemon_pid()
    os.kill(pid, number)
    wait_until(lambda: not is_alive(pid), "the daemon's end")
    assert machine.clocks() == AS_FOUND


def test_a_cancelled_trial_leaves_no_clocks_fixed(site: AgentSite, machine: Machine) -> None:
    agent = site.attach()
    agent.follow("run")
    agent.submit("run", wanting(shell("t1", "sleep 300"), tune=True))
    agent.wait_for("started", "t1")
    agent.ask("cancel", run_id="run", device="here", running=True)
    agent.wait_for("cancelled", "t1")
    assert machine.clocks() == AS_FOUND


def test_a_trial_is_pinned_to_as_many_cpus_as_it_asks_for(site: AgentSite) -> None:
    agent = site.attach()
    script = (
        "grep Cpus_allowed_list /proc/self/status; sh -c 'grep Cpus_allowed_list /proc/$$/status'"
    )
    finished = agent.run_trial(wanting(shell("t1", script), pin=1))
    (cpu,) = finished["conditions"]["pinned"]
    assert cpu in os.sched_getaffinity(0)
    assert finished["stdout"].split() == ["Cpus_allowed_list:", str(cpu)] * 2
    many = agent.run_trial(wanting(shell("t2", script), pin=4096))
    assert many["exit_code"] == 0
    assert many["conditions"]["pinned"] is None
    assert "4096 threads, but only" in many["conditions"]["reasons"][0]


def test_a_pinned_trial_keeps_to_the_cpus_of_the_inventory(site: AgentSite) -> None:
    last = max(os.sched_getaffinity(0))
    trial = {**shell("t1", "grep Cpus_allowed_list /proc/self/status"), "cpus": [last]}
    finished = site.attach().run_trial(wanting(trial, pin=1))
    assert finished["stdout"].split()[1] == str(last)


def gate(**bounds: float) -> dict[str, Any]:
    return {"load": None, "temperature_c": None, **bounds}


def test_a_trial_waits_until_the_machine_is_cool(site: AgentSite, machine: Machine) -> None:
    zone = "sys/class/thermal/thermal_zone0"
    machine.write(f"{zone}/type", "cpu-thermal")
    machine.write(f"{zone}/temp", "90000")
    agent = site.attach()
    agent.follow("run")
    bound = gate(temperature_c=70.0, timeout_s=60.0)
    agent.submit("run", wanting(shell("t1", "true"), gate=bound))
    wait_until(lambda: agent.ask("status")["running"] is not None, "the trial to be taken")
    with pytest.raises(AssertionError, match="in vain"):
        agent.wait_for("started", "t1", deadline_s=1.0)
    machine.write(f"{zone}/temp", "60000")
    told = agent.wait_for("finished", "t1").fields
    assert told["conditions"]["gate"]["timed_out"] is False
    assert told["conditions"]["gate"]["temperature_c"] == 60.0

    machine.write(f"{zone}/temp", "90000")
    late = agent.run_trial(
        wanting(shell("t2", "true"), gate=gate(temperature_c=70.0, timeout_s=0.5))
    )
    assert late["conditions"]["gate"]["timed_out"] is True
    assert late["conditions"]["gate"]["waited_s"] >= 0.5


def test_a_waiting_trial_can_be_cancelled(site: AgentSite, machine: Machine) -> None:
    zone = "sys/class/thermal/thermal_zone0"
    machine.write(f"{zone}/type", "cpu-thermal")
    machine.write(f"{zone}/temp", "90000")
    agent = site.attach()
    agent.follow("run")
    bound = gate(temperature_c=70.0, timeout_s=600.0)
    agent.submit("run", wanting(shell("t1", "true"), gate=bound))
    wait_until(lambda: agent.ask("status")["running"] is not None, "the trial to be taken")
    agent.ask("cancel", run_id="run", device="here", running=True)
    agent.wait_for("cancelled", "t1")
    assert "started" not in [e.event for e in agent.events]


def test_the_load_of_this_machine_holds_a_trial_up(tmp_path: Path) -> None:
    """The real /proc/stat, and a process that keeps every CPU busy."""
    site = AgentSite(tmp_path, build_agent_archive().data)
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in os.sched_getaffinity(0)
    ]
    try:
        agent = site.attach()
        trial = wanting(shell("t1", "true"), gate=gate(load=0.1, timeout_s=0.5))
        told = agent.run_trial(trial)["conditions"]["gate"]
        assert told["timed_out"] is True
        assert told["load"] > 0.1
        assert told["waited_s"] >= 0.5
    finally:
        for process in busy:
            process.kill()
            process.wait()
        site.close()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="a duet needs two CPUs")
def test_a_meter_that_sees_both_of_a_duet_is_not_asked(site: AgentSite) -> None:
    agent = site.attach()
    agent.follow("run")
    trials = [
        wanting(shell(own, "sleep 0.6"), pin=1, energy=True, duet={"partner": other, "half": half})
        for half, (own, other) in enumerate((("t1", "t2"), ("t2", "t1")))
    ]
    agent.submit("run", *trials)
    for name in ("t1", "t2"):
        told = agent.wait_for("finished", name).fields
        assert told["power"] is None
        assert (
            "energy: the meter cannot tell two trials at once apart"
            in (told["conditions"]["reasons"])
        )


def test_energy_is_counted_while_a_trial_runs(site: AgentSite, machine: Machine) -> None:
    meter = machine.root / RAPL / "energy_uj"
    script = f"sleep 0.6; echo 3500000 > {meter}; sleep 0.6"
    power = site.attach().run_trial(wanting(shell("t1", script), energy=True))["power"]
    assert power["source"] == "rapl package"
    times, joules = zip(*power["samples"], strict=True)
    assert joules[0] == 0
    assert joules[-1] == 2.5
    assert len(times) >= 4
    assert times[-1] - times[0] >= 1.2
