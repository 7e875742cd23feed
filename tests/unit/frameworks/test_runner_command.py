"""A program of the user's: its command line, and its figures out of what it prints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.errors import UsageError
from orchestrator.figures import Direction
from orchestrator.frameworks.command.reading import find
from orchestrator.frameworks.parts import runner_named
from orchestrator.frameworks.runner import Files, Reading
from orchestrator.measurement import Outcome
from orchestrator.program import FigureSource, Program
from orchestrator.runs import rawlog
from orchestrator.trial import RunSettings
from tests import runner_cases as cases

RUNNER = runner_named("command")
TRIAL = cases.a_trial(runner="command", delegate="none", threads=4)
OWN = ("mobilenet_v1", "float32")
TIME = FigureSource("time", "ms", Direction.LOWER, pointer="/times")
#: A variant that differs by arguments has no file.
NO_FILE = Files("c" * 64, 0, "python3", cases.BINARY_SHA)


def settings(
    *figures: FigureSource,
    argv: tuple[str, ...] = ("{program}", "-t", "{threads}"),
    environment: Mapping[str, str] | None = None,
    arguments: tuple[str, ...] = (),
) -> RunSettings:
    program = Program(argv, environment or {}, figures or (TIME,), {OWN: arguments}, sends=True)
    return replace(cases.SETTINGS, program=program)


def read(asked: RunSettings, stdout: str, stderr: str = "", exit_code: int = 0) -> Reading:
    told = cases.evidence(stdout, stderr, exit_code=exit_code)
    return RUNNER.read(TRIAL, asked, NO_FILE, told)


def test_words_are_filled_and_arguments_take_one_word_s_place() -> None:
    asked = settings(
        argv=("{program}", "--model={model}", "{arguments}", "-b{batch}", "{{x}}", "{runs}"),
        environment={"OMP_NUM_THREADS": "{threads}"},
        arguments=("--bits", "8", "{scheme}"),
    )
    command = RUNNER.command(TRIAL, asked, cases.files())
    assert command.argv == (
        f"{{exe:{cases.BINARY_SHA}}}", f"--model={{blob:{cases.MODEL_SHA}}}",
        "--bits", "8", "float32", "-b1", "{x}", "30",
    )  # fmt: skip
    assert command.env == {"OMP_NUM_THREADS": "4"}
    assert command.blobs == (cases.MODEL_SHA, cases.BINARY_SHA)


def test_a_variant_without_a_file_has_no_model() -> None:
    command = RUNNER.command(TRIAL, settings(argv=("{program}", "a b; rm -rf /")), NO_FILE)
    assert command.argv == (f"{{exe:{cases.BINARY_SHA}}}", "a b; rm -rf /")  # one word stays one
    assert command.blobs == (cases.BINARY_SHA,)
    with pytest.raises(UsageError, match=r"\{model\}.*float32 of mobilenet_v1 has no file"):
        RUNNER.command(TRIAL, settings(argv=("bench", "{model}")), NO_FILE)


def test_an_older_instruction_set_cannot_be_proven() -> None:
    capped = replace(TRIAL, factors=replace(TRIAL.factors, isa="haswell"))
    with pytest.raises(UsageError, match=r"isa: \[native\]"):
        RUNNER.command(capped, settings(), NO_FILE)


# -- where a figure stands ------------------------------------------------------------------------


def times(reading: Reading) -> tuple[float, ...]:
    assert reading.outcome is Outcome.OK, reading.reason
    return reading.steady_us


@pytest.mark.parametrize(
    ("source", "stdout", "us"),
    [
        (TIME, '{"times": [1.5, 2, 2.5]}', [1500, 2000, 2500]),
        (TIME, 'warming up\n{"times": [1.5]}\n', [1500]),
        (replace(TIME, pointer=""), "12.5", [12500]),
        (replace(TIME, pointer="/a~1b/1/x", unit="s"), '{"a/b": [0, {"x": "0.002"}]}', [2000]),
        (
            replace(TIME, pointer=None, unit="", regex=r"^took (?P<value>\S+) (?P<unit>\w+)$"),
            "took 3 us\ntook 1e-3 s\nlater\n",
            [3, 1000],
        ),
    ],
)
def test_single_times_are_found(source: FigureSource, stdout: str, us: list[float]) -> None:
    reading = read(settings(source), stdout)
    assert times(reading) == pytest.approx(us)
    assert reading.measurement is not None
    assert reading.measurement.timing.count == len(us)
    assert reading.measurement.timing.max_us == pytest.approx(max(us))


def test_the_process_s_own_time_is_one_time() -> None:
    source = FigureSource("time", "s", Direction.LOWER, wall=True)
    assert times(read(settings(source), "whatever")) == pytest.approx([1e6])


def test_a_program_that_tells_of_all_its_inferences_has_no_single_times() -> None:
    pattern = r"n=(?P<count>\d+) median (?P<median>\S+) std (?P<std>\S+)"
    source = replace(TIME, pointer=None, regex=pattern, stream="stderr")
    reading = read(settings(source), "", "n=50 median 2.5 std 0\n")
    assert times(reading) == ()
    assert reading.measurement is not None
    steady = reading.measurement.timing
    assert (steady.count, steady.median_us, steady.std_us, steady.mean_us) == (50, 2500, 0, None)


def test_other_figures_bring_unit_and_direction_along() -> None:
    rate = FigureSource("images_per_s", "images/s", Direction.HIGHER, pointer="/rate")
    measured = read(settings(rate), '{"rate": [10, 30, 20]}').measurement
    assert measured is not None and measured.steady is None
    found = measured.figures["images_per_s"]
    assert (found.median, found.unit, found.better) == (20, "images/s", "higher")
    assert type(measured).from_json(json.loads(json.dumps(measured.to_json()))) == measured


@pytest.mark.parametrize(
    ("source", "stdout", "why"),
    [
        (TIME, "", "printed nothing there"),
        (TIME, "no JSON\nat all", "neither in all that was printed nor in its last line.*'at all'"),
        (TIME, '{"mean": 1}', "there is no 'times' at its top, only 'mean'"),
        (replace(TIME, pointer="/times/0/x"), '{"times": [3]}', "at '/times/0' is 3"),
        (replace(TIME, pointer="/times/3"), '{"times": [3]}', "'/times' is a list of 1, without"),
        (TIME, '{"times": []}', "an empty list"),
        (TIME, '{"times": [1, null]}', "None where a number belongs"),
        (TIME, '{"times": [true]}', "True where a number belongs"),
        (TIME, '{"times": [NaN]}', "nan where a number belongs"),
        (TIME, '{"times": [0]}', "positive amounts"),
        (TIME, '{"times": [-1]}', "positive amounts"),
        (replace(TIME, pointer=None, regex="(?P<value>[0-9]+)"), "none", "matches nothing"),
        (replace(TIME, pointer=None, regex="(?P<mean>[0-9])"), "1 2", "matches 2 times"),
        (
            replace(TIME, pointer=None, unit="", regex="(?P<value>[0-9]+)(?P<unit>[a-z]+)"),
            "5parsecs",
            "the unit 'parsecs', which is none of ns, us",
        ),
    ],
)
def test_a_figure_that_is_not_there_fails_the_trial_with_its_place(
    source: FigureSource, stdout: str, why: str
) -> None:
    reading = read(settings(source), stdout)
    assert reading.outcome is Outcome.FAILED and reading.reason is not None
    said, _, remedy = reading.reason.partition("; ")
    assert "the figure time cannot be read" in said and ("json" in remedy or "regex" in remedy)
    assert "start a new run" in remedy
    with pytest.raises(ValueError, match=why):
        find(source, cases.evidence(stdout))


def test_an_exit_code_is_told_with_the_last_words() -> None:
    reading = read(settings(), '{"times": [1]}', "cannot open model\n", exit_code=3)
    assert reading.outcome is Outcome.FAILED
    assert reading.reason == "exit code 3: cannot open model"


def codes(reading: Reading) -> list[str]:
    return [each.code for each in reading.findings]


def test_what_the_program_is_not_told_is_a_finding() -> None:
    assert codes(read(settings(), '{"times": [1]}')) == []
    assert codes(read(settings(argv=("bench",)), '{"times": [1]}')) == ["threads_not_told"]
    asked = settings(argv=("bench", "{threads}", "{runs}"))
    assert codes(read(asked, '{"times": [1, 1]}')) == ["truncated"]


# -- single times in the raw log ------------------------------------------------------------------


def test_a_raw_log_has_single_times_in_our_form_and_asks_no_expression_again() -> None:
    reading = read(settings(), '{"times": [1.5, 2]}')
    told = cases.evidence('# steady_us: [7]\n{"times": [1.5, 2]}')
    text = rawlog.render(["bench"], told, steady_us=reading.steady_us)
    assert rawlog.steady_us_of(text) == (1500, 2000)
    assert rawlog.steady_us_of(rawlog.render(["bench"], told)) == ()


@pytest.mark.parametrize("values", ["[1, null]", "[1e400]", "[", '["a"]'])
def test_a_damaged_log_has_no_single_times(values: Any) -> None:
    text = rawlog.render(["bench"], cases.evidence(), steady_us=[5.0])
    assert rawlog.steady_us_of(text.replace("[5.0]", values)) == ()
