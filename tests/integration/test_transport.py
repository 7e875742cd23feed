"""The contract of ``Transport``: one set of tests over ``local`` and ``ssh``."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from orchestrator.errors import AgentError, TransientDeviceError
from orchestrator.fleet.carried import CarriedTransport
from orchestrator.fleet.local import LocalTransport
from orchestrator.fleet.ssh import SshEndpoint, SshTransport
from orchestrator.fleet.transport import (
    CAPTURE_BYTES,
    SIGNALLED,
    ChannelTimeout,
    Transport,
)
from tests.sshd import Sshd, descendants, generate_key

ALL_BYTES = bytes(range(256))
NASTY = [
    "",
    " ",
    "a b",
    "it's",
    '"quoted"',
    "$HOME",
    "`id`",
    "$(id)",
    "a;b",
    "a|b&c>d",
    "*",
    "\\",
    "\\n",
    "new\nline",
    "tab\there",
    "!history",
    "#comment",
    "-n",
    "--",
    "grüße-日本",
    "not-utf8-\udcff",
    "~root/x",
    "x~/y",
    "{a,b}",
    "%s",
    "'~/x'",
]
PYTHON = sys.executable
PRINT_ARGUMENTS = (
    "import os,sys; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode,sys.argv[1:])))"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    folder = tmp_path_factory.mktemp("sshd")
    with Sshd(folder / "far", generate_key(folder / "id")) as sshd:
        (folder / "known_hosts").write_text(sshd.known_hosts_line())
        yield sshd


@pytest.fixture
def home(server: Sshd) -> Path:
    """The home folder that both transports see."""
    return server.home


@pytest.fixture(params=["local", "ssh", "exec"])
def transport(
    request: pytest.FixtureRequest, server: Sshd, home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Transport]:
    monkeypatch.setenv("HOME", str(home))
    made: Transport
    if request.param == "local":
        made = LocalTransport("here")
    elif request.param == "exec":
        made = CarriedTransport("carried", ["sh", "-c", "{command}"])
    else:
        made = SshTransport(
            SshEndpoint(
                device="far",
                host=server.address,
                port=server.port,
                key_file=server.client_key,
                known_hosts=server.folder.parent / "known_hosts",
            )
        )
    made.connect()
    yield made
    made.close()


class Zeros(io.RawIOBase):
    """So many zero bytes, never held in memory at once; remembers the largest read asked for."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.largest_read = 0

    def read(self, size: int = -1, /) -> bytes:
        self.largest_read = max(self.largest_read, size)
        taken = min(size if size >= 0 else self.left, self.left)
        self.left -= taken
        return bytes(taken)


def sh(script: str) -> list[str]:
    return ["sh", "-c", script]


