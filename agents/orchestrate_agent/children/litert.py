"""The child that measures one ``.tflite`` file in the device's own Python.

``python <agent>.pyz litert --model PATH --threads N ...`` runs the model in ai-edge-litert,
tflite-runtime or TensorFlow and measures what ``benchmark_model`` measures, by its definitions
(``measuring`` has those that all children share):

* initialisation: building the interpreter, applying the delegate, allocating the tensors;
* an inference: ``invoke()`` alone.

Standard library only, but for numpy and the runtime.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import sys
import time
from importlib import metadata
from typing import Any, Callable, NamedTuple, Sequence

from orchestrate_agent.children.arrays import random_values
from orchestrate_agent.children.litert_outputs import Answering
from orchestrate_agent.children.measuring import (
    INPUT_SEED,
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

#: Images have no more channels than this, and are larger than this many pixels.
_MAX_CHANNELS = 4

#: Where each runtime keeps its interpreter, in the order of preference.
RUNTIMES = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
    "tensorflow": "tensorflow.lite.python.interpreter",
}
#: One import package, several distributions: other builds have names of their own.
_OTHER_DISTRIBUTIONS = {
    "ai-edge-litert": ("ai-edge-litert-nightly",),
    "tflite-runtime": ("tflite-runtime-nightly",),
    "tensorflow": ("tensorflow-cpu", "tensorflow-aarch64", "tf-nightly"),
}

# The runtimes have no exception type for it, only these words.
_INCOMPATIBLE = (
    "unresolved custom op",
    "Didn't find op for builtin opcode",
    "builtin_code out of range",
    "Registration failed",
    # of TensorFlow's own operators: the first wording until 2.4, the second since
    "ops are not supported by this interpreter",
    "is(are) not supported by this interpreter",
    "Model provided is schema version",
    # it takes some kinds of weights (sparse ones) and cannot compute them
    "failed to delegate ",
)
_NO_MEMORY = ("std::bad_alloc", "Cannot allocate memory", "out of memory", "failed to allocate")
_CANNOT_RESHAPE = "XNNPack delegate failed to reshape"
_NO_MODEL = ("not a valid Flatbuffer", "Could not open", "Mmap of", "model identifier")


class Runtime(NamedTuple):
    """``version`` is None where neither a distribution nor the package says it."""

    name: str
    version: str | None
    module: Any
    numpy: Any


class Entry:
    """The graph that is measured: what a runtime calls by itself, or a signature's.

    Runtimes call another graph than the first through a function that copies inputs and outputs
    on the way. So what that function calls is called here: an inference is ``invoke`` alone.
    """

    def __init__(self, interpreter: Any, signature: str | None) -> None:
        self._public = interpreter
        self.graph = 0 if signature is None else self._graph_of(str(signature))
        self._signature = signature

    @property
    def _runtime(self) -> Any:
        # never kept: a runtime that sees another reference to it takes its tensors for held
        return self._public._interpreter

    def _graph_of(self, signature: str) -> int:
        try:
            listed = self._public.get_signature_list()
            if signature not in listed:
                raise ChildError(
                    "failed",
                    "the runtime finds no signature %s in the file; it finds %s"
                    % (signature, ", ".join(listed) or "none"),
                )
            return int(self._runtime.GetSubgraphIndexFromSignature(signature))
        except AttributeError as error:
            raise ChildError(
                "incompatible",
                "this runtime cannot call a signature by its name (%s); use a newer one" % error,
            ) from error

    def inputs(self) -> list[dict[str, Any]]:
        return self._details("inputs") if self.graph else list(self._public.get_input_details())

    def outputs(self) -> list[dict[str, Any]]:
        return self._details("outputs") if self.graph else list(self._public.get_output_details())

    def _details(self, side: str) -> list[dict[str, Any]]:
        tensors = self._public._get_full_signature_list()[self._signature][side]
        return [self._public._get_tensor_details(i, self.graph) for i in tensors.values()]

    def resize(self, detail: dict[str, Any], shape: list[int], numpy: Any) -> None:
        if not self.graph:
            self._public.resize_tensor_input(detail["index"], shape)
            return
        sizes = numpy.array(shape, dtype=numpy.int32)
        self._runtime.ResizeInputTensor(detail["index"], sizes, False, self.graph)

    def allocate(self) -> None:
        if self.graph:
            self._runtime.AllocateTensors(self.graph)
        else:
            self._public.allocate_tensors()

    def set(self, index: int, value: Any) -> None:
        if self.graph:
            self._runtime.SetTensor(index, value, self.graph)
        else:
            self._public.set_tensor(index, value)

    def get(self, index: int) -> Any:
        """Return a copy of a tensor."""
        if self.graph:
            return self._runtime.GetTensor(index, self.graph)
        return self._public.get_tensor(index)

    def call(self) -> Callable[[], object]:
        """Return what runs an inference."""
        if not self.graph:
            invoke: Callable[[], object] = self._public.invoke
            return invoke
        return functools.partial(self._runtime.Invoke, self.graph)

    def delegated_nodes(self) -> tuple[int | None, int | None]:
        """Count the nodes that a delegate took, and all of them; runtimes tell the first graph's
        alone."""
        return (None, None) if self.graph else delegated_nodes(self._public)


class LoadedModel(NamedTuple):
    """``rows``: the first dimension of every output, as the file has it."""

    entry: Entry
    init_us: float
    rows: Sequence[int | None]


def main(argv: Sequence[str]) -> int:
    """Measure, print the result line, return the exit code."""
    args = _parser().parse_args(argv)
    return run_child(lambda begin, say: measure(args, begin, say))


def _parser() -> argparse.ArgumentParser:
    parser = base_parser("litert", "Measure one .tflite file.")
    parser.add_argument("--delegate", choices=("xnnpack", "none"), required=True)
    parser.add_argument("--runtime", choices=("any", *RUNTIMES), default="any")
    parser.add_argument("--input-size", type=int, default=0, help="height and width; 0: its own")
    parser.add_argument("--signature", help="the one to call; default: what a runtime calls")
    add_inputs(parser)
    add_samples(parser)
    return parser


def measure(args: argparse.Namespace, begin: Begin, say: SaySample) -> dict[str, Any]:
    """Measure everything that the result line holds. Raises ChildError or MemoryError."""
    begin("import")
    size_bytes = _model_size(args.model)
    enter_site(args.site)
    runtime = find_runtime(args.runtime)
    check_origin(args.site, runtime.module, runtime.numpy)
    phases = phases_of(args)
    memory = memory_before(args)
    begin("load")
    loaded = load(runtime, args)
    memory["init"] = memory_now(memory["start"])
    details = loaded.entry.inputs()
    answering = Answering(runtime.numpy, loaded.entry, loaded.entry.call())
    if args.samples:
        begin("samples")
        try:
            answered = answer_samples(answering, len(details), args, say)
        except (ValueError, RuntimeError) as error:
            raise _failed_inference(runtime, args, error) from error
    else:
        run_phases(
            loaded.entry.call(),
            _input_filler(runtime.numpy, loaded.entry, details, args),
            phases,
            begin,
            lambda error: _failed_inference(runtime, args, error),
        )
    memory["end"] = memory_now(memory["init"])
    begin("report")
    if args.batch != 1 or args.input_size:
        _check_rows(loaded.rows, loaded.entry, args.batch)
    if not args.samples:
        answered = checked(lambda: _answer_seeded(runtime.numpy, answering, args))
    delegated, total = loaded.entry.delegated_nodes()
    return result_of(
        args,
        phases,
        runtime=runtime.name,
        runtime_version=runtime.version,
        threads=args.threads,
        input_size=args.input_size,
        delegate=args.delegate,
        delegated_nodes=delegated,
        total_nodes=total,
        model_size_bytes=size_bytes,
        inputs=[_described(runtime.numpy, detail) for detail in details],
        init_us=loaded.init_us,
        memory=memory,
        **answered,
    )


def _answer_seeded(
    numpy: Any, answering: Answering, args: argparse.Namespace
) -> tuple[float, list[Output]]:
    """What the graph answers to the same values in every process."""
    error = answering.feed_seeded(
        args.check_range,
        lambda random, detail: _random_input(numpy, random, detail, _spec_of(detail, args)),
    )
    return error, answering.answer()


def _described(numpy: Any, detail: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": str(detail["name"]),
        "shape": [int(size) for size in detail["shape"]],
        "dtype": str(numpy.dtype(detail["dtype"]).name),
    }


# --- the runtime -------------------------------------------------------------------------------


def find_runtime(wanted: str) -> Runtime:
    """Return the runtime named, or the first that this Python can import."""
    names = list(RUNTIMES) if wanted == "any" else [wanted]
    excuses = []
    for name in names:
        try:
            return _import_runtime(name)
        except (ImportError, AttributeError) as error:
            # AttributeError: a runtime built for numpy 1 under numpy 2 dies so while importing
            excuses.append("%s: %s" % (name, error))
    raise ChildError(
        "no_runtime",
        "%s has no runtime (%s); install one there: pip install ai-edge-litert"
        % (sys.executable, "; ".join(excuses)),
    )


def _import_runtime(name: str) -> Runtime:
    module = importlib.import_module(RUNTIMES[name])
    numpy = importlib.import_module("numpy")
    importlib.import_module("numpy.random")  # newer ones import it late, at first use
    if not hasattr(module, "Interpreter"):
        raise ImportError("%s has no Interpreter" % RUNTIMES[name])
    return Runtime(name, _version(name), module, numpy)


def _version(name: str) -> str | None:
    for distribution in (name, *_OTHER_DISTRIBUTIONS[name]):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    package = importlib.import_module(RUNTIMES[name].split(".")[0])
    return getattr(package, "__version__", None)


def load(runtime: Runtime, args: argparse.Namespace) -> LoadedModel:
    """Build the interpreter from the file, memory-mapped, and allocate; timed as one."""
    resolver = _resolver(runtime, args.delegate)
    try:
        start = time.perf_counter_ns()
        interpreter = runtime.module.Interpreter(
            model_path=args.model, num_threads=args.threads, **resolver
        )
        entry = Entry(interpreter, args.signature)
        rows = [_rows(detail) for detail in entry.outputs()]
        if _is_reshaped(args):
            _allocate_resized(runtime, entry, args)
        else:
            entry.allocate()
        end = time.perf_counter_ns()
    except (ValueError, RuntimeError) as error:
        raise ChildError(_kind(str(error)), "cannot load the model: %s" % error) from error
    return LoadedModel(entry, microseconds(end - start), rows)


def _resolver(runtime: Runtime, delegate: str) -> dict[str, Any]:
    """The keyword that switches XNNPACK, which every runtime applies unless told not to."""
    if delegate == "xnnpack":
        return {}
    types = getattr(runtime.module, "OpResolverType", None)
    plain = getattr(types, "BUILTIN_WITHOUT_DEFAULT_DELEGATES", None)
    if plain is None:
        raise ChildError(
            "failed",
            "%s %s cannot run without its default delegates; use delegate: [xnnpack]"
            % (runtime.name, runtime.version),
        )
    return {"experimental_op_resolver_type": plain}


def _is_reshaped(args: argparse.Namespace) -> bool:
    """Whether somebody asks for other shapes than a runtime takes from the file."""
    return args.batch != 1 or args.input_size or any("shape" in each for each in args.inputs)


def _allocate_resized(runtime: Runtime, entry: Entry, args: argparse.Namespace) -> None:
    """Resize every input and allocate. Raises ChildError or MemoryError."""
    try:
        _resize(entry, args, args.batch, runtime.numpy)
    except (ValueError, RuntimeError) as error:
        raise _refused_shape(runtime, args, error) from error


def _refused_shape(runtime: Runtime, args: argparse.Namespace, error: Exception) -> Exception:
    """What it means that resized inputs do not go through the graph."""
    asked = "batch %d" % args.batch
    if args.input_size:
        asked += ", inputs of %d x %d" % (args.input_size, args.input_size)
    for each in args.inputs:
        if "shape" in each:
            asked += ", %s of %s" % (each["name"], each["shape"])
    if _is_out_of_memory(runtime, args, str(error)):
        return MemoryError("%s: %s" % (asked, error))
    doubt = "; or memory is short" if _CANNOT_RESHAPE in str(error) else ""
    return ChildError("incompatible", "the graph cannot take %s: %s%s" % (asked, error, doubt))


def _failed_inference(runtime: Runtime, args: argparse.Namespace, error: Exception) -> Exception:
    """Shapes inside a graph may be open until it runs, so a refusal may come as late as this."""
    if _is_reshaped(args):
        return _refused_shape(runtime, args, error)
    return ChildError("failed", "an inference failed: %s" % error)


def _resize(entry: Entry, args: argparse.Namespace, batch: int, numpy: Any) -> None:
    for detail in entry.inputs():
        own = [int(side) for side in detail["shape"]]
        asked = _spec_of(detail, args).get("shape")
        if asked is not None:
            shape = list(asked) if batch == args.batch else [batch, *asked[1:]]
        elif batch != 1 or args.input_size:
            signature = detail.get("shape_signature")
            is_open = [side == -1 for side in (own if signature is None else signature)]
            shape = _resized(own, batch, args.input_size, is_open)
        else:
            shape = own
        if shape != own:
            entry.resize(detail, shape, numpy)
    entry.allocate()


def _spec_of(detail: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """What is asked for of this input; nothing where nobody does."""
    if not args.inputs:
        return {}
    found: list[dict[str, Any]] = [e for e in args.inputs if e.get("name") == str(detail["name"])]
    if len(found) != 1:
        raise ChildError("failed", "nothing is said of the file's input %s" % detail["name"])
    return found[0]


def _is_out_of_memory(runtime: Runtime, args: argparse.Namespace, message: str) -> bool:
    """XNNPACK has one message for a shape it cannot take and for memory it cannot get.

    A graph that takes two items takes any number of them, memory permitting.
    """
    if any(words in message for words in _NO_MEMORY):
        return True
    if _CANNOT_RESHAPE not in message or args.batch <= 2:
        return False
    try:
        another = runtime.module.Interpreter(model_path=args.model, num_threads=1)
        _resize(Entry(another, args.signature), args, 2, runtime.numpy)
    except (ValueError, RuntimeError):
        return False
    return True


def _check_rows(rows: Sequence[int | None], entry: Entry, batch: int) -> None:
    """Whether every item came out: a reshape to a fixed width can make 16 large ones of 49.

    After an inference, because until then the shape of an output may be open.
    """
    for before, detail in zip(rows, entry.outputs()):
        if before == 1 and _rows(detail) != batch:
            raise ChildError(
                "incompatible",
                "the graph makes %s of %d items in output %s"
                % (_rows(detail), batch, detail["name"]),
            )


def _rows(detail: dict[str, Any]) -> int | None:
    return int(detail["shape"][0]) if len(detail["shape"]) else None


def _resized(shape: list[int], batch: int, size: int, is_open: Sequence[bool]) -> list[int]:
    if not shape:
        raise ValueError("an input is a scalar and has no batch")
    if not size:
        return [batch, *shape[1:]]
    if len(shape) != 4:
        raise ValueError("an input has shape %s, not that of images" % shape)
    open_last = len(is_open) == 4 and is_open[2] and is_open[3] and not is_open[1]
    if open_last or shape[1] <= _MAX_CHANNELS < shape[3]:  # channels first
        return [batch, shape[1], size, size]
    return [batch, size, size, shape[3]]


def _kind(message: str) -> str:
    if any(words in message for words in _INCOMPATIBLE):
        return "incompatible"
    return "invalid_model" if any(words in message for words in _NO_MODEL) else "failed"


def _model_size(path: str) -> int:
    """The file's size in bytes. Some runtimes die by SIGSEGV on what is not a model at all."""
    head, size = head_and_size(path, 8)
    if head[4:8] != b"TFL3":
        raise ChildError("invalid_model", "%s is not a .tflite file: it has no TFL3 mark" % path)
    return size


