"""What a bundle carries besides the agent: one device's plan, and the files that its trials need.

``orchestrate_agent/bundle.json`` is the document; ``blobs/<sha256>`` the files. Every file is
hashed before it is used, wherever it came from.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pkgutil
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from dataclasses import dataclass
from typing import BinaryIO, Callable, Iterator, List, Mapping, Optional, Tuple

from orchestrate_agent.course import Outline
from orchestrate_agent.errors import EXIT_NO_SPACE, AgentError
from orchestrate_agent.files import blobs
from orchestrate_agent.files.blobs import BlobStore, DamagedBlobError
from orchestrate_agent.protocol import ProtocolError, TrialRequest

FORMAT = 1
DOCUMENT = "bundle.json"
#: A server that sends no byte for this long is gone.
STALL_S = 60.0
_PACKAGE = "orchestrate_agent"


@dataclass(frozen=True)
class File:
    """A file that trials need. ``name`` is its path in the folder of models it was taken from;
    ``carried``: it is in the bundle itself."""

    sha256: str
    size_bytes: int
    name: str
    carried: bool


@dataclass(frozen=True)
class Document:
    """One device's part of a run. ``python`` runs the trials that need one; ``runtimes`` is what it
    must have, ``any`` or distributions; ``sites`` are those of ``files`` that are site bundles, and
    ``expect`` the facts that the machine must report."""

    run_id: str
    device: str
    python: str
    runtimes: Tuple[Tuple[str, ...], ...]
    sites: Tuple[str, ...]
    expect: Mapping[str, object]
    outline: Outline
    requests: Mapping[str, TrialRequest]
    files: Tuple[File, ...]


def load() -> Optional[Document]:
    """What this archive carries; None where it is the agent alone. Raises AgentError."""
    try:
        text = pkgutil.get_data(_PACKAGE, DOCUMENT)
    except OSError:
        text = None
    return None if text is None else _parsed(text)


def _parsed(text: bytes) -> Document:
    data = json.loads(text.decode("utf-8"))
    if data["format"] > FORMAT:  # cannot be: the agent beside it was written with it
        raise AgentError(f"this bundle has format {data['format']}; make it again")
    try:
        requests = [TrialRequest.from_json(item) for item in data["requests"]]
    except ProtocolError as exc:
        raise AgentError(f"this bundle is damaged ({exc}); fetch it again") from exc
    return Document(
        run_id=data["run_id"],
        device=data["device"],
        python=data["python"],
        runtimes=tuple(tuple(names) for names in data["runtimes"]),
        sites=tuple(data["sites"]),
        expect=data["expect"],
        outline=Outline.from_json(data["outline"]),
        requests={request.trial_id: request for request in requests},
        files=tuple(File(**item) for item in data["files"]),
    )


def unpack_agent(archive: str, agent_hash: str) -> str:
    """Put the agent alone into the home, as it lies on a device that SSH reaches; its path.

    Trials call it, so that they depend neither on the bundle's size nor on its staying there.
    """
    path = os.path.abspath(os.path.join("agents", f"{agent_hash}.pyz"))
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    temporary = f"{path}.{os.getpid()}"
    with _opened(archive) as source, zipfile.ZipFile(temporary, "w") as target:
        for name in source.namelist():
            if name == "__main__.py" or (
                name.startswith(_PACKAGE + "/") and name != f"{_PACKAGE}/{DOCUMENT}"
            ):
                target.writestr(name, source.read(name))
    os.replace(temporary, path)
    return path


def provide(
    files: Tuple[File, ...], archive: str, models: Optional[str], say: Callable[[str], None]
) -> None:
    """Have every file in the home's store, verified. ``models`` is a folder or an address to fetch
    from what the bundle does not carry. Raises AgentError naming what cannot be had."""
    store = BlobStore(os.getcwd())
    missing = [each for each in files if not _is_there(store, each)]
    absent = [each for each in missing if not each.carried]
    if absent and models is None:
        size_mb = sum(each.size_bytes for each in absent) / 1e6
        raise AgentError(
            f"this bundle carries no models, and {len(absent)} of them ({size_mb:.0f} MB) are not "
            f"here, {absent[0].name} among them; name a folder or an http(s) address that has "
            f"them: --models FOLDER_OR_URL"
        )
    for number, each in enumerate(missing, 1):
        say(f"file {number}/{len(missing)}: {each.name} ({each.size_bytes / 1e6:.1f} MB)")
        if each.carried:
            _unpack(each, archive)
        else:
            _fetch(each, str(models))


def _is_there(store: BlobStore, file: File) -> bool:
    try:
        return bool(store.path(file.sha256))
    except DamagedBlobError:
        return False


def _unpack(file: File, archive: str) -> None:
    with _opened(archive) as source:
        try:
            member = source.open(f"blobs/{file.sha256}")
        except KeyError as exc:
            raise AgentError(f"{archive} lacks {file.name}; fetch the bundle again") from exc
        with member:
            _put(file, member, archive)  # type: ignore[arg-type]  # it reads like any binary file


def _put(file: File, source: BinaryIO, place: str) -> None:
    try:
        blobs.put(file.sha256, file.size_bytes, source)
    except zipfile.BadZipFile as exc:
        raise AgentError(f"{place} is damaged ({exc}); fetch it again") from exc
    except AgentError as exc:
        if exc.exit_code == EXIT_NO_SPACE:
            raise
        raise AgentError(
            f"{place}: what it has as {file.name} is not the file of this run: {exc}"
        ) from exc


@contextlib.contextmanager
def _opened(archive: str) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(archive) as source:
            yield source
    except (OSError, zipfile.BadZipFile) as exc:
        raise AgentError(f"{archive} cannot be read ({exc}); fetch the bundle again") from exc


# --- from a folder or an address ---------------------------------------------------------------


def _fetch(file: File, models: str) -> None:
    """Fetch the file by the name it has in a folder of models, else by its hash."""
    tried: List[str] = []
    for name in (file.name, file.sha256):
        is_address = models.startswith(("http://", "https://"))
        place = f"{models.rstrip('/')}/{urllib.parse.quote(name)}" if is_address else ""
        place = place or os.path.join(models, *name.split("/"))
        try:
            with _source(place, is_address) as source:
                _put(file, source, place)
        except (OSError, http.client.HTTPException) as exc:
            tried.append(f"{place}: {_reason(exc)}")
        else:
            return
    raise AgentError(
        f"{file.name} cannot be had ({'; '.join(tried)}); give --models what holds the files of "
        f"orchestrate's folder `models`, under their names there or their SHA-256"
    )


def _source(place: str, is_address: bool) -> BinaryIO:
    if is_address:
        response: BinaryIO = urllib.request.urlopen(place, timeout=STALL_S)  # noqa: S310
        return response
    return open(place, "rb")


def _reason(exc: Exception) -> str:
    if isinstance(exc, urllib.error.HTTPError):
        return f"the server answers {exc.code}"
    return str(getattr(exc, "strerror", None) or getattr(exc, "reason", None) or exc)
