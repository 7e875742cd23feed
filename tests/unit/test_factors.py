"""The factors, which are written once: every title, key and list that is made of them."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.analysis import analyse
from orchestrator.config.suite import Factors as SuiteFactors
from orchestrator.factors import (
    BEFORE,
    FACTORS,
    NAMES,
    SWEPT,
    VARIED,
    Factors,
    combinations,
    untold,
)
from orchestrator.frameworks.registry import group_of, values_of
from orchestrator.frameworks.settings import level_of, taken, title_of
from orchestrator.report.sweep import title
from tests.analysis_runs import BASELINE, blocks_of, run_of
from tests.analysis_runs import FACTORS as SETTING

ROOT = Path(__file__).resolve().parents[2]
TORCH = Factors("torch", "torch", "none", 1, 1, "native")
LLAMA = Factors("llama", "xllamacpp", "none", 1, 1, "native", prompt=128, generate=32)
LEVELS: Mapping[str, Sequence[Any]] = {
    "runner": ("litert", "benchmark_model"),
    "runtime": ("any", "ai-edge-litert==2.3.0", "tflite-runtime==2.14.0"),
    "delegate": ("xnnpack", "none"),
    "threads": (1, 2),
    "batch": (1, 8),
    "isa": ("native", "haswell"),
    "input_size": (0, 128),
    "export": ("open", "fixed"),
}


def _with(factors: Factors, name: str, level: Any) -> Factors:
    return replace(factors, **{name: level})


#: Settings that differ in one factor each from the one they are beside.
UNLIKE = [
    *((SETTING, _with(SETTING, name, some[1])) for name, some in LEVELS.items()),
    (TORCH, replace(TORCH, engine="x86")),
    (TORCH, replace(TORCH, processor="cuda")),
    (LLAMA, replace(LLAMA, prompt=512)),
    (LLAMA, replace(LLAMA, generate=64)),
]
#: What other runners take.
OTHERS = {"engine", "processor", "prompt", "generate"}


# -- the list -------------------------------------------------------------------------------------


def test_every_field_is_described_once() -> None:
    assert sorted(each.name for each in FACTORS) == sorted(NAMES)
    assert sorted(each.place for each in FACTORS) == [*range(len(FACTORS))]
    for each in FACTORS:
        if each.name in BEFORE:
            assert BEFORE[each.name] in (each.default, each.absent)
    assert {each.name for each in fields(Factors)} == set(NAMES)


def test_a_suite_may_vary_each_but_the_runner() -> None:
    assert tuple(SuiteFactors.model_fields) == tuple(each.name for each in VARIED)
    assert set(NAMES) - {each.name for each in VARIED} == {"runner"}
    for each in VARIED:
        assert getattr(SuiteFactors(), each.name) == (each.default,)


def _spelt(node: ast.AST) -> set[str]:
    """The factors that a literal, a call or the body of a class spells out itself."""
    children: list[ast.AST] = []
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        children = [*node.elts]
    elif isinstance(node, ast.Dict):
        children = [*filter(None, node.keys), *node.values]
    elif isinstance(node, ast.Call):
        children = [*node.args, *(word.value for word in node.keywords)]
        return {w.arg for w in node.keywords if w.arg} & {*NAMES} | _named(children)
    elif isinstance(node, ast.ClassDef):
        children = [each.target for each in node.body if isinstance(each, ast.AnnAssign)]
    elif isinstance(node, ast.JoinedStr):
        children = [each.value for each in node.values if isinstance(each, ast.FormattedValue)]
    return _named(children)


def _named(nodes: list[ast.AST]) -> set[str]:
    found: set[str] = set()
    for each in nodes:
        if isinstance(each, ast.Constant):
            found.add(str(each.value))
        elif isinstance(each, ast.Name):
            found.add(each.id)
        elif isinstance(each, ast.Attribute):
            found.add(each.attr)
    return found & {*NAMES}


#: Where three factors or more are spelt out: the list itself; the columns of speedup.csv and the
#: keys of speedup.json, a contract whose order is older than the list.
WRITTEN_IN = {"orchestrator/factors.py", "orchestrator/report/flat.py"}


def _places() -> Iterator[str]:
    for path in sorted((ROOT / "orchestrator").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if len(spelt := _spelt(node)) > 2:
                place = path.relative_to(ROOT).as_posix()
                yield f"{place}:{getattr(node, 'lineno', 0)}: {', '.join(sorted(spelt))}"


def test_the_list_of_factors_is_written_once() -> None:
    places = list(_places())
    assert [place for place in places if place.split(":")[0] not in WRITTEN_IN] == []
    # the search finds what it is for
    assert {place.split(":")[0] for place in places} == WRITTEN_IN


@pytest.mark.parametrize(
    "code",
    [
        "('runner', 'runtime', 'isa')",
        "{'runner': 1, 'runtime': 2, 'isa': 3}",
        "f(runner=1, runtime=2, isa=3)",
        "(f.runner, f.runtime, f.isa)",
        "f'{f.runner} {f.runtime} {f.isa}'",
        "class F:\n runner: str\n runtime: str\n isa: str",
    ],
)
def test_the_search_sees_every_way_to_spell_them(code: str) -> None:
    assert any(len(_spelt(node)) == 3 for node in ast.walk(ast.parse(code)))


def key_of(factors: Factors) -> str:
    return group_of("pi", "m", factors, (), BASELINE).key


# -- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factors", "key"),
    [
        (SETTING, "pi/m/litert/any/xnnpack/t1/b1/native"),
        (replace(SETTING, input_size=128), "pi/m/litert/any/xnnpack/t1/b1/native/i128"),
        (replace(SETTING, export="fixed"), "pi/m/litert/any/xnnpack/t1/b1/native/fixed"),
        (
            Factors("benchmark_model", "", "none", 4, 1, "haswell"),
            "pi/m/benchmark_model//none/t4/b1/haswell",
        ),
        (TORCH, "pi/m/torch/torch/none/t1/b1/native/default/cpu"),
        (
            replace(TORCH, engine="x86", processor="cuda", batch=8),
            "pi/m/torch/torch/none/t1/b8/native/x86/cuda",
        ),
    ],
)
def test_the_keys_of_earlier_runs_stay(factors: Factors, key: str) -> None:
    """Trial ids are made of them, and a run is resumed by them."""
    assert key_of(factors) == key


@pytest.mark.parametrize(("one", "other"), UNLIKE)
def test_other_settings_have_other_keys_and_titles(one: Factors, other: Factors) -> None:
    assert key_of(one) != key_of(other)
    assert title_of(one) != title_of(other)


def test_no_two_combinations_share_a_title() -> None:
    levels = {
        each.name: values_of(each.name) or LEVELS.get(each.name, (each.absent,)) for each in VARIED
    }
    made = [replace(f, delegate="none", export="open") for f in combinations("torch", levels)]
    made = [replace(f, runtime="torch") for f in made if f.runtime == "any"]
    made += [
        replace(f, engine="default", processor="cpu")
        for runner in LEVELS["runner"]
        for f in combinations(str(runner), levels)
    ]
    distinct = set(made)
    assert len({title_of(f) for f in distinct}) == len(distinct) == len({*map(key_of, distinct)})


# -- reports --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("one", "other"), UNLIKE)
def test_two_sweeps_never_have_one_title(one: Factors, other: Factors) -> None:
    (varied,) = [name for name in NAMES if getattr(one, name) != getattr(other, name)]
    axis = next(each for each in SWEPT if each.name != varied)
    trials = [
        record
        for factors, level in itertools.product((one, other), (1, 2))
        for record in blocks_of(
            {BASELINE: 1e4, "full_int8": 5e3}, 6, factors=_with(factors, axis.name, level)
        )
    ]
    against = [s for s in analyse(run_of(trials)).sweeps if s.factor == axis.name]
    assert len(against) == 2
    assert len({title(sweep) for sweep in against}) == 2


def test_what_a_runner_does_not_take_is_neither_titled_nor_tabled() -> None:
    assert "delegate" not in title_of(TORCH)
    assert {each.name for each in taken(SETTING)} == {*NAMES} - OTHERS
    assert {level_of(SETTING, name) for name in OTHERS} == {""}


def test_an_imported_figure_has_what_its_source_tells() -> None:
    told = untold("benchmark_model", threads=4)
    assert told == Factors("benchmark_model", "", "not-told", 4, 1, "native")
    assert "threads 4" in title_of(told)
    assert "threads not told" in title_of(untold("benchmark_model"))
