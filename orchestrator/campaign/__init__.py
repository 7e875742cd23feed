"""Carries out one ``orchestrate run`` from inventory to report: reach, build, push, measure, write
down.

``words`` are the values that the rooms hand each other. ``reaching`` connects to the devices,
``materials`` has the plan and the files it needs, ``conducting`` begins a run, or goes on with one,
and waits for all devices.
"""

from orchestrator.campaign.conducting import begin_without_devices, resume, start, target_of
from orchestrator.campaign.materials import (
    build_options,
    named_materials,
    prepare,
    stored_materials,
)
from orchestrator.campaign.words import Conclusion, Places, Preparation

__all__ = [
    "Conclusion",
    "Places",
    "Preparation",
    "begin_without_devices",
    "build_options",
    "named_materials",
    "prepare",
    "resume",
    "start",
    "stored_materials",
    "target_of",
]
