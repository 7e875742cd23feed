"""What the agent does to a machine for a trial: CPUs, clocks, waiting, energy."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrate_agent.machine import gate, health, placement, power, tuning
from orchestrate_agent.machine.tuning import RECORD, Tuner
from orchestrate_agent.protocol import Gate
from orchestrate_agent.sysfs import Tree

CPUS = "/sys/devices/system/cpu"
SIBLINGS = "topology/thread_siblings_list"
BOOT = "/proc/sys/kernel/random/boot_id"


def plant(root: Path, files: dict[str, str]) -> Tree:
    for path, text in files.items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text + "\n", "ascii")
    return Tree(str(root))


def allowed(cpus: str) -> dict[str, str]:
    return {"/proc/self/status": f"Name:\tx\nCpus_allowed_list:\t{cpus}"}


# --- which CPUs ----------------------------------------------------------------------------------


def server() -> dict[str, str]:
    """Two nodes of four cores with two threads each: CPUs 0-3 and 8-11, 4-7 and 12-15."""
    files = allowed("0-15")
    for core in range(8):
        for cpu in (core, core + 8):
            files[f"{CPUS}/cpu{cpu}/{SIBLINGS}"] = f"{core},{core + 8}"
            files[f"{CPUS}/cpu{cpu}/cpufreq/cpuinfo_max_freq"] = "3500000"
    files["/sys/devices/system/node/node0/cpulist"] = "0-3,8-11"
    files["/sys/devices/system/node/node1/cpulist"] = "4-7,12-15"
    return files


def big_little() -> dict[str, str]:
    files = allowed("0-5")
    for cpu in range(6):
        files[f"{CPUS}/cpu{cpu}/cpu_capacity"] = "446" if cpu < 4 else "1024"
    return files


def hybrid() -> dict[str, str]:
    """Two fast cores with two threads each, then four slow ones."""
    files = {**allowed("0-7"), "/sys/devices/cpu_core/cpus": "0-3"}
    for cpu in range(8):
        files[f"{CPUS}/cpu{cpu}/{SIBLINGS}"] = f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}"
        if cpu >= 4:
            files[f"{CPUS}/cpu{cpu}/{SIBLINGS}"] = str(cpu)
    return files


@pytest.mark.parametrize(
    ("files", "count", "within", "chosen"),
    [
        (server(), 1, None, (1,)),  # not CPU 0, not its sibling
        (server(), 4, None, (1, 2, 3, 0)),  # one node, rather than CPU 0 spared
        (server(), 5, None, (1, 2, 3, 0, 4)),  # no node has five: cores before siblings
        (server(), 2, [0, 8, 5], (0, 5)),  # no two threads of one core
        (server(), 2, [3, 11], (3, 11)),  # unless there is nothing else
        (server(), 4, [0, 1, 4, 5, 6, 7], (4, 5, 6, 7)),  # the node that has enough
        (big_little(), 1, None, (4,)),
        (big_little(), 2, None, (4, 5)),
        (big_little(), 3, None, (4, 5, 1)),
        (hybrid(), 1, None, (2,)),
        (hybrid(), 3, None, (2, 0, 4)),
        (allowed("3"), 1, None, (3,)),
    ],
)
def test_the_best_cpus_are_chosen(
    files: dict[str, str],
    count: int,
    within: list[int] | None,
    chosen: tuple[int, ...],
    tmp_path: Path,
) -> None:
    told, why = placement.choose(plant(tmp_path, files), count, within)
    assert told == chosen
    assert why == ""


def test_too_few_cpus_are_no_reason_to_fail(tmp_path: Path) -> None:
    told, why = placement.choose(plant(tmp_path, allowed("2-3")), 4)
    assert told is None
    assert why == "4 threads, but only 2 CPUs to pin them to"
    assert placement.choose(Tree(str(tmp_path / "nothing")), 1)[0] is None


# --- clocks --------------------------------------------------------------------------------------


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory is an agent's home."""
    home = tmp_path / "home"
    (home / "spool").mkdir(parents=True)
    monkeypatch.chdir(home)
    return home / RECORD


def clocked(boot: str = "b1") -> dict[str, str]:
    files = {BOOT: boot, f"{CPUS}/intel_pstate/no_turbo": "0"}
    for n in (0, 1):
        folder = f"{CPUS}/cpufreq/policy{n}"
        files[folder + "/scaling_governor"] = "powersave"
        files[folder + "/scaling_available_governors"] = "performance powersave"
    return files


