"""A device that says nothing: when it is asked, and what is made of its answer."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrate_agent.protocol import Event
from orchestrator.fleet.vigil import BEGIN_S, ENDING_S, SilenceError, Vigil, named_holder

TIMEOUT_S, ANSWER_S = 100.0, 15.0


def vigil(*running: str) -> Vigil:
    return Vigil("run", "here", TIMEOUT_S, ANSWER_S, 0.0, dict.fromkeys(running, 0.0))


def event(kind: str, trial_id: str = "t1") -> Event:
    return Event(1, "", kind, trial_id, {})


def status(state: str = "waiting", run_id: str = "run", **more: Any) -> dict[str, Any]:
    running = {"run_id": run_id, "device": "here", "trial_id": "t1", "state": state}
    return {"running": running, "queued": 1, **more}


def test_what_has_not_begun_is_asked_after_soon_and_then_now_and_again() -> None:
    watch = vigil()
    assert not watch.is_due(BEGIN_S - 0.1)
    assert watch.is_due(BEGIN_S)
    watch.judge(status(), BEGIN_S)
    assert not watch.is_due(2 * BEGIN_S - 0.1)


def test_while_a_trial_runs_nothing_is_asked_before_it_should_have_ended() -> None:
    watch = vigil()
    watch.heard(event("started"), 3.0)
    assert not watch.is_due(3 + TIMEOUT_S + ANSWER_S - 0.1)
    assert watch.is_due(3 + TIMEOUT_S + ANSWER_S)
    watch.heard(event("finished"), 60.0)
    assert not watch.is_due(60 + BEGIN_S - 0.1) and watch.is_due(60 + BEGIN_S)


def test_an_agent_that_does_not_end_its_trial_hangs_after_a_while() -> None:
    watch = vigil("t1")
    last_s = TIMEOUT_S + 2 * ANSWER_S + ENDING_S
    assert watch.judge(status("running"), last_s - 0.1) is None
    assert not watch.is_due(last_s)  # it was asked just now
    with pytest.raises(SilenceError, match="has not ended t1 36 s after its timeout") as info:
        watch.judge(status("running"), last_s)
    assert info.value.hangs


def test_an_end_that_is_never_told_is_not_waited_for() -> None:
    watch = vigil("t1")
    with pytest.raises(SilenceError, match="does not run any more") as info:
        watch.judge({"running": None, "queued": 0}, TIMEOUT_S + 3 * ANSWER_S)
    assert not info.value.hangs


@pytest.mark.parametrize(
    ("answer", "waits_for"),
    [
        (
            status(waits_for="lock", lock_holder={"pid": 7, "name": "perf", "user": "eve"}),
            "the lock of the machine, which perf (pid 7, user eve) holds",
        ),
        (status(waits_for="lock", lock_holder=None), "whom the kernel does not tell holds"),
        (status(waits_for="preparation"), "the machine to be quiet (gate, clocks)"),
        (status("running", run_id="other"), "its agent runs t1 of run other"),
        (status(run_id="other", waits_for="lock"), "the lock of the machine"),
        (status(), None),  # an agent of before it told
        (status("running"), None),
        ({"running": None, "queued": 3}, None),
        ({"running": "nonsense", "queued": "x"}, None),
    ],
)
def test_what_a_trial_waits_for(answer: dict[str, Any], waits_for: str | None) -> None:
    told = vigil().judge(answer, BEGIN_S)
    assert told is None if waits_for is None else told is not None and waits_for in told


def test_an_agent_that_forgot_its_trials_is_given_them_again() -> None:
    watch = vigil()
    nothing = {"running": None, "queued": 0}
    assert watch.judge(nothing, 5.0) is None  # its event may be on the way
    watch.heard(event("queued"), 6.0)
    assert watch.judge(nothing, 11.0) is None
    with pytest.raises(SilenceError, match="no trial to run"):
        watch.judge(nothing, 16.0)


def test_a_holder_that_is_gone_is_not_called_none() -> None:
    said = named_holder({"pid": 7, "name": None, "user": None})
    assert said == "something that pid 7 has started, itself gone,"
