#!/usr/bin/env bash
# ONNX Runtime's int8 on x86-64: which types of integers run in integers, and which are slow there.
#
# Versions   onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6; CPython 3.11 on x86-64 Linux, a CPU with
#            VNNI (Zen 4)
# Behaviour  Two networks of six convolutions, one a chain, one with pairs that read one tensor and
#            whose halves are joined (as SqueezeNet's), are quantized in five ways by
#            onnxruntime.quantization. With int8 activations (QDQ, the quantizer's default) the
#            chain's convolutions run in integers, and not one of those between joins: they run in
#            floats between conversions, without a message. With uint8 activations (u8s8) all run in
#            integers, and quickest. int8 times int8 in the operator format, and uint8 times int8 in
#            ConvInteger (quantize_dynamic's default), run in integers and take over four times as
#            long as float32; ConvInteger with uint8 weights does not.
# Seen       the lines below `expected`; ratios on stderr: dynamic_int8 12 to 17, dynamic_uint8 1.0
#            to 2.1, qdq_s8s8 0.3 (chain) and 1.6 (branches), qoperator_s8s8 10 to 15, qdq_u8s8 0.3
#
# Needs Python 3.11 or later, and 200 MB of room in TMPDIR:
# findings/onnxruntime-int8-activations.sh [PYTHON]. Fails where the behaviour is another one.
set -euo pipefail

python=${1:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"

cat > seen.py <<'PYTHON'
"""Quantizes two networks of six convolutions in five ways and prints what runs of each."""
import collections
import json
import logging
import sys
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static,
)

logging.disable(logging.WARNING)
CHANNELS, SIDE, DEPTH = 64, 28, 6
SHAPE = [1, CHANNELS, SIDE, SIDE]
dice = np.random.default_rng(1)
image = dice.standard_normal(SHAPE).astype("float32")


def write(name, branches):
    """A chain of convolutions; with ``branches`` a pair of them reads each tensor, and their halves
    are joined, as in SqueezeNet."""
    nodes, constants, before = [], [], "x"

    def convolve(label, channels):
        weights = dice.standard_normal((channels, CHANNELS, 3, 3)) / np.sqrt(CHANNELS * 9 / 2)
        constants.append(numpy_helper.from_array(weights.astype("float32"), "w" + label))
        constants.append(numpy_helper.from_array(np.zeros(channels, "float32"), "b" + label))
        inputs = [before, "w" + label, "b" + label]
        nodes.append(helper.make_node("Conv", inputs, ["c" + label], "conv" + label, pads=[1] * 4))
        nodes.append(helper.make_node("Relu", ["c" + label], ["r" + label], "relu" + label))
        return "r" + label

    for layer in map(str, range(DEPTH // 2 if branches else DEPTH)):
        if branches:
            halves = [convolve(layer + side, CHANNELS // 2) for side in "ab"]
            nodes.append(helper.make_node("Concat", halves, ["j" + layer], "join" + layer, axis=1))
            before = "j" + layer
        else:
            before = convolve(layer, CHANNELS)
    graph = helper.make_graph(
        nodes, "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(before, TensorProto.FLOAT, SHAPE)],
        constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, name + "-float32.onnx")


class Images(CalibrationDataReader):
    def __init__(self):
        self.left = [{"x": image}] * 2

    def get_next(self):
        return self.left.pop() if self.left else None


INT8, UINT8 = QuantType.QInt8, QuantType.QUInt8
NETWORKS = ("chain", "branches")
SCHEMES = ("float32", "dynamic_int8", "dynamic_uint8", "qdq_s8s8", "qoperator_s8s8", "qdq_u8s8")
for network in NETWORKS:
    write(network, network == "branches")
    source = network + "-float32.onnx"
    for name, weights in (("dynamic_int8", INT8), ("dynamic_uint8", UINT8)):
        quantize_dynamic(source, f"{network}-{name}.onnx", weight_type=weights)
    for name, form, activations in (
        ("qdq_s8s8", QuantFormat.QDQ, INT8),
        ("qoperator_s8s8", QuantFormat.QOperator, INT8),
        ("qdq_u8s8", QuantFormat.QDQ, UINT8),
    ):
        quantize_static(source, f"{network}-{name}.onnx", Images(), quant_format=form,
                        per_channel=True, activation_type=activations, weight_type=INT8)


def session_of(name, profile=False):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_profiling = profile
    return onnxruntime.InferenceSession(name + ".onnx", options, providers=["CPUExecutionProvider"])


for network in NETWORKS:
    names = [f"{network}-{scheme}" for scheme in SCHEMES]
    sessions = {name: session_of(name) for name in names}
    times = collections.defaultdict(list)
    for _ in range(25):
        for name, session in sessions.items():
            begun = time.perf_counter()
            session.run(None, {"x": image})
            times[name].append(time.perf_counter() - begun)
    for name in names:
        profiled = session_of(name, profile=True)
        profiled.run(None, {"x": image})
        with open(profiled.end_profiling()) as file:
            ran = [e["args"]["op_name"] for e in json.load(file) if e["cat"] == "Node"]
        kinds = collections.Counter(kind for kind in ran if "Conv" in kind)
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        ratio = min(times[name]) / min(times[names[0]])
        slow = ", over four times as long as float32" if ratio > 4 else ""
        print(f"{name}: {told}{slow}")
        print(f"{name}: {ratio:.2f} times as long as float32", file=sys.stderr)
PYTHON

venv/bin/python seen.py | tee seen.txt

cat > expected.txt <<'EXPECTED'
chain-float32: 6 Conv
chain-dynamic_int8: 6 ConvInteger, over four times as long as float32
chain-dynamic_uint8: 6 ConvInteger
chain-qdq_s8s8: 6 QLinearConv
chain-qoperator_s8s8: 6 QLinearConv, over four times as long as float32
chain-qdq_u8s8: 6 QLinearConv
branches-float32: 6 Conv
branches-dynamic_int8: 6 ConvInteger, over four times as long as float32
branches-dynamic_uint8: 6 ConvInteger
branches-qdq_s8s8: 6 Conv
branches-qoperator_s8s8: 6 QLinearConv, over four times as long as float32
branches-qdq_u8s8: 6 QLinearConv
EXPECTED
if ! diff expected.txt seen.txt; then
    echo "not what was seen before (<); above is what is seen now (>)" >&2
    exit 1
fi
echo "as described"
