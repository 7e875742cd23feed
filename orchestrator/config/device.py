"""One machine of the inventory, as the user describes it."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from orchestrator.artifacts.tool import Tool
from orchestrator.config.problems import Strict
from orchestrator.config.text import shown
from orchestrator.config.values import (
    Carrier,
    Command,
    Gateway,
    Host,
    LocalPath,
    Moment,
    Name,
    PositiveDuration,
    RemoteFolder,
    Serial,
    Sha256,
    Text,
    Url,
    User,
    check_list,
    check_text,
)
from orchestrator.frameworks import registry

#: What only a device reached over SSH has.
SSH_KEYS = frozenset(
    (
        "host",
        "port",
        "user",
        "key_file",
        "gateway",
        "ssh_config",
        "known_hosts",
        "connect_timeout",
    )
)
NOT_OVER_SSH = ("local", "bundle", "exec", "adb")
_FACT = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,62}")
#: Not a number: 3.10 would be 3.1.
_PYTHON = re.compile(r"3\.[0-9]{1,2}(\.[0-9]{1,2})?")


class BinarySource(Strict):
    """The place that the binary for a device comes from (see ``registry.tool``).

    A file on this machine, an address, or, with neither, the official one for its platform.
    """

    path: LocalPath | None = Field(
        default=None,
        description="A file on this machine. A path or an address may stand for the whole mapping.",
        examples=["path: bin/tool"],
    )
    url: Url | None = Field(
        default=None,
        description="Where it is fetched from, once; without a login and without a key.",
        examples=["url: https://example.org/tool"],
    )
    sha256: Sha256 | None = Field(
        default=None, description="What its bytes must hash to; other bytes are refused."
    )

    @model_validator(mode="after")
    def _refuse_two_sources(self) -> BinarySource:
        if self.path is not None and self.url is not None:
            raise ValueError("`path` and `url` are both given; keep one of them")
        if self.sha256 is not None and self.official:
            raise ValueError("`sha256` alone names no file; add `path` or `url`")
        return self

    @property
    def tool(self) -> Tool:
        """Which binary it is."""
        return registry.tool()

    @property
    def official(self) -> bool:
        """Whether the official binary is meant."""
        return self.path is None and self.url is None

    @model_serializer
    def _as_written(self) -> str | dict[str, str]:
        if self.official:
            return "official"
        fields = {"path": self.path, "url": self.url, "sha256": self.sha256}
        return {key: str(value) for key, value in fields.items() if value is not None}


def _binary(value: object) -> object:
    """``official``, an address or a path stand for the mapping they mean."""
    if isinstance(value, str):
        if value == "official":
            return BinarySource()
        return {"url": value} if "://" in value else {"path": value}
    if value == {}:
        raise ValueError("is empty; write `official`, a path, or `url:` and `sha256:`")
    return value


def _check_expect(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    for fact, value in facts.items():
        if _FACT.fullmatch(fact) is None:
            raise ValueError(f"{shown(fact)} is not a fact; write for example `microarchitecture`")
        if not isinstance(value, str | bool | int | float):
            raise ValueError(f"{shown(fact)} expects one value, for example `{fact}: cascadelake`")  # noqa: TRY004  # pydantic lets a TypeError through
        if isinstance(value, str):
            check_text(value)
        if fact == "python" and not (isinstance(value, str) and _PYTHON.fullmatch(value)):
            raise ValueError('`python` expects a version in quotes, for example `python: "3.12"`')
    return facts


Cpu = Annotated[int, Field(ge=0, le=65535)]


class Device(Strict):
    """A machine: its name, how it is reached, what it is expected to be.

    A ``local`` device is this machine; ``ssh`` is another; ``exec`` is reached by a command that
    gives stdin and stdout there; ``adb`` is an Android device; ``bundle`` is one that nothing
    reaches.
    """

    name: Name = Field(
        description="Yours to choose: it names the table's column, and files. Of an SSH device "
        "without `host` it is the host, too.",
        examples=["name: cascadelake-1"],
    )
    transport: Literal["local", "ssh", "exec", "adb", "bundle"] = Field(
        description="How it is reached: `local` is this machine; `ssh` another one; `exec` one to "
        "which a command leads; `adb` an Android device; `bundle` one that nothing reaches.",
        examples=["transport: ssh"],
    )
    #: See ``fleet.carried``.
    carrier: Carrier | None = Field(
        default=None,
        alias="exec",
        description="The command that leads there and gives its stdin and stdout, started by no "
        "shell. A command line for the shell there takes the place of the word `{command}`; where "
        "there is none, `sh -c` and that line are added. With `transport: exec` alone.",
        examples=["exec: docker exec -i NAME"],
    )
    serial: Serial | None = Field(
        default=None,
        description="Which Android device, as `adb devices` on this machine lists it. With "
        "`transport: adb` alone.",
        examples=["serial: 1A2B3C4D"],
    )
    host: Host | None = Field(
        default=None,
        validate_default=True,
        description="An address, a host name, or an alias of the SSH configuration. Left out: the "
        "device's name.",
        examples=["host: 192.0.2.10"],
    )
    port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Of its SSH server. Left out: what the SSH configuration says, or 22.",
        examples=["port: 22"],
    )
    user: User | None = Field(
        default=None,
        description="Who logs in. Left out: what the SSH configuration says, or your own name.",
        examples=["user: cc"],
    )
    key_file: LocalPath | None = Field(
        default=None,
        description="The private key. Left out: what ssh-agent and the SSH configuration offer.",
        examples=["key_file: ~/.ssh/id_ed25519"],
    )
    #: See ``Inventory.gateway_of``.
    gateway: Gateway | None = Field(
        default=None,
        description="What it is reached through: another device's name, or jump hosts as "
        "`user@host[:port]`, several with commas between, the nearest first.",
        examples=["gateway: cc@198.51.100.7"],
    )
    ssh_config: LocalPath | None = Field(
        default=None,
        description="Read in the place of `~/.ssh/config`.",
        examples=["ssh_config: ~/.ssh/config"],
    )
    known_hosts: LocalPath | None = Field(
        default=None,
        description="Read in the place of `~/.ssh/known_hosts`.",
        examples=["known_hosts: known_hosts"],
    )
    connect_timeout_s: PositiveDuration = Field(
        default=20.0,
        alias="connect_timeout",
        description="How long one try to log in may take.",
        examples=["connect_timeout: 30s"],
    )
    #: See `python_command`.
    python: Command | None = Field(
        default=None,
        description="The Python, 3.8 or later, that runs the agent and the Python runners. Left "
        "out: `python3`; on this machine the one that runs `orchestrate`. Of an Android device it "
        "is one of this machine.",
        examples=["python: python3"],
    )
    workdir: RemoteFolder = Field(
        default="~/.orchestrate",
        description="The agent's folder on the device; `~` is the home there. Of an Android device "
        "it is a folder of this machine.",
        examples=["workdir: ~/.orchestrate"],
    )
    binary: Annotated[
        BinarySource | None, BeforeValidator(_binary), Field(alias=registry.tool().name)
    ] = Field(
        default=None,
        validate_default=True,
        description="The binary for this device: `official` (the one published for its platform), "
        "a path on this machine, an address, or keys as below. Left out: models run in the "
        "device's Python; on an Android device, where nothing else runs, the official one.",
        examples=[f"{registry.tool().name}: official"],
    )
    expect: Annotated[Mapping[str, Any], AfterValidator(_check_expect)] = Field(
        default_factory=dict,
        max_length=64,
        description="Facts by name and value that the device must report to be the machine that is "
        "meant; another machine is refused. `python` is a version in quotes, whole or in part.",
        examples=["expect: {microarchitecture: cascadelake}"],
    )
    site: Text | None = Field(
        default=None,
        description="Where it stands: a label, and with `--engine dask` the workers that hold its "
        "connection.",
        examples=["site: uc"],
    )
    exclusive: bool = Field(
        default=True,
        description="Whether a trial holds the machine-wide lock, so that no second run disturbs "
        "it.",
        examples=["exclusive: true"],
    )
    cpus: tuple[Cpu, ...] | None = Field(
        default=None,
        strict=False,
        description="The logical CPUs that trials may use. Left out: all that the node allows.",
        examples=["cpus: [0, 1]"],
    )

    pin: bool | None = Field(
        default=None,
        description="Whether each trial is pinned to as many CPUs as it has threads, the most "
        "capable ones; needs no rights. Left out: as `tune` says.",
        examples=["pin: true"],
    )
    tune: bool = Field(
        default=False,
        description="Whether the agent pins trials, sets the governor `performance` and turns "
        "turbo off for each, and puts both back after it. Governor and turbo need root there; "
        "without it trials run all the same, and the report says why they are uncontrolled.",
        examples=["tune: true"],
    )
    energy: bool = Field(
        default=True,
        description="Whether power meters are read during a trial, where the device has some.",
        examples=["energy: false"],
    )
    grid_gco2_per_kwh: float | None = Field(
        default=None,
        ge=0,
        le=5000,
        description="Grams of CO₂ for a kilowatt-hour of the electricity that the device runs on: "
        "energy is then told as CO₂, too.",
        examples=["grid_gco2_per_kwh: 381"],
    )
    retry_for_s: PositiveDuration = Field(
        default=600.0,
        alias="retry_for",
        description="How long a device that was lost is tried again; a server that boots needs "
        "minutes.",
        examples=["retry_for: 10m"],
    )
    answer_within_s: PositiveDuration = Field(
        default=15.0,
        alias="answer_within",
        description="How long its agent may take to answer, and to tell of a trial's end after the "
        "trial's timeout, before it counts as one that hangs and is replaced.",
        examples=["answer_within: 15s"],
    )
    lease_ends: Moment | None = Field(
        default=None,
        description="When the machine is taken away, with the time zone. No trial begins that is "
        "not expected to end before.",
        examples=["lease_ends: 2026-12-01 18:00 UTC"],
    )

    @field_validator("cpus")
    @classmethod
    def _refuse_repeated(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return None if value is None else check_list(value)

    @field_validator("binary")
    @classmethod
    def _take_binary_on_android(
        cls, value: BinarySource | None, info: ValidationInfo
    ) -> BinarySource | None:
        return BinarySource() if value is None and info.data.get("transport") == "adb" else value

    @field_validator("tune")
    @classmethod
    def _refuse_tuning_android(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("transport") == "adb":
            raise ValueError(
                "the shell of an Android device may not set its clocks; write `tune: false`, and "
                "`pin: true` for pinning alone"
            )
        return value

    @field_validator("host")
    @classmethod
    def _take_name_as_host(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("transport") == "ssh":
            return info.data.get("name")
        return value

    @field_validator(*sorted(SSH_KEYS - {"connect_timeout"}), "connect_timeout_s")
    @classmethod
    def _refuse_ssh_keys(cls, value: Any, info: ValidationInfo) -> Any:
        transport = info.data.get("transport")
        if value is not None and transport in NOT_OVER_SSH:
            raise ValueError(
                f"a device with `transport: {transport}` is not reached over SSH;"
                " delete this line, or write `transport: ssh`"
            )
        return value

    @model_validator(mode="after")
    def _refuse_no_way_there(self) -> Device:
        if self.transport == "exec" and self.carrier is None:
            raise ValueError(
                "`transport: exec` needs the command that leads there; "
                "add for example `exec: docker exec -i NAME`"
            )
        if self.transport != "exec" and self.carrier is not None:
            raise ValueError("`exec` belongs to `transport: exec`; delete it, or write that")
        if self.transport == "adb" and self.serial is None:
            raise ValueError(
                "`transport: adb` needs the device's serial; add for example `serial: 1A2B3C4D` "
                "(`adb devices` lists them)"
            )
        if self.transport != "adb" and self.serial is not None:
            raise ValueError("`serial` belongs to `transport: adb`; delete it, or write that")
        return self

    @property
    def pins(self) -> bool:
        """Whether trials are pinned: as written, else where the device is tuned."""
        return self.tune if self.pin is None else self.pin

    @property
    def python_command(self) -> str:
        """The Python to call there: as written, else our own on this machine, else ``python3``.

        Of a bundle it is the one that the user starts it with (see ``orchestrate_agent.protocol``);
        an Android device's agent runs on this machine.
        """
        if self.python is not None:
            return self.python
        ours = {"local": sys.executable, "adb": sys.executable, "bundle": "{python}"}
        return ours.get(self.transport, "python3")
