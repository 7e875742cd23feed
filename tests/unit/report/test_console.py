"""Which devices a terminal has lines for, when there are more devices than lines."""

from __future__ import annotations

from orchestrator.console import left_out, shown_of
from orchestrator.fleet.progress import DeviceProgress, State


def fleet() -> list[DeviceProgress]:
    states = [State.RUNNING] * 190 + [State.DONE] * 5 + [State.LOST, State.RETRYING] * 2
    return [DeviceProgress(f"d{number}", state) for number, state in enumerate(states)]


def test_every_device_has_a_line_where_there_are_enough() -> None:
    devices = fleet()
    assert shown_of(devices, 200) == devices
    assert left_out(devices, devices) == ""


def test_those_in_trouble_come_first_and_the_rest_is_counted() -> None:
    devices = fleet()
    shown = shown_of(devices, 10)
    states = [each.state for each in shown]
    assert states == [State.LOST] * 2 + [State.RETRYING] * 2 + [State.RUNNING] * 6
    assert left_out(devices, shown) == "and 189 more: 184 running, 5 done"


def test_a_terminal_of_no_height_shows_one() -> None:
    assert len(shown_of(fleet(), -3)) == 1