GOVERNORS = [f"{CPUS}/cpufreq/policy{n}/scaling_governor" for n in (0, 1)]


def test_clocks_are_fixed_and_put_back(tmp_path: Path, spool: Path) -> None:
    tree = plant(tmp_path / "root", clocked())
    tuner = Tuner(tree)
    assert tuner.apply() == ({"governor": "performance", "turbo": "off"}, [])
    assert [tree.read(path) for path in GOVERNORS] == ["performance"] * 2
    assert tree.read(f"{CPUS}/intel_pstate/no_turbo") == "1"
    assert len(json.loads(spool.read_text())["changes"]) == 3
    assert tuner.restore() == []
    assert [tree.read(path) for path in GOVERNORS] == ["powersave"] * 2
    assert tree.read(f"{CPUS}/intel_pstate/no_turbo") == "0"
    assert not spool.exists()


def test_another_agent_restores_what_one_left(tmp_path: Path, spool: Path) -> None:
    tree = plant(tmp_path / "root", clocked())
    Tuner(tree).apply()
    assert Tuner(tree).restore() == []
    assert {tree.read(path) for path in GOVERNORS} == {"powersave"}


def test_nothing_is_written_after_a_reboot(tmp_path: Path, spool: Path) -> None:
    tree = plant(tmp_path / "root", clocked())
    Tuner(tree).apply()
    plant(tmp_path / "root", {BOOT: "b2"})
    assert Tuner(tree).restore() == []
    assert {tree.read(path) for path in GOVERNORS} == {"performance"}  # as this boot has them
    assert not spool.exists()


def test_what_somebody_else_set_meanwhile_stays(tmp_path: Path, spool: Path) -> None:
    tree = plant(tmp_path / "root", clocked())
    tuner = Tuner(tree)
    tuner.apply()
    tree.write(GOVERNORS[0], "ondemand")
    tuner.restore()
    assert [tree.read(path) for path in GOVERNORS] == ["ondemand", "powersave"]


def test_what_was_so_already_is_neither_noted_nor_undone(tmp_path: Path, spool: Path) -> None:
    files = dict.fromkeys(GOVERNORS, "performance")
    tree = plant(tmp_path / "root", {**clocked(), **files, f"{CPUS}/intel_pstate/no_turbo": "1"})
    tuner = Tuner(tree)
    assert tuner.apply()[0] == {"governor": "performance", "turbo": "off"}
    assert not spool.exists()
    tuner.restore()
    assert tree.read(GOVERNORS[0]) == "performance"


