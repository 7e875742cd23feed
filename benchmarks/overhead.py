"""What orchestration costs: commands of one second on several hosts, against Ansible and fabric.

``python -m benchmarks.overhead [HOSTS]`` starts HOSTS (default 8) OpenSSH servers on the loopback
and has each run 38 commands of one second, one after another, all hosts at once: by
``orchestrate run``; by a fabric loop, one thread and one open connection a host; by Ansible's
``command`` and by its lighter ``raw`` (each host at its own pace, its connection kept open,
pipelining on). For orchestrate the command is a trial that sleeps and then prints what a real
measuring child once said, so that reading, journal, schedule and analysis do their full work; the
gate is open, since waiting for other work to end is the matter of a device. Prints, over the hosts,
the mean and the worst ratio of the time from a host's first command to its last one's end to the
sum of its commands (1 is ideal), and what each way took in all, connecting and reporting included.
Ansible is left out where it is not installed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import fabric

from benchmarks import simulated
from tests.sshd import Sshd, generate_key

SCHEMES = ("float32", "full_int8")
MODELS = Path(__file__).resolve().parents[1] / "tests" / "data" / "zoo"
#: Two memory trials, and twelve blocks of three.
COMMANDS = 38
SUITE = """\
models: [{{name: tiny, variants: {{float32: {folder}/float32.tflite,
  full_int8: {folder}/full_int8.tflite}}}}]
protocol:
  {{blocks: 12, precision: 0.0001, warmup: {{runs: 5, seconds: 0}}, steady: {{runs: 5, seconds: 0}},
   gate: {{load: 1}}}}
