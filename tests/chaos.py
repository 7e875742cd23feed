"""Runs the real command on real servers while everything around it breaks, and counts what is lost.

Controller, agents, trials and OpenSSH servers (a network namespace each) are real processes; the
model is not computed: the stand-in for ``benchmark_model`` takes a while and keeps a diary of its
runs. Faults come from a seeded schedule. A controller that ended is started again with
``--resume``; when a run is complete and faults are left, the next run begins.

Needs root, iproute2, OpenSSH and a C compiler (:func:`why_not`).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrate_agent.process.procs import MARK
from tests import netns, stand_in
from tests.lab import Lab
from tests.netns import Network, NetworkHost
from tests.small_disk import SmallDisk, small_disk
from tests.sshd import Sshd, generate_key

HOSTS = 3
BLOCKS = 16
SCHEMES = ("float32", "full_int8")
TAKES_S = 0.2
#: 17 MB of models, 16 MiB that a push leaves free, and what is written beside.
HOME_MB = 48
RESULTS_MB = 48
SUITE = (
    "{blocks: BLOCKS, precision: 0.0001, warmup: {runs: 5, seconds: 0}, "
    "steady: {runs: 5, seconds: 0}, memory: {trials: 1}, check: {trials: 0}, "
    "gate: {load: 1}, timeout: 60}"
)
#: How long a fault waits for what it breaks to be there, and a run for its end once all is well.
PATIENCE_S = 180.0
_TICK_S = 0.02

#: What can break. ``node``: server, agent and trial at once, the spool's last line half written,
#: the lock and the socket left there, as a reboot does. The first host's agent lives on a small
#: disk, and so do the results.
KINDS = (
    "controller killed",
    "journal torn",
    "interrupted",
    "agent killed",
    "trial killed",
    "sessions killed",
    "server down",
    "link down",
    "node down",
    "node's disk full",
    "results' disk full",
)


@dataclass(frozen=True)
class Fault:
    """``after_s`` the one before; what it breaks is mended ``lasts_s`` later.

    ``share``, from 0 to 1, settles what is left open: how much is torn, once or twice Ctrl-C.
    ``at_work`` waits for a trial that has finished under the controller of the moment.
    """

    kind: str
    host: int
    after_s: float
    lasts_s: float
    share: float
    at_work: bool = False


def kills_of(seed: int, count: int) -> tuple[Fault, ...]:
    """The controller killed, again and again, at moments of the seed's: three of ten whenever it
    may be, its first imports included, the others once a trial has finished under it, so that the
    run goes on however slow the machine is."""
    draw = random.Random(seed)
    return tuple(
        Fault(
            "controller killed",
            0,
            after_s=draw.uniform(0.05, 2.0),
            lasts_s=0.0,
            share=0.0,
            at_work=draw.random() >= 0.3,
        )
        for _ in range(count)
    )


def faults_of(seed: int, count: int, hosts: int = HOSTS) -> tuple[Fault, ...]:
    """The schedule: every kind once in each round, in an order and at moments of the seed's."""
    draw = random.Random(seed)
    kinds: list[str] = []
    while len(kinds) < count:
        kinds += draw.sample(KINDS, len(KINDS))
    return tuple(
        Fault(
            kind,
            0 if kind == "node's disk full" else draw.randrange(hosts),
            after_s=draw.uniform(0.1, 1.8),
            lasts_s=draw.uniform(0.2, 3.0),
            share=draw.random(),
        )
        for kind in kinds[:count]
    )


def why_not() -> str | None:
    """Why this cannot be done here; None where it can."""
    return stand_in.why_not() or netns.why_not()


@dataclass
class Tally:
    """What happened. ``wrong`` has a sentence for everything that must not be."""

    faults: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    controllers: int = 0
    planned: int = 0
    finished: int = 0
    executions: int = 0
    lost: int = 0
    duplicated: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        rows = [f"{count:>6}  {kind}" for kind, count in sorted(self.faults.items())]
        rows += [
            f"{sum(self.faults.values()):>6}  faults injected",
            f"{self.runs:>6}  runs completed, with {self.controllers} starts of the controller",
            f"{self.planned:>6}  trials planned",
            f"{self.finished:>6}  trials finished, in {self.executions} executions",
            f"{self.lost:>6}  lost",
            f"{self.duplicated:>6}  duplicated",
        ]
        return "\n".join([*rows, *(f"WRONG: {each}" for each in self.wrong)])


