"""Brings a device to where it can run trials: agent there, blobs there, what it is known."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, BinaryIO

from orchestrate_agent import protocol
from orchestrate_agent.children.probe import lack
from orchestrate_agent.expectations import compare
from orchestrate_agent.expectations import fact as _fact
from orchestrate_agent.machine.cpuinfo import FEATURES
from orchestrator.artifacts.blob import Blob
from orchestrator.errors import AgentError, PermanentDeviceError, TransientDeviceError
from orchestrator.fleet import told
from orchestrator.fleet.agent_archive import AgentArchive
from orchestrator.fleet.link import AgentLink, AgentRefusalError, ask
from orchestrator.fleet.transport import CommandEnd, Transport, ended_by_signal
from orchestrator.frameworks import registry
from orchestrator.isa import levels
from orchestrator.plan import DevicePlan
from orchestrator.runtimes import parse_runtime

#: Placing the agent and asking for versions are small things; a slow Pi may still take a while.
SHORT_TIMEOUT_S = 60.0
#: A push may take long on a thin line; this is the slowest rate that is not a dead link.
SLOWEST_BYTES_PER_S = 50_000
#: A Raspberry Pi 3 unpacks and compiles faster than this, from the slowest of cards.
_SLOWEST_UNPACKING_BYTES_PER_S = 50_000
#: One `put` takes so many: its command line names them, and a shell's has a limit.
BLOBS_A_CHANNEL = 500
#: Of a value that a device tells, in a message or a table.
_LONGEST_TOLD = 200

# Runs on whatever `python` the device has, so it must parse on old ones to say that they are old.
_BOOTSTRAP = """
import sys
if sys.version_info < (3, 8):
    print("python %d.%d" % sys.version_info[:2]); sys.exit(0)
import errno, hashlib, os
home, name, digest, size = sys.argv[1:5]
home = os.path.abspath(os.path.expanduser(home))
os.umask(0o077)
def refuse(exc):
    kind = "full" if exc.errno in (errno.ENOSPC, errno.EDQUOT) else "unsafe"
    print("%s %s: %s" % (kind, home, exc.strerror)); sys.exit(0)
try: os.makedirs(home, exist_ok=True)
except OSError as exc: refuse(exc)
if os.path.islink(home):
    print("unsafe %s is a link" % home); sys.exit(0)
if os.stat(home).st_uid != os.geteuid():
    print("unsafe %s belongs to user %d, not to you (%d)" % (
        home, os.stat(home).st_uid, os.geteuid())); sys.exit(0)
if os.stat(home).st_mode & 0o022:
    print("unsafe %s is writable by others" % home); sys.exit(0)
above = os.path.realpath(home)
# in a user namespace that does not map root, everything of root's belongs to "nobody"
trusted = (0, os.geteuid(), os.stat("/").st_uid)
while above != "/":
    above = os.path.dirname(above)
    status = os.stat(above)
    if status.st_uid not in trusted:
        print("unsafe %s, above it, belongs to user %d, who could replace it" % (
            above, status.st_uid)); sys.exit(0)
    if status.st_mode & 0o022 and not status.st_mode & 0o1000:
        print("unsafe %s, above it, is writable by others" % above); sys.exit(0)
path = os.path.join(home, "agents", name)
def answer(word):
    probe = os.path.join(home, "may-run.%d" % os.getpid())
    try:
        fd = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700)
        os.write(fd, b"#!/bin/sh\\nexit 0\\n"); os.close(fd)
        os.waitpid(os.posix_spawn(probe, [probe], {}), 0)
    except PermissionError: word += " noexec"
    except OSError: pass
    finally:
        if os.path.exists(probe): os.unlink(probe)
    print(word)
def right(data): return hashlib.sha256(data).hexdigest() == digest
try:
    with open(path, "rb") as file: found = file.read()
except OSError: found = b""
if right(found):
    answer("present"); sys.exit(0)
