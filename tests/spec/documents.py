"""Documents to judge: the smallest, runc's default, and one that has every property of the Linux specification."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import referencing
from referencing.jsonschema import DRAFT4

from aiorun.spec import default_document

SCHEMA = Path(__file__).resolve().parent.parent / "oci-schema"
FIXTURES = SCHEMA / "test" / "config"

Place = tuple[str | int, ...]

_MAPPING = {"containerID": 0, "hostID": 1000, "size": 1}
_THROTTLE = {"major": 8, "minor": 0, "rate": 600}
_HOOK = {"path": "/bin/true", "args": ["true"], "env": ["A=b"], "timeout": 5}

FULL: dict[str, Any] = {
    **default_document(cgroup2=False),
    "domainname": "example",
    "annotations": {"org.example.key": "value"},
    "hooks": {
        stage: [_HOOK] for stage in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    },
    "process": {
        **default_document()["process"],
        "consoleSize": {"height": 24, "width": 80},
        "commandLine": "sh",
        "user": {"uid": 1, "gid": 1, "umask": 18, "additionalGids": [5, 6], "username": "someone"},
        "capabilities": {name: ["CAP_KILL"] for name in ("bounding", "permitted", "effective", "inheritable", "ambient")},
        "oomScoreAdj": 100,
        "apparmorProfile": "profile",
        "selinuxLabel": "label",
        "scheduler": {
            "policy": "SCHED_DEADLINE",
            "nice": 0,
            "priority": 0,
            "flags": ["SCHED_FLAG_RECLAIM"],
            "runtime": 1,
            "deadline": 2,
            "period": 3,
        },
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "execCPUAffinity": {"initial": "0-3,7", "final": "1"},
    },
    "mounts": [
        *default_document()["mounts"],
        {
            "destination": "/mnt",
            "source": "/srv",
            "type": "none",
            "options": ["rbind", "ridmap"],
            "uidMappings": [_MAPPING],
            "gidMappings": [_MAPPING],
        },
    ],
    "linux": {
        **default_document()["linux"],
        "namespaces": [
            {"type": "mount"},
            {"type": "network", "path": "/run/netns/x"},
            {"type": "user"},
            {"type": "time", "path": ""},
        ],
        "uidMappings": [_MAPPING],
        "gidMappings": [_MAPPING],
        "timeOffsets": {"boottime": {"secs": -1, "nanosecs": 5}, "monotonic": {"secs": 1}},
        "devices": [
            {"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229, "fileMode": 0o666, "uid": 0, "gid": 0},
            {"type": "p", "path": "/dev/fifo"},
        ],
        "netDevices": {"eth0": {"name": "container0"}, "eth1": {}},
        "cgroupsPath": "/parent/child",
        "resources": {
            "devices": [{"allow": True, "type": "c", "major": 1, "minor": -1, "access": "rw"}],
            "memory": {
                **dict.fromkeys(("limit", "reservation", "swap", "kernel", "kernelTCP"), 2**20),
                "swappiness": 60,
                **dict.fromkeys(("disableOOMKiller", "useHierarchy", "checkBeforeUpdate"), False),
            },
            "cpu": {
                **dict.fromkeys(("shares", "quota", "burst", "period", "realtimeRuntime", "realtimePeriod", "idle"), 1),
                "cpus": "0-1",
                "mems": "0",
            },
            "pids": {"limit": 10},
            "blockIO": {
                "weight": 10,
                "leafWeight": 10,
                "weightDevice": [{"major": 8, "minor": 0, "weight": 10, "leafWeight": 10}],
                "throttleReadBpsDevice": [_THROTTLE],
                "throttleWriteBpsDevice": [_THROTTLE],
                "throttleReadIOPSDevice": [_THROTTLE],
                "throttleWriteIOPSDevice": [_THROTTLE],
            },
            "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
            "network": {"classID": 1, "priorities": [{"name": "eth0", "priority": 1}]},
            "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 4}},
            "unified": {"memory.high": "max"},
        },
        "rootfsPropagation": "rslave",
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 1,
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "listenerPath": "/run/listener",
            "listenerMetadata": "note",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [
                {
                    "names": ["getcwd"],
                    "action": "SCMP_ACT_ERRNO",
                    "errnoRet": 38,
                    "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}],
                }
            ],
        },
        "sysctl": {"net.ipv4.ip_forward": "1"},
        "mountLabel": "label",
        "intelRdt": {
            "closID": "group",
            "schemata": ["L3:0=f"],
            "l3CacheSchema": "L3:0=f",
            "memBwSchema": "MB:0=10",
            "enableMonitoring": True,
        },
        "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
        "personality": {"domain": "LINUX", "flags": []},
    },
}

ELSEWHERE: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "freebsd": {
        "devices": [{"path": "pf", "mode": 0o700}],
        "jail": {
            "parent": "x",
            **dict.fromkeys(("host", "ip4", "ip6", "vnet", "sysvmsg", "sysvsem", "sysvshm"), "new"),
            "interface": "em0",
            **{name: ["x"] for name in ("ip4Addr", "ip6Addr", "vnetInterfaces")},
            "enforceStatfs": 1,
            "allow": {"setHostname": True, "mount": ["tmpfs"], "suser": False},
        },
    },
    "solaris": {
        "milestone": "x",
        "cappedCPU": {"ncpus": "8"},
        "cappedMemory": {"physical": "1g", "swap": "1g"},
        "anet": [{"linkname": "net0"}],
    },
    "vm": {
        "hypervisor": {"path": "/vmm", "parameters": ["x"]},
        "kernel": {"path": "/kernel", "parameters": ["x"], "initrd": "/initrd"},
        "image": {"path": "/image", "format": "raw"},
        "hwConfig": {
            "deviceTree": "x",
            "vcpus": 1,
            "memory": 4096,
            "dtdevs": ["x"],
            "iomems": [{"firstGFN": 1, "firstMFN": 2, "nrMFNs": 3}],
            "irqs": [11],
        },
    },
    "windows": {
        "layerFolders": ["C:\\layers"],
        "devices": [{"id": "x", "idType": "class"}],
        "resources": {
            "memory": {"limit": 1},
            "cpu": {"count": 1, "shares": 2, "maximum": 3, "affinity": {"mask": 1, "group": 0}},
            "storage": {"iops": 1, "bps": 2, "sandboxSize": 3},
        },
        "network": {"endpointList": ["x"], "allowUnqualifiedDNSQuery": True, "networkNamespace": "x"},
        "credentialSpec": {},
        "servicing": True,
        "hyperv": {"utilityVMPath": "C:\\vm"},
    },
    "zos": {"namespaces": [{"type": "pid", "path": "/x"}]},
}


def places(value: object, path: Place = ()) -> Iterator[Place]:
    """The path of each value in the document, its own (the empty one) apart."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, member in members:
        yield (*path, step)
        yield from places(member, (*path, step))


def changed(document: dict[str, Any], path: Place, *value: object) -> dict[str, Any]:
    """A copy of the document with another value at the path, or with none there."""
    document = json.loads(json.dumps(document))  # not a deep copy, which keeps what two places share
    holder: Any = document
    for step in path[:-1]:
        holder = holder.setdefault(step, {}) if isinstance(holder, dict) else holder[step]
    if value:
        holder[path[-1]] = value[0]
    else:
        del holder[path[-1]]
    return document


def validator(name: str) -> jsonschema.Draft4Validator:
    """The judge of documents by the specification's own schema in the file `name`."""
    files = {file.name: json.loads(file.read_text()) for file in SCHEMA.glob("*.json")}
    resources = [(file, DRAFT4.create_resource(content)) for file, content in files.items()]
    registry: referencing.Registry[Any] = referencing.Registry().with_resources(resources)
    return jsonschema.Draft4Validator(files[name], registry=registry)
