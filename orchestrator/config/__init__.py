"""What the user writes: which machines (``inventory.yaml``), and what to measure (a suite).

Every mistake is answered with file, line, column and what to write instead.
"""

from __future__ import annotations

from orchestrator.config.accuracy import Accuracy
from orchestrator.config.device import BinarySource, Device
from orchestrator.config.inventory import Inventory, load_inventory
from orchestrator.config.suite import Factors, Protocol, Suite, with_overrides
from orchestrator.config.suite_files import available_suites, load_suite, shipped_suites, suite_path
from orchestrator.config.user_models import UserFile, UserModel
from orchestrator.config.values import Hop, parse_blocks, parse_duration, parse_precision

__all__ = [
    "Accuracy",
    "BinarySource",
    "Device",
    "Factors",
    "Hop",
    "Inventory",
    "Protocol",
    "Suite",
    "UserFile",
    "UserModel",
    "available_suites",
    "load_inventory",
    "load_suite",
    "parse_blocks",
    "parse_duration",
    "parse_precision",
    "shipped_suites",
    "suite_path",
    "with_overrides",
]
