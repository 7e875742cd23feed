"""Words for messages: what the user wrote, shown safely, and what they may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

#: What is longer is cut: a message quotes what was written, it does not repeat a file.
_SHOWN_CHARACTERS = 60
_NAMES_LISTED = 20


#: What holds one of these is a secret somebody is about to write into a file that is shared.
SECRET_WORDS = ("password", "passphrase", "passwd", "token", "secret", "api_key", "credential")


def names_a_secret(name: str) -> bool:
    """Whether a key or parameter called ``name`` holds a secret."""
    return any(word in name.lower().replace("-", "_") for word in SECRET_WORDS)


def shown(text: str) -> str:
    """``text`` between backticks; what cannot be seen escaped, what is long cut."""
    cut = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
    if not cut.isprintable():
        cut = cut.encode("unicode_escape").decode("ascii")
    return f"`{cut}`"


def listed(names: Iterable[str]) -> str:
    """``a, b, c``; the first twenty of many."""
    every = list(names)
    text = ", ".join(shown(name)[1:-1] for name in every[:_NAMES_LISTED])
    rest = len(every) - _NAMES_LISTED
    return f"{text} and {rest} more" if rest > 0 else text


def closest(word: str, known: Collection[str]) -> str | None:
    """The one of ``known`` that may have been meant."""
    # bounded, because the comparison's cost grows with the square of the length
    close = difflib.get_close_matches(word[:_SHOWN_CHARACTERS].lower(), known, n=1, cutoff=0.6)
    return close[0] if close else None


def hint(word: str, known: Collection[str], what: str) -> str:
    """``did you mean `x`?`` where one of ``known`` is close, else ``what`` and all of them."""
    close = closest(word, known)
    return f"did you mean `{close}`?" if close else f"{what}: {listed(known)}"
