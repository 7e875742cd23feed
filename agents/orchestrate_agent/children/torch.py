"""The child that measures one TorchScript file in the device's own Python.

``python <agent>.pyz torch --model PATH --threads N ...`` runs the model in the torch of that
Python, which needs nothing else of PyTorch's family, but for torchvision where a file asks for its
operators, as detectors do. Quantities and phases are those of
``measuring``; what is particular here:

* initialisation: ``torch.jit.load`` onto the processor, which packs integer weights for the
  engine. TorchScript plans a graph while running it: that is paid for by the first
  two inferences, which are the first inference and the warm-up of the result;
* an inference: the call of the model under ``inference_mode``; on a GPU, until it has finished;
* on a GPU, ``gpu_peak_bytes`` of ``memory``: the most that torch had allocated there at one time
  since just before the model was loaded, its context and libraries not among it.

What is fed is given by ``--inputs``, or is one input of float32 whose shape stands in the artifact
(see ``EXTRA_FILE``).
Standard library only, but for torch. The module is not called ``torch``: run as a script, it would
import itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
import zipfile
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from orchestrate_agent.children.measuring import (
    INPUT_SEED,
    INTEGER_BOUNDS,
    Begin,
    ChildError,
    SaySample,
    add_inputs,
    base_parser,
    check_origin,
    enter_site,
    head_and_size,
    memory_before,
    memory_now,
    microseconds,
    phases_of,
    result_of,
    run_child,
    run_phases,
)
from orchestrate_agent.children.outputs import Output, checked
from orchestrate_agent.children.samples import add_samples, answer_samples
from orchestrate_agent.children.torch_outputs import Answering

#: In the artifact, as JSON: ``{"input_shape": [3, 224, 224], …}``, the batch left out.
EXTRA_FILE = "orchestrate.json"

ENGINES = ("default", "x86", "fbgemm", "qnnpack", "onednn")
PROCESSORS = ("cpu", "cuda")

# torch has one exception type for most of what goes wrong, and these words. cuDNN and cuBLAS say it
# in their own; the last two are a Jetson's, whose driver knows no NVML to ask what is left.
_OUT_OF_MEMORY = (
    "not enough memory",
    "can't allocate memory",
    "Cannot allocate memory",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "NvMapMemAlloc",
    "NVML_SUCCESS == r INTERNAL ASSERT FAILED",
    "std::bad_alloc",
)
_INCOMPATIBLE = (
    "Unknown builtin op",
    "Unknown type name",
    "produced file format version",
    "Could not run 'quantized::",
    "maximum supported version for reading",
    "no kernel image is available for execution",
)
#: Begins what TorchScript prints around an error of an inference.
_LISTING = "Traceback of TorchScript"
_NO_MODEL = ("constants.pkl", "PytorchStreamReader", "not found in the archive")


class LoadedModel(NamedTuple):
    model: Any
    inputs: List[Dict[str, Any]]
    init_us: float


def main(argv: Sequence[str]) -> int:
    """Measure, print the result line, return the exit code."""
    args = _parser().parse_args(argv)
    return run_child(lambda begin, say: measure(args, begin, say))


def _parser() -> argparse.ArgumentParser:
    parser = base_parser("torch", "Measure one TorchScript file.")
    parser.add_argument("--engine", choices=ENGINES, default="default")
    parser.add_argument("--processor", choices=PROCESSORS, default="cpu")
    add_inputs(parser)
    add_samples(parser)
    parser.add_argument(
        "--profile", action="store_true", help="then the operators of as many inferences again"
    )
    return parser


def measure(args: argparse.Namespace, begin: Begin, say: SaySample) -> Dict[str, Any]:
    """Measure everything that the result line holds. Raises ChildError or MemoryError."""
    begin("import")
    size_bytes = _model_size(args.model)
    enter_site(args.site)
    torch = _import_torch()
    check_origin(args.site, torch)
    _set_up(torch, args)
    phases = phases_of(args)
    memory = memory_before(args)
    begin("load")
    with torch.inference_mode():
        loaded = load(torch, args)
        memory["init"] = memory_now(memory["start"])
        answering = Answering(
            torch,
            loaded.model,
            loaded.inputs,
            args.processor,
            lambda generator, each: _random_input(torch, generator, each),
        )
        if args.samples:
            begin("samples")
            with _translated("cannot answer a sample"):
                answered = answer_samples(answering, len(loaded.inputs), args, say)
        else:
            invoke, fill = _inference(torch, loaded, args)
            run_phases(invoke, fill, phases, begin, _failed_inference)
        memory["end"] = memory_now(memory["init"])
        memory["gpu_peak_bytes"] = _gpu_peak(torch, args)
        begin("report")
        operators = _operators(torch, invoke, phases[1].runs, args) if args.profile else None
        if not args.samples:
            answered = checked(lambda: _answer_seeded(answering, args))
    return result_of(
        args,
        phases,
        runtime="torch",
        runtime_version=str(torch.__version__),
        threads=int(torch.get_num_threads()),
        engine=str(torch.backends.quantized.engine),
        processor=args.processor,
        model_size_bytes=size_bytes,
        inputs=[
            {"name": each.get("name", ""), "shape": each["shape"], "dtype": _dtype_of(each)}
            for each in loaded.inputs
        ],
        init_us=loaded.init_us,
        memory=memory,
        operators=operators,
        **answered,
    )


def _answer_seeded(answering: Answering, args: argparse.Namespace) -> Tuple[float, List[Output]]:
    """What the model answers to the same values in every process. Raises ChildError."""
    with _translated("the model could not be asked"):
        return answering.answer_seeded(args.check_range)


def _failed_inference(error: Exception) -> ChildError:
    return ChildError(kind_of(str(error)), "an inference failed: %s" % essence(str(error)))


def essence(message: str) -> str:
    """Return what went wrong, without the listing of the program that TorchScript puts around it.

    An error of an inference stands in the last line, below the listing; one of loading above it.
    """
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    listing = [place for place, line in enumerate(lines) if line.startswith('File "')]
    if not listing:
        return " ".join(lines)[:1000]
    if _LISTING in message:
        return lines[-1][:1000]
    return " ".join(lines[: listing[0]]).rstrip(" :")[:1000]


def kind_of(message: str) -> str:
    """Return the kind of error that torch's message stands for."""
    if any(words in message for words in _OUT_OF_MEMORY):
        return "out_of_memory"
    return "incompatible" if any(words in message for words in _INCOMPATIBLE) else "failed"


