"""Pure: (inventory, suite, seed) → every trial of a run, in order. Touches no device, no file."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from orchestrator.config import Device, Suite
from orchestrator.errors import UsageError
from orchestrator.factors import ABSENT, OPEN, VARIED, combinations
from orchestrator.frameworks import registry
from orchestrator.frameworks.about import Library, RunnerAbout
from orchestrator.isa.levels import NATIVE
from orchestrator.measures.registry import unblocked_measures
from orchestrator.runtimes import ANY
from orchestrator.trial import (
    FIRST_PARTNER,
    NO_BLOCK,
    Duet,
    GateSettings,
    Group,
    PhaseSettings,
    RunSettings,
    Trial,
    TrialKind,
    Variant,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Block:
    """One randomised pass over a group: every scheme once, the baseline twice.

    As duets: every treatment runs with a baseline of its own, and the baseline with itself; the two
    trials of a duet follow each other.
    """

    group: Group
    index: int
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class DevicePlan:
    """Everything one device may be asked to run, in order.

    ``unblocked`` comes first, the trials that belong to no block, measure by measure: memory's are
    short, and a variant that the runtime cannot load shows there.
    ``checks`` are what its last trials belong to: groups of another runner than the one that
    measures, which looks at what the files compute. They are in no comparison.
    ``blocks`` holds every block up to the maximum; a run stops early where the precision asked
    for is reached. Round *i* holds block *i* of every group, in an order drawn from the seed.
    """

    device: str
    groups: tuple[Group, ...]
    unblocked: tuple[Trial, ...]
    blocks: tuple[Block, ...]
    checks: tuple[Group, ...] = ()

    @property
    def trials(self) -> tuple[Trial, ...]:
        return self.unblocked + tuple(trial for block in self.blocks for trial in block.trials)

    @property
    def needs_binary(self) -> bool:
        """Whether some group's runner is a binary that the device has to be given."""
        return any(registry.runner(g.factors.runner).tool is not None for g in self.groups)

    @property
    def cpus_for_duets(self) -> int:
        """Return how many CPUs it takes to run two trials at once; 0 where none do."""
        duets = (t for block in self.blocks for t in block.trials if t.duet is not None)
        return 2 * max((t.factors.threads for t in duets), default=0)

    @property
    def runtimes(self) -> frozenset[str]:
        """Return what Python runners are to compute with; empty for the binary."""
        return frozenset(g.factors.runtime for g in self.groups if g.factors.runtime)

    @property
    def choices(self) -> Mapping[str, tuple[Library, ...]]:
        """Return what may stand for each of ``runtimes``: the library named, or any of the
        runner's."""
        return _choices(self.groups)

    @property
    def choices_to_check(self) -> Mapping[str, tuple[Library, ...]]:
        """Return the same of what ``checks`` compute with alone, which a device may lack."""
        checks = (each for each in self.checks if each.factors.runtime not in self.runtimes)
        return _choices(checks)

    @property
    def capped_isas(self) -> frozenset[str]:
        """Return the instruction sets that processes are to be capped to; empty where nothing is
        capped."""
        return frozenset(g.factors.isa for g in self.groups) - {NATIVE}


def _choices(groups: Iterable[Group]) -> Mapping[str, tuple[Library, ...]]:
    return {
        g.factors.runtime: registry.choices(registry.runner(g.factors.runner), g.factors.runtime)
        for g in groups
        if g.factors.runtime
    }


