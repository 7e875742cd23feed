"""What a machine is in: a container, a virtual machine, a board. Follows systemd's words."""

from __future__ import annotations

import re
from typing import AbstractSet, Dict, Optional

from orchestrate_agent.machine import cgroup
from orchestrate_agent.machine.cpuinfo import CpuInfo
from orchestrate_agent.sysfs import Tree

#: Linux ``include/linux/proc_ns.h``: the inodes of the namespaces a machine boots with.
_INITIAL_NAMESPACES = {"pid": 4026531836, "uts": 4026531838, "ipc": 4026531839}

#: Container by what its engine puts into the file system.
_MARKERS = (
    ("/var/run/secrets/kubernetes.io/serviceaccount", "kubernetes"),
    ("/run/secrets/kubernetes.io/serviceaccount", "kubernetes"),
    ("/run/.containerenv", "podman"),
    ("/.dockerenv", "docker"),
)
#: Container by the control group the engine makes; ``docker.service`` is not one.
_CGROUPS = (
    (re.compile(r"/kubepods"), "kubernetes"),
    (re.compile(r"/libpod-"), "podman"),
    (re.compile(r"/docker[/-][0-9a-f]{64}"), "docker"),
    (re.compile(r"/lxc(\.payload)?[./]"), "lxc"),
)

#: The virtualization of a program whose instructions another program translates.
QEMU_USER = "qemu-user"

_DMI = "/sys/class/dmi/id"
_DEVICE_TREES = ("/proc/device-tree", "/sys/firmware/devicetree/base")
_MODEL_LENGTH = 200
#: Firmware that was shipped with its form not filled in.
_PLACEHOLDER = re.compile(
    r"to be filled|system product name|system manufacturer|default string|not specified|"
    r"\Ao\.e\.m|\Anone\Z|\An/?a\Z",
    re.IGNORECASE,
)
#: Hypervisor by what it writes into its guests' DMI; the first that is found.
_DMI_NAMES = (
    ("KVM", "kvm"),
    ("OpenStack", "kvm"),
    ("KubeVirt", "kvm"),
    ("Amazon EC2", "amazon"),
    ("Google Compute Engine", "google"),
    ("QEMU", "qemu"),
    ("VMware", "vmware"),
    ("VirtualBox", "oracle"),
    ("innotek", "oracle"),
    ("Xen", "xen"),
    ("Bochs", "bochs"),
    ("Parallels", "parallels"),
    ("BHYVE", "bhyve"),
    ("Hyper-V", "microsoft"),
    ("Virtual Machine", "microsoft"),
    ("Apple Virtualization", "apple"),
)
#: Hypervisor by the clock the kernel offers once it has recognised it.
_CLOCKS = (("kvm-clock", "kvm"), ("hyperv_clocksource", "microsoft"), ("xen", "xen"))


def container(tree: Tree) -> Optional[str]:
    """The kind of container this process is in, or None if it is in none that can be told."""
    if "microsoft" in (tree.read("/proc/sys/kernel/osrelease") or "").lower():
        return "wsl"
    told = tree.read("/run/systemd/container", _MODEL_LENGTH) or _told_by_init(tree)
    if told:
        return told
    for pattern, kind in _CGROUPS:
        if any(pattern.search(name) for name in cgroup.names(tree)):
            return kind
    if _in_initial_namespaces(tree):
        # a virtual machine's disk made from a container image keeps the engine's marker
        return None
    for path, kind in _MARKERS:
        if tree.exists(path):
            return kind
    return None


def _told_by_init(tree: Tree) -> Optional[str]:
    """``container=`` in the environment of process 1; only root may read it."""
    for entry in (tree.read("/proc/1/environ") or "").split("\0"):
        key, _, value = entry.partition("=")
        if key == "container" and value:
            return value
    return None


def _in_initial_namespaces(tree: Tree) -> bool:
    return all(
        tree.link(f"/proc/self/ns/{name}") == f"{name}:[{inode}]"
        for name, inode in _INITIAL_NAMESPACES.items()
    )


