"""What a test changes of its own process is taken back: others run in it later, in any order."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator

import hypothesis
import pytest

from orchestrate_agent.process.launch import PR_SET_CHILD_SUBREAPER

# how long an example takes says how busy the machine is, and nothing of what is tested
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def state_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What inventories of tests start is not remembered for whoever runs the tests."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


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
