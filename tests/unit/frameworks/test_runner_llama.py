"""The runner of language models: its command line, and what its child's result means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrate_agent.children import llama as child
from orchestrator.errors import UsageError
from orchestrator.figures import FIGURES
from orchestrator.frameworks.parts import runner_named
from orchestrator.frameworks.runner import Reading
from orchestrator.measurement import Outcome
from orchestrator.trial import Trial, TrialKind
from tests import runner_cases as cases

RUNNER = runner_named("llama")
BUILT = "CPU : SSE3 = 1 | AVX = 1 | AVX2 = 1 | FMA = 1 | OPENMP = 1 |"


def a_trial(**changes: Any) -> Trial:
    usual = {"runner": "llama", "runtime": "xllamacpp", "delegate": "none", "threads": 1}
    return cases.a_trial(**{**usual, "prompt": 64, "generate": 8, **changes})


def result(**changes: Any) -> dict[str, Any]:
    points = (("start", 28_000_000), ("init", 32_000_000), ("end", 34_000_000))
    return {
        "schema": 1,
        "runtime": "xllamacpp",
        "runtime_version": "2026.10.11549",
        "threads": 1,
        "batch": 1,
        "prompt": 64,
        "generate": 8,
        "model_size_bytes": 5856,
        "init_us": 4041.118,
        "warmup_us": [3395.1, 338.0, 127.4, 105.9, 126.4],
        "steady_us": [],
        "prompt_us": [1000.0 + i for i in range(30)],
        "first_token_us": [1010.0 + i for i in range(30)],
        "generation_us": [800.0 + i for i in range(30)],
        "context": 256,
        "context_trained": 512,
        "system_info": BUILT,
        "cpu_flags": ["avx2", "fma"],
        "memory": {
            **{point: {"peak_bytes": peak} for point, peak in points},
            "kinds": {"own_bytes": 14_000_000, "mapped_bytes": 19_000_000},
        },
        **changes,
    }


def read(data: object, trial: Trial | None = None) -> Reading:
    stdout = f"@orchestrate-stage report\n@orchestrate-result {json.dumps(data)}\n"
    evidence = cases.evidence(stdout, "")
    return RUNNER.read(trial or a_trial(), cases.SETTINGS, cases.files(size=5856), evidence)


def codes(reading: Reading) -> list[str]:
    return [each.code for each in reading.findings]


def test_the_command_is_one_the_child_understands() -> None:
    trial = a_trial(kind=TrialKind.MEMORY, threads=2, prompt=512)
    command = RUNNER.command(trial, cases.SETTINGS, cases.files())
    args = child._parser().parse_args(command.argv[3:])
    assert (args.threads, args.prompt, args.generate, args.memory) == (2, 512, 8, True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt": 0}, "a number from 1 to"),
        ({"generate": 10**6}, "a number from 1 to"),
        ({"delegate": "xnnpack"}, "use one of: none"),
        ({"batch": 2}, "cannot run batch 2"),
    ],
)
def test_what_the_child_cannot_do_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        RUNNER.command(a_trial(**changes), cases.SETTINGS, cases.files())


def test_a_prompt_means_nothing_to_other_runners() -> None:
    trial = cases.a_trial(runner="litert", runtime="any", prompt=64)
    with pytest.raises(UsageError, match=r"prompt 64.*runner llama.*use one of: 0"):
        runner_named("litert").command(trial, cases.SETTINGS, cases.files())


def test_prompt_and_generation_are_figures_of_their_own() -> None:
    reading = read(result())
    assert (reading.outcome, codes(reading)) == (Outcome.OK, [])
    measured = reading.measurement
    assert measured is not None and measured.steady is None
    assert set(measured.figures) <= set(FIGURES)
    assert measured.figures["prompt_tokens_per_s"].maximum == pytest.approx(64 / 1000e-6)
    assert measured.figures["generated_tokens_per_s"].maximum == pytest.approx(8 / 800e-6)
    assert measured.figures["prompt_tokens_per_s"].count == 30
    assert measured.centre("first_token_us") == 1024.5
    assert measured.centre("load_us") == 4041.118
    assert measured.centre("file_bytes") == 5856
    assert measured.centre("own_bytes") == 14_000_000
    assert measured.centre("mapped_bytes") == 19_000_000


def test_without_a_word_of_the_kernel_memory_is_not_told_apart() -> None:
    memory = {**result()["memory"], "kinds": {"own_bytes": None, "mapped_bytes": None}}
    measured = read(result(memory=memory)).measurement
    assert measured is not None and "own_bytes" not in measured.figures


def test_fewer_sequences_than_asked_for_are_told() -> None:
    three = {name: [1000.0] * 3 for name in ("prompt_us", "generation_us", "first_token_us")}
    assert codes(read(result(**three))) == ["truncated"]


def test_a_sequence_beyond_the_trained_context_is_told() -> None:
    assert codes(read(result(context_trained=64))) == ["beyond_context"]


@pytest.mark.parametrize(
    ("flags", "built", "lacks"),
    [
        (["avx2", "avx512f", "avx512_vnni"], BUILT, "AVX512, AVX512_VNNI"),
        (["avx2", "avx_vnni"], BUILT, "AVX_VNNI"),
        (["asimddp", "i8mm"], "CPU : NEON = 1 | DOTPROD = 1 |", "MATMUL_INT8"),
    ],
)
def test_instructions_that_the_build_leaves_unused_are_told(
    flags: list[str], built: str, lacks: str
) -> None:
    (remark,) = read(result(cpu_flags=flags, system_info=built)).findings
    assert remark.code == "build_lacks_instructions" and f"without {lacks}," in remark.message


def test_a_cap_that_the_library_never_asks_about_forbids_the_comparison() -> None:
    reading = RUNNER.read(
        a_trial(isa="haswell"),
        cases.SETTINGS,
        cases.files(size=5856),
        cases.evidence(f"@orchestrate-result {json.dumps(result())}\n", ""),
    )
    (remark,) = reading.findings
    assert remark.code == "isa_of_the_build" and remark.forbids


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": 128},
        {"generate": None},
        {"prompt_us": []},
        {"generation_us": [1.0]},
        {"prompt_us": [0.0] * 30},
        {"first_token_us": ["soon"] * 30},
        {"system_info": 3},
        {"cpu_flags": None},
        {"context_trained": -1},
        {"memory": {}},
        {"init_us": None},
    ],
    ids=str,
)
def test_nonsense_is_a_failure_with_its_place(changes: dict[str, Any]) -> None:
    reading = read(result(**changes))
    assert reading.outcome is Outcome.FAILED
    assert reading.reason
