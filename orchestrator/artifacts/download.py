"""Fetches a file over HTTP without waiting for ever, and says early where there is no network."""

from __future__ import annotations

import hashlib
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.artifacts.files import partial_name, translated
from orchestrator.errors import ArtifactError
from orchestrator.plain_files import created

#: A connection that brings no byte for this long is dead.
STALL_S = 30.0
#: Offline is told from slow by whether the server answers anything within this time.
REACH_S = 5.0

_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True)
class Download:
    """A complete download, still under its partial name."""

    partial: Path
    sha256: str
    size_bytes: int


def check_reachable(url: str, within_s: float = REACH_S) -> None:
    """Raise ArtifactError unless the server of ``url`` answers in ``within_s`` seconds.

    Any answer will do, an error page too. Goes through the proxy that the environment names.
    """
    failures: list[str] = []
    answered = threading.Event()

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")  # noqa: S310  # checked below
            urllib.request.urlopen(request, timeout=within_s).close()  # noqa: S310
        except urllib.error.HTTPError as exc:
            exc.close()
        except (OSError, HTTPException, ValueError) as exc:
            failures.append(_reason(exc))
        answered.set()

    _check_scheme(url)
    # Looking up a name knows no timeout, and each address of a host gets one of its own; only a
    # thread that may be left behind bounds the sum.
    threading.Thread(target=ask, daemon=True).start()
    if not answered.wait(within_s):
        failures.append(f"no answer within {within_s:g} s")
    if failures:
        raise ArtifactError(f"{urlsplit(url).hostname} cannot be reached: {failures[0]}")


def fetch(
    url: str, target: Path, on_progress: Callable[[str], None], *, stall_s: float = STALL_S
) -> Download:
    """Download ``url`` beside ``target``, under the partial name; the caller puts it in place.

    Raises ArtifactError naming the address; nothing is left behind then.
    """
    _check_scheme(url)
    partial = partial_name(target)
    try:
        with urllib.request.urlopen(url, timeout=stall_s) as response:  # noqa: S310
            return _receive(response, partial, url, on_progress)
    except BaseException as exc:
        partial.unlink(missing_ok=True)
        if isinstance(exc, OSError | HTTPException | ValueError):
            raise ArtifactError(f"{url}: {_reason(exc)}") from exc
        raise


def _receive(
    response: HTTPResponse, partial: Path, url: str, on_progress: Callable[[str], None]
) -> Download:
    length = response.headers.get("Content-Length", "")
    expected = int(length) if length.isdecimal() else None
    of = "" if expected is None else f" ({expected / 1e6:.1f} MB)"
    on_progress(f"fetching {url}{of}")
    digest = hashlib.sha256()
    received = 0
    with translated(partial), created(partial) as file:
        while chunk := _read(response, url):
            file.write(chunk)
            digest.update(chunk)
            received += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    if expected is not None and received != expected:
        raise ArtifactError(f"{url}: broke off after {received} of {expected} bytes; try again")
    return Download(partial, digest.hexdigest(), received)


def _read(response: HTTPResponse, url: str) -> bytes:
    # Told apart from a disk that is full: both are an OSError.
    try:
        return response.read(_CHUNK_BYTES)
    except (OSError, HTTPException) as exc:
        raise ArtifactError(f"{url}: broke off ({_reason(exc)}); try again") from exc


def _check_scheme(url: str) -> None:
    if urlsplit(url).scheme not in ("http", "https"):
        raise ArtifactError(f"{url}: only http and https addresses can be fetched")


def _reason(exc: BaseException) -> str:
    if isinstance(exc, urllib.error.HTTPError):
        return f"the server answers {exc.code} {exc.reason}"
    if isinstance(exc, urllib.error.URLError):
        return str(exc.reason)
    return str(exc) or type(exc).__name__
