"""Speaks the agent's protocol over a transport: requests on one channel, events on another.

Two channels, so that neither side ever has to sort replies from events, and a long stream of
events cannot hold up a request. Both are relays into the same daemon on the device.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from agents import protocol
from orchestrator.errors import AgentError, TransientDeviceError
from orchestrator.fleet.transport import Channel, ChannelTimeout, Transport

#: A daemon answers from memory; what takes longer than this is a dead link.
REPLY_TIMEOUT_S = 60.0
#: What a login shell prints before our relay starts: more than this is not a banner.
MAX_NOISE_LINES = 1000


class AgentRefusalError(AgentError):
    """The agent answered a request with an error. ``kind`` is the protocol's word for it."""

    def __init__(self, message: str, *, device: str, kind: str) -> None:
        self.kind = kind
        super().__init__(message, device=device)


def attach(transport: Transport, argv: Sequence[str]) -> Channel:
    """Open a relay to the device's daemon and skip whatever comes before its first line.

    Raises AgentError where the relay does not come up, with what it said.
    """
    channel = transport.open(argv)
    try:
        for _ in range(MAX_NOISE_LINES):
            if channel.readline(REPLY_TIMEOUT_S) == protocol.READY.encode():
                return channel
        reason = f"printed {MAX_NOISE_LINES} lines and never became ready"
    except ChannelTimeout:
        reason = f"was not ready after {REPLY_TIMEOUT_S:g} s"
    except TransientDeviceError:
        if not channel.stderr_tail().strip():
            channel.close()
            raise
        reason = "ended at once"
    said = channel.stderr_tail().strip()
    channel.close()
    raise AgentError(f"the agent {reason}; it said: {said or 'nothing'}", device=transport.device)


class AgentLink:
    """Requests to one device's agent, and the events of one session. One thread at a time."""

    def __init__(self, transport: Transport, argv: Sequence[str]) -> None:
        """Open the request channel; ``argv`` starts the relay. Raises DeviceError."""
        self.device = transport.device
        self._transport = transport
        self._argv = tuple(argv)
        self._ids = itertools.count(1)
        self._requests = attach(transport, argv)
        self._events: Channel | None = None

    def request(self, op: str, **params: Any) -> dict[str, Any]:
        """Send one request and wait for its reply.

        Raises AgentRefusalError where the agent says no, TransientDeviceError where it says
        nothing.
        """
        return self._exchange(self._requests, op, params)

    def follow(self, run_id: str, device: str, from_seq: int) -> int:
        """Ask for the session's events from ``from_seq`` on; read them with :meth:`event`.

        Returns the highest ``seq`` the agent has written for this session, 0 for a new one.
        """
        self._events = attach(self._transport, self._argv)
        params = {"run_id": run_id, "device": device, "from_seq": from_seq}
        last_seq = self._exchange(self._events, "events", params).get("last_seq")
        if not isinstance(last_seq, int):
            raise AgentError(f"reports last_seq {last_seq!r:.100}", device=self.device)
        return last_seq

    def event(self, timeout_s: float) -> Mapping[str, Any] | None:
        """The next event of the session followed, or None when none came in ``timeout_s``."""
        if self._events is None:
            raise RuntimeError("follow() comes before event()")
        try:
            message = self._read(self._events, timeout_s)
        except ChannelTimeout:
            return None
        event = message.get("event")
        if not isinstance(event, dict):
            raise AgentError(f"sent {_short(message)} among the events", device=self.device)
        return event

    def close(self) -> None:
        """Close both channels; the daemon goes on."""
        self._requests.close()
        if self._events is not None:
            self._events.close()

    def _exchange(self, channel: Channel, op: str, params: Mapping[str, Any]) -> dict[str, Any]:
        number = next(self._ids)
        channel.send(json.dumps({"id": number, "op": op, **params}).encode() + b"\n")
        try:
            reply = self._read(channel, REPLY_TIMEOUT_S)
        except ChannelTimeout as exc:
            raise TransientDeviceError(
                f"the agent did not answer `{op}` in {REPLY_TIMEOUT_S:g} s", device=self.device
            ) from exc
        if reply.get("id") != number:
            raise AgentError(f"answered `{op}` with {_short(reply)}", device=self.device)
        if reply.get("ok") is not True:
            raise self._refusal(op, reply)
        result = reply.get("result")
        if not isinstance(result, dict):
            raise AgentError(f"answered `{op}` with {_short(reply)}", device=self.device)
        return result

    def _refusal(self, op: str, reply: Mapping[str, Any]) -> AgentRefusalError:
        error = reply.get("error")
        error = error if isinstance(error, dict) else {}
        message = str(error.get("message", "no reason given"))[:2000]
        kind = str(error.get("kind", "unknown"))
        return AgentRefusalError(
            f"the agent refuses `{op}`: {message}", device=self.device, kind=kind
        )

    def _read(self, channel: Channel, timeout_s: float) -> dict[str, Any]:
        line = channel.readline(timeout_s)
        try:
            message = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as exc:
            raise AgentError(
                f"sent a line that is not JSON: {line[:200]!r}", device=self.device
            ) from exc
        if not isinstance(message, dict):
            raise AgentError(f"sent {_short(message)}, not an object", device=self.device)
        return message


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _short(value: object) -> str:
    return repr(value)[:200]
