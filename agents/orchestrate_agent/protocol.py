"""What travels between controller and agent: one JSON object a line. Pure, no I/O.

The controller opens ``python3 -I <agent>.pyz attach`` over whatever carries stdin and stdout.
Whatever a login shell prints before the line ``READY`` is noise and is skipped. After it:

* controller → agent: a request ``{"id": 7, "op": "submit", ...}``
* agent → controller: a reply ``{"id": 7, "ok": true, "result": {...}}`` or
  ``{"id": 7, "ok": false, "error": {"kind": "bad_request", "message": "..."}}``; ``id`` is null
  where the request was too broken to have one
* agent → controller, after the request ``events``: ``{"event": {...}}``, one line each, in the
  order of ``seq``, first those in the spool, then each new one as it is written.

Operations
----------
``hello``    {protocol}                          → {protocol, agent_hash, pid, started, facts}
``have``     {blobs: [sha256]}                   → {present: [sha256]}
``probe``    {python, runtimes}                  → {executable, version, bits, implementation,
                                                   free_threaded, runtimes: {name: version}}
``submit``   {run_id, device, trials: [TrialRequest]} → {accepted: [id], known: [id]}
``events``   {run_id, device, from_seq}          → {last_seq}, then events from ``from_seq`` on
``cancel``   {run_id, device, running: bool}     → {cancelled: [id]}; queued trials always, the
                                                   running one only if ``running``
``release``  {run_id, device}                    → {}; the controller holds every event, forget them
``status``   {}                                  → {running, queued, sessions, idle_s, waits_for,
                                                   lock_holder}
``shutdown`` {force: bool}                       → {}; refused while trials wait, unless forced

A *session* is one (run_id, device) pair: it has a spool and a ``seq`` of its own, so that several
runs, and several inventory names for one machine, share a daemon without seeing each other.
``submit`` and ``events`` begin it where there is none. ``status``: ``running`` is null or
{run_id, device, trial_id, state: "waiting" | "running"} (of a duet its first trial),
``waits_for`` what keeps it in "waiting": ``"lock"``, the machine-wide one, ``"preparation"``, which
is clocks and the gate, or null; ``lock_holder`` is null or {pid, user, name} of who has that lock,
``queued`` how many trials wait, ``sessions`` [{run_id, device, queued, running, ended, last_seq}],
``idle_s`` seconds since the last trial ended, null while one runs.

An agent that cannot go on says so in an error of kind ``stopping`` whose ``id`` is null, and ends.

Kinds of error: ``bad_json``, ``bad_request``, ``too_long`` (the connection is closed after it),
``protocol`` (another version), ``missing_blobs`` (with ``missing: [sha256]``), ``conflict`` (a
trial id known with other content), ``unknown_seq``, ``busy``, ``no_python``, ``probe_failed``,
``spool`` (the disk), ``lost_node`` (what the trials run on does not answer), ``stopping``,
``internal``.

Events, each with ``seq`` (per session, from 1), ``time`` (UTC, ISO 8601), ``event``, ``trial_id``:

``queued``    written when a trial is accepted
``started``   attempt, health, process {pid, pgid, start_ticks, boot_id, mark}
``finished``  attempt, exit_code, signal, timed_out, oom_killed, oom_memory, wall_s, stdout,
              stderr, stdout_bytes, stderr_bytes (before capping), health_before, health, rusage,
              launch,
              machine_lock, conditions, power, lost, reason
``interrupted`` attempt, reason, orderly: the agent or the node died under the trial, or (orderly)
              the agent was stopped; it runs again
``cancelled`` reason, and where the node lost a file that the trial needs ``lacking``: what, in
              words; it did not run, or what came of it says nothing. Put the file back (``put``,
              ``unpack``, the agent itself) and submit the trial again

A trial ends in exactly one ``finished`` or ``cancelled``; one that was cancelled is queued again
when it is submitted again. In ``finished`` the ``reason`` is null
when the process ran to its end: then exactly one of ``exit_code`` and ``signal`` is a number.
Otherwise both are null and ``reason`` says in a sentence why there is no process to speak of: it
could not be started (``lost`` false, no ``started`` before; ``cause`` is ``"environment"`` where
that was none of its own doing), or the agent died under it
MAX_ATTEMPTS times (``lost`` true). ``oom_killed`` is null where the node cannot tell, and
``oom_memory`` is ``"cgroup"`` or ``"machine"`` where it tells whose memory had run out; ``wall_s``,
``rusage``, ``launch`` and the healths are null where nothing ran. ``launch`` is ``"forked"``, or
``"direct"`` where the kernel refuses PR_SET_CHILD_SUBREAPER: then the process began with the
agent's peak of memory, and ``rusage.maxrss_bytes`` is null unless it went beyond that.
``machine_lock`` is ``"held"``,
``"unavailable: why"``, or null for a trial that did not ask for the machine to itself.
``conditions`` says which of those asked for came true: {pinned: [cpu] | null, tuned: {governor,
turbo}, reasons: [why not], gate: null | {waited_s, timed_out, load, temperature_c, …}}; in a duet
also ``duet``: {partner, half, together, partner_cpu_s: null | seconds the partner computed}.
``power``, null where the node cannot tell, is {source, samples: [[monotonic s, joules]]}.

A *duet* is two trials of a session that name each other in their ``conditions``. They are started
at the same time, on disjoint CPUs, and nothing else runs meanwhile; each has events of its own.
Where the partner is not in the queue any more a trial runs alone, and ``together`` is false.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, NoReturn, Optional, Tuple, Union

PROTOCOL = 1
READY = "orchestrate-agent-ready 1"

#: Longest line either side accepts, in bytes. A finished trial carries at most 2 x CAPTURE_BYTES.
MAX_LINE_BYTES = 16 * 1024 * 1024
#: How much of each of stdout and stderr is kept: half from the head, half from the tail.
CAPTURE_BYTES = 1024 * 1024
#: A trial the agent (or node) died under this many times is finished as it is, not tried again.
MAX_ATTEMPTS = 3

#: What a line may make of itself in memory: each list and object costs some sixty bytes, whatever
#: is in it, and what is nested deeper than this no part of the protocol is.
MAX_CONTAINERS = 200_000
MAX_DEPTH = 64

#: Bounds of a request; beyond them it is a mistake or an attack, not a measurement.
MAX_TRIALS = 10_000
MAX_BLOBS = 10_000
MAX_RUNTIMES = 100
MAX_ARGUMENTS = 1000
MAX_TEXT_BYTES = 128 * 1024 - 1  # the kernel's limit for one argument
MAX_TIMEOUT_S = 7 * 24 * 3600.0
MAX_CPUS = 8192
MAX_INTEGER = 2**53

_MAX_TIME = 64
_SHA256 = re.compile(r"\A[0-9a-f]{64}\Z")
#: Run ids, device names and trial ids become folder and file names on the node.
_NAME = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9._+@-]{0,199}\Z")
_ENV_NAME = re.compile(r"\A[A-Za-z_][A-Za-z0-9_]{0,199}\Z")
#: Every byte but the quote and the brackets that open something.
_NEITHER = bytes(byte for byte in range(256) if byte not in b'"[{')
_QUOTED = re.compile(rb'"[^"]*"')
_PLACEHOLDER = re.compile(r"\{(?:(blob|exe|site):([0-9a-f]{64})|(agent|python))\}")

#: The Python that the agent itself runs under, in a command line.
PYTHON = "{python}"
#: What a trial waits for before it starts; see above.
LOCK, PREPARATION = "lock", "preparation"
#: What a session's spool holds of a trial; see above.
#: The ``cause`` of a trial that could not be started and is not to blame for it.
ENVIRONMENT = "environment"
EVENT_KINDS = ("queued", "started", "finished", "interrupted", "cancelled")

OPS = (
    "hello",
    "have",
    "probe",
    "submit",
    "events",
    "cancel",
    "release",
    "status",
    "shutdown",
)

Json = Dict[str, Any]


class ProtocolError(Exception):
    """A line that is not what this protocol says. ``kind`` is a stable short word."""

    def __init__(self, message: str, kind: str = "bad_request", **details: Any) -> None:
        super().__init__(message)
        self.kind = kind
        self.details = details


# --- lines ---------------------------------------------------------------------------------


def encode(message: Mapping[str, Any]) -> bytes:
    """``message`` as one line, newline included. Raises ProtocolError where it cannot travel."""
    try:
        # ASCII on the wire: no login shell's locale can damage it.
        line = json.dumps(message, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"
    except (TypeError, ValueError, RecursionError) as exc:
        raise ProtocolError(f"not JSON: {exc}", kind="bad_json") from exc
    if len(line) > MAX_LINE_BYTES:
        raise ProtocolError(
            f"a line of {len(line)} bytes, the limit is {MAX_LINE_BYTES}", kind="too_long"
        )
    return line


def decode(line: bytes) -> Json:
    """The JSON object in ``line``. Raises ProtocolError for anything else, however hostile."""
    if len(line) > MAX_LINE_BYTES:
        raise ProtocolError(
            f"a line of {len(line)} bytes, the limit is {MAX_LINE_BYTES}", kind="too_long"
        )
    _refuse_crowded(line)
    try:
        message = json.loads(
            line.decode("utf-8"),
            parse_constant=_no_constant,
            parse_int=_integer,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as exc:
        raise ProtocolError(f"a line that is not JSON: {_brief(exc)}", kind="bad_json") from exc
    if not isinstance(message, dict):
        raise ProtocolError(f"a line is not a JSON object but {_kind(message)}", kind="bad_json")
    _refuse_deep(message)
    return message


def _refuse_crowded(line: bytes) -> None:
    if line.count(b"[") + line.count(b"{") <= MAX_CONTAINERS:
        return
    # what a program printed may be full of brackets: only those outside of text count
    signs = line.replace(rb"\\", b"").replace(rb"\"", b"").translate(None, _NEITHER)
    outside = _QUOTED.sub(b"", signs)
    if len(outside) > MAX_CONTAINERS:
        raise ProtocolError(f"a line of more than {MAX_CONTAINERS} lists and objects", "bad_json")


def _refuse_deep(message: Json) -> None:
    # level by level: something nested too deeply is what recursion cannot look at
    level: List[Any] = [message]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for each in level
            for item in (each.values() if isinstance(each, dict) else each)
            if isinstance(item, (dict, list))
        ]
        if not level:
            return
    raise ProtocolError(f"a line nested deeper than {MAX_DEPTH} levels", kind="bad_json")


class LineBuffer:
    """Cuts a byte stream into lines, never holding much more than one line of the legal length."""

    def __init__(self, limit: int = MAX_LINE_BYTES) -> None:
        self._limit = limit
        self._rest = bytearray()

    def feed(self, data: bytes) -> List[bytes]:
        """The lines that ``data`` completes, without their newlines.

        Raises ProtocolError (``too_long``) when a line outgrows the limit; the stream is then
        of no more use.
        """
        head, newline, tail = data.rpartition(b"\n")
        lines: List[bytes] = []
        if newline:
            lines = (bytes(self._rest) + head).split(b"\n")
            self._rest = bytearray(tail)
        else:
            self._rest += data
        if len(self._rest) > self._limit or any(len(line) > self._limit for line in lines):
            self._rest = bytearray()
            raise ProtocolError(f"a line of more than {self._limit} bytes", kind="too_long")
        return lines


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _integer(text: str) -> int:
    # int() takes quadratic time, and before Python 3.11 it has no limit of its own
    if len(text) > 1000:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):  # 1e999 is JSON, and no figure
        raise ValueError(f"{text[:40]} is beyond any number")
    return value


def _brief(exc: Exception) -> str:
    return str(exc)[:200]


# --- requests ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gate:
    """What a trial waits for, and ``timeout_s`` how long at most, in seconds.

    ``load`` is the share of all CPUs' time that others may use, ``temperature_c`` the CPU's in
    degrees Celsius; None where it does not matter.
    """

    load: Optional[float]
    temperature_c: Optional[float]
    timeout_s: float

    def to_json(self) -> Json:
        return dict(self.__dict__)

    @classmethod
    def from_json(cls, data: Any) -> Gate:
        """Read what :meth:`to_json` wrote. Raises ProtocolError."""
        fields = _object(data, "gate")
        return cls(
            load=_optional_number(fields, "load", 0.0, 1.0),
            temperature_c=_optional_number(fields, "temperature_c", 0.0, 200.0),
            timeout_s=_number(fields, "timeout_s", 0.0, MAX_TIMEOUT_S),
        )


@dataclass(frozen=True)
class Duet:
    """The trial that is to run at the same time, and which half of the CPUs is ours: 0 or 1."""

    partner: str
    half: int

    def to_json(self) -> Json:
        return dict(self.__dict__)

    @classmethod
    def from_json(cls, data: Any) -> Duet:
        """Read what :meth:`to_json` wrote. Raises ProtocolError."""
        fields = _object(data, "duet")
        return cls(_name(fields, "partner"), _int(fields, "half", 0, 1))


@dataclass(frozen=True)
class Conditions:
    """What the machine is to be like while a trial runs, as far as it lets us.

    ``pin``: on so many CPUs of the agent's choice, of those in the request's ``cpus`` where there
    are any. ``tune``: governor ``performance`` and no turbo. ``energy``: sample what is consumed.
    ``duet`` needs ``pin``: twice as many CPUs are chosen, and each of the two trials has half.
    """

    pin: Optional[int] = None
    tune: bool = False
    energy: bool = False
    gate: Optional[Gate] = None
    duet: Optional[Duet] = None

    def to_json(self) -> Json:
        gate = None if self.gate is None else self.gate.to_json()
        duet = None if self.duet is None else self.duet.to_json()
        return {
            "pin": self.pin,
            "tune": self.tune,
            "energy": self.energy,
            "gate": gate,
            "duet": duet,
        }

    @classmethod
    def from_json(cls, data: Any) -> Conditions:
        """Read what :meth:`to_json` wrote. Raises ProtocolError."""
        fields = _object(data, "conditions")
        made = cls(
            pin=None if fields.get("pin") is None else _int(fields, "pin", 1, MAX_CPUS),
            tune=_bool(fields, "tune", default=False),
            energy=_bool(fields, "energy", default=False),
            gate=None if fields.get("gate") is None else Gate.from_json(fields["gate"]),
            duet=None if fields.get("duet") is None else Duet.from_json(fields["duet"]),
        )
        if made.duet is not None and made.pin is None:
            raise ProtocolError("conditions: a duet needs pin, the CPUs of each of its trials")
        return made


@dataclass(frozen=True)
class TrialRequest:
    """A trial request is one process to run. ``timeout_s`` bounds it; ``cpus`` None leaves the CPUs
    as they are.

    In ``argv`` and in values of ``env``, and nowhere else, ``{blob:SHA256}``, ``{exe:SHA256}``,
    ``{site:SHA256}``, ``{agent}`` and ``{python}``, the agent's own, are replaced (see
    :func:`substitute`). ``exclusive`` asks for the machine-wide lock. A trial id stands for one
    command line; its ``conditions`` may be others when it is submitted again.
    """

    trial_id: str
    argv: Tuple[str, ...]
    timeout_s: float
    env: Mapping[str, str] = field(default_factory=dict)
    blobs: Tuple[str, ...] = ()
    cpus: Optional[Tuple[int, ...]] = None
    exclusive: bool = True
    conditions: Conditions = field(default=Conditions(), compare=False)

    def to_json(self) -> Json:
        """Return it as it stands in a ``submit`` request and in the spool."""
        return {
            "trial_id": self.trial_id,
            "argv": list(self.argv),
            "env": dict(self.env),
            "timeout_s": self.timeout_s,
            "blobs": list(self.blobs),
            "cpus": None if self.cpus is None else list(self.cpus),
            "exclusive": self.exclusive,
            "conditions": self.conditions.to_json(),
        }

    @classmethod
    def from_json(cls, data: Any) -> TrialRequest:
        """Read what :meth:`to_json` wrote; unknown fields are ignored. Raises ProtocolError."""
        fields = _object(data, "a trial")
        request = cls(
            trial_id=_name(fields, "trial_id"),
            argv=_argv(fields),
            timeout_s=_timeout(fields),
            env=_env(fields),
            blobs=_sha_list(fields, "blobs", default=()),
            cpus=_cpus(fields),
            exclusive=_bool(fields, "exclusive", default=True),
            conditions=Conditions.from_json(fields.get("conditions", {})),
        )
        named = named_blobs((*request.argv, *request.env.values()))
        unlisted = sorted(named - set(request.blobs))
        if unlisted:
            raise ProtocolError(
                f"trial {request.trial_id}: argv or env names blob {unlisted[0]}, "
                f"which is not listed in its blobs"
            )
        return request


def named_blobs(argv: Tuple[str, ...]) -> frozenset[str]:
    """The SHA-256 of every blob that a placeholder in ``argv``, or in values of ``env``, names."""
    return frozenset(
        match.group(2) for arg in argv for match in _PLACEHOLDER.finditer(arg) if match.group(2)
    )


def substitute(
    argv: Tuple[str, ...],
    *,
    blob: Callable[[str], str],
    exe: Callable[[str], str],
    site: Callable[[str], str],
    agent: Callable[[], str],
    python: str,
) -> Tuple[str, ...]:
    """``argv`` with its placeholders replaced by paths; every other brace is left as it is."""
    path_of = {"blob": blob, "exe": exe, "site": site}
    own_path: Dict[str, Callable[[], str]] = {"agent": agent, "python": lambda: python}

    def path(match: re.Match[str]) -> str:
        kind, sha256, own = match.groups()
        return own_path[own]() if kind is None else path_of[kind](sha256)

    return tuple(_PLACEHOLDER.sub(path, arg) for arg in argv)


@dataclass(frozen=True)
class Hello:
    protocol: int


@dataclass(frozen=True)
class Have:
    blobs: Tuple[str, ...]


@dataclass(frozen=True)
class Probe:
    python: str
    runtimes: Tuple[str, ...]


@dataclass(frozen=True)
class Submit:
    run_id: str
    device: str
    trials: Tuple[TrialRequest, ...]


@dataclass(frozen=True)
class Events:
    run_id: str
    device: str
    from_seq: int


@dataclass(frozen=True)
class Cancel:
    run_id: str
    device: str
    running: bool


@dataclass(frozen=True)
class Release:
    run_id: str
    device: str


@dataclass(frozen=True)
class Status:
    pass


@dataclass(frozen=True)
class Shutdown:
    force: bool


Body = Union[Hello, Have, Probe, Submit, Events, Cancel, Release, Status, Shutdown]


@dataclass(frozen=True)
class Request:
    """A request that passed every check. ``id`` is the caller's, given back with the reply."""

    id: int
    body: Body