def delegated_nodes(interpreter: Any) -> tuple[int | None, int | None]:
    """Count (nodes a delegate took, nodes of the model); (None, None) if this runtime cannot
    tell."""
    describe = getattr(interpreter, "_get_ops_details", None)
    if describe is None:
        return None, None
    operators = describe()
    model = [op for op in operators if op["op_name"] != "DELEGATE"]
    taken = set()
    for delegate in operators:
        if delegate["op_name"] == "DELEGATE":
            taken |= _partition(delegate, model)
    return len(taken), len(model)


def _partition(delegate: dict[str, Any], model: Sequence[dict[str, Any]]) -> set[int]:
    """The nodes a delegate's node stands for: all those between its inputs and its outputs."""
    producers = {int(tensor): op for op in model for tensor in op["outputs"]}
    inputs = {int(tensor) for tensor in delegate["inputs"]}
    waiting = [int(tensor) for tensor in delegate["outputs"]]
    nodes = set()
    while waiting:
        tensor = waiting.pop()
        op = producers.get(tensor)
        if op is None or tensor in inputs or op["index"] in nodes:
            continue
        nodes.add(op["index"])
        waiting.extend(int(tensor) for tensor in op["inputs"])
    return nodes


# --- the inputs --------------------------------------------------------------------------------


def _input_filler(
    numpy: Any, entry: Entry, details: Sequence[dict[str, Any]], args: argparse.Namespace
) -> Callable[[], None]:
    """Copies the same random values into every input; the runtime may overwrite its inputs."""
    random = numpy.random.RandomState(INPUT_SEED)
    values = [
        (detail["index"], _random_input(numpy, random, detail, _spec_of(detail, args)))
        for detail in details
    ]

    def fill() -> None:
        for index, value in values:
            entry.set(index, value)

    return fill


def _random_input(numpy: Any, random: Any, detail: dict[str, Any], spec: dict[str, Any]) -> Any:
    shape = [int(size) for size in detail["shape"]]
    own = {"name": detail["name"], "shape": shape, "dtype": detail["dtype"]}
    return random_values(numpy, random, {**spec, **own})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
