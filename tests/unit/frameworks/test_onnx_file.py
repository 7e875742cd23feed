"""What an ``.onnx`` file holds, read from bytes that are written here, hostile ones included."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.feeding import Asked, FeedingError
from orchestrator.frameworks.file_kinds import inspect_any
from orchestrator.frameworks.onnx.files import FILES, OnnxFile
from orchestrator.frameworks.onnx.inspect import Inspection, inspect_bytes
from orchestrator.frameworks.onnx.wire import MalformedError
from orchestrator.trial import InputSpec
from tests import onnx_writer as writer
from tests.onnx_writer import block, graph, integers, model, node, number, tensor, value

#: Products of the convolution that the writer makes: 8 × 8 × 4 sums of 3 × 3 × 3.
WORK = 8 * 8 * 4 * 27


def inspected(data: bytes, tmp_path: Path) -> OnnxFile:
    path = tmp_path / "model"  # the name says nothing
    path.write_bytes(data)
    found = inspect_any(path)
    assert isinstance(found, OnnxFile)
    return found


def chain(*steps: tuple[str, list[int]], side: int = 8) -> Inspection:
    """A pool after a pool …: (operator, kernel and stride)."""
    nodes = [
        node(
            kind,
            [f"t{i}"],
            [f"t{i + 1}"],
            attributes={"kernel_shape": [window] * 2, "strides": [stride] * 2},
        )
        for i, (kind, (window, stride)) in enumerate(steps)
    ]
    last = f"t{len(steps)}"
    nodes.append(node("Conv", [last, "w"], ["y"]))
    weights = tensor("w", "float32", [1, 3, 1, 1])
    return inspect_bytes(
        model(graph(nodes, [weights], [value("t0", "float32", [1, 3, side, side])]))
    )


def test_a_float_file_says_what_it_takes_and_costs(tmp_path: Path) -> None:
    found = inspected(writer.convolution(), tmp_path).contents
    assert (found.scheme, found.form, found.granularity) == ("float32", None, None)
    assert [(t.name, t.shape, t.dtype) for t in found.inputs] == [("x", (-1, 3, 8, 8), "float32")]
    assert found.work.multiply_accumulates == WORK
    assert found.work.quantized_work_share == 0
    assert (found.opset, found.ir_version, found.producer) == (17, 8, "a test 1")
    assert found.parameters == 4 * 27 + 4
    assert found.export == "open"


@pytest.mark.parametrize(
    ("activations", "weights", "content", "scheme"),
    [
        ("int8", "int8", bytes([127]) * 108, "static_int8"),
        ("uint8", "int8", bytes([127]) * 108, "static_u8s8"),
        ("uint8", "int8", bytes([0x81]) * 108, "static_u8s8"),  # -127
        ("uint8", "int8", bytes([64, 0xC0]) * 54, "static_u8s8_reduced"),
        ("uint8", "uint8", None, "full_uint8"),
    ],
)
def test_types_of_integers_name_the_scheme(
    activations: str, weights: str, content: bytes | None, scheme: str, tmp_path: Path
) -> None:
    found = inspected(writer.quantized(activations, weights, content), tmp_path).contents
    assert (found.scheme, found.form, found.granularity) == (scheme, "QDQ", "per_channel")
    assert found.work.quantized_work_share == 1
    assert found.parameters == 4 * 27  # scales and zero points are none


def test_operators_of_integers_and_those_that_quantize_as_they_run(tmp_path: Path) -> None:
    named = ["x", "xs", "xz", "w", "ws", "wz", "xs", "xz"]
    constants = [
        tensor("xs", "float32", []), tensor("xz", "int8", []), tensor("ws", "float32", []),
        tensor("wz", "int8", []), tensor("w", "int8", [4, 3, 3, 3]),
    ]  # fmt: skip
    inputs = [value("x", "int8", [1, 3, 8, 8])]
    static = model(graph([node("QLinearConv", named, ["y"])], constants, inputs))
    found = inspected(static, tmp_path).contents
    assert (found.scheme, found.form, found.granularity) == (
        "static_int8", "QOperator", "per_tensor",
    )  # fmt: skip
    assert found.work.multiply_accumulates == 6 * 6 * 4 * 27
    assert FILES.built_scheme(tmp_path / "model", "static_int8", False) == "static_int8_qoperator"
    for dtype in ("int8", "uint8"):
        nodes = [
            node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
            node("ConvInteger", ["q", "w", "z", "wz"], ["y"]),
        ]
        weights = [tensor("w", dtype, [4, 3, 3, 3]), tensor("wz", dtype, [])]
        image = [value("x", "float32", [1, 3, 8, 8])]
        found = inspected(model(graph(nodes, weights, image)), tmp_path).contents
        assert (found.scheme, found.granularity) == (f"dynamic_{dtype}", "per_tensor")


def test_integer_weights_that_are_multiplied_as_floats_are_weights_only(tmp_path: Path) -> None:
    nodes = [
        node("DequantizeLinear", ["wq", "s"], ["w"]),
        node("MatMul", ["x", "w"], ["y"]),
    ]
    constants = [tensor("wq", "int8", [16, 4]), tensor("s", "float32", [])]
    data = model(graph(nodes, constants, [value("x", "float32", ["n", 16])]))
    found = inspected(data, tmp_path).contents
    assert found.scheme == "weight_only_int8"
    assert found.work.multiply_accumulates == 64
    assert found.work.quantized_work_share == 0


def test_half_precision_and_a_mixture_are_named(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "a"], ["t"]), node("MatMul", ["t", "b"], ["y"])]
    image = [value("x", "float16", [1, 16])]

    def scheme(*types: str) -> str:
        constants = [tensor(n, t, [16, 16]) for n, t in zip("ab", types, strict=True)]
        return inspected(model(graph(nodes, constants, image)), tmp_path).contents.scheme

    assert scheme("float16", "float16") == "float16"
    assert scheme("float16", "float32") == "mixed"


@pytest.mark.parametrize(
    ("steps", "pixels"),
    [
        ([("MaxPool", [2, 2])], 16),
        ([("MaxPool", [3, 2])], 9),
        ([("AveragePool", [2, 2]), ("MaxPool", [2, 2])], 4),
    ],
)
def test_shapes_follow_where_the_file_does_not_say_them(
    steps: list[tuple[str, list[int]]], pixels: int
) -> None:
    assert chain(*steps).work.multiply_accumulates == 3 * pixels


def test_a_reshape_by_a_constant_is_followed_and_by_a_computed_one_is_not(tmp_path: Path) -> None:
    def work(*shape: bytes) -> int | None:
        nodes = [node("Reshape", ["x", "to"], ["t"]), node("MatMul", ["t", "w"], ["y"])]
        constants = [tensor("w", "float32", [48, 10]), *shape]
        data = model(graph(nodes, constants, [value("x", "float32", ["n", 3, 4, 4])]))
        return inspected(data, tmp_path).contents.work.multiply_accumulates

    assert work(integers("to", 0, -1)) == 480
    assert work() is None


def test_what_a_loop_or_somebody_s_own_operator_does_is_not_known(tmp_path: Path) -> None:
    inner = graph([node("MatMul", ["x", "w"], ["y"])], [tensor("w", "float32", [4, 4])])
    loop = node("If", ["c"], ["y"], attributes={"then_branch": inner})
    own = node("Warp", ["y"], ["z"], domain="mine")
    inputs = [value("x", "float32", [1, 4])]
    found = inspected(model(graph([loop, own], [], inputs)), tmp_path).contents
    assert found.work.multiply_accumulates is None
    assert found.work.uncounted == ("If", "MatMul", "mine.Warp")
    assert found.scheme == "float32"  # of what stands in it


def test_weights_in_another_file_cannot_be_pushed(tmp_path: Path) -> None:
    constants = [tensor("w", "float32", [4, 4], external="weights.bin")]
    inputs = [value("x", "float32", [1, 4])]
    data = model(graph([node("MatMul", ["x", "w"], ["y"])], constants, inputs))
    found = inspected(data, tmp_path)
    assert found.contents.external_files == ("weights.bin",)
    assert "weights.bin" in (found.unmeasurable() or "")


def test_the_lines_and_tables_name_what_is_there(tmp_path: Path) -> None:
    data = writer.quantized("uint8", "int8", bytes(108))
    described = inspected(data, tmp_path).describe()
    text = "\n".join(described.lines)
    assert "static_u8s8_reduced, QDQ, weights per channel, weights of 7 bits" in text
    assert "100.0 % of multiply-accumulates" in text and "opset        17" in text
    ((_, rows),) = described.tables
    assert ("DequantizeLinear", "3") in rows


# -- what it is fed


def fed(data: bytes, tmp_path: Path, **asked: object) -> tuple[InputSpec, ...]:
    return inspected(data, tmp_path).feed(Asked(**{"inputs": (), **asked}))  # type: ignore[arg-type]


def test_a_batch_that_is_open_is_one_and_can_be_more(tmp_path: Path) -> None:
    (spec,) = fed(writer.convolution(), tmp_path, batches=(1, 4))
    assert (spec.shape, spec.dtype, spec.name) == ((1, 3, 8, 8), "float32", "")


@pytest.mark.parametrize(
    ("data", "asked", "message"),
    [
        (writer.convolution(batch=1), {"batches": (4,)}, "batch 4: its input x .* fixed first"),
        (writer.convolution(side="side"), {}, r"leaves open .*input_size: \[224\]"),
        (writer.convolution(), {"input_sizes": (96,)}, "height and width are not open"),
        (writer.convolution(), {"inputs": (InputSpec((1, 3, 8, 8), name="z"),)}, "no input 'z'"),
        (writer.convolution(), {"inputs": (InputSpec((1, 3, 9, 9)),)}, "is another"),
        (writer.convolution(), {"inputs": (InputSpec(dtype="int8"),)}, "takes float32"),
        (
            model(graph([node("Identity", ["x"], ["y"])], [], [value("x", "string", [1])])),
            {},
            "takes string",
        ),
        (
            model(graph([node("Identity", ["x"], ["y"])], [], [value("x", "float32", None)])),
            {},
            "does not say the shape",
        ),
    ],
)
def test_what_cannot_be_fed_is_refused_with_what_to_write(
    data: bytes, asked: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(FeedingError, match=message):
        fed(data, tmp_path, **asked)


def test_open_sides_are_set_by_a_suite(tmp_path: Path) -> None:
    data = writer.convolution(side="side")
    assert fed(data, tmp_path, input_sizes=(96,))[0].shape == (1, 3, -1, -1)
    asked = (InputSpec((1, 3, 64, 64)),)
    assert fed(data, tmp_path, inputs=asked)[0].shape == (1, 3, 64, 64)


# -- files that are none


@pytest.mark.parametrize(
    "data",
    [
        b"",
        model(b"")[:-1],
        number(1, 8),  # no graph
        model(graph([])) + block(7, b""),  # two
        number(1, 8) + block(7, b"\x0a\xff\xff\xff\x7f"),  # longer than the file
        number(1, 8) + block(7, b"\xff" * 30),  # a number that does not end
        number(1, 8) + block(7, b"\x0b"),  # a group
        model(graph([], [tensor("w", "float32", [1 << 40, 1 << 40], b"")])),
        model(graph([], [block(8, "w") + number(1, -1)])),
        model(graph([], [block(8, "w") + number(1, 1) * 65])),
        model(graph([], [number(8, 1)])),
    ],
)
def test_a_broken_file_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        inspect_bytes(data)


def test_a_broken_file_is_named_with_the_next_step(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(writer.convolution()[:-40])
    with pytest.raises(ModelBuildError, match=r"net\.onnx: is not a complete \.onnx file: .*again"):
        inspect_any(path)
    with pytest.raises(ModelBuildError, match="has no signatures"):
        inspect_any(path, "serving")


def nested(depth: int) -> bytes:
    inner = graph([node("Identity", ["x"], ["y"])])
    for _ in range(depth):
        inner = graph([node("If", ["c"], ["y"], attributes={"then_branch": inner})])
    return model(inner)


def test_graphs_in_graphs_end() -> None:
    assert inspect_bytes(nested(10)).scheme == "float32"
    with pytest.raises(MalformedError, match="deep"):
        inspect_bytes(nested(400))


_MANY_PARTS = """
import resource, sys
from orchestrator.frameworks.onnx.inspect import inspect_bytes
from orchestrator.frameworks.onnx.wire import MalformedError
from tests.onnx_writer import block, graph, model, node, number

resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
for data in (
    model(graph([b""] * 1_500_000)),
    model(graph([], [b"".join([number(1, 1)] * 1_500_000)])),
    model(graph([node("Concat", ["x"] * 1_500_000, ["y"])])),
    model(graph([node("Add", ["x", "x"], ["x"])] * 100_000)),
):
    try:
        print(inspect_bytes(data).scheme)
    except MalformedError as exc:
        print(exc)
"""


def test_files_of_many_parts_take_bounded_time_and_memory() -> None:
    """A real machine takes seconds; the bounds are those of one that is slow and busy."""
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", _MANY_PARTS],
        check=False,
        capture_output=True,
        text=True,
        cwd=root,
        timeout=280,
    )
    more = "it has more parts than any model"
    assert done.stdout.splitlines() == [more, more, more, "float32"], done.stderr


def test_bytes_changed_at_random_end_in_an_answer_or_an_error() -> None:
    whole, dice = writer.quantized("uint8", "int8"), random.Random(1)
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 8)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        try:
            inspect_bytes(bytes(data[: dice.randrange(1, len(data) + 1)])).to_json()
        except MalformedError:
            continue