def request(id: int, op: str, **arguments: Any) -> Json:  # noqa: A002 (the wire's word)
    """A request as it travels. Raises ProtocolError where the agent would refuse it."""
    message = {"id": id, "op": op, **arguments}
    parse_request(message)
    return message


def request_id(message: Mapping[str, Any]) -> Optional[int]:
    """The request's id where it has a usable one, so that even an error reply can name it."""
    value = message.get("id")
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_INTEGER:
        return None
    return value


def parse_request(message: Mapping[str, Any]) -> Request:
    """Check a decoded line. Raises ProtocolError naming the field that is wrong."""
    number = request_id(message)
    if number is None:
        raise ProtocolError("a request needs an id: an integer from 0")
    op = message.get("op")
    if not isinstance(op, str) or op not in _PARSERS:
        raise ProtocolError(f"unknown op {str(op)[:40]!r}; this agent knows {', '.join(OPS)}")
    return Request(number, _PARSERS[op](message))


def _submit(fields: Mapping[str, Any]) -> Submit:
    items = _list(fields, "trials", MAX_TRIALS)
    trials = tuple(TrialRequest.from_json(item) for item in items)
    if len({trial.trial_id for trial in trials}) != len(trials):
        raise ProtocolError("trials: a trial_id stands there twice")
    return Submit(_name(fields, "run_id"), _name(fields, "device"), trials)


