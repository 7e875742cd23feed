"""What devices are given, one after the other, while the others already measure."""

from __future__ import annotations

import threading
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestrator import supply
from orchestrator.artifacts.blob import Blob
from orchestrator.artifacts.sites import SiteArtifact
from orchestrator.config import Device, Inventory, Suite
from orchestrator.errors import ArtifactError
from orchestrator.fleet.materials import DeviceSupply, Materials, needed_by
from orchestrator.fleet.provision import ReachedDevice
from orchestrator.plan import DevicePlan, Plan, make_plan
from orchestrator.runs.manifest import BinaryRecord, Manifest, SiteRecord
from orchestrator.supply import Supplies, stored_supplies

#: With one dict for all devices, readers met a change of it before a third of these.
DEVICES = 3000
READERS = 4

NO_MODELS = Materials(artifacts={}, blobs={})
MANIFEST = Manifest(
    run_id="run", created="", seed=0, inventory={}, suite={}, devices=(), versions={}, artifacts=()
)


def plan_of(name: str) -> DevicePlan:
    return DevicePlan(name, groups=(), unblocked=(), blocks=())


def given_to(number: int) -> dict[str, Blob]:
    return {"litert": Blob(f"d{number}.site", Path(f"d{number}"), 1)}


@pytest.fixture
def supplies(monkeypatch: pytest.MonkeyPatch) -> Supplies:
    """Of a run in which every device is given a runtime of its own."""

    def provided(node: ReachedDevice, *_: object) -> dict[str, SiteArtifact]:
        name = node.device
        site = SiteArtifact("ai-edge-litert==2.0", "cp312", Path(name), f"{name}.site", 1, ())
        return {"litert": site}

    monkeypatch.setattr(supply, "sites_for", provided)
    monkeypatch.setattr(supply, "check_fit", lambda *_: None)
    plan = cast("Plan", SimpleNamespace(device=plan_of))
    return Supplies(plan, MANIFEST, {}, Path("models"), lambda _: None)


def supplied(supplies: Supplies, number: int) -> DeviceSupply:
    name = f"d{number}"
    inventory = Inventory.from_json({"devices": [{"name": name, "transport": "local"}]})
    device: Device = inventory.devices[0]
    return supplies.complete(device, cast("ReachedDevice", SimpleNamespace(device=name, facts={})))


def test_a_device_that_is_supplied_late_changes_nothing_for_those_that_measure(
    supplies: Supplies,
) -> None:
    early = {number: supplied(supplies, number) for number in range(READERS)}
    stop, failures = threading.Event(), list[BaseException]()

    def read(number: int) -> None:
        try:
            while not stop.is_set():
                blobs = needed_by(plan_of(f"d{number}"), NO_MODELS, early[number])
                assert blobs == tuple(given_to(number).values())
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=read, args=(number,)) for number in early]
    for thread in threads:
        thread.start()
    try:
        for number in range(READERS, DEVICES):
            assert supplied(supplies, number).sites == given_to(number)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures, failures[0]


def test_a_device_that_comes_back_has_what_it_was_given(supplies: Supplies) -> None:
    first = supplied(supplies, 1)
    supplied(supplies, 2)
    assert supplied(supplies, 1) is first


def test_what_was_given_cannot_be_changed_by_anybody() -> None:
    sites = given_to(1)
    supply = DeviceSupply(sites=sites)
    sites["tflite-runtime"] = sites["litert"]
    assert supply.sites == given_to(1)
    with pytest.raises(TypeError):
        cast("Any", supply.sites)["tflite-runtime"] = sites["litert"]
    with pytest.raises(FrozenInstanceError):
        cast("Any", supply).binary = sites["litert"]


def test_what_the_manifest_tells_is_each_devices_own() -> None:
    manifest = replace(
        MANIFEST,
        binaries=(
            BinaryRecord("pi", "b1", 7, "https://example.org/binary", pinned=False),
            BinaryRecord("xeon", "b2", 8, "/home/me/benchmark_model", pinned=False),
        ),
        sites=(SiteRecord("pi", "litert", "ai-edge-litert==2.0", "cp312", "s1", 9, ()),),
    )
    assert stored_supplies(manifest, None) == {
        "pi": DeviceSupply(
            Blob("b1", Path("b1"), 7), unpinned=True, sites={"litert": Blob("s1", Path("s1"), 9)}
        ),
        # a file of the user's own needs no pin
        "xeon": DeviceSupply(Blob("b2", Path("b2"), 8)),
    }


def test_a_device_that_can_be_given_nothing_to_look_with_is_measured_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = Device.model_validate(
        {"name": "here", "transport": "local", "benchmark_model": "/opt/benchmark_model"}
    )
    suite = Suite.from_json(
        {
            "name": "s",
            "models": ["mobilenet_v1"],
            "schemes": ["float32", "float16"],
            "protocol": {"check": {"trials": 1}},
        }
    )
    (part,) = make_plan([device], suite, seed=1).devices
    place = SimpleNamespace(python="python3")
    facts = {"system": {"architecture": "x86_64"}, "python": {"version": "3.11.7"}}
    node = cast("ReachedDevice", SimpleNamespace(device="here", facts=facts, place=place))
    given: dict[str, SiteArtifact] = {}

    def provided(*_: object) -> SiteArtifact:
        if not given:
            raise ArtifactError("there is no network")
        return given["any"]

    monkeypatch.setattr(supply, "target_of", lambda _: None)
    monkeypatch.setattr(supply, "provide_site", provided)
    monkeypatch.setattr(supply, "installed_runtimes", lambda _: {})
    said: list[str] = []
    assert supply.sites_for(node, part, Path("models"), said.append) == {}
    assert "nobody will look at what its files compute" in said[0]
    assert "there is no network" in said[0]
    given["any"] = SiteArtifact("ai-edge-litert==2.0", "cp311", Path("x"), "x.site", 1, ())
    assert supply.sites_for(node, part, Path("models"), said.append) == given
    monkeypatch.setattr(supply, "installed_runtimes", lambda _: {"tensorflow": "2.19"})
    assert supply.sites_for(node, part, Path("models"), said.append) == {}