def test_a_switch_that_cannot_be_turned_is_a_reason(
    tmp_path: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = plant(tmp_path / "root", clocked())
    real = Tree.write

    def write(self: Tree, path: str, text: str) -> None:
        if path.endswith("scaling_governor"):
            raise PermissionError(13, "Permission denied")
        real(self, path, text)

    monkeypatch.setattr(Tree, "write", write)
    told, reasons = Tuner(tree).apply()
    assert told == {"turbo": "off"}
    assert reasons == [f"governor: {GOVERNORS[0]}: Permission denied (and 1 more)"]
    assert Tuner(tree).restore() == []
    assert tree.read(f"{CPUS}/intel_pstate/no_turbo") == "0"


def test_a_failed_restore_is_tried_again_and_nothing_is_tuned_meanwhile(
    tmp_path: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = plant(tmp_path / "root", clocked())
    tuner = Tuner(tree)
    tuner.apply()
    with monkeypatch.context() as patched:
        patched.setattr(Tree, "write", lambda *_: (_ for _ in ()).throw(OSError(5, "I/O error")))
        assert "I/O error" in tuner.restore()[0]
        told, reasons = tuner.apply()
        assert told == {}
        assert "not restored" in reasons[0]
    assert tuner.restore() == []
    assert {tree.read(path) for path in GOVERNORS} == {"powersave"}


def test_a_user_s_own_frequency_is_left_alone(tmp_path: Path, spool: Path) -> None:
    tree = plant(tmp_path / "root", {**clocked(), **dict.fromkeys(GOVERNORS, "userspace")})
    told, reasons = Tuner(tree).apply()
    assert told == {"turbo": "off"}
    assert reasons == ["governor: userspace holds a frequency somebody chose, and was left so"]


def test_a_machine_without_switches_says_so(tmp_path: Path, spool: Path) -> None:
    told, reasons = Tuner(plant(tmp_path / "root", {BOOT: "b"})).apply()
    assert told == {}
    assert reasons == [
        "governor: this machine lets nobody set it (no cpufreq)",
        "turbo: this machine has no switch for it",
    ]


def test_without_a_record_nothing_is_changed(
    tmp_path: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.parent.rmdir()
    tree = plant(tmp_path / "root", clocked())
    told, reasons = Tuner(tree).apply()
    assert told == {}
    assert "cannot be noted" in reasons[0]
    assert {tree.read(path) for path in GOVERNORS} == {"powersave"}


@pytest.mark.parametrize(
    "text",
    ["", "{}", '{"boot_id": "b1", "changes": [{"path": "/etc/x", "before": "a", "after": "b"}]}'],
)
def test_a_damaged_record_moves_nothing(text: str, tmp_path: Path, spool: Path) -> None:
    tree = plant(tmp_path / "root", {**clocked(), "/etc/x": "b"})
    spool.write_text(text)
    assert Tuner(tree).restore() == []
    assert tree.read("/etc/x") == "b"
    assert not spool.exists()
    assert Path(tuning.RECORD + ".damaged").exists()


# --- the gate ------------------------------------------------------------------------------------


def stat(busy: int, idle: int) -> dict[str, str]:
    return {"/proc/stat": f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0"}


def sleeper(root: Path, steps: Iterator[dict[str, str]]) -> Callable[[float], bool]:
    """A pause during which the machine goes on as ``steps`` say; called off at their end."""

    def pause(seconds: float) -> bool:
        if seconds == 0:
            return False
        files = next(steps, None)
        plant(root, files or {})
        return files is None

    return pause


def test_a_quiet_machine_is_let_through_at_once(tmp_path: Path) -> None:
    tree = plant(tmp_path, stat(0, 0))
    told = gate.wait(tree, Gate(0.1, None, 60), sleeper(tmp_path, iter([stat(1, 99)])))
    assert (told["timed_out"], told["load"]) == (False, 0.01)
    assert told["waited_s"] < 5


def test_it_waits_until_the_load_is_gone(tmp_path: Path) -> None:
    tree = plant(tmp_path, stat(0, 0))
    steps = iter([stat(50, 50), stat(90, 110), stat(91, 209), stat(99, 209)])
    told = gate.wait(tree, Gate(0.1, None, 60), sleeper(tmp_path, steps))
    assert (told["timed_out"], told["load"]) == (False, 0.01)
    assert len(list(steps)) == 1


def test_who_is_alone_is_not_watched(tmp_path: Path) -> None:
    tree = plant(tmp_path, {"/proc/stat": "cpu  0 0 0 0 0 0 0 0 0 0\nprocs_running 1"})
    told = gate.wait(tree, Gate(0.1, None, 60), lambda _: False)
    assert (told["timed_out"], told["load"]) == (False, None)
    assert told["waited_s"] < gate.WINDOW_S


def test_it_gives_up_and_says_so(tmp_path: Path) -> None:
    tree = plant(tmp_path, {**stat(0, 0), **hot(91_000)})
    told = gate.wait(tree, Gate(0.1, 70.0, 0), sleeper(tmp_path, iter([stat(0, 100)])))
    assert told["timed_out"] is True
    assert (told["load"], told["temperature_c"]) == (0.0, 91.0)


def hot(millidegrees: int) -> dict[str, str]:
    zone = "/sys/class/thermal/thermal_zone0"
    return {zone + "/type": "cpu-thermal", zone + "/temp": str(millidegrees)}


def test_it_waits_for_the_machine_to_cool(tmp_path: Path) -> None:
    tree = plant(tmp_path, hot(80_000))
    steps = iter([hot(75_000), hot(69_900)])
    told = gate.wait(tree, Gate(None, 70.0, 60), sleeper(tmp_path, steps))
    assert (told["timed_out"], told["temperature_c"], told["load"]) == (False, 69.9, None)


def test_what_is_not_told_holds_nothing_up(tmp_path: Path) -> None:
    told = gate.wait(Tree(str(tmp_path)), Gate(0.1, 50.0, 60), lambda _: False)
    assert told["timed_out"] is False


def test_a_trial_that_is_called_off_waits_no_longer(tmp_path: Path) -> None:
    tree = plant(tmp_path, hot(90_000))
    told = gate.wait(tree, Gate(None, 70.0, 3600), lambda _: True)
    assert told["timed_out"] is False


# --- energy --------------------------------------------------------------------------------------

RAPL = "/sys/class/powercap/intel-rapl:0"


def rapl(uj: int) -> dict[str, str]:
    return {
        f"{RAPL}/name": "package-0",
        f"{RAPL}/energy_uj": str(uj),
        f"{RAPL}/max_energy_range_uj": "1000000",
    }


def test_a_counter_that_began_anew_is_followed(tmp_path: Path) -> None:
    tree = plant(tmp_path, rapl(900_000))
    source = power.find(tree)
    assert source is not None
    assert source.name == "rapl package"
    plant(tmp_path, rapl(100_000))
    assert source.joules() == pytest.approx(0.2)
    (tmp_path / RAPL.lstrip("/") / "energy_uj").unlink()
    assert source.joules() is None
    plant(tmp_path, rapl(150_000))
    assert source.joules() == pytest.approx(0.25)  # a reading that failed loses nothing


def test_a_snapshot_pair_undoes_the_wrap_unless_it_may_have_happened_twice() -> None:
    def at(monotonic_s: float, uj: int) -> dict[str, object]:
        ranges = {"package-0": 262_143_328_850}
        return {
            "monotonic_s": monotonic_s,
            "energy_uj": {"package-0": uj},
            "energy_range_uj": ranges,
        }

    wrapped = health.difference(at(0, 262_143_000_000), at(10, 671_150))
    assert wrapped["energy_j"] == pytest.approx(1.0)
    assert health.difference(at(0, 0), at(10, 5_000_000))["energy_j"] == 5.0
    assert health.difference(at(0, 0), at(700, 5_000_000))["energy_j"] is None


def ina(chip: str, rails: dict[str, tuple[int, int]]) -> dict[str, str]:
    files = {f"{chip}/name": "ina3221"}
    for number, (label, (mv, ma)) in enumerate(rails.items(), 1):
        files[f"{chip}/in{number}_label"] = label
        files[f"{chip}/in{number}_input"] = str(mv)
        files[f"{chip}/curr{number}_input"] = str(ma)
    return files


CHIP = "/sys/class/hwmon/hwmon1"


def test_a_jetson_s_whole_board_is_one_rail(tmp_path: Path) -> None:
    rails = {"VDD_IN": (5000, 1200), "VDD_CPU_GPU_CV": (5000, 400), "VDD_SOC": (5000, 200)}
    source = power.Ina(plant(tmp_path, ina(CHIP, rails)))
    assert source.watts() == pytest.approx(6.0)
    assert source.name == "ina VDD_IN"


def test_rails_without_a_common_one_are_summed(tmp_path: Path) -> None:
    rails = {"GPU": (19000, 100), "CPU": (19000, 200)}
    source = power.Ina(plant(tmp_path, ina(CHIP, rails)))
    assert source.watts() == pytest.approx(5.7)
    assert source.name == "ina GPU+CPU"


def test_jetpack_4_s_own_driver(tmp_path: Path) -> None:
    folder = "/sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    files = {f"{folder}/in_power0_input": "2450", f"{folder}/rail_name_0": "POM_5V_IN"}
    source = power.find(plant(tmp_path, files))
    assert source is not None
    assert source.name == "ina POM_5V_IN"
    assert isinstance(source, power.Ina)
    assert source.watts() == pytest.approx(2.45)


def test_a_raspberry_pi_5_s_rails() -> None:
    text = """ 3V7_WL_SW_A current(0)=0.08000000A
   3V3_SYS_A current(1)=0.10000000A
    VDD_CORE_A current(7)=1.50000000A
 3V7_WL_SW_V volt(8)=3.70000000V
   3V3_SYS_V volt(9)=3.30000000V
    VDD_CORE_V volt(15)=0.80000000V
       EXT5V_V volt(24)=5.10000000V
"""
    assert power.pmic_watts(text) == pytest.approx(0.08 * 3.7 + 0.1 * 3.3 + 1.5 * 0.8)
    assert power.pmic_watts("command not registered") is None


def test_power_is_summed_over_time(tmp_path: Path) -> None:
    source = power.Ina(plant(tmp_path, ina(CHIP, {"VDD_IN": (5000, 2000)})))
    sampler = power.Sampler(source)
    source.interval_s = sampler._interval_s = 0.02
    start = time.monotonic()
    sampler.start()
    time.sleep(0.2)
    told = sampler.stop()
    took = time.monotonic() - start
    times, joules = zip(*told["samples"], strict=True)
    assert list(times) == sorted(times)
    assert joules[0] == 0
    assert joules[-1] == pytest.approx(10.0 * (times[-1] - times[0]), rel=1e-3)
    assert times[-1] - times[0] <= took


def test_a_machine_without_meters_tells_nothing(tmp_path: Path) -> None:
    assert power.find(Tree(str(tmp_path))) is None