def test_exit_code_and_both_streams_come_back(transport: Transport) -> None:
    done = transport.run(sh("echo out; echo err >&2; exit 7"), timeout_s=10)
    assert (done.exit_code, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_success_is_exit_code_zero_and_silence(transport: Transport) -> None:
    done = transport.run(["true"], timeout_s=10)
    assert (done.exit_code, done.stdout, done.stderr) == (0, b"", b"")


def test_a_missing_program_ends_with_127_and_says_so(transport: Transport) -> None:
    done = transport.run(["no-such-program-here"], timeout_s=10)
    assert done.exit_code == 127
    assert b"no-such-program-here" in done.stderr


def test_a_file_that_may_not_be_executed_ends_with_126(transport: Transport, home: Path) -> None:
    (home / "plain").write_text("no program")
    assert transport.run(["~/plain"], timeout_s=10).exit_code == 126


def test_a_command_ended_by_a_signal(transport: Transport) -> None:
    assert transport.run(sh("kill -9 $$"), timeout_s=10).exit_code == SIGNALLED


def test_shell_words_are_programs_never_builtins(transport: Transport) -> None:
    assert transport.run(["if"], timeout_s=10).exit_code == 127
    assert transport.run(["exit", "3"], timeout_s=10).exit_code == 127


def test_stdin_and_stdout_carry_every_byte(transport: Transport) -> None:
    done = transport.run(["cat"], stdin=ALL_BYTES * 1000, timeout_s=10)
    assert done.stdout == ALL_BYTES * 1000


def test_without_stdin_the_command_reads_an_end(transport: Transport) -> None:
    assert transport.run(["cat"], timeout_s=10).exit_code == 0


def test_arguments_arrive_as_given(transport: Transport) -> None:
    done = transport.run([PYTHON, "-c", PRINT_ARGUMENTS, *NASTY], timeout_s=10)
    assert done.stdout.split(b"\0") == [os.fsencode(argument) for argument in NASTY]


def test_a_leading_tilde_is_the_far_home(transport: Transport, home: Path) -> None:
    folder = home / "it's a $folder; or\nnot"
    folder.mkdir(exist_ok=True)
    arguments = ["~", "~/", "~/it's a $folder; or\nnot", "--x=~/y", "./~/z"]
    done = transport.run([PYTHON, "-c", PRINT_ARGUMENTS, *arguments], timeout_s=10)
    expected = [str(home), f"{home}/", str(folder), "--x=~/y", "./~/z"]
    assert done.stdout.decode().split("\0") == expected


def test_a_program_below_home_can_be_run(transport: Transport, home: Path) -> None:
    program = home / "my prog"
    program.write_text("#!/bin/sh\necho ran $1\n")
    program.chmod(0o755)
    assert transport.run(["~/my prog", "well"], timeout_s=10).stdout == b"ran well\n"


def test_commands_start_in_the_home_folder(transport: Transport, home: Path) -> None:
    assert transport.run(["pwd"], timeout_s=10).stdout.decode().strip() == str(home)


@pytest.mark.parametrize("argv", [[], ["a\0b"], ["A=b"]])
def test_impossible_command_lines_are_refused(transport: Transport, argv: list[str]) -> None:
    with pytest.raises(ValueError, match=r"command line|program"):
        transport.run(argv, timeout_s=10)


def test_two_hundred_megabytes_go_through_in_pieces(transport: Transport) -> None:
    size = 200_000_000
    zeros = Zeros(size)
    reports: list[int] = []
    done = transport.run(
        ["sha256sum"], stdin=cast(BinaryIO, zeros), timeout_s=60, on_sent=reports.append
    )
    expected = hashlib.sha256()
    for _ in range(200):
        expected.update(bytes(1_000_000))
    assert done.stdout.decode().split()[0] == expected.hexdigest()
    assert zeros.largest_read <= 4 * 1024 * 1024
    assert reports == sorted(reports)
    assert reports[-1] == size
    assert len(reports) > 50


def test_output_while_input_is_still_being_sent_is_no_deadlock(transport: Transport) -> None:
    # the far side answers every byte on both streams, far beyond any pipe or window
    script = (
        "import sys\n"
        "while d := sys.stdin.buffer.read(65536):\n"
        "    sys.stdout.buffer.write(d); sys.stderr.buffer.write(d)\n"
    )
    size = 3 * 1024 * 1024
    done = transport.run([PYTHON, "-c", script], stdin=ALL_BYTES * (size // 256), timeout_s=30)
    assert len(done.stdout) == size
    assert done.stderr == done.stdout


def test_stderr_keeps_its_end(transport: Transport) -> None:
    script = f"head -c {CAPTURE_BYTES + 1000} /dev/zero >&2; echo last words >&2"
    done = transport.run(sh(script), timeout_s=20)
    assert len(done.stderr) == CAPTURE_BYTES
    assert done.stderr.endswith(b"last words\n")


def test_too_much_stdout_is_an_error_never_a_truncation(transport: Transport) -> None:
    with pytest.raises(AgentError, match="printed more than"):
        transport.run(sh(f"head -c {CAPTURE_BYTES + 1} /dev/zero"), timeout_s=20)


def test_a_command_that_does_not_read_its_stdin_tells_its_exit_code(transport: Transport) -> None:
    zeros = cast(BinaryIO, Zeros(50_000_000))
    assert transport.run(sh("exit 3"), stdin=zeros, timeout_s=20).exit_code == 3


def test_a_command_that_takes_too_long_is_cut_off(transport: Transport) -> None:
    with pytest.raises(ChannelTimeout, match=r"did not end within 2 s.*began") as raised:
        transport.run(sh("echo began >&2; exec sleep 600"), timeout_s=2)
    assert raised.value.device == transport.device


def test_the_timeout_holds_while_sending(transport: Transport) -> None:
    zeros = cast(BinaryIO, Zeros(50_000_000))
    with pytest.raises(ChannelTimeout):
        transport.run(["sleep", "600"], stdin=zeros, timeout_s=0.3)


def test_the_timeout_holds_while_a_grandchild_keeps_the_streams(transport: Transport) -> None:
    with pytest.raises(ChannelTimeout):
        transport.run(sh("setsid sleep 3 & exit 0"), timeout_s=0.5)


def test_an_unreadable_stdin_ends_the_command(transport: Transport) -> None:
    class Broken(Zeros):
        def read(self, size: int = -1, /) -> bytes:
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        transport.run(["cat"], stdin=cast(BinaryIO, Broken(1)), timeout_s=10)


def test_a_channel_carries_lines_both_ways(transport: Transport) -> None:
    channel = transport.open(["cat"])
    channel.send("eins\n\nzwei grüße\n".encode() + ALL_BYTES.replace(b"\n", b"") + b"\n")
    assert channel.readline(10) == b"eins"
    assert channel.readline(10) == b""
    assert channel.readline(None).decode() == "zwei grüße"
    assert channel.readline(10) == ALL_BYTES.replace(b"\n", b"")
    channel.close()


def test_nothing_is_lost_by_a_readline_that_timed_out(transport: Transport) -> None:
    channel = transport.open(["cat"])
    channel.send(b"half")
    with pytest.raises(ChannelTimeout, match="said nothing"):
        channel.readline(0.2)
    channel.send(b" line\n")
    assert channel.readline(10) == b"half line"
    channel.close()


def test_the_longest_line_passes_and_a_longer_one_is_refused(transport: Transport) -> None:
    limit = 3_000_000
    script = f"import sys; print('x'*{limit}); print('y'*{limit + 1}); sys.stdin.read()"
    channel = cast(LocalTransport, transport).open([PYTHON, "-c", script], max_line_bytes=limit)
    assert channel.readline(20) == b"x" * limit
    with pytest.raises(AgentError, match=f"longer than {limit} bytes"):
        channel.readline(20)
    with pytest.raises(TransientDeviceError):
        channel.readline(1)


def test_a_line_without_end_is_refused_before_it_fills_the_memory(transport: Transport) -> None:
    channel = cast(LocalTransport, transport).open(["cat", "/dev/zero"], max_line_bytes=100_000)
    with pytest.raises(AgentError, match="longer than 100000 bytes"):
        channel.readline(20)


def test_the_end_of_the_far_side_is_an_error_with_its_last_words(transport: Transport) -> None:
    channel = transport.open(sh("echo one; echo because >&2; printf torn; exit 9"))
    assert channel.readline(10) == b"one"
    with pytest.raises(TransientDeviceError, match=r"exit code 9.*4 bytes into a line.*because"):
        channel.readline(10)
    assert channel.stderr_tail() == "because\n"
    channel.close()


def test_a_channel_to_a_missing_program(transport: Transport) -> None:
    channel = transport.open(["no-such-program-here"])
    with pytest.raises(TransientDeviceError, match=r"exit code 127.*no-such-program-here"):
        channel.readline(10)
    channel.close()


def test_sending_to_a_far_side_that_ended(transport: Transport) -> None:
    channel = transport.open(sh("exit 4"))
    with pytest.raises(TransientDeviceError):
        channel.readline(10)
    with pytest.raises(TransientDeviceError, match="exit code 4"):
        for _ in range(1000):
            channel.send(b"x" * 65536)
    channel.close()


def test_close_wakes_a_reader(transport: Transport) -> None:
    channel = transport.open(["cat"])
    raised: list[BaseException] = []

    def read() -> None:
        try:
            channel.readline(None)
        except TransientDeviceError as exc:
            raised.append(exc)

    reader = threading.Thread(target=read)
    reader.start()
    channel.close()
    reader.join(10)
    assert "closed here" in str(raised[0])
    channel.close()
    with pytest.raises(TransientDeviceError, match="closed here"):
        channel.send(b"x")


def test_close_wakes_a_sender(transport: Transport) -> None:
    channel = transport.open(["sleep", "600"])
    raised: list[BaseException] = []
    started = threading.Event()

    def send() -> None:
        started.set()
        try:
            channel.send(bytes(20_000_000))
        except TransientDeviceError as exc:
            raised.append(exc)

    sender = threading.Thread(target=send)
    sender.start()
    started.wait()
    channel.close()
    sender.join(10)
    assert raised


def test_a_far_side_that_takes_nothing(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.fleet.exchange.SEND_TIMEOUT_S", 0.3)
    channel = transport.open(["sleep", "600"])
    with pytest.raises(ChannelTimeout, match="did not take 20000000 bytes"):
        channel.send(bytes(20_000_000))


def test_two_channels_and_runs_at_once(transport: Transport) -> None:
    first, second = transport.open(["cat"]), transport.open(["cat"])
    failures: list[BaseException] = []

    def upload() -> None:
        try:
            done = transport.run(
                sh("cat >/dev/null"), stdin=cast(BinaryIO, Zeros(30_000_000)), timeout_s=30
            )
            assert done.exit_code == 0
        except BaseException as exc:
            failures.append(exc)

    uploads = [threading.Thread(target=upload) for _ in range(2)]
    for thread in uploads:
        thread.start()
    for i in range(100):
        first.send(b"%d\n" % i)
        second.send(b"-%d\n" % i)
        assert first.readline(20) == b"%d" % i
        assert second.readline(20) == b"-%d" % i
    for thread in uploads:
        thread.join()
    assert not failures
    first.close()
    second.close()


def test_an_unread_channel_does_not_hold_up_the_others(transport: Transport) -> None:
    flood = cast(LocalTransport, transport).open(["yes"], max_line_bytes=1000)
    assert flood.readline(10) == b"y"
    assert transport.run(["echo", "still here"], timeout_s=10).stdout == b"still here\n"
    flood.close()


def test_the_far_process_killed(transport: Transport) -> None:
    channel = transport.open(sh("echo $$; exec cat"))
    os.kill(int(channel.readline(10)), signal.SIGKILL)
    with pytest.raises(TransientDeviceError, match="is gone"):
        channel.readline(10)
    channel.close()


def test_close_ends_every_channel_and_connect_works_again(transport: Transport) -> None:
    channel = transport.open(["cat"])
    transport.close()
    with pytest.raises(TransientDeviceError):
        channel.readline(5)
    transport.connect()
    assert transport.run(["echo", "again"], timeout_s=10).stdout == b"again\n"


def test_commands_are_in_a_session_of_their_own(transport: Transport) -> None:
    done = transport.run([PYTHON, "-c", "import os; print(os.getsid(0))"], timeout_s=10)
    assert int(done.stdout) != os.getsid(0)


def test_no_process_or_thread_is_left_behind(transport: Transport) -> None:
    def ours() -> set[int]:
        return set(descendants(os.getpid()))

    threads = threading.active_count()
    before = ours()
    for _ in range(5):
        transport.run(["true"], timeout_s=10)
        channel = transport.open(sh("trap '' TERM HUP; read line"))
        channel.close()
    deadline = time.monotonic() + 10
    # over ssh the server's side of a session goes when its pipes close: give it the time
    while ours() - before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not ours() - before
    assert threading.active_count() <= threads
