"""What was found, as sentences. Each is made of one finding and its figures, or is not there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from orchestrator.analysis.explain.agreement import Agreement, agree
from orchestrator.analysis.explain.attribution import Effect
from orchestrator.analysis.explain.cells import SETTING, levels_of
from orchestrator.analysis.explain.contrasts import Ratio
from orchestrator.analysis.explain.explanation import Explanation
from orchestrator.analysis.explain.flips import DEVICE, Flip, Switch
from orchestrator.analysis.explain.moves import Move
from orchestrator.analysis.explain.moves import levels_of as accuracy_levels
from orchestrator.analysis.explain.profiles import OperatorChange
from orchestrator.analysis.explain.variation import Share, Variation
from orchestrator.analysis.table import AccuracyComparison, Speedup
from orchestrator.factors import find_factor
from orchestrator.frameworks import registry
from orchestrator.isa.levels import NATIVE, capped
from orchestrator.isa.proof import FAULTING, REWRITING
from orchestrator.report import accuracy, figures
from orchestrator.report.notes import place_in_full

_WAYS = {
    FAULTING: "the CPU made the instruction fault",
    REWRITING: "the instructions were rewritten as each object was loaded, since this CPU, or its "
    "hypervisor, cannot make them fault",
}
#: Terms of less are left out of the sentence; the table has all of them.
_LEAST_SHARE = 0.01
_LEAST_PERCENT = 0.1
#: Comparisons left out for one reason that a sentence names; json has all of them.
_MOST_NAMED = 8

#: Where nothing varied: what to run instead.
NOTHING = (
    "Nothing to explain: no two comparisons of a model differ in scheme, runtime, instruction set, "
    "delegate, threads or any other factor, and a factor is seen only where it varies. Run "
    "`orchestrate run --suite discrepancy-quick`, which varies the runtime, or `--suite "
    "isa-ladder-quick`, which varies the instruction set, and explain that run."
)


# -- flips ----------------------------------------------------------------------------------------


def flip_sentences(found: Explanation) -> Iterable[str]:
    """Yield a sentence for each flip and factor that switches it; or that nothing flips, where that
    could have been seen."""
    for flip in found.flips:
        yield from _flip(flip, found)
    if not found.flips and (several := _measured_twice(found.usable)):
        yield (
            f"No sign flips: of {figures.counted(several, 'scheme')} of a model that were measured "
            "in more than one setting, none is certainly faster in one and certainly slower in "
            "another."
        )


def _measured_twice(rows: Sequence[Speedup]) -> int:
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        counts[row.model, row.scheme] = counts.get((row.model, row.scheme), 0) + 1
    return sum(1 for count in counts.values() if count > 1)


def _flip(flip: Flip, found: Explanation) -> Iterable[str]:
    if not flip.switches:
        low, high = flip.slower[0], flip.faster[0]
        yield (
            f"{_upper(_doing(flip.model, flip.scheme))} made it {_times(low)} on "
            f"{place(low, found)} and {_times(high)} on {place(high, found)}; "
            "among the comparisons that were measured, no single factor switches between the two."
        )
    by_factor: dict[str, list[Switch]] = {}
    for switch in flip.switches:
        by_factor.setdefault(switch.factor, []).append(switch)
    for factor, switches in by_factor.items():
        yield _switch(factor, switches, found)


def _switch(factor: str, switches: Sequence[Switch], found: Explanation) -> str:
    """The widest apart, and of how many."""
    first = switches[0]
    low, high = first.slower, first.faster
    where = low.device if factor == "isa" else place_in_full(low.device, low.isa)
    doing = _doing(low.model, low.scheme)
    begin = _upper(doing) if factor == DEVICE else f"On device {where}, {doing}"
    held = _held(factor, low, found)
    said = (
        f"{begin} made it {_times(low)} {under(factor, low)} and {_times(high)} "
        f"{under(factor, high)}, all else equal{f': {held}' if held else ''}."
        f"{_what_moved(low, high)}"
    )
    if len(switches) > 1:
        more = figures.counted(len(switches) - 1, "other pair")
        said += f" {_upper(factor.replace('_', ' '))} alone flips it in {more} of settings too."
    return said


def _what_moved(low: Speedup, high: Speedup) -> str:
    """Which side of the ratio did it, and whether it ran elsewhere; nothing where nobody knows."""
    moved = ((low.baseline_ms, high.baseline_ms), (low.treatment_ms, high.treatment_ms))
    if any(None in times for times in moved):
        return ""
    baseline, treatment = (" to ".join(map(figures.number, times)) for times in moved)
    said = (
        f" From the first to the second, {low.baseline_scheme} goes from {baseline} ms and "
        f"{low.scheme} from {treatment} ms"
    )
    taken = [(row.baseline_delegated, row.treatment_delegated) for row in (low, high)]
    if taken[0] != taken[1] and all(map(all, taken)):
        first, second = (" and ".join(each) for each in taken)
        said += f"; of their nodes a delegate takes {first} in the first, {second} in the second"
    return f"{said}."


def _times(row: Speedup) -> str:
    """``1.9× slower (0.531× [0.520, 0.542])``; of a verdict, so that there is a speed-up."""
    ratio = row.speedup or 1.0
    size = figures.significant(max(ratio, 1 / ratio), 2)
    return f"{size}× {row.verdict.value} ({figures.speedup(row)})"


def where_seen(factor: str, row: Speedup, found: Explanation) -> str:
    """Say where a switch of ``factor`` was seen, unless that is all there is: `` (isa native)``."""
    held = _held(factor, row, found)
    where = place_in_full(row.device, row.isa) if factor != "isa" and capped(row.isa) else ""
    said = ", ".join(filter(None, (where, held)))
    return f" ({said})" if said else ""


def _held(factor: str, row: Speedup, found: Explanation) -> str:
    """The levels of the other factors that vary on the device: which pair it is."""
    varied = found.factors.get(row.device, {})
    levels = levels_of(row)
    names = [name for name in SETTING if name in varied and name != factor]
    # a capped instruction set stands in the name of the place
    names = [name for name in names if name != "isa" or not capped(levels[name])]
    return ", ".join(label(name, levels[name], row) for name in names)


def _doing(model: str, scheme: str) -> str:
    return registry.scheme_phrase(scheme, model) or f"quantizing {model} ({scheme})"


def under(factor: str, row: Speedup) -> str:
    """``under tflite-runtime 2.14.0``, ``as here@haswell (capped, …)``, ``with 4 threads``."""
    level = levels_of(row).get(factor, "")
    if factor == DEVICE:
        return f"on {place_in_full(row.device, row.isa)} ({row.microarchitecture or 'unknown'})"
    if factor == "isa":
        own = "with the instruction set that the CPU has"
        return f"as {place_in_full(row.device, level)}" if capped(level) else own
    known = find_factor(factor)
    return f"{known.preposition if known else 'with'} {label(factor, level, row)}"


def label(factor: str, level: str, row: Speedup | None = None) -> str:
    """Return a level on its own: ``tflite-runtime 2.14.0``, ``delegate none``, ``4 threads``."""
    if factor == "runtime":
        ran = row.runtime_version if row is not None else ""
        return ran or level.replace("==", " ")
    known = find_factor(factor)
    return known.in_words(level) if known else level


# -- effects --------------------------------------------------------------------------------------


def ratio(found: Ratio | None) -> str:
    return "not known" if found is None else figures.ratio(found.ratio, found.low, found.high)


def levels(each: Effect) -> str:
    """``here@haswell (capped, …)``, ``full_int8 and tflite-runtime 2.14.0``."""
    return " and ".join(_names(each, each.levels))


def references(each: Effect) -> str:
    return " and ".join(_names(each, each.references))


def _names(each: Effect, some: Sequence[str]) -> list[str]:
    return [_name(each.device, *one) for one in zip(each.factors, some, strict=True)]


def _name(device: str, factor: str, level: str) -> str:
    if factor != "isa":
        return label(factor, level)
    return place_in_full(device, level) if capped(level) else f"the {NATIVE} instruction set"


def effect_sentences(found: Explanation) -> Iterable[str]:
    """Yield a sentence for each level: its effect over all models, and how far single models
    differ."""
    for each in found.effects:
        if widest(each, found.effects):
            yield _effect(each, found)


def scope(each: Effect, found: Explanation) -> str:
    """``all``, ``resnet50``, and of which device where there are several."""
    models = each.model or "all"
    return f"{each.device}: {models}" if len(found.factors) > 1 else models


def _scope(each: Effect, found: Explanation) -> str:
    models = "over all models" if each.model is None else f"for {each.model}"
    return f"On device {each.device}, {models}" if len(found.factors) > 1 else _upper(models)


def widest(each: Effect, effects: Sequence[Effect]) -> bool:
    """Whether it is over all models, or there is none that is."""
    return each.model is None or not any(e.model is None and _same(e, each) for e in effects)


def _same(one: Effect, other: Effect) -> bool:
    return (one.device, one.factors, one.levels) == (other.device, other.factors, other.levels)


def _effect(each: Effect, found: Explanation) -> str:
    change = f"{levels(each)} instead of {references(each)}"
    scoped = _scope(each, found)
    spread = _spread(each, found.effects)
    if each.found is None:
        return (
            f"{scoped}, what {change} does to the speed-up is not known: of "
            f"{figures.counted(each.missing, 'pair')} that would tell, none is complete."
        )
    rests = f"{figures.counted(each.sets, 'pair')} of comparisons that differ in nothing else"
    rests += f", {each.missing} more incomplete" if each.missing else ""
    if not each.certain:
        return (
            f"{scoped}, no effect of {change} on the speed-up is certain: "
            f"{ratio(each.found)} ({rests}).{spread}"
        )
    return f"{scoped}, {change} multiplies the speed-up by {ratio(each.found)} ({rests}).{spread}"


def _spread(each: Effect, effects: Sequence[Effect]) -> str:
    """`` From 0.11 (resnet50) to 0.61 (mobilenet_v1).``; nothing for a single model."""
    own = [
        (other.found.ratio, other.model)
        for other in effects
        if each.model is None and other.model and other.found and _same(each, other)
    ]
    if len(own) < 2:
        return ""
    (low, least), (high, most) = min(own), max(own)
    return f" From {figures.number(low)}× ({least}) to {figures.number(high)}× ({most})."


def interaction_sentences(found: Explanation) -> Iterable[str]:
    """Yield a sentence for each that is certain, over all models where there are several."""
    for each in found.interactions:
        if not each.certain or each.found is None or not widest(each, found.interactions):
            continue
        first, second = _names(each, each.levels)
        without, instead = _names(each, each.references)
        yield (
            f"{_scope(each, found)}, the effect of {second} instead of {instead} is "
            f"{ratio(each.found)} as large with {first} as with {without}."
        )


# -- variation ------------------------------------------------------------------------------------


def term(each: Share) -> str:
    return " × ".join(name.replace("_", " ") for name in each.factors)


def percent(share: float) -> str:
    """Show a share in two digits at most; what is next to nothing is said to be less than that."""
    size = abs(100 * share)
    if size < _LEAST_PERCENT:
        return f"< {_LEAST_PERCENT}%"
    shown = figures.significant(size, 2) if size >= 1 else f"{size:.1f}"
    return f"{'-' if share < 0 else ''}{shown}%"


def variation_sentence(each: Variation) -> str:
    largest = sorted(each.terms, key=lambda found: -found.share)
    said = [f"{term(t)} {percent(t.share)}" for t in largest if t.share >= _LEAST_SHARE]
    scope = "over all models" if each.model is None else f"of {each.model}"
    explained = ", ".join(said) if said else "no factor as much as 1%"
    return (
        f"Of what the {each.cells} speed-ups on device {each.device}, {scope}, vary by, this much "
        f"is due to: {explained}; noise of a single block {percent(each.noise)}."
        + ("" if each.complete else " Not every combination was measured.")
    )


# -- accuracy -------------------------------------------------------------------------------------


def move_sentences(found: Explanation) -> Iterable[str]:
    """Say which factor certainly moves the accuracy and by how much, the largest first, or that
    none does."""
    certain = sorted((m for m in found.moves if m.certain), key=lambda m: -abs(m.change))
    for each in certain[:_MOST_NAMED]:
        yield (
            f"{_upper(_doing(each.here.model, each.here.scheme))} changes the accuracy by "
            f"{points(each.here)} points, and by {points(each.there)} with {move_phrase(each)}: "
            f"{accuracy.points(each.change, each.low, each.high)}."
        )
    if len(certain) > _MOST_NAMED:
        left = len(certain) - _MOST_NAMED
        yield f"Certain too: {figures.counted(left, 'more change')} of accuracy, below."
    if found.moves and not certain:
        pairs = figures.counted(len(found.moves), "pair")
        same = sum(each.changed == 0 for each in found.moves)
        rest = "" if same == len(found.moves) else ", and the others differ by no more than chance"
        yield (
            f"No factor certainly moves the accuracy: of {pairs} of places that differ in one "
            f"factor alone, {same} agree in every sample{rest}."
        )


def points(row: AccuracyComparison) -> str:
    """``−9.0``: the difference of a comparison of accuracy in points."""
    return accuracy.signed(100 * (row.difference or 0.0))


def changed_samples(each: Move) -> str:
    return figures.NONE if each.changed is None else f"{each.changed} of {each.here.samples}"


def move_phrase(each: Move) -> str:
    """``threads 2 instead of threads 1 (here, delegate none)``: what differs, and where it is."""
    there, here = (_accuracy_level(each.factor, row) for row in (each.there, each.here))
    own = accuracy_levels(each.here)
    held = [
        label(name, own[name])
        for name in SETTING
        if name not in (each.factor, "isa", "runner")
        and own[name]
        and (known := find_factor(name)) is not None
        and not known.is_default(each.here.factors)
    ]
    place = "" if each.factor == DEVICE else place_in_full(each.here.device, _held_isa(each))
    where = ", ".join(filter(None, (place, *held)))
    return f"{there} instead of {here}{f' ({where})' if where else ''}"


def _held_isa(each: Move) -> str:
    return NATIVE if each.factor == "isa" else each.here.factors.isa


def _accuracy_level(factor: str, row: AccuracyComparison) -> str:
    level = accuracy_levels(row)[factor]
    if factor == DEVICE:
        return place_in_full(row.device, row.factors.isa)
    return _name(row.device, factor, level)


# -- published figures ----------------------------------------------------------------------------


def agreement_sentence(each: Agreement, found: Explanation) -> str:
    """Return our geometric mean and theirs, and plainly whether they agree."""
    ours = ratio(each.ours)
    models = figures.counted(len(each.models), "model")
    named = ", ".join(model.row.model for model in each.models)
    said = (
        f"Geometric mean of {each.scheme} over {models} ({named}), as "
        f"{place(each.models[0].row, found)}: {ours}; published for "
        f"{each.microarchitecture} ({each.source}): {figures.number(each.published)}×. They "
        f"{'agree' if each.within else 'do not agree'} within 15%: ours ÷ published is "
        f"{figures.number(each.ratio)}"
    )
    note = each.models[0].figure.note
    said += f" ({note})" if note else ""
    return f"{said}." if _sure(each) else f"{said}; our interval leaves the opposite open."


def _sure(each: Agreement) -> bool:
    """Whether all of our interval says the same of the 15%."""
    if each.ours.low is None or each.ours.high is None:
        return False
    low, high = each.ours.low / each.published, each.ours.high / each.published
    if each.within:
        return agree(low) and agree(high)
    return not agree(low) and not agree(high) and (low > 1) == (high > 1)


def place(row: Speedup, found: Explanation) -> str:
    """Say where and under what: ``here@haswell (capped, …), tflite-runtime 2.14.0``."""
    held = _held(DEVICE, row, found)
    return place_in_full(row.device, row.isa) + (f", {held}" if held else "")


# -- operators ------------------------------------------------------------------------------------


def profile_sentences(found: Explanation) -> Iterable[str]:
    """Say what takes longer and what shorter, the largest changes first, one sentence a
    comparison."""
    for each in found.profiles:
        slower = [c for c in each.changes if c.treatment_us > c.baseline_us]
        faster = [c for c in each.changes if c.treatment_us < c.baseline_us]
        said = [
            f"{'slower' if some is slower else 'faster'}: {', '.join(map(_change, some))}"
            for some in (slower, sorted(faster, key=lambda c: c.treatment_us - c.baseline_us))
            if some
        ]
        if said:
            row = each.row
            yield (
                f"On device {place(row, found)}, {_doing(row.model, row.scheme)} made these "
                f"operators {'; and these '.join(said)}."
            )


def _change(each: OperatorChange) -> str:
    """``convolution IGEMM 0.279 → 0.41 ms``; of an inference, all of the kind together."""
    if not each.baseline_us:
        return f"{each.family} (new) {figures.number(each.treatment_us / 1000)} ms"
    if not each.treatment_us:
        return f"{each.family} (gone) {figures.number(each.baseline_us / 1000)} ms"
    return f"{each.family} {figures.change(each.baseline_us / 1000, each.treatment_us / 1000)} ms"


# -- what was left out ----------------------------------------------------------------------------


def gap_sentences(found: Explanation) -> Iterable[str]:
    """Say which comparisons no figure here rests on, a sentence a reason."""
    reasons: dict[str, list[Speedup]] = {}
    for gap in found.gaps:
        reasons.setdefault(gap.why, []).append(gap.cell.row)
    for why, rows in reasons.items():
        shown = [_named(row, found.factors.get(row.device, {})) for row in rows[:_MOST_NAMED]]
        if len(rows) > _MOST_NAMED:
            shown.append(f"and {len(rows) - _MOST_NAMED} more")
        named = ", ".join(shown)
        yield f"{figures.counted(len(rows), 'comparison')} left out ({named}): {why}."


def capping_sentences(found: Explanation) -> Iterable[str]:
    """Say what a capped instruction set is, and how it was capped on each device."""
    ways: dict[str, set[str]] = {}
    for row in found.usable:
        if capped(row.isa):
            ways.setdefault(row.device, set()).update(filter(None, row.isa_way.split("/")))
    for device, told in ways.items():
        how = " and ".join(_WAYS[way] for way in sorted(told & _WAYS.keys()))
        yield (
            f"Capped, on device {device}: CPUID answers as the older CPU's would, so that "
            f"libraries choose that CPU's kernels; caches, clock and port counts stay the "
            f"machine's own. {_upper(how)}{'; each' if how else 'Each'} trial proves it."
        )


def _named(row: Speedup, varied: Mapping[str, Sequence[str]]) -> str:
    own = levels_of(row)
    held = [label(n, own[n], row) for n in SETTING if n in varied and n != "isa" and own[n]]
    where = place_in_full(row.device, row.isa)
    return " ".join([where, row.model, row.scheme, *(f"[{each}]" for each in held)])


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
