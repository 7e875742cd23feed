"""What is to be measured: ``suites/*.yaml``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    create_model,
    field_serializer,
    field_validator,
)

from orchestrator.config.accuracy import OF_OBJECTS, Accuracy
from orchestrator.config.problems import Strict, revived
from orchestrator.config.program import ProgramSection
from orchestrator.config.text import hint, listed, shown
from orchestrator.config.user_models import UserModel
from orchestrator.config.values import (
    Blocks,
    Duration,
    PositiveDuration,
    Precision,
    Share,
    Text,
    check_list,
)
from orchestrator.factors import ABSENT, VARIED, Levels, find_factor
from orchestrator.frameworks import registry
from orchestrator.frameworks.about import Framework, RunnerAbout
from orchestrator.isa.levels import LEVELS, NATIVE, unknown_isa
from orchestrator.program import PLACEHOLDERS, Program
from orchestrator.runtimes import ANY
from orchestrator.trial import TrialKind

_MOST = 64  # values of one list; more is a mistake, the number of trials is their product


def _known(value: str, info: ValidationInfo, which: str) -> str:
    """``value`` if the context's names for ``which`` hold it, or if there is no such context."""
    known: Collection[str] | None = (info.context or {}).get(which)
    if known is not None and value not in known:
        raise ValueError(f"{shown(value)} is unknown; {hint(value, sorted(known), 'there are')}")
    return value


def _known_model(value: str, info: ValidationInfo) -> str:
    return _known(value, info, "models")


def _known_scheme(value: str, info: ValidationInfo) -> str:
    return _known(value, info, "schemes")


def _known_isa(value: str) -> str:
    if unknown_isa(value):
        raise ValueError(
            f"{shown(value)} is unknown; {hint(value, (NATIVE, *LEVELS), 'there are')}"
        )
    return value


def _known_runtime(value: str) -> str:
    known = (ANY, *registry.runtime_names())
    if "==" not in value and value not in known:
        raise ValueError(f"{shown(value)} is unknown; {hint(value, known, 'there are')}")
    return str(registry.runtime_named(value))


def _known_runner(value: str) -> str:
    known = (registry.AUTO, *registry.runner_names())
    if value not in known:
        raise ValueError(f"{shown(value)} is unknown; {hint(value, known, 'there are')}")
    return value


def _known_level(value: str, info: ValidationInfo) -> str:
    """A level that some runner knows of the factor that is being read."""
    known = registry.values_of(str(info.field_name))
    if value not in known:
        raise ValueError(f"{shown(value)} is unknown; {hint(value, known, 'there are')}")
    return value


Model = Annotated[Text, AfterValidator(_known_model)]
Scheme = Annotated[Text, AfterValidator(_known_scheme)]
Isa = Annotated[Text, AfterValidator(_known_isa)]
Runtime = Annotated[Text, AfterValidator(_known_runtime)]


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


RunnerName = Annotated[Text, AfterValidator(_known_runner)]
Level = Annotated[Text, AfterValidator(_known_level)]
Count = Annotated[int, Field(ge=1, le=4096)]
InputSize = Annotated[int, Field(ge=0, le=16384)]


_LEVELS: Mapping[Levels, Any] = {
    Levels.COUNT: Count,
    Levels.SIZE: InputSize,
    Levels.RUNTIME: Runtime,
    Levels.ISA: Isa,
    Levels.WORD: Level,
}


