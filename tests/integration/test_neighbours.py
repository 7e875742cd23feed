"""Another user of the same machine: what they find, may do, and put there before we came."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.errors import PermanentDeviceError
from orchestrator.fleet.agent_archive import build_agent_archive
from orchestrator.fleet.local import LocalTransport
from orchestrator.fleet.provision import AgentPlace, place_agent, reach
from tests.agent_client import AgentSite, shell

NOBODY = 65534

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="acting as another user needs root and setpriv",
)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder like /tmp: everybody may write in it, and remove only what is their own."""
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="neighbours-"))
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


def neighbour(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command as nobody."""
    ids = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return subprocess.run(
        ["setpriv", *ids, *map(str, argv)], capture_output=True, text=True, check=False, cwd="/"
    )


def did(*argv: str | Path) -> None:
    done = neighbour(*argv)
    assert done.returncode == 0, done.stderr


def everything(folder: Path) -> Iterator[Path]:
    yield folder
    for parent, folders, files in os.walk(folder):
        yield from (Path(parent) / name for name in folders + files)


def test_under_umask_0_all_of_an_agent_is_its_users_alone(shared: Path) -> None:
    before = os.umask(0)
    try:
        site = AgentSite(shared, build_agent_archive().data)
        blob = site.put(b"a blob")
        client = site.attach()
        script = "umask; echo x > left-behind"
        finished = client.run_trial(shell("t.timing", script, exclusive=False, blobs=[blob]))
        assert finished["stdout"] == "0077\n"
        open_to_others = [
            path
            for path in everything(site.home)
            if not path.is_symlink() and path.lstat().st_mode & 0o077
        ]
        assert open_to_others == []
        sockets = [p for p in everything(site.home) if stat.S_ISSOCK(p.lstat().st_mode)]
        assert [path.name for path in sockets] == ["agent.sock"]

        connect = f"import socket; socket.socket(socket.AF_UNIX).connect({str(sockets[0])!r})"
        refused = neighbour("/usr/bin/env", "python3", "-c", connect)
        assert "PermissionError" in refused.stderr, refused.stderr
        for path in (site.home, site.home / "spool", site.home / "agent.log"):
            assert "Permission denied" in neighbour("ls", path).stderr
    finally:
        os.umask(before)
        site.close()


def planted_folder(home: Path, victim: Path) -> None:
    did("mkdir", "-m", "777", home)


def planted_link(home: Path, victim: Path) -> None:
    did("ln", "-s", victim, home)


def planted_dangling_link(home: Path, victim: Path) -> None:
    did("ln", "-s", victim / "new", home)


def planted_file(home: Path, victim: Path) -> None:
    did("touch", home)


def planted_pipe(home: Path, victim: Path) -> None:
    did("mkfifo", "-m", "666", home)


def planted_above(home: Path, victim: Path) -> None:
    """The folder above the home is the neighbour's, who could rename the home away."""
    did("mkdir", "-m", "777", home.parent)


def planted_in_a_lax_folder(home: Path, victim: Path) -> None:
    """The home is our own, and once was open to all: an agent lies in it that is not ours."""
    (home / "agents").mkdir(parents=True)
    for folder in (home, home / "agents"):
        folder.chmod(0o777)
    archive = build_agent_archive()
    did("cp", __file__, home / "agents" / f"{archive.sha256}.pyz")


PLANTED = (
    planted_folder,
    planted_link,
    planted_dangling_link,
    planted_file,
    planted_pipe,
    planted_above,
    planted_in_a_lax_folder,
)


@pytest.mark.parametrize("plant", PLANTED)
def test_what_a_neighbour_put_there_first_is_refused(
    shared: Path, tmp_path: Path, plant: Callable[[Path, Path], None]
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir(0o700)
    home = shared / ("above" if plant is planted_above else "") / "agent"
    plant(home, victim)
    transport = LocalTransport("here")
    place = AgentPlace(sys.executable, str(home))
    with pytest.raises(PermanentDeviceError) as raised:
        reach(transport, place, build_agent_archive())
    assert str(home) in str(raised.value) or str(home.parent) in str(raised.value)
    assert list(victim.iterdir()) == []

    # The agent looks for itself as well: whoever starts it by hand is as safe.
    pyz = tmp_path / "agent.pyz"
    pyz.write_bytes(build_agent_archive().data)
    for command in ("attach", "serve", "logs"):
        done = subprocess.run(
            [sys.executable, "-I", pyz, command, "--home", home],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
        assert done.returncode != 0
        assert "agent home" in done.stderr and "Traceback" not in done.stderr
    assert list(victim.iterdir()) == []


def test_a_home_in_a_shared_folder_is_kept_from_neighbours(shared: Path) -> None:
    transport = LocalTransport("here")
    place = AgentPlace(sys.executable, str(shared / "agent"))
    assert place_agent(transport, place, build_agent_archive())
    assert not place_agent(transport, place, build_agent_archive())
    assert neighbour("mv", shared / "agent", shared / "mine").returncode != 0
    assert neighbour("touch", shared / "agent" / "agents" / "x").returncode != 0