data = sys.stdin.buffer.read(int(size))
if not data:
    print("missing"); sys.exit(0)
if not right(data):
    print("torn"); sys.exit(0)
temporary = "%s.%d" % (path, os.getpid())
try:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(temporary, "xb") as file:
        file.write(data); file.flush(); os.fsync(file.fileno())
    os.replace(temporary, path)
except OSError as exc:
    if os.path.exists(temporary): os.unlink(temporary)
    refuse(exc)
answer("stored")
"""


@dataclass(frozen=True)
class AgentPlace:
    """The place on a device where the agent lives, and the interpreter that runs it.

    ``adb``: the serial of the Android device that it speaks for, where that is not the one it lives
    on. A daemon that does not answer within ``answer_s`` seconds is taken for one that hangs.
    """

    python: str
    workdir: str
    adb: str | None = None
    answer_s: float = 15.0

    def argv(self, archive: AgentArchive, *command: str) -> tuple[str, ...]:
        """The command line of one of the agent's commands on this device."""
        path = f"{self.workdir.rstrip('/')}/agents/{archive.sha256}.pyz"
        adb = () if self.adb is None else ("--adb", self.adb)
        return (self.python, "-I", path, command[0], "--home", self.workdir, *adb, *command[1:])

    def attach_argv(self, archive: AgentArchive, *, only_look: bool = False) -> tuple[str, ...]:
        """The command line of the relay. It ends a daemon that does not answer and starts another,
        unless we ``only_look``."""
        replace = () if only_look else ("--replace",)
        return self.argv(archive, "attach", "--answer-s", f"{self.answer_s:g}", *replace)


@dataclass(frozen=True)
class ReachedDevice:
    """A device that was reached: its agent answers and has said what the device is.

    ``may_execute``: whether programs in the agent's folder may be run, which a disk that is mounted
    noexec forbids.
    """

    device: str
    place: AgentPlace
    transport: Transport
    archive: AgentArchive
    link: AgentLink
    hello: Mapping[str, Any]
    may_execute: bool = True

    @property
    def facts(self) -> Mapping[str, Any]:
        facts = self.hello.get("facts")
        return facts if isinstance(facts, dict) else {}

    def close(self) -> None:
        """Let go of the device; its daemon goes on."""
        self.link.close()
        self.transport.close()


def reach(
    transport: Transport,
    place: AgentPlace,
    archive: AgentArchive,
    *,
    run_id: str | None = None,
    only_look: bool = False,
) -> ReachedDevice:
    """Connect, put the agent there if it is not, attach, and check that we understand each other.

    A daemon of another version is replaced when it has nothing to do, and used when it is busy
    with ``run_id`` itself, or when nothing but questions will be asked (``only_look``); otherwise
    AgentError says that it is busy. Raises DeviceError.
    """
    transport.connect()
    try:
        placed = _placed(transport, place, archive)
        link, hello = _attach_to_our_version(transport, place, archive, run_id, only_look=only_look)
    except BaseException:
        transport.close()
        raise
    # of an Android device the programs are on the device
    may_execute = placed.may_execute or place.adb is not None
    return ReachedDevice(transport.device, place, transport, archive, link, hello, may_execute)


def place_agent(transport: Transport, place: AgentPlace, archive: AgentArchive) -> bool:
    """Make sure the agent's file is on the device; True if it had to be pushed."""
    return _placed(transport, place, archive).was_pushed


@dataclass(frozen=True)
class _Placed:
    was_pushed: bool
    may_execute: bool


def _placed(transport: Transport, place: AgentPlace, archive: AgentArchive) -> _Placed:
    answer = _bootstrap(transport, place, archive, b"")
    was_pushed = answer == "missing"
    if was_pushed:
        answer = _bootstrap(transport, place, archive, archive.data)
    word, *more = answer.split()
    if word not in ("stored", "present"):
        # another thread of ours may have placed it meanwhile, for another name of this machine
        raise TransientDeviceError(f"the agent arrived damaged ({answer})", device=transport.device)
    return _Placed(was_pushed, may_execute="noexec" not in more)


