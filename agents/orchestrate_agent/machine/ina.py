"""The power monitors of a board: INA chips, each with a few rails, as the kernel shows them.

A Jetson's are read by tegrastats too: up to JetPack 4 through NVIDIA's own driver, since JetPack 5
as ``hwmon``.
"""

from __future__ import annotations

from typing import List, Optional, Tuple

from orchestrate_agent.sysfs import Tree

_CHIPS = ("ina3221", "ina226", "ina219", "ina238")


class Rail:
    """One channel: files whose product, times ``scale``, is watts."""

    def __init__(self, name: str, files: Tuple[str, ...], scale: float) -> None:
        self.name = name
        self._files = files
        self._scale = scale

    def watts(self, tree: Tree) -> Optional[float]:
        product = self._scale
        for path in self._files:
            value = tree.integer(path)
            if value is None:
                return None
            product *= value
        return product


def rails(tree: Tree) -> List[Rail]:
    """Every channel that has a name or measures, of NVIDIA's driver and the kernel's own."""
    found = []
    for chip in tree.entries("/sys/class/hwmon", "hwmon*"):
        if tree.read(chip + "/name") in _CHIPS:
            found += _hwmon_rails(tree, chip)
    # NVIDIA's own driver, in the folder of the bus; JetPack 3 writes iio_device
    for device in tree.entries("/sys/bus/i2c/drivers/ina3221x", "*-*"):
        for iio in tree.entries(device, "iio[:_]device*"):
            for path in tree.entries(iio, "in_power*_input"):
                number = path.rpartition("in_power")[2].partition("_")[0]
                name = tree.read(f"{iio}/rail_name_{number}") or f"channel {number}"
                found.append(Rail(name, (path,), 1e-3))
    return found


def _hwmon_rails(tree: Tree, chip: str) -> List[Rail]:
    """hwmon counts power in microwatts, voltage in millivolts, current in milliamperes."""
    found = [
        Rail(tree.read(path[: -len("input")] + "label") or "board", (path,), 1e-6)
        for path in tree.entries(chip, "power*_input")
    ]
    if found:
        return found
    for current in tree.entries(chip, "curr*_input"):
        number = current.rpartition("curr")[2].partition("_")[0]
        label = tree.read(f"{chip}/in{number}_label")
        voltage = f"{chip}/in{number}_input"
        # ina3221 lists the sum of its channels as a fourth current, which has no voltage
        if label and tree.exists(voltage) and tree.read(current) is not None:
            found.append(Rail(label, (voltage, current), 1e-6))
    return found