def _python(fields: Mapping[str, Any]) -> str:
    return _checked_text(fields.get("python"), "python", empty=False)


_PARSERS: Dict[str, Callable[[Mapping[str, Any]], Body]] = {
    "hello": lambda f: Hello(_int(f, "protocol", 0, MAX_INTEGER)),
    "have": lambda f: Have(_sha_list(f, "blobs")),
    "probe": lambda f: Probe(_python(f), _names(f, "runtimes")),
    "submit": _submit,
    "events": lambda f: Events(
        _name(f, "run_id"), _name(f, "device"), _int(f, "from_seq", 1, MAX_INTEGER)
    ),
    "cancel": lambda f: Cancel(
        _name(f, "run_id"), _name(f, "device"), _bool(f, "running", default=False)
    ),
    "release": lambda f: Release(_name(f, "run_id"), _name(f, "device")),
    "status": lambda _: Status(),
    "shutdown": lambda f: Shutdown(_bool(f, "force", default=False)),
}


# --- replies and events --------------------------------------------------------------------


def reply(id: int, result: Mapping[str, Any]) -> Json:  # noqa: A002 (the wire's word)
    """The answer to a request that went well."""
    return {"id": id, "ok": True, "result": dict(result)}


def error_reply(id: Optional[int], error: ProtocolError) -> Json:  # noqa: A002 (the wire's word)
    """The answer to a request that did not; ``id`` None where it had none."""
    details = {"kind": error.kind, "message": str(error), **error.details}
    return {"id": id, "ok": False, "error": details}


