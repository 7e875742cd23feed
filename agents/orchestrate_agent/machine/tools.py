"""Asks the programs that a board's maker ships, where what they tell stands in no file."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
from typing import Optional

from orchestrate_agent.process.launch import base_environment

#: Asks a Raspberry Pi's firmware.
VCGENCMD = "vcgencmd"

#: An ordinary user's PATH often has no ``sbin``; Raspberry Pi OS had its tools in a folder of its
#: own until 2021.
_MORE_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/opt/vc/bin")
#: These take some milliseconds; a firmware that hangs must not hold up a trial for long.
TIMEOUT_S = 2.0
_LONGEST = 1 << 16


def find(name: str) -> Optional[str]:
    """The program's path, None where this machine has none of that name."""
    return shutil.which(name, path=os.pathsep.join((base_environment()["PATH"], *_MORE_FOLDERS)))


def ask(name: str, *arguments: str) -> Optional[str]:
    """What the program prints; None where it is not there, or does not end in time."""
    path = find(name)
    if path is None:
        return None
    try:
        done = subprocess.run(
            (path, *arguments),
            env=base_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout[:_LONGEST].decode("utf-8", "replace")


def first_line(name: str, *arguments: str) -> Optional[str]:
    """The first line of a program that prints for as long as it runs, and is ended then."""
    path = find(name)
    if path is None:
        return None
    try:
        process = subprocess.Popen(
            (path, *arguments),
            env=base_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return None
    assert process.stdout is not None  # noqa: S101 (it is a pipe)
    try:
        readable, _, _ = select.select([process.stdout], [], [], TIMEOUT_S)
        data = os.read(process.stdout.fileno(), _LONGEST) if readable else b""
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    return data.partition(b"\n")[0].decode("utf-8", "replace") or None