@dataclass(frozen=True)
class Plan:
    """Every trial of a run, in order, and the seed that reproduces it."""

    seed: int
    baseline: str
    min_blocks: int
    max_blocks: int
    precision: float
    budget_s: float | None
    settings: RunSettings
    devices: tuple[DevicePlan, ...]
    duet: bool = False

    @property
    def at_once(self) -> int:
        """Return how many timing trials a device runs at the same time."""
        return 2 if self.duet else 1

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Return every variant that some trial needs, sorted."""
        return tuple(sorted({t.variant for d in self.devices for t in d.trials}))

    @property
    def uncompared(self) -> tuple[str, ...]:
        """Return what has to be said of models of which nothing is compared; nothing where all
        are."""
        groups = [group for device in self.devices for group in device.groups]
        alone = dict.fromkeys(group.model for group in groups if len(group.schemes) < 2)
        if not alone:
            return ()
        every = "0 comparisons: " if all(len(group.schemes) < 2 for group in groups) else ""
        return (
            f"{every}nothing is compared of {', '.join(alone)}, which the baseline "
            f"{self.baseline} is all there is of; the report shows its time, and no speed-up. Add "
            f"a variant to compare",
        )

    def fewest_s(self, device: DevicePlan) -> float:
        """Seconds that the fewest blocks take at least on one of the devices.

        The phases alone, which end no sooner than their seconds: slow models and starting
        processes come on top.
        """
        blocks = [b for b in device.blocks if b.index < self.min_blocks]
        turns = len(device.unblocked) + sum(len(b.trials) for b in blocks) / self.at_once
        return turns * (self.settings.warmup.seconds + self.settings.steady.seconds)

    def device(self, name: str) -> DevicePlan:
        """Return the plan of the device called ``name``; raises KeyError where there is none."""
        for plan in self.devices:
            if plan.device == name:
                return plan
        raise KeyError(name)


def make_plan(devices: Sequence[Device], suite: Suite, *, seed: int) -> Plan:
    """Make every trial of a run of ``suite`` on ``devices``; the same arguments give the same plan.

    Raises UsageError where the suite asks a runner for what it cannot do.
    """
    return Plan(
        seed=seed,
        baseline=suite.baseline,
        min_blocks=suite.protocol.min_blocks,
        max_blocks=suite.protocol.max_blocks,
        precision=suite.protocol.precision,
        budget_s=suite.protocol.budget_s,
        settings=_settings(suite),
        devices=tuple(_plan_device(device, suite, seed) for device in devices),
        duet=suite.protocol.duet,
    )


def _settings(suite: Suite) -> RunSettings:
    protocol = suite.protocol
    return RunSettings(
        warmup=PhaseSettings(protocol.warmup.runs, protocol.warmup.seconds),
        steady=PhaseSettings(protocol.steady.runs, protocol.steady.seconds),
        timeout_s=protocol.timeout_s,
        gate=GateSettings(protocol.gate.load, protocol.gate.temperature_c, protocol.gate.timeout_s),
        program=suite.program,
    )


def resolve_runners(suite: Suite, device: Device) -> tuple[RunnerAbout, ...]:
    """Return the runners of a suite on a device, each once.

    ``auto`` takes the first of its runners that the device and the suite permit. A binary takes the
    device's having one, and that the suite names no runtime, nor batches nor input sizes, which it
    cannot be given without knowing each model's input names, nor a measure that it lacks.
    """
    found = (
        _auto(suite, device) if name == registry.AUTO else registry.runner(name)
        for name in suite.runners
    )
    return tuple(dict.fromkeys(found))


def _auto(suite: Suite, device: Device) -> RunnerAbout:
    *_, last = possible = registry.default().runners
    return next((each for each in possible if _is_permitted(each, suite, device)), last)


def _is_permitted(runner: RunnerAbout, suite: Suite, device: Device) -> bool:
    has_tool = runner.tool is None or device.binary is not None
    has_runtime = bool(runner.libraries) or suite.runtimes == (ANY,)
    able = all(
        measure.kind in runner.kinds
        for measure in unblocked_measures()
        if suite.trials_of(measure.name)
    )
    return has_tool and has_runtime and able and _takes_inputs(runner, suite)


def _takes_inputs(runner: RunnerAbout, suite: Suite) -> bool:
    batches = runner.batches or suite.factors.batch == (1,)
    return batches and (runner.input_sizes or suite.factors.input_size == (0,))


def _plan_device(device: Device, suite: Suite, seed: int) -> DevicePlan:
    groups = _groups(device, suite)
    protocol = suite.protocol
    unblocked = tuple(
        _trial(seed, group, scheme, measure.kind, block=NO_BLOCK, replicate=number)
        for measure in unblocked_measures()
        for group in groups
        for scheme in group.schemes
        for number in range(suite.trials_of(measure.name))
    )
    checks = _checks(device, suite, groups)
    unblocked += tuple(
        _trial(seed, group, scheme, TrialKind.CHECK, block=NO_BLOCK, replicate=number)
        for group in checks
        for scheme in group.schemes
        for number in range(suite.trials_of(TrialKind.CHECK.value))
    )
    make_block = _block_of_duets if protocol.duet else _block
    blocks = []
    for index in range(protocol.max_blocks):
        for group in _shuffled(groups, seed, device.name, "round", index):
            blocks.append(make_block(seed, group, index))
    return DevicePlan(device.name, groups, unblocked, tuple(blocks), checks)


def _checks(device: Device, suite: Suite, groups: Sequence[Group]) -> tuple[Group, ...]:
    """The groups of the runners that look at what others' files compute: each file once, under the
    factors of the first group that has it. Where no Python is, nothing can be looked at."""
    if device.transport == "adb" or not suite.trials_of(TrialKind.CHECK.value):
        return ()
    # a file that some group shows the outputs of is looked at already
    shown = {_files(g) for g in groups if registry.runner(g.factors.runner).shows_outputs}
    found: dict[tuple[str, str, str], Group] = {}
    for group in groups:
        checker = registry.checker_of(registry.runner(group.factors.runner))
        if checker is not None and _files(group) not in shown:
            found.setdefault(_files(group), _check(group, checker))
    return tuple(found.values())


def _files(group: Group) -> tuple[str, str, str]:
    return group.model, group.framework, group.factors.export


def _check(group: Group, checker: RunnerAbout) -> Group:
    factors = replace(
        group.factors, runner=checker.name, runtime=registry.own_runtime(checker, ANY)
    )
    factors = replace(factors, threads=1, isa=NATIVE)
    return registry.group_of(
        group.device,
        group.model,
        factors,
        group.schemes,
        group.baseline,
        framework=group.framework,
    )


def _groups(device: Device, suite: Suite) -> tuple[Group, ...]:
    runners = resolve_runners(suite, device)
    for runner in runners:
        _refuse_impossible(suite, device, runner)
    several = len(runners) > 1
    groups = tuple(group for runner in runners for group in _of_runner(device, suite, runner))
    _refuse_unclear(suite, groups)
    if several:
        for runner in runners:
            if not any(group.factors.runner == runner.name for group in groups):
                raise UsageError(
                    f"suite {suite.name}: runner {runner.name} has nothing to run: no model has "
                    f"files for it; leave it out"
                )
    return groups


def _of_runner(device: Device, suite: Suite, runner: RunnerAbout) -> Iterator[Group]:
    """The groups of one runner: its framework's files, under the factors that it takes."""
    framework = registry.framework_of(runner.name)
    levels = {each.name: _levels(runner, each.name, suite) for each in VARIED}
    for model in suite.models:
        schemes = suite.schemes_of(model, framework)
        for factors in combinations(runner.name, levels) if schemes else ():
            yield registry.group_of(
                device.name,
                model,
                factors,
                schemes,
                suite.baseline,
                framework=suite.mark(framework.name),
            )