"""
#: Says when it began and ended; `date` and the shell are within the second.
COMMAND = "#!/bin/sh\ndate +%s.%N >> $1\nsleep 0.995\ndate +%s.%N >> $1\n"

#: Of each host: from its first command to its last one's end, over the sum of its commands.
Ratios = list[float]


class Hosts:
    """The servers, and every way to have them run commands."""

    def __init__(self, folder: Path, servers: Sequence[Sshd]) -> None:
        self._folder = folder
        self._servers = servers
        self._known_hosts = folder / "known_hosts"
        self._known_hosts.write_text("".join(s.known_hosts_line() for s in servers))
        self._command = folder / "one-second"
        self._command.write_text(COMMAND)
        self._command.chmod(0o755)
        #: How long the last way took in all.
        self.took_s = 0.0

    def orchestrate(self) -> Ratios:
        files = [MODELS / f"{scheme}.tflite" for scheme in SCHEMES]
        models = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in files}
        python = simulated.interpreter(self._folder, models, 1.0)
        inventory = simulated.inventory(self._folder, self._devices(python))
        suite = self._folder / "seconds.yaml"
        suite.write_text(SUITE.format(folder=MODELS))
        run = [sys.executable, "-m", "orchestrator", "run", "--inventory", str(inventory)]
        results = self._folder / "results"
        folders = ["--results", str(results), "--models", str(self._folder / "models")]
        quiet = subprocess.DEVNULL
        start = time.monotonic()
        subprocess.run(
            [*run, "--suite", str(suite), *folders], check=True, stdout=quiet, stderr=quiet
        )
        self.took_s = time.monotonic() - start
        simulated.stop_agents(inventory)
        (journal,) = results.glob("*/journal.jsonl")
        return _from_journal([json.loads(line) for line in journal.read_text().splitlines()])

    def fabric(self) -> Ratios:
        def work(server: Sshd) -> None:
            key = {"key_filename": str(server.client_key)}
            with fabric.Connection(
                server.address, user="root", port=server.port, connect_kwargs=key
            ) as connection:
                for _ in range(COMMANDS):
                    connection.run(f"{self._command} {self._stamps(server)}", hide=True)

        start = time.monotonic()
        with ThreadPoolExecutor(len(self._servers)) as pool:
            list(pool.map(work, self._servers))
        self.took_s = time.monotonic() - start
        return self._from_stamps()

    def ansible_command(self) -> Ratios:
        return self._ansible("command")

    def ansible_raw(self) -> Ratios:
        return self._ansible("raw")

    def _ansible(self, module: str) -> Ratios:
        lines = [
            f"h{s.port} ansible_host={s.address} ansible_port={s.port} ansible_user=root "
            f"ansible_ssh_private_key_file={s.client_key} stamps={self._stamps(s)}"
            for s in self._servers
        ]
        inventory = self._folder / "hosts.ini"
        inventory.write_text("\n".join(lines) + "\n")
        task = {module: f"{self._command} {{{{ stamps }}}}"}
        play = {"hosts": "all", "gather_facts": False, "strategy": "free"}
        playbook = self._folder / "play.json"
        playbook.write_text(json.dumps([{**play, "tasks": [task] * COMMANDS}]))
        control = "-o ControlMaster=auto -o ControlPersist=60s"
        environment = {
            **os.environ,
            "ANSIBLE_PIPELINING": "True",
            "ANSIBLE_FORKS": str(len(self._servers)),
            "ANSIBLE_SSH_ARGS": f"{control} -o UserKnownHostsFile={self._known_hosts}",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self._folder / "control"),
            "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
            "ANSIBLE_LOCAL_TEMP": str(self._folder / "ansible"),
        }
        command = ["ansible-playbook", "-i", str(inventory), str(playbook)]
        start = time.monotonic()
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        self.took_s = time.monotonic() - start
        return self._from_stamps()

    def _devices(self, python: Path) -> list[Mapping[str, object]]:
        return [
            {
                "name": f"h{server.port}",
                "transport": "ssh",
                "host": server.address,
                "port": server.port,
                "user": "root",
                "key_file": str(server.client_key),
                "known_hosts": str(self._known_hosts),
                "python": str(python),
                "exclusive": False,
            }
            for server in self._servers
        ]

    def _stamps(self, server: Sshd) -> Path:
        return self._folder / f"stamps-{server.port}"

    def _from_stamps(self) -> Ratios:
        ratios = []
        for server in self._servers:
            stamps = self._stamps(server)
            times = [float(line) for line in stamps.read_text().split()]
            stamps.unlink()
            assert len(times) == 2 * COMMANDS
            within = sum(times[1::2]) - sum(times[::2])
            ratios.append((times[-1] - times[0]) / within)
        return ratios


def main(hosts: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        key = generate_key(folder / "key")
        servers = [Sshd(folder / f"host-{number}", key) for number in range(hosts)]
        for server in servers:
            stack.enter_context(server)
        there = Hosts(folder, servers)
        ways: dict[str, Callable[[], Ratios]] = {
            "orchestrate": there.orchestrate,
            "fabric loop": there.fabric,
        }
        if shutil.which("ansible-playbook"):
            ways["ansible raw"] = there.ansible_raw
            ways["ansible command"] = there.ansible_command
        print(f"{hosts} hosts, {COMMANDS} commands of 1 s each")
        print("way              mean ratio   worst ratio   in all", flush=True)
        for way, measure in ways.items():
            ratios = measure()
            row = f"{way:<16} {statistics.mean(ratios):>10.4f} {max(ratios):>13.4f}"
            print(f"{row} {there.took_s:>6.1f} s", flush=True)


def _from_journal(events: Sequence[Mapping[str, str]]) -> Ratios:
    ratios = []
    for device in sorted({event["device"] for event in events}):
        mine = [event for event in events if event["device"] == device]
        finished = [event for event in mine if event["event"] == "finished"]
        assert len(finished) == COMMANDS
        assert all(event["outcome"] == "ok" for event in finished), "a trial failed"
        start = min(_time(event) for event in mine if event["event"] == "started")
        wall = max(_time(event) for event in finished) - start
        ratios.append(wall / sum(float(event["wall_s"]) for event in finished))
    return ratios


def _time(event: Mapping[str, str]) -> float:
    return datetime.fromisoformat(event["device_time"]).timestamp()


if __name__ == "__main__":
    main(int((sys.argv[1:2] or ["8"])[0]))
