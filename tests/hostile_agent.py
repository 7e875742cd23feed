"""An agent that lies: a program that speaks the wire, for `python:` of a device of the inventory.

Called as a device's Python would be: with the bootstrap, and with the agent's commands. ``MODES``
are the lies; all else it says is what an honest agent would say.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

#: The lie → what the controller must say of it.
MODES = {
    "long_line": "sent a line longer than 16777216 bytes",
    "noise": "printed 1000 lines and never became ready",
    "other_protocol": "speaks protocol 99, not 1",
    "other_hash": "an agent of another version keeps coming back",
    "text_for_facts": "a greeting that cannot be: facts.cpu is not an object",
    "blobs_of_objects": "not push",
    "never_asked": "an event of a trial that is not under way: zz.timing",
    "path": "trial_id must be a name",
    "nan": "NaN is not JSON",
    "infinity": "1e999 is beyond any number",
    "huge_number": "wall_s is not a number",
    "text_for_health": "health.cpu_s.user is not a number",
    "deep": "a line that is not JSON|nested deeper than 64 levels",
    "wide": "more than 200000 lists and objects",
    "endless": "sent more than 1000 events of",
    "bulky": r"sent an event of 5000\d* bytes; the limit is 262144",
    "own_event": "'planned' is not an event of a trial",
    "reply_among_events": "sent a reply among the events",
    "skipped": "sent event 5 where 1 comes next",
    "not_json": "a line that is not JSON",
    "spool_of_text": "not how much of it",
}
#: What a terminal or a page must never see as it is; ``HARMLESS`` is what may be left of it.
EVIL = "\x1b]0;owned\x07\x1b[31m<script>alert('owned')</script>\n=1+1 $(touch owned) ../../owned"


def main(mode: str, state: Path) -> int:
    """Answer as the command line asks for."""
    arguments = sys.argv[1:]
    if "-c" in arguments:
        print("present")
    elif "put" in arguments:
        while sys.stdin.buffer.read(1 << 20):
            pass
        print("stored")
    elif "attach" in arguments:
        return Liar(mode, state, Path(arguments[1]).stem).serve()
    elif "survey" in arguments:
        who = {"pid": 1, "user": EVIL, "name": EVIL, "cpus": 1.0}
        lock = {"held": True, "holder": who}
        odd = {"free_bytes": 1e17, EVIL: 1}
        print(json.dumps({"disk": odd, "lock": lock, "busy_share": 1.0, "busiest": [who] * 9}))
    elif "ask" in arguments:
        print("null")
    return 0


class Liar:
    """One relay; the trials submitted on another are handed over in a file."""

    def __init__(self, mode: str, state: Path, agent_hash: str) -> None:
        self._mode = mode
        self._state = state
        self._hash = agent_hash

    def serve(self) -> int:
        if self._mode == "noise":
            while True:
                self._write(b"welcome\n" * 1000)
        self._write(b"orchestrate-agent-ready 1\n")
        for line in sys.stdin.buffer:
            request = json.loads(line)
            if request["op"] == "events" and self._mode == "spool_of_text":
                error = {"kind": "unknown_seq", "message": "forgotten", "last_seq": "../.."}
                self._say({"id": request["id"], "ok": False, "error": error})
                continue
            self._say({"id": request["id"], "ok": True, "result": self._result(request)})
            if request["op"] == "events":
                self._tell_events()
        return 0

    def _result(self, request: dict[str, Any]) -> dict[str, Any]:
        op = request["op"]
        if op == "hello":
            lie = self._mode
            return {
                "protocol": 99 if lie == "other_protocol" else 1,
                "agent_hash": "0" * 64 if lie == "other_hash" else self._hash,
                "pid": 1,
                "started": EVIL,
                "facts": {
                    "cpu": EVIL if lie == "text_for_facts" else {"model_name": EVIL},
                    "container": EVIL,
                    EVIL: EVIL,
                },
            }
        if op == "have":
            return {"present": [{}] if self._mode == "blobs_of_objects" else request["blobs"]}
        if op == "probe":
            return {"runtimes": {"ai-edge-litert": EVIL}}
        if op == "submit":
            names = [trial["trial_id"] for trial in request["trials"]]
            fresh = self._state.with_suffix(".new")
            fresh.write_text(json.dumps(names))
            fresh.replace(self._state)
        return {"last_seq": 0, "cancelled": [], "accepted": [], "known": []}

    def _tell_events(self) -> None:
        done: set[str] = set()
        seq = 0
        while True:
            names = json.loads(self._state.read_text()) if self._state.exists() else []
            for name in names:
                if name not in done:
                    done.add(name)
                    seq += 1
                    self._lie(name, seq)
            time.sleep(0.05)

    def _lie(self, trial: str, seq: int) -> None:
        mode = self._mode
        line = finished(seq, trial)
        if mode == "long_line":
            while True:
                self._write(b"x" * 1_000_000)
        if mode == "endless":
            while True:
                self._say({"event": {**event(seq, "started", trial), "junk": "x" * 1000}})
                seq += 1
        changed = {
            "never_asked": {**line, "trial_id": "zz.timing"},
            "path": {**line, "trial_id": "../../../../owned"},
            "huge_number": {**line, "wall_s": 10**400},
            "text_for_health": {
                **line,
                "health_before": {"cpu_s": {"user": 1.0}},
                "health": {"cpu_s": {"user": "1; rm -rf /"}},
            },
            "bulky": {**event(seq, "started", trial), "junk": "x" * 5_000_000},
            "own_event": {**line, "event": "planned"},
            "skipped": {**line, "seq": 5},
        }.get(mode, line)
        raw = json.dumps({"event": changed}).encode()
        odd = {"nan": b"NaN", "infinity": b"1e999", "deep": b"[" * 99_999 + b"]" * 99_999}
        odd["wide"] = b"[" + b"[]," * 5_000_000 + b"[]]"
        if mode in odd:
            raw = raw.replace(b'"wall_s": 0.5', b'"wall_s": ' + odd[mode])
        if mode == "not_json":
            raw = b"\xff\xfe{" + EVIL.replace("\n", " ").encode()
        if mode == "reply_among_events":
            raw = b'{"id": 1, "ok": true, "result": {}}'
        self._write(raw + b"\n")

    def _say(self, message: dict[str, Any]) -> None:
        self._write(json.dumps(message).encode() + b"\n")

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]


def event(seq: int, kind: str, trial: str) -> dict[str, Any]:
    return {"seq": seq, "time": "2026-01-01T00:00:00.000+00:00", "event": kind, "trial_id": trial}


def finished(seq: int, trial: str) -> dict[str, Any]:
    return {
        **event(seq, "finished", trial),
        **{"attempt": 1, "exit_code": 1, "signal": None, "timed_out": False, "oom_killed": None},
        **{"wall_s": 0.5, "stdout": EVIL, "stderr": EVIL, "stdout_bytes": 9, "stderr_bytes": 9},
        **{"machine_lock": EVIL, "conditions": {"reasons": [EVIL]}, "reason": None},
    }


def program(folder: Path, mode: str) -> Path:
    """The file to name as a device's ``python:``."""
    path = folder / f"python-{mode.replace('_', '-')}"
    here = Path(__file__).resolve().parent
    path.write_text(
        f"#!{sys.executable} -I\nimport sys\nfrom pathlib import Path\n"
        f"sys.path.insert(0, {str(here)!r})\nimport hostile_agent\n"
        f"sys.exit(hostile_agent.main({mode!r}, Path({str(path)!r} + '.trials')))\n"
    )
    path.chmod(0o755)
    return path
