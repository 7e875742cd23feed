"""``input:`` and ``signature:`` of a user's model: what is fed, and what is refused in the plan."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.campaign import Places, prepare
from orchestrator.config import Device, Suite, load_suite
from orchestrator.config.inputs import read_inputs, written
from orchestrator.errors import UsageError
from orchestrator.frameworks.feeding import Asked, FeedingError
from orchestrator.frameworks.torch.feeding import feed
from orchestrator.frameworks.torch.file import Argument, StoredType, TorchInspection
from orchestrator.trial import InputSpec
from orchestrator.zoo import OwnFiles, resolve

CASES = Path(__file__).parents[2] / "data" / "cases"


def own(folder: Path, text: str) -> OwnFiles:
    for case in ("fcn", "fcn_dynamic_range", "twosig", "twosig_dynamic_range", "text"):
        shutil.copyfile(CASES / f"{case}.tflite", folder / f"{case}.tflite")
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    suite: Suite = load_suite(str(path))
    return resolve(suite)


def fed(found: OwnFiles) -> set[tuple[InputSpec, ...]]:
    return {artifact.inputs for artifact in found.artifacts.values()}


# -- the forms ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ([1, 3, 224, 224], (InputSpec((1, 3, 224, 224)),)),
        ({"shape": [1, 3], "dtype": "float16"}, (InputSpec((1, 3), dtype="float16"),)),
        (
            {"ids": {"shape": [1, 8], "dtype": "int64", "range": [0, 999]}, "mask": [1, 8]},
            (InputSpec((1, 8), "ids", "int64", 0, 999), InputSpec((1, 8), "mask")),
        ),
        ({"ids": {"range": [0, 9]}}, (InputSpec((), "ids", "", 0, 9),)),
    ],
)
def test_every_form_is_read_and_written_again(said: object, means: Sequence[InputSpec]) -> None:
    assert read_inputs(said) == means
    assert written(read_inputs(said)) == said


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([], "is not an input's shape"),
        ([1, -1, 3], "is not an input's shape"),
        ("big", "is not a shape"),
        ({"x": {"shape": [1], "dtype": "int65"}}, "is not a type"),
        ({"x": {"shape": [1], "kind": "int8"}}, "unknown key"),
        ({"x": {"range": [3, 1]}}, "begins above its end"),
        ({"x": {"range": [1]}}, "smallest and largest"),
        ({"x": {"dtype": "uint8", "range": [0, 300]}}, "not one of uint8"),
        ({"x": {"dtype": "int64", "range": [0, 1.5]}}, "not one of int64"),
    ],
)
def test_what_says_nothing_that_can_be_fed_is_refused(said: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_inputs(said)


# -- .tflite --------------------------------------------------------------------------------------


def test_open_sizes_beside_the_batch_are_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        own(tmp_path, "models: [{file: fcn.tflite}]")
    said = str(caught.value)
    assert "[1, open, open, 3]" in said
    assert "`input: [1, 224, 224, 3]`" in said and "input_size" in said


@pytest.mark.parametrize("said", ["[1, 64, 64, 3]", "{x: [1, 64, 64, 3]}"])
def test_a_shape_settles_what_is_open(tmp_path: Path, said: str) -> None:
    found = own(tmp_path, f"models: [{{file: fcn.tflite, input: {said}}}]")
    assert fed(found) == {(InputSpec((1, 64, 64, 3), "serving_default_x:0", "float32"),)}


def test_the_factor_input_size_settles_pictures(tmp_path: Path) -> None:
    text = "models: [{file: fcn.tflite}]\nfactors: {input_size: [64, 128]}"
    assert fed(own(tmp_path, text)) == {(InputSpec((1, -1, -1, 3), "", "float32"),)}


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("file: fcn.tflite, input: {y: [1, 64, 64, 3]}", "has no input 'y'"),
        ("file: fcn.tflite, input: [64, 64]", "another number of sizes"),
        (
            "file: fcn.tflite, input: {shape: [1, 64, 64, 3], dtype: int8}",
            "takes float32 as its input x, not int8",
        ),
        ("file: text.tflite, input: {range: [0, 0.5]}", "not one of int32"),
        ("file: twosig.tflite, signature: nothing", "no signature 'nothing'; there are"),
    ],
)
def test_what_a_file_contradicts_is_refused(tmp_path: Path, entry: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        own(tmp_path, f"models: [{{{entry}}}]")


def test_a_batch_replaces_a_first_size_of_one_alone(tmp_path: Path) -> None:
    entry = "models: [{file: fcn.tflite, input: [2, 64, 64, 3]}]"
    assert own(tmp_path, entry)
    with pytest.raises(UsageError, match="does not begin with 1"):
        own(tmp_path, f"{entry}\nfactors: {{batch: [4]}}")


def test_a_signature_is_chosen(tmp_path: Path) -> None:
    found = own(tmp_path, "models: [{file: twosig.tflite, signature: encode}]")
    assert {artifact.signature for artifact in found.artifacts.values()} == {"encode"}
    assert {artifact.default_signature for artifact in found.artifacts.values()} == {None}


@pytest.mark.parametrize(("case", "called"), [("twosig", "decode"), ("text", None)])
def test_where_none_is_chosen_of_several_the_runtimes_choice_is_kept(
    tmp_path: Path, case: str, called: str | None
) -> None:
    found = own(tmp_path, f"models: [{{file: {case}.tflite}}]")
    assert {artifact.signature for artifact in found.artifacts.values()} == {None}
    assert {artifact.default_signature for artifact in found.artifacts.values()} == {called}


def test_how_each_file_holds_its_batch_is_kept(tmp_path: Path) -> None:
    shutil.copyfile(CASES / "unet.tflite", tmp_path / "unet.tflite")
    shutil.copyfile(CASES / "sp_sparse_drq.tflite", tmp_path / "sparse.tflite")
    variants = "{float32: unet.tflite, dynamic_range: sparse.tflite}"
    entry = f"models: [{{name: net, variants: {variants}}}]"
    found = own(tmp_path, entry)
    assert {variant.scheme: each.exported for variant, each in found.artifacts.items()} == {
        "float32": "open",
        "dynamic_range": "fixed",
    }


def test_what_the_binary_cannot_be_told_is_refused_in_the_plan(tmp_path: Path) -> None:
    found = own(
        tmp_path,
        "models: [{file: text.tflite, input: {range: [0, 50]}}]\nrunner: benchmark_model",
    )
    here = Device.model_validate(
        {"name": "here", "transport": "local", "benchmark_model": "/bin/true"}, strict=False
    )
    places = Places(tmp_path / "results", tmp_path / "models")
    suite = load_suite(str(tmp_path / "mine.yaml"))
    assert found.artifacts
    with pytest.raises(UsageError, match="cannot hold this name; use runner: litert"):
        prepare([here], suite, places, seed=1)


# -- TorchScript ----------------------------------------------------------------------------------


def a_file(*arguments: Argument, dtype: str = "float32", calls: str = "linear") -> TorchInspection:
    return TorchInspection(
        kind="torchscript",
        scheme=dtype,
        quantized=False,
        stored=(StoredType(dtype, 1, 8),),
        parameters=8,
        operators=((calls, 1),),
        size_bytes=1,
        sha256="0" * 64,
        arguments=arguments or None,
    )


X, IDS, N = Argument("x", "Tensor"), Argument("ids", "Tensor"), Argument("n", "int")


def test_inputs_are_fed_in_the_order_of_the_arguments() -> None:
    asked = Asked((InputSpec((1, 4), "ids", "int64", 0, 9), InputSpec((1, 8), "x")))
    names = [(spec.name, spec.dtype) for spec in feed(a_file(X, IDS), asked)]
    assert names == [("x", "float32"), ("ids", "int64")]


@pytest.mark.parametrize(
    ("found", "asked", "why"),
    [
        (a_file(X), (), "does not say what it is fed; add `input`, for example `input:"),
        (a_file(X, IDS), (InputSpec((1, 8)),), r"takes 2 inputs \(x, ids\).* tells of 1"),
        (a_file(X), (InputSpec((1, 8), "y"),), "has no argument 'y'; its forward takes x"),
        (a_file(X, N), (InputSpec((1, 8)),), "takes int as its argument n"),
        (a_file(X, dtype="float16"), (InputSpec((1, 8)),), "dtype: float16"),
        (a_file(X, dtype="bfloat16"), (InputSpec((1, 8)),), "dtype: bfloat16"),
        (a_file(X, calls="embedding"), (InputSpec((1, 8)),), r"dtype: int64, range: \[0, 999\]"),
        (a_file(X), (InputSpec((8, 8)),), "begins with the batch"),
        (a_file(X), (InputSpec((), "x", "int64"),), "does not say the shape of x"),
    ],
)
def test_what_cannot_be_fed_is_refused_with_what_to_write(
    found: TorchInspection, asked: tuple[InputSpec, ...], why: str
) -> None:
    with pytest.raises(FeedingError, match=why):
        feed(found, Asked(asked))


def test_an_argument_with_a_value_of_its_own_needs_no_input() -> None:
    optional = Argument("scale", "Optional[Tensor]", optional=True)
    assert feed(a_file(X, optional), Asked((InputSpec((1, 8)),)))