class Chaos:
    """A fleet to break; a context manager that removes all of it."""

    def __init__(
        self, folder: Path, models: Path, seed: int, *, hosts: int = HOSTS, blocks: int = BLOCKS
    ) -> None:
        """``models`` holds mobilenet_v1 in float32 and full_int8; everything else is made in
        ``folder``. A run has ``blocks`` on each of the ``hosts``."""
        self._seed = seed
        self._host_count = hosts
        self._blocks = blocks
        self._lab = Lab(folder / "lab", models)
        self._folder = folder
        self._diary = folder / "diary"
        self._tally = Tally()
        self._hosts: list[NetworkHost] = []
        self._servers: list[Sshd] = []
        #: What is broken now, when to mend it, and how.
        self._broken: dict[str, tuple[float, Callable[[], None]]] = {}
        self._controller: subprocess.Popen[bytes] | None = None
        self._completed: set[str] = set()
        self._fruitless = 0
        self._last_finished = 0
        self._finished_at = 0.0

    def __enter__(self) -> Chaos:
        with contextlib.ExitStack() as stack:
            self._set_up(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, faults: Sequence[Fault]) -> Tally:
        """Inject all of ``faults``, mend everything, bring the last run to its end, and count."""
        for fault in faults:
            self._go_on_until(time.monotonic() + fault.after_s)
            self._inject(fault)
            self._tally.faults[fault.kind] += 1
        for thing in list(self._broken):
            self._mend(thing)
        self._progress(since=time.monotonic())
        while self._current() is not None or self._controller is not None:
            self._go_on(begin=False)
            if not self._progress():
                raise AssertionError(f"the run does not end:\n{self._said()}")
        return self._counted()

    def _progress(self, since: float | None = None) -> bool:
        """Whether something has finished not too long ago."""
        finished = self._count_finished()
        if since is not None or finished != self._last_finished:
            self._last_finished, self._finished_at = finished, time.monotonic()
        return time.monotonic() - self._finished_at < PATIENCE_S

    # -- the fleet --------------------------------------------------------------------------

    def _set_up(self, stack: contextlib.ExitStack) -> None:
        key = generate_key(self._folder / "id")
        network = stack.enter_context(Network())
        binary = stand_in.build(
            self._folder / "benchmark_model",
            f'-DDIARY="{self._diary}"',
            f"-DTAKES_US={int(TAKES_S * 1e6)}",
        )
        known_hosts = self._folder / "known_hosts"
        devices = []
        for number in range(self._host_count):
            host = network.host()
            server = Sshd(
                self._folder / f"host-{number}",
                key,
                address=host.address,
                namespace=host.namespace,
                host_key_types=("ed25519",),
            )
            self._hosts.append(host)
            self._servers.append(server)
            stack.callback(server.end_leftovers)
            if number == 0:
                self._home_disk = stack.enter_context(small_disk(self._home(0), HOME_MB))
            server.start()
            stack.callback(server.stop)
            with known_hosts.open("a") as file:
                file.write(server.known_hosts_line())
            devices.append(
                {
                    "name": f"host-{number}",
                    "transport": "ssh",
                    "host": host.address,
                    "user": "root",
                    "key_file": key,
                    "known_hosts": known_hosts,
                    "connect_timeout": 5,
                    "python": sys.executable,
                    "benchmark_model": binary,
                    "exclusive": False,
                }
            )
        self._results_disk = stack.enter_context(small_disk(self._lab.results, RESULTS_MB))
        self._inventory = self._lab.inventory(*devices)
        self._suite = self._lab.suite(SCHEMES, SUITE.replace("BLOCKS", str(self._blocks)))
        stack.callback(self._end_controller)

    def _home(self, number: int) -> Path:
        return self._servers[number].home / ".orchestrate"

    # -- the controller ---------------------------------------------------------------------

    def _go_on_until(self, moment: float) -> None:
        while time.monotonic() < moment:
            self._go_on()

    def _go_on(self, *, begin: bool = True) -> None:
        """Mend what is due, and start the controller again where it has ended."""
        now = time.monotonic()
        for thing, (due, _) in list(self._broken.items()):
            if now >= due:
                self._mend(thing)
        if self._controller is not None and self._controller.poll() is not None:
            self._note_end(self._controller.returncode)
            self._controller = None
        if self._controller is None and (begin or self._current() is not None):
            self._start_controller()
        time.sleep(_TICK_S)

    def _start_controller(self) -> None:
        current = self._current()
        self._tally.controllers += 1
        self._finished_before = self._count_finished()
        arguments: list[str | Path] = ["run", "--resume", current or ""]
        if current is None:
            arguments = ["run", "--inventory", self._inventory, "--suite", self._suite]
            arguments += ["--seed", str(self._seed + len(self._completed))]
        with self._output.open("wb") as output:
            self._controller = subprocess.Popen(
                self._lab.command(*arguments),
                cwd=self._lab.folder,
                env=self._lab.environment(),
                stdout=subprocess.DEVNULL,
                stderr=output,
                start_new_session=True,
            )

    @property
    def _output(self) -> Path:
        return self._folder / f"controller-{self._tally.controllers:04}"

    def _said(self) -> str:
        return self._output.read_text(errors="replace")[-4000:]

    def _note_end(self, code: int) -> None:
        said = self._said()
        if "Traceback" in said:
            self._tally.wrong.append(f"{self._output.name} ended with a traceback:\n{said}")
        current = self._current()
        if current is not None and "everything is in" in said:
            self._completed.add(current)
        # Whoever gets nowhere again and again, while nothing is broken, will never.
        nothing_came = code > 0 and not self._broken and current is not None
        fruitless = nothing_came and self._count_finished() == self._finished_before
        self._fruitless = self._fruitless + 1 if fruitless else 0
        if self._fruitless > 3:
            raise AssertionError(f"the run cannot be resumed:\n{said}")

    def _end_controller(self) -> None:
        if self._controller is not None:
            _kill_group(self._controller)
            self._controller = None

    def _current(self) -> str | None:
        """The run under way."""
        runs = [path.name for path in self._lab.runs() if (path / "run.json").exists()]
        return runs[-1] if runs and runs[-1] not in self._completed else None

    def _count_finished(self) -> int:
        current = self._current()
        if current is None:
            return 0
        return len(self._lab.events("finished", self._lab.results / current))

    # -- what breaks ------------------------------------------------------------------------

    def _inject(self, fault: Fault) -> None:
        """Break it at the first moment at which it is there to be broken."""
        deadline = time.monotonic() + PATIENCE_S
        while not _BREAK[fault.kind](self, fault):
            self._go_on()
            if time.monotonic() > deadline:
                raise AssertionError(f"no moment came for: {fault}\n{self._said()}")

    def _until_mended(self, thing: str, fault: Fault, mend: Callable[[], None]) -> None:
        self._broken[thing] = (time.monotonic() + fault.lasts_s, mend)

    def _mend(self, thing: str) -> None:
        _, mend = self._broken.pop(thing)
        mend()

    def _kill_controller(self, fault: Fault) -> bool:
        if self._controller is None or self._controller.poll() is not None:
            return False
        if fault.at_work and self._count_finished() == self._finished_before:
            return False
        self._end_controller()
        return True

    def _tear_journal(self, fault: Fault) -> bool:
        """The controller's machine died while it wrote: of the last line a part is there."""
        current = self._current()
        if current is None or "results" in self._broken:
            return False
        journal = self._lab.results / current / "journal.jsonl"
        data = journal.read_bytes() if journal.exists() else b""
        last = data.splitlines(keepends=True)[-1:]
        if not last or not data.endswith(b"\n") or not self._kill_controller(fault):
            return False
        with journal.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(-len(last[0]), os.SEEK_END)
            if size == len(data) and fault.share < 0.5:  # it had not reached the disk
                os.truncate(journal, size - max(1, int(len(last[0]) * fault.share)))
            else:  # or was the one behind it
                file.seek(0, os.SEEK_END)
                file.write(last[0][: max(1, int((len(last[0]) - 1) * fault.share))])
        return True

    def _interrupt(self, fault: Fault) -> bool:
        if self._controller is None or "[host-" not in self._said():
            return False  # before that it is Python that starts
        self._controller.send_signal(signal.SIGINT)
        if fault.share < 0.5:
            time.sleep(fault.share)
            self._controller.send_signal(signal.SIGINT)
        return True

    def _kill_agent(self, fault: Fault) -> bool:
        return self._kill_daemon(fault.host)

    def _kill_daemon(self, number: int) -> bool:
        home = self._home(number)
        try:
            pid = json.loads((home / "agent.lock").read_bytes())["pid"]
            argv = Path(f"/proc/{pid}/cmdline").read_bytes()
            if os.fsencode(home) not in argv or b"serve" not in argv:
                return False
            os.kill(pid, signal.SIGKILL)
        except (OSError, ValueError):
            return False
        return True

    def _kill_trial(self, fault: Fault) -> bool:
        wanted = f"/host-{fault.host}/".encode()
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                mark = environ.read_bytes().partition(MARK.encode() + b"=")[2].partition(b"\0")[0]
                if wanted in mark and self._is_ours(environ.parent):
                    os.kill(int(environ.parent.name), signal.SIGKILL)
                    return True
        return False

    def _is_ours(self, process: Path) -> bool:
        return os.fsencode(self._folder) in (process / "environ").read_bytes()

    def _kill_sessions(self, fault: Fault) -> bool:
        if self._name("server", fault) in self._broken:
            return False
        self._servers[fault.host].kill_connections()
        return True

    def _kill_server(self, fault: Fault) -> bool:
        thing, server = self._name("server", fault), self._servers[fault.host]
        if thing in self._broken:
            return False
        server.kill()
        self._until_mended(thing, fault, server.start)
        return True

    def _cut_link(self, fault: Fault) -> bool:
        thing, host = self._name("link", fault), self._hosts[fault.host]
        if thing in self._broken or self._name("server", fault) in self._broken:
            return False
        host.link_down()
        self._until_mended(thing, fault, host.link_up)
        return True

    def _down_node(self, fault: Fault) -> bool:
        if self._name("link", fault) in self._broken or not self._kill_server(fault):
            return False
        self._kill_daemon(fault.host)
        self._servers[fault.host].end_leftovers()
        for spool in self._home(fault.host).glob("spool/*Z-*/*/events.jsonl"):
            with contextlib.suppress(OSError), spool.open("ab") as file:  # its disk may be full
                file.write(b'{"seq":12,"time":"20'[: 1 + int(fault.share * 19)])
        return True

    def _fill_home(self, fault: Fault) -> bool:
        return self._fill("home", self._home_disk, fault)

    def _fill_results(self, fault: Fault) -> bool:
        return self._fill("results", self._results_disk, fault)

    def _fill(self, thing: str, disk: SmallDisk, fault: Fault) -> bool:
        if thing in self._broken:
            return False
        disk.fill()
        self._until_mended(thing, fault, disk.make_room)
        return True

    @staticmethod
    def _name(thing: str, fault: Fault) -> str:
        return f"{thing}-{fault.host}"

    # -- the reckoning ----------------------------------------------------------------------

    def _counted(self) -> Tally:
        begins = self._begins()
        self._tally.runs = len(self._completed)
        self._tally.executions = sum(map(len, begins.values()))
        for name in sorted(self._completed):
            self._count(self._lab.results / name, begins)
        return self._tally

    def _begins(self) -> dict[str, list[float]]:
        """``run/device/trial`` → when each of its executions began."""
        begins: dict[str, list[float]] = {}
        for line in self._diary.read_text().splitlines():
            what, moment, mark = line.split()
            if what == "begin":
                begins.setdefault(mark.rpartition("/")[0], []).append(float(moment))
        return begins

    def _count(self, run: Path, begins: dict[str, list[float]]) -> None:
        tally, events = self._tally, self._lab.journal(run)
        planned = Counter(e["trial_id"] for e in events if e["event"] == "planned")
        finished = Counter(e["trial_id"] for e in events if e["event"] == "finished")
        tally.planned += len(planned)
        tally.finished += len(finished)
        tally.lost += len(planned.keys() - finished.keys())
        tally.duplicated += sum((planned - Counter(set(planned))).values())
        tally.duplicated += sum((finished - Counter(set(finished))).values())
        tally.wrong += [f"{run.name}: {t} was never planned" for t in finished.keys() - planned]
        for event in events:
            if event["event"] == "finished":
                self._check_finished(run, event, begins)
        seqs: dict[str, list[int]] = {}
        for event in events:
            seqs.setdefault(event["device"], []).append(event["seq"])
        for device, numbers in seqs.items():
            if numbers != list(range(1, len(numbers) + 1)):
                tally.wrong.append(f"{run.name}: {device}'s events are not in order")

    def _check_finished(
        self, run: Path, event: dict[str, Any] | Any, begins: dict[str, list[float]]
    ) -> None:
        name = f"{run.name}/{event['device']}/{event['trial_id']}"
        log = run / event["log"]
        if not log.is_file() or not log.stat().st_size:
            self._tally.wrong.append(f"{name}: there is no raw log")
        ended = datetime.fromisoformat(event["device_time"]).timestamp()
        late = [moment for moment in begins.get(name, []) if moment > ended]
        if late:
            self._tally.wrong.append(f"{name}: was run again after it had finished")
            self._tally.duplicated += len(late)


_BREAK: dict[str, Callable[[Chaos, Fault], bool]] = dict(
    zip(
        KINDS,
        (
            Chaos._kill_controller,
            Chaos._tear_journal,
            Chaos._interrupt,
            Chaos._kill_agent,
            Chaos._kill_trial,
            Chaos._kill_sessions,
            Chaos._kill_server,
            Chaos._cut_link,
            Chaos._down_node,
            Chaos._fill_home,
            Chaos._fill_results,
        ),
        strict=True,
    )
)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
