"""What a command line for ``ssh`` says about the way to a host. Pure.

Jump hosts are found as ``-J``, as ProxyJump, and as a ProxyCommand that is ``ssh`` itself. What
else stands there is told, so that nobody takes it for taken over.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePath

#: Options of ssh that take a value.
_WITH_VALUE = frozenset("BbcDEeFIiJLlmOopQRSWw")
_OPTION = re.compile(r"\s*(\w+)(?:\s*=\s*|\s+)(.*\S)\s*\Z", re.DOTALL)
#: Where a ProxyCommand is to lead: to the target.
_TARGET = ("%h:%p", "[%h]:%p")
#: Options of a ProxyCommand's ssh that a jump host can be written with.
_OF_THE_WAY = ("-W", "-p", "-l", "-J")
_NETCATS = ("nc", "ncat", "netcat")


@dataclass(frozen=True)
class SshOptions:
    """``gateway``: jump hosts as an inventory writes them. ``proxy_command``: one that cannot be
    written so. ``rest``: every other option; ``rest_of_jump``: those of a ProxyCommand's ssh."""

    gateway: str | None = None
    proxy_command: str | None = None
    rest: str = ""
    rest_of_jump: str = ""


def options_for_ssh(text: str) -> SshOptions:
    """The options in ``text``, as a shell would split it; of several proxies the first counts."""
    try:
        words = shlex.split(text)
    except ValueError:  # a quotation without its end
        return SshOptions(
            proxy_command=text if re.search(r"(?i)proxy|-J", text) else None, rest=text
        )
    proxy: tuple[str, str] | None = None
    rest = []
    for option, value in _options(words):
        kind, argument = _meaning(option, value)
        if kind in ("proxyjump", "proxycommand"):
            proxy = proxy or (kind, argument)
        else:
            rest.append(shlex.join([option] if value is None else [option, value]))
    found = SshOptions(rest=" ".join(rest))
    if proxy is None or proxy[1].lower() == "none":
        return found
    if proxy[0] == "proxyjump":
        return replace(found, gateway=_jumps(proxy[1]))
    gateway, of_jump = _by_ssh(proxy[1])
    if gateway is None:
        return replace(found, proxy_command=proxy[1])
    return replace(found, gateway=gateway, rest_of_jump=of_jump)


def _options(words: list[str]) -> Iterator[tuple[str, str | None]]:
    """Split off each option with its value, and each other word by itself."""
    waiting = iter(words)
    for word in waiting:
        if not re.match(r"-[A-Za-z0-9]", word):
            yield word, None
            continue
        at = next((i for i, letter in enumerate(word) if i and letter in _WITH_VALUE), None)
        if at is None:
            yield word, None
            continue
        if at > 1:  # letters without a value before one that has
            yield word[:at], None
        yield f"-{word[at]}", word[at + 1 :] or next(waiting, "")


def _meaning(option: str, value: str | None) -> tuple[str, str]:
    """The name of an option in ssh_config, and its value there."""
    if option == "-J" and value is not None:
        return "proxyjump", value
    found = _OPTION.match(value or "") if option == "-o" else None
    return (found[1].lower(), found[2].strip("\"'")) if found else ("", "")


def _jumps(text: str) -> str:
    """``a,user@b:22`` so that no host can be taken for the name of a device."""
    jumps = [jump.strip() for jump in text.split(",")]
    if len(jumps) == 1 and not set("@:") & set(jumps[0]):
        return f"ssh://{jumps[0]}"
    return ",".join(jumps)


def _by_ssh(command: str) -> tuple[str | None, str]:
    """The jump hosts of a ProxyCommand that is ``ssh -W %h:%p HOST`` or ``ssh HOST nc %h %p``,
    and its other options."""
    try:
        program, *words = shlex.split(command)
    except ValueError:
        return None, ""
    if program == "exec" and words:
        program, *words = words
    if PurePath(program).name != "ssh":
        return None, ""
    netcat = next((i for i, word in enumerate(words) if PurePath(word).name in _NETCATS), None)
    words, command_there = words[:netcat], words[netcat:] if netcat is not None else []
    given: dict[str, str] = {}
    rest: list[str] = []
    others: list[str] = []
    for option, value in _options(words):
        if value is not None and option in _OF_THE_WAY:
            given.setdefault(option, value)
        elif value is not None:
            rest.append(shlex.join([option, value]))
        elif not option.startswith("-"):
            others.append(option)
    to_target = given.get("-W") in _TARGET or command_there[-2:] == ["%h", "%p"]
    elsewhere = any(re.match(r"(?i)-F|-o '?\s*proxy", each) for each in rest)
    if elsewhere or not to_target or len(others) != 1:
        return None, ""
    user, _, host = others[0].removeprefix("ssh://").rpartition("@")
    user, port = given.get("-l", user), given.get("-p")
    place = (f"{user}@" if user else "") + host + (f":{port}" if port else "")
    before = f"{given['-J']}," if "-J" in given else ""
    return _jumps(before + place), " ".join(rest)
