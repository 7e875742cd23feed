"""Which machines there are: ``inventory.yaml``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from orchestrator.config.device import NOT_OVER_SSH, SSH_KEYS, Device
from orchestrator.config.problems import Problems, Strict, revived
from orchestrator.config.routes import Route, misrouted, repeated_names
from orchestrator.config.text import hint, shown
from orchestrator.config.tree import (
    Entry,
    Sequence,
    YamlMapping,
    YamlValue,
    read_mapping,
    yaml_mapping,
)
from orchestrator.config.values import Hop, Text, in_home, is_jump, is_path, local_path, parse_hop
from orchestrator.errors import ConfigError, UsageError
from orchestrator.frameworks import registry


class Inventory(Strict):
    """The devices of one file. ``suite`` is a suite's name, or the absolute path of one."""

    path: Path
    suite: Text | None = None
    devices: Annotated[tuple[Device, ...], Field(strict=False, min_length=1)]

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Inventory:
        routes = [Route(d.name, d.transport, d.gateway) for d in self.devices]
        for index, _ in repeated_names(routes):
            raise ValueError(f"two devices are called {shown(self.devices[index].name)}")
        for index, message in misrouted(routes):
            raise ValueError(f"the gateway of {shown(self.devices[index].name)}: {message}")
        return self

    def device(self, name: str) -> Device:
        """The device of that name; UsageError where there is none."""
        for device in self.devices:
            if device.name == name:
                return device
        names = [device.name for device in self.devices]
        raise UsageError(
            f"no device is called {shown(name)} in {self.path};"
            f" {hint(name, names, 'the devices are')}"
        )

    def select(self, names: Iterable[str]) -> tuple[Device, ...]:
        """The devices of those names, in the inventory's order; all of them if none is named."""
        wanted = {self.device(name).name for name in names}
        return tuple(d for d in self.devices if not wanted or d.name in wanted)

    def gateway_of(self, device: Device) -> Device | Hop | None:
        """What ``device`` is reached through: another device, a jump host, or nothing."""
        if device.gateway is None:
            return None
        if is_jump(device.gateway):
            return parse_hop(device.gateway)
        return self.device(device.gateway)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON. No field can hold a secret, so none is in it."""
        data = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        for device in data["devices"]:
            if device["transport"] in NOT_OVER_SSH:
                del device["connect_timeout"]  # a default that means nothing there
        return data

    def for_a_run(self) -> dict[str, Any]:
        """Return it as a run's folder keeps it, which may be passed on: of paths of this machine
        only those that going on needs, and with ``~`` for the home folder, whose name is a
        person's."""
        data = self.to_json()
        data["path"] = self.path.name
        if is_path(self.suite or ""):
            data["suite"] = Path(str(self.suite)).name
        for device in data["devices"]:
            for key in ("key_file", "ssh_config", "known_hosts"):
                if key in device:
                    device[key] = in_home(device[key])
            binary = device.get(registry.tool().name)
            if isinstance(binary, dict) and "path" in binary:
                binary["path"] = in_home(binary["path"])
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Inventory:
        """The inverse of :meth:`to_json`; UsageError if this version cannot read it."""
        path = Path(str(data.get("path", "")))
        return revived(cls, {**data, "path": path}, "the inventory of the run")


def _from_folder(suite: str, info: ValidationInfo) -> str:
    """A path is relative to the file it is written in; a name stays a name."""
    if not is_path(suite):
        return suite
    return str(local_path(suite, (info.context or {})["folder"]))


class InventoryFile(Strict):
    """The top of the file; its devices are looked at one by one."""

    suite: Annotated[Text, AfterValidator(_from_folder)] | None = Field(
        default=None,
        description="What is measured where `--suite` names nothing else: a suite's name, or the "
        "path of its file, relative to this one.",
        examples=["suite: quick"],
    )
    defaults: dict[str, Any] | None = Field(
        default=None,
        description="Keys of a device, but for `name`, that every device has unless it says "
        "otherwise. Keys of SSH are not inherited by devices that are reached in another way; "
        "`key: null` takes a default back for one device.",
        examples=["defaults: {user: cc}"],
    )
    devices: Annotated[list[Any], Field(min_length=1)] = Field(
        description="The machines, one at least, each with the keys below.",
        examples=["devices: [{name: here, transport: local}]"],
    )


