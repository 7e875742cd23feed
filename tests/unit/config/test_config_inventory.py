"""A good inventory says what was written, no more and no less."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest

from orchestrator.config import BinarySource, Device, Hop, Inventory, load_inventory
from orchestrator.errors import UsageError

ROOT = Path(__file__).parent.parent.parent.parent


def written(folder: Path, text: str) -> Inventory:
    path = folder / "inventory.yaml"
    path.write_text(text, encoding="utf-8")
    return load_inventory(path)


FLEET = """
suite: quick
defaults: {user: cc, python: /usr/bin/python3, gateway: bastion, connect_timeout: 1.5h}
devices:
  - name: here
    transport: local
  - name: bastion
    transport: ssh
    port: 2222
  - name: cascadelake-1
    transport: ssh
    host: 192.0.2.10
    user: other
    key_file: keys/chameleon
    known_hosts: ~/.ssh/fleet_hosts
    expect: {microarchitecture: cascadelake, smt: false}
    cpus: [2, 0]
    tune: true
    energy: false
    grid_gco2_per_kwh: 381
    lease_ends: 2026-12-01T19:00:00+01:00
    retry_for: 20m
    site: uc
    exclusive: no
  - name: direct
    transport: ssh
    gateway: null
  - name: jumped
    transport: ssh
    gateway: me@[2001:db8::1]:2200
  - name: colab
    transport: bundle
