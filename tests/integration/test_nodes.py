"""Nodes that lack something, behind real SSH servers: each works, or says what it lacks and what to
do."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import small_disk, stand_in
from tests.agent_client import other_pythons
from tests.lab import Lab, Outcome
from tests.login import login, python_of_all
from tests.login import why_not as login_why_not
from tests.sshd import Sshd, generate_key

SCHEMES = ["float32", "full_int8"]


@pytest.fixture
def server(lab: Lab, tmp_path: Path) -> Iterator[Sshd]:
    key = generate_key(tmp_path / "client")
    with Sshd(tmp_path / "node", key, host_key_types=("ed25519",)) as server:
        yield server
        lab.close()  # while it still answers


def node(server: Sshd, name: str = "node", **fields: Any) -> dict[str, Any]:
    return server.device(name, **{"python": None, **fields})


def look(lab: Lab, *devices: dict[str, Any]) -> Outcome:
    return lab.run("devices", "--inventory", lab.inventory(*devices))


def problems(told: str) -> dict[str, str]:
    """What stderr says of each device that was not reached: one line a device."""
    first, *lines = told.splitlines()
    assert first == "orchestrate: no device could be reached"
    of_each = [line.split(": ", 2)[1:] for line in lines]
    assert len({name for name, _ in of_each}) == len(lines)
    return dict(of_each)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """``folder`` as it is, and nothing in it can be changed."""
    reason = small_disk.why_not()
    if reason is not None:
        pytest.skip(reason)
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_node_without_python_and_one_whose_python_is_elsewhere(lab: Lab, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("env", "sh"):
        (programs / name).symlink_to(str(shutil.which(name)))
    home = tmp_path / "node" / "home"
    variables = f'SetEnv "PATH={programs}" "HOME={home}"'
    key = generate_key(tmp_path / "client")
    kinds = ("ed25519",)
    with Sshd(tmp_path / "node", key, options=(variables,), host_key_types=kinds) as bare:
        (bare.folder / "known_hosts").write_text(bare.known_hosts_line())
        done = look(lab, node(bare, "none"), node(bare, "wrong", python="/opt/python3"))
        found = look(lab, node(bare, "elsewhere", python=sys.executable))
        lab.close()
    assert found.code == 0, found.stderr
    told = problems(done.stderr)
    remedy = "install Python 3.8 or later there, or name the interpreter in the inventory: `python:"
    assert "there is no `python3`" in told["none"] and remedy in told["none"]
    assert "there is no `/opt/python3`" in told["wrong"] and remedy in told["wrong"]
    assert done.code == 3


def test_a_python_that_is_too_old_is_named(lab: Lab, server: Sshd) -> None:
    old = [python for minor in ("2.7", "3.6", "3.7") for python in other_pythons(minor)[:1]]
    if not old:
        pytest.skip("no Python before 3.8 on this machine")
    told = problems(look(lab, *(node(server, f"n{i}", python=p) for i, p in enumerate(old))).stderr)
    assert len(told) == len(old)
    for problem in told.values():
        assert (
            "the agent needs 3.8 or later. Name a newer one in the inventory: `python:" in problem
        )


def test_a_home_that_is_read_only(lab: Lab, server: Sshd, tmp_path: Path) -> None:
    reason = stand_in.why_not()
    if reason is not None:
        pytest.skip(reason)
    binary = stand_in.build(tmp_path / "benchmark_model")
    own: dict[str, Any] = {"python": sys.executable, "benchmark_model": binary}
    suite = lab.suite(SCHEMES)
    with read_only(server.home):
        inventory = lab.inventory(node(server, **own))
        refused = lab.run("run", "--inventory", inventory, "--suite", suite)
        assert refused.code == 3 and lab.runs() == []
        assert f"{server.home}/.orchestrate: Read-only file system; name another `workdir:` in" in (
            refused.stderr
        )
        inventory = lab.inventory(node(server, workdir=tmp_path / "elsewhere", **own))
        done = lab.run("run", "--inventory", inventory, "--suite", suite)
        lab.close()
    assert done.code == 0, done.stderr
    assert {event["outcome"] for event in lab.events("finished")} == {"ok"}


def test_a_home_that_became_read_only_under_its_agent(lab: Lab, server: Sshd) -> None:
    device = node(server, python=sys.executable)
    assert look(lab, device).code == 0
    lab.close()
    with read_only(server.home):
        found = look(lab, device)
    # the machine answered: it was reached, and cannot be used
    assert found.code == 1 and "no device could be reached" not in found.stderr
    assert f"{server.home}/.orchestrate: Read-only file system" in found.stdout
    assert "`workdir:`" in found.stdout


def test_a_home_that_is_full(lab: Lab, server: Sshd) -> None:
    reason = small_disk.why_not()
    if reason is not None:
        pytest.skip(reason)
    device = node(server, python=sys.executable)
    with small_disk.small_disk(server.home, 16) as disk:
        disk.fill()
        (problem,) = problems(look(lab, device).stderr).values()
        assert problem.startswith(
            f"{server.home}/.orchestrate: No space left on device; make room on that disk, or name"
        )
        disk.make_room()
        assert look(lab, device).code == 0
        lab.close()


@pytest.mark.parametrize("place", ["home", "workdir"])
def test_a_disk_from_which_no_program_may_be_run(
    lab: Lab, server: Sshd, tmp_path: Path, place: str
) -> None:
    reason = small_disk.why_not() or stand_in.why_not()
    if reason is not None:
        pytest.skip(reason)
    binary = stand_in.build(tmp_path / "benchmark_model")
    own: dict[str, Any] = {"python": sys.executable, "benchmark_model": binary}
    suite = lab.suite(SCHEMES)
    folder = server.home if place == "home" else tmp_path / "scratch"
    there: dict[str, Any] = {} if place == "home" else {"workdir": folder / "agent"}
    shown = "~/.orchestrate" if place == "home" else str(folder / "agent")
    with small_disk.small_disk(folder, 64, "noexec"):
        inventory = lab.inventory(node(server, **own, **there))
        found = lab.run("devices", "--inventory", inventory, "--suite", suite)
        seen = lab.run("devices", "--inventory", inventory)
        refused = lab.run("run", "--inventory", inventory, "--suite", suite)
        lab.close()
        assert f"no program may be run from {shown} (is its disk mounted noexec?)" in found.stdout
        assert "name a folder on another disk with `workdir:` in the inventory" in found.stdout
        assert f"no program may be run from {shown}" in seen.stdout
        assert refused.code == 3 and "benchmark_model would be put there" in refused.stderr
        assert list(folder.rglob("blobs/*")) == [] and lab.runs() == []
        elsewhere = lab.inventory(node(server, workdir=tmp_path / "elsewhere", **own))
        done = lab.run("run", "--inventory", elsewhere, "--suite", suite)
        lab.close()
    assert done.code == 0, done.stderr
    assert {event["outcome"] for event in lab.events("finished")} == {"ok"}


def test_a_user_namespace_without_root(lab: Lab, tmp_path: Path) -> None:
    reason = login_why_not("sh") or ("no unshare here" if shutil.which("unshare") is None else None)
    if reason is not None:
        pytest.skip(reason)
    with login("sh", generate_key(tmp_path / "client")) as user:
        carrier = f"setpriv --reuid {user.name} --regid {user.name} --clear-groups"
        carrier += f" env HOME={user.home} unshare --user --map-current-user"
        seen = subprocess.run(
            [*carrier.split(), "stat", "-c", "%u", "/"], capture_output=True, check=False, text=True
        )
        if seen.returncode != 0:
            pytest.skip(f"user namespaces are not permitted here: {seen.stderr}")
        assert seen.stdout.strip() != "0", "root is not mapped there, or the test says nothing"
        device = {
            "name": "inside",
            "transport": "exec",
            "exec": carrier,
            "python": python_of_all(),
        }
        found = look(lab, device)
        lab.close()
        assert found.code == 0, found.stderr
        # what others could replace is refused as before
        (user.home / "shared").mkdir(mode=0o777)
        (user.home / "shared").chmod(0o777)
        os.chown(user.home / "shared", 4242, 4242)
        (user.home / "shared/mine").mkdir()
        shutil.chown(user.home / "shared/mine", user.name)
        told = problems(look(lab, {**device, "workdir": user.home / "shared/mine"}).stderr)
    assert f"{user.home}/shared, above it, is writable by others" in told["inside"]


def test_whose_a_folder_is_that_is_not_ones_own(lab: Lab, server: Sshd, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    own = tmp_path / "own"
    own.mkdir()
    os.chown(own, 4242, 4242)
    devices = [
        node(server, "folder", python=sys.executable, workdir=own),
        node(server, "above", python=sys.executable, workdir=own / "agent"),
    ]
    told = problems(look(lab, *devices).stderr)
    assert f"{own} belongs to user 4242, not to you (0)" in told["folder"]
    assert f"{own}, above it, belongs to user 4242, who could replace it" in told["above"]
    assert all("`workdir:`" in each for each in told.values())
