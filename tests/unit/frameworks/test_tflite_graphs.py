"""Schemes by types, loops by their bounds, versions by types: on graphs written down by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.frameworks.tflite.file import Graph, ModelFile, Operator, Tensor, read_model
from orchestrator.frameworks.tflite.flatbuffer import MalformedError
from orchestrator.frameworks.tflite.flow import Accountant, Amount, reachable
from orchestrator.frameworks.tflite.inspect import inspect_bytes
from orchestrator.frameworks.tflite.schemes import name_scheme, uses
from orchestrator.frameworks.tflite.versions import asked_version, need
from tests.tflite_writer import Writer


def floats(*shape: int, constant: bool = False, dtype: str = "float32") -> Tensor:
    return Tensor("", shape, dtype, constant_bytes=4 * constant, buffer=int(constant))


def integers(*shape: int, dtype: str = "int8", constant: bool = False, **more: Any) -> Tensor:
    size = 4 if constant else 0
    return Tensor("", shape, dtype, size, scales=more.pop("scales", 1), scale=0.1, **more)


def number(value: int) -> Tensor:
    return Tensor("", (), "int32", 4, buffer=9, values=(value,))


def graph(
    tensors: list[Tensor], *operators: Operator, inputs: Any = (0,), outputs: Any = ()
) -> Graph:
    return Graph(tuple(tensors), operators, tuple(inputs), tuple(outputs))


def op(name: str, slots: tuple[int, ...], *outputs: int, **options: int) -> Operator:
    return Operator(name, 1, slots, outputs, tuple(options.items()))


# -- schemes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "activations", "scheme"),
    [
        (floats(8, 4, constant=True), floats(1, 4), "float32"),
        (integers(8, 4, constant=True), floats(1, 4), "dynamic_range"),
        (integers(8, 4, constant=True, dtype="int4"), floats(1, 4), "dynamic_int4"),
        (integers(8, 4, constant=True, dtype="uint8"), floats(1, 4), "dynamic_uint8"),
        (integers(8, 4, constant=True), integers(1, 4), "full_int8"),
        (
            integers(8, 4, constant=True, dtype="uint8"),
            integers(1, 4, dtype="uint8"),
            "full_uint8",
        ),
        (integers(8, 4, constant=True), integers(1, 4, dtype="int16"), "int16x8"),
        (integers(8, 4, constant=True, dtype="int4"), integers(1, 4), "int8x4"),
        (
            floats(8, 4, constant=True, dtype="float16"),
            floats(1, 4, dtype="float16"),
            "full_float16",
        ),
        (
            integers(8, 4, constant=True, dtype="int4", scales=0, block=32),
            floats(1, 4),
            "dynamic_int4",
        ),
    ],
)
def test_a_scheme_is_named_for_its_types(weights: Tensor, activations: Tensor, scheme: str) -> None:
    output = replace(activations, shape=(1, 8))
    found = graph([activations, weights, output], op("FULLY_CONNECTED", (0, 1, -1), 2))
    assert name_scheme([found], uses(found)) == scheme


def test_weights_through_two_changes_of_form_are_found() -> None:
    """A sparse matrix that is stored as int8, and a bias that is none of it."""
    tensors = [
        floats(1, 4),
        integers(8, 4, constant=True, sparse=True),
        integers(8, 4),
        floats(8, 4),
        floats(8, constant=True),
        floats(1, 8),
    ]
    found = graph(
        tensors,
        op("DENSIFY", (1,), 2),
        op("DEQUANTIZE", (2,), 3),
        op("FULLY_CONNECTED", (0, 3, 4), 5),
    )
    assert [(u.scheme, u.weights.elements) for u in uses(found)] == [("weight_only_int8", 32)]


def test_integers_without_a_scale_quantize_nothing() -> None:
    table = Tensor("", (4, 4), "int8", 16)
    found = graph([Tensor("", (1,), "int32"), table, floats(1, 4)], op("GATHER", (1, 0), 2))
    assert uses(found) == []
    assert name_scheme([found], []) == "float32"


def test_integers_that_are_only_converted_name_nothing() -> None:
    """A network of floats that is fed with uint8 of a scale, which is requantized on the way."""
    found = graph(
        [
            integers(1, 4, dtype="uint8"),
            integers(1, 4),
            floats(1, 4),
            floats(8, 4, constant=True),
            floats(1, 8),
        ],
        op("QUANTIZE", (0,), 1),
        op("DEQUANTIZE", (1,), 2),
        op("FULLY_CONNECTED", (2, 3, -1), 4),
    )
    assert name_scheme([found], uses(found)) == "float32"


def test_floats_that_compute_between_integers_are_mixed() -> None:
    tensors = [integers(1, 4), integers(1, 4), floats(1, 4), floats(1, 4), integers(1, 4)]
    between = graph(
        tensors,
        op("ADD", (0, 0), 1),
        op("DEQUANTIZE", (1,), 2),
        op("EXP", (2,), 3),
        op("QUANTIZE", (3,), 4),
    )
    assert name_scheme([between], []) == "mixed"
    behind = graph(tensors, *between.operators[:3])
    assert name_scheme([behind], []) == "full_int8"


# -- loops and branches ---------------------------------------------------------------------------


def loop(
    *, start: int = 0, end: int = 10, step: int = 1, compare: str = "LESS", name: str = "LESS"
) -> ModelFile:
    """A WHILE whose body multiplies 4 by 8 numbers."""
    variables = [number(0), floats(1, 4)]
    main = graph(
        [replace(number(start), buffer=1), floats(1, 4), number(0), floats(1, 4)],
        op("WHILE", (0, 1), 2, 3, cond=1, body=2),
        inputs=(1,),
    )
    counter = Tensor("", (), "int32")
    sides = (0, 2) if compare in ("LESS", "LESS_EQUAL") else (2, 0)
    condition = graph(
        [counter, variables[1], number(end), Tensor("", (), "bool")],
        op(name if name != "LESS" else compare, sides, 3),
        inputs=(0, 1),
        outputs=(3,),
    )
    body = graph(
        [counter, floats(1, 4), number(step), counter, floats(8, 4, constant=True), floats(1, 8)],
        op("ADD", (0, 2), 3),
        op("FULLY_CONNECTED", (1, 4, -1), 5),
        inputs=(0, 1),
        outputs=(3, 1),
    )
    return ModelFile("", (main, condition, body), 0, None)


def amount(model: ModelFile) -> Amount:
    return Accountant(model, lambda *_: False).amount(0)


@pytest.mark.parametrize(
    ("changes", "rounds"),
    [
        ({}, 10),
        ({"start": 3}, 7),
        ({"step": 3}, 4),
        ({"compare": "LESS_EQUAL"}, 11),
        ({"compare": "GREATER"}, 10),
        ({"compare": "GREATER_EQUAL"}, 11),
        ({"end": -5}, 0),
        ({"start": 10}, 0),
    ],
)
def test_a_loop_with_constant_bounds_is_counted(changes: dict[str, Any], rounds: int) -> None:
    assert amount(loop(**changes)) == Amount(rounds * 32)


@pytest.mark.parametrize("changes", [{"step": 0}, {"step": -1}, {"name": "EQUAL"}])
def test_a_loop_whose_end_is_not_known_is_named(changes: dict[str, Any]) -> None:
    assert amount(loop(**changes)).unknown == {"WHILE"}


def branches(*rows: int) -> ModelFile:
    main = graph([floats(1, 4), floats(1, 8)], op("IF", (0,), 1, **{"then": 1, "else": 2}))
    layer = op("FULLY_CONNECTED", (0, 1, -1), 2)
    each = [graph([floats(1, 4), floats(n, 4, constant=True), floats(1, n)], layer) for n in rows]
    return ModelFile("", (main, *each), 0, None)


def test_branches_do_not_add_up() -> None:
    assert amount(branches(8, 8)) == Amount(32)
    assert amount(branches(8, 9)).unknown == {"IF"}


def test_what_runs_once_before_costs_nothing() -> None:
    main = graph([floats(1, 4)], op("CALL_ONCE", (), init=1))
    init = branches(8, 8).graphs[1]
    model = ModelFile("", (main, init), 0, None)
    assert amount(model) == Amount()
    assert reachable(model, 0) == (0, 1)
    assert reachable(model, 0, once=False) == (0,)


def test_a_recursion_has_no_end_and_is_not_followed() -> None:
    calls = tuple(graph([floats(1)], op("CALL", (), callee=(i + 1) % 3000)) for i in range(3000))
    assert "a recursion" in amount(ModelFile("", calls, 0, None)).unknown


# -- versions -------------------------------------------------------------------------------------


def _dense(data: Tensor, weights: Tensor, *bias: int, **options: int) -> tuple[Operator, Graph]:
    output = replace(data, shape=(1, 8))
    operator = op("FULLY_CONNECTED", (0, 1, *(bias or (-1,))), 2, **options)
    return operator, graph([data, weights, output], operator)


@pytest.mark.parametrize(
    ("operator", "version"),
    [
        (_dense(floats(1, 4), floats(8, 4, constant=True)), 1),
        (_dense(floats(1, 4), integers(8, 4, constant=True)), 3),
        (_dense(floats(1, 4), integers(8, 4, constant=True), asymmetric=1), 9),
        (_dense(floats(1, 4), integers(8, 4, constant=True, scales=8)), 12),
        (_dense(integers(1, 4), integers(8, 4, constant=True)), 4),
        (_dense(integers(1, 4), integers(8, 4, constant=True), keep_dims=1), 5),
        (_dense(integers(1, 4), integers(8, 4, constant=True, dtype="int4")), 10),
        (_dense(floats(1, 4), integers(8, 4, constant=True, dtype="int2")), 14),
    ],
)
def test_types_ask_for_versions(operator: tuple[Operator, Graph], version: int) -> None:
    assert asked_version(*operator) == version


def test_blocks_ask_for_more_than_any_version_says() -> None:
    four, two = (
        need(*_dense(floats(1, 64), integers(8, 64, constant=True, dtype=t, scales=0, block=32)))
        for t in ("int4", "int2")
    )
    assert four.runtime == "2.21.0"
    assert two.runtime is None
    assert two.because == "int2 weights in blocks"


# -- files that cost ------------------------------------------------------------------------------


def _shared(references: int, padding: int) -> bytes:
    """Graphs that each refer to one tensor so many times, and bytes that nothing uses."""
    w = Writer()
    spare = w.table({0: ("ref", w.builder.CreateByteVector(bytes(padding)))})
    buffers = w.tables([w.table({}), spare])
    tensors = w.tables([w.table({})] * references)
    graphs = w.tables([w.table({0: ("ref", tensors)})] * references)
    return w.finish(w.table({2: ("ref", graphs), 4: ("ref", buffers)}))


def test_a_large_file_buys_no_more_than_its_size_is_worth() -> None:
    """A million tensors at most, however large the file: not the square of its references."""
    with pytest.raises(MalformedError, match="larger than any model"):
        read_model(_shared(30_000, 8_000_000))


def test_signatures_without_end_are_refused() -> None:
    w = Writer()
    tensors = w.tables([w.table({})])
    everything = w.table({0: ("ref", tensors), 1: ("ref", w.numbers([0] * 50_000))})
    key = w.builder.CreateString("s")
    signatures = w.tables([w.table({2: ("ref", key)})] * 10_000)
    graphs, buffers = w.tables([everything]), w.tables([w.table({})])
    root = w.table({2: ("ref", graphs), 4: ("ref", buffers), 7: ("ref", signatures)})
    with pytest.raises(MalformedError, match=r"larger than any model|more than 200 signatures"):
        read_model(w.finish(root))


def test_constants_that_overlap_are_hashed_once_or_not_at_all() -> None:
    """A thousand constants that are all of the file: reading each would be a thousand files."""
    w = Writer()
    buffers = [w.table({})]
    buffers += [w.table({1: ("Uint64", 8 + n), 2: ("Uint64", 50_000)}) for n in range(1000)]
    tensors = [w.table({2: ("Uint32", n + 1)}) for n in range(1000)]
    listed = w.tables(buffers)
    graphs = w.tables([w.table({0: ("ref", w.tables(tensors))})])
    spare = w.builder.CreateByteVector(bytes(60_000))
    data = w.finish(w.table({2: ("ref", graphs), 3: ("ref", spare), 4: ("ref", listed)}))
    found = inspect_bytes(data)
    assert found.content is None


def test_a_note_that_is_not_a_version_is_not_shown() -> None:
    w = Writer()
    noted = w.table({0: ("ref", w.builder.CreateByteVector(b"\x1b]0;title\x07"))})
    buffers = w.tables([w.table({}), noted])
    name = w.builder.CreateString("min_runtime_version")
    entry = w.tables([w.table({0: ("ref", name), 1: ("Uint32", 1)})])
    graphs = w.tables([w.table({})])
    data = w.finish(w.table({2: ("ref", graphs), 4: ("ref", buffers), 6: ("ref", entry)}))
    assert read_model(data).min_runtime is None


def test_a_graph_that_is_not_there_is_refused() -> None:
    w = Writer()
    key = w.builder.CreateString("lost")
    signatures = w.tables([w.table({2: ("ref", key), 4: ("Uint32", 7)})])
    graphs = w.tables([w.table({})])
    broken = w.finish(
        w.table({2: ("ref", graphs), 4: ("ref", w.tables([w.table({})])), 7: ("ref", signatures)})
    )
    with pytest.raises(MalformedError, match="signature refers to graph 7 of 1"):
        read_model(broken)
