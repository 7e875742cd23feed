"""Inspection reads real files right and no file, however broken, makes it fail otherwise than
with a ModelBuildError."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.tflite.file import read_model
from orchestrator.frameworks.tflite.flatbuffer import Buffer, MalformedError
from orchestrator.frameworks.tflite.inspect import inspect_bytes, inspect_file
from orchestrator.frameworks.tflite.names import OPERATORS, TYPES
from orchestrator.frameworks.tflite.verify import verify_build
from orchestrator.trial import Variant

DATA = Path(__file__).parent.parent.parent / "data" / "zoo"
EXPECTED: dict[str, dict[str, Any]] = json.loads((DATA / "expected.json").read_text())


def test_every_data_file_is_expected() -> None:
    assert {path.stem for path in DATA.glob("*.tflite")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_scheme_is_read_from_the_bytes(name: str, tmp_path: Path) -> None:
    data = (DATA / f"{name}.tflite").read_bytes()
    nameless = tmp_path / "model"
    nameless.write_bytes(data)

    found = inspect_file(nameless)

    expected = EXPECTED[name]
    assert (found.scheme, found.granularity) == (expected["scheme"], expected["granularity"])
    assert [(t.shape, t.dtype) for t in found.inputs] == [((-1, 16, 16, 3), expected["ends"])]
    assert [(t.shape, t.dtype) for t in found.outputs] == [((-1, 128), expected["ends"])]
    assert found.parameters == expected["parameters"]
    assert found.size_bytes == len(data)
    assert found.sha256 == hashlib.sha256(data).hexdigest()


def test_operators_are_counted_by_version() -> None:
    found = inspect_file(DATA / "full_int8.tflite")
    counts = {(op.name, op.version): op.count for op in found.operators}
    assert counts == {("CONV_2D", 3): 2, ("FULLY_CONNECTED", 4): 1, ("MEAN", 2): 1}


def test_a_mixed_file_says_what_is_mixed() -> None:
    found = inspect_file(DATA / "mixed.tflite")
    uses = {use.scheme: (use.operators, use.elements) for use in found.weights}
    assert uses == {
        "float32": (1, 3 * 3 * 3 * 16),
        "weight_only_int8": (1, 3 * 3 * 16 * 16),
        "dynamic_range": (1, 16 * 128),
    }


@pytest.mark.parametrize("name", EXPECTED)
def test_agrees_with_the_official_reader(name: str) -> None:
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    data = (DATA / f"{name}.tflite").read_bytes()
    official = schema.ModelT.InitFromPackedBuf(data, 0)
    ours = read_model(data)

    graph = official.subgraphs[0]
    assert [t.name for t in ours.graphs[0].tensors] == [t.name.decode() for t in graph.tensors]
    assert [TYPES.index(t.dtype) for t in ours.graphs[0].tensors] == [t.type for t in graph.tensors]
    codes = Counter(op.name for op in ours.graphs[0].operators)
    theirs = Counter(
        OPERATORS[official.operatorCodes[op.opcodeIndex].builtinCode] for op in graph.operators
    )
    assert codes == theirs
    sizes = [0 if b.data is None else len(b.data) for b in official.buffers]
    assert ours.constant_bytes == sum(sizes)


@pytest.mark.parametrize(
    ("ours", "enumeration"), [(OPERATORS, "BuiltinOperator"), (TYPES, "TensorType")]
)
def test_names_have_their_numbers_in_the_schema(ours: tuple[str, ...], enumeration: str) -> None:
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    numbers = vars(getattr(schema, enumeration))
    known = {k.lower(): v for k, v in numbers.items() if not k.startswith("_")}
    # An older runtime knows fewer; those it knows must agree.
    for number, name in enumerate(ours):
        assert known.get(name.lower(), number) == number


# -- broken and hostile files ---------------------------------------------------------------------


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole = (DATA / "float32.tflite").read_bytes()
    cut = tmp_path / "cut.tflite"
    for length in [*range(64), *range(64, len(whole) - 64, 997)]:
        cut.write_bytes(whole[:length])
        with pytest.raises(ModelBuildError, match=r"cut\.tflite: is not a complete"):
            inspect_file(cut)


def test_flipped_bytes_never_escape(tmp_path: Path) -> None:
    whole = (DATA / "full_int8.tflite").read_bytes()
    rng = random.Random(0)
    refused = 0
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            inspect_bytes(bytes(data))
        except MalformedError:
            refused += 1
    assert refused > 0  # some of them did break the structure


def test_shared_tables_do_not_multiply() -> None:
    """2000 times the same graph with 2000 times the same tensor are four million tensors."""
    flatbuffers = pytest.importorskip("flatbuffers")
    builder = flatbuffers.Builder(0)

    def table(fields: dict[int, int]) -> int:
        builder.StartObject(12)
        for number, offset in fields.items():
            builder.PrependUOffsetTRelativeSlot(number, offset, 0)
        return int(builder.EndObject())

    def repeated(offset: int, count: int) -> int:
        builder.StartVector(4, count, 4)
        for _ in range(count):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())

    buffers = repeated(table({}), 1)
    tensors = repeated(table({}), 2000)
    graphs = repeated(table({0: tensors}), 2000)
    builder.Finish(table({2: graphs, 4: buffers}), b"TFL3")

    with pytest.raises(MalformedError, match="circles"):
        read_model(bytes(builder.Output()))


def test_every_table_is_counted() -> None:
    buffer = Buffer(b"\0" * 3)
    for _ in range(3):
        buffer.visit()
    with pytest.raises(MalformedError, match="circles"):
        buffer.visit()


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04" + b"\0" * 99])
def test_another_kind_of_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "page.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelBuildError, match="TFL3"):
        inspect_file(path)


def test_a_path_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelBuildError, match=r"absent\.tflite: No such file"):
        inspect_file(tmp_path / "absent.tflite")
    with pytest.raises(ModelBuildError, match="Is a directory"):
        inspect_file(tmp_path)


# -- what is built must be what was asked for -----------------------------------------------------


def test_a_build_of_another_scheme_is_refused() -> None:
    data = (DATA / "dynamic_range.tflite").read_bytes()
    with pytest.raises(ModelBuildError, match="full_int8: the converter wrote dynamic_range"):
        verify_build(Variant("mobilenet_v1", "full_int8"), data)


def test_a_build_with_another_input_is_refused() -> None:
    data = (DATA / "float32.tflite").read_bytes()
    with pytest.raises(ModelBuildError, match=r"not one image \(-1, 224, 224, 3\)"):
        verify_build(Variant("mobilenet_v1", "float32"), data)
    with pytest.raises(ModelBuildError, match=r"fixed: takes .*, not one image \(1, 224, 224, 3\)"):
        verify_build(Variant("mobilenet_v1", "float32", "fixed"), data)
