"""Which bundles cannot be made, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.artifacts.blob import Blob
from orchestrator.bundles import making
from orchestrator.config import Suite
from orchestrator.errors import UsageError
from tests.unit.test_plan import device, suite

STATED = {"architecture": "x86_64", "python": "3.12", "libc": "glibc 2.35"}


def asked(*runtimes: str) -> Suite:
    return suite(runner="litert", factors={"runtime": list(runtimes)})


def check(expect: dict[str, Any], *runtimes: str) -> None:
    making.check(device("away", transport="bundle", expect=expect), asked(*runtimes))


def test_a_pinned_runtime_needs_a_platform_that_is_stated() -> None:
    check(STATED, "ai-edge-litert==2.3.0", "any")
    check({"architecture": "x86_64"}, "any")
    check({}, "tflite-runtime")
    with pytest.raises(UsageError, match=r"pins ai-edge-litert==2\.3\.0, ") as refused:
        check({"architecture": "x86_64"}, "ai-edge-litert==2.3.0", "any")
    said = str(refused.value)
    assert "the inventory lacks python and libc of " in said
    assert 'expect: {architecture: x86_64, python: "3.12", libc: glibc 2.35}' in said
    assert "`pip install` that version there" in said
    with pytest.raises(UsageError, match="architecture and python and libc"):
        check({}, "tflite-runtime==2.14.0")


@pytest.mark.parametrize(
    ("expect", "words"),
    [
        ({"libc": "2.35"}, "C library 2.35"),
        ({"implementation": "PyPy"}, "it runs PyPy, for which runtimes are not built"),
        ({"free_threaded": True}, "a Python without the GIL"),
    ],
)
def test_a_platform_without_wheels_is_refused_before_anything_is_made(
    expect: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match="for what `expect:` states") as refused:
        check({**STATED, **expect}, "any")
    assert words in str(refused.value)
    making.check(
        device("away", transport="bundle", expect={**STATED, **expect}, benchmark_model="tool"),
        suite(),
    )


def test_what_python_cannot_run_is_not_written() -> None:
    model, site = (
        Blob(name * 64, Path(name), size)
        for name, size in (("a", 2 * 10**8), ("b", making.MAX_BYTES))
    )
    making._refuse_too_large(b"", [model], [])
    with pytest.raises(UsageError, match=r"4\.5 GB, 4\.3 of them runtimes") as refused:
        making._refuse_too_large(b"", [model, site], [site])
    assert "take `python` out of `expect:`" in str(refused.value)
    with pytest.raises(UsageError, match="--without-models") as refused:
        making._refuse_too_large(b"", [model, site], [])
    assert "expect" not in str(refused.value)
