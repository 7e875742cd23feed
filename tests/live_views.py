"""A fleet at work, for the tests of the live page: nine devices in every state."""

from __future__ import annotations

from orchestrator.analysis import analyse
from orchestrator.measurement import Finding
from orchestrator.report.live import LiveView
from orchestrator.runs.standing import DeviceStanding, FailureKind, SeenFinding
from tests import pages

_STATES = (
    ("running", "resnet50 full_int8, timing, block 4"), ("between trials", ""), ("done", ""),
    ("lost", "the link broke: no route to host; tried again for ten minutes"),
    ("retrying", "the link broke; again in 8 s"), ("paused", "the lease ends at 18:00 UTC"),
    ("pushing", "resnet50.float32.tflite: 31 of 102 MB"), ("waiting", "for other work to end"),
    ("not heard of yet", ""),
)  # fmt: skip


def fleet_at_work() -> LiveView:
    """What the page shows of it."""
    finding = Finding("throttled", "the clock was lowered in 2 of 30 trials", "cool the board")
    devices = []
    for number, ((state, detail), (name, kind)) in enumerate(
        zip(_STATES, pages.DEVICES.items(), strict=True)
    ):
        failure = FailureKind(
            "vgg16", "full_int8", "timing", "killed", "out of memory", "a smaller batch", "", 2
        )
        devices.append(
            DeviceStanding(
                name,
                kind,
                state,
                detail,
                "2026-01-01T00:10:00Z",
                done=20 + number,
                failed=2 * (number == 1),
                expected=118,
                eta_s=None if state in ("done", "lost") else 300.0 + 60 * number,
                temperature_c=55.0 + number if number % 3 else None,
                load=0.5 * number,
                mhz=2400.0,
                throttled="thermal" if number == 1 else "",
                finding=SeenFinding(finding, "resnet50", "float16", "t") if number < 2 else None,
                failures=(failure,) if number == 1 else (),
            )
        )
    table = analyse(pages.run(models=3))
    return LiveView(
        run_id=table.run_id, created="2026-01-01T00:00:00Z", suite="seven-cnns", precision=0.02,
        devices=tuple(devices), table=table, table_trials=200, trials=206,
        last_event="2026-01-01T00:10:00Z",
    )  # fmt: skip
