"""What a test changes of its own process is taken back: others run in it later, in any order."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator

import pytest

from orchestrate_agent.process.launch import PR_SET_CHILD_SUBREAPER


@pytest.fixture(autouse=True)
def process_as_it_was() -> Iterator[None]:
    """An agent's home sets the umask; launching a trial makes a subreaper of its process, which
    would then be handed the daemons that later tests leave to themselves."""
    umask = os.umask(0o022)
    os.umask(umask)
    yield
    os.umask(umask)
    none = ctypes.c_ulong(0)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, none, none, none, none)
