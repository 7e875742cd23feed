"""What the ends of files' names promise, and which schemes keep the promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config.scheme_names import promised
from orchestrator.config.user_models import split_name

#: Every name a file can have by its content, TFLite's and PyTorch's.
SCHEMES = (
    *("float32", "float16", "full_float16", "bfloat16", "mixed", "dynamic_range", "dynamic_int4"),
    *("full_int8", "full_uint8", "int16x8", "int8x4", "weight_only_int8", "weight_only_int4"),
    *("dynamic_int8", "dynamic_fp16", "static_int8"),
    *("int8", "uint8", "int16"),  # of networks without weights
)


@pytest.mark.parametrize(
    ("name", "stem", "ending"),
    [
        ("vww_96_float", "vww_96", "float"),  # MLPerf Tiny's
        ("vww_96_int8", "vww_96", "int8"),
        ("kws_ref_model_float32", "kws_ref_model", "float32"),
        ("ad01_fp32", "ad01", "fp32"),
        ("pretrainedResnet_quant", "pretrainedResnet", "quant"),
        ("net_f32", "net", "f32"),
        ("net_f16", "net", "f16"),
        ("net_fp16", "net", "fp16"),
        ("net_FP16", "net", "FP16"),
        ("net_uint8", "net", "uint8"),
        ("net_int16x8", "net", "int16x8"),
        ("net_16x8", "net", "16x8"),
        ("net_dynamic_range_quant", "net", "dynamic_range_quant"),  # onnx2tf's
        ("net_integer_quant", "net", "integer_quant"),
        ("net_full_integer_quant", "net", "full_integer_quant"),
        ("net_full_integer_quant_with_int16_act", "net", "full_integer_quant_with_int16_act"),
        ("net_integer_quant_with_int16_act", "net", "integer_quant_with_int16_act"),
        ("net_dynamic_wi4b32_afp32", "net", "dynamic_wi4b32_afp32"),  # ai-edge-quantizer's
        ("net_dynamic_wi8c_hr_afp32", "net", "dynamic_wi8c_hr_afp32"),
        ("net_weight_only_wi8_afp32", "net", "weight_only_wi8_afp32"),
        ("net_static_wi8_ai16", "net", "static_wi8_ai16"),
        ("sp_sparse_drq", "sp_sparse", "drq"),
        ("net_uint8_quant", "net", "uint8_quant"),
        ("mobilenet_v1_1.0_224_quant", "mobilenet_v1_1.0_224", "quant"),
        ("face_full_range", "face_full_range", None),
        ("pose_full", "pose_full", None),
        ("net_8x8", "net_8x8", None),
        ("yolo_half", "yolo_half", None),
        ("net_edgetpu", "net_edgetpu", None),
        ("model_q", "model_q", None),
    ],
)
def test_a_name_is_split_where_its_quantization_begins(
    name: str, stem: str, ending: str | None
) -> None:
    assert split_name(Path(f"{name}.tflite")) == (stem, ending)


@pytest.mark.parametrize(
    ("label", "kept_by"),
    [
        ("float", {"float32", "float16", "full_float16", "bfloat16"}),
        ("f32", {"float32"}),
        ("fp16", {"float16", "full_float16", "dynamic_fp16"}),
        ("my_float16", {"float16", "full_float16", "dynamic_fp16"}),
        ("int16x8", {"int16x8"}),
        ("int16", {"int16x8", "int16", "mixed"}),
        ("16x8", {"int16x8", "mixed"}),
        ("uint8", {"full_uint8", "uint8", "mixed"}),
        ("int4", {"dynamic_int4", "int8x4", "weight_only_int4", "mixed"}),
        (
            "int8_per_tensor",
            {"dynamic_range", "full_int8", "int16x8", "weight_only_int8", "mixed"}
            | {"dynamic_int8", "static_int8", "int8"},
        ),
        ("integer_quant", {"full_int8", "full_uint8", "int16x8", "int8x4", "static_int8", "mixed"}),
        ("full_integer_quant_with_int16_act", {"int16x8", "mixed"}),
        ("dynamic_range_quant", {"dynamic_range", "dynamic_int8", "mixed"}),
        ("dynamic_wi4b32_afp32", {"dynamic_int4", "mixed"}),
        ("dynamic_wi8_afp32", {"dynamic_range", "dynamic_int8", "mixed"}),
        ("static_wi8_ai16", {"int16x8", "mixed"}),
        ("weight_only_wi8_afp32", {"weight_only_int8", "mixed"}),
        ("full_int8", {"full_int8"}),
        ("static_int8", {"static_int8", "full_int8"}),
        ("quant", set(SCHEMES) - {"float32", "float16", "full_float16", "bfloat16"}),
    ],
)
def test_a_label_is_kept_by_these_schemes_alone(label: str, kept_by: set[str]) -> None:
    promise = promised(label)
    assert promise is not None
    assert {scheme for scheme in SCHEMES if promise(scheme)} == kept_by


@pytest.mark.parametrize("label", ["per_channel", "blocks", "pruned", "v2", "open", "fast", ""])
def test_other_labels_promise_nothing(label: str) -> None:
    assert promised(label) is None
