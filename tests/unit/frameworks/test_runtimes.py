"""What a suite may ask for as runtime, and which loaded library is the one that was asked for."""

from __future__ import annotations

import pytest

from orchestrator.frameworks.registry import runner, runtime_named, takes_runtime
from orchestrator.runtimes import Runtime, parse_runtime


@pytest.mark.parametrize(
    "text", ["any", "tflite-runtime", "ai-edge-litert==2.3.0", "torch==2.13.0+cpu"]
)
def test_a_runtime_is_written_as_it_was_read(text: str) -> None:
    assert str(parse_runtime(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "onnx", "any==1", "torch==", "torch==2.*", "torch==../x", "torch>=2", "torch==1 --pre"],
)
def test_what_is_no_runtime_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a runtime|no version"):
        runtime_named(text)


@pytest.mark.parametrize(
    ("asked", "loaded", "right"),
    [
        ("torch==2.13.0", "2.13.0", True),
        ("torch==2.13.0", "2.13.0+cpu", True),
        ("torch==2.13", "2.13.0", True),
        ("torch==2.13.0+cpu", "2.13.0+cpu", True),
        ("torch==2.13.0+cpu", "2.13.0", False),
        ("torch==2.13.0", "2.13.1", False),
        ("torch==2.13.0", "2.13.0rc1", False),
        ("torch==2.13.0", "a nightly", False),
        ("torch==2.13.0", None, False),
        ("torch", None, True),
    ],
)
def test_the_loaded_version_is_the_pinned_one_or_another(
    asked: str, loaded: str | None, right: bool
) -> None:
    assert parse_runtime(asked).is_version(loaded) is right


def test_each_runner_has_its_own() -> None:
    torch, litert = runner("torch"), runner("litert")
    assert takes_runtime(torch, "any") and takes_runtime(torch, "torch==2.13.0")
    assert not takes_runtime(litert, "torch")
    assert not takes_runtime(torch, "tflite-runtime==2.14.0")
    assert not takes_runtime(runner("benchmark_model"), "tensorflow")
    assert Runtime("any").is_version("1.0")