def _levels(runner: RunnerAbout, factor: str, suite: Suite) -> tuple[Any, ...]:
    """The levels of a factor that the runner takes; where the suite asks for others alone, what it
    has instead."""
    if factor == "runtime":
        return _runtimes(suite, runner)
    asked: tuple[Any, ...] = getattr(suite.factors, factor)
    if factor not in ABSENT:
        return asked
    known = runner.levels(factor)
    return tuple(level for level in asked if level in known) or tuple(known[:1])


def _refuse_unclear(suite: Suite, groups: Iterable[Group]) -> None:
    """Raise UsageError where ``any`` would be one library of one runner and another of another."""
    of: dict[str, tuple[Library, ...]] = {}
    for group in groups:
        factors = group.factors
        choices = registry.choices(registry.runner(factors.runner), factors.runtime or ANY)
        if factors.runtime and of.setdefault(factors.runtime, choices) != choices:
            raise UsageError(
                f"suite {suite.name}: runtime {factors.runtime} means another library to each of "
                f"its runners; name the runtimes, for example `runtime: [{choices[0].name}, …]`"
            )


def _refuse_impossible(suite: Suite, device: Device, runner: RunnerAbout) -> None:
    """Raise UsageError where the suite asks the runner for what it cannot do on the device."""
    if device.transport == "adb":
        _refuse_on_android(suite, device, runner)
    others = registry.framework_of(runner.name).runners
    if runner.tool is not None and device.binary is None:
        raise UsageError(
            f"suite {suite.name}: runner {runner.name}, but device {device.name} has no "
            f"`{runner.tool.name}:` in the inventory; give a path, a URL or `official`, or let the "
            f"suite's runner be {_or(each.name for each in others if each.tool is None)}"
        )
    if not _takes_inputs(runner, suite):
        able = (each.name for each in others if _takes_inputs(each, suite))
        raise UsageError(
            f"suite {suite.name}: runner {runner.name} measures "
            f"{'' if runner.batches else 'batch 1 only, at '}the model's own input size; write "
            f"{'' if runner.batches else '`batch: [1]` and '}no `input_size`"
            f"{_instead(able)}"
        )
    _refuse_fixed_exports(suite)
    for measure in unblocked_measures():
        if suite.trials_of(measure.name) and measure.kind not in runner.kinds:
            having = [each.name for each in registry.runners() if measure.kind in each.kinds]
            why = runner.lacks.get(measure.kind, f"runner {runner.name} has no such trials")
            raise UsageError(
                f"suite {suite.name}: `{measure.name}` asks for what runner {runner.name} cannot "
                f"tell: {why}; leave it out, or use runner {' or '.join(having)}"
            )


