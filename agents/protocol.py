"""What travels between controller and agent: one JSON object a line. Pure, no I/O.

The controller opens ``python3 -I <agent>.pyz attach`` over whatever carries stdin and stdout.
Whatever a login shell prints before the line ``READY`` is noise and is skipped. After it:

* controller → agent: a request ``{"id": 7, "op": "submit", ...}``
* agent → controller: a reply ``{"id": 7, "ok": true, "result": {...}}`` or
  ``{"id": 7, "ok": false, "error": {"kind": "bad_request", "message": "..."}}``
* agent → controller, after the request ``events``: ``{"event": {...}}``, one line each, in the
  order of ``seq``, first those in the spool, then each new one as it is written.

Operations
----------
``hello``    {protocol}                          → {protocol, agent_hash, pid, started, facts}
``have``     {blobs: [sha256]}                   → {present: [sha256]}
``probe``    {python}                            → {executable, version, runtimes: {name: version}}
``submit``   {run_id, device, trials: [TrialRequest]} → {accepted: [id], known: [id]}
``events``   {run_id, device, from_seq}          → {last_seq}, then events from ``from_seq`` on
``cancel``   {run_id, device, running: bool}     → {cancelled: [id]}; queued trials always, the
                                                   running one only if ``running``
``release``  {run_id, device}                    → {}; the controller holds every event, forget them
``status``   {}                                  → {running, queued, sessions, idle_s}
``shutdown`` {force: bool}                       → {}; refused while trials wait, unless forced

A *session* is one (run_id, device) pair: it has a spool and a ``seq`` of its own, so that several
runs, and several inventory names for one machine, share a daemon without seeing each other.

Events, each with ``seq`` (per session, from 1), ``time`` (UTC, ISO 8601), ``event``, ``trial_id``:

``queued``    written when a trial is accepted
``started``   attempt, health
``finished``  attempt, exit_code, signal, timed_out, oom_killed, wall_s, stdout, stderr,
              stdout_bytes, stderr_bytes (before capping), health_before, health
``interrupted`` attempt, reason: the agent or the node died under the trial; it runs again
``cancelled`` reason
"""

import json
import re

PROTOCOL = 1
READY = "orchestrate-agent-ready 1"

#: Longest line either side accepts, in bytes. A finished trial carries at most 2 x CAPTURE_BYTES.
MAX_LINE_BYTES = 16 * 1024 * 1024
#: How much of each of stdout and stderr is kept: half from the head, half from the tail.
CAPTURE_BYTES = 1024 * 1024
#: A trial the agent (or node) died under this many times is finished as it is, not tried again.
MAX_ATTEMPTS = 3

_SHA256 = re.compile(r"\A[0-9a-f]{64}\Z")
#: Run ids, device names and trial ids become folder and file names on the node.
_NAME = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9._+@-]{0,199}\Z")

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


class ProtocolError(Exception):
    """A line that is not what this protocol says. ``kind`` is a stable short word."""

    def __init__(self, message, kind="bad_request"):
        # type: (str, str) -> None
        super().__init__(message)
        self.kind = kind
