"""Files from the field that were once read wrongly, each with what is right about it."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.config import load_suite
from orchestrator.errors import ModelBuildError, UsageError
from orchestrator.frameworks.file_kinds import inspect_any
from orchestrator.frameworks.tflite.inspect import Inspection, inspect_bytes, inspect_file
from orchestrator.frameworks.torch.files import TorchFile
from orchestrator.zoo import OwnFiles, resolve
from tests.tflite_writer import SHARED_TABLES, per_channel_network

CASES = Path(__file__).parent.parent.parent / "data" / "cases"


def case(name: str, signature: str | None = None) -> Inspection:
    return inspect_file(CASES / f"{name}.tflite", signature)


@pytest.mark.parametrize(
    ("name", "scheme", "granularity"),
    [
        ("unet", "float32", None),
        ("unet_float16", "float16", None),
        ("unet_dynamic_range", "dynamic_range", "per_channel"),
        ("unet_full_int8", "full_int8", "per_channel"),
        ("u8in", "float32", None),
        ("sp", "float32", None),
        ("sp_sparse_drq", "dynamic_range", "per_channel"),
        ("sp_dynamic_wi4b32_afp32", "dynamic_int4", "blockwise"),
        ("attn_full_int8", "full_int8", "per_channel"),
        ("fcn", "float32", None),
        ("fcn_dynamic_range", "dynamic_range", "per_channel"),
        ("twosig", "float32", None),
        ("twosig_dynamic_range", "dynamic_range", "per_channel"),
        ("text", "float32", None),
        ("flex", "float32", None),
        ("dense", "float32", None),
        ("dense_dynamic_range", "dynamic_range", "per_channel"),
    ],
)
def test_a_scheme_is_named_for_what_it_is(name: str, scheme: str, granularity: str | None) -> None:
    found = case(name)
    assert (found.scheme, found.granularity) == (scheme, granularity)


def test_every_case_has_its_scheme_here() -> None:
    table = test_a_scheme_is_named_for_what_it_is.pytestmark[0].args[1]  # type: ignore[attr-defined]  # pytest's
    assert {path.stem for path in CASES.glob("*.tflite")} == {row[0] for row in table}


def test_int4_in_blocks_says_so_and_its_shares_agree() -> None:
    found = case("sp_dynamic_wi4b32_afp32")
    assert (found.weight_types, found.activation_types) == (("int4",), ("float32",))
    assert found.block_size == 32
    assert found.work.quantized_operators_share == found.work.quantized_work_share == 1
    assert found.parameters == case("sp").parameters  # the blocks' scales are none


def test_products_of_two_integer_activations_are_quantized() -> None:
    work = case("attn_full_int8").work
    assert (work.quantized_operators_share, work.quantized_work_share) == (1, 1)
    # five dense layers of 64 × 64 on 32 places, and twice 4 heads × 32 × 32 × 16
    assert work.multiply_accumulates == 5 * 32 * 64 * 64 + 2 * 4 * 32 * 32 * 16


def test_what_a_shape_that_is_open_costs_is_not_known() -> None:
    found = case("fcn")
    assert found.inputs[0].shape == (1, -1, -1, 3)
    assert found.work.multiply_accumulates is None
    assert found.work.uncounted == ("CONV_2D",)


@pytest.mark.parametrize("name", ["twosig", "twosig_dynamic_range"])
def test_figures_are_those_of_one_signature(name: str) -> None:
    found = case(name)
    assert found.signature == "decode"  # graph 0 is what a runtime calls
    assert [s.name for s in found.signatures] == ["decode", "encode"]
    decode = 64 * 64 + 64 * 512 + 512 * 64
    assert (found.work.multiply_accumulates, found.parameters) == (decode, decode)
    chosen = case(name, "encode")
    assert chosen.signature == "encode"
    assert (chosen.work.multiply_accumulates, chosen.parameters) == (64 * 64, 64 * 64)
    assert [(t.key, t.shape) for t in chosen.inputs] == [("x", (1, 64))]


def test_a_signature_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(ModelBuildError, match=r"no signature 'prefill'; there are: decode, encode"):
        case("twosig", "prefill")


def test_a_loop_counts_as_often_as_it_runs() -> None:
    """An LSTM of 32 units over 20 steps of 64 numbers, and a dense layer."""
    assert case("text").work.multiply_accumulates == 20 * 4 * 32 * (64 + 32) + 32 * 2 == 245_824


def test_an_operator_of_tensorflow_is_named() -> None:
    found = case("flex")
    assert found.work.uncounted == ("CUSTOM:FlexMatrixInverse",)
    assert found.unknown_operators == ("CUSTOM:FlexMatrixInverse version 1",)


def test_the_oldest_runtime_is_that_of_the_types_not_of_the_claim() -> None:
    """tflite-runtime 2.14.0 computes zeros of the first, LiteRT 1.2 of the second."""
    found = case("dense_dynamic_range")
    assert [(op.version, op.runtime) for op in found.operators] == [(1, "2.17.0")]
    assert found.oldest_runtime == "2.17.0"
    assert found.oldest_because == "FULLY_CONNECTED with int8 weights, one scale a channel"
    blocks = case("sp_dynamic_wi4b32_afp32")
    assert (blocks.min_runtime, blocks.oldest_runtime) == ("1.5.0", "2.21.0")
    assert blocks.oldest_because == "FULLY_CONNECTED with int4 weights in blocks"


@pytest.mark.parametrize(
    "name",
    [p.stem for p in CASES.glob("*.tflite") if not p.stem.startswith(("dense", "sp_dynamic"))],
)
def test_what_the_converter_noted_is_what_we_derive(name: str) -> None:
    """It notes each operator's version by its types, so neither may ask for more."""
    found = case(name)
    assert found.oldest_runtime == found.min_runtime
    assert found.oldest_because is None