def _refuse_fixed_exports(suite: Suite) -> None:
    """Raise UsageError where a fixed batch is asked of a file that has another, or of none."""
    if suite.factors.export == (OPEN,):
        return
    own = [model.name for model in suite.user_models]
    if own:
        raise UsageError(
            f"suite {suite.name}: `export` says how models of the catalogue are converted, and "
            f"{', '.join(own)} {'is a file' if len(own) == 1 else 'are files'} of your own, "
            f"measured as converted (`orchestrate models inspect FILE` says how); delete `export`, "
            f"or measure these with a suite of their own"
        )
    if suite.factors.batch != (1,):
        raise UsageError(
            f"suite {suite.name}: `export: fixed` fixes the batch at 1; write `batch: [1]`, or "
            f"measure batches with a suite of their own"
        )


def _or(names: Iterable[str]) -> str:
    return " or ".join(f"`{name}`" for name in names)


def _instead(names: Iterable[str]) -> str:
    able = _or(names)
    return f", or let the suite's runner be {able}" if able else ""


def _refuse_on_android(suite: Suite, device: Device, runner: RunnerAbout) -> None:
    way_out = "leave the device out with --device, or measure it with a suite of its own"
    if not runner.android:
        auto = registry.AUTO in suite.runners
        asked = "a runtime, batches or input sizes" if auto else f"runner {runner.name}"
        able = " and ".join(each.name for each in registry.runners() if each.android)
        raise UsageError(
            f"suite {suite.name} asks for {asked}, and device {device.name} is an Android device: "
            f"no Python is there, so that {able} alone runs, at batch 1 and the model's "
            f"own input size; {way_out}"
        )
    if suite.factors.isa != (NATIVE,):
        raise UsageError(
            f"suite {suite.name} varies `isa`, which nothing can on an Android device such as "
            f"{device.name}; {way_out}"
        )


def _runtimes(suite: Suite, runner: RunnerAbout) -> tuple[str, ...]:
    if not runner.libraries:
        return ("",)
    mine = [each for each in suite.runtimes if registry.takes_runtime(runner, each)]
    if not mine:
        raise UsageError(
            f"suite {suite.name}: none of its runtimes ({', '.join(suite.runtimes)}) is of runner "
            f"{runner.name}; add `{runner.runtimes[0]}` to `runtime`, or leave the runner out"
        )
    return tuple(dict.fromkeys(registry.own_runtime(runner, each) for each in mine))


def _block(seed: int, group: Group, index: int) -> Block:
    trials = [
        _trial(seed, group, scheme, TrialKind.TIMING, block=index) for scheme in group.schemes
    ]
    trials.append(_trial(seed, group, group.baseline, TrialKind.TIMING, block=index, replicate=1))
    return Block(group, index, _shuffled(trials, seed, group.key, "block", index))


def _block_of_duets(seed: int, group: Group, index: int) -> Block:
    baseline, treatments = group.baseline, [s for s in group.schemes if s != group.baseline]
    duets = [_duet(seed, group, index, (baseline, 0), (baseline, 1))]
    duets += [
        _duet(seed, group, index, (scheme, 0), (baseline, number))
        for number, scheme in enumerate(treatments, FIRST_PARTNER)
    ]
    order = _shuffled(duets, seed, group.key, "block", index)
    return Block(group, index, tuple(trial for duet in order for trial in duet))


def _duet(
    seed: int, group: Group, index: int, one: tuple[str, int], other: tuple[str, int]
) -> tuple[Trial, Trial]:
    """``one`` and ``other``: scheme and replicate. From block to block they change places, so that
    what one half of the CPUs is faster by cancels; who begins where is drawn."""
    (first,) = _shuffled((0, 1), seed, group.key, "half", *one)[:1]
    half = (first + index) % 2
    trials = [
        _trial(seed, group, scheme, TrialKind.TIMING, block=index, replicate=replicate)
        for scheme, replicate in (one, other)
    ]
    return (
        replace(trials[0], duet=Duet(trials[1].trial_id, half)),
        replace(trials[1], duet=Duet(trials[0].trial_id, 1 - half)),
    )


def _trial(
    seed: int, group: Group, scheme: str, kind: TrialKind, *, block: int, replicate: int = 0
) -> Trial:
    place = f"b{block:03d}" if block != NO_BLOCK else kind.value
    identity = f"{seed}|{group.key}|{scheme}|{kind.value}|{block}|{replicate}"
    digest = hashlib.sha256(identity.encode()).hexdigest()[:10]
    return Trial(
        trial_id=f"{group.device}.{group.model}.{scheme}.{place}.{digest}",
        device=group.device,
        kind=kind,
        variant=Variant(group.model, scheme, group.factors.export, group.framework),
        factors=group.factors,
        block=block,
        replicate=replicate,
    )


def _shuffled(items: Sequence[T], seed: int, *salt: object) -> tuple[T, ...]:
    # Seeding by text is stable across processes and Python versions (it hashes with SHA-512),
    # so a resumed run draws the order that the first one drew.
    order = list(items)
    random.Random("|".join(map(str, (seed, *salt)))).shuffle(order)  # noqa: S311 (no secret)
    return tuple(order)
