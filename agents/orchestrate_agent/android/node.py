"""An Android device: trials run there, and the daemon that runs them here. No Python is on it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from dataclasses import replace
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from orchestrate_agent.android.adb import BLOBS, FOLDER, Adb, DeviceLostError
from orchestrate_agent.android.blobs import AdbBlobs
from orchestrate_agent.android.tree import AdbTree
from orchestrate_agent.android.trial import EXCLUSIVE, RECORD
from orchestrate_agent.machine import facts, health, survey
from orchestrate_agent.machine.lock import HELD
from orchestrate_agent.node import Command
from orchestrate_agent.process.launch import base_environment
from orchestrate_agent.process.procs import MARK
from orchestrate_agent.process.trial import Ending, Process
from orchestrate_agent.protocol import Json
from orchestrate_agent.sysfs import to_int

_LOCK = FOLDER + "/lock"
#: What adb itself reads: where its server is, and keys other than those in HOME.
_ADB_ENVIRONMENT = re.compile(r"\A(ADB_|ANDROID_)")
_PROPERTIES = (
    "ro.product.manufacturer",
    "ro.product.model",
    "ro.product.cpu.abi",
    "ro.soc.manufacturer",
    "ro.soc.model",
    "ro.board.platform",
    "ro.build.version.release",
    "ro.build.version.sdk",
    "ro.kernel.qemu",
    "ro.boot.qemu",
)
_IDENTIFY = f"""
echo uname=$(uname -m)
for name in {" ".join(_PROPERTIES)}; do echo "$name=$(getprop $name)"; done
dumpsys battery 2>/dev/null | grep -E '^ *(level|temperature|status): '
"""
#: ``BatteryManager.BATTERY_STATUS_*``.
_BATTERY = {1: "unknown", 2: "charging", 3: "discharging", 4: "not charging", 5: "full"}
#: Ends what is left there of trials whose connection broke, and waits until it is gone, but not for
#: ever. The shell's own environment has no mark.
_KILL = """
tries=50
while found=$(grep -lsF {mark} /proc/[0-9]*/environ); [ "$found" ] && [ $tries -gt 0 ]; do
  for environ in $found; do
    pid=${{environ#/proc/}}
    kill -9 ${{pid%/environ}} 2>/dev/null
  done
  tries=$((tries-1))
  sleep 0.1
done
"""


class AdbNode:
    """See :class:`orchestrate_agent.node.Node`."""

    def __init__(self, serial: str, archive: str) -> None:
        """Reach the device. Raises AgentError where it is not there, or cannot be measured on."""
        self._adb = Adb(serial)
        self._archive = archive
        self._adb.prepare()
        self.blobs = AdbBlobs(self._adb)
        self.tree = AdbTree(self._adb)

    def facts(self) -> Json:
        """What Linux tells there, and what Android tells in its own way."""
        told = _properties(self._adb.shell(_IDENTIFY))
        self.tree.look(told.get("uname"))
        found = facts.of_machine(self.tree)
        release, abi = told.get("ro.build.version.release"), told.get("ro.product.cpu.abi")
        found["system"].update(
            distribution=None if release is None else f"Android {release}",
            libc="bionic",
            userland_bits=None if abi is None else 64 if "64" in abi else 32,
        )
        emulated = "1" in (told.get("ro.kernel.qemu"), told.get("ro.boot.qemu"))
        return {
            **found,
            "board": {
                "vendor": told.get("ro.product.manufacturer"),
                "product": told.get("ro.product.model"),
            },
            "virtualization": "qemu" if emulated else found["virtualization"] or "none",
            "machine_id": _machine_id(self._adb.serial),
            "python": None,
            "android": {
                "release": release,
                "sdk": told.get("ro.build.version.sdk"),
                "abi": abi,
                "soc": _soc(told),
                "battery_percent": to_int(told.get("level")),
                "battery_c": _tenths(to_int(told.get("temperature"))),
                "battery": _BATTERY.get(to_int(told.get("status")) or 0),
            },
        }

    def probe(self, python: str, runtimes: Sequence[str]) -> Json:
        return {"executable": None, "version": None, "runtimes": {}}

    def health(self) -> Json:
        return health.of_machine(self.tree)

    def lock(self, changed: threading.Condition) -> AdbLock:
        return AdbLock(self._adb, changed)

    def lock_holder(self) -> Optional[Json]:
        return None  # the shell there may not see other processes

    def survey(self) -> Json:
        """See :func:`orchestrate_agent.machine.survey.collect`; what the shell there may not see is
        None."""
        said = self._adb.shell(
            f"stat -f -c '%a %b %S' {BLOBS}\n{{ flock -sn 9 && echo free; }} 9>{_LOCK}"
        ).split()
        disk = [to_int(word) or 0 for word in said[:3]]
        return {
            "disk": {"free_bytes": disk[0] * disk[2], "total_bytes": disk[1] * disk[2]},
            "lock": {"held": "free" not in said, "holder": None},
            "busy_share": survey.busy_share(self.tree),
            "busiest": None,
            "agents": None,
        }

    def process(self, command: Command, folder: str) -> Process:
        """The process here that stands for it; see :mod:`orchestrate_agent.android.trial`."""
        words: List[str] = [f"{name}={value}" for name, value in command.env.items()]
        words = ["env", *words] if words else []
        if command.cpus is not None:
            words += ["taskset", f"{sum(1 << cpu for cpu in command.cpus):x}"]
        exclusive = ("--exclusive",) if command.exclusive else ()
        own = (sys.executable, "-I", self._archive, "adb-trial", "--adb", self._adb.serial)
        return Process(
            (*own, *exclusive, "--", *words, *command.argv),
            env={**base_environment(), **_adb_environment()},
            cwd=folder,
            timeout_s=command.timeout_s,
            name=command.name,
            # adb's own server may be started by it, and is everybody's
            enclosed=False,
        )

    def ended(self, ending: Ending, process: Process, folder: str) -> Ending:
        """Take the tool's own times from its record. Where it was killed here it is dead there,
        too."""
        times: Optional[Dict[str, Any]] = None
        if os.path.exists(os.path.join(folder, RECORD)):
            with open(os.path.join(folder, RECORD), encoding="ascii") as file:
                times = json.load(file)
        else:
            self._adb.shell(_KILL.format(mark=shlex.quote(f"{MARK}={process.id.mark}")))
            if not process.killed:
                raise DeviceLostError(
                    f"the connection to device {self._adb.serial} broke under a trial: "
                    f"{ending.stderr.strip()[-300:] or 'no word why'}"
                )
        # whether memory ran out there nobody tells
        told = None if ending.signal is not None else ending.oom_killed
        return replace(ending, rusage=times or {}, oom_killed=told)


class AdbLock:
    """One trial at a time on a device, whoever's controller it is plugged into.

    A shell there holds the lock for as long as we hold the shell: it is free again whatever becomes
    of us, or of the connection. Belongs to one worker thread; see
    :class:`orchestrate_agent.machine.lock.MachineLock`.
    """

    # under the lock nobody else's trial runs: what has the mark is left of one that was cut off
    _SCRIPT = f"""{{
  flock 9 || exit
{_KILL.format(mark=f"{EXCLUSIVE}=1")}  echo held
  read -r _
}} 9>{_LOCK}"""

    def __init__(self, adb: Adb, changed: threading.Condition) -> None:
        self._adb = adb
        self._changed = changed
        self._shell: Optional["subprocess.Popen[bytes]"] = None

    def acquire(self, given_up: Callable[[], bool]) -> Optional[str]:
        """Wait for the lock; returns ``held``, or None where ``given_up`` became true meanwhile.

        Raises DeviceLostError.
        """
        shell = self._shell = self._adb.open_shell(self._SCRIPT)
        said: List[bytes] = []

        def wait() -> None:
            assert shell.stdout is not None  # noqa: S101 (it was asked for)
            line = shell.stdout.readline()
            with self._changed:
                said.append(line)
                self._changed.notify_all()

        waiting = threading.Thread(target=wait, daemon=True)
        waiting.start()
        with self._changed:
            self._changed.wait_for(lambda: bool(said) or given_up())
        if said == [b"held\n"]:
            return HELD
        shell.kill()
        waiting.join()
        why = self._end()
        if given_up():
            return None
        raise DeviceLostError(f"device {self._adb.serial} gave no lock: {why or 'no word why'}")

    def release(self) -> None:
        """Give it back; of no effect where it is not held."""
        if self._shell is not None:
            self._end()

    def _end(self) -> str:
        """End the shell there and ours; what it said on stderr."""
        shell, self._shell = self._shell, None
        assert shell is not None  # noqa: S101 (whoever ends it has begun it)
        shell.kill()
        _, err = shell.communicate()
        return err.decode("utf-8", "replace").strip()[-300:]


def _properties(said: str) -> Dict[str, str]:
    """``name=value`` of Android's properties, ``name: value`` of its services; none is empty."""
    lines: List[Tuple[str, str, str]] = []
    for line in said.splitlines():
        lines.append(line.partition("=" if "=" in line else ":"))
    return {name.strip(): value.strip() for name, _, value in lines if value.strip()}


def _soc(told: Dict[str, str]) -> Optional[str]:
    """Name the system on a chip: since Android 12 by its maker's name; before by the board's."""
    words = (told.get("ro.soc.manufacturer"), told.get("ro.soc.model"))
    return " ".join(word for word in words if word) or told.get("ro.board.platform")


def _tenths(value: Optional[int]) -> Optional[float]:
    return None if value is None else value / 10


def _machine_id(serial: str) -> str:
    """Hash the serial as :mod:`orchestrate_agent.machine.facts` hashes Linux's machine id: it tells
    devices apart and does not disclose which one it is."""
    return hashlib.sha256(b"orchestrate machine-id " + serial.encode()).hexdigest()[:16]


def _adb_environment() -> Dict[str, str]:
    return {k: v for k, v in os.environ.items() if _ADB_ENVIRONMENT.match(k)}
