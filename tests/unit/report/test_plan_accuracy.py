"""What a plan says that accuracy will cost: samples, files, trials and what is pushed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.answers import plan as answering
from orchestrator.campaign import Places, Preparation, prepare
from orchestrator.campaign.samples import bytes_for, make_samples
from orchestrator.cli import main
from orchestrator.config import Device, Suite
from orchestrator.report.plan import PlannedSamples, describe_plan
from tests.unit.datasets import making

pytest.importorskip("PIL", reason="needs the extra `accuracy`")


def prepared(tmp_path: Path, dataset: Path, **changes: Any) -> Preparation:
    suite = Suite.from_json(
        {
            "name": "test",
            "models": ["mobilenet_v1", "inception_v3"],
            "schemes": ["float32", "full_int8"],
            "protocol": {"blocks": "6:6", "memory": {"trials": 0}},
            "accuracy": {"task": "classification", "dataset": str(dataset), **changes},
        }
    )
    devices = [
        Device.model_validate({"name": name, "transport": "local"}) for name in ("one", "two")
    ]
    return prepare(devices, suite, Places(tmp_path / "results", tmp_path / "models"), seed=1)


def described(plan: Preparation, samples: PlannedSamples | None) -> str:
    return describe_plan(plan.plan, {}, {}, width=200, color=False, samples=samples)


def test_what_is_pushed_is_known_before_anything_is_prepared(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\n", encoding="utf-8")
    folder = making.classes(tmp_path / "set", {"cat": 3, "dog": 4})
    plan = prepared(tmp_path, folder, labels=str(labels))
    samples = answering.planned_samples(plan)
    assert samples is not None and plan.samples is not None
    # each model's images have a size of their own
    sizes = 7 * 3 * (224 * 224 + 299 * 299)
    assert samples.sizes == {"one": sizes, "two": sizes}
    assert not (tmp_path / "models").exists()
    _, blobs = make_samples(plan.samples, tmp_path / "models", lambda _: None)
    header = 128
    assert sum(each.size_bytes - header for each in blobs.values()) == sizes
    text = described(plan, samples)
    assert f"accuracy: 7 samples of {samples.source} in 1 file" in text
    # two models of two schemes
    assert "  one, two: 4 trials, 2.93 MB of samples to push" in text
    assert "accuracy" not in described(plan, None)


def test_rows_of_arrays_are_counted_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, x=np.zeros((200, 224, 224, 3)), y=np.zeros(200, dtype=int))
    plan = prepared(tmp_path, path, samples=150)
    (device, _) = plan.plan.devices
    assert plan.samples is not None
    # of eight bytes, which a shard has in four; one file serves both models
    assert bytes_for(plan.samples, device) == 150 * 224 * 224 * 3 * 4
    assert "in 1 file" in described(plan, answering.planned_samples(plan))


def test_many_devices_that_pay_the_same_are_one_line(tmp_path: Path) -> None:
    folder = making.classes(tmp_path / "set", {"cat": 1, "dog": 1})
    plan = prepared(tmp_path, folder)
    (device, _) = plan.plan.devices
    names = [f"node{number}" for number in range(9)]
    many = replace(plan.plan, devices=tuple(replace(device, device=name) for name in names))
    samples = PlannedSamples(2, 1, "set", dict.fromkeys(names, 1_000_000))
    text = describe_plan(many, {}, {}, width=200, color=False, samples=samples)
    assert "  node0, node1, node2, node3 and 5 more: 4 trials, 1.00 MB of samples to push" in text


def test_programs_are_told_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    making.classes(tmp_path / "set", {"cat": 1, "dog": 1})
    (tmp_path / "inventory.yaml").write_text("devices: [{name: here, transport: local}]\n")
    (tmp_path / "suite.yaml").write_text(
        "models: [mobilenet_v1]\nschemes: [float32, full_int8]\nprotocol: {memory: {trials: 0}}\n"
        "accuracy: {task: agreement, dataset: set}\n"
    )
    places = ("--results", tmp_path / "results", "--models", tmp_path / "models")
    given = ("--inventory", tmp_path / "inventory.yaml", "--suite", tmp_path / "suite.yaml")
    assert main(["plan", *map(str, (*given, *places)), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert "digest" not in document["suite"]["accuracy"]  # which the bytes of the images have
    told = document["accuracy"]
    assert told["samples"] == 2 and told["shards"] == 1
    cost = {"trials": 2, "bytes_to_push": 2 * 224 * 224 * 3}
    assert told["devices"] == {"here": cost}