def _bootstrap(transport: Transport, place: AgentPlace, archive: AgentArchive, data: bytes) -> str:
    name, digest = f"{archive.sha256}.pyz", hashlib.sha256(archive.data).hexdigest()
    argv = (place.python, "-I", "-c", _BOOTSTRAP, place.workdir, name, digest)
    done = transport.run((*argv, str(len(archive.data))), stdin=data, timeout_s=SHORT_TIMEOUT_S)
    words = done.stdout.decode(errors="replace").split("\n")
    # A login shell may print a greeting before; ours is the last line.
    answer = next((w.strip() for w in reversed(words) if w.strip()), "")
    if answer.removesuffix(" noexec") in ("present", "missing", "torn", "stored"):
        return answer
    if ended_by_signal(done.exit_code):
        raise TransientDeviceError(
            f"a signal ended `{place.python}` there; is it going down?", device=transport.device
        )
    if answer.startswith("full "):
        raise TransientDeviceError(
            f"{answer.removeprefix('full ')}; make room on that disk, or name another `workdir:` "
            f"in the inventory",
            device=transport.device,
        )
    raise PermanentDeviceError(_why_not_placed(done, answer, place), device=transport.device)


def _why_not_placed(done: CommandEnd, answer: str, place: AgentPlace) -> str:
    if b"Unknown option: -I" in done.stderr:  # which Python has since 3.4
        answer = "python 2"
    if answer.startswith("python "):
        return (
            f"`{place.python}` there is {answer}; the agent needs 3.8 or later. "
            f"Name a newer one in the inventory: `python: /path/to/python3`"
        )
    if answer.startswith("unsafe "):
        return f"{answer.removeprefix('unsafe ')}; name another `workdir:` in the inventory"
    if done.exit_code == 127:
        return (
            f"there is no `{place.python}`; install Python 3.8 or later there, or name the "
            f"interpreter in the inventory: `python: /path/to/python3`"
        )
    said = done.stderr.decode(errors="replace").strip()[-800:] or answer or "no word why"
    return (
        f"the agent could not be placed in {place.workdir} (exit code {done.exit_code}): {said}; "
        f"{_remedy(said, place)}"
    )


def _remedy(said: str, place: AgentPlace) -> str:
    if any(word in said for word in ("No space left", "quota exceeded", "MemoryError")):
        return "make room there, or name another `workdir:` in the inventory"
    if any(word in said for word in ("Permission denied", "Read-only file system")):
        return "name a `workdir:` in the inventory that this user may write in"
    return f"try `{place.python} -I -c 'import hashlib'` there, or name another `python:`"


def _attach_to_our_version(
    transport: Transport,
    place: AgentPlace,
    archive: AgentArchive,
    run_id: str | None,
    *,
    only_look: bool,
) -> tuple[AgentLink, Mapping[str, Any]]:
    argv = place.attach_argv(archive, only_look=only_look)
    link = AgentLink(transport, argv)
    try:
        hello = link.request("hello", protocol=protocol.PROTOCOL)
    except AgentRefusalError as exc:
        if exc.error.kind != "protocol":
            raise
        hello = {}
    _check_hello(transport, hello)
    if hello.get("agent_hash") == archive.sha256:
        return link, hello
    status = link.request("status")
    busy = bool(status.get("running") or status.get("queued"))
    if hello and (_busy_with(status, run_id) or (busy and only_look)):
        return link, hello
    if busy:
        link.close()
        raise AgentError(
            "an agent of another version is busy there; wait until it is done, or end it with "
            "`orchestrate agents stop`",
            device=transport.device,
        )
    link.request("shutdown", force=False)
    link.close()
    link = AgentLink(transport, argv)
    hello = link.request("hello", protocol=protocol.PROTOCOL)
    _check_hello(transport, hello)
    if hello.get("agent_hash") != archive.sha256:
        link.close()
        raise AgentError("an agent of another version keeps coming back", device=transport.device)
    return link, hello


