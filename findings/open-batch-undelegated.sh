#!/usr/bin/env bash
# An open batch keeps XNNPACK of tflite-runtime 2.14.0 from taking any node of a model.
#
# Versions   tensorflow 2.21.0 (converter), tflite-runtime 2.14.0 with numpy 1.26.4,
#            ai-edge-litert 2.3.0; CPython 3.11 on x86-64 Linux
# Behaviour  Keras' MobileNet v1 (random weights, float32) is converted twice, with an open batch,
#            which is Keras' default, and with a batch of 1. It ends in reshapes. With an open batch
#            their target shape is computed while the model runs (SHAPE, STRIDED_SLICE, PACK), with a
#            batch of 1 it is a constant. tflite-runtime 2.14.0 then gives XNNPACK no node of the
#            first file, not one convolution, without a message, and all 31 of the second one;
#            ai-edge-litert 2.3.0 takes 30 of 34 and 31 of 31.
# Seen       tflite_runtime 2.14.0 open: XNNPACK takes 0 of 34
#            tflite_runtime 2.14.0 fixed: XNNPACK takes 31 of 31
#            ai_edge_litert 2.3.0 open: XNNPACK takes 30 of 34
#            ai_edge_litert 2.3.0 fixed: XNNPACK takes 31 of 31
#
# Needs Python 3.9 to 3.11, the last ones that tflite-runtime 2.14.0 has wheels for, and 3 GB of room
# in TMPDIR: findings/open-batch-undelegated.sh [PYTHON]. Fails where the behaviour is another one.
set -euo pipefail

python=${1:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

environment() {
    "$python" -m venv "$folder/$1"
    "$folder/$1/bin/pip" install --quiet --disable-pip-version-check "${@:2}"
}
environment converter tensorflow==2.21.0
environment tflite_runtime tflite-runtime==2.14.0 numpy==1.26.4
environment ai_edge_litert ai-edge-litert==2.3.0
cd "$folder"

cat > convert.py <<'PYTHON'
import tensorflow as tf

for name, batch in (("open", None), ("fixed", 1)):
    image = tf.keras.Input(batch_shape=(batch, 224, 224, 3))
    model = tf.keras.applications.MobileNet(weights=None, input_tensor=image)
    with open(f"{name}.tflite", "wb") as file:
        file.write(tf.lite.TFLiteConverter.from_keras_model(model).convert())
PYTHON

cat > count.py <<'PYTHON'
"""Prints how many nodes of the model stand behind the delegate's, for both files."""
import importlib
import sys
from importlib import metadata

package = sys.argv[1]
interpreter_of = importlib.import_module(package + ".interpreter").Interpreter
for name in ("open", "fixed"):
    interpreter = interpreter_of(model_path=name + ".tflite", num_threads=1)
    interpreter.allocate_tensors()
    nodes = interpreter._get_ops_details()
    model = [node for node in nodes if node["op_name"] != "DELEGATE"]
    made_by = {int(tensor): node for node in model for tensor in node["outputs"]}
    taken = set()
    for delegate in (node for node in nodes if node["op_name"] == "DELEGATE"):
        given = {int(tensor) for tensor in delegate["inputs"]}
        waiting = [int(tensor) for tensor in delegate["outputs"]]
        while waiting:
            tensor = waiting.pop()
            node = made_by.get(tensor)
            if node is not None and tensor not in given and node["index"] not in taken:
                taken.add(node["index"])
                waiting += [int(each) for each in node["inputs"]]
    print(f"{package} {metadata.version(package)} {name}: XNNPACK takes {len(taken)} of {len(model)}")
PYTHON

if ! converter/bin/python convert.py > convert.log 2>&1; then
    cat convert.log >&2
    exit 1
fi
for package in tflite_runtime ai_edge_litert; do
    "$package/bin/python" count.py "$package" 2> /dev/null
done | tee seen.txt

cat > expected.txt <<'EXPECTED'
tflite_runtime 2.14.0 open: XNNPACK takes 0 of 34
tflite_runtime 2.14.0 fixed: XNNPACK takes 31 of 31
ai_edge_litert 2.3.0 open: XNNPACK takes 30 of 34
ai_edge_litert 2.3.0 fixed: XNNPACK takes 31 of 31
EXPECTED
if ! diff expected.txt seen.txt; then
    echo "not what was seen before (<); above is what is seen now (>)" >&2
    exit 1
fi
echo "as described"
