"""A fake ``adb``: its devices are folders here, and what runs on them runs here.

It has of the real one what the product uses: ``devices``, ``features``, ``push``, and ``shell``
with the two streams apart and the exit code (``shell_v2``). As with the real one, the client
carries what the device's shell says, so that the shell sees the end of its stdin when the client is
gone. What stands for ``/data/local/tmp`` is a folder of the device's; everything else of this
machine a device has as its own. It knows nothing that only a phone can show.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import sys
from pathlib import Path

TEMPORARY = "/data/local/tmp"

_PROGRAM = """\
#!{python} -IS
import os, shutil, subprocess, sys, threading

FOLDER = {folder!r}
TEMPORARY = {temporary!r}


def states():
    with open(FOLDER + "/states") as file:
        return dict(line.rstrip("\\n").split("\\t") for line in file)


def main(argv):
    with open(FOLDER + "/calls", "a") as file:
        file.write(" ".join(argv).replace("\\n", " ") + "\\n")
    if argv == ["devices"]:
        print("List of devices attached")
        for serial, state in states().items():
            print(serial + "\\t" + state)
        return 0
    assert argv[0] == "-s", argv
    serial, command, rest = argv[1], argv[2], argv[3:]
    state = states().get(serial)
    if state != "device":
        said = "device '%s' not found" % serial if state is None else "device " + state
        sys.stderr.write("adb: error: " + said + "\\n")
        return 1
    there = FOLDER + "/" + serial
    if command == "features":
        with open(FOLDER + "/features") as file:
            sys.stdout.write(file.read())
        return 0
    if command == "push":
        target = rest[1].replace(TEMPORARY, there)
        shutil.copyfile(rest[0], target)
        if os.path.exists(FOLDER + "/damage"):
            with open(target, "ab") as file:
                file.write(b"!")
        return 0
    assert command == "shell" and rest[0] == "-T", argv
    return shell(rest[1].replace(TEMPORARY, there))


def shell(script):
    path = FOLDER + "/bin-there:" + {path!r}
    there = subprocess.Popen(
        ["sh", "-c", script], env={{"PATH": path}}, cwd="/", start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    note = FOLDER + "/clients/%d" % os.getpid()
    open(note, "w").close()
    threading.Thread(target=copy, args=(0, there.stdin.fileno(), there.stdin), daemon=True).start()
    out = [
        threading.Thread(target=copy, args=(stream.fileno(), number, None))
        for number, stream in ((1, there.stdout), (2, there.stderr))
    ]
    for thread in out:
        thread.start()
    for thread in out:
        thread.join()
    code = there.wait()
    os.unlink(note)
    return 128 - code if code < 0 else code


def copy(source, target, to_close):
    try:
        for data in iter(lambda: os.read(source, 65536), b""):
            os.write(target, data)
    except OSError:
        pass
    if to_close is not None:
        to_close.close()


code = main(sys.argv[1:])
sys.stdout.flush()
os._exit(code)
"""

_PROPERTIES = """\
ro.product.manufacturer=Example
ro.product.model=Phone 8
ro.product.cpu.abi=x86_64
ro.soc.manufacturer=Example
ro.soc.model=EX2400
ro.build.version.release=14
ro.build.version.sdk=34
"""
_BATTERY = """\
Current Battery Service state:
  AC powered: false
  USB powered: true
  status: 2
  level: 87
  temperature: 301
"""


class FakeAdb:
    """``bin`` goes into PATH. ``there`` is what the device has as ``/data/local/tmp``."""

    def __init__(self, folder: Path, serial: str = "FAKE0001") -> None:
        self.folder = folder
        self.serial = serial
        self.bin = folder / "bin"
        self.there = folder / serial
        for each in (self.bin, self.there, folder / "clients", folder / "bin-there"):
            each.mkdir(parents=True)
        fields = {"python": sys.executable, "folder": str(folder), "temporary": TEMPORARY}
        _program(self.bin / "adb", _PROGRAM.format(**fields, path=path_there()))
        (folder / "properties").write_text(_PROPERTIES)
        (folder / "battery").write_text(_BATTERY)
        _program(
            folder / "bin-there" / "getprop",
            f'#!/bin/sh\nsed -n "s/^$1=//p" {folder}/properties\n',
        )
        _program(folder / "bin-there" / "dumpsys", f"#!/bin/sh\ncat {folder}/battery\n")
        (folder / "features").write_text("shell_v2\ncmd\nstat_v2\n")
        self.plug()

    def plug(self, state: str = "device") -> None:
        """Have ``adb devices`` list it with this state."""
        self._write("states", f"OTHER\tdevice\n{self.serial}\t{state}\n")

    def unplug(self, state: str | None = None) -> None:
        """Break every connection; ``state`` None: it is not listed any more."""
        self._write("states", "OTHER\tdevice\n" + (f"{self.serial}\t{state}\n" if state else ""))
        for note in (self.folder / "clients").iterdir():
            note.unlink()
            try:
                os.kill(int(note.name), signal.SIGKILL)
            except ProcessLookupError:
                continue

    def calls(self, word: str) -> list[str]:
        """The command lines so far that have this word."""
        lines = (self.folder / "calls").read_text().splitlines()
        return [line for line in lines if word in line.split()]

    def blobs(self) -> set[str]:
        """What was pushed."""
        return {path.name for path in (self.there / "orchestrate" / "blobs").iterdir()}

    def damage_pushes(self) -> None:
        (self.folder / "damage").touch()

    def _write(self, name: str, text: str) -> None:
        partial = self.folder / f"{name}.partial"
        partial.write_text(text)
        partial.replace(self.folder / name)


def path_there() -> str:
    """Where the device has its shell and tools. A folder with mksh as ``sh``, and toybox, as
    Android has them, can be named from outside."""
    return os.environ.get("ORCHESTRATE_TEST_ANDROID_PATH", os.defpath)


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def why_not() -> str | None:
    """Why the fake device lacks what an Android device has; None where it does not."""
    missing = [name for name in ("flock", "taskset") if shutil.which(name) is None]
    return f"the fake device needs {' and '.join(missing)}" if missing else None