def _check_hello(transport: Transport, hello: Mapping[str, Any]) -> None:
    """Raise AgentError where it is not an answer of an agent of this protocol; empty: none yet."""
    told.check_size(hello, "a greeting", device=transport.device)
    told.check(hello, told.HELLO, "a greeting", device=transport.device)
    if hello and hello.get("protocol") != protocol.PROTOCOL:
        raise AgentError(
            f"the agent says that it speaks protocol {str(hello.get('protocol'))[:40]}, not "
            f"{protocol.PROTOCOL}; end it with `orchestrate agents stop` and look who wrote it",
            device=transport.device,
        )


def _busy_with(status: Mapping[str, Any], run_id: str | None) -> bool:
    sessions = status.get("sessions")
    sessions = sessions if isinstance(sessions, list) else []
    busy = [s for s in sessions if isinstance(s, dict) and (s.get("queued") or s.get("running"))]
    return bool(busy) and all(s.get("run_id") == run_id for s in busy)


def ask_agent(
    transport: Transport, place: AgentPlace, archive: AgentArchive, op: str, **params: Any
) -> Mapping[str, Any] | None:
    """One request to the daemon on a connected device; None where none runs. Raises DeviceError.

    Unlike :func:`reach` it starts none.
    """
    place_agent(transport, place, archive)
    return ask(transport, place.argv(archive, "ask"), op, **params)


def agent_log(transport: Transport, place: AgentPlace, archive: AgentArchive) -> str:
    """The end of the agent's own log. Raises DeviceError."""
    place_agent(transport, place, archive)
    done = transport.run(place.argv(archive, "logs"), timeout_s=SHORT_TIMEOUT_S)
    return (done.stdout or done.stderr).decode(errors="replace")


def push(node: ReachedDevice, blobs: Sequence[Blob], on_sent: Callable[[Blob, int], None]) -> int:
    """Push the blobs that the device lacks, one after another; returns the bytes pushed.

    Raises TransientDeviceError where a transfer was torn: what came whole stays, nothing else
    lands, so it is simply tried again; PermanentDeviceError where the device has no room.
    """
    present = node.link.request("have", blobs=[blob.sha256 for blob in blobs]).get("present")
    there = {str(each) for each in present} if isinstance(present, list) else set()
    missing = [blob for blob in blobs if blob.sha256 not in there]
    for start in range(0, len(missing), BLOBS_A_CHANNEL):
        _push_some(node, missing[start : start + BLOBS_A_CHANNEL], on_sent)
    return sum(blob.size_bytes for blob in missing)


def _push_some(
    node: ReachedDevice, blobs: Sequence[Blob], on_sent: Callable[[Blob, int], None]
) -> None:
    names = [f"{blob.sha256}:{blob.size_bytes}" for blob in blobs]
    total = sum(blob.size_bytes for blob in blobs)
    with closing(BlobStream(blobs)) as stream:
        done = node.transport.run(
            node.place.argv(node.archive, "put", *names),
            stdin=stream,
            timeout_s=SHORT_TIMEOUT_S + total / SLOWEST_BYTES_PER_S,
            on_sent=lambda sent: on_sent(*stream.position(sent)),
        )
    words = done.stdout.split()
    landed = min(words.count(b"stored") + words.count(b"present"), len(blobs) - 1)
    _check_done(node, done, f"{blobs[landed].path.name} could not be pushed")


def _check_done(node: ReachedDevice, done: CommandEnd, failure: str) -> None:
    """Raise DeviceError where one of the agent's commands did not end well."""
    if done.exit_code == 0:
        return
    said = done.stderr.decode(errors="replace").strip()[-800:] or f"exit code {done.exit_code}"
    if done.exit_code == 5:
        raise PermanentDeviceError(f"{failure}: {said}; make room there", device=node.device)
    raise TransientDeviceError(f"{failure}: {said}", device=node.device)


