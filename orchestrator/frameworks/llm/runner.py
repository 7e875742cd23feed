"""The ``llama`` runner: a Python child (``orchestrate_agent.children.llama``) on llama.cpp."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, median, pstdev
from typing import Any

from orchestrator.frameworks.llm.about import LLAMA
from orchestrator.frameworks.reading import judgement
from orchestrator.frameworks.reading.child_output import (
    NonsenseError,
    common_arguments,
    integer,
    integer_or_none,
    part,
    string,
    times_of,
)
from orchestrator.frameworks.reading.python_child import (
    ChildReport,
    asked_runtime,
    child_command,
    read_child,
)
from orchestrator.frameworks.runner import Command, Evidence, Files, Reading
from orchestrator.isa.levels import NATIVE
from orchestrator.measurement import Finding, Samples
from orchestrator.measures.registry import measure_of
from orchestrator.trial import RunSettings, Trial

#: What the library calls an instruction set that it was built for, and what the kernel calls it:
#: those that its integer kernels gain most from.
_INSTRUCTIONS = (
    ("AVX2", "avx2"),
    ("FMA", "fma"),
    ("AVX512", "avx512f"),
    ("AVX512_VNNI", "avx512_vnni"),
    ("AVX_VNNI", "avx_vnni"),
    ("AMX_INT8", "amx_int8"),
    ("DOTPROD", "asimddp"),
    ("MATMUL_INT8", "i8mm"),
    ("SVE", "sve"),
)
_BUILT = re.compile(r"(\w+) = 1\b")


class LlamaRunner:
    """Runs the Python child; see :class:`orchestrator.frameworks.runner.Runner`."""

    about = LLAMA
    name = about.name

    def command(self, trial: Trial, settings: RunSettings, files: Files) -> Command:
        """The child's command line. Raises UsageError for what it cannot do."""
        judgement.refuse_unknown_factors(trial, self.about)
        asked_runtime(trial, self.about)
        own = ["--prompt", str(trial.factors.prompt), "--generate", str(trial.factors.generate)]
        own += common_arguments(trial, settings, files)
        return child_command(self.name, files, own)

    def read(
        self, trial: Trial, settings: RunSettings, files: Files, evidence: Evidence
    ) -> Reading:
        """What the evidence means. Never raises on the child's output."""

        def own(data: Mapping[str, Any]) -> ChildReport:
            asked = trial.factors
            ran = [(n, getattr(asked, n), integer(data, n)) for n in ("prompt", "generate")]
            sequences = len(times_of(data, "prompt_us"))
            wanted = judgement.effective_settings(trial, settings).steady.runs
            remarks = tuple(_remarks(trial, data, sequences, wanted))
            return ChildReport(ran, figures=_figures(trial, data), remarks=remarks)

        return read_child(trial, settings, files, evidence, own)


def _figures(trial: Trial, data: Mapping[str, Any]) -> dict[str, Samples]:
    """Every figure that the child found. Raises NonsenseError."""
    prompt, generation, first = (
        times_of(data, name) for name in ("prompt_us", "generation_us", "first_token_us")
    )
    if not prompt or not len(prompt) == len(generation) == len(first):
        raise NonsenseError("its sequences are none, or not as many as their times")
    kinds = part(part(data, "memory"), "kinds")
    found = {
        "prompt_tokens_per_s": _rates(trial.factors.prompt, prompt),
        "generated_tokens_per_s": _rates(trial.factors.generate, generation),
        "first_token_us": samples_of(first),
        "load_us": samples_of(times_of({"init_us": [data.get("init_us")]}, "init_us")),
        "file_bytes": samples_of([float(integer(data, "model_size_bytes"))]),
    }
    for name in ("own_bytes", "mapped_bytes"):
        held = integer_or_none(kinds, name)
        if held is not None:
            found[name] = samples_of([float(held)])
    return found


def _rates(tokens: int, times_us: Sequence[float]) -> Samples:
    """Tokens a second of each sequence. Raises NonsenseError for one that took no time."""
    if not all(times_us):
        raise NonsenseError("a sequence took no time")
    return samples_of([tokens * 1e6 / each for each in times_us])


def samples_of(values: Sequence[float]) -> Samples:
    """Return the statistics of what one process found of one figure."""
    return Samples(
        count=len(values),
        minimum=min(values),
        maximum=max(values),
        mean=fmean(values),
        median=median(values),
        deviation=pstdev(values),
    )


def _remarks(
    trial: Trial, data: Mapping[str, Any], sequences: int, wanted: int
) -> Iterator[Finding]:
    if sequences < wanted:
        yield Finding(
            "truncated",
            f"{sequences} sequences ran of the {wanted} asked for",
            "raise the protocol's timeout, or ask for fewer runs",
        )
    depth, trained = trial.factors.prompt + trial.factors.generate, integer(data, "context_trained")
    if depth > trained:
        yield Finding(
            "beyond_context",
            f"a prompt and what is generated are {depth} tokens, and the model was trained on "
            f"contexts of {trained}: what it says there means nothing, though its speed is real",
            "ask for a shorter `prompt`, or measure a model of longer contexts",
        )
    lacking = _lacking(data)
    if lacking:
        yield Finding(
            "build_lacks_instructions",
            f"the library was built without {', '.join(lacking)}, which this CPU has: its kernels "
            f"are fixed when it is built, and leave that unused",
            "take the ratio as that of this build; use one that was built for this CPU, "
            "provided as `runtime`",
        )
    if trial.factors.isa != NATIVE and measure_of(trial.kind).in_blocks:
        yield Finding(
            "isa_of_the_build",
            f"the instruction set was capped to {trial.factors.isa}, and this library asks no "
            f"CPU: it runs the kernels that it was built with, whatever it sees",
            "use isa: [native], and another build of the library for another instruction set",
            forbids=True,
        )


def _lacking(data: Mapping[str, Any]) -> list[str]:
    flags = data.get("cpu_flags")
    if not isinstance(flags, list):
        raise NonsenseError("cpu_flags is not a list of words")
    built = set(_BUILT.findall(string(data, "system_info")))
    return [name for name, flag in _INSTRUCTIONS if flag in flags and name not in built]
