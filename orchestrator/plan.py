"""Pure: (inventory, suite, seed) → every trial of a run, in order. Touches no device, no file."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from orchestrator.config import Device, Protocol, Suite
from orchestrator.errors import UsageError
from orchestrator.isa.levels import NATIVE
from orchestrator.runtimes import ANY
from orchestrator.trial import (
    FIRST_PARTNER,
    NO_BLOCK,
    Duet,
    Factors,
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

    As duets: every treatment beside a baseline of its own, and the baseline beside itself; the two
    trials of a duet follow each other.
    """

    group: Group
    index: int
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class DevicePlan:
    """Everything one device may be asked to run, in order.

    ``memory`` comes first: it is short, and a variant that the runtime cannot load shows there;
    then ``profile``.
    ``blocks`` holds every block up to the maximum; a run stops early where the precision asked
    for is reached. Round *i* holds block *i* of every group, in an order drawn from the seed.
    """

    device: str
    groups: tuple[Group, ...]
    memory: tuple[Trial, ...]
    blocks: tuple[Block, ...]
    profile: tuple[Trial, ...] = ()

    @property
    def beside(self) -> tuple[Trial, ...]:
        """The trials that belong to no block."""
        return self.memory + self.profile

    @property
    def trials(self) -> tuple[Trial, ...]:
        return self.beside + tuple(trial for block in self.blocks for trial in block.trials)

    @property
    def needs_binary(self) -> bool:
        """Whether some group runs the official ``benchmark_model``."""
        return any(group.factors.runner == "benchmark_model" for group in self.groups)

    @property
    def cpus_for_duets(self) -> int:
        """How many CPUs it takes to run two trials at once; 0 where none do."""
        duets = (t for block in self.blocks for t in block.trials if t.duet is not None)
        return 2 * max((t.factors.threads for t in duets), default=0)

    @property
    def runtimes(self) -> frozenset[str]:
        """What Python runners are to compute with; empty for the binary."""
        return frozenset(g.factors.runtime for g in self.groups if g.factors.runtime)

    @property
    def capped_isas(self) -> frozenset[str]:
        """The instruction sets that processes are to be capped to; empty where it is none."""
        return frozenset(g.factors.isa for g in self.groups) - {NATIVE}


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
        """How many timing trials a device runs at the same time."""
        return 2 if self.duet else 1

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Every variant that some trial needs, sorted."""
        return tuple(sorted({t.variant for d in self.devices for t in d.trials}))

    def fewest_s(self, device: DevicePlan) -> float:
        """Seconds that the fewest blocks take at least on one of the devices.

        The phases alone, which end no sooner than their seconds: slow models and starting
        processes come on top.
        """
        blocks = [b for b in device.blocks if b.index < self.min_blocks]
        turns = len(device.beside) + sum(len(b.trials) for b in blocks) / self.at_once
        return turns * (self.settings.warmup.seconds + self.settings.steady.seconds)

    def device(self, name: str) -> DevicePlan:
        """The plan of the device called ``name``; raises KeyError where there is none."""
        for plan in self.devices:
            if plan.device == name:
                return plan
        raise KeyError(name)


def make_plan(devices: Sequence[Device], suite: Suite, *, seed: int) -> Plan:
    """Every trial of a run of ``suite`` on ``devices``; the same arguments give the same plan.

    Raises UsageError where the suite asks a runner for what it cannot do.
    """
    return Plan(
        seed=seed,
        baseline=suite.baseline,
        min_blocks=suite.protocol.min_blocks,
        max_blocks=suite.protocol.max_blocks,
        precision=suite.protocol.precision,
        budget_s=suite.protocol.budget_s,
        settings=_settings(suite.protocol),
        devices=tuple(_plan_device(device, suite, seed) for device in devices),
        duet=suite.protocol.duet,
    )


def _settings(protocol: Protocol) -> RunSettings:
    return RunSettings(
        warmup=PhaseSettings(protocol.warmup.runs, protocol.warmup.seconds),
        steady=PhaseSettings(protocol.steady.runs, protocol.steady.seconds),
        timeout_s=protocol.timeout_s,
        gate=GateSettings(protocol.gate.load, protocol.gate.temperature_c, protocol.gate.timeout_s),
    )


def resolve_runner(suite: Suite, device: Device) -> str:
    """``auto`` takes the official binary where the device has one.

    Unless the suite names a runtime, or batches or input sizes, which the binary cannot be given
    without knowing each model's input names.
    """
    if suite.runner != "auto":
        return suite.runner
    binary_can = suite.runtimes == (ANY,) and _inputs_as_they_are(suite)
    return "benchmark_model" if device.benchmark_model is not None and binary_can else "litert"


def _inputs_as_they_are(suite: Suite) -> bool:
    return suite.factors.batch == (1,) and suite.factors.input_size == (0,)


def _plan_device(device: Device, suite: Suite, seed: int) -> DevicePlan:
    groups = _groups(device, suite)
    protocol = suite.protocol
    memory, profile = (
        tuple(
            _trial(seed, group, scheme, kind, block=NO_BLOCK, replicate=number)
            for group in groups
            for scheme in group.schemes
            for number in range(count)
        )
        for kind, count in (
            (TrialKind.MEMORY, protocol.memory_trials),
            (TrialKind.PROFILE, protocol.profile_trials),
        )
    )
    make_block = _block_of_duets if protocol.duet else _block
    blocks = []
    for index in range(protocol.max_blocks):
        for group in _shuffled(groups, seed, device.name, "round", index):
            blocks.append(make_block(seed, group, index))
    return DevicePlan(device.name, groups, memory, tuple(blocks), profile)


def _groups(device: Device, suite: Suite) -> tuple[Group, ...]:
    runner = resolve_runner(suite, device)
    if device.transport == "adb":
        _refuse_on_android(suite, device, runner)
    if runner == "benchmark_model" and device.benchmark_model is None:
        raise UsageError(
            f"suite {suite.name}: runner benchmark_model, but device {device.name} has no "
            f"`benchmark_model:` in the inventory; give a path, a URL or `official`, or let the "
            f"suite's runner be `litert`"
        )
    if runner == "benchmark_model" and not _inputs_as_they_are(suite):
        raise UsageError(
            f"suite {suite.name}: runner benchmark_model measures batch 1 only, at the model's "
            f"own input size; write `batch: [1]` and no `input_size`, or let the suite's runner be "
            f"`litert`"
        )
    if runner == "litert" and suite.protocol.profile_trials:
        raise UsageError(
            f"suite {suite.name}: `profile` asks for the time of every operator, and the Python "
            f"packages of runner litert have no profiler; leave it out, or use runner "
            f"benchmark_model or torch"
        )
    f = suite.factors
    return tuple(
        Group(
            device=device.name,
            model=model,
            factors=Factors(
                runner, runtime, delegate, threads, batch, isa, engine, processor, input_size
            ),
            schemes=suite.schemes_of(model),
            baseline=suite.baseline,
        )
        for (
            model,
            runtime,
            delegate,
            threads,
            batch,
            isa,
            input_size,
            engine,
            processor,
        ) in itertools.product(
            suite.models,
            _runtimes(suite, runner),
            f.delegate,
            f.threads,
            f.batch,
            f.isa,
            f.input_size,
            f.engine,
            f.processor,
        )
    )


def _refuse_on_android(suite: Suite, device: Device, runner: str) -> None:
    way_out = "leave the device out with --device, or measure it with a suite of its own"
    if runner != "benchmark_model":
        asked = (
            "a runtime, batches or input sizes" if suite.runner == "auto" else f"runner {runner}"
        )
        raise UsageError(
            f"suite {suite.name} asks for {asked}, and device {device.name} is an Android device: "
            f"no Python is there, so that benchmark_model alone runs, at batch 1 and the model's "
            f"own input size; {way_out}"
        )
    if suite.factors.isa != (NATIVE,):
        raise UsageError(
            f"suite {suite.name} varies `isa`, which nothing can on an Android device such as "
            f"{device.name}; {way_out}"
        )


def _runtimes(suite: Suite, runner: str) -> tuple[str, ...]:
    if runner == "benchmark_model":
        return ("",)
    # torch has one, so that any of them is that one
    any_is = "torch" if runner == "torch" else ANY
    return tuple(dict.fromkeys(any_is if r == ANY else r for r in suite.runtimes))


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
    place = f"b{block:03d}" if kind is TrialKind.TIMING else kind.value
    identity = f"{seed}|{group.key}|{scheme}|{kind.value}|{block}|{replicate}"
    digest = hashlib.sha256(identity.encode()).hexdigest()[:10]
    return Trial(
        trial_id=f"{group.device}.{group.model}.{scheme}.{place}.{digest}",
        device=group.device,
        kind=kind,
        variant=Variant(group.model, scheme),
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
