"""An explanation as parts, each of sentences and a table: what every format shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.analysis.explain.attribution import Effect
from orchestrator.analysis.explain.explanation import Explanation
from orchestrator.analysis.explain.flips import Switch
from orchestrator.analysis.explain.variation import Variation
from orchestrator.analysis.table import Speedup
from orchestrator.printable import printable
from orchestrator.report import accuracy, figures
from orchestrator.report.clean import clean
from orchestrator.report.explain import words
from orchestrator.report.notes import SIGNS

#: Of one model and scheme, the widest apart; json has all of them.
_MOST_SWITCHES = 6

TITLE = "What moves the speed-up"

METHOD = (
    "Effect: how a level multiplies the speed-up against the reference level, the mean over all "
    "pairs of comparisons that differ in that factor alone. Its replicates are blocks: "
    "Hodges-Lehmann estimate and exact signed-rank 95 % interval of the sums over blocks, so that "
    "no cell need be as noisy as another. It says how well the effect is known on these models "
    "and this machine, not what others would show. Certain: the interval excludes 1, and Holm's "
    "correction over all effects, or all interactions, of the run is passed at 5 %. Share of "
    "variation: sums of squares of type II over the means of comparisons; the noise is that of a "
    "single block. A sign flips only between the verdicts faster and slower."
)

OPERATORS = (
    "Times are of one inference, all operators of a kind together, from profiling trials of their "
    "own: profiling takes time itself, and there is no interval. Kinds are named as the "
    "runner's profiler does, without their number formats, so that they can be matched."
)


ACCURACY = (
    "Accuracy: what a scheme loses on its baseline in one place, less what it loses in another "
    "that differs in one factor alone, in points of percent, against the reference level. Both "
    "answered the same samples, which are paired; the interval is Bonett and Price's, and the "
    "p-value exact, after Holm's correction over all changes of the run. Of a detector's average "
    "precision the interval is that of independent differences, which is the wider one."
)


@dataclass(frozen=True)
class Table:
    """The last ``wrapped`` columns hold sentences, the others figures and names."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    wrapped: int


@dataclass(frozen=True)
class Part:
    """``sentences`` may hold anything a device says, made printable; ``name`` is ours."""

    name: str
    title: str
    sentences: tuple[str, ...] = ()
    table: Table | None = None


def parts(found: Explanation) -> tuple[Part, ...]:
    """Return the parts that have something to say, and how to read them; of a run in which nothing
    varied, return a part that says so, and the published figures."""
    some: tuple[Part, ...]
    if not found.factorial:
        some = (Part("nothing", "Nothing varied", (words.NOTHING,)), _published(found))
    else:
        some = (
            _flips(found),
            _effects(found),
            _interactions(found),
            _variation(found),
            _published(found),
        )
    some = (*some, _accuracy(found), _operators(found))
    gaps = Part("gaps", "Left out", _cleaned(words.gap_sentences(found)))
    told = [part for part in (*some, gaps) if part.sentences or part.table]
    reading = (METHOD, *_cleaned(words.capping_sentences(found)))
    return (*told, Part("reading", "How to read this", reading))


def _cleaned(sentences: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(printable, sentences))


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], wrapped: int = 1) -> Table | None:
    cells = tuple(tuple(map(clean, row)) for row in rows)
    return Table(tuple(map(clean, header)), cells, wrapped) if cells else None


def _flips(found: Explanation) -> Part:
    switches = [each for flip in found.flips for each in flip.switches[:_MOST_SWITCHES]]
    return Part(
        "flips",
        "What flips the sign",
        _cleaned(words.flip_sentences(found)),
        _table(
            ("slower", "faster", "model and scheme", "what switches, slower → faster"),
            (_switch(each, found) for each in switches),
            wrapped=2,
        ),
    )


def _switch(each: Switch, found: Explanation) -> Sequence[str]:
    low, high = each.slower, each.faster
    return (
        _signed(low),
        _signed(high),
        f"{low.model} {low.scheme}",
        f"{words.under(each.factor, low)} → {words.under(each.factor, high)}"
        f"{words.where_seen(each.factor, low, found)}",
    )


def _signed(row: Speedup) -> str:
    return f"{SIGNS[row.verdict]} {figures.speedup(row)}"