class _Factors(Strict):
    """What varies besides model and scheme: every combination is measured."""

    @field_validator("*")
    @classmethod
    def _refuse_repeated(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        return check_list(value)


if TYPE_CHECKING:

    class Factors(_Factors):
        """The section has the levels of each factor of :data:`orchestrator.factors.VARIED`."""

        def __getattr__(self, name: str) -> tuple[Any, ...]: ...

else:  # a field a factor
    Factors = create_model(
        "Factors",
        __base__=_Factors,
        __module__=__name__,
        __doc__=_Factors.__doc__,
        **{
            each.name: (
                tuple[_LEVELS[each.levels], ...],
                Field(
                    default=(each.default,),
                    strict=False,
                    max_length=_MOST,
                    description=each.meaning,
                    examples=[f"{each.name}: [{each.example or each.default}]"],
                ),
            )
            for each in VARIED
        },
    )


class Warmup(Strict):
    """Warm-up ends when it has run at least ``runs`` inferences and at least ``seconds``."""

    runs: int = Field(
        default=5,
        ge=0,
        le=1_000_000,
        description="The fewest inferences of it.",
        examples=["runs: 5"],
    )
    seconds: Duration = Field(
        default=0.5, description="The least time that it takes.", examples=["seconds: 0.5"]
    )


class Steady(Strict):
    """The steady phase ends when it has run at least ``runs`` and at least ``seconds``."""

    runs: int = Field(
        default=30,
        ge=1,
        le=1_000_000,
        description="The fewest inferences of it.",
        examples=["runs: 30"],
    )
    seconds: Duration = Field(
        default=1.0, description="The least time that it takes.", examples=["seconds: 1"]
    )


class MemoryTrials(Strict):
    """How many trials of each variant watch memory; they never measure time."""

    trials: int = Field(
        default=1, ge=0, le=1000, description="So many of each variant.", examples=["trials: 1"]
    )


class ProfileTrials(Strict):
    """How many trials of each variant watch its operators; their times count for nothing else."""

    trials: int = Field(
        default=0, ge=0, le=100, description="So many of each variant.", examples=["trials: 1"]
    )


class CheckTrials(Strict):
    """How many trials look at what each file computes on each device, by a runner of the same files
    that shows outputs, where the one that is measured shows none."""

    trials: int = Field(
        default=1, ge=0, le=100, description="So many of each file.", examples=["trials: 1"]
    )


class Gate(Strict):
    """What every timing trial waits for, and how long at most. Waiting is never measured."""

    load: Share = Field(
        default=0.1,
        description="The share of all CPUs' time that other processes may use; 1 is any.",
        examples=["load: 0.1"],
    )
    temperature_c: float | None = Field(
        default=None,
        alias="temperature",
        gt=0,
        le=150,
        description="The CPU is no hotter than this, in degrees Celsius. Left out: any.",
        examples=["temperature: 60"],
    )
    timeout_s: Duration = Field(
        default=3.0,
        alias="timeout",
        description="A trial that has waited so long runs all the same, and finding `gate_timeout` "
        "says so.",
        examples=["timeout: 30s"],
    )


class Protocol(Strict):
    """How long and how often."""

    blocks: Blocks = Field(
        default=(6, 20),
        description="The fewest and the most blocks of a comparison; one number is both. 6 are the "
        "fewest that give a 95 % interval.",
        examples=['blocks: "6:20"'],
    )
    precision: Precision = Field(
        default=0.02,
        description="Half the width of the 95 % interval, as a share of the speed-up, at which a "
        "comparison is done: 0.02 is 2 %.",
        examples=["precision: 0.02"],
    )
    budget_s: PositiveDuration | None = Field(
        default=None,
        alias="budget",
        description="How long a device may measure before no block beyond the fewest begins. Left "
        "out: until the precision or the most blocks are reached.",
        examples=["budget: 10m"],
    )
    warmup: Warmup = Field(
        default=Warmup(),
        description="The inferences before the steady phase; reported, never merged into it.",
        examples=["warmup: {runs: 5, seconds: 0.5}"],
    )
    steady: Steady = Field(
        default=Steady(),
        description="The inferences that speed-ups are made of.",
        examples=["steady: {runs: 30, seconds: 1}"],
    )
    memory: MemoryTrials = Field(
        default=MemoryTrials(),
        description="Trials that watch memory, and never measure time.",
        examples=["memory: {trials: 1}"],
    )
    profile: ProfileTrials = Field(
        default=ProfileTrials(),
        description="Trials that watch the time of every operator, for runners with a profiler.",
        examples=["profile: {trials: 1}"],
    )
    check: CheckTrials = Field(
        default=CheckTrials(),
        description="Trials that look at what each file computes on each device, by another runner "
        "of the same files, where the one that is measured shows no outputs.",
        examples=["check: {trials: 1}"],
    )
    gate: Gate = Field(
        default=Gate(),
        description="What every trial that measures time waits for. Waiting is part of no time, "
        "and does not count against the budget.",
        examples=["gate: {load: 0.1, timeout: 30s}"],
    )
    duet: bool = Field(
        default=False,
        description="Whether each scheme runs at the same time as a baseline of its own, each on "
        "CPUs of its own, so that a neighbour's noise strikes both alike. Takes twice `threads` "
        "CPUs.",
        examples=["duet: true"],
    )
    timeout_s: PositiveDuration = Field(
        default=300.0,
        alias="timeout",
        validate_default=True,
        description="A trial that takes longer is stopped and recorded as `timeout`.",
        examples=["timeout: 5m"],
    )

    @field_validator("timeout_s")
    @classmethod
    def _refuse_no_time(cls, value: float, info: ValidationInfo) -> float:
        if "warmup" in info.data and "steady" in info.data:
            least = info.data["warmup"].seconds + info.data["steady"].seconds
            if value <= least:
                raise ValueError(
                    f"{value:g} s would stop every trial: warm-up and steady phase alone take"
                    f" {least:g} s; write more"
                )
        return value

    @field_serializer("blocks")
    def _as_written(self, blocks: tuple[int, int]) -> str:
        return f"{blocks[0]}:{blocks[1]}"

    @property
    def min_blocks(self) -> int:
        return self.blocks[0]

    @property
    def max_blocks(self) -> int:
        return self.blocks[1]


class Suite(Strict):
    """Models × schemes, under which factors, by which protocol. Called as its file."""

    name: Text
    models: tuple[Model, ...] = Field(
        strict=False,
        max_length=_MOST,
        description="Models of the catalogue by name (`orchestrate models list` has them), and "
        "files of your own as keys and values.",
        examples=["models: [mobilenet_v1, resnet50]"],
    )
    #: The models among ``models`` whose files are the user's own.
    user_models: tuple[UserModel, ...] = Field(default=(), strict=False)
    schemes: tuple[Scheme, ...] = Field(
        default=(),
        validate_default=True,
        strict=False,
        max_length=_MOST,
        description="How the catalogue's models are quantized. Files of your own have the schemes "
        "that they hold: without a model of the catalogue it may be left out.",
        examples=[f"schemes: [{', '.join(registry.default().scheme_names[:2])}]"],
    )
    baseline: Text = Field(
        default=registry.default().scheme_names[0],
        validate_default=True,
        description="The scheme that every other one is compared with; one of `schemes`.",
        examples=[f"baseline: {registry.default().scheme_names[0]}"],
    )
    runners: Annotated[tuple[RunnerName, ...], BeforeValidator(_as_list)] = Field(
        default=(registry.AUTO,),
        alias="runner",
        strict=False,
        max_length=_MOST,
        description="What executes the models, one or a list. `auto` is the official binary where "
        "the device has one, else Python. Each of several measures the files of its own framework, "
        "beside a baseline of its own.",
        examples=["runner: auto"],
    )
    compare: Literal["runners"] | None = Field(
        default=None,
        description="`runners`: the first runner's baseline is compared with what the others run, "
        "too, which are other files.",
        examples=["compare: runners"],
    )
    runtime: Runtime | None = Field(
        default=None,
        description="Short for the factor of the same name with one level.",
        examples=["runtime: any"],
    )
    factors: Factors = Field(
        default=Factors(),
        validate_default=True,
        description="What else varies: every combination is measured and compared within itself.",
        examples=["factors: {threads: [1]}"],
    )
    command: ProgramSection | None = Field(
        default=None,
        validate_default=True,
        description="What `runner: command` runs for each trial, and where its figures are read "
        "from.",
        examples=[
            'command: {argv: [bench, "{arguments}"], figures: {time: {json: /mean, unit: ms}}}'
        ],
    )
    protocol: Protocol = Field(
        default=Protocol(),
        validate_default=True,
        description="How long and how often is measured.",
        examples=['protocol: {blocks: "6:20"}'],
    )
    accuracy: Accuracy | None = Field(
        default=None,
        description="What accuracy is measured on. Left out: it is not measured.",
        examples=["accuracy: {task: classification, dataset: ~/imagenette2-320, split: val}"],
    )

    @field_validator("command")
    @classmethod
    def _refuse_what_nothing_runs(
        cls, value: ProgramSection | None, info: ValidationInfo
    ) -> ProgramSection | None:
        runners = info.data.get("runners")
        if runners is None:  # which is wrong, and is said
            return value
        programs = [each.name for each in _possible(runners) if each.program]
        if value is None and not programs:
            return value
        if value is None:
            raise ValueError(
                f"`runner: {programs[0]}` runs what this section says; write for example "
                f"`{cls.model_fields['command'].examples[0]}`"  # type: ignore[index]  # it has one
            )
        if not programs:
            able = registry.runners_where(lambda each: each.program)
            raise ValueError(
                f"is run by `runner: {' or '.join(able)}`, and this suite has another; delete it, "
                f"or write that runner"
            )
        factors = info.data.get("factors")
        _refuse_untold(value, factors, info.data.get("user_models", ()))
        return value

    @field_validator("protocol")
    @classmethod
    def _leave_out_memory_that_nobody_tells(cls, value: Protocol, info: ValidationInfo) -> Protocol:
        """Trials of memory are asked for by default: of runners that have none, they are not."""
        possible = _possible(info.data.get("runners", ()))
        asked = "memory" in value.model_fields_set
        if asked or not possible or any(TrialKind.MEMORY in each.kinds for each in possible):
            return value
        return value.model_copy(update={"memory": MemoryTrials(trials=0)})

    @field_validator("protocol")
    @classmethod
    def _refuse_duets_on_cuda(cls, value: Protocol, info: ValidationInfo) -> Protocol:
        factors = info.data.get("factors")
        if value.duet and factors is not None and set(factors.processor) != {"cpu"}:
            raise ValueError(
                "`duet: true` runs two trials at once on CPUs of their own, and a device has one"
                " `cuda`; delete `duet`, or write `processor: [cpu]`"
            )
        return value

    @field_validator("models")
    @classmethod
    def _refuse_repeated(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return check_list(value)

    @field_validator("schemes")
    @classmethod
    def _refuse_no_schemes(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        own = {model.name for model in info.data.get("user_models", ())}
        if not value and own and own.issuperset(info.data.get("models", ())):
            return value
        return check_list(value)

    @field_validator("runners")
    @classmethod
    def _refuse_repeated_runners(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return check_list(value)

    @field_validator("runners")
    @classmethod
    def _refuse_a_program_beside_others(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        programs = [each.name for each in _possible(value) if each.program]
        if programs and len(value) > 1:
            raise ValueError(
                f"`{programs[0]}` stands alone: other runners cannot take its variants; measure "
                f"them in a suite of their own"
            )
        return value

    @field_serializer("runners")
    def _one_or_several(self, runners: tuple[str, ...]) -> str | list[str]:
        return runners[0] if len(runners) == 1 else list(runners)

    @field_validator("compare")
    @classmethod
    def _refuse_one_runner(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and len(info.data.get("runners", ("", ""))) < 2:
            raise ValueError(
                "`compare: runners` needs two of them; write for example `runner: "
                f"[{', '.join(registry.runner_names()[1:3])}]`"
            )
        return value

    @field_validator("protocol")
    @classmethod
    def _refuse_duets_across_runners(cls, value: Protocol, info: ValidationInfo) -> Protocol:
        if value.duet and info.data.get("compare") is not None:
            raise ValueError(
                "a duet pairs what one runner measures, which `compare: runners` goes beyond;"
                " delete `duet`, or `compare`"
            )
        return value

    @field_validator("baseline")
    @classmethod
    def _refuse_unmeasured_baseline(cls, value: str, info: ValidationInfo) -> str:
        schemes = info.data.get("schemes")
        if schemes and value not in schemes:
            raise ValueError(
                f"{shown(value)} is none of the schemes ({listed(schemes)});"
                f" add it to `schemes`, or set `baseline` to one of them"
            )
        return value

    def trials_of(self, measure: str) -> int:
        """How many trials of each variant a measure has whose trials belong to no block.

        Its section bears the measure's name, in the protocol or beside it. Raises ValueError before
        the samples of accuracy were drawn.
        """
        section = getattr(self.protocol, measure, None) or getattr(self, measure, None)
        trials: int = 0 if section is None else section.trials
        return trials

    @field_validator("accuracy")
    @classmethod
    def _refuse_unknown_preprocessing(
        cls, value: Accuracy | None, info: ValidationInfo
    ) -> Accuracy | None:
        possible = _possible(info.data.get("runners", ()))
        if possible and not any(TrialKind.ACCURACY in each.kinds for each in possible):
            return value  # which the plan refuses, whatever is fed
        own = [each.name for each in info.data.get("user_models", ())]
        if value is not None and value.task in OF_OBJECTS:
            catalogue = [name for name in info.data.get("models", ()) if name not in own]
            if catalogue:
                raise ValueError(
                    f"{shown(catalogue[0])} detects nothing, like every model of the catalogue; "
                    "name your own files in `models`, or write `task: classification`"
                )
        if value is None or not own or value.preprocessing is not None or not value.feeds_images:
            return value
        raise ValueError(
            f"`preprocessing: auto` knows the catalogue's models alone, and {shown(own[0])} is your"
            " own; write what it was trained with, for example `preprocessing: {size: 224, resize:"
            " crop, mean: [127.5, 127.5, 127.5], std: [127.5, 127.5, 127.5]}`"
        )

    @field_validator("runtime")
    @classmethod
    def _refuse_useless_runtime(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None:
            _check_of_use(value, info.data.get("runners"))
        return value

    def schemes_of(self, model: str, framework: Framework) -> tuple[str, ...]:
        """The schemes that ``model`` is measured in by a framework's runners; none where its files
        are of another one."""
        own = {each.name: each for each in self.user_models}
        if model in own:
            files = own[model].files
            mine = len(self.frameworks) == 1 or all(_is_of(each.path, framework) for each in files)
            return own[model].schemes if mine else ()
        if len(self.frameworks) == 1:
            return self.schemes
        return tuple(each for each in self.schemes if each in framework.scheme_names)

    @field_validator("runners")
    @classmethod
    def _refuse_a_baseline_of_one(
        cls, value: tuple[str, ...], info: ValidationInfo
    ) -> tuple[str, ...]:
        """Each framework has a baseline of its own, of the one name."""
        baseline, frameworks = info.data.get("baseline"), registry.frameworks_of(value)
        for each in frameworks if len(frameworks) > 1 and baseline else ():
            if baseline not in each.scheme_names:
                raise ValueError(
                    f"the baseline {shown(str(baseline))} is not a scheme of {each.label}, which "
                    f"one of these runners measures; set `baseline` to one that all have, or "
                    f"measure them in suites of their own"
                )
        return value

    @field_validator("factors")
    @classmethod
    def _refuse_factors_of_other_runners(cls, value: Factors, info: ValidationInfo) -> Factors:
        """Factors that the runner cannot apply would vary in name only."""
        if "runtime" in value.model_fields_set and info.data.get("runtime") is not None:
            raise ValueError(
                "`runtime` is given here and as a key of the suite's own; keep one of the two"
            )
        for runtime in value.runtime:
            _check_of_use(runtime, info.data.get("runners"))
        runners = info.data.get("runners")
        return value if runners is None else _of_use_to(value, runners)

    @property
    def runtimes(self) -> tuple[str, ...]:
        """The values of the factor ``runtime``, wherever the suite has them."""
        return self.factors.runtime if self.runtime is None else (self.runtime,)

    @property
    def runner(self) -> str:
        """The runners in words."""
        return ", ".join(self.runners)

    @property
    def frameworks(self) -> tuple[Framework, ...]:
        """The frameworks whose models it names, in the order of the runners."""
        return registry.frameworks_of(self.runners)

    @property
    def program(self) -> Program | None:
        """What runners run that have nothing of their own to run; None where none is described."""
        if self.command is None:
            return None
        own = (each.arguments for each in self.user_models)
        return self.command.to_program({key: words for each in own for key, words in each.items()})

    def mark(self, framework: str) -> str:
        """What tells a variant of this framework from others of the run; empty where it has one
        framework only, as every run had once."""
        return framework if len(self.frameworks) > 1 else ""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON, with the keys a suite's file has, and its name."""
        data = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        if not self.user_models:
            del data["user_models"]
        if self.runtime is not None:  # the short form, which stands for the factor
            del data["factors"]["runtime"]
        if not self.protocol.duet:  # as suites were before there were duets
            del data["protocol"]["duet"]
        if not self.protocol.profile.trials:  # nor profiles
            del data["protocol"]["profile"]
        return data

    def for_a_run(self) -> dict[str, Any]:
        """Return it as a run's folder keeps it, which may be passed on: without the folder of its
        file."""
        data = self.to_json()
        for model in data.get("user_models", ()):
            model["place"] = Path(model["place"]).name
        if self.command is not None:
            data["command"] = self.command.for_a_run()
        if self.accuracy is not None:
            data["accuracy"] = self.accuracy.for_a_run()
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Suite:
        """The inverse of :meth:`to_json`; UsageError if this version cannot read it."""
        protocol = data.get("protocol")
        if isinstance(protocol, Mapping):
            # before there was a gate a run waited for nothing, and before there were checks nobody
            # looked at what a file computes: a run goes on as it began
            before = {"gate": {"load": 1.0}, "check": {"trials": 0}}
            data = {**data, "protocol": {**before, **protocol}}
        return revived(cls, dict(data), "the suite of the run")


def _refuse_untold(
    section: ProgramSection, factors: Factors | None, models: Iterable[UserModel]
) -> None:
    """Raise ValueError for a factor that varies, and that the program is not told."""
    own = (words for model in models for words in model.arguments.items())
    program = section.to_program(dict(own))
    for name in PLACEHOLDERS if factors is not None else ():
        factor = find_factor(name)
        if factor is None or program.tells(name):
            continue
        levels = getattr(factors, name)
        if levels != (factor.default,):
            raise ValueError(
                f"`{name}: [{', '.join(map(str, levels))}]` would vary in name only: no word of "
                f"`argv` or `environment` holds {{{name}}}"
            )


def _is_of(path: Path, framework: Framework) -> bool:
    return path.suffix.lower() in framework.endings


def _possible(names: Iterable[str]) -> tuple[RunnerAbout, ...]:
    """The runners that a suite's ``runner`` can stand for."""
    auto = registry.default().runners
    each = (auto if name == registry.AUTO else (registry.runner(name),) for name in names)
    return tuple(dict.fromkeys(runner for some in each for runner in some))


def _written(runners: Collection[str]) -> str:
    """``runner: litert``, or ``runner: [litert, torch]``."""
    names = ", ".join(runners)
    return f"`runner: {names}`" if len(runners) == 1 else f"`runner: [{names}]`"


def _check_of_use(runtime: str, runners: tuple[str, ...] | None) -> None:
    """Raise ValueError where no runner can be given ``runtime``; None are wrong runners."""
    if runners is None:
        return
    possible = _possible(runners)
    if any(registry.takes_runtime(each, runtime) for each in possible):
        return
    if not any(each.libraries for each in possible):
        raise ValueError(
            f"{_written(runners)} has its runtime built in; delete this line, or write "
            f"`runner: {_instead_of(possible[0])}`"
        )
    whose = listed(registry.runners_where(lambda each: registry.takes_runtime(each, runtime)))
    raise ValueError(
        f"{shown(runtime)} is of another runner ({whose}); delete it, or write `runner: {whose}`"
    )


def _instead_of(runner: RunnerAbout) -> str:
    """A runner of the same files that can be given a runtime."""
    others = registry.framework_of(runner.name).runners
    return next((each.name for each in others if each.libraries), registry.AUTO)


def _of_use_to(factors: Factors, runners: tuple[str, ...]) -> Factors:
    """The factors as the runners take them: one that none can apply is not varied.

    Raises ValueError where the suite asks for such a one.
    """
    possible = _possible(runners)
    neutral: dict[str, tuple[Any, ...]] = {}
    for name, level in ABSENT.items():
        known = [one.levels(name) for one in possible]
        unknown = [
            each for each in getattr(factors, name) if not any(each in some for some in known)
        ]
        if not unknown:
            continue
        numbers = next((some for some in known if isinstance(some, range)), None)
        if numbers is not None:
            raise ValueError(
                f"`{name}: {unknown[0]}` is not a number from {numbers[0]} to {numbers[-1]}, which "
                f"{_written(runners)} takes"
            )
        if name in factors.model_fields_set:
            raise ValueError(_means_nothing(name, unknown[0], level, runners))
        neutral[name] = (level,)
    if factors.input_size != (0,) and not any(each.input_sizes for each in possible):
        raise ValueError(
            f"{_written(runners)} runs a model at its own input size; delete `input_size`"
        )
    return factors.model_copy(update=neutral) if neutral else factors


def _means_nothing(factor: str, value: Any, level: Any, runners: tuple[str, ...]) -> str:
    takers = registry.runners_where(lambda each: value in each.levels(factor))
    return (
        f"`{factor}: {value}` means nothing to {_written(runners)}; delete it, or write "
        f"`{factor}: [{level}]` or `runner: {takers[0]}`"
    )


def with_overrides(
    suite: Suite,
    *,
    blocks: tuple[int, int] | None = None,
    precision: float | None = None,
    budget: float | None = None,
) -> Suite:
    """``suite`` with what the command line says instead; ``budget`` in seconds.

    Raises UsageError where a value is impossible.
    """
    given: dict[str, Any] = {"precision": precision, "budget": budget}
    if blocks is not None:
        given["blocks"] = f"{blocks[0]}:{blocks[1]}"
    data = suite.to_json()
    data["protocol"].update({key: value for key, value in given.items() if value is not None})
    return revived(Suite, data, "the command line")
