"""Whether a journal has all its lines: every device numbers its own from 1, in order.

A line that is missing, there twice, or glued to another is said with its place, and whether the
table can still be believed. Reads the file again, and only where a reader met what is out of order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

#: More events than these on one line were not glued together by a newline that got lost.
MOST_GLUED = 16
#: Of one device; a journal with more has been through something else than losing a few lines.
MOST_GAPS = 100
#: What our own lines begin with.
_BEGINNING = '{"format":'


@dataclass(frozen=True)
class Flaw:
    """What is wrong with the lines of a device, in words that begin with the place.

    ``loses``: something that was measured may be missing, or may not be what was measured.
    """

    device: str
    message: str
    loses: bool


def unglued(line: bytes) -> tuple[bytes, ...]:
    """The whole lines on one that is not JSON; bytes of another that are left over are let be.

    Raises ValueError or RecursionError where there is no whole one of ours.
    """
    text = line.decode("utf-8").rstrip("\n")
    decoder, at = json.JSONDecoder(), 0
    found: list[str] = []
    for _ in range(MOST_GLUED):
        try:
            _, end = decoder.raw_decode(text, at)
            found.append(text[at:end])
            at = end
        except ValueError:
            at = text.find(_BEGINNING, at + 1)
        if at < 0 or at >= len(text):
            break
    if not found or 0 <= at < len(text):
        raise ValueError("neither a line of ours nor several")
    return tuple(each.encode() + b"\n" for each in found)


@dataclass(frozen=True)
class NumberedEvent:
    """An event as far as its place needs it: on which line, which number of its device's, which of
    its agent's. ``digest`` is the same for the same bytes."""

    line: int
    device: str
    seq: int
    agent_seq: int | None
    digest: int


@dataclass
class _Gap:
    """Numbers that are missing before ``at``; ``heard`` is the agent's last number before them."""

    first: int
    last: int
    after: NumberedEvent | None
    at: NumberedEvent
    heard: int
    next_heard: int | None = None
    filled: set[int] = field(default_factory=set)

    @property
    def missing(self) -> int:
        return self.last - self.first + 1 - len(self.filled)


class _Device:
    """One device's lines, in the order in which they stand."""

    def __init__(self, name: str, file: str) -> None:
        self._name = name
        #: Gaps that no event of the agent has followed yet.
        self._open: list[_Gap] = []
        self._file = file
        self._last: NumberedEvent | None = None
        self._highest = 0
        self._seen: dict[int, NumberedEvent] = {}
        self._heard: set[int] = set()
        self._heard_last = 0
        self._gaps: list[_Gap] = []
        self._flaws: list[Flaw] = []

    def take(self, new: NumberedEvent) -> None:
        known = self._seen.get(new.seq)
        if known is not None:
            self._again(known, new)
            return
        self._seen[new.seq] = new
        if new.seq > self._highest + 1:
            gap = _Gap(self._highest + 1, new.seq - 1, self._last, new, self._heard_last)
            if len(self._gaps) < MOST_GAPS:
                self._gaps.append(gap)
                self._open.append(gap)
            elif len(self._gaps) == MOST_GAPS:
                self._say(
                    new.line,
                    f"{self._name} lacks lines in more than {MOST_GAPS} places",
                    loses=True,
                )
        elif new.seq <= self._highest:
            for gap in self._gaps:
                if gap.first <= new.seq <= gap.last:
                    gap.filled.add(new.seq)
            self._say(
                new.line, f"line {new.seq} of {self._name} stands after later ones", loses=False
            )
        self._highest = max(self._highest, new.seq)
        self._last = new
        if new.agent_seq is not None:
            for gap in self._open:
                gap.next_heard = new.agent_seq
            self._open.clear()
            self._heard.add(new.agent_seq)
            self._heard_last = new.agent_seq

    def flaws(self) -> Iterator[Flaw]:
        yield from self._flaws
        for gap in self._gaps:
            if gap.missing:
                loses = not self._told_anyway(gap)
                what = (
                    "what was measured there may be missing"
                    if loses
                    else "the agent's own numbers go on, so nothing that was measured is missing"
                )
                numbers = f"{gap.first}" if gap.first == gap.last else f"{gap.first} to {gap.last}"
                before = "the beginning" if gap.after is None else f"line {gap.after.line}"
                count = f"{gap.missing} line" + "s" * (gap.missing > 1)
                yield Flaw(
                    self._name,
                    f"{self._file}:{gap.at.line}: {count} of {self._name} (seq {numbers}) got lost "
                    f"between {before} and here; {what}",
                    loses,
                )

    def _told_anyway(self, gap: _Gap) -> bool:
        """Whether every event of the agent on either side of the gap is there."""
        if gap.next_heard is None or gap.next_heard <= gap.heard:  # or the agent lost its numbers
            return False
        return all(n in self._heard for n in range(gap.heard + 1, gap.next_heard))

    def _again(self, known: NumberedEvent, new: NumberedEvent) -> None:
        if known.digest == new.digest:
            what = f"the same line as line {known.line}; it counts once"
            self._say(new.line, what, loses=False)
        else:
            self._say(
                new.line,
                f"another line of {self._name} with the number of line {known.line} (seq "
                f"{new.seq}); one of them is not what was measured",
                loses=True,
            )

    def _say(self, line: int, what: str, *, loses: bool) -> None:
        self._flaws.append(Flaw(self._name, f"{self._file}:{line}: {what}", loses))


def flaws(
    file: str, events: Iterable[NumberedEvent], glued: Mapping[int, bool]
) -> tuple[Flaw, ...]:
    """Find everything that is out of order among ``events``, all of a journal's.

    ``glued``: the lines that held several, and whether bytes of another were left over.
    """
    devices: dict[str, _Device] = {}
    found: dict[int, Flaw] = {}
    for new in events:
        if new.device not in devices:
            devices[new.device] = _Device(new.device, file)
        devices[new.device].take(new)
        if new.line in glued and new.line not in found:
            what = (
                "part of a line is glued to a whole one, which was read"
                if glued[new.line]
                else "several lines are glued together; each was read"
            )
            found[new.line] = Flaw(new.device, f"{file}:{new.line}: {what}", loses=False)
    return (*found.values(), *(flaw for each in devices.values() for flaw in each.flaws()))
