"""Whatever the login shell prints or is: our commands arrive whole, and only our words count.

Real users with real login shells, behind a real SSH server.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.artifacts.blob import Blob
from orchestrator.errors import PermanentDeviceError
from orchestrator.fleet.agent_archive import build_agent_archive
from orchestrator.fleet.carried import CarriedTransport
from orchestrator.fleet.marked import Mark, marked_line
from orchestrator.fleet.provision import AgentPlace, push, reach
from orchestrator.fleet.ssh import SshEndpoint, SshTransport
from orchestrator.fleet.transport import SIGNALLED, ChannelTimeout
from tests import stand_in
from tests.lab import Lab, every_planned_trial_finished_once
from tests.login import Login, login, python_of_all, serve_logins, why_not
from tests.sshd import Sshd, generate_key

SHELLS = ("tcsh", "csh", "fish", "zsh", "ksh", "dash", "rbash", "bash")
PYTHON = python_of_all() or "python3"

#: What start files print, as scripts for /bin/sh.
NOISES = {
    "nothing": "",
    "no newline": "printf 'Welcome to the lab'",
    "titles": r"printf '\033]0;user@host\007\033[1;32mhi\033[0m\033[?25l'",
    "progress": r"""for n in 1 2 3 4 5; do printf '\r[%d0%%] loading' $n; done""",
    "both streams": "echo to stdout; echo to stderr >&2; printf 'no end' >&2; printf 'no end'",
    "words of ours": (
        "echo orchestrate-agent-ready 1; echo stored; echo null\n"
        """echo '{"id": 1, "ok": true, "result": {}}'\n"""
        "tr '\\0' ' ' < /proc/$PPID/cmdline; echo\n"  # the line that the shell was given
        "printf 'orchestrate-agent-ready 1'"
    ),
    "much": "yes 'a long line of a start file' | head -c 30000000",
    "bytes": "head -c 300000 /dev/urandom; printf '\\0\\377\\n\\0'",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    folder = tmp_path_factory.mktemp("logins")
    with serve_logins(folder / "far", generate_key(folder / "id")) as sshd:
        (sshd.folder / "known_hosts").write_text(sshd.known_hosts_line())
        yield sshd


@pytest.fixture(scope="module", params=SHELLS)
def user(request: pytest.FixtureRequest, server: Sshd) -> Iterator[Login]:
    reason = why_not(request.param)
    if reason is not None:
        pytest.skip(reason)
    with login(request.param, server.client_key) as made:
        yield made


def transport(server: Sshd, user: Login) -> SshTransport:
    made = SshTransport(
        SshEndpoint(
            device="far",
            host=server.address,
            port=server.port,
            user=user.name,
            key_file=server.client_key,
            known_hosts=server.folder / "known_hosts",
        )
    )
    made.connect()
    return made


@pytest.mark.parametrize("noise", NOISES)
def test_a_device_is_reached_and_given_a_blob(
    server: Sshd, user: Login, noise: str, tmp_path: Path
) -> None:
    user.greet_with(NOISES[noise])
    shutil.rmtree(user.home / ".orchestrate", ignore_errors=True)
    content = os.urandom(100_000)
    blob = tmp_path / "blob"
    blob.write_bytes(content)
    name = hashlib.sha256(content).hexdigest()
    node = reach(
        transport(server, user), AgentPlace(PYTHON, "~/.orchestrate"), build_agent_archive()
    )
    try:
        assert push(node, [Blob(name, blob, len(content))], lambda *_: None) == len(content)
        assert node.link.request("have", blobs=[name]) == {"present": [name]}
        assert (user.home / ".orchestrate/blobs" / name).read_bytes() == content
    finally:
        node.link.request("shutdown", force=True)
        node.close()


def test_arguments_streams_and_ends_are_those_of_the_command(server: Sshd, user: Login) -> None:
    user.greet_with(NOISES["both streams"])
    way = transport(server, user)
    arguments = ["", "a b", "it's", "!! !x", "^a^b", '"$HOME`id`"', "\\", "\\\\n", "é\udcff", "*"]
    arguments += ["new\nline\n", "~root", "{a,b}", "%s", "x" * 5000]
    show = "import os, sys; os.write(1, b'\\0'.join(map(os.fsencode, sys.argv[1:])))"
    try:
        done = way.run([PYTHON, "-c", show, *arguments], timeout_s=30)
        assert [os.fsdecode(word) for word in done.stdout.split(b"\0")] == arguments
        assert (done.exit_code, done.stderr) == (0, b"")
        done = way.run(["cat"], stdin=b"\0\xff\r\n no end", timeout_s=30)
        assert done.stdout == b"\0\xff\r\n no end"
        done = way.run(["sh", "-c", "echo problem >&2; exit 7"], timeout_s=30)
        assert (done.exit_code, done.stderr) == (7, b"problem\n")
        assert way.run(["no-such-program"], timeout_s=30).exit_code == 127
        done = way.run(["sh", "-c", "kill -9 $$"], timeout_s=30)
        assert done.exit_code in (SIGNALLED, 137)  # a restricted shell stays and tells of it
        assert way.run(["ls", "-d", "~/"], timeout_s=30).stdout == f"{user.home}/\n".encode()
    finally:
        way.close()


def test_the_first_command_may_be_a_channel(server: Sshd, user: Login) -> None:
    user.greet_with(NOISES["titles"])
    way = transport(server, user)
    try:
        channel = way.open(["cat"])
        channel.send(b"there\n")
        assert channel.readline(30) == b"there"
        channel.close()
    finally:
        way.close()


def test_a_shell_that_takes_stdin_for_commands_hears_nothing_of_ours(
    server: Sshd, tmp_path: Path
) -> None:
    reason = why_not("sh")
    if reason is not None:
        pytest.skip(reason)
    with login("sh", server.client_key) as user:
        shell = user.home / "shell"
        shell.write_text('#!/bin/sh\necho "What now?"\ncat > ~/heard\n')
        shell.chmod(0o755)
        subprocess.run(["usermod", "--shell", shell, user.name], check=True)
        way = transport(server, user)
        try:
            with pytest.raises(ChannelTimeout, match=r"it said: What now\?; give that user"):
                way.run(["cat"], stdin=b"rm -rf x\n", timeout_s=2)
        finally:
            way.close()
        assert (user.home / "heard").read_bytes() == b""


@pytest.mark.parametrize("shell", ["/usr/sbin/nologin", "bash"])
def test_a_login_that_starts_nothing_says_what_it_said(server: Sshd, shell: str) -> None:
    reason = why_not(shell)
    if reason is not None:
        pytest.skip(reason)
    with login(shell, server.client_key) as user:
        user.greet_with("", "echo This account is closed; exit 3")
        way = transport(server, user)
        try:
            with pytest.raises(PermanentDeviceError, match=r"it said: .*This account is") as raised:
                way.run(["true"], timeout_s=30)
        finally:
            way.close()
        assert f"{user.name}@" in str(raised.value)


def test_start_files_that_wait_for_somebody_are_named(server: Sshd) -> None:
    reason = why_not("bash")
    if reason is not None:
        pytest.skip(reason)
    with login("bash", server.client_key) as user:
        user.greet_with("", "printf 'Which project? '; sleep 600")
        way = transport(server, user)
        try:
            with pytest.raises(ChannelTimeout, match=r"within 1 s; it said: Which project\?"):
                way.run(["cat"], stdin=b"x", timeout_s=1)
        finally:
            way.close()


def test_devices_and_a_run_where_csh_greets(lab: Lab, server: Sshd, tmp_path: Path) -> None:
    reason = why_not("tcsh") or stand_in.why_not()
    if reason is not None:
        pytest.skip(reason)
    binary = stand_in.build(tmp_path / "benchmark_model")
    with login("tcsh", server.client_key) as user:
        user.greet_with(NOISES["words of ours"] + "\n" + NOISES["titles"])
        device = server.device("far", python=PYTHON, user=user.name, benchmark_model=binary)
        inventory, suite = lab.inventory(device), lab.suite(["float32", "full_int8"])
        found = lab.run("devices", "--inventory", inventory)
        done = lab.run("run", "--inventory", inventory, "--suite", suite)
        logs = lab.run("agents", "logs", "--inventory", inventory)
        # the user's home is not in the test's folder
        lab.run("agents", "stop", "--force", "--inventory", inventory)
    assert found.code == 0 and "far" in found.stdout, found.stderr
    assert done.code == 0, done.stderr
    assert every_planned_trial_finished_once(lab.journal())
    assert {event["outcome"] for event in lab.events("finished")} == {"ok"}
    assert logs.code == 0 and "orchestrate-agent-ready" not in logs.stdout


@pytest.mark.parametrize("noise", NOISES)
def test_a_carrier_may_print_as_well(noise: str, tmp_path: Path) -> None:
    script = tmp_path / "carrier"
    script.write_text(f'#!/bin/sh\n{NOISES[noise]}\nexec sh -c "$1"\n')
    script.chmod(0o755)
    way = CarriedTransport("carried", [str(script), "{command}"])
    way.connect()
    done = way.run(["sh", "-c", "cat; echo problem >&2"], stdin=b"\0\n", timeout_s=30)
    assert (done.stdout, done.stderr) == (b"\0\n", b"problem\n")


@pytest.mark.parametrize("shell", ["tcsh", "fish", "bash"])
def test_openssh_may_carry_to_any_login_shell(server: Sshd, shell: str) -> None:
    reason = why_not(shell)
    if reason is not None:
        pytest.skip(reason)
    with login(shell, server.client_key) as user:
        user.greet_with(NOISES["words of ours"])
        options = ["-F", "none", "-o", "BatchMode=yes", "-i", str(server.client_key)]
        options += ["-o", f"UserKnownHostsFile={server.folder}/known_hosts", "-p", str(server.port)]
        target = f"{user.name}@{server.address}"
        way = CarriedTransport("carried", ["ssh", *options, target, "{command}"])
        way.connect()
        done = way.run(["printf", "%s", "it's !", "new\nline"], timeout_s=30)
        assert done.stdout == b"it's !new\nline"


# --- the line by itself --------------------------------------------------------------------------


@pytest.mark.parametrize("inner", ["dash", "bash", "busybox", "ksh", "mksh", "zsh"])
def test_any_posix_shell_takes_the_line_apart(inner: str, tmp_path: Path) -> None:
    program = shutil.which(inner)
    if program is None:
        pytest.skip(f"{inner} is not installed")
    (tmp_path / "sh").symlink_to(program)
    mark = Mark.drawn()
    text = "exec printf '%s|' 'a  b' '\\n' '\u00e9' '\n' '!'"
    line = marked_line(text.encode(), mark)
    done = subprocess.run(
        ["/bin/sh", "-c", line],
        capture_output=True,
        check=True,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )
    assert done.stdout == mark.on_stdout + "\na  b|\\n|\u00e9|\n|!|".encode()
    assert done.stderr == mark.on_stderr + b"\n"


def test_no_line_holds_what_a_shell_might_take_for_its_own() -> None:
    line = marked_line(bytes(range(1, 256)) * 40, Mark.drawn())
    assert line.isascii() and not {b"!"[0], b"\n"[0], b"\r"[0]} & set(line)
    before, *words = line.split(b"'")
    assert before == b"exec env sh -c " and len(words) % 2 == 0
    assert max(map(len, words)) <= 900  # a csh of 4.4BSD takes no longer ones
    assert b"\\'" not in line and b"\\\\" not in line