# -- large files ----------------------------------------------------------------------------------


def test_a_large_head_with_a_scale_a_channel_is_read() -> None:
    """The shape of a language model: four signatures over one head of 262,144 rows."""
    data = per_channel_network(rows=262_144, signatures=4)
    found = inspect_bytes(data)
    assert (found.scheme, found.granularity) == ("dynamic_range", "per_channel")
    assert [s.name for s in found.signatures] == ["s0", "s1", "s2", "s3"]
    assert found.parameters == 262_144 * 4
    assert {s.parameters for s in found.signatures} == {262_144 * 4}


def test_constants_far_behind_the_tables_are_found() -> None:
    """Where a quantizer puts large ones: ``Buffer.offset``."""
    near, far = (per_channel_network(rows=64, signatures=1, behind=b) for b in (False, True))
    assert len(far) > len(near) - 1000
    for found in (inspect_bytes(near), inspect_bytes(far)):
        assert (found.scheme, found.parameters, found.constant_bytes) == ("dynamic_range", 256, 256)
    assert inspect_bytes(near).content == inspect_bytes(far).content


def test_the_budget_of_a_reader_grows_with_the_file() -> None:
    many = per_channel_network(rows=8, signatures=1, layers=SHARED_TABLES, padding=30_000_000)
    assert inspect_bytes(many).operators[0].count == SHARED_TABLES


# -- PyTorch's files ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("cases")
    argv = [sys.executable, "-W", "ignore", str(CASES / "make_torch.py")]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("net", "float32"),
        ("net_half", "float16"),
        ("net_dynamic_fp16", "dynamic_fp16"),
        ("two", "float32"),
    ],
)
@pytest.mark.parametrize("suffix", ["pt", "jit", "pts", "ptl"])
def test_torchscript_is_told_by_its_content(
    written: Path, tmp_path: Path, name: str, scheme: str, suffix: str
) -> None:
    path = tmp_path / f"{name}.{suffix}"
    path.write_bytes((written / f"{name}.pt").read_bytes())
    file = inspect_any(path)
    assert isinstance(file, TorchFile)
    found = file.contents
    assert (found.kind, found.scheme) == ("torchscript", scheme)


def test_an_archive_of_torch_export_is_named(written: Path) -> None:
    with pytest.raises(ModelBuildError, match=r"archive of torch\.export .*torch\.jit\.trace"):
        inspect_any(written / "net.pt2")