@dataclass(frozen=True)
class Reply:
    """What the agent answered to request ``id``; raise ``error`` unless it is None."""

    id: Optional[int]
    result: Mapping[str, Any]
    error: Optional[ProtocolError]


@dataclass(frozen=True)
class Event:
    """One line of a session's spool. ``fields`` is the whole of it, these five included."""

    seq: int
    time: str
    event: str
    trial_id: str
    fields: Mapping[str, Any]


def parse_answer(message: Mapping[str, Any]) -> Union[Reply, Event]:
    """What a line from the agent says. Raises ProtocolError."""
    if "event" in message:
        return parse_event(message["event"])
    number = request_id(message)
    if message.get("ok") is True and number is not None:
        return Reply(number, _object(message.get("result"), "result"), None)
    if message.get("ok") is False:
        details = dict(_object(message.get("error"), "error"))
        text, kind = str(details.pop("message", "")), str(details.pop("kind", "unknown"))
        error = ProtocolError(text, kind)
        error.details = details
        return Reply(number, {}, error)
    raise ProtocolError("neither a reply nor an event")


def parse_event(data: Any) -> Event:
    """Check one event of a session. Raises ProtocolError."""
    fields = _object(data, "event")
    kind, time = fields.get("event"), fields.get("time")
    if not isinstance(kind, str) or not isinstance(time, str) or len(time) > _MAX_TIME:
        raise ProtocolError("an event needs `event` and `time`, both text")
    if kind not in EVENT_KINDS:
        raise ProtocolError(f"{kind[:40]!r} is not an event of a trial")
    seq = _int(fields, "seq", 1, MAX_INTEGER)
    return Event(seq, time, kind, _name(fields, "trial_id"), fields)