def virtualization(tree: Tree, cpus: CpuInfo, architecture: Optional[str]) -> Optional[str]:
    """Which hypervisor or emulator runs this machine; ``none`` on hardware, None if untold."""
    if _is_user_mode_emulation(tree, cpus, architecture):
        return QEMU_USER
    if "control_d" in (tree.read("/proc/xen/capabilities") or ""):
        return "none"  # Xen's own first domain has the hardware
    if tree.read("/sys/hypervisor/type") == "xen":
        return "xen"
    if any(processor.is_x86 for processor in cpus.processors):
        return _x86_hypervisor(tree, cpus.flags or frozenset())
    return _arm_hypervisor(tree)


def _is_user_mode_emulation(tree: Tree, cpus: CpuInfo, architecture: Optional[str]) -> bool:
    """uname speaks for the emulated CPU; for the real one ``/proc/sys/kernel/arch``, which Linux
    has since 6.1, and ``/proc/cpuinfo``, which newer QEMUs (10) make up."""
    real = {_family(tree.read("/proc/sys/kernel/arch"))}
    real |= {"x86" for processor in cpus.processors if processor.is_x86}
    real |= {"arm" for processor in cpus.processors if processor.is_arm}
    return architecture is not None and not real <= {None, _family(architecture)}


def _family(machine: Optional[str]) -> Optional[str]:
    """Group the machine names of uname that one kernel may give: of 64 bits and of 32."""
    if machine is None:
        return None
    if re.match(r"(x86_64|i\d86)\Z", machine):
        return "x86"
    return "arm" if machine.startswith(("aarch64", "arm")) else machine


def _x86_hypervisor(tree: Tree, flags: AbstractSet[str]) -> Optional[str]:
    if not flags:
        return None
    if "hypervisor" not in flags:
        return "none"
    clocks = tree.read("/sys/devices/system/clocksource/clocksource0/available_clocksource") or ""
    for clock, kind in _CLOCKS:
        if clock in clocks.split():
            return kind
    return _dmi_hypervisor(tree) or "vm-other"


def _arm_hypervisor(tree: Tree) -> Optional[str]:
    for base in _DEVICE_TREES:
        compatible = tree.read(base + "/hypervisor/compatible", _MODEL_LENGTH) or ""
        for word, kind in (("linux,kvm", "kvm"), ("xen", "xen"), ("vmware", "vmware")):
            if word in compatible:
                return kind
        model = tree.read(base + "/model", _MODEL_LENGTH)
        if model == "linux,dummy-virt":
            return "qemu"
        if model:
            return "none"
    return _dmi_hypervisor(tree)


def _dmi_hypervisor(tree: Tree) -> Optional[str]:
    fields = ("product_name", "sys_vendor", "board_vendor", "bios_vendor", "product_version")
    told = " ".join(tree.read(f"{_DMI}/{field}", _MODEL_LENGTH) or "" for field in fields)
    if ".metal" in told:  # a cloud's bare-metal instance keeps the cloud's name
        return "none"
    for word, kind in _DMI_NAMES:
        if word in told:
            return kind
    return None


def board(tree: Tree, cpus: CpuInfo) -> Dict[str, Optional[str]]:
    """``vendor`` and ``product`` of the machine, as its firmware or device tree names it."""
    for base in _DEVICE_TREES:
        model = tree.read(base + "/model", _MODEL_LENGTH)
        if model:
            return {"vendor": None, "product": model}
    product = _dmi(tree, "product_name") or _dmi(tree, "board_name") or cpus.machine.get("Model")
    return {"vendor": _dmi(tree, "sys_vendor") or _dmi(tree, "board_vendor"), "product": product}


def _dmi(tree: Tree, field: str) -> Optional[str]:
    text = tree.read(f"{_DMI}/{field}", _MODEL_LENGTH)
    return None if not text or _PLACEHOLDER.search(text) else text
