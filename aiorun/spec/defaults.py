"""The document of `aiorun spec`: runc's, key for key and in runc's order (libcontainer/specconv, Example)."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OCI_VERSION = "1.3.0"

_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
_NO_SUID_EXEC_DEV = ("nosuid", "noexec", "nodev")
# (destination, type, source, options)
_MOUNTS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("/proc", "proc", "proc", ()),
    ("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    ("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
    ("/dev/shm", "tmpfs", "shm", (*_NO_SUID_EXEC_DEV, "mode=1777", "size=65536k")),
    ("/dev/mqueue", "mqueue", "mqueue", _NO_SUID_EXEC_DEV),
    ("/sys", "sysfs", "sysfs", (*_NO_SUID_EXEC_DEV, "ro")),
    ("/sys/fs/cgroup", "cgroup", "cgroup", (*_NO_SUID_EXEC_DEV, "relatime", "ro")),
)
_MASKED_PATHS = (
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
    "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
)  # fmt: skip
_READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def default_document(*, rootless: bool = False, uid: int = 0, gid: int = 0, cgroup2: bool | None = None) -> dict[str, Any]:
    """What `aiorun spec` writes; `rootless`: for the user `uid` and the group `gid` of the host, mapped to root.

    `cgroup2` says whether the host has cgroup v2 alone, where runc adds a cgroup namespace (None: look).
    """
    if cgroup2 is None:
        cgroup2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    return {
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {name: list(_CAPABILITIES) for name in ("bounding", "effective", "permitted", "ambient")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "runc",
        "mounts": [_mount(*mount, rootless=rootless) for mount in _MOUNTS],
        "linux": _linux(rootless, uid, gid, cgroup2),
    }


def _mount(destination: str, type: str, source: str, options: tuple[str, ...], *, rootless: bool) -> dict[str, Any]:
    if rootless and destination == "/sys":  # sysfs belongs to the network namespace, which rootless ones don't have
        type, source, options = "none", "/sys", ("rbind", *options)
    mount: dict[str, Any] = {"destination": destination, "type": type, "source": source}
    if options:
        mount["options"] = [option for option in options if not (rootless and option.startswith(("uid=", "gid=")))]
    return mount


def _linux(rootless: bool, uid: int, gid: int, cgroup2: bool) -> dict[str, Any]:
    first: dict[str, Any]
    if rootless:
        first = {
            "uidMappings": [{"containerID": 0, "hostID": uid, "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": gid, "size": 1}],
        }
        namespaces = ["pid", "ipc", "uts", "mount"]
    else:
        first = {"resources": {"devices": [{"allow": False, "access": "rwm"}]}}
        namespaces = ["pid", "network", "ipc", "uts", "mount"]
    namespaces += ["cgroup"] * cgroup2 + ["user"] * rootless
    return {
        **first,
        "namespaces": [{"type": name} for name in namespaces],
        "maskedPaths": list(_MASKED_PATHS),
        "readonlyPaths": list(_READONLY_PATHS),
    }