"""


def test_every_field_is_read(tmp_path: Path) -> None:
    inventory = written(tmp_path, FLEET)
    device = inventory.device("cascadelake-1")
    assert inventory.suite == "quick"
    assert device.host == "192.0.2.10"
    assert device.key_file == tmp_path / "keys/chameleon"
    assert device.known_hosts == Path.home() / ".ssh/fleet_hosts"
    assert device.expect == {"microarchitecture": "cascadelake", "smt": False}
    assert device.cpus == (2, 0)
    assert (device.tune, device.pins, device.energy) == (True, True, False)
    assert device.grid_gco2_per_kwh == 381.0
    assert device.lease_ends == datetime(2026, 12, 1, 18, tzinfo=timezone.utc)
    assert device.retry_for_s == 1200
    other = inventory.device("direct")
    assert (other.tune, other.pins, other.energy) == (False, False, True)
    assert (other.lease_ends, other.retry_for_s) == (None, 600)
    assert (device.site, device.exclusive, device.workdir) == ("uc", False, "~/.orchestrate")


def test_the_device_wins_over_the_defaults_and_null_takes_one_back(tmp_path: Path) -> None:
    inventory = written(tmp_path, FLEET)
    assert inventory.device("cascadelake-1").user == "other"
    assert inventory.device("direct").user == "cc"
    assert inventory.device("direct").gateway is None
    assert inventory.device("direct").connect_timeout_s == 5400


def test_a_device_not_reached_over_ssh_inherits_nothing_of_ssh(tmp_path: Path) -> None:
    inventory = written(tmp_path, FLEET)
    for name in ("here", "colab"):
        device = inventory.device(name)
        assert (device.user, device.gateway, device.host) == (None, None, None)
        assert device.python_command == "/usr/bin/python3"


def test_the_host_of_an_ssh_device_is_its_name_unless_given(tmp_path: Path) -> None:
    assert written(tmp_path, FLEET).device("direct").host == "direct"


def test_gateways(tmp_path: Path) -> None:
    inventory = written(tmp_path, FLEET)
    bastion = inventory.device("bastion")
    assert inventory.gateway_of(inventory.device("cascadelake-1")) is bastion
    assert inventory.gateway_of(bastion) is None, "a gateway for all is none for itself"
    assert inventory.gateway_of(inventory.device("jumped")) == Hop("me", "2001:db8::1", 2200)


@pytest.mark.parametrize(
    ("gateway", "hop"),
    [
        ("a@x,b@y:2222", Hop("b", "y", 2222, Hop("a", "x"))),
        ("x:22,y", Hop(None, "y", None, Hop(None, "x", 22))),
        ("ssh://bastion", Hop(None, "bastion")),
        ("ssh://me@[2001:db8::1]:2200", Hop("me", "2001:db8::1", 2200)),
    ],
)
def test_jump_hosts_as_ssh_takes_them(tmp_path: Path, gateway: str, hop: Hop) -> None:
    text = f"devices: [{{name: far, transport: ssh, gateway: '{gateway}'}}]"
    (tmp_path / "inventory.yaml").write_text(text)
    inventory = load_inventory(tmp_path / "inventory.yaml")
    assert inventory.gateway_of(inventory.device("far")) == hop


def test_the_python_of_a_device() -> None:
    assert Device(name="here", transport="local").python_command == sys.executable
    assert Device(name="there", transport="ssh").python_command == "python3"
    assert Device(name="there", transport="ssh", python="python3.11").python_command == "python3.11"


def test_select_keeps_the_order_and_refuses_what_is_not_there(tmp_path: Path) -> None:
    inventory = written(tmp_path, FLEET)
    assert [d.name for d in inventory.select(["direct", "here", "here"])] == ["here", "direct"]
    assert inventory.select([]) == inventory.devices
    with pytest.raises(UsageError, match="did you mean `cascadelake-1`"):
        inventory.select(["here", "cascadelake1"])
    with pytest.raises(UsageError, match="the devices are: here, bastion"):
        inventory.device("zzz")


def test_through_json_and_back(tmp_path: Path) -> None:
    for inventory in (written(tmp_path, FLEET), load_inventory(ROOT / "chameleon.yaml")):
        assert Inventory.from_json(json.loads(json.dumps(inventory.to_json()))) == inventory


def test_json_of_another_version_is_refused_in_words(tmp_path: Path) -> None:
    data = written(tmp_path, FLEET).to_json()
    data["devices"][0]["colour"] = "red"
    with pytest.raises(UsageError, match=r"inventory of the run: `devices\.0\.colour`"):
        Inventory.from_json(data)


@pytest.mark.parametrize(
    ("written_as", "meant"),
    [
        ("official", BinarySource()),
        ("https://192.0.2.1/bm", BinarySource(url="https://192.0.2.1/bm")),
        ("bin/bm", BinarySource(path=Path("/folder/bin/bm"))),
        (
            f"{{path: /bm, sha256: {'ab' * 32}}}",
            BinarySource(path=Path("/bm"), sha256="ab" * 32),
        ),
    ],
)
def test_where_the_binary_comes_from(tmp_path: Path, written_as: str, meant: object) -> None:
    text = f"devices: [{{name: a, transport: local, benchmark_model: {written_as}}}]"
    source = written(tmp_path, text).device("a").binary
    assert source is not None
    if source.path is not None and not written_as.startswith("{"):
        source = BinarySource(path=Path("/folder") / source.path.relative_to(tmp_path))
    assert source == meant
    assert source.official == (written_as == "official")


def test_a_suite_is_a_name_or_a_path_from_the_inventory(tmp_path: Path) -> None:
    one = "devices: [{name: a, transport: local}]\n"
    assert written(tmp_path, one).suite is None
    assert written(tmp_path, "suite: quick\n" + one).suite == "quick"
    assert written(tmp_path, "suite: mine/a.yaml\n" + one).suite == str(tmp_path / "mine/a.yaml")


def test_anchors_and_merge_keys_within_reason(tmp_path: Path) -> None:
    text = """
    devices:
      - &first {name: a, transport: ssh, user: cc, port: 22}
      - {<<: *first, name: b, port: 23}
      - {<<: [{user: one}, *first], name: c}
    """
    a, b, c = written(tmp_path, text).devices
    assert (a.user, a.port, b.user, b.port) == ("cc", 22, "cc", 23)
    assert (c.user, c.port) == ("one", 22), "of two merged mappings the first wins"


def test_words_are_read_as_yaml_1_2_reads_them(tmp_path: Path) -> None:
    text = """
    devices:
      - {name: "no", transport: ssh, host: "012", site: 2024-01-01, cpus: [010]}
      - {name: b, transport: ssh, site: 6:20, expect: {microarchitecture: 0x1F, smt: on}}
    """
    a, b = written(tmp_path, text).devices
    assert (a.name, a.host, a.site, a.cpus) == ("no", "012", "2024-01-01", (10,))
    assert (b.site, b.expect) == ("6:20", {"microarchitecture": "0x1F", "smt": True})


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text("devices: [{name: a, transport: local}]", encoding="utf-8-sig")
    assert load_inventory(path).device("a").name == "a"


def test_a_fleet_as_large_as_the_bounds_allow(tmp_path: Path) -> None:
    lines = [f"  - {{name: d{i}, transport: ssh, gateway: d0, cpus: [0]}}" for i in range(1, 2000)]
    text = "devices:\n  - {name: d0, transport: ssh}\n" + "\n".join(lines)
    assert len(written(tmp_path, text).devices) == 2000


def test_a_long_way_through_gateways_is_no_loop(tmp_path: Path) -> None:
    lines = [f"  - {{name: d{i}, transport: ssh, gateway: d{i + 1}}}" for i in range(3000)]
    text = "devices:\n" + "\n".join(lines) + "\n  - {name: d3000, transport: ssh}\n"
    assert len(written(tmp_path, text).devices) == 3001


def test_values_are_frozen_and_checked_without_a_file_too() -> None:
    device = Device(name="a", transport="ssh")
    with pytest.raises(ValueError, match="frozen"):
        device.name = "b"
    with pytest.raises(ValueError, match="two devices are called `a`"):
        Inventory(path=Path("i"), devices=(device, device))
    with pytest.raises(ValueError, match="is not a device of this file"):
        Inventory(path=Path("i"), devices=(Device(name="b", transport="ssh", gateway="a"),))


def test_the_inventory_that_ships_measures_this_machine() -> None:
    inventory = load_inventory(ROOT / "inventory.yaml")
    assert [(d.transport, d.python_command) for d in inventory.devices] == [
        ("local", sys.executable)
    ]
    assert inventory.suite == "quick"


def test_the_studys_fleet_parses_and_leads_nowhere_until_filled_in() -> None:
    inventory = load_inventory(ROOT / "chameleon.yaml")
    names = [device.name for device in inventory.devices]
    assert names == [
        *("icelake", "cascadelake", "skylake", "broadwell", "haswell"),
        *("pi4", "pi5", "jetson", "colab"),
    ]
    hosts = [device.host for device in inventory.devices if device.host is not None]
    assert len(hosts) == 8
    assert all(host.startswith("192.0.2.") for host in hosts), "addresses for documentation"
    assert inventory.gateway_of(inventory.device("haswell")) == inventory.device("cascadelake")


@pytest.mark.parametrize(
    ("written_as", "pins"),
    [("tune: true", True), ("{tune: true, pin: false}", False), ("pin: true", True)],
)
def test_tuning_pins_unless_told_not_to(tmp_path: Path, written_as: str, pins: bool) -> None:
    keys = written_as.strip("{}")
    text = f"devices: [{{name: here, transport: local, {keys}}}]\n"
    assert written(tmp_path, text).device("here").pins is pins


def test_a_carrier_is_words_as_typed_or_as_listed(tmp_path: Path) -> None:
    text = """
