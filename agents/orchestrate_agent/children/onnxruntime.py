"""The child that measures one ``.onnx`` file in the device's own Python.

``python <agent>.pyz onnxruntime --model PATH --threads N ...`` runs the model in ONNX Runtime.
Quantities and phases are those of ``measuring``; what is particular here:

* initialisation: making the session, which optimises the graph (all that it has, its default) and
  packs weights;
* an inference: ``session.run`` with arrays of NumPy's, as its users call it;
* threads: so many of the operators' own (intra-op), one operator after the other; threads that wait
  give the CPU back (no spinning), so that they disturb no neighbour;
* once the times are taken, a session of its own with the runtime's profiler says what ran: which
  provider took how many operators, and how many of those that multiply computed on integers. A
  profile trial has the time of each operator from there.

Standard library only, but for NumPy and the runtime. As part of its package the module is called
``orchestrate_agent.children.onnxruntime``; run as a script, it would import itself.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
from importlib import metadata
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from orchestrate_agent.children.arrays import random_values
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
from orchestrate_agent.children.onnxruntime_outputs import Answering
from orchestrate_agent.children.onnxruntime_profile import (
    CPU,
    Ran,
    operators_of,
    ran_of,
    read_events,
)
from orchestrate_agent.children.outputs import Output, checked
from orchestrate_agent.children.samples import add_samples, answer_samples

#: The provider that takes what it can before the CPU's own kernels, by the name of the delegate.
PROVIDERS = {"none": CPU, "openvino": "OpenVINOExecutionProvider"}
#: Distributions of one import package, of which a Python can hold one.
DISTRIBUTIONS = ("onnxruntime", "onnxruntime-openvino")

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    **{
        "tensor(%s)" % name: name
        for name in (
            "float16 int8 uint8 int16 uint16 int32 uint32 int64 uint64 bool".split()  # noqa: SIM905
        )
    },
}

# The runtime's exceptions share no type, and begin with its status.
_INVALID = ("INVALID_PROTOBUF", "NO_SUCHFILE", "NO_MODEL", "Protobuf parsing failed")
_INCOMPATIBLE = (
    "NOT_IMPLEMENTED",
    "Could not find an implementation",
    "No Op registered for",
    "is not a registered function/op",
    "Unsupported model IR version",
    "ONNX Runtime only *guarantees* support",
    "is under development and support for this is limited",
)
_NO_MEMORY = ("std::bad_alloc", "Failed to allocate memory", "Cannot allocate memory")
_WRONG_SHAPE = ("Got invalid dimensions for input", "Invalid rank for input")


class LoadedModel(NamedTuple):
    """``inputs`` are what is fed: name, shape, type, and the range asked for."""

    session: Any
    inputs: List[Dict[str, Any]]
    init_us: float


def main(argv: Sequence[str]) -> int:
    """Measure, print the result line, return the exit code."""
    args = _parser().parse_args(argv)
    return run_child(lambda begin, say: measure(args, begin, say))


def _parser() -> argparse.ArgumentParser:
    parser = base_parser("onnxruntime", "Measure one .onnx file.")
    parser.add_argument("--delegate", choices=sorted(PROVIDERS), default="none")
    parser.add_argument("--runtime", choices=("any", *DISTRIBUTIONS), default="any")
    parser.add_argument("--input-size", type=int, default=0, help="height and width; 0: its own")
    add_inputs(parser)
    add_samples(parser)
    parser.add_argument(
        "--profile", action="store_true", help="then the operators of as many inferences again"
    )
    return parser


def measure(args: argparse.Namespace, begin: Begin, say: SaySample) -> Dict[str, Any]:
    """Measure everything that the result line holds. Raises ChildError or MemoryError."""
    begin("import")
    _, size_bytes = head_and_size(args.model, 1)
    enter_site(args.site)
    runtime, numpy = _import_runtime()
    check_origin(args.site, runtime, numpy)
    name = _distribution(runtime, args.runtime)
    phases = phases_of(args)
    memory = memory_before(args)
    begin("load")
    loaded = load(runtime, args)
    memory["init"] = memory_now(memory["start"])
    run = loaded.session.run
    answering = Answering(
        numpy,
        loaded.inputs,
        [output.name for output in loaded.session.get_outputs()],
        lambda fed: run(None, fed),
        lambda random, each: random_values(numpy, random, each),
    )
    if args.samples:
        begin("samples")
        with _translated("cannot answer a sample"):
            answered = answer_samples(answering, len(loaded.inputs), args, say)
    else:
        with _translated("cannot make an input"):
            fed, fill = _inputs(numpy, loaded.inputs)
        with _translated(_inference_of(args)):
            run_phases(lambda: run(None, fed), fill, phases, begin, lambda error: error)
    memory["end"] = memory_now(memory["init"])
    begin("report")
    if not args.samples:
        answered = checked(lambda: _answer_seeded(answering, args))
    profiled = _profiled(runtime, numpy, loaded, phases[1].runs if args.profile else 1, args)
    return result_of(
        args,
        phases,
        runtime=name,
        runtime_version=str(runtime.__version__),
        threads=int(loaded.session.get_session_options().intra_op_num_threads),
        input_size=args.input_size,
        delegate=args.delegate,
        model_size_bytes=size_bytes,
        inputs=[
            {name: each[name] for name in ("name", "shape", "dtype")} for each in loaded.inputs
        ],
        init_us=loaded.init_us,
        memory=memory,
        **profiled,
        **answered,
    )


def _answer_seeded(answering: Answering, args: argparse.Namespace) -> "Tuple[float, List[Output]]":
    with _translated("an inference failed", RuntimeError):
        return answering.answer_seeded(args.check_range)


# --- the runtime -------------------------------------------------------------------------------


def _import_runtime() -> Tuple[Any, Any]:
    try:
        import numpy  # noqa: PLC0415  # what is missing is told on the wire
        import numpy.random  # noqa: PLC0415  # newer ones import it late, at first use
        import onnxruntime  # noqa: PLC0415
    except (ImportError, OSError, AttributeError) as error:
        # AttributeError: a runtime built for numpy 1 under numpy 2 dies so while importing
        raise ChildError(
            "no_runtime",
            "%s cannot import onnxruntime (%s); install it there: %s -m pip install onnxruntime"
            % (sys.executable, error, sys.executable),
        ) from error
    return onnxruntime, numpy


def _distribution(runtime: Any, wanted: str) -> str:
    """Return which distribution was imported. Raises ChildError where it is not the one asked
    for."""
    versions = {}
    for name in DISTRIBUTIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    same = [name for name, version in versions.items() if version == str(runtime.__version__)]
    # a build of somebody's own has a name that is not known here, and the package's interface
    found = same[-1] if same else DISTRIBUTIONS[0]
    if wanted not in ("any", found):
        raise ChildError(
            "no_runtime",
            "%s has %s %s and not %s; install it there: %s -m pip install %s"
            % (sys.executable, found, runtime.__version__, wanted, sys.executable, wanted),
        )
    return found


def load(runtime: Any, args: argparse.Namespace) -> LoadedModel:
    """Make the session, and say what is fed; timed as one. Raises ChildError."""
    _check_provider(runtime, args.delegate)
    with _translated("cannot load the model"):
        start = time.perf_counter_ns()
        session = _session(runtime, args)
        end = time.perf_counter_ns()
    if args.delegate != "none" and PROVIDERS[args.delegate] not in session.get_providers():
        raise ChildError(
            "incompatible",
            "onnxruntime %s did not start %s" % (runtime.__version__, PROVIDERS[args.delegate]),
        )
    inputs = [_described(each, args) for each in session.get_inputs()]
    return LoadedModel(session, inputs, microseconds(end - start))


def _session(runtime: Any, args: argparse.Namespace, folder: Optional[str] = None) -> Any:
    """A session; with a ``folder`` one that writes what ran, and when, into it."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = args.threads
    options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    for pool in ("intra_op", "inter_op"):
        options.add_session_config_entry("session.%s.allow_spinning" % pool, "0")
    if folder is not None:
        options.enable_profiling = True
        options.profile_file_prefix = os.path.join(folder, "profile")
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    providers: List[Any] = [CPU]
    if args.delegate != "none":
        own = {"device_type": "CPU", "num_of_threads": str(args.threads)}
        providers.insert(0, (PROVIDERS[args.delegate], own))
    return runtime.InferenceSession(args.model, options, providers=providers)


