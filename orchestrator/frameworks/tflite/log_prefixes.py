"""What others put before the lines of a tool's output: logcat, CI systems, loggers, colours. Pure.

A line is a tool's only without it. What is known is taken off; that something unknown stands before
a figure is said with its place, and the figure is not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_CLOCK = r"\d{1,2}:\d{2}:\d{2}(?:[.,]\d{1,9})?"
_DATE = r"\d{4}-\d{2}-\d{2}"
_ZONE = r"(?: ?(?:Z|UTC|[+-]\d{2}:?\d{2}))?"
#: logcat's priority, tag and process, and the time in its forms: with year, zone or as an epoch.
_LEVEL = r"[VDIWEFS]"
_TAG = r"[^:()\n]{1,60}?"
_PID = r"\( *\d{1,7}\)"
_PIDS = r"(?:[\w.-]{1,40} +)?\d{1,7} +\d{1,7}"
_LOGCAT = rf"(?:(?:\d{{4}}-)?\d{{2}}-\d{{2}} {_CLOCK}{_ZONE}|\d{{9,11}}\.\d{{3,9}})"
#: A source file and its line.
_PLACE = r"[\w./+-]{1,200}:\d{1,6}"

#: One each of what may stand before a line; several may stand behind each other.
_PREFIXES = tuple(
    re.compile(pattern)
    for pattern in (
        # logcat: threadtime, time, brief, process and thread, tag
        rf"{_LOGCAT} +{_PIDS} +{_LEVEL} {_TAG}\s*: ?",
        rf"{_LOGCAT} +{_LEVEL}/{_TAG}\s*{_PID}: ?",
        rf"{_LEVEL}/{_TAG}\s*{_PID}: ?",
        rf"{_LEVEL}\( *\d{{1,7}}(?:: *\d{{1,7}})?\) ?",
        rf"{_LEVEL}/{_TAG}\s*: ",
        # absl and glog
        rf"[IWEF]\d{{4}} (?:{_CLOCK}|00:00:\d{{9,11}}\.\d{{1,9}}) +\d{{1,10}} {_PLACE}\] ?",
        # CI systems, journals, `docker logs -t`, `ts`: a time, bracketed or not
        rf"\[?{_DATE}[T ]{_CLOCK}{_ZONE}\]?(?: \d{{2}}[OE][ +]?)? ?",
        rf"\[{_CLOCK}\] ?",
        rf"{_CLOCK}(?: +|$)",
        r"\[ *\d{1,9}\.\d{3,9}\] ?",
        rf"[A-Z][a-z]{{2}} [ \d]\d {_CLOCK}"
        r"(?: [\w.-]{1,64} [\w./-]{1,64}(?:\[\d{1,7}\])?:)? ?",
        # Python's logging, and compose's name of a service
        r"(?:- )?(?:DEBUG|INFO|WARNING|ERROR)(?::[\w.]{1,60}:| [\w.]{1,60}: | - | +(?=\S+:? ))",
        r"[\w.-]{1,60} +\| ?",
    )
)
_MOST = 4
#: ANSI: colours, cursor movements, titles.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
#: logcat's long form puts a line of its own before each.
_LONG = re.compile(rf"\[ {_LOGCAT} +\d{{1,7}}: *\d{{1,7}} {_LEVEL}/{_TAG}\s*\]")
#: How the tool's own lines begin, its own level and place included.
_OWN = re.compile(
    r"(?:(?:INFO|VERBOSE|WARN|WARNING|ERROR|FATAL): ?)?(?:\[[\w./+-]{1,200}:\d{1,6}\] ?)?"
    r"(?:STARTING!|count=\d|Running benchmark for|Inference timings in us:"
    r"|Average inference timings in us:|Loaded model |Initialized session in"
    r"|The input model file size|Graph: \[)"
)
#: Those of them that nobody else writes; the operator profile has a ``count=`` of its own.
_FIGURE = re.compile(
    r"(?<!Timings \(microseconds\): )(?:\bSTARTING!|\bcount=\d+ (?:first|curr)=\d"
    r"|\bRunning benchmark for at least|\bInference timings in us:)"
)


def bare(text: str) -> str:
    """``text`` with what is known to stand before its lines taken off; as many lines as before."""
    return "\n".join(_bare_line(line) for line in text.split("\n"))


def _bare_line(line: str) -> str:
    line = _ESCAPES.sub("", line).rstrip("\r")
    if _LONG.fullmatch(line.strip()):
        return ""
    rest = line.lstrip()
    for _ in range(_MOST):
        if _OWN.match(rest):
            return rest
        matched = next((m for p in _PREFIXES if (m := p.match(rest)) is not None), None)
        if matched is None or matched.end() == 0:
            break
        rest = rest[matched.end() :].lstrip()
        line = rest
    return line


def unknown(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text that was made bare that have a figure behind something else: their
    numbers from 1, and what stands there."""
    for number, line in enumerate(text.split("\n"), 1):
        figure = _FIGURE.search(line)
        if figure is not None and not _OWN.match(line.lstrip()):
            before = line[: figure.start()].strip()
            # a process that died may have left half a line before the next one's first
            if before and not figure[0].startswith("STARTING!"):
                yield number, before
