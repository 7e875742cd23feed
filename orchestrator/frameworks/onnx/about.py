"""ONNX, in plain values."""

from __future__ import annotations

from orchestrator.frameworks.about import Framework, Library, RunnerAbout, SchemeAbout
from orchestrator.trial import TrialKind

#: What may take parts of a graph before the CPU's own kernels, which take the rest; ``none``: they
#: take all of it. Each is an execution provider that a build of the runtime has or has not.
DELEGATES = ("none", "openvino")

ONNXRUNTIME = RunnerAbout(
    name="onnxruntime",
    kinds=frozenset(TrialKind),
    libraries=(
        Library("onnxruntime", size="some 20 MB, and NumPy's as much again"),
        # OpenVINO and the same runtime, of an older version
        Library("onnxruntime-openvino", stands_in=False, size="some 80 MB"),
    ),
    factors={"delegate": DELEGATES},
    input_sizes=True,
    measured_in=("onnxruntime",),
)

FRAMEWORK = Framework(
    name="onnx",
    label="ONNX",
    parts="orchestrator.frameworks.onnx.parts",
    runners=(ONNXRUNTIME,),
    schemes=(
        SchemeAbout("float32"),
        SchemeAbout("float16"),
        SchemeAbout(
            "dynamic_int8",
            phrase="quantizing the weights of {model} to int8 (dynamic_int8)",
        ),
        SchemeAbout(
            "dynamic_uint8",
            phrase="quantizing the weights of {model} to uint8 (dynamic_uint8)",
        ),
        SchemeAbout(
            "static_int8",
            same_as=("full_int8", "static_int8_qoperator"),
            needs=("representative", "calibration"),
        ),
        SchemeAbout(
            "static_int8_qoperator",
            phrase="quantizing weights and activations of {model}, with operators of integers in "
            "the file (static_int8_qoperator)",
            same_as=("static_int8", "full_int8"),
            needs=("representative", "calibration"),
        ),
        SchemeAbout(
            "static_u8s8",
            phrase="quantizing the weights of {model} to int8 and its activations to uint8 "
            "(static_u8s8)",
            same_as=("uint8x8",),
            needs=("representative", "calibration"),
        ),
        SchemeAbout(
            "static_u8s8_reduced",
            phrase="quantizing the weights of {model} to 7 bits and its activations to uint8 "
            "(static_u8s8_reduced)",
            same_as=("static_u8s8", "uint8x8"),
            needs=("representative", "calibration"),
        ),
    ),
    endings=(".onnx",),
    builder="ONNX, ONNX Runtime and PyTorch with torchvision",
    packages=("onnx", "onnxruntime", "torch", "torchvision"),
    extra="onnx",
    suite="onnx",
    takes=".onnx",
    foreign={
        ".ort": (
            "ONNX Runtime's own format",
            "take the .onnx file that it was made of",
        ),
    },
)
