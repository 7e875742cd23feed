"""GGUF files are read from their bytes, named for what they hold, and refused where they lie."""

from __future__ import annotations

import random
import struct
import time
from pathlib import Path

import pytest

from orchestrator.config.scheme_names import is_scheme_ending, promised
from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.file_kinds import inspect_any
from orchestrator.frameworks.llm.files import GgufFile
from orchestrator.frameworks.llm.inspect import REQUANTIZED_FROM
from orchestrator.frameworks.llm.types import MIXES, TYPES, type_of_mix
from tests.gguf_files import FLOAT16, METADATA, gguf, stored, text, tiny_llama, value


def inspect(path: Path) -> GgufFile:
    found = inspect_any(path)
    assert isinstance(found, GgufFile)
    return found


@pytest.mark.parametrize(("scheme", "bits"), [("float32", 32.0), ("float16", 16.0), ("q8_0", 8.5)])
def test_a_file_is_told_for_what_it_holds(scheme: str, bits: float, tmp_path: Path) -> None:
    found = inspect(tiny_llama(tmp_path / "any-name.gguf", scheme))
    held = found.contents
    assert (held.scheme, held.mix, held.bits_per_weight) == (scheme, scheme, bits)
    assert (held.architecture, held.layers, held.embedding_length) == ("llama", 2, 128)
    assert (held.parameters, held.context_length, held.tokenizer) == (459_392, 512, "no_vocab")
    assert sum(each.share for each in held.stored) == pytest.approx(1)
    assert held.share_of(scheme) == 1.0
    assert found.remarks(scheme) == ()
    said = "\n".join(found.describe().lines)
    assert scheme in said and "459,392" in said and f"{bits:.2f} bits" in said


def test_types_and_mixes_are_those_of_the_format_s_own_library() -> None:
    library = pytest.importorskip("gguf")
    sizes = {int(kind): of for kind, of in library.GGML_QUANT_SIZES.items()}
    for number, each in TYPES.items():
        assert sizes[number] == (each.values, each.size_bytes), each.name
    known = {int(each): each.name for each in library.LlamaFileType}
    for number, mix in MIXES.items():
        assert number in known
        assert type_of_mix(mix) in {each.name for each in TYPES.values()}


def test_that_library_reads_the_files_of_these_tests_alike(tmp_path: Path) -> None:
    library = pytest.importorskip("gguf")
    path = tiny_llama(tmp_path / "a.gguf", "q8_0")
    tensors = library.GGUFReader(str(path)).tensors
    held = inspect(path).contents
    assert len(tensors) == sum(each.tensors for each in held.stored)
    assert sum(int(t.n_elements) for t in tensors) == held.parameters
    assert sum(int(t.n_bytes) for t in tensors) == sum(each.size_bytes for each in held.stored)


# -- names -----------------------------------------------------------------------------------------


def test_a_name_that_stands_for_less_than_half_of_the_bytes_is_remarked_on(tmp_path: Path) -> None:
    noted = {"general.file_type": 10}  # by its own note made as Q2_K
    found = inspect(tiny_llama(tmp_path / "a.gguf", "q8_0", noted))
    assert (found.contents.scheme, found.contents.mix) == ("q8_0", "q2_k")
    assert found.may_be_called("Q2_K") and not found.may_be_called("Q4_K_M")
    (remark,) = found.remarks("tiny-Q2_K")
    assert remark.code == "scheme_not_as_named" and not remark.forbids
    assert "0%" in remark.message and "8.50 bits" in remark.message


def test_a_file_that_was_made_of_a_quantized_one_says_so(tmp_path: Path) -> None:
    found = inspect(tiny_llama(tmp_path / "a.gguf", "q8_0", {REQUANTIZED_FROM: "q4_1"}))
    assert [each.code for each in found.remarks("q8_0")] == ["requantized"]
    assert "requantized from q4_1" in "\n".join(found.describe().lines)


@pytest.mark.parametrize(
    ("name", "held", "right"),
    [
        ("q8_0", "q8_0", True),
        ("q8_0", "q4_0", False),
        ("f16", "float16", True),
        ("f16", "q8_0", False),
        ("Q4_K_M", "q4_k", True),
        ("Q4_K_M", "q8_0", False),
    ],
)
def test_a_name_promises_a_type(name: str, held: str, right: bool) -> None:
    assert is_scheme_ending(name)
    promise = promised(name)
    assert promise is not None and promise(held) is right


# -- what is wrong ---------------------------------------------------------------------------------

WEIGHT = ("w.weight", (32, 2), FLOAT16, b"\0" * 128)
HEAD = b"GGUF" + struct.pack("<I", 3)


