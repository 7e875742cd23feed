"""Makes the small ``.tflite`` files beside it; run by hand where the set changes, needs TensorFlow.

``python tests/data/zoo/make.py``. The weights are random: the bytes change, what is said of them in
``expected.json`` does not. The files were made by TensorFlow 2.21.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

HERE = Path(__file__).parent
DEQUANTIZE = schema.BuiltinOperator.DEQUANTIZE


def network() -> Any:
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [
            layers.Input((16, 16, 3)),
            layers.Conv2D(16, 3, activation="relu"),  # 432 weights: too few to be quantized
            layers.Conv2D(16, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(128),
        ]
    )


def images() -> Iterator[list[Any]]:
    rng = np.random.default_rng(0)
    for _ in range(8):
        yield [rng.uniform(-1, 1, (1, 16, 16, 3)).astype(np.float32)]


def convert(model: Any, **settings: Any) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if settings:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    for name, value in settings.items():
        place = converter.target_spec if name.startswith("supported") else converter
        setattr(place, name, value)
    return bytes(converter.convert())


def dequantize_first(data: bytes, operators: int) -> bytes:
    """Put a DEQUANTIZE between integer weights and the first operators that use them."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    graph = model.subgraphs[0]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = DEQUANTIZE
    code.version = 2
    model.operatorCodes.append(code)
    changed: list[Any] = []
    for operator in graph.operators:
        weights = graph.tensors[operator.inputs[1]] if len(operator.inputs) == 3 else None
        if weights is not None and weights.type == schema.TensorType.INT8 and operators > 0:
            operators -= 1
            changed.append(insert(model, graph, operator))
        changed.append(operator)
    graph.operators = changed
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def insert(model: Any, graph: Any, operator: Any) -> Any:
    source = graph.tensors[operator.inputs[1]]
    plain = schema.TensorT()
    plain.name, plain.shape, plain.type = source.name + b"_float", source.shape, 0
    plain.buffer = len(model.buffers)
    model.buffers.append(schema.BufferT())
    graph.tensors.append(plain)
    dequantize = schema.OperatorT()
    dequantize.opcodeIndex = len(model.operatorCodes) - 1
    dequantize.inputs = [operator.inputs[1]]
    dequantize.outputs = [len(graph.tensors) - 1]
    operator.inputs = [operator.inputs[0], len(graph.tensors) - 1, operator.inputs[2]]
    return dequantize


def main() -> None:
    tf.keras.utils.set_random_seed(0)
    model = network()
    int8 = {
        "representative_dataset": images,
        "supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8],
    }
    integer_ends = {"inference_input_type": tf.int8, "inference_output_type": tf.int8}
    dynamic_range = convert(model, allow_custom_ops=False)
    files = {
        "float32": convert(model),
        "float16": convert(model, supported_types=[tf.float16]),
        "dynamic_range": dynamic_range,
        "full_int8": convert(model, **int8, **integer_ends),
        "full_int8_float_ends": convert(model, **int8),
        "full_int8_per_tensor": convert(
            model, **int8, **integer_ends, _experimental_disable_per_channel=True
        ),
        "weight_only_int8": dequantize_first(dynamic_range, 99),
        "mixed": dequantize_first(dynamic_range, 1),
    }
    for name, data in files.items():
        Interpreter(model_content=data).allocate_tensors()
        (HERE / f"{name}.tflite").write_bytes(data)


if __name__ == "__main__":
    main()
