"""Answers the requests of one connection; events of the sessions it follows go out meanwhile."""

from __future__ import annotations

import os
import socket
import threading
import traceback
from dataclasses import dataclass
from typing import Any, Callable, Dict, Optional, Set, Tuple, Type

from orchestrate_agent import home, protocol
from orchestrate_agent.daemon.spool import EventReader, SpoolError
from orchestrate_agent.daemon.trial_queue import Session, TrialQueue
from orchestrate_agent.errors import AgentError
from orchestrate_agent.node import Node
from orchestrate_agent.protocol import (
    Cancel,
    Events,
    Have,
    Hello,
    Json,
    LineBuffer,
    Probe,
    ProtocolError,
    Release,
    Request,
    Shutdown,
    Status,
    Submit,
)

RECEIVE_BYTES = 64 * 1024
#: How long a daemon that ends waits for its turn to say why.
_FAREWELL_S = 0.5


@dataclass(frozen=True)
class Context:
    """What every connection shares. ``stop`` ends the daemon."""

    queue: TrialQueue
    node: Node
    agent_hash: str
    started: str
    stop: Callable[[], None]


class Connection:
    """One controller. :meth:`serve` runs in a thread of its own until either side closes."""

    def __init__(self, sock: socket.socket, context: Context) -> None:
        self._socket = sock
        self._context = context
        self._sending = threading.Lock()
        self._following: Set[Tuple[str, str]] = set()
        self._closed = False
        self._stop_after_reply = False

    def serve(self) -> None:
        """Say that we are here, then answer until the end."""
        try:
            self._send(protocol.READY.encode("ascii") + b"\n")
            self._serve_lines()
        except OSError:
            pass  # the other side is gone: nothing of what it asked for is lost
        except ProtocolError as exc:
            self._send_quietly(protocol.encode(protocol.error_reply(None, exc)))
        finally:
            self.close()

    def say_why(self, reason: str) -> None:
        """Tell the other side why the daemon ends, if it listens. From any thread; never waits."""
        farewell = protocol.error_reply(None, ProtocolError(reason, kind="stopping"))
        if not self._sending.acquire(timeout=_FAREWELL_S):
            return  # somebody sends, and the other side does not read
        try:
            self._socket.send(protocol.encode(farewell), socket.MSG_DONTWAIT)
        except OSError:
            return  # it is gone, or does not read
        finally:
            self._sending.release()

    def close(self) -> None:
        """End it from any thread; followers notice."""
        with self._context.queue.changed:
            self._closed = True
            self._context.queue.changed.notify_all()
        try:
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes whoever sends or receives
        except OSError:
            return  # closed by the other side already

    def _serve_lines(self) -> None:
        buffer = LineBuffer()
        while not self._closed:
            data = self._socket.recv(RECEIVE_BYTES)
            if not data:
                return
            for line in buffer.feed(data):
                self._answer(line)

    def _answer(self, line: bytes) -> None:
        number: Optional[int] = None
        try:
            message = protocol.decode(line)
            number = protocol.request_id(message)
            request = protocol.parse_request(message)
            answer = protocol.encode(protocol.reply(request.id, self._handle(request)))
        except ProtocolError as exc:
            answer = protocol.encode(protocol.error_reply(number, exc))
        except SpoolError as exc:
            error = ProtocolError(str(exc), kind="spool")
            answer = protocol.encode(protocol.error_reply(number, error))
        except AgentError as exc:
            error = ProtocolError(str(exc), kind="lost_node")
            answer = protocol.encode(protocol.error_reply(number, error))
        except Exception as exc:  # noqa: BLE001 (a daemon outlives a mistake in one answer)
            home.log(f"a request failed: {traceback.format_exc()}")
            error = ProtocolError(f"{exc!r}; see agents logs", kind="internal")
            answer = protocol.encode(protocol.error_reply(number, error))
        else:
            if isinstance(request.body, Events):
                self._follow(request.body, answer)
                return
        self._send(answer)
        if self._stop_after_reply:
            self._context.stop()

    def _handle(self, request: Request) -> Json:
        return _HANDLERS[type(request.body)](self, request.body)

    # --- one method an operation --------------------------------------------------------------

    def _hello(self, body: Hello) -> Json:
        if body.protocol != protocol.PROTOCOL:
            raise ProtocolError(
                f"this agent speaks protocol {protocol.PROTOCOL}, not {body.protocol}; "
                f"stop it with `orchestrate agents stop` and connect again",
                kind="protocol",
                protocol=protocol.PROTOCOL,
                agent_hash=self._context.agent_hash,
            )
        return {
            "protocol": protocol.PROTOCOL,
            "agent_hash": self._context.agent_hash,
            "pid": os.getpid(),
            "started": self._context.started,
            "facts": self._context.node.facts(),
        }

    def _have(self, body: Have) -> Json:
        there = self._context.node.blobs.present(body.blobs)
        return {"present": [sha for sha in body.blobs if sha in there]}

    def _probe(self, body: Probe) -> Json:
        return self._context.node.probe(body.python, body.runtimes)

    def _submit(self, body: Submit) -> Json:
        if self._context.queue.stopping:
            raise ProtocolError("the agent is stopping; connect again", kind="stopping")
        self._refuse_missing(body)
        accepted, known = self._context.queue.submit(body.run_id, body.device, body.trials)
        return {"accepted": accepted, "known": known}

    def _refuse_missing(self, body: Submit) -> None:
        wanted = sorted({sha for trial in body.trials for sha in trial.blobs})
        there = self._context.node.blobs.present(wanted)
        missing = [sha for sha in wanted if sha not in there]
        if missing:
            raise ProtocolError(
                f"{len(missing)} blobs are not on this node, {missing[0]} among them; push them",
                kind="missing_blobs",
                missing=missing,
            )

    def _events(self, body: Events) -> Json:
        key = (body.run_id, body.device)
        if key in self._following:
            raise ProtocolError(f"this connection follows {body.run_id}/{body.device} already")
        last_seq = self._context.queue.session(*key).spool.last_seq
        if body.from_seq > last_seq + 1:
            raise ProtocolError(
                f"{body.run_id}/{body.device} has {last_seq} events here, so it cannot go on "
                f"from {body.from_seq}; was the session released, or the agent's home removed?",
                kind="unknown_seq",
                last_seq=last_seq,
            )
        return {"last_seq": last_seq}

    def _cancel(self, body: Cancel) -> Json:
        cancelled = self._context.queue.cancel(body.run_id, body.device, running=body.running)
        return {"cancelled": cancelled}

    def _release(self, body: Release) -> Json:
        self._context.queue.release(body.run_id, body.device)
        return {}

    def _status(self, _: Status) -> Json:
        status = self._context.queue.status()
        waits_for_lock = status["waits_for"] == protocol.LOCK
        holder = self._context.node.lock_holder() if waits_for_lock else None
        return {**status, "lock_holder": holder}

    def _shutdown(self, body: Shutdown) -> Json:
        busy = self._context.queue.busy()
        if busy and not body.force:
            raise ProtocolError(
                f"{busy} trials wait or run; wait until they are done, or `orchestrate agents stop "
                f"--force` (they run again when the agent is back)",
                kind="busy",
            )
        self._stop_after_reply = True
        return {}

    # --- following a session ------------------------------------------------------------------

    def _follow(self, body: Events, answer: bytes) -> None:
        session = self._context.queue.session(body.run_id, body.device)
        reader = session.spool.open_events()
        self._following.add(session.key)
        self._send(answer)  # before the first event
        follower = threading.Thread(
            target=self._send_events, args=(session, reader, body.from_seq), daemon=True
        )
        follower.start()

    def _send_events(self, session: Session, reader: EventReader, from_seq: int) -> None:
        try:
            while self._wait_for_events(session, reader.at):
                for line in reader.lines(session.spool.events_size):
                    if reader.seq >= from_seq:
                        self._send(b'{"event":' + line + b"}\n")
        except OSError:
            self.close()  # the other side is gone; it asks again from where it was
        except BaseException:
            home.log(f"events are no longer sent: {traceback.format_exc()}")
            self.close()  # rather than have the other side wait for what will not come
            raise
        finally:
            self._following.discard(session.key)
            reader.close()

    def _wait_for_events(self, session: Session, at: Callable[[int], bool]) -> bool:
        changed = self._context.queue.changed
        with changed:
            changed.wait_for(
                lambda: self._closed or session.released or not at(session.spool.events_size)
            )
            return not (self._closed or session.released)

    def _send(self, line: bytes) -> None:
        with self._sending:
            self._socket.sendall(line)

    def _send_quietly(self, line: bytes) -> None:
        try:
            self._send(line)
        except OSError:
            return  # it closed before it heard what was wrong with its line


_HANDLERS: Dict[Type[Any], Callable[[Connection, Any], Json]] = {
    Hello: Connection._hello,
    Have: Connection._have,
    Probe: Connection._probe,
    Submit: Connection._submit,
    Events: Connection._events,
    Cancel: Connection._cancel,
    Release: Connection._release,
    Status: Connection._status,
    Shutdown: Connection._shutdown,
}
