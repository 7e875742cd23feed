"""Speaks the agent's protocol over a transport: requests on one channel, events on another.

Two channels, so that neither side ever has to sort replies from events, and a long stream of
events cannot hold up a request. Both are relays into the same daemon on the device.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrate_agent import protocol
from orchestrate_agent.errors import EXIT_PASSING
from orchestrate_agent.protocol import Event, ProtocolError, Reply
from orchestrator.errors import AgentError, DeviceError, TransientDeviceError
from orchestrator.fleet.transport import Channel, ChannelTimeout, Transport, ended_by_signal

#: A daemon answers from memory; what takes longer than this is a dead link.
REPLY_TIMEOUT_S = 60.0
#: What an interpreter of the user's own making prints before our relay starts (a login shell's
#: words are gone by then): more than this is not a banner.
MAX_NOISE_LINES = 1000
_READY = protocol.READY.encode()
#: Refusals that another try may not meet: the daemon is on its way out, its disk is full, the
#: device that it speaks for is unplugged, or files that were there are gone, which reaching it
#: again brings back.
_PASSING = frozenset(("stopping", "spool", "lost_node", "missing_blobs"))


class AgentRefusalError(AgentError):
    """The agent answered a request with an error: ``error`` has the protocol's word for it."""

    def __init__(self, message: str, *, device: str, error: ProtocolError) -> None:
        self.error = error
        super().__init__(message, device=device)


def attach(transport: Transport, argv: Sequence[str]) -> Channel:
    """Open a relay to the device's daemon and skip whatever comes before its first line.

    Raises AgentError where the relay does not come up, with what it said; TransientDeviceError
    where what is in its way may pass.
    """
    channel = transport.open(argv)
    kind: type[DeviceError]
    deadline = time.monotonic() + REPLY_TIMEOUT_S  # for all of it: noise may come line by line
    try:
        for _ in range(MAX_NOISE_LINES):
            line = channel.readline(max(0.0, deadline - time.monotonic()))
            if line.endswith(_READY):  # what came before it may have had no newline
                return channel
        kind, reason = AgentError, f"printed {MAX_NOISE_LINES} lines and never became ready"
    except ChannelTimeout:
        kind, reason = TransientDeviceError, f"was not ready after {REPLY_TIMEOUT_S:g} s"
    except TransientDeviceError:
        kind, reason = _why_it_ended(channel.exit_code()), "ended at once"
        if not channel.stderr_tail().strip():
            channel.close()
            raise
    said = channel.stderr_tail().strip()
    channel.close()
    raise kind(f"the agent {reason}; it said: {said or 'nothing'}", device=transport.device)


def _why_it_ended(exit_code: int | None) -> type[DeviceError]:
    if exit_code is None or exit_code == EXIT_PASSING or ended_by_signal(exit_code):
        return TransientDeviceError
    return AgentError


class AgentLink:
    """Sends requests to one device's agent and reads the events of one session. One thread at a
    time."""

    def __init__(self, transport: Transport, argv: Sequence[str]) -> None:
        """Open the request channel; ``argv`` starts the relay. Raises DeviceError."""
        self.device = transport.device
        self._transport = transport
        self._argv = tuple(argv)
        self._ids = itertools.count(1)
        self._requests = attach(transport, argv)
        self._events: Channel | None = None

    def request(self, op: str, **params: Any) -> Mapping[str, Any]:
        """Send one request and wait for the result in its reply.

        Raises AgentRefusalError where the agent says no, TransientDeviceError where it says
        nothing.
        """
        return self._exchange(self._requests, op, params)

    def status(self, answer_s: float) -> Mapping[str, Any]:
        """Ask what the agent does. Raises as :meth:`request` does, after ``answer_s`` seconds of
        silence."""
        return self._exchange(self._requests, "status", {}, answer_s)

    def follow(self, run_id: str, device: str, from_seq: int) -> None:
        """Ask for the session's events from ``from_seq`` on; read them with :meth:`event`.

        Raises AgentRefusalError of kind ``unknown_seq`` where the agent has not come so far.
        """
        self._events = attach(self._transport, self._argv)
        params = {"run_id": run_id, "device": device, "from_seq": from_seq}
        self._exchange(self._events, "events", params)

    def event(self, timeout_s: float) -> Event | None:
        """Return the next event of the session followed, or None when none came in ``timeout_s``.

        Raises TransientDeviceError where the agent says instead why it ends.
        """
        if self._events is None:
            raise RuntimeError("follow() comes before event()")
        try:
            answer = self._read(self._events, timeout_s)
        except ChannelTimeout:
            return None
        if isinstance(answer, Event):
            return answer
        if answer.id is None and answer.error is not None and answer.error.kind == "stopping":
            raise TransientDeviceError(str(answer.error)[:2000], device=self.device)
        raise AgentError("sent a reply among the events", device=self.device)

    def close(self) -> None:
        """Close both channels; the daemon goes on."""
        self._requests.close()
        if self._events is not None:
            self._events.close()

    def _exchange(
        self,
        channel: Channel,
        op: str,
        params: Mapping[str, Any],
        answer_s: float = REPLY_TIMEOUT_S,
    ) -> Mapping[str, Any]:
        number = next(self._ids)
        channel.send(protocol.encode(protocol.request(number, op, **params)))
        try:
            answer = self._read(channel, answer_s)
        except ChannelTimeout as exc:
            raise TransientDeviceError(
                f"the agent did not answer `{op}` in {answer_s:g} s; was it stopped, or does it "
                f"hang?",
                device=self.device,
            ) from exc
        if isinstance(answer, Event):
            raise AgentError(f"answered `{op}` with an event", device=self.device)
        return result_of(answer, number, op, device=self.device)

    def _read(self, channel: Channel, timeout_s: float) -> Reply | Event:
        line = channel.readline(timeout_s)
        try:
            return protocol.parse_answer(protocol.decode(line))
        except ProtocolError as exc:
            raise AgentError(
                f"sent a line we do not understand: {exc}", device=self.device
            ) from exc


def ask(
    transport: Transport, argv: Sequence[str], op: str, **params: Any
) -> Mapping[str, Any] | None:
    """Send one request to a daemon that runs already; None where none runs. Raises DeviceError.

    ``argv`` is the agent's ``ask`` command.
    """
    line = protocol.encode(protocol.request(1, op, **params))
    done = transport.run(argv, stdin=line, timeout_s=REPLY_TIMEOUT_S)
    said = done.stdout.splitlines()[-1:] if done.exit_code == 0 else []
    if said == [b"null"]:
        return None
    try:
        answer = protocol.parse_answer(protocol.decode(said[0] if said else b""))
    except ProtocolError as exc:
        stderr = done.stderr.decode(errors="replace").strip()[-800:]
        raise AgentError(
            f"the agent gave no answer ({stderr or exc})", device=transport.device
        ) from exc
    if isinstance(answer, Event):
        raise AgentError(f"answered `{op}` with an event", device=transport.device)
    return result_of(answer, 1, op, device=transport.device)


def result_of(reply: Reply, number: int, op: str, *, device: str) -> Mapping[str, Any]:
    """Return the result of request ``number``.

    Raises AgentRefusalError where the agent says no, TransientDeviceError where it says not now.
    """
    if reply.error is not None:
        text = f"the agent refuses `{op}`: {str(reply.error)[:2000]}"
        if reply.error.kind in _PASSING:
            raise TransientDeviceError(text, device=device)
        raise AgentRefusalError(text, device=device, error=reply.error)
    if reply.id != number:
        raise AgentError(f"answered `{op}` out of turn", device=device)
    return reply.result
