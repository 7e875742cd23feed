"""The end of a device's lease: what still fits before it. By the controller's clock, in UTC."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone

from orchestrator.config import Device
from orchestrator.plan import Plan

#: What is to be left when a device's last trial is expected to end: to bring its result home.
MARGIN_S = 60.0


def left_s(ends: datetime) -> float:
    """Seconds until ``ends``; negative once it has passed."""
    return (ends - datetime.now(timezone.utc)).total_seconds()


def shown(ends: datetime) -> str:
    """Format the time for messages."""
    return f"{ends:%Y-%m-%d %H:%M:%S} UTC"


def shortfalls(plan: Plan, devices: Iterable[Device]) -> tuple[str, ...]:
    """A sentence for each device whose lease ends before its part of ``plan`` can."""
    return tuple(
        f"{device.name}: its lease ends at {shown(device.lease_ends)}, in "
        f"{max(0.0, left_s(device.lease_ends)) / 60:.0f} min; the fewest blocks take "
        f"{plan.fewest_s(plan.device(device.name)) / 60:.0f} min at least. Prolong it and correct "
        f"`lease_ends:`, or measure less"
        for device in devices
        if device.lease_ends is not None
        and plan.fewest_s(plan.device(device.name)) + MARGIN_S > left_s(device.lease_ends)
    )
