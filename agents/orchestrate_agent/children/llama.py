"""The child that measures one GGUF file in the device's own Python.

``python <agent>.pyz llama --model PATH --threads N --prompt P --generate G ...`` runs the model in
llama.cpp's own library, which the package ``xllamacpp`` holds and exports. What is measured is not
one inference but sequences. Each begins with an empty cache of keys and values and

* reads a prompt of P tokens at once (``prompt_us``), and chooses a token, which is the first one
  (``first_token_us``, from the sequence's beginning);
* makes G tokens, one call of the model each, at depths of P to P + G (``generation_us``: the time
  of the G calls together, choosing not among it). The end of a text, should the model say it, is a
  token as any other.

The prompt is drawn from the vocabulary, the same in every process. Loading (``init_us``) is mapping
the file and making the context, which repacks some types of weights into memory of the process.

The library's structures differ from version to version. They are handled here as bytes: their
defaults come from the library, the first three numbers of the context's are set, and the library
is asked afterwards whether it took them; nothing else in them is touched.
Standard library only, but for the package.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import os
import random
import sys
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from orchestrate_agent.children.measuring import (
    INPUT_SEED,
    Begin,
    ChildError,
    Phase,
    base_parser,
    check_origin,
    enter_site,
    head_and_size,
    memory_before,
    memory_kinds,
    memory_now,
    microseconds,
    phases_of,
    result_of,
    run_child,
)
from orchestrate_agent.children.outputs import Output, checked

PACKAGE = "xllamacpp"
#: Larger than any structure of the library: a callee that is given more bytes reads its own.
_ROOM = 1024
#: Contexts are made in steps of so many tokens.
_STEP = 256
#: ``GGML_LOG_LEVEL_WARN`` and what is worse; 5 continues the line before.
_WARN, _CONTINUES = 3, 5
#: Tokens of the prompt to which the answer is shown; no context is made that has no room for them.
_CHECKED = 16
#: Sequences of one phase, each of which is reported.
_MOST_SEQUENCES = 10_000
_INCOMPATIBLE = ("unknown model architecture", "unsupported", "not supported", "unknown pre-token")


class _Opaque(ctypes.Structure):
    _fields_ = [("numbers", ctypes.c_uint32 * (_ROOM // 4))]


class _Times(NamedTuple):
    """Of one sequence, in nanoseconds."""

    prompt: int
    first_token: int
    generation: int


def main(argv: Sequence[str]) -> int:
    """Measure, print the result line, return the exit code."""
    args = _parser().parse_args(argv)
    return run_child(lambda begin, _say: measure(args, begin))


def _parser() -> argparse.ArgumentParser:
    parser = base_parser("llama", "Measure one GGUF file.")
    parser.add_argument("--prompt", type=int, required=True, metavar="TOKENS")
    parser.add_argument("--generate", type=int, required=True, metavar="TOKENS")
    return parser


def measure(args: argparse.Namespace, begin: Begin) -> Dict[str, Any]:
    """Measure everything that the result line holds. Raises ChildError or MemoryError."""
    begin("import")
    head, size_bytes = head_and_size(args.model, 4)
    if head != b"GGUF":
        raise ChildError("invalid_model", "%s is not a GGUF file" % args.model)
    enter_site(args.site)
    package = _import_package()
    check_origin(args.site, package)
    library = Library(package)
    phases = phases_of(args)
    memory = memory_before(args)
    begin("load")
    start = time.perf_counter_ns()
    model = Model(library, args)
    init_ns = time.perf_counter_ns() - start
    memory["init"] = memory_now(memory["start"])
    begin("warmup")
    calls: List[int] = []
    _run(lambda: model.sequence(calls), phases[0], args, lambda _: len(calls) < phases[0].runs)
    begin("steady")
    begun = time.perf_counter_ns()
    steady = _run(model.sequence, phases[1], args, lambda done: done < phases[1].runs)
    ended = time.perf_counter_ns()
    memory["end"], kinds = memory_now(memory["init"]), memory_kinds()
    begin("report")
    return {
        **result_of(
            args,
            phases,
            runtime=PACKAGE,
            runtime_version=str(package.__version__),
            threads=model.threads,
            model_size_bytes=size_bytes,
            init_us=microseconds(init_ns),
            memory={**memory, "kinds": kinds},
        ),
        "steady_window_s": [begun / 1e9, ended / 1e9],
        "prompt": args.prompt,
        "generate": args.generate,
        "warmup_us": [microseconds(each) for each in calls],
        "prompt_us": [microseconds(each.prompt) for each in steady],
        "first_token_us": [microseconds(each.first_token) for each in steady],
        "generation_us": [microseconds(each.generation) for each in steady],
        "context": model.context_size,
        "context_trained": model.context_trained,
        "system_info": library.system_info,
        "cpu_flags": _cpu_flags(),
        **checked(model.answer),
    }


def _run(
    sequence: Callable[[], _Times],
    phase: Phase,
    args: argparse.Namespace,
    wanted: Callable[[int], bool],
) -> List[_Times]:
    """Sequences until there are as many as wanted, and the phase has lasted as long as asked."""
    found: List[_Times] = []
    begun = now = time.perf_counter()
    while (wanted(len(found)) or now - begun < phase.seconds) and len(found) < _MOST_SEQUENCES:
        if now - begun > args.max_seconds:
            break
        found.append(sequence())
        now = time.perf_counter()
    return found


def _import_package() -> Any:
    try:
        import xllamacpp  # noqa: PLC0415  # what is missing is told on the wire
    except (ImportError, OSError) as error:
        raise ChildError(
            "no_runtime",
            "%s cannot import %s (%s); install it there: %s -m pip install %s"
            % (sys.executable, PACKAGE, error, sys.executable, PACKAGE),
        ) from error
    return xllamacpp


class Library:
    """The C interface of llama.cpp, out of the package's one shared object."""

    def __init__(self, package: Any) -> None:
        extension = sys.modules.get(PACKAGE + "." + PACKAGE, package)
        folder = os.path.dirname(os.path.abspath(package.__file__))
        path = getattr(extension, "__file__", None) or folder
        try:
            self.c = ctypes.CDLL(path)
            self._declare()
        except (OSError, AttributeError) as error:
            raise ChildError(
                "incompatible",
                "this %s does not export llama.cpp's interface (%s); use another version"
                % (PACKAGE, error),
            ) from error
        self.said: List[str] = []
        self._callback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(
            self._log
        )
        self.c.llama_log_set(self._callback, None)
        self.c.llama_backend_init()
        self.system_info = self.c.llama_print_system_info().decode("utf-8", "replace").strip()

    def _declare(self) -> None:
        pointer, integer, opaque = ctypes.c_void_p, ctypes.c_int32, _Opaque
        for name, result, arguments in (
            ("llama_log_set", None, [pointer, pointer]),
            ("llama_backend_init", None, []),
            ("llama_print_system_info", ctypes.c_char_p, []),
            ("llama_supports_gpu_offload", ctypes.c_bool, []),
            ("llama_model_default_params", opaque, []),
            ("llama_context_default_params", opaque, []),
            ("llama_model_load_from_file", pointer, [ctypes.c_char_p, opaque]),
            ("llama_init_from_model", pointer, [pointer, opaque]),
            ("llama_model_get_vocab", pointer, [pointer]),
            ("llama_model_n_ctx_train", integer, [pointer]),
            ("llama_model_has_encoder", ctypes.c_bool, [pointer]),
            ("llama_vocab_n_tokens", integer, [pointer]),
            ("llama_vocab_get_add_bos", ctypes.c_bool, [pointer]),
            ("llama_vocab_bos", integer, [pointer]),
            ("llama_n_ctx", ctypes.c_uint32, [pointer]),
            ("llama_n_batch", ctypes.c_uint32, [pointer]),
            ("llama_set_n_threads", None, [pointer, integer, integer]),
            ("llama_n_threads", integer, [pointer]),
            ("llama_n_threads_batch", integer, [pointer]),
            ("llama_get_memory", pointer, [pointer]),
            ("llama_memory_clear", None, [pointer, ctypes.c_bool]),
            ("llama_memory_seq_pos_max", integer, [pointer, integer]),
            ("llama_batch_get_one", opaque, [pointer, integer]),
            ("llama_decode", integer, [pointer, opaque]),
            ("llama_synchronize", None, [pointer]),
            ("llama_get_logits_ith", pointer, [pointer, integer]),
            ("llama_sampler_init_greedy", pointer, []),
            ("llama_sampler_sample", integer, [pointer, pointer, integer]),
        ):
            function = getattr(self.c, name)
            function.restype, function.argtypes = result, arguments

    def _log(self, level: int, text: bytes, _data: Any) -> None:
        if level >= _WARN and level != _CONTINUES:
            line = (text or b"").decode("utf-8", "replace")
            sys.stderr.write(line)
            self.said = [*self.said, " ".join(line.split())][-4:]