def _check_provider(runtime: Any, delegate: str) -> None:
    there = runtime.get_available_providers()
    if PROVIDERS[delegate] not in there:
        raise ChildError(
            "incompatible",
            "this build of onnxruntime %s has no %s; it has %s: use delegate: [none], or a build "
            "with it" % (runtime.__version__, PROVIDERS[delegate], ", ".join(there)),
        )


def _described(node: Any, args: argparse.Namespace) -> Dict[str, Any]:
    """An input as it is fed. Raises ChildError where the file takes something else."""
    dtype = _DTYPES.get(node.type)
    if dtype is None:
        raise ChildError(
            "failed", "input %s takes %s, which is not fed here" % (node.name, node.type)
        )
    found = {"name": node.name, "dtype": dtype}
    asked: Dict[str, Any] = {}
    if args.inputs:
        named = [each for each in args.inputs if each.get("name") == node.name]
        if len(named) != 1:
            raise ChildError("failed", "nothing is said of the file's input %s" % node.name)
        asked = {key: named[0][key] for key in ("low", "high") if key in named[0]}
        if "shape" in named[0]:
            return dict(found, shape=[int(size) for size in named[0]["shape"]], **asked)
    return dict(found, shape=_own_shape(node, args), **asked)


def _own_shape(node: Any, args: argparse.Namespace) -> List[int]:
    """The file's shape, what is open in it filled in: a batch, and the sides of an image."""
    own = [size if isinstance(size, int) and size > 0 else None for size in node.shape]
    shape = list(own)
    if own and (own[0] is None or args.batch != 1):
        shape[0] = args.batch  # of a fixed one the runtime says what is wrong
    if args.input_size:
        if len(own) != 4 or own[2] is not None or own.count(None) < 2:
            raise ChildError(
                "incompatible",
                "input %s of shape %s has no open height and width" % (node.name, node.shape),
            )
        sides = (2, 3) if own[3] is None else (1, 2)
        for place in sides:
            shape[place] = args.input_size
    sizes = [size for size in shape if size is not None]
    if len(sizes) != len(shape):
        raise ChildError(
            "failed",
            "input %s leaves open what it is fed (%s); say its shape" % (node.name, node.shape),
        )
    return sizes


