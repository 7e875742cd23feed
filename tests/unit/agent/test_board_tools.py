"""The makers' programs, asked where a board has no file: each a script here that prints what such
a program prints. The outputs are composed after NVIDIA's and Raspberry Pi's documentation."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrate_agent.expectations import compare
from orchestrate_agent.machine import health, jetson, tools
from orchestrate_agent.sysfs import Tree

NANO = (
    "RAM 1903/3956MB (lfb 4x4MB) SWAP 0/1978MB (cached 0MB) IRAM 0/252kB(lfb 252kB) "
    "CPU [2%@102,1%@102,0%@102,0%@102] EMC_FREQ 0% GR3D_FREQ 0% PLL@24C CPU@26.5C PMIC@100C "
    "GPU@27C AO@33C thermal@26.75C POM_5V_IN 1022/1031 POM_5V_GPU 0/0 POM_5V_CPU 204/204"
)
ORIN_35 = (
    "03-21-2024 11:17:02 RAM 3210/30536MB (lfb 5x4MB) SWAP 0/15268MB (cached 0MB) "
    "CPU [0%@729,0%@729,0%@729,off,off] EMC_FREQ 0%@2133 GR3D_FREQ 0%@[0,0] VIC_FREQ 729 APE 174 "
    "CV0@-256C CPU@49.531C Tboard@36C SOC2@46.062C tj@49.531C GPU@-256C VDD_GPU_SOC 3205mW/3205mW "
    "VDD_CPU_CV 801mW/801mW VIN_SYS_5V0 3829mW/3829mW NC 0mW/0mW VDDQ_VDD2_1V8AO 604mW/604mW"
)
ORIN_36 = (
    "11-21-2026 10:00:00 RAM 2561/7620MB (lfb 12x4MB) SWAP 0/3810MB (cached 0MB) "
    "CPU [3%@1510,0%@1510,0%@1510,0%@1510,0%@729,0%@729] GR3D_FREQ 0% cpu@47.718C soc2@46.5C "
    "soc0@46.906C gpu@47.093C tj@47.718C soc1@47.218C VDD_IN 4567mW/4570mW "
    "VDD_CPU_GPU_CV 481mW/483mW VDD_SOC 1406mW/1406mW"
)


@pytest.mark.parametrize(
    ("line", "temperatures_c", "power_w"),
    [
        (
            NANO,
            {"PLL": 24, "CPU": 26.5, "PMIC": 100, "GPU": 27, "AO": 33, "thermal": 26.75},
            {"POM_5V_IN": 1.022, "POM_5V_GPU": 0, "POM_5V_CPU": 0.204},
        ),
        (
            ORIN_35,
            {"CPU": 49.531, "Tboard": 36, "SOC2": 46.062, "tj": 49.531},
            {
                "VDD_GPU_SOC": 3.205,
                "VDD_CPU_CV": 0.801,
                "VIN_SYS_5V0": 3.829,
                "NC": 0,
                "VDDQ_VDD2_1V8AO": 0.604,
            },
        ),
        (
            ORIN_36,
            {
                "cpu": 47.718,
                "soc2": 46.5,
                "soc0": 46.906,
                "gpu": 47.093,
                "tj": 47.718,
                "soc1": 47.218,
            },
            {"VDD_IN": 4.567, "VDD_CPU_GPU_CV": 0.481, "VDD_SOC": 1.406},
        ),
        ("tegrastats: command not understood", {}, {}),
    ],
)
def test_a_line_of_tegrastats(
    line: str, temperatures_c: dict[str, float], power_w: dict[str, float]
) -> None:
    assert jetson.tegrastats(line) == (temperatures_c, power_w)


def test_an_inventory_can_expect_a_power_mode() -> None:
    facts = {"jetson": {"power_mode": "MODE_30W", "clocks_locked": True}}
    assert compare(facts, {"power_mode": "MODE_30W", "clocks_locked": True}) == ((), None)
    _, problem = compare(facts, {"power_mode": "MAXN"})
    assert problem is not None and "MAXN" in problem and "MODE_30W" in problem


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs, the first on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def install(folder: Path, name: str, script: str) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.fixture
def a_jetson_without_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine, taken for a Jetson whose files nobody may read."""
    monkeypatch.setattr(jetson, "_is_jetson", lambda tree: True)
    monkeypatch.setattr("orchestrate_agent.machine.sensors.zones_c", lambda tree: {})
    monkeypatch.setattr("orchestrate_agent.machine.ina.rails", lambda tree: [])


@pytest.mark.usefixtures("a_jetson_without_files")
def test_a_jetson_without_files_is_asked_by_its_programs(programs: Path) -> None:
    """nvpmodel warns before it answers; tegrastats prints for as long as it runs."""
    asked = "NVPM WARN: fan mode is not set!\\nNV Power Mode: MODE_15W\\n2\\n"
    install(programs, "nvpmodel", f"[ \"$1\" = -q ] && printf '{asked}'")
    pid = programs / "pid"
    install(programs, "tegrastats", f"echo $$ > {pid}\nwhile :; do echo '{ORIN_36}'; sleep 1; done")
    told = health.snapshot()["jetson"]
    assert (told["power_mode"], told["power_mode_id"]) == ("MODE_15W", 2)
    assert told["temperatures_c"]["gpu"] == 47.093
    assert told["power_w"]["VDD_IN"] == 4.567
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


@pytest.mark.usefixtures("a_jetson_without_files")
def test_programs_that_fail_tell_nothing(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "TIMEOUT_S", 0.1)
    install(programs, "nvpmodel", "exec sleep 60")
    install(programs, "tegrastats", "exec sleep 60")
    install(programs, "vcgencmd", "echo VCHI initialization failed; exit 255")
    told = health.snapshot()
    assert (told["jetson"]["power_mode"], told["jetson"]["power_mode_id"]) == (None, None)
    assert told["jetson"]["temperatures_c"] == told["jetson"]["power_w"] == {}
    assert told["throttle"]["firmware_bits"] is None


def test_a_pi_without_the_file_is_asked_by_vcgencmd(programs: Path) -> None:
    if any(Path("/sys/devices/platform").glob("soc*/*firmware/get_throttled")):
        pytest.skip("this machine is a Raspberry Pi that has the file")
    answer = programs / "answer"
    install(programs, "vcgencmd", f'[ "$1" = get_throttled ] && cat {answer}')
    answer.write_text("throttled=0x50000\n")
    before = health.snapshot()
    answer.write_text("throttled=0xf0005\n")
    after = health.snapshot()
    assert (before["throttle"]["firmware_bits"], after["throttle"]["firmware_bits"]) == (
        0x50000,
        0xF0005,
    )
    assert health.difference(before, after)["throttle_reasons"] == [
        "under_voltage",
        "frequency_capped",
        "throttled",
        "soft_temperature_limit",
    ]
    assert health.since_boot(before["throttle"]) == ["under_voltage", "throttled"]


def test_a_root_that_is_not_this_machine_is_not_asked(programs: Path, tmp_path: Path) -> None:
    install(programs, "vcgencmd", "echo throttled=0x50005")
    assert health.throttle(Tree(str(tmp_path / "elsewhere")))["firmware_bits"] is None


def test_a_program_outside_an_ordinary_user_s_path_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "nvpmodel", "exit 0")
    monkeypatch.setattr(tools, "_MORE_FOLDERS", (str(tmp_path),))
    assert tools.find("nvpmodel") == str(tmp_path / "nvpmodel")
    assert tools.find("no-such-program") is None
    assert tools.ask("no-such-program") is tools.first_line("no-such-program") is None
