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

from orchestrator.discovery.found import Discovery, FoundDevice, acceptable, device_name
from orchestrator.discovery.ssh_options import SshOptions, options_for_ssh
from orchestrator.errors import UsageError

_TIMEOUT_S = 120.0
_READERS = {"ANSIBLE_INVENTORY_ENABLED": "ini,yaml", "ANSIBLE_NOCOLOR": "1"}
#: Variables that hold a secret, or stand for a way in that needs one.
_SECRET = re.compile(r"ansible_(ssh_|become_|sudo_)?pass(word)?\Z")
_CONTAINERS = {"docker": "docker", "community.docker.docker": "docker", "podman": "podman"}
_SSH = ("ssh", "smart", "paramiko", "paramiko_ssh", "ansible.builtin.ssh")


def from_ansible(file: Path) -> Discovery:
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
    return Discovery(tuple(devices), tuple(notes))


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
    """List each host once, in the order of the groups."""
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
    over_ssh, said = _over_ssh(host, of, python)
    return over_ssh, notes + said


def _over_ssh(
    host: str, of: Mapping[str, Any], python: str | None
) -> tuple[dict[str, Any] | None, list[str]]:
    way = options_for_ssh(_ssh_arguments(of))
    notes = _not_taken_over(host, way)
    if way.proxy_command is not None:
        return None, notes
    where = {
        "host": of.get("ansible_host", of.get("ansible_ssh_host", host)),
        "port": of.get("ansible_port", of.get("ansible_ssh_port")),
        "gateway": way.gateway,
    }
    others = {
        "user": of.get("ansible_user", of.get("ansible_ssh_user")),
        "key_file": of.get("ansible_ssh_private_key_file"),
    }
    ordered = ("host", "port", "user", "key_file", "gateway")
    given = {key: {**where, **others}[key] for key in ordered}
    keys, said = acceptable(host, {**given, "python": python})
    if any(value is not None and key not in keys for key, value in where.items()):
        return None, notes + said  # without it somebody else's machine would be measured
    return {"transport": "ssh", **keys}, notes + said


def _ssh_arguments(of: Mapping[str, Any]) -> str:
    """What Ansible would put on ssh's command line, in its order."""
    given = (of.get(f"ansible_ssh_{kind}") for kind in ("args", "common_args", "extra_args"))
    return " ".join(str(each) for each in given if each)


def _not_taken_over(host: str, way: SshOptions) -> list[str]:
    notes = []
    if way.rest:
        notes.append(f"{host}: options for ssh ({way.rest}); write them into ~/.ssh/config")
    if way.rest_of_jump:
        notes.append(
            f"{host}: options for its jump host ({way.rest_of_jump}); write them into "
            f"~/.ssh/config, below `Host` and the jump host's name"
        )
    if way.proxy_command is not None:
        notes.append(
            f"{host}: was left out, since it is reached through a command "
            f"({way.proxy_command}), which an inventory does not hold; write it as ProxyCommand "
            f"below `Host {host}` into ~/.ssh/config, and the device as `host: {host}`"
        )
    return notes
