"""Machines that somebody has written down already, as the devices of an inventory.

Each source gives :class:`Discovery`; ``write.inventory_text`` makes the file of them.
"""

from orchestrator.discovery.ansible import from_ansible
from orchestrator.discovery.beginning import beginning_text, hosts_beside
from orchestrator.discovery.found import Discovery, FoundDevice
from orchestrator.discovery.openstack import from_openstack
from orchestrator.discovery.ssh_hosts import from_ssh_config
from orchestrator.discovery.write import inventory_text

__all__ = [
    "Discovery",
    "FoundDevice",
    "beginning_text",
    "from_ansible",
    "from_openstack",
    "from_ssh_config",
    "hosts_beside",
    "inventory_text",
]