def unpack_sites(node: ReachedDevice, sites: Sequence[Blob]) -> None:
    """Make pushed site bundles ready for trials; one that is already costs a moment.

    Raises PermanentDeviceError where the device has no room, TransientDeviceError otherwise.
    """
    for site in sites:
        timeout_s = SHORT_TIMEOUT_S + site.size_bytes / _SLOWEST_UNPACKING_BYTES_PER_S
        argv = node.place.argv(node.archive, "unpack", site.sha256)
        done = node.transport.run(argv, timeout_s=timeout_s)
        _check_done(node, done, f"{site.path.name} could not be unpacked")


class BlobStream:
    """Blobs behind each other as one file, to send. Each must be as long as it says."""

    def __init__(self, blobs: Sequence[Blob]) -> None:
        self.blobs = tuple(blobs)
        self._waiting = list(blobs)
        self._file: BinaryIO | None = None

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes, all of one blob; ``b""`` at the end of the last."""
        while self._file is not None or self._waiting:
            if self._file is None:
                self._file = self._waiting.pop(0).path.open("rb")
            if data := self._file.read(size):
                return data
            self.close()
        return b""

    def position(self, sent: int) -> tuple[Blob, int]:
        """The blob under way, and how much of it is sent when ``sent`` bytes are in all."""
        for blob in self.blobs[:-1]:
            if sent <= blob.size_bytes:
                return blob, sent
            sent -= blob.size_bytes
        return self.blobs[-1], sent

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


@dataclass(frozen=True)
class Suitability:
    """What was found when a device was checked against what is asked of it.

    ``unverified`` are the expectations that the device cannot tell, so that nobody takes them for
    checked; ``runtimes`` the Python runtimes it has, where its own are asked for: distribution →
    version.
    """

    unverified: tuple[str, ...]
    runtimes: Mapping[str, str]


def check_suitability(
    node: ReachedDevice,
    expect: Mapping[str, Any],
    plan: DevicePlan,
    cpus: Collection[int] | None,
    bundled: Collection[str] = (),
) -> Suitability:
    """Refuse a device that is not what the inventory says, or lacks what the plan runs with.

    ``cpus`` are those that the inventory lets trials use; None: any. ``bundled`` are the runtimes
    that the device need not have, because it is given them. Raises PermanentDeviceError with the
    way out.
    """
    unverified = check_expectations(node.facts, expect, device=node.device)
    for isa in sorted(plan.capped_isas):
        _require_isa(node, isa)
    _require_cpus(node, plan.cpus_for_duets, cpus)
    own = sorted(plan.runtimes - set(bundled))
    found = installed_runtimes(node) if own else {}
    for runtime in own:
        names = [library.name for library in plan.choices[runtime]]
        why = lack(found, names, node.place.python)
        if why is not None:  # it had it when the run began, or it would have been given one
            raise PermanentDeviceError(
                f"{why}, since the run measures with the device's own; or start a new run",
                device=node.device,
            )
    return Suitability(unverified, found)


def check_executable(
    node: ReachedDevice,
    plan: DevicePlan,
    provided: Collection[str] = (),
    *,
    sends_program: bool = False,
) -> None:
    """Refuse a device whose disk forbids to run what the plan has to put there.

    ``provided`` are the runtimes that are given to it; ``sends_program``: so is the suite's own
    program. Raises PermanentDeviceError with the way out.
    """
    pinned = {text for text in plan.runtimes if parse_runtime(text).version is not None}
    runtimes = sorted(pinned.union(provided))
    things = [registry.tool().name] if plan.needs_binary else []
    things += ["the suite's program"] if sends_program else []
    things += [f"the runtime {text}" for text in runtimes]
    things += [f"what caps it to {isa}" for isa in sorted(plan.capped_isas)]
    if things and not node.may_execute:
        raise PermanentDeviceError(
            f"no program may be run from {node.place.workdir} (is its disk mounted noexec?), and "
            f"{things[0]} would be put there; name a folder on another disk with `workdir:` in the "
            f"inventory",
            device=node.device,
        )


def _require_cpus(node: ReachedDevice, needed: int, cpus: Collection[int] | None) -> None:
    if not needed:
        return
    allowed = _fact(node.facts, "cpus_allowed")
    if not isinstance(allowed, list):
        raise PermanentDeviceError(
            "it does not say which CPUs its user may use, so that the two trials of a duet cannot "
            "be kept apart; take `duet: true` out of the suite",
            device=node.device,
        )
    usable = set(allowed) if cpus is None else set(allowed) & set(cpus)
    quota = _fact(node.facts, "cpu_quota")
    short = f"{len(usable)} may be used there" if len(usable) < needed else ""
    if isinstance(quota, int | float) and quota < needed:  # they would wait for each other
        short = f"the time of {quota:g} is all that its container gets"
    if short:
        raise PermanentDeviceError(
            f"`duet: true` runs two trials at once, each on CPUs of its own: {needed} are needed, "
            f"and {short}; use fewer `threads`, more `cpus:` in the inventory, or take `duet` out "
            f"of the suite",
            device=node.device,
        )


def _require_isa(node: ReachedDevice, isa: str) -> None:
    why = isa_unavailable(node.facts, isa)
    if why is not None:
        raise PermanentDeviceError(
            f"isa not available here: {why}; write `isa: [native]` in the suite, or leave this "
            f"device out",
            device=node.device,
        )


def isa_unavailable(facts: Mapping[str, Any], isa: str) -> str | None:
    """Why a device with these facts cannot cap a process to ``isa``; None where it can.

    Not every feature of a level is among the facts; each trial proves the rest.
    """
    architecture, features = _fact(facts, "architecture"), _fact(facts, "features")
    if architecture in ("aarch64", "arm64"):
        return (
            f"{isa} is an instruction set of x86-64, the device is {architecture}, and what an Arm "
            f"CPU can do cannot be hidden from the runtimes with certainty (they also go by its "
            f"model number)"
        )
    if architecture != "x86_64":
        return f"{isa} is an instruction set of x86-64, and the device is {architecture}"
    has = set(features) if isinstance(features, list) else set()
    missing = levels.lacking(isa, has, FEATURES)
    if missing:
        return f"{isa} has {', '.join(missing)}, which the device's CPU has not"
    if "cpuid_fault" not in has and str(_fact(facts, "libc")).startswith("musl"):
        return (
            "the CPU, or its hypervisor, cannot make CPUID fault (no cpuid_fault in its flags), "
            "and rewriting the instructions needs glibc's loader, not musl's"
        )
    return None


def installed_runtimes(node: ReachedDevice) -> dict[str, str]:
    """The runtimes that the device's Python has: distribution → version. Raises DeviceError."""
    found = node.link.request(
        "probe", python=node.place.python, runtimes=list(registry.runtime_names())
    ).get("runtimes")
    if not isinstance(found, dict):
        return {}
    return {str(k)[:_LONGEST_TOLD]: str(v)[:_LONGEST_TOLD] for k, v in found.items()}


def check_expectations(
    facts: Mapping[str, Any], expect: Mapping[str, Any], *, device: str
) -> tuple[str, ...]:
    """Refuse a device that is not what the inventory says it is.

    A key is a fact by its name, wherever in the facts it stands. Returns the names that the
    device cannot tell, so that nobody takes them for checked. Raises PermanentDeviceError.
    """
    unverified, problem = compare(facts, expect)
    if problem is not None:
        raise PermanentDeviceError(f"{problem}; correct `expect:` or `host:`", device=device)
    return unverified
