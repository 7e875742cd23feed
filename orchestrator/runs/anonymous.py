"""Takes out of a run's files who measured and where: names of hosts and users, paths, serials.

Each original has one stand-in through all files (``host-1``, ``user-1``, ``/path-1``), so that what
was the same stays the same. What is measured is left alone: models, schemes, factors, figures,
hashes. Everything is learned first, then replaced, and at the end the originals are searched for
again. Pure.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from orchestrator.factors import NAMES

#: What of an inventory's device a reader of the results needs. Everything else says how the
#: machine is reached, and is left out whole.
KEPT_OF_A_DEVICE = frozenset(
    {
        *("name", "transport", "expect", "exclusive", "cpus", "pin", "tune", "energy"),
        *("grid_gco2_per_kwh", "retry_for", "answer_within"),
    }
)
#: Words of the measurement: no text of a machine or a person.
_MEASURED = frozenset(
    {
        *NAMES,
        *("model", "scheme", "framework"),
        *("kind", "event", "outcome", "time", "device_time", "created"),
        *("microarchitecture", "vendor", "features", "runtime_name", "runtime_version"),
        *("baseline", "schemes", "models", "transport", "sha256", "artifact_sha256", "blobs"),
        *("binary_sha256", "site_sha256", "agent_hash", "digest", "run_id", "architecture"),
        *("governor", "kernel", "libc", "distribution", "os", "version", "signal", "way"),
    }
)
#: Ids and names that begin with a device's name.
_OF_A_DEVICE = frozenset({"device", "devices", "trial_id", "partner", "group", "log"})
#: Facts that name one machine alone.
_SERIALS = frozenset({"machine_id", "boot_id", "serial"})

#: Names that a thousand machines have, and nobody is known by.
ORDINARY = frozenset(
    {
        *("root", "ubuntu", "debian", "pi", "cc", "user", "admin", "localhost", "vm", "runner"),
        *("nobody", "guest", "test", "jetson", "nvidia", "ec2-user", "raspberrypi", "local"),
        *("docker", "podman", "exec", "ssh", "adb", "sudo", "bash", "kubectl", "lxc", "incus"),
        *("sh", "python", "python3", "env"),
    }
)
#: Folders of every system: what is below them says nothing of a person.
_OF_THE_SYSTEM = ("/usr/", "/proc/", "/sys/", "/dev/", "/etc/", "/lib", "/bin/", "/sbin/", "/snap/")

_PATH = re.compile(r"(?<![\w.~/+-])(?:~[\w.-]*(?=/)|/[\w.+@%=#~-]+(?=/))(?:/[\w.+@%=#~-]*)+")
_WINDOWS_PATH = re.compile(r"\b[A-Za-z]:\\(?:[^\\\s\"'<>|]+\\)+")
_HOME = re.compile(r"(?:/home/|/Users/|[A-Za-z]:\\Users\\)([A-Za-z0-9_][\w.-]{0,63})")
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\w)")
_IPV6 = re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:)[0-9A-Fa-f:]{4,39}(?![\w:])")
_MAC = re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}(?![\w:])")
_UUID = re.compile(r"(?<!\w)[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?!\w)")
_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[A-Za-z][\w.-]*\w")

#: What a measuring child prints of its answers: numbers, which are scored by their hash.
_ANSWER = "@orchestrate-sample "
_STREAM = re.compile(r"# (stdout|stderr), ([0-9]{1,12}) characters:\n")


class Pseudonyms:
    """The stand-ins of one run. First everything is learned, then :meth:`seal`, then replaced."""

    def __init__(self, hosts: Iterable[str] = (), users: Iterable[str] = ()) -> None:
        """``hosts`` and ``users``: names of the machine that exports."""
        self._words: dict[str, str] = {}
        self._paths: dict[str, str] = {}
        self._devices: dict[str, str] = {}
        self._device_names: dict[str, None] = {}
        self._measured: set[str] = set()
        self._tokens: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._pattern: re.Pattern[str] | None = None
        #: Originals that stay where they stand in a text, and why.
        self.kept: dict[str, str] = {}
        for name in hosts:
            self._host(name)
        for name in users:
            self._add("user", name)

    # -- learning -----------------------------------------------------------------------------

    def learn_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Learn what ``run.json`` says of how machines are reached, and of them."""
        listed = (manifest.get("inventory") or {}).get("devices") or ()
        named = {str(device.get("name")) for device in listed}
        for device in listed:
            self._learn_device(device, named)
        for name in manifest.get("devices") or ():
            self._device_names[str(name)] = None
        for facts in (manifest.get("facts") or {}).values():
            self.learn_event({"facts": facts})
        self._learn_measured(manifest, "")
        self._learn_texts(manifest)

    def learn_event(self, event: Mapping[str, Any]) -> None:
        """Learn what a line of the journal says of its machine."""
        if isinstance(event.get("device"), str):
            self._device_names[event["device"]] = None
        for key, value in _leaves(event, ""):
            if key == "hostname":
                self._host(value)
            elif key in _SERIALS:
                self._add("serial", value)
        self._learn_measured(event, "")
        self._learn_texts(event)

    def learn_text(self, text: str) -> None:
        """Learn the users in whose home folders something lies."""
        for name in _HOME.findall(text):
            self._add("user", name)

    def _learn_device(self, device: Mapping[str, Any], named: Collection[str]) -> None:
        for key in ("host", "gateway"):
            for hop in str(device.get(key) or "").split(","):
                user, _, host = hop.strip().rpartition("@")
                if key == "gateway" and host in named:  # another device of the inventory
                    continue
                self._add("user", user)
                self._host(host.rsplit(":", 1)[0] if host.count(":") == 1 else host)
        self._add("user", str(device.get("user") or ""))
        self._add("serial", str(device.get("serial") or ""))
        self._add("site", str(device.get("site") or ""))
        for word in device.get("exec") or ():
            for part in str(word).split("@"):
                if not part.startswith("-") and "/" not in part:
                    self._host(part)

    def _learn_texts(self, value: Any) -> None:
        for _, text in _leaves(value, ""):
            self.learn_text(text)

    def _learn_measured(self, value: Any, key: str) -> None:
        for name, text in _leaves(value, key):
            if name in _MEASURED:
                self._measured.add(text.lower())

    def _host(self, name: str) -> None:
        self._add("host", name)
        short, dot, _ = name.partition(".")
        if dot and not short.isdigit():
            self._add("host", short)

    def _add(self, kind: str, original: str) -> None:
        word = original.strip()
        if len(word) < 2 or word.lower() in self._words:
            return
        self._counts[kind] = self._counts.get(kind, 0) + 1
        self._words[word.lower()] = f"{kind}-{self._counts[kind]}"

    def seal(self) -> None:
        """Nothing is learned after this."""
        for word in list(self._words):
            if word in ORDINARY:
                self.kept[word] = "a name that nobody is known by"
            elif word in self._measured:
                self.kept[word] = "also a word of the measurement"
            elif len(word) < 3:
                self.kept[word] = "too short to be told from other text"
        replaced = sorted(self._words.keys() - self.kept.keys(), key=len, reverse=True)
        if replaced:
            self._pattern = re.compile(
                rf"(?<![A-Za-z0-9])(?:{'|'.join(map(re.escape, replaced))})(?![A-Za-z0-9])",
                re.IGNORECASE,
            )
        for name in self._device_names:
            known = name.lower() in self._words and name.lower() not in ORDINARY
            if known or (self._pattern and self._pattern.search(name)):
                self._devices[name] = f"device-{len(self._devices) + 1}"

    @property
    def devices(self) -> tuple[str, ...]:
        """The names of devices that stay: neither a host's nor a user's."""
        return tuple(name for name in self._device_names if name not in self._devices)

    # -- replacing ----------------------------------------------------------------------------

    def text(self, text: str) -> str:
        """Any text, with the stand-ins."""
        text = _WINDOWS_PATH.sub(self._windows_folder, text)
        text = _PATH.sub(self._path, text)
        text = _MAIL.sub(lambda m: self._token("address", m[0]), text)
        if self._pattern is not None:
            text = self._pattern.sub(lambda m: self._words[m[0].lower()], text)
        text = _UUID.sub(self._uuid, text)
        text = _MAC.sub(lambda m: self._token("hardware-address", m[0].lower()), text)
        return _IPV6.sub(self._address, _IPV4.sub(self._address, text))

    def manifest(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """``run.json``, without how machines are reached."""
        found: dict[str, Any] = self.json(dict(manifest))
        inventory = found.get("inventory") or {}
        inventory["devices"] = [
            {key: value for key, value in device.items() if key in KEPT_OF_A_DEVICE}
            for device in inventory.get("devices") or ()
        ]
        if inventory.get("path"):
            inventory["path"] = "inventory.yaml"
        names = {name: self.identifier(name) for name in found.get("facts") or {}}
        found["facts"] = {names[name]: facts for name, facts in (found.get("facts") or {}).items()}
        before = (manifest.get("inventory") or {}).get("devices") or ()
        for device, was in zip(inventory["devices"], before, strict=True):
            device["name"] = self.identifier(str(was.get("name")))
        return found

    def json(self, value: Any, key: str = "") -> Any:
        """Any JSON, with the stand-ins in its texts."""
        if isinstance(value, Mapping):
            # its place is left empty: stand-ins of two runs would make one machine of two
            return {
                name: None if name == "machine_id" else self.json(each, name)
                for name, each in value.items()
            }
        if isinstance(value, list):
            return [self.json(each, key) for each in value]
        if not isinstance(value, str) or key in _MEASURED:
            return value
        if key in _OF_A_DEVICE:
            return self.identifier(value)
        if key in _SERIALS or key == "hostname":
            # here it stands alone: an ordinary name is replaced too
            known = self._words.get(value.strip().lower())
            return self.text(value) if known is None else known
        return self.text(value)

    def identifier(self, name: str) -> str:
        """A device's name, or an id that begins with one; a log's name too."""
        renamed = self._renamed(name)
        if self._pattern is None:
            return renamed
        return self._pattern.sub(lambda m: self._words[m[0].lower()], renamed)

    def _renamed(self, name: str) -> str:
        prefix = "logs/" if name.startswith("logs/") else ""
        rest = name.removeprefix(prefix)
        for device, other in self._devices.items():
            after = rest[len(device) : len(device) + 1]
            if rest.startswith(device) and after in ("", ".", "/"):
                return f"{prefix}{other}{rest[len(device) :]}"
        return name

    def log(self, text: str) -> str:
        """A raw log; the numbers of characters that it states are those of the new text."""
        first = _STREAM.search(text)
        if first is None:
            return self._lines(text)
        parts, at = [self.text(text[: first.start()])], first.start()
        while (found := _STREAM.match(text, at)) is not None:
            stream = self._lines(text[found.end() : found.end() + int(found[2])])
            parts.append(f"# {found[1]}, {len(stream)} characters:\n{stream}\n")
            at = found.end() + int(found[2]) + 1
        return "".join((*parts, self._lines(text[at:])))

    def _lines(self, text: str) -> str:
        return "\n".join(
            line if line.startswith(_ANSWER) else self.text(line) for line in text.split("\n")
        )

    def _path(self, found: re.Match[str]) -> str:
        path = found[0]
        if path.startswith(_OF_THE_SYSTEM) or path.startswith("/path-"):
            return path
        folder, _, last = path.rpartition("/")
        return f"{self._folder(folder)}/{last}"

    def _windows_folder(self, found: re.Match[str]) -> str:
        return f"{self._folder(found[0])}/"

    def _folder(self, folder: str) -> str:
        if folder not in self._paths:
            self._paths[folder] = f"/path-{len(self._paths) + 1}"
        return self._paths[folder]

    def _token(self, kind: str, original: str) -> str:
        if original not in self._tokens:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._tokens[original] = f"{kind}-{self._counts[kind]}"
        return self._tokens[original]

    def _uuid(self, found: re.Match[str]) -> str:
        number = self._token("uuid", found[0].lower()).removeprefix("uuid-")
        return f"00000000-0000-4000-8000-{int(number):012d}"

    def _address(self, found: re.Match[str]) -> str:
        try:
            address = ipaddress.ip_address(found[0])
        except ValueError:
            return found[0]
        if address.is_loopback or address.is_unspecified:
            return found[0]
        return self._token("address", str(address))

    # -- afterwards ---------------------------------------------------------------------------

    def leftovers(self, text: str) -> tuple[str, ...]:
        """Search for the originals; what of them is still there."""
        if _ANSWER in text:
            text = "\n".join(e for e in text.split("\n") if not e.startswith(_ANSWER))
        found = {m[0] for m in self._pattern.finditer(text)} if self._pattern else set()
        # a folder of two parts or more, and what lies in somebody's home
        found |= {f for f in self._paths if f.count("/") + f.count("\\") > 1 and f in text}
        found |= {token for token in self._tokens if len(token) > 6 and token in text}
        found |= {m[0] for m in _HOME.finditer(text) if m[1].lower() not in ORDINARY}
        return tuple(sorted(found))

    @property
    def counts(self) -> Mapping[str, int]:
        """How many of each kind were replaced."""
        return {**self._counts, "path": len(self._paths), "device": len(self._devices)}


def _leaves(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Every text in a JSON value, with the key that it stands under."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _leaves(each, str(name))
    elif isinstance(value, list):
        for each in value:
            yield from _leaves(each, key)
    elif isinstance(value, str):
        yield key, value


def lines_of(events: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """A journal's lines as its own writer writes them."""
    for event in events:
        yield (json.dumps(event, allow_nan=False, separators=(",", ":")) + "\n").encode()