def described(*, shape: tuple[int, ...] = (32, 2), kind: int = 1, offset: int = 0) -> bytes:
    """A file with one tensor that is described so."""
    head = HEAD + struct.pack("<QQ", 1, 1) + text("general.architecture") + value("llama")
    head += text("w.weight") + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
    return head + b"\0" * 4096


def listed(kind: int, length: int, behind: bytes = b"") -> bytes:
    """A file with one list among its metadata."""
    head = HEAD + struct.pack("<QQ", 0, 1) + text("a")
    return head + struct.pack("<IIQ", 9, kind, length) + behind


HOSTILE = {
    "nothing but a magic": (b"GGUF", "cut off"),
    "an early version": (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
    "a later version": (b"GGUF" + struct.pack("<IQQ", 4, 0, 0), "version 4.*upgrade"),
    "another byte order": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "endless tensors": (HEAD + struct.pack("<QQ", 2**63, 0) + b"\0" * 99, "more than any model"),
    "endless metadata": (HEAD + struct.pack("<QQ", 0, 2**60) + b"\0" * 99, "more than any model"),
    "more metadata than bytes": (HEAD + struct.pack("<QQ", 0, 19_000) + b"\0" * 99, "too short"),
    "an endless name": (HEAD + struct.pack("<QQQ", 0, 1, 2**62) + b"\0" * 99, "are plenty"),
    "an unknown type of value": (HEAD + struct.pack("<QQ", 0, 1) + text("a") + b"\x63\0\0\0" * 4,
                                 "type 99"),
    "an endless list": (listed(4, 2**61), "more than any model"),
    "an endless list of texts": (listed(8, 2**61), "more than any model"),
    "a list of texts that leads out": (listed(8, 2, struct.pack("<QQ", 2**63, 0)), "cut off"),
    "lists in lists in lists": (listed(9, 1, struct.pack("<IQIQIQ", 9, 1, 9, 1, 9, 1) + b"\0" * 99),
                                "lists within lists"),
    "one name twice": (HEAD + struct.pack("<QQ", 0, 2) + 2 * (text("a") + value(1)), "twice"),
    "too many dimensions": (described(shape=(32, 1, 1, 1, 1)), "5 dimensions"),
    "an impossible size": (described(shape=(32, 2**62)), "impossible size"),
    "a tensor of nothing": (described(shape=(32, 0)), "impossible size"),
    "an unknown type of tensor": (described(kind=250), "type 250"),
    "rows that blocks do not divide": (described(kind=12), "do not divide"),
    "values beyond the end": (described(offset=2**40), "cut off"),
    "a vocabulary alone": (gguf(METADATA, []), "no weights"),
    "no architecture": (gguf({}, [WEIGHT]), "architecture"),
    "one part of several": (gguf({**METADATA, "split.count": 3}, [WEIGHT]), "one of 3 parts"),
    "an odd alignment": (gguf({**METADATA, "general.alignment": 0}, [WEIGHT]), "alignment"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_file_that_lies_is_refused_at_once(case: str, tmp_path: Path) -> None:
    content, said = HOSTILE[case]
    path = tmp_path / "a.gguf"
    path.write_bytes(content)
    begun = time.process_time()
    with pytest.raises(ModelBuildError, match=said) as caught:
        inspect_any(path)
    assert str(caught.value).startswith(str(path))
    assert time.process_time() - begun < 1


def test_many_texts_are_read_within_a_second_of_computing(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(listed(8, 1_400_000, b"\0" * 8 * 1_400_000))
    begun = time.process_time()
    with pytest.raises(ModelBuildError, match="architecture"):
        inspect_any(path)
    assert time.process_time() - begun < 3


def test_a_file_that_was_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole = gguf(METADATA, [("w.weight", (32, 2), FLOAT16, b"\0" * 128)])
    path = tmp_path / "a.gguf"
    for length in range(4, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelBuildError):
            inspect_any(path)


def test_a_damaged_file_is_read_or_refused_and_nothing_else(tmp_path: Path) -> None:
    whole = gguf({**METADATA, "tokens": ["a", "b"]}, [WEIGHT])
    draw, path = random.Random(1), tmp_path / "a.gguf"
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(draw.randint(1, 6)):
            damaged[draw.randrange(4, len(damaged))] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            inspect_any(path)
        except ModelBuildError as exc:
            assert str(path) in str(exc)


def test_blocks_of_eight_bits_keep_their_values() -> None:
    """What these tests store as ``q8_0`` is what the type says: 34 bytes for 32 values."""
    import numpy as np  # noqa: PLC0415

    values = np.linspace(-1, 1, 64, dtype=np.float32)
    assert len(stored(values, 8)) == 68
