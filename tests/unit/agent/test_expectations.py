"""Whether a node is the one that is meant, and has what is asked of it, by what it tells."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrate_agent.carried import standalone
from orchestrate_agent.children import probe
from orchestrate_agent.children.probe import has_runtime, lack
from orchestrate_agent.errors import AgentError
from orchestrate_agent.expectations import compare
from orchestrate_agent.machine import facts
from orchestrator.frameworks.registry import choices, runners

NODE: dict[str, Any] = {
    "system": {"architecture": "x86_64", "libc": "glibc 2.35"},
    "python": {
        "version": "3.12.11", "bits": 64, "implementation": "CPython", "free_threaded": False,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("expected", "as_it_is"),
    [("3.12", True), ("3.12.11", True), ("3.1", False), ("3.12.1", False), ("3.11", False)],
)
def test_a_python_may_be_expected_in_part(expected: str, as_it_is: bool) -> None:
    _, problem = compare(NODE, {"architecture": "X86_64", "python": expected})
    assert (problem is None) is as_it_is
    if problem is not None:
        assert problem == (f"the inventory expects python {expected}, the device reports 3.12.11")


def test_what_a_node_cannot_tell_is_named() -> None:
    assert compare({"python": {"version": None}}, {"python": "3.12", "libc": "musl 1.2"}) == (
        ("python", "libc"),
        None,
    )


def test_any_runtime_is_one_of_those_of_the_runner() -> None:
    for each in runners():
        names = [library.name for library in choices(each, "any")]
        assert names == list(each.runtimes)
        for name in names:
            assert has_runtime({name: "1"}, names) and has_runtime({name: "1"}, [name])
        assert not has_runtime({"another": "2"}, names)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (
            ("one", "other"),
            "`py` there has no one and no other (it has none)",
        ),
        (("torch",), "`py` there has no torch (it has none); `py -m pip install torch`"),
    ],
)
def test_a_runtime_that_is_missing_is_named_with_its_remedy(
    wanted: tuple[str, ...], words: str
) -> None:
    assert words in str(lack({}, wanted, "py"))
    assert lack({"torch": "2", "other": "2"}, wanted, "py") is None


def test_a_python_tells_of_itself_what_the_agent_would() -> None:
    told = facts.collect()["python"]
    probed = probe.probe(told["executable"], ["torch"])
    assert {name: probed[name] for name in told} == told


#: As a bundle with runtimes in it expects it.
STATED = {
    "architecture": "x86_64", "python": "3.12", "libc": "glibc 2.35",
    "bits": 64, "implementation": "CPython", "free_threaded": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("expect", "words"),
    [
        ({"python": "3.11"}, "expects python 3.11, the device reports 3.12.11"),
        ({"libc": "glibc 2.36"}, "expects libc glibc 2.36, the device reports glibc 2.35"),
        ({"architecture": "aarch64"}, "expects architecture aarch64, the device reports x86_64"),
        ({"bits": 32}, "expects bits 32, the device reports 64"),
        ({"implementation": "PyPy"}, "expects implementation PyPy, the device reports CPython"),
    ],
)
def test_a_machine_that_the_runtimes_are_not_for_is_refused(
    expect: dict[str, object], words: str
) -> None:
    with pytest.raises(AgentError, match=words) as refused:
        standalone._check_expected(NODE, {**STATED, **expect}, for_sites=True)
    assert "make the bundle anew" in str(refused.value)


def test_only_where_runtimes_must_fit_everything_has_to_be_told() -> None:
    standalone._check_expected(NODE, {**STATED, "microarchitecture": "z80"}, for_sites=True)
    silent = {**NODE, "system": {"architecture": "x86_64", "libc": None}}
    standalone._check_expected(silent, STATED, for_sites=False)
    with pytest.raises(AgentError, match=r"libc glibc 2\.35, the device does not tell it"):
        standalone._check_expected(silent, STATED, for_sites=True)
