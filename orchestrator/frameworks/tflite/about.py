"""TensorFlow Lite, in plain values."""

from __future__ import annotations

from orchestrator.artifacts.constraint import Constraint
from orchestrator.artifacts.tool import Tool
from orchestrator.frameworks.about import Framework, Library, RunnerAbout, SchemeAbout
from orchestrator.trial import TrialKind

#: The runtime of 2023, which files can be built for.
OLD_RUNTIME = "tflite-2.14"
_CONVERT = "convert it to .tflite (`tf.lite.TFLiteConverter`)"
#: What is built against it dies while it is imported under numpy 2.
_NUMPY_1 = "numpy<2"
_FACTORS = {"delegate": ("xnnpack", "none"), "export": ("open", "fixed")}

TOOL = Tool(
    name="benchmark_model",
    official="https://storage.googleapis.com/tensorflow-nightly-public/prod/tensorflow/release/"
    "lite/tools/nightly/latest/{platform}_benchmark_model",
    platforms={
        "x86_64": "linux_x86-64",
        "aarch64": "linux_aarch64",
        "armv7l": "linux_arm",
        "armv6l": "linux_arm",
        "armv8l": "linux_arm",  # what a 64-bit kernel calls itself to a 32-bit program
    },
    android={
        "arm64-v8a": "android_aarch64",
        "armeabi-v7a": "android_arm",
        "armeabi": "android_arm",
        "x86_64": "android_x86-64",
    },
    unpublished=frozenset(("android_x86-64",)),  # an emulator's
    instead="litert",
)

BENCHMARK_MODEL = RunnerAbout(
    name="benchmark_model",
    kinds=frozenset((TrialKind.TIMING, TrialKind.MEMORY, TrialKind.PROFILE)),
    lacks={TrialKind.ACCURACY: "the official tool feeds random inputs and shows no outputs"},
    tool=TOOL,
    factors=_FACTORS,
    batches=False,
    android=True,
    shows_outputs=False,
    # it has its libraries in itself
)
LITERT = RunnerAbout(
    name="litert",
    kinds=frozenset((TrialKind.TIMING, TrialKind.MEMORY, TrialKind.ACCURACY)),
    lacks={TrialKind.PROFILE: "the Python packages of runner litert have no profiler"},
    libraries=(
        Library("ai-edge-litert", constraints=(Constraint(_NUMPY_1, below="1.1"),)),
        Library("tflite-runtime", constraints=(Constraint(_NUMPY_1),), compatibility=OLD_RUNTIME),
        # ten times the size, and the same inside
        Library("tensorflow", stands_in=False),
    ),
    factors=_FACTORS,
    input_sizes=True,
    measured_in=("pywrap", "litert", "tensorflow"),
)

FRAMEWORK = Framework(
    name="tflite",
    label="TensorFlow Lite",
    parts="orchestrator.frameworks.tflite.parts",
    runners=(BENCHMARK_MODEL, LITERT),
    schemes=(
        SchemeAbout("float32", called=("float32", "fp32", "f32", "float")),
        SchemeAbout(
            "float16",
            phrase="halving the precision of {model}'s weights (float16)",
            called=("float16", "fp16", "f16"),
            same_as=("full_float16", "dynamic_fp16"),
        ),
        SchemeAbout(
            "dynamic_range",
            phrase="quantizing the weights of {model} (dynamic_range)",
            called=(
                "dynamic_range_quantized", "dynamic_range_quant", "dynamic_range_int8",
                "dynamic_range", "dynamic_int8", "dynamic_quant", "dynamic", "drq_int8", "drq",
                "dr",
            ),
            words=r"(dynamic_range|drq)(_(quant(ized)?|int8))?",
            same_as=("dynamic_int8",),
        ),
        SchemeAbout(
            "full_int8",
            phrase="quantizing weights and activations of {model} (full_int8)",
            called=("full_integer_quant", "full_int8", "full_integer", "int8"),
            needs=("representative",),
        ),
        SchemeAbout(
            "weight_only_int8",
            phrase="storing the weights of {model} as integers (weight_only_int8)",
            called=("weight_only_int8", "weight_only", "weightonly", "wo_int8"),
        ),
    ),
    endings=(".tflite", ".lite"),
    builder="TensorFlow",
    packages=("tensorflow",),
    extra="models",
    suite="quick",
    compatibilities=(OLD_RUNTIME,),
    takes=".tflite",
    foreign={
        ".task": ("a MediaPipe bundle", "unzip it and take the .tflite file in it"),
        ".litertlm": (
            "a LiteRT-LM bundle",
            "take the .tflite files out of it (litert-lm-builder)",
        ),
        ".keras": ("a Keras model", _CONVERT),
        ".h5": ("a Keras model", _CONVERT),
        ".pb": ("a TensorFlow graph", _CONVERT),
    },
)  # fmt: skip