def _inputs(
    numpy: Any, inputs: Sequence[Dict[str, Any]]
) -> "Tuple[Dict[str, Any], Callable[[], None]]":
    """(the arrays by name, what fills them): the same random values before each inference."""
    random = numpy.random.RandomState(INPUT_SEED)
    values = {each["name"]: random_values(numpy, random, each) for each in inputs}
    fed = {name: numpy.empty_like(value) for name, value in values.items()}
    pairs = [(fed[name], value) for name, value in values.items()]

    def fill() -> None:
        for place, value in pairs:
            numpy.copyto(place, value)

    return fed, fill


# --- what ran ----------------------------------------------------------------------------------


def _profiled(
    runtime: Any, numpy: Any, loaded: LoadedModel, runs: int, args: argparse.Namespace
) -> Dict[str, Any]:
    """What the profiler says of ``runs`` inferences: ``ran``, and of a profile trial ``operators``.

    Times that were taken are not lost to a profiler that fails: a trial that is not about operators
    does without.
    """
    try:
        with _translated("cannot profile"):
            ran, operators = _profile(runtime, numpy, loaded.inputs, max(1, runs), args)
    except ChildError as error:
        if args.profile:
            raise
        print("what ran is not told: %s" % error, file=sys.stderr)
        return {"ran": None}
    return {"ran": ran.as_json(), "operators": operators if args.profile else None}


def _profile(
    runtime: Any, numpy: Any, inputs: Sequence[Dict[str, Any]], runs: int, args: argparse.Namespace
) -> "Tuple[Ran, List[Sequence[Any]]]":
    folder = tempfile.mkdtemp(prefix="orchestrate-")
    try:
        session = _session(runtime, args, folder)
        fed, fill = _inputs(numpy, inputs)
        fill()
        for _ in range(runs):
            session.run(None, fed)
        events = read_events(session.end_profiling())
        ran = ran_of(events)
        assigned = _assigned(session)
        if assigned is not None:  # of the file's operators, not of those that were fused
            ran = ran._replace(taken=assigned[0], assigned=assigned[1])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return ran, operators_of(events, runs)


def _assigned(session: Any) -> Optional[Tuple[int, int]]:
    """(operators of the file that another provider than the CPU's took, all of them); None of a
    runtime that does not tell."""
    ask = getattr(session, "get_provider_graph_assignment_info", None)
    if ask is None:
        return None
    taken = total = 0
    for part in ask():
        count = len(part.get_nodes())
        total += count
        taken += 0 if part.ep_name == CPU else count
    return taken, total


# --- errors ------------------------------------------------------------------------------------


def _inference_of(args: argparse.Namespace) -> str:
    asked = " at batch %d" % args.batch if args.batch != 1 else ""
    if args.input_size:
        asked += " with inputs of %d x %d" % (args.input_size, args.input_size)
    return "an inference%s failed" % asked


@contextlib.contextmanager
def _translated(what: str, to: Optional[Callable[[str], Exception]] = None) -> Iterator[None]:
    """Turn what the runtime raises into a ChildError, or into what ``to`` makes of its words."""
    try:
        yield
    except (ChildError, MemoryError):
        raise
    except Exception as error:  # its exceptions have no type in common
        said = " ".join(str(error).split())[:1000]
        message = "%s: %s" % (what, said)
        if to is not None:
            raise to(message) from error
        raise ChildError(kind_of(said), message) from error


def kind_of(message: str) -> str:
    """Return the kind of error that the runtime's message stands for."""
    if any(words in message for words in _NO_MEMORY):
        return "out_of_memory"
    if any(words in message for words in _INVALID):
        return "invalid_model"
    known = (*_INCOMPATIBLE, *_WRONG_SHAPE)
    return "incompatible" if any(words in message for words in known) else "failed"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
