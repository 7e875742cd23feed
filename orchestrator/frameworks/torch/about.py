"""PyTorch, in plain values."""

from __future__ import annotations

from orchestrator.frameworks.about import CALIBRATIONS, Framework, Library, RunnerAbout, SchemeAbout
from orchestrator.trial import TrialKind

#: Its libraries of quantized kernels; ``default`` is what the build of torch chooses.
ENGINES = ("default", "x86", "fbgemm", "qnnpack", "onednn")
PROCESSORS = ("cpu", "cuda")

TORCH = RunnerAbout(
    name="torch",
    kinds=frozenset(TrialKind),
    libraries=(Library("torch", size="hundreds of MB, with CUDA some GB"),),
    factors={"engine": ENGINES, "processor": PROCESSORS},
    measured_in=("torch",),
)

FRAMEWORK = Framework(
    name="torch",
    label="PyTorch",
    parts="orchestrator.frameworks.torch.parts",
    runners=(TORCH,),
    schemes=(
        SchemeAbout("float32"),
        SchemeAbout("dynamic_int8", same_as=("dynamic_range",)),
        SchemeAbout(
            "static_int8",
            same_as=("qat_int8", "full_int8"),
            needs=("representative", "calibration"),
        ),
        *(
            SchemeAbout(
                f"static_int8_{how}",
                f"quantizing {{model}} after calibration by {how} (static_int8_{how})",
                same_as=("static_int8", "qat_int8", "full_int8"),
                needs=("representative",),
            )
            for how in CALIBRATIONS
        ),
        SchemeAbout("qat_int8", same_as=("static_int8", "full_int8"), needs=("dataset",)),
    ),
    endings=(".pt", ".pth", ".jit", ".pts", ".ptl"),
    builder="PyTorch and torchvision",
    packages=("torch", "torchvision"),
    extra="torch",
    suite="pytorch",
    takes="TorchScript",
    foreign={
        ".pt2": ("an archive of torch.export", "write TorchScript of it (`torch.jit.trace`)"),
        ".pte": ("an ExecuTorch program", "export the network as TorchScript or .tflite"),
        ".safetensors": ("weights without a network", "export the model as TorchScript"),
    },
)