# --- fields --------------------------------------------------------------------------------


def is_name(text: str) -> bool:
    """Whether ``text`` may be a run id, device name or trial id."""
    return _NAME.match(text) is not None


def is_sha256(text: str) -> bool:
    """Whether ``text`` is 64 lower-case hexadecimal digits."""
    return _SHA256.match(text) is not None


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _object(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ProtocolError(f"{what} must be an object, not {_kind(value)}")
    return value


def _list(fields: Mapping[str, Any], key: str, most: int) -> List[Any]:
    value = fields.get(key)
    if not isinstance(value, list):
        raise ProtocolError(f"{key} must be a list, not {_kind(value)}")
    if len(value) > most:
        raise ProtocolError(f"{key} has {len(value)} entries, the limit is {most}")
    return value


def _checked_text(value: Any, what: str, *, empty: bool = True) -> str:
    if not isinstance(value, str):
        raise ProtocolError(f"{what} must be text, not {_kind(value)}")
    try:
        size = len(value.encode("utf-8"))
    except UnicodeEncodeError as exc:
        raise ProtocolError(f"{what} holds half a surrogate pair") from exc
    if "\0" in value or size > MAX_TEXT_BYTES or (not value and not empty):
        raise ProtocolError(f"{what} is empty, too long, or holds a NUL")
    return value


def _name(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str) or not is_name(value):
        raise ProtocolError(
            f"{key} must be a name: a letter or digit, then up to 199 of A-Z a-z 0-9 . _ + @ -"
        )
    return value


def _int(fields: Mapping[str, Any], key: str, low: int, high: int) -> int:
    value = fields.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ProtocolError(f"{key} must be an integer from {low} to {high}")
    return value


def _bool(fields: Mapping[str, Any], key: str, *, default: bool) -> bool:
    value = fields.get(key, default)
    if not isinstance(value, bool):
        raise ProtocolError(f"{key} must be true or false, not {_kind(value)}")
    return value


def _names(fields: Mapping[str, Any], key: str) -> Tuple[str, ...]:
    values = _list(fields, key, MAX_RUNTIMES)
    if not all(isinstance(value, str) and is_name(value) for value in values):
        raise ProtocolError(f"{key} must hold names")
    return tuple(values)


def _sha_list(
    fields: Mapping[str, Any], key: str, default: Optional[Tuple[str, ...]] = None
) -> Tuple[str, ...]:
    if key not in fields and default is not None:
        return default
    values = _list(fields, key, MAX_BLOBS)
    if not all(isinstance(value, str) and is_sha256(value) for value in values):
        raise ProtocolError(f"{key} must hold SHA-256 digests in lower-case hexadecimal")
    return tuple(values)


def _argv(fields: Mapping[str, Any]) -> Tuple[str, ...]:
    values = _list(fields, "argv", MAX_ARGUMENTS)
    if not values:
        raise ProtocolError("argv is empty")
    first = _checked_text(values[0], "argv[0]", empty=False)
    return (first, *(_checked_text(value, "an argument of argv") for value in values[1:]))


def _env(fields: Mapping[str, Any]) -> Dict[str, str]:
    values = _object(fields.get("env", {}), "env")
    if len(values) > MAX_ARGUMENTS:
        raise ProtocolError(f"env has {len(values)} entries, the limit is {MAX_ARGUMENTS}")
    for name, value in values.items():
        if not _ENV_NAME.match(name):
            raise ProtocolError(f"env: {name[:40]!r} is not a name of an environment variable")
        _checked_text(value, f"env: {name}")
    return dict(values)


def _timeout(fields: Mapping[str, Any]) -> float:
    value = _number(fields, "timeout_s", 0.0, MAX_TIMEOUT_S)
    if value == 0:
        raise ProtocolError(f"timeout_s must be above 0 and at most {MAX_TIMEOUT_S:g}")
    return value


def _number(fields: Mapping[str, Any], key: str, low: float, high: float) -> float:
    value = fields.get(key)
    # an integer can be too large for a float: compare it before converting it
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ProtocolError(f"{key} must be a number, not {_kind(value)}")
    if not low <= value <= high or not math.isfinite(value):
        raise ProtocolError(f"{key} must be from {low:g} to {high:g}")
    return float(value)


def _optional_number(
    fields: Mapping[str, Any], key: str, low: float, high: float
) -> Optional[float]:
    return None if fields.get(key) is None else _number(fields, key, low, high)


def _cpus(fields: Mapping[str, Any]) -> Optional[Tuple[int, ...]]:
    if fields.get("cpus") is None:
        return None
    values = _list(fields, "cpus", MAX_CPUS)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < MAX_CPUS:
            raise ProtocolError(f"cpus must hold CPU numbers from 0 to {MAX_CPUS - 1}")
    if not values or len(set(values)) != len(values):
        raise ProtocolError("cpus is empty or names one twice; leave it out to use them all")
    return tuple(values)
