"""What another Python on this node is, and which runtimes it has, without importing any of them."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any, Dict, Mapping, Optional, Sequence

from orchestrate_agent.process.launch import StartError, base_environment, find_executable
from orchestrate_agent.protocol import Json, ProtocolError

#: Below what a controller waits for an answer: it should hear which Python hangs.
TIMEOUT_S = 45.0

#: Other distributions of a runtime, which count as it: name → what it goes by.
OTHERS: Dict[str, str] = {"tensorflow-cpu": "tensorflow"}

# Not isolated (-I): the runners are not either, so that what a user installed with --user counts.
# Written so that even Python 2 gets as far as saying which version it is.
_SCRIPT = """
import json, platform, struct, sys, sysconfig
found = {
    "executable": sys.executable, "version": "%d.%d.%d" % sys.version_info[:3],
    "bits": struct.calcsize("P") * 8, "implementation": platform.python_implementation(),
    "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
}
if sys.version_info >= (3, 8):
    from importlib import metadata
    found["runtimes"] = {}
    for name, alias in json.loads(sys.argv[1]):
        try:
            found["runtimes"].setdefault(alias, metadata.version(name))
        except metadata.PackageNotFoundError:
            pass
print("")
print(json.dumps(found))
"""


def probe(python: str, runtimes: Sequence[str]) -> Json:
    """Return those of ``runtimes`` that ``python`` has, and what ``facts`` tells of the one that
    runs it.

    Raises ProtocolError.
    """
    env = base_environment()
    try:
        path = find_executable(python, env["PATH"])
    except StartError as exc:
        raise ProtocolError(
            f"{exc}; set the device's `python:` in the inventory to one that is there",
            kind="no_python",
        ) from exc
    found = _parse(path, _run(path, env, runtimes))
    if "runtimes" not in found:
        raise ProtocolError(
            f"{path} is Python {found.get('version')}; the runners need 3.8 or later",
            kind="no_python",
        )
    return found


def _run(path: str, env: Dict[str, str], runtimes: Sequence[str]) -> str:
    wanted = [(name, name) for name in runtimes]
    wanted += [item for item in OTHERS.items() if item[1] in runtimes]
    argv = [path, "-c", _SCRIPT, json.dumps(wanted)]
    try:
        done = subprocess.run(
            argv,
            env=env,
            cwd=os.sep,  # the working directory is on sys.path with -c
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ProtocolError(f"{path} does not run: {exc}", kind="probe_failed") from exc
    if done.returncode != 0:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise ProtocolError(
            f"{path} ended with {done.returncode}: {''.join(last)[:500]}", kind="probe_failed"
        )
    return done.stdout.decode("utf-8", "replace")


def _parse(path: str, output: str) -> Dict[str, Any]:
    # the last line: what a sitecustomize prints comes before
    last = (output.strip().splitlines() or [""])[-1]
    try:
        found = json.loads(last)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ProtocolError(f"{path} said {last[:200]!r}; is it a Python?", kind="probe_failed")
    return found


def has_runtime(found: Mapping[str, str], wanted: Sequence[str]) -> bool:
    """Whether a Python with these runtimes has one of ``wanted``."""
    return not found.keys().isdisjoint(wanted)


def lack(found: Mapping[str, str], wanted: Sequence[str], python: str) -> Optional[str]:
    """What ``python``, which has the runtimes ``found``, is to be told; None where it has one of
    ``wanted``, of which the first is what is recommended."""
    if has_runtime(found, wanted):
        return None
    return (
        f"`{python}` there has no {' and no '.join(wanted)} (it has "
        f"{', '.join(sorted(found)) or 'none'}); `{python} -m pip install {wanted[0]}`"
    )
