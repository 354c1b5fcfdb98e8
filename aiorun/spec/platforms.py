"""The objects of config.json that are about other platforms: checked where a document has them, and of no effect here.

Loaded for such documents alone. Written from the schemas config-freebsd.json, config-solaris.json, config-vm.json,
config-windows.json and config-zos.json of the runtime specification 1.3.
"""

from __future__ import annotations

from aiorun.spec.checks import (
    BOOLEAN,
    TEXT,
    TEXTS,
    UINT8,
    UINT16,
    UINT32,
    UINT64,
    choice,
    filled_texts,
    integer,
    items,
    shape,
)
from aiorun.spec.shapes import DOCUMENT, PROCESS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from aiorun.spec.checks import Rule

_SHARING: Rule = (choice, ("disable", "new", "inherit"))
_SHARING_ON: Rule = (choice, ("new", "inherit"))

_JAIL = {
    "parent": TEXT,
    "host": _SHARING_ON,
    "ip4": _SHARING,
    "ip4Addr": TEXTS,
    "ip6": _SHARING,
    "ip6Addr": TEXTS,
    "vnet": _SHARING_ON,
    "interface": TEXT,
    "vnetInterfaces": TEXTS,
    "sysvmsg": _SHARING,
    "sysvsem": _SHARING,
    "sysvshm": _SHARING,
    "enforceStatfs": (integer, UINT8),
    "allow": shape(
        {
            **dict.fromkeys(
                ("setHostname", "rawSockets", "chflags", "quotas", "socketAf", "mlock", "reservedPorts", "suser"), BOOLEAN
            ),
            "mount": TEXTS,
        }
    ),
}
_FREEBSD = shape({"devices": (items, shape({"path": TEXT, "mode": (integer, (0, 0o777))})), "jail": shape(_JAIL)})

_ANET = ("linkname", "lowerLink", "allowedAddress", "configureAllowedAddress", "defrouter", "macAddress", "linkProtection")
_SOLARIS = shape(
    {
        **dict.fromkeys(("milestone", "limitpriv", "maxShmMemory"), TEXT),
        "cappedCPU": shape({"ncpus": TEXT}),
        "cappedMemory": shape({"physical": TEXT, "swap": TEXT}),
        "anet": (items, shape(dict.fromkeys(_ANET, TEXT))),
    }
)

_ZOS = shape({"namespaces": (items, shape({"type": (choice, ("mount", "pid", "uts", "ipc")), "path": TEXT}, "type"))})

_VM = shape(
    {
        "hypervisor": shape({"path": TEXT, "parameters": TEXTS}, "path"),
        "kernel": shape({"path": TEXT, "parameters": TEXTS, "initrd": TEXT}, "path"),
        "image": shape({"path": TEXT, "format": (choice, ("raw", "qcow2", "vdi", "vmdk", "vhd"))}, "path", "format"),
        "hwConfig": shape(
            {
                "deviceTree": TEXT,
                "vcpus": (integer, UINT32),
                "memory": (integer, UINT64),
                "dtdevs": TEXTS,
                "iomems": (
                    items,
                    shape(dict.fromkeys(("firstGFN", "firstMFN", "nrMFNs"), (integer, UINT64)), "firstMFN", "nrMFNs"),
                ),
                "irqs": (items, (integer, UINT32)),
            }
        ),
    },
    "kernel",
)


_WINDOWS_CPU = {
    "count": (integer, UINT64),
    "shares": (integer, UINT16),
    "maximum": (integer, UINT16),
    "affinity": shape({"mask": (integer, UINT64), "group": (integer, UINT32)}),
}
_WINDOWS = shape(
    {
        "layerFolders": (filled_texts, "must not be empty"),
        "devices": (items, shape({"id": TEXT, "idType": (choice, ("class",))}, "id", "idType")),
        "resources": shape(
            {
                "memory": shape({"limit": (integer, UINT64)}),
                "cpu": shape(_WINDOWS_CPU),
                "storage": shape(dict.fromkeys(("iops", "bps", "sandboxSize"), (integer, UINT64))),
            }
        ),
        "network": shape(
            {
                "endpointList": TEXTS,
                "allowUnqualifiedDNSQuery": BOOLEAN,
                "DNSSearchList": TEXTS,
                "networkSharedContainerName": TEXT,
                "networkNamespace": TEXT,
            }
        ),
        "credentialSpec": shape({}),
        "servicing": BOOLEAN,
        "ignoreFlushesDuringBoot": BOOLEAN,
        "hyperv": shape({"utilityVMPath": TEXT}),
    },
    "layerFolders",
)

OBJECTS: dict[str, Rule] = {"freebsd": _FREEBSD, "solaris": _SOLARIS, "vm": _VM, "windows": _WINDOWS, "zos": _ZOS}


def table_for(document: dict[str, Any]) -> Mapping[str, Rule]:
    """The table of a document that has one of OBJECTS."""
    table = {**DOCUMENT, **OBJECTS}
    if "windows" in document and "linux" not in document:  # its absolute paths are others
        table["process"] = shape({**PROCESS, "cwd": TEXT}, "cwd")
    return table