defaults: {user: cc, key_file: ~/.ssh/id}
devices:
  - {name: a, transport: exec, exec: docker exec -i 'my pi'}
  - {name: b, transport: exec, exec: [ssh, -J, me@there, pi, "{command}"]}
"""
    inventory = written(tmp_path, text)
    assert [device.carrier for device in inventory.devices] == [
        ("docker", "exec", "-i", "my pi"),
        ("ssh", "-J", "me@there", "pi", "{command}"),
    ]
    assert all(device.user is None and device.key_file is None for device in inventory.devices)


def test_an_android_device_has_a_serial_and_the_official_binary(tmp_path: Path) -> None:
    inventory = written(
        tmp_path,
        """
defaults: {user: cc, key_file: ~/.ssh/id_ed25519}
devices:
  - {name: phone, transport: adb, serial: "192.0.2.40:5555"}
  - {name: tablet, transport: adb, serial: 1A2B3C4D, benchmark_model: mine}
""",
    )
    phone, tablet = inventory.devices
    assert (phone.serial, phone.user, phone.key_file) == ("192.0.2.40:5555", None, None)
    assert phone.python_command == sys.executable  # its agent runs here
    assert phone.binary == BinarySource()
    assert tablet.binary == BinarySource(path=tmp_path / "mine")
    assert Inventory.from_json(json.loads(json.dumps(inventory.to_json()))) == inventory
