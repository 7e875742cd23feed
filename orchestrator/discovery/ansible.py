"""Ansible's inventories, INI or YAML, as Ansible's own ``ansible-inventory`` reads them.

Only its readers of INI and YAML are enabled: others would run a script or a plug-in that the file
names. Templates are not evaluated.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.discovery.found import Discovered, FoundDevice, acceptable, device_name
from orchestrator.errors import UsageError

_TIMEOUT_S = 120.0
_READERS = {"ANSIBLE_INVENTORY_ENABLED": "ini,yaml", "ANSIBLE_NOCOLOR": "1"}
#: Variables that hold a secret, or stand for a way in that needs one.
_SECRET = re.compile(r"ansible_(ssh_|become_|sudo_)?pass(word)?\Z")
_CONTAINERS = {"docker": "docker", "community.docker.docker": "docker", "podman": "podman"}
_SSH = ("ssh", "smart", "paramiko", "paramiko_ssh", "ansible.builtin.ssh")


def from_ansible(file: Path) -> Discovered:
    """Every host of ``file``. Raises UsageError."""
    data = _listed(file)
    hostvars = data.get("_meta", {}).get("hostvars", {})
    devices: list[FoundDevice] = []
    notes: list[str] = []
    for host in _hosts(data):
        variables = hostvars.get(host, {})
        keys, said = _keys(host, variables)
        notes += said
        if keys is None:
            continue
        name = device_name(host, {device.name for device in devices})
        devices.append(FoundDevice(name, keys))
    if not devices:
        raise UsageError("\n".join([f"{file}: names no host that can be reached", *notes]))
    return Discovered(tuple(devices), tuple(notes))


def _listed(file: Path) -> Mapping[str, Any]:
    program = _program()
    if not file.is_file():
        raise UsageError(f"{file}: no such file")
    try:
        # an empty folder, so that no ansible.cfg has a word in what is read
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder, "ansible.cfg")
            config.touch()
            done = subprocess.run(
                [program, "--list", "-i", str(file.absolute())],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_S,
                check=False,
                env={**os.environ, **_READERS, "ANSIBLE_CONFIG": str(config)},
                cwd=folder,
            )
        data = json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired, ValueError) as exc:
        raise UsageError(f"{file}: ansible-inventory could not read it ({exc})") from exc
    if not isinstance(data, dict):
        raise UsageError(f"{file}: ansible-inventory: {_said(done.stderr)}")
    return data


def _program() -> str:
    beside = Path(sys.executable).with_name("ansible-inventory")
    found = str(beside) if beside.is_file() else shutil.which("ansible-inventory")
    if found is None:
        raise UsageError(
            "Ansible's inventories are read by Ansible: `pip install 'orchestrate-quantized"
            "[ansible]'`, or run this where ansible-inventory is installed"
        )
    return found


def _said(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()]
    return " ".join(lines[-3:])[-500:] or "no word why"


def _hosts(data: Mapping[str, Any]) -> Iterator[str]:
    """Each host once, in the order of the groups."""
    seen: dict[str, None] = {}
    for name, group in data.items():
        if name != "_meta" and isinstance(group, dict):
            seen |= dict.fromkeys(str(host) for host in group.get("hosts", ()))
    yield from seen


def _keys(host: str, of: Mapping[str, Any]) -> tuple[dict[str, Any] | None, list[str]]:
    """A device's keys, None where nothing leads there, and what was not taken over."""
    notes = [
        f"{host}: {name}: log in with a key instead" for name in of if _SECRET.match(str(name))
    ]
    connection = str(of.get("ansible_connection", "ssh"))
    interpreter = str(of.get("ansible_python_interpreter", ""))
    python = None if interpreter.startswith("auto") else interpreter
    if connection in ("local", "ansible.builtin.local"):
        keys, said = acceptable(host, {"python": python})
        return {"transport": "local", **keys}, notes + said
    if connection in _CONTAINERS:
        name = str(of.get("ansible_host", host))
        keys, said = acceptable(host, {"host": name, "python": python})
        if "host" not in keys:
            return None, notes + said
        carrier = [_CONTAINERS[connection], "exec", "-i", keys.pop("host")]
        return {"transport": "exec", "exec": shlex.join(carrier), **keys}, notes + said
    if connection not in _SSH:
        return None, [*notes, f"{host}: nothing here speaks ansible_connection={connection}"]
    gateway, more = _gateway(host, of)
    keys, said = acceptable(
        host,
        {
            "host": of.get("ansible_host", of.get("ansible_ssh_host", host)),
            "port": of.get("ansible_port", of.get("ansible_ssh_port")),
            "user": of.get("ansible_user", of.get("ansible_ssh_user")),
            "key_file": of.get("ansible_ssh_private_key_file"),
            "gateway": gateway,
            "python": python,
        },
    )
    return {"transport": "ssh", **keys} if "host" in keys else None, notes + more + said


def _gateway(host: str, of: Mapping[str, Any]) -> tuple[str | None, list[str]]:
    """The jump host among the options for ssh, and a sentence where there are others."""
    given = (of.get(f"ansible_ssh_{kind}_args") for kind in ("common", "extra"))
    text = " ".join(str(each) for each in given if each)
    if not text:
        return None, []
    found = re.search(r"(?:-J\s*|ProxyJump[= ])['\"]?([^\s'\",]+)", text)
    rest = text.replace(found.group(0), "").replace("-o", "").strip(" '\"") if found else text
    notes = [f"{host}: options for ssh ({text}); write them into ~/.ssh/config"] if rest else []
    return (found.group(1) if found else None), notes