def _model_size(path: str) -> int:
    head, size = head_and_size(path, 4)
    if head != b"PK\x03\x04" or not zipfile.is_zipfile(path):
        raise ChildError(
            "invalid_model", "%s is not a TorchScript file, for it is not a zip" % path
        )
    return size


def _import_torch() -> Any:
    try:
        import torch  # noqa: PLC0415  # what is missing is told on the wire
    except (ImportError, OSError) as error:  # OSError: a shared library of torch's is missing
        raise ChildError(
            "no_runtime",
            "%s cannot import torch (%s); install it there: %s -m pip install torch"
            % (sys.executable, error, sys.executable),
        ) from error
    return torch


def _set_up(torch: Any, args: argparse.Namespace) -> None:
    """Set threads, engine and processor before the model is loaded: weights are packed for them."""
    torch.set_num_threads(args.threads)
    torch.set_num_interop_threads(1)
    supported = [name for name in torch.backends.quantized.supported_engines if name != "none"]
    if args.engine != "default":
        if args.engine not in supported:
            raise ChildError(
                "incompatible",
                "this build of torch %s has no quantized engine %s; it has %s"
                % (torch.__version__, args.engine, ", ".join(supported) or "none"),
            )
        torch.backends.quantized.engine = args.engine
    if args.processor == "cuda" and not torch.cuda.is_available():
        raise ChildError(
            "incompatible",
            "torch %s finds no CUDA device here; use processor: [cpu], or install a torch built "
            "for this machine's driver" % torch.__version__,
        )


def load(torch: Any, args: argparse.Namespace) -> LoadedModel:
    """Load the model onto its processor, and say what it takes; timed as one. Raises ChildError."""
    extra: Dict[str, Any] = {EXTRA_FILE: ""}
    with _translated("cannot load the model"):
        if args.processor == "cuda":
            _refuse_quantized(torch.jit.load(args.model, map_location="cpu"))
            torch.cuda.synchronize()  # which makes the context, as importing does on a CPU
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter_ns()
        try:
            model = _loaded(torch, args, extra)
        except RuntimeError as error:
            if not _has_registered(str(error)):
                raise
            start = time.perf_counter_ns()
            model = _loaded(torch, args, extra)
        model.eval()
        if args.processor == "cuda":
            torch.cuda.synchronize()
        end = time.perf_counter_ns()
    inputs = args.inputs
    if not inputs:
        shape = _shape_in(extra[EXTRA_FILE])
        if shape is None:
            raise ChildError(
                "invalid_model",
                "%s does not say what it takes; give its input's shape" % args.model,
            )
        inputs = [{"shape": [args.batch, *shape]}]
    return LoadedModel(model, inputs, microseconds(end - start))


def _loaded(torch: Any, args: argparse.Namespace, extra: Dict[str, Any]) -> Any:
    # straight to the processor: a frozen model's weights are constants, which no move reaches
    return torch.jit.load(args.model, map_location=args.processor, _extra_files=extra)