def _effects(found: Explanation) -> Part:
    return Part(
        "effects",
        "What each factor does to the speed-up",
        _cleaned(words.effect_sentences(found)),
        _effect_table(found.effects, found),
    )


def _interactions(found: Explanation) -> Part:
    shown = [e for e in found.interactions if e.certain or words.widest(e, found.interactions)]
    return Part(
        "interactions",
        "What works together",
        _cleaned(words.interaction_sentences(found)),
        _effect_table(shown, found),
    )


def _effect_table(effects: Sequence[Effect], found: Explanation) -> Table | None:
    header = ("× speed-up", "certain", "pairs", "models", "level instead of reference")
    return _table(header, (_effect(each, found) for each in effects))


def _effect(each: Effect, found: Explanation) -> Sequence[str]:
    return (
        words.ratio(each.found),
        "yes" if each.certain else "no",
        f"{each.sets}" + (f" of {each.sets + each.missing}" if each.missing else ""),
        words.scope(each, found),
        f"{words.levels(each)} instead of {words.references(each)}",
    )


def _variation(found: Explanation) -> Part:
    """A column a scope: all models, and each."""
    scopes = list(dict.fromkeys(each.model for each in found.variations))
    shares: dict[tuple[str, str], dict[str | None, str]] = {}
    for each in found.variations:
        for name, share in _shares(each):
            shares.setdefault((each.device, name), {})[each.model] = share
    rows = [
        (device, name, *(own.get(scope, figures.NONE) for scope in scopes))
        for (device, name), own in shares.items()
    ]
    overall = [v for v in found.variations if v.model is None or scopes == [v.model]]
    return Part(
        "variation",
        "How much each factor explains",
        _cleaned(map(words.variation_sentence, overall)),
        _table(("device", "share of", *(scope or "all models" for scope in scopes)), rows),
    )


def _shares(each: Variation) -> Iterable[tuple[str, str]]:
    for term in each.terms:
        yield words.term(term), words.percent(term.share) if term.known else "not to be told"
    if sum(len(term.factors) == 1 for term in each.terms) > 2:
        yield "three factors or more", words.percent(each.rest)
    if not each.complete:
        yield "one of several terms", words.percent(each.shared)
    yield "noise of a block", words.percent(each.noise)


def _operators(found: Explanation) -> Part:
    """Every family of every comparison that was profiled."""
    rows = [
        (
            figures.number(change.baseline_us / 1000),
            figures.number(change.treatment_us / 1000),
            change.family,
            f"{each.row.model} {each.row.scheme}, {words.place(each.row, found)}",
        )
        for each in found.profiles
        for change in each.changes
    ]
    sentences = _cleaned(words.profile_sentences(found))
    header = (found.baseline + ", ms", "quantized, ms", "operators", "model, scheme and setting")
    note = (OPERATORS,) if rows else ()
    return Part("operators", "Operator by operator", (*sentences, *note), _table(header, rows, 2))


def _accuracy(found: Explanation) -> Part:
    """Every change of accuracy that one factor makes, the largest first."""
    rows = [
        (
            accuracy.points(each.change, each.low, each.high),
            "yes" if each.certain else "no",
            f"{words.points(each.here)} → {words.points(each.there)}",
            words.changed_samples(each),
            f"{each.here.model} {each.here.scheme}",
            words.move_phrase(each),
        )
        for each in sorted(found.moves, key=lambda each: (not each.certain, -abs(each.change)))
    ]
    header = (
        "change, points", "certain", "difference, points", "samples changed", "model and scheme",
        "what changes",
    )  # fmt: skip
    sentences = _cleaned(words.move_sentences(found))
    note = (ACCURACY,) if rows else ()
    return Part(
        "accuracy-moves", "What moves the accuracy", (*sentences, *note), _table(header, rows, 2)
    )


def _published(found: Explanation) -> Part:
    rows = [
        (
            figures.speedup(model.row),
            figures.ratio(model.figure.speedup, model.figure.low, model.figure.high),
            figures.number(model.ratio),
            "yes" if model.within else "no",
            f"{model.row.model}, {words.place(model.row, found)}",
        )
        for each in found.agreements
        for model in each.models
    ]
    header = ("ours", "published", "ratio", "within 15%", "model, and what it ran as")
    return Part(
        "published",
        "Beside the published figures",
        _cleaned(words.agreement_sentence(each, found) for each in found.agreements),
        _table(header, rows),
    )