# -- what else is found under a model's name ------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html><body>Sign in</body>", "HTML page"),
        (b"\xef\xbb\xbf<html lang='en'>", "HTML page"),
        (b'{"message": "Not Found"}', "JSON text"),
        (gzip.compress(b"model", mtime=0), "compressed with gzip"),
        (b"LITERTLM\x01\0\0\0\x07\0\0\0", "LiteRT-LM bundle"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 64, "HDF5 file"),
        (b'\x40\0\0\0\0\0\0\0{"__metadata__":{}', "safetensors"),
        (b"GGUF\x03\0\0\0", "GGUF"),
    ],
)
def test_another_file_is_named_for_what_it_is(content: bytes, named: str, tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelBuildError, match=named) as caught:
        inspect_any(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("members", "named"),
    [
        (["face.tflite", "METADATA"], r"bundle of models.*face\.tflite.*unzip"),
        (["config.json", "metadata.json", "model.weights.h5"], "Keras model"),
        (["a.npy", "b.npy"], "NumPy arrays"),
    ],
)
def test_another_archive_is_named_for_what_it_is(
    members: list[str], named: str, tmp_path: Path
) -> None:
    zipfile = pytest.importorskip("zipfile")
    path = tmp_path / "net.task"
    with zipfile.ZipFile(path, "w") as archive:
        for name in members:
            archive.writestr(name, b"x")
    with pytest.raises(ModelBuildError, match=named):
        inspect_any(path)


# -- as variants of a suite -----------------------------------------------------------------------


def own(folder: Path, entry: str) -> OwnFiles:
    path = folder / "mine.yaml"
    path.write_text(f"models: [{entry}]", encoding="utf-8")
    return resolve(load_suite(str(path)))


def put(folder: Path, **cases: str) -> None:
    for name, source in cases.items():
        (folder / f"{name}.tflite").write_bytes((CASES / f"{source}.tflite").read_bytes())


@pytest.mark.parametrize(
    ("entry", "schemes"),
    [
        ("unet", {"float32", "float16", "dynamic_range", "full_int8"}),
        ("sp", {"float32", "dynamic_int4"}),
        ("twosig", {"float32", "dynamic_range"}),
        ("dense", {"float32", "dynamic_range"}),
    ],
)
def test_a_family_is_measured_under_the_names_of_its_schemes(
    tmp_path: Path, entry: str, schemes: set[str]
) -> None:
    for path in CASES.glob(f"{entry}*.tflite"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    found = own(tmp_path, f"{{file: {entry}.tflite}}")
    assert {variant.scheme for variant in found.artifacts} == schemes
    assert all(artifact.no_op is None for artifact in found.artifacts.values())


def repacked(path: Path) -> bytes:
    """The same network in other bytes, as a quantizer writes it that has found nothing to do."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    flatbuffers = pytest.importorskip("flatbuffers")
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    model.description = "quantized"
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize(
    ("entry", "scheme"),
    [
        ("{file: dense.tflite}", "dynamic_wi8b32_afp32"),
        ("{name: m, variants: {float32: dense.tflite, blocks: F}}", "blocks"),
    ],
)
def test_a_quantizer_that_changed_nothing_made_a_no_op(
    tmp_path: Path, entry: str, scheme: str
) -> None:
    put(tmp_path, dense="dense")
    name = "dense_dynamic_wi8b32_afp32.tflite"
    (tmp_path / name).write_bytes(repacked(CASES / "dense.tflite"))
    found = own(tmp_path, entry.replace("F}", f"{name}}}"))
    no_ops = {v.scheme: a.no_op for v, a in found.artifacts.items() if a.no_op is not None}
    assert list(no_ops) == [scheme]
    assert "the same weights (float32)" in no_ops[scheme]


def test_a_file_of_floats_called_int8_is_refused_all_the_same(tmp_path: Path) -> None:
    put(tmp_path, net="unet", net_int8="dense")
    with pytest.raises(UsageError, match=r"net_int8\.tflite contradicts .* holds float32"):
        own(tmp_path, "{file: net.tflite}")