def _has_registered(message: str) -> bool:
    """Whether the operators that a file asks for are there now: detectors ask for torchvision's,
    which torch has once that is imported."""
    if "torchvision::" not in message:
        return False
    try:
        import torchvision  # noqa: F401, PLC0415  # for its operators alone
    except (ImportError, OSError, RuntimeError):  # RuntimeError: it was built for another torch
        return False
    return True


def _gpu_peak(torch: Any, args: argparse.Namespace) -> Optional[int]:
    return int(torch.cuda.max_memory_allocated()) if args.processor == "cuda" else None


def _operators(
    torch: Any, invoke: Callable[[], object], runs: int, args: argparse.Namespace
) -> List[Sequence[Any]]:
    """(kind, how many, microseconds) of an inference, each operator without those it calls."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if args.processor == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    runs = max(1, runs)
    with _translated("cannot profile"), torch.profiler.profile(activities=activities) as profiler:
        for _ in range(runs):
            invoke()
    averages = profiler.key_averages()
    if args.processor == "cuda":
        times = [(each, float(each.self_device_time_total)) for each in averages]
    else:
        times = [(each, float(each.self_cpu_time_total)) for each in averages]
    return [[each.key, each.count / runs, us / runs] for each, us in times if us > 0]


def _refuse_quantized(model: Any) -> None:
    kinds = sorted(quantized_operators(model))
    if kinds:
        raise ChildError(
            "incompatible",
            "a quantized TorchScript model runs on cpu only: torch has no CUDA kernels for %s"
            % ", ".join(kinds[:4]),
        )


def quantized_operators(model: Any) -> Dict[str, int]:
    """Return how often each operator on quantized data occurs in the model, by its name."""
    found: Dict[str, int] = {}
    for node in model.inlined_graph.nodes():
        kind = str(node.kind())
        if kind.startswith("quantized::"):
            found[kind] = found.get(kind, 0) + 1
    return found


def _shape_in(extra: Any) -> Optional[List[int]]:
    """The input's shape that our builder wrote into the file; None in anybody else's."""
    try:
        shape = json.loads(extra)["input_shape"]
    except (ValueError, KeyError, TypeError):
        return None
    right = isinstance(shape, list) and all(type(size) is int and size > 0 for size in shape)
    return shape if right and shape else None


def _inference(
    torch: Any, loaded: LoadedModel, args: argparse.Namespace
) -> "tuple[Callable[[], object], Callable[[], None]]":
    """(the inference, what fills its inputs): uniform values, as ``benchmark_model`` draws them."""
    with _translated("cannot make an input"):
        generator = torch.Generator().manual_seed(INPUT_SEED)
        values = [
            _random_input(torch, generator, each).to(args.processor) for each in loaded.inputs
        ]
        fed = [torch.empty_like(each) for each in values]
    model, pairs = loaded.model, list(zip(fed, values))
    synchronize = torch.cuda.synchronize if args.processor == "cuda" else None
    if synchronize is None and len(pairs) == 1:
        image, value = pairs[0]
        return lambda: model(image), lambda: image.copy_(value)

    def invoke() -> None:
        model(*fed)
        if synchronize is not None:
            synchronize()

    def fill() -> None:
        for place, value in pairs:
            place.copy_(value)
        if synchronize is not None:
            synchronize()

    return invoke, fill


def _dtype_of(spec: Dict[str, Any]) -> str:
    return str(spec.get("dtype") or "float32")


def _random_input(torch: Any, generator: Any, spec: Dict[str, Any]) -> Any:
    """Uniform values of the input's type: in its range, else as for ``.tflite`` files."""
    name, shape = _dtype_of(spec), spec["shape"]
    dtype = getattr(torch, name, None)
    if dtype is None:
        raise ChildError("failed", "this torch has no type %s to feed" % name)
    if "float" in name:
        values = torch.rand(shape, generator=generator, dtype=torch.float32)
        if "low" in spec:
            values = values * (spec["high"] - spec["low"]) + spec["low"]
        else:
            values = values - 0.5
        return values if name == "float32" else values.to(dtype)
    low, high = INTEGER_BOUNDS.get(name, (0, 99))
    low, high = int(spec.get("low", low)), int(spec.get("high", high))
    return torch.randint(low, high + 1, shape, generator=generator).to(dtype)


@contextlib.contextmanager
def _translated(what: str) -> Any:
    """Raise torch's errors as ours."""
    try:
        yield
    except (ChildError, MemoryError):
        raise
    # of whatever class: what a script raises is a torch.jit.Error, which is not a RuntimeError
    except Exception as error:
        message = " ".join(str(error).split())
        kind = kind_of(message)  # of all of it
        if kind == "failed" and any(words in message for words in _NO_MODEL):
            kind = "invalid_model"
        raise ChildError(kind, "%s: %s" % (what, essence(str(error)))) from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
