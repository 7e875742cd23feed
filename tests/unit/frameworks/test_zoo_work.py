"""Multiply-accumulates, runtimes and shares, and files made to cost their reader dearly."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.file_kinds import inspect_any
from orchestrator.frameworks.tflite.file import Graph, Operator, Tensor
from orchestrator.frameworks.tflite.flatbuffer import MalformedError
from orchestrator.frameworks.tflite.inspect import inspect_bytes, inspect_file, scheme_of
from orchestrator.frameworks.tflite.runtimes import newest, oldest_runtime
from orchestrator.frameworks.tflite.work import multiply_accumulates
from tests.zoo_fixtures import built_models

DATA = Path(__file__).parent.parent.parent / "data" / "zoo"

# 16 × 16 images; two 3 × 3 convolutions without padding, then 16 → 128
NETWORK = 14 * 14 * 16 * 27 + 12 * 12 * 16 * 144 + 16 * 128


@pytest.mark.parametrize(
    ("name", "operators", "work"),
    [
        ("float32", 0, 0),
        ("float16", 0, 0),
        ("full_int8", 1, 1),
        ("dynamic_range", 0.5, 1 - 14 * 14 * 16 * 27 / NETWORK),  # the first is too small for it
        ("weight_only_int8", 0.5, 1 - 14 * 14 * 16 * 27 / NETWORK),
    ],
)
def test_shares_of_what_is_quantized(name: str, operators: float, work: float) -> None:
    found = inspect_file(DATA / f"{name}.tflite").work
    assert found.multiply_accumulates == NETWORK
    assert found.quantized_operators_share == operators
    assert found.quantized_work_share == pytest.approx(work)


def test_the_work_of_mobilenet_is_what_its_paper_says(pytestconfig: pytest.Config) -> None:
    """569 million (Howard et al. 2017, table 8), in every scheme."""
    for artifact in built_models(pytestconfig).values():
        found = inspect_file(artifact.path)
        assert found.work.multiply_accumulates == 568_740_352
        # our table against the converter's note, which the quantizer leaves as it was
        if artifact.variant.scheme != "weight_only_int8":
            assert found.oldest_runtime == found.min_runtime
        assert found.unknown_operators == ()
        assert scheme_of(artifact.path) == artifact.variant.scheme


def _work(name: str, output: tuple[int, ...], *inputs: tuple[int, ...]) -> int | None:
    tensors = tuple(Tensor("", shape, "float32") for shape in (*inputs, output))
    operator = Operator(name, 1, tuple(range(len(inputs))), (len(inputs),))
    return multiply_accumulates(operator, Graph(tensors, (operator,), (), ()))


@pytest.mark.parametrize(
    ("name", "output", "inputs", "count"),
    [
        ("CONV_2D", (-1, 7, 7, 64), [(-1, 7, 7, 32), (64, 3, 3, 32)], 7 * 7 * 64 * 9 * 32),
        ("CONV_2D", (1, 7, 7, 64), [(1, 7, 7, 32), (64, 3, 3, 8)], 7 * 7 * 64 * 9 * 8),  # groups
        ("CONV_2D", (-1, -1, -1, 64), [(-1, -1, -1, 32), (64, 3, 3, 32)], None),
        ("DEPTHWISE_CONV_2D", (1, 7, 7, 32), [(1, 7, 7, 32), (1, 3, 3, 32)], 7 * 7 * 32 * 9),
        ("FULLY_CONNECTED", (-1, 10), [(-1, 64), (10, 64)], 640),
        ("TRANSPOSE_CONV", (1, 8, 8, 4), [(4,), (4, 2, 2, 3), (1, 4, 4, 3)], 4 * 4 * 3 * 4 * 4),
        ("BATCH_MATMUL", (2, 3, 5), [(2, 3, 7), (2, 7, 5)], 2 * 3 * 7 * 5),
        ("BATCH_MATMUL", (2, 3, 5), [(2, 7, 3), (2, 7, 5)], 2 * 3 * 7 * 5),  # adj_x
        ("BATCH_MATMUL", (2, 0, 5), [(2, 7, 3), (2, 7, 5)], None),
        ("LSTM", (1, 8), [(1, 8), (8, 8)], None),
        ("FULLY_CONNECTED", (1, 8), [(1, 8)], None),
    ],
)
def test_multiply_accumulates(
    name: str, output: tuple[int, ...], inputs: list[tuple[int, ...]], count: int | None
) -> None:
    assert _work(name, output, *inputs) == count


def test_the_oldest_runtime_is_by_number_not_by_letter() -> None:
    assert newest({"2.3.0", "2.17.0", "1.15.0"}) == "2.17.0"
    assert newest(set()) is None
    assert oldest_runtime("CONV_2D", 99) is None
    assert oldest_runtime("CONV_2D", 0) is None
    assert oldest_runtime("CUSTOM:Thing", 1) is None


# -- files that cost ------------------------------------------------------------------------------


def _build(fill: Any) -> bytes:
    flatbuffers = pytest.importorskip("flatbuffers")
    builder = flatbuffers.Builder(0)

    def table(fields: dict[int, int]) -> int:
        builder.StartObject(12)
        for number, offset in fields.items():
            builder.PrependUOffsetTRelativeSlot(number, offset, 0)
        return int(builder.EndObject())

    def references(offset: int, count: int) -> int:
        builder.StartVector(4, count, 4)
        for _ in range(count):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())

    root = fill(builder, table, references)
    builder.Finish(root, b"TFL3")
    return bytes(builder.Output())


def _one_long_shape(builder: Any, table: Any, references: Any) -> Any:
    builder.StartVector(4, 100_000, 4)
    for _ in range(100_000):
        builder.PrependInt32(2**31 - 1)  # the product of these takes a while as well
    tensors = references(table({0: builder.EndVector()}), 10_000)
    return table({2: references(table({0: tensors}), 1), 4: references(table({}), 1)})


def _one_long_name(builder: Any, table: Any, references: Any) -> Any:
    name = builder.CreateString("x" * 5_000_000)
    tensors = references(table({3: name}), 2000)
    return table({2: references(table({0: tensors}), 1), 4: references(table({}), 1)})


def _many_tables(builder: Any, table: Any, references: Any) -> Any:
    tensors = references(table({}), 20_000)
    graphs = references(table({0: tensors}), 20_000)
    return table({2: graphs, 4: references(table({}), 1)})


@pytest.mark.timeout(60)  # without a bound it takes hours
@pytest.mark.parametrize("fill", [_one_long_shape, _one_long_name, _many_tables])
def test_what_is_referred_to_often_is_not_read_often(fill: Any) -> None:
    with pytest.raises(MalformedError, match=r"larger than any model|dimensions"):
        inspect_bytes(_build(fill))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tflite")
    with pytest.raises(ModelBuildError, match="not a plain file"):
        inspect_any(tmp_path / "pipe.tflite")
    with pytest.raises(ModelBuildError, match="not a plain file"):
        inspect_any(Path("/dev/zero"))


@settings(max_examples=300, deadline=None)
@given(
    which=st.sampled_from(["float32", "full_int8"]),
    changes=st.lists(
        st.tuples(st.integers(0, 30_000), st.sampled_from([0, 1, 0x7F, 0x80, 0xFF])), max_size=8
    ),
    cut=st.integers(0, 400),
)
def test_a_changed_file_is_read_or_refused(
    which: str, changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray((DATA / f"{which}.tflite").read_bytes())
    for place, value in changes:
        # the structure stands at the end; the weights before it may be anything
        data[-1 - place % min(len(data) - 8, 6000)] = value
    with contextlib.suppress(MalformedError):
        inspect_bytes(bytes(data[: len(data) - cut]))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_behind_the_mark_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(MalformedError):
        inspect_bytes(data[:4].ljust(4, b"\0") + b"TFL3" + data[4:])