class Model:
    """A model with its context, for one sequence at a time."""

    def __init__(self, library: Library, args: argparse.Namespace) -> None:
        self._library, self._c = library, library.c
        if self._c.llama_supports_gpu_offload():
            raise ChildError(
                "incompatible",
                "this %s is a build for GPUs, and a CPU is measured here; install the plain one"
                % PACKAGE,
            )
        self._generate = args.generate
        self._model = self._c.llama_model_load_from_file(
            os.fsencode(args.model), self._c.llama_model_default_params()
        )
        if not self._model:
            raise self._refused("cannot load the model")
        if self._c.llama_model_has_encoder(self._model):
            raise ChildError("incompatible", "the model has an encoder; decoders are measured here")
        self._context = self._make_context(args)
        self._memory = self._c.llama_get_memory(self._context)
        self._sampler = self._c.llama_sampler_init_greedy()
        self.context_size = int(self._c.llama_n_ctx(self._context))
        self.context_trained = int(self._c.llama_model_n_ctx_train(self._model))
        self._vocabulary = self._c.llama_model_get_vocab(self._model)
        self._prompt = self._make_prompt(args.prompt)
        self._token = (ctypes.c_int32 * 1)()

    def _make_context(self, args: argparse.Namespace) -> int:
        options = self._c.llama_context_default_params()
        # the first three: the context, the most tokens of a call, and of a step of it
        if list(options.numbers[:3]) != [512, 2048, 512]:
            raise ChildError(
                "incompatible",
                "this %s has options of a context that are not known here; use another version"
                % PACKAGE,
            )
        needed = args.prompt + args.generate
        options.numbers[0] = -(-needed // _STEP) * _STEP
        options.numbers[1] = max(options.numbers[1], args.prompt)
        context = self._c.llama_init_from_model(self._model, options)
        if not context:
            raise self._refused("cannot make a context")
        self._c.llama_set_n_threads(context, args.threads, args.threads)
        taken = (self._c.llama_n_ctx(context), self._c.llama_n_batch(context))
        if taken[0] < needed or taken[1] < args.prompt:
            raise ChildError(
                "failed",
                "asked for a context of %d tokens, the library made one of %d in batches of %d"
                % (needed, *taken),
            )
        self.threads = int(self._c.llama_n_threads(context))
        if self._c.llama_n_threads_batch(context) != self.threads:
            raise ChildError("failed", "the library reads a prompt with other threads")
        return int(context)

    def _refused(self, what: str) -> ChildError:
        why = "; ".join(self._library.said) or "it does not say why"
        if "failed to allocate" in why or "unable to allocate" in why:
            return ChildError("out_of_memory", "%s: %s" % (what, why))
        known = any(words in why for words in _INCOMPATIBLE)
        return ChildError("incompatible" if known else "failed", "%s: %s" % (what, why))

    def _make_prompt(self, count: int) -> Any:
        vocabulary = self._vocabulary
        generator = random.Random(INPUT_SEED)  # noqa: S311
        size = self._c.llama_vocab_n_tokens(vocabulary)
        tokens = [generator.randrange(size) for _ in range(count)]
        if self._c.llama_vocab_get_add_bos(vocabulary):
            tokens[0] = self._c.llama_vocab_bos(vocabulary)
        return (ctypes.c_int32 * count)(*tokens)

    def sequence(self, calls: Optional[List[int]] = None) -> _Times:
        """Read the prompt and make the tokens, on an empty cache; ``calls`` is given the time of
        every call of the model, in nanoseconds. Raises ChildError."""
        clock, decode, c = time.perf_counter_ns, self._decode, self._c
        c.llama_memory_clear(self._memory, True)
        if c.llama_memory_seq_pos_max(self._memory, 0) != -1:
            raise ChildError("failed", "the cache of keys and values could not be emptied")
        start = clock()
        decode(self._prompt, len(self._prompt))
        read = clock()
        token = c.llama_sampler_sample(self._sampler, self._context, -1)
        first = clock()
        if calls is not None:
            calls.append(read - start)
        generation = 0
        for _ in range(self._generate):
            self._token[0] = token
            before = clock()
            decode(self._token, 1)
            took = clock() - before
            generation += took
            if calls is not None:
                calls.append(took)
            token = c.llama_sampler_sample(self._sampler, self._context, -1)
        depth = c.llama_memory_seq_pos_max(self._memory, 0) + 1
        if depth != len(self._prompt) + self._generate:
            raise ChildError("failed", "the sequence ended at a depth of %d tokens" % depth)
        return _Times(read - start, first - start, generation)

    def answer(self) -> Tuple[float, List[Output]]:
        """What it answers to a prompt that is the same in every process, whatever is measured: a
        value a token of the vocabulary, less their mean, which means nothing."""
        self._c.llama_memory_clear(self._memory, True)
        tokens = self._make_prompt(_CHECKED)
        self._decode(tokens, len(tokens))
        size = int(self._c.llama_vocab_n_tokens(self._vocabulary))
        place = self._c.llama_get_logits_ith(self._context, -1)
        if not place:
            raise ValueError("the library shows no logits")
        logits = (ctypes.c_float * size).from_address(place)
        values = list(logits)
        mean = math.fsum(values) / size
        output = Output(
            "logits",
            (size,),
            "float32",
            bytes(logits),
            lambda every: [each - mean for each in values[::every]],
        )
        return 0.0, [output]

    def _decode(self, tokens: Any, count: int) -> None:
        batch = self._c.llama_batch_get_one(tokens, count)
        result = self._c.llama_decode(self._context, batch)
        self._c.llama_synchronize(self._context)
        if result != 0:
            raise ChildError(
                "failed",
                "the library answered %d to %d tokens: %s"
                % (result, count, "; ".join(self._library.said)),
            )


def _cpu_flags() -> List[str]:
    """What the kernel says that the CPU can do; empty where it does not."""
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                name, _, words = line.partition(":")
                if name.strip() in ("flags", "Features"):
                    return sorted(set(words.split()))
    except OSError:
        pass
    return []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
