"""A folder in which the real command runs: models, inventories, suites, results, agents.

Everything that a test starts there is stopped at its end.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.warm import run_warm

ROOT = Path(__file__).resolve().parents[1]
DEADLINE_S = 240.0

#: As short as a trial can be and still have five inferences of warm-up, and waiting for nothing.
PROTOCOL = (
    "{blocks: 6, precision: 0.9, warmup: {runs: 5, seconds: 0}, steady: {runs: 5, seconds: 0}, "
    "check: {trials: 0}, gate: {load: 1}, timeout: 60}"
)

#: Findings of what else happens on the machine that runs the tests.
SURROUNDINGS = {"load", "steal", "clock_jump", "frequency_changed", "throttled", "drift"}

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


class Lab:
    """``models`` is a folder of built models; the lab works on a copy of it."""

    def __init__(self, folder: Path, models: Path) -> None:
        self.folder = folder
        self.results = folder / "results"
        self.models = folder / "models"
        shutil.copytree(models, self.models, copy_function=os.link)

    def suite(self, schemes: Sequence[str], protocol: str = PROTOCOL, **fields: str) -> Path:
        """A suite of mobilenet_v1 in these schemes."""
        path = self.folder / f"suite-{len(list(self.folder.glob('suite-*')))}.yaml"
        lines = ["models: [mobilenet_v1]", f"schemes: [{', '.join(schemes)}]"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        path.write_text("\n".join([*lines, f"protocol: {protocol}"]) + "\n")
        return path

    def inventory(self, *devices: Mapping[str, Any]) -> Path:
        """An inventory of these devices, as JSON, which is YAML."""
        path = self.folder / f"inventory-{len(list(self.folder.glob('inventory-*')))}.yaml"
        path.write_text(json.dumps({"devices": [_plain(d) for d in devices]}))
        return path

    def here(self, name: str = "here", **fields: Any) -> dict[str, Any]:
        """This machine as a device with an agent of its own.

        Not exclusive: a test must not wait for whatever else measures on this machine.
        """
        home = self.folder / f"agent-{name}"
        return {"name": name, "transport": "local", "workdir": home, "exclusive": False, **fields}

    def command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "orchestrator", *map(str, arguments)]

    def environment(self) -> dict[str, str]:
        """Without charts, which take longer than most of what is tested here."""
        path = f"{ROOT}/tests/without_charts:{ROOT}"
        home = {"HOME": str(self.folder), "PYTHONPATH": path, "ORCHESTRATE_TRACEBACK": "1"}
        return {"PATH": os.environ["PATH"], **home}

    def run(self, *arguments: str | Path, deadline_s: float = DEADLINE_S) -> Outcome:
        """Run a command to its end."""
        done = run_warm(
            [str(argument) for argument in arguments],
            cwd=self.folder,
            env=self.environment(),
            timeout=deadline_s,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Outcome(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Begin a command, in a session of its own."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def runs(self) -> list[Path]:
        """The runs so far, oldest first."""
        return sorted(p for p in self.results.glob("*Z-*") if p.is_dir())

    def journal(self, run: Path | None = None) -> list[Event]:
        """The whole lines of a run's journal (the newest run's unless told)."""
        runs = self.runs()
        path = (run or runs[-1]) / "journal.jsonl" if runs else None
        if path is None or not path.exists():
            return []
        whole, _, _ = path.read_bytes().rpartition(b"\n")
        return [json.loads(line) for line in whole.splitlines()]

    def events(self, kind: str, run: Path | None = None) -> list[Event]:
        return [event for event in self.journal(run) if event["event"] == kind]

    def table(self, run: Path | None = None) -> list[dict[str, str]]:
        with ((run or self.runs()[-1]) / "speedup.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    def close(self) -> None:
        """End every agent whose home lies in the test's folder, those of its servers too.

        By a signal, as a node that shuts down does it: ``agents stop`` would cost each test the
        start of another controller. May be repeated.
        """
        for number, patience_s in ((signal.SIGTERM, 20.0), (signal.SIGKILL, 20.0)):
            for pid in _agents_below(self.folder.parent):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            deadline = time.monotonic() + patience_s
            while _agents_below(self.folder.parent):
                if time.monotonic() > deadline:
                    break
                time.sleep(0.02)
            else:
                return
        raise AssertionError(f"agents below {self.folder.parent} cannot be ended")


#: The command line of an agent's daemon, by where its archive lies.
_DAEMON = re.compile(rb"\0(/[^\0]+)/agents/[0-9a-f]{64}\.pyz\0serve\0")


def _agents_below(folder: Path) -> list[int]:
    """The processes of the agents whose home lies in this folder; a zombie has no command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                daemon = _DAEMON.search((entry / "cmdline").read_bytes())
                if daemon and folder in Path(os.fsdecode(daemon[1])).parents:
                    found.append(int(entry.name))
    return found


def _plain(device: Mapping[str, Any]) -> dict[str, Any]:
    return {k: str(v) if isinstance(v, Path) else v for k, v in device.items()}


def wait_until(condition: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Poll until it holds; fails naming ``what`` after a while."""
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.05)


def every_planned_trial_finished_once(events: Sequence[Event]) -> bool:
    """The promise of the journal."""
    planned = Counter(e["trial_id"] for e in events if e["event"] == "planned")
    finished = Counter(e["trial_id"] for e in events if e["event"] == "finished")
    return bool(planned) and planned == finished and set(planned.values()) == {1}
