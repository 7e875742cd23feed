"""Values the user writes, as text on the command line or in YAML, and what they must look like.

The parsers raise ``ValueError`` with what to write instead, as argparse and pydantic expect.
"""

from __future__ import annotations

import math
import os
import re
import shlex
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema

from orchestrator.config.text import names_a_secret, shown

#: 6 pairs are the fewest whose range is a distribution-free 95 % interval for a median.
MIN_BLOCKS = 6
MAX_BLOCKS = 10_000
_MAX_SECONDS = 365 * 24 * 3600.0
_MAX_TEXT = 1024

_SECONDS_PER = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)([a-z]*)", re.ASCII)
_BLOCKS = re.compile(r"([0-9]{1,9})(?::([0-9]{1,9}))?", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_HOST = re.compile(r"[\w.:%-]+")
_USER = re.compile(r"[\w.+@\\-]+")
#: What the addresses of clouds that let one file out are signed with.
_SIGNED = re.compile(r"(?i)signature|^sig$|access_?key|api-?key|^key$|^auth$")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")


def parse_duration(text: str) -> float:
    """Seconds in ``30s``, ``5m``, ``1.5h`` or a plain number of seconds."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or match[2] not in _SECONDS_PER:
        raise ValueError(f"{shown(text)} is not a duration; write for example 30s, 5m or 1.5h")
    return _in_range(float(match[1]) * _SECONDS_PER[match[2]])


def parse_moment(value: object) -> datetime:
    """The moment in UTC that ISO 8601 text names; it must say which zone it is in.

    ``UTC`` may stand for the offset, as where Chameleon shows when a lease ends.
    """
    if isinstance(value, datetime):
        return value
    text = value.strip() if isinstance(value, str) else ""
    iso = re.sub(r"\s*(UTC|Z|z)\Z", "+00:00", text)
    for_example = "write for example `2026-12-01 18:00 UTC` or `2026-12-01T19:00:00+01:00`"
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        raise ValueError(f"{shown(str(value))} is not a date and time; {for_example}") from None
    if moment.tzinfo is None:
        raise ValueError(f"{shown(text)} does not say in which time zone; {for_example}")
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError:
        raise ValueError(f"{shown(text)} is out of range; {for_example}") from None


def _in_range(seconds: float) -> float:
    if not math.isfinite(seconds) or not 0 <= seconds <= _MAX_SECONDS:
        raise ValueError(
            f"`{seconds:g}` s is out of range: a duration lies between 0 and a year;"
            " write for example 30s, 5m or 1.5h"
        )
    return seconds


def parse_blocks(text: str) -> tuple[int, int]:
    """The fewest and the most blocks in ``MIN:MAX``, or ``N`` for exactly so many."""
    match = _BLOCKS.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"{shown(text)} is not a number of blocks; write MIN:MAX, for example 6:20"
        )
    fewest, most = int(match[1]), int(match[2] or match[1])
    if fewest < MIN_BLOCKS:
        raise ValueError(
            f"{fewest} blocks are too few: {MIN_BLOCKS} pairs are the fewest that give a"
            f" distribution-free 95 % interval for a median; write {MIN_BLOCKS} or more"
        )
    if most < fewest:
        raise ValueError(f"{fewest} blocks are more than {most}; write MIN:MAX, for example 6:20")
    if most > MAX_BLOCKS:
        raise ValueError(f"{most} blocks are too many; write at most {MAX_BLOCKS}")
    return fewest, most


def parse_precision(text: str) -> float:
    """The half-width asked of the interval, as a share of the speed-up: ``0.02`` is 2 %."""
    try:
        return check_precision(float(text))
    except ValueError:
        raise ValueError(
            f"{shown(text)} is not a precision; write a share between 0 and 1, for example 0.02"
        ) from None


def check_precision(value: float) -> float:
    """``value`` if it is a share between 0 and 1, both excluded."""
    if not 0 < value < 1:
        raise ValueError("a precision is a share between 0 and 1; write 0.02 for 2 %")
    return value


def check_share(value: float) -> float:
    """``value`` if it is a share of something: from 0 to 1."""
    if not 0 <= value <= 1:
        raise ValueError("a share lies between 0 and 1; write 0.1 for 10 %")
    return value


def check_text(text: str) -> str:
    """``text`` if a person can read all of it."""
    if not text.strip():
        raise ValueError("is empty; write a value, or delete the line")
    if len(text) > _MAX_TEXT:
        raise ValueError(f"longer than {_MAX_TEXT} characters")
    if not text.isprintable():
        raise ValueError(f"{shown(text)} holds a line break or another invisible character")
    return text


def check_name(text: str) -> str:
    """``text`` if it can name a device: it becomes part of file names."""
    if _NAME.fullmatch(check_text(text)) is None:
        raise ValueError(
            f"{shown(text)} could not be a file name; use letters, digits, `.`, `_` and `-`,"
            " a letter or digit first, at most 63 characters"
        )
    return text


def check_host(text: str) -> str:
    """``text`` if it is a host name, an address or an alias of the SSH configuration."""
    if "@" in text:
        raise ValueError(f"{shown(text)}: write the part before the `@` as `user`")
    name, colon, port = text.partition(":")
    if colon and port.isdigit():
        raise ValueError(f"{shown(text)}: write `host: {name}` and `port: {port}`")
    if text.startswith("-") or _HOST.fullmatch(text) is None:
        raise ValueError(
            f"{shown(text)} is not a host name or address; write for example `host: 192.0.2.10`"
        )
    return text


def check_user(text: str) -> str:
    """``text`` if it can be a login name and never an option of a command."""
    if text.startswith("-") or _USER.fullmatch(text) is None:
        raise ValueError(f"{shown(text)} is not a login name; write for example `user: cc`")
    return text


@dataclass(frozen=True)
class Hop:
    """A jump host that is not itself a device, and the one before it on the way there.

    A user that is None is left to the SSH configuration.
    """

    user: str | None
    host: str
    port: int | None = None
    before: Hop | None = None


_HOP = re.compile(
    r"(?:ssh://)?((?P<user>.+)@)?(?P<host>\[[^\]]+\]|[^:\[\]]+)(:(?P<port>[0-9]{1,5}))?", re.ASCII
)
#: What a jump host holds and a device's name does not.
_OF_HOPS = frozenset("@:,")


def is_jump(gateway: str) -> bool:
    """Whether a ``gateway`` is written as jump hosts, and not as a device's name."""
    return not _OF_HOPS.isdisjoint(gateway)


def parse_hop(text: str) -> Hop:
    """Jump hosts as ssh's ``-J`` takes them, the nearest first; the last is returned.

    Each is ``user@host``, ``user@host:port`` or ``host:port``, or the same behind ``ssh://``, where
    the host may stand alone; an IPv6 address stands in brackets.
    """
    hop: Hop | None = None
    for part in text.split(","):
        hop = _one_hop(part, hop)
    if hop is None:  # cannot be: a split text has a part
        raise ValueError("names no jump host")
    return hop


def _one_hop(text: str, before: Hop | None) -> Hop:
    match = _HOP.fullmatch(text)
    if match is None or not _is_login(match["user"], match["host"].strip("[]")):
        raise ValueError(f"{shown(text)} is not a jump host; write user@host or user@host:port")
    port = None if match["port"] is None else int(match["port"])
    if port is not None and not 1 <= port <= 65535:
        raise ValueError(f"{shown(text)}: a port lies between 1 and 65535")
    return Hop(match["user"], match["host"].strip("[]"), port, before)


def _is_login(user: str | None, host: str) -> bool:
    return all(
        part is None or (not part.startswith("-") and pattern.fullmatch(part) is not None)
        for part, pattern in ((user, _USER), (host, _HOST))
    )


def check_gateway(text: str) -> str:
    """``text`` if it is jump hosts as :func:`parse_hop` reads them or could be a device's name."""
    if is_jump(text):
        parse_hop(text)
        return text
    return check_name(text)


def check_command(text: str) -> str:
    """``text`` if it can be a program's name or path, and never an option."""
    if check_text(text).startswith("-"):
        raise ValueError(f"{shown(text)} is not a program; write for example `python: python3`")
    return text


#: In the command line of a carrier: where the command to run there takes its place.
COMMAND_PLACE = "{command}"


def check_carrier(words: tuple[str, ...]) -> tuple[str, ...]:
    """``words`` if they can be a command line that carries others to a device."""
    if not words:
        raise ValueError("is empty; write for example `exec: docker exec -i NAME`")
    check_command(words[0])
    if words.count(COMMAND_PLACE) > 1:
        raise ValueError(f"holds {COMMAND_PLACE} more than once; keep the one")
    for word in words:
        if COMMAND_PLACE in word and word != COMMAND_PLACE:
            raise ValueError(f"{COMMAND_PLACE} has to be a word of its own in {shown(word)}")
        if names_a_secret(word):
            raise ValueError(
                f"{shown(word.partition('=')[0])} names a secret, which has no place in this "
                f"file; let the program read it from its own configuration"
            )
        check_text(word)
    return words


def _words(value: object) -> object:
    """A command line as one would type it stands for its words; no shell is asked."""
    if not isinstance(value, str):
        return value
    try:
        return tuple(shlex.split(value))
    except ValueError as exc:
        raise ValueError(f"{shown(value)} has an open quote ({exc})") from exc


def check_remote_folder(text: str) -> str:
    """``text`` if it means the same folder wherever the device's programs start."""
    if not check_text(text).startswith(("/", "~/")):
        raise ValueError(f"{shown(text)} does not begin with `/` or `~/`; write it in full")
    return text


def check_serial(text: str) -> str:
    """``text`` if ``adb devices`` could list a device by it: it becomes a folder's name, too."""
    if _SERIAL.fullmatch(check_text(text)) is None:
        raise ValueError(
            f"{shown(text)} is not a serial; write what `adb devices` lists, for example "
            f"`serial: 1A2B3C4D` or `serial: 192.0.2.40:5555`"
        )
    return text


def check_url(text: str) -> str:
    """``text`` if it is an http(s) address that carries no login and no key."""
    try:
        parts = urlsplit(text)
        host, login = parts.hostname, parts.username is not None or parts.password is not None
        names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    except ValueError as exc:  # an unclosed bracket, an impossible port
        # not shown, because there may be a login in it
        raise ValueError("it is not an address; write http:// or https:// and a host") from exc
    if login:
        raise ValueError("the address holds a login; no secret has a place in this file")
    secret = next((n for n in names if names_a_secret(n) or _SIGNED.search(n)), None)
    if secret is not None:
        raise ValueError(
            f"the address holds a secret ({shown(secret)}), which has no place in this file;"
            " fetch the file yourself and name its `path`"
        )
    if parts.scheme not in ("http", "https") or not host or any(c.isspace() for c in text):
        raise ValueError(f"{shown(text)} is not an address; write http:// or https:// and a host")
    return text


def check_sha256(text: str) -> str:
    """``text`` if it is a SHA-256 in lower-case hexadecimal."""
    if _SHA256.fullmatch(text) is None:
        raise ValueError(
            f"{shown(text)} is not a SHA-256; write the 64 hex digits sha256sum prints"
        )
    return text


def check_list(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """``values`` if there is one at least, and none is repeated."""
    if not values:
        raise ValueError("is empty; list at least one")
    seen: set[Any] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{shown(str(value))} is listed twice")
        seen.add(value)
    return values


def _duration(value: object) -> float:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("expected a duration, for example 30s, 5m or 1.5h")  # noqa: TRY004  # pydantic reports ValueError, and lets TypeError through
    return _in_range(float(value))


def _blocks(value: object) -> tuple[int, int]:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError('expected a number of blocks, for example "6:20"')  # noqa: TRY004  # as above
    return parse_blocks(str(value))


def local_path(text: str, folder: Path) -> Path:
    """A path on this machine: ``~`` expanded, relative to ``folder``."""
    try:
        return folder / Path(check_text(text)).expanduser()
    except RuntimeError as exc:
        raise ValueError(f"{shown(text)}: there is no such user's home here") from exc


def in_home(path: str) -> str:
    """``path`` with ``~`` for the home folder, whose name is a person's, where it lies in it."""
    try:
        return f"~/{Path(path).relative_to(Path.home()).as_posix()}"
    except (ValueError, RuntimeError):  # it is elsewhere, or nobody has a home
        return path


def _local_path(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str):
        return value
    return local_path(value, (info.context or {}).get("folder", Path()))


# -- as a JSON Schema has them ---------------------------------------------------------------------
# What the functions above refuse, as far as a pattern can say it. Editors read patterns as
# JavaScript does, whose \w is ASCII.

_WORD = r"[A-Za-z0-9_.:%-]|[^\x00-\x7F]"


def _matching(pattern: str, **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^(?:{pattern})$", **more})


_VISIBLE = r"[^\x00-\x1F\x7F]*[^\x00-\x20\x7F][^\x00-\x1F\x7F]*"
_SECONDS: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": _MAX_SECONDS}
_POSITIVE: dict[str, Any] = {"type": "number", "exclusiveMinimum": 0, "maximum": _MAX_SECONDS}
_AMOUNT = r"(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)[smh]?\s*$"
_WRITTEN_DURATION = {"type": "string", "pattern": rf"^\s*{_AMOUNT}"}
_WRITTEN_POSITIVE = {"type": "string", "pattern": rf"^\s*(?![0.]+[smh]?\s*$){_AMOUNT}"}

Text = Annotated[str, AfterValidator(check_text), _matching(_VISIBLE, maxLength=_MAX_TEXT)]
Name = Annotated[str, AfterValidator(check_name), _matching(_NAME.pattern)]
Host = Annotated[str, AfterValidator(check_host), _matching(rf"(?!-)(?![^:]*:[0-9]+$)(?:{_WORD})+")]
User = Annotated[
    str, AfterValidator(check_user), _matching(r"(?!-)(?:[A-Za-z0-9_.+@\\-]|[^\x00-\x7F])+")
]
Gateway = Annotated[
    str,
    AfterValidator(check_gateway),
    _matching(rf"{_NAME.pattern}|(?!-)[^\s@:,]*[@:,](?!-)\S*"),
]
Url = Annotated[str, AfterValidator(check_url), _matching(r"https?://[^\s@/?#]+(?:[/?#]\S*)?")]
Command = Annotated[
    str, AfterValidator(check_command), _matching(rf"(?!-){_VISIBLE}", maxLength=_MAX_TEXT)
]
Carrier = Annotated[
    tuple[str, ...],
    BeforeValidator(_words),
    AfterValidator(check_carrier),
    Field(strict=False, max_length=256),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^(?!-).*\S"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 256},
            ]
        }
    ),
]
RemoteFolder = Annotated[
    str, AfterValidator(check_remote_folder), _matching(r"(?:/|~/)[^\r\n]*", maxLength=_MAX_TEXT)
]
Serial = Annotated[str, AfterValidator(check_serial), _matching(_SERIAL.pattern)]
Sha256 = Annotated[str, AfterValidator(check_sha256), _matching(_SHA256.pattern)]
LocalPath = Annotated[Path, BeforeValidator(_local_path), _matching(_VISIBLE, maxLength=_MAX_TEXT)]
#: Seconds.
Duration = Annotated[
    float, BeforeValidator(_duration), WithJsonSchema({"anyOf": [_SECONDS, _WRITTEN_DURATION]})
]
PositiveDuration = Annotated[
    float,
    BeforeValidator(_duration),
    Field(gt=0),
    WithJsonSchema({"anyOf": [_POSITIVE, _WRITTEN_POSITIVE]}),
]
#: UTC.
Moment = Annotated[
    datetime,
    BeforeValidator(parse_moment),
    _matching(r"\s*[0-9]{4}-[0-9]{2}-[0-9]{2}.*(?:UTC|[Zz]|[+-][0-9]{2}(?::?[0-9]{2}){0,2})\s*"),
]
Blocks = Annotated[
    tuple[int, int],
    BeforeValidator(_blocks),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": MIN_BLOCKS, "maximum": MAX_BLOCKS},
                {"type": "string", "pattern": r"^\s*[0-9]{1,9}(?::[0-9]{1,9})?\s*$"},
            ]
        }
    ),
]
Precision = Annotated[
    float,
    AfterValidator(check_precision),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
]
Share = Annotated[
    float,
    AfterValidator(check_share),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1}),
]


def is_path(suite: str) -> bool:
    """Whether a suite is written as a path rather than as a name."""
    return "/" in suite or os.sep in suite or suite.endswith((".yaml", ".yml"))