def load_inventory(path: Path) -> Inventory:
    """The inventory in a file.

    Raises ConfigError with everything that is wrong with the file, each at its place. Paths in it
    are relative to its folder, ``~`` is expanded.
    """
    root = read_mapping(path, "an inventory holds `devices:` (see inventory.yaml)")
    problems = Problems(path)
    folder = path.parent.absolute()
    file = problems.validate(InventoryFile, root, folder=folder)
    defaults = _defaults(problems, root, folder)
    devices = _devices(problems, root, defaults, folder)
    problems.raise_if_any()
    if file is None:  # only for the type checker: a file that is None left a problem behind
        raise ConfigError("is not an inventory", path=path)
    return Inventory(path=path, suite=file.suite, devices=tuple(devices))


def _defaults(problems: Problems, root: YamlMapping, folder: Path) -> dict[str, Entry]:
    """What every device has unless it says otherwise: valid in itself, and no name."""
    entry = root.entries.get("defaults")
    if entry is None or not isinstance(entry.node, YamlMapping):
        return {}
    entries = dict(entry.node.entries)
    if "name" in entries:
        mark = entries.pop("name").key_mark
        problems.add(mark, "`name` can be no default; give every device its own")
    # looked at as a device over SSH, which may have every key; `transport` is looked at where
    # it is inherited
    sample = {**entry.node.data, "name": "defaults", "transport": "ssh"}
    problems.validate(Device, entry.node, sample, folder=folder)
    known = {field.alias or name for name, field in Device.model_fields.items()}
    return {key: value for key, value in entries.items() if key in known}


def _devices(
    problems: Problems, root: YamlMapping, defaults: Mapping[str, Entry], folder: Path
) -> list[Device]:
    entry = root.entries.get("devices")
    if entry is None or not isinstance(entry.node, Sequence):
        return []
    nodes = [_with_defaults(node, defaults) for node in entry.node.items]
    devices = []
    for node in nodes:
        if problems.enough:
            break
        devices.append(problems.validate(Device, node, folder=folder))
    _check_routes(problems, nodes)
    return [device for device in devices if device is not None]


def _with_defaults(node: YamlValue, defaults: Mapping[str, Entry]) -> YamlValue:
    """The device with what it inherits; every key keeps the place where it was written."""
    if not isinstance(node, YamlMapping):
        return node
    own = node.entries
    transport = (own.get("transport") or defaults.get("transport") or Entry(node.mark, node)).node
    inherited = dict(defaults)
    if transport.data in NOT_OVER_SSH:
        inherited = {key: value for key, value in defaults.items() if key not in SSH_KEYS}
    elif _says_the_same(inherited.get("gateway"), own.get("name")):
        del inherited["gateway"]  # a gateway for all is none for itself
    return yaml_mapping(node.mark, {**inherited, **own})


def _says_the_same(one: Entry | None, other: Entry | None) -> bool:
    return one is not None and other is not None and one.node.data == other.node.data


def _check_routes(problems: Problems, nodes: list[YamlValue]) -> None:
    routes = [Route(*(_text(node, key) for key in Route._fields)) for node in nodes]
    for index, first in repeated_names(routes):
        line = _value(nodes[first], "name").mark.line
        name = _value(nodes[index], "name")
        problems.add(
            name.mark,
            f"two devices are called {shown(str(name.data))}; the first is in line {line}",
        )
    for index, message in misrouted(routes):
        problems.add(_value(nodes[index], "gateway").mark, f"`gateway`: {message}")


def _value(node: YamlValue, key: str) -> YamlValue:
    return node.entries[key].node if isinstance(node, YamlMapping) else node


def _text(node: YamlValue, key: str) -> str | None:
    if not isinstance(node, YamlMapping) or key not in node.entries:
        return None
    data = node.entries[key].node.data
    return data if isinstance(data, str) else None
