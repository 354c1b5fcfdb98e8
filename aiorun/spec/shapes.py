"""What config.json is made of: one table for each object of the runtime specification 1.3, Linux.

Written from the specification's JSON schema (tests/oci-schema) and from what its prose adds to it. Where aiorun asks for
more than the schema, or for less, the line says why.
"""

from __future__ import annotations

from aiorun.errors import InvalidSpec
from aiorun.spec.checks import (
    ABSOLUTE,
    BOOLEAN,
    ENVIRONMENT,
    FILLED,
    INT32,
    INT64,
    TEXT,
    TEXT_BY_NAME,
    TEXTS,
    UINT16,
    UINT32,
    UINT64,
    absolute_or_empty,
    choice,
    filled_texts,
    integer,
    items,
    made_of,
    mapping,
    quoted,
    shape,
    text,
    unique,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from aiorun.spec.checks import Rule

_DIGITS = "0123456789"
_CPU_LIST: Rule = (made_of, _DIGITS + ", -")
_ID: Rule = (integer, (0, 2**32 - 2))  # setresuid(2), chown(2): the last uint32, (uid_t) -1, would mean "leave it as it is"


def semantic_version(value: object, _: None) -> None:
    """ociVersion: SemVer 2.0.0, and a version that this runtime honours. config.md, "Specification version"."""
    text(value)
    version, plus, build = str(value).partition("+")
    core, minus, label = version.partition("-")
    identifiers = (label.split(".") if minus else []) + (build.split(".") if plus else [])
    numbers = core.split(".")
    sound = len(numbers) == 3 and all(n.isascii() and n.isdigit() and (n == "0" or n[0] != "0") for n in numbers)
    if not sound or not all(i.isascii() and i.replace("-", "0").isalnum() for i in identifiers):
        raise InvalidSpec("", f"must be a version such as 1.3.0, not {quoted(str(value))}")
    if numbers[0] not in ("0", "1"):  # 0.x: the drafts of 1.0, which the specification's own examples still name
        raise InvalidSpec("", f"version {value} of the specification is not supported (1.x is)")


def cwd(value: object, _: None) -> None:
    text(value)
    if not value:
        raise InvalidSpec("", "Cwd property must not be empty")
    if not str(value).startswith("/"):
        raise InvalidSpec("", "Cwd must be an absolute path")


def file_mode(value: object, _: None) -> None:
    """The schema's limit is 0777; podman leaves the type of the file that it copied the mode from (S_IFMT) in it."""
    integer(value, UINT32)
    if isinstance(value, int) and value & ~0o170000 > 0o777:
        raise InvalidSpec("", "must be from 0 to 511 (octal 0777)")


def page_size(value: object, _: None) -> None:
    """^[1-9][0-9]*[KMG]B$"""
    text(value)
    number, unit = str(value)[:-2], str(value)[-2:]
    if unit not in ("KB", "MB", "GB") or not number or number.strip(_DIGITS) or number[0] == "0":
        raise InvalidSpec("", f"must be a page size such as 2MB, not {quoted(str(value))}")


def bandwidth_schema(value: object, _: None) -> None:
    text(value)
    if not str(value).startswith("MB:") or "\n" in str(value):
        raise InvalidSpec("", 'must be one line that starts with "MB:"')


def unified(value: object, rule: Rule) -> None:
    """cgroup v2 files by name. A name is a file of the container's own cgroup, never a way out of it."""
    mapping(value, rule)
    for name in value if isinstance(value, dict) else ():
        if "/" in name or name in (".", ".."):
            raise InvalidSpec(f"[{quoted(name)}]", "must be a file name (no slashes)")


def _limits_in_order(rlimit: dict[str, Any]) -> None:
    if rlimit["soft"] > rlimit["hard"]:  # setrlimit(2): EINVAL
        raise InvalidSpec("soft", "must not be above hard")


def _mapped_both_ways(mount: dict[str, Any]) -> None:
    if bool(mount.get("uidMappings")) != bool(mount.get("gidMappings")):  # config.md, "Mounts"
        missing = "gidMappings" if mount.get("uidMappings") else "uidMappings"
        raise InvalidSpec(missing, "is required: uidMappings and gidMappings come together")


def _numbered(device: dict[str, Any]) -> None:
    if device["type"] != "p":  # config-linux.md, "Devices": only a fifo has no numbers
        for name in ("major", "minor"):
            if name not in device:
                raise InvalidSpec(name, f"is required for a device of type {device['type']}")


def _rule_has_access(device: dict[str, Any]) -> None:
    if not device.get("access"):  # as runc: a rule about nothing is a mistake, and v1's devices.deny takes none
        raise InvalidSpec("access", "must not be empty")


_MAPPINGS: Rule = (
    items,
    shape(
        {"containerID": (integer, UINT32), "hostID": (integer, UINT32), "size": (integer, UINT32)},
        "containerID",
        "hostID",
        "size",
    ),
)

_HOOKS: Rule = (
    items,
    shape({"path": ABSOLUTE, "args": TEXTS, "env": ENVIRONMENT, "timeout": (integer, (1, INT64[1]))}, "path"),
)

STAGES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")

_RLIMITS = (
    "RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_LOCKS", "RLIMIT_MEMLOCK", "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE", "RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_RSS", "RLIMIT_RTPRIO", "RLIMIT_RTTIME", "RLIMIT_SIGPENDING",
    "RLIMIT_STACK",
)  # fmt: skip

_SCHEDULER: dict[str, Rule] = {
    "policy": (choice, ("SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE")),
    "nice": (integer, INT32),
    "priority": (integer, INT32),
    "flags": (
        items,
        (
            choice,
            (
                "SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_KEEP_POLICY",
                "SCHED_FLAG_KEEP_PARAMS", "SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MAX",
            ),
        ),
    ),
    "runtime": (integer, UINT64),
    "deadline": (integer, UINT64),
    "period": (integer, UINT64),
}  # fmt: skip

PROCESS: dict[str, Rule] = {
    "terminal": BOOLEAN,
    # ioctl_tty(2), TIOCSWINSZ: two unsigned shorts, though the schema allows uint64
    "consoleSize": shape({"height": (integer, UINT16), "width": (integer, UINT16)}, "height", "width"),
    "cwd": (cwd, None),
    "env": ENVIRONMENT,
    "args": (filled_texts, "args must not be empty"),
    "commandLine": TEXT,
    "user": shape(
        {"uid": _ID, "gid": _ID, "umask": (integer, UINT32), "additionalGids": (items, _ID), "username": TEXT},
    ),
    "capabilities": shape(dict.fromkeys(("bounding", "permitted", "effective", "inheritable", "ambient"), TEXTS)),
    "rlimits": (
        unique,
        (
            shape(
                {"type": (choice, _RLIMITS), "soft": (integer, UINT64), "hard": (integer, UINT64)},
                "type", "soft", "hard", whole=_limits_in_order,
            ),
            "type",
        ),
    ),
    "noNewPrivileges": BOOLEAN,
    "oomScoreAdj": (integer, (-1000, 1000)),  # proc_pid_oom_score_adj(5); the schema has no limits
    "apparmorProfile": TEXT,
    "selinuxLabel": TEXT,
    "scheduler": shape(_SCHEDULER, "policy"),
    "ioPriority": shape(
        {"class": (choice, ("IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE")), "priority": (integer, INT32)}, "class"
    ),
    "execCPUAffinity": shape({"initial": _CPU_LIST, "final": _CPU_LIST}),
}  # fmt: skip

_MOUNT: dict[str, Rule] = {
    "destination": FILLED,  # a relative one is deprecated, not forbidden: config.md, "Mounts"
    "source": TEXT,
    "type": TEXT,
    "options": TEXTS,
    "uidMappings": _MAPPINGS,
    "gidMappings": _MAPPINGS,
}

_MAJOR_MINOR: dict[str, Rule] = {"major": (integer, INT64), "minor": (integer, INT64)}
_THROTTLES: Rule = (items, shape({**_MAJOR_MINOR, "rate": (integer, UINT64)}, "major", "minor"))

_BLOCK_IO: dict[str, Rule] = {
    "weight": (integer, UINT16),
    "leafWeight": (integer, UINT16),
    "weightDevice": (
        items,
        shape({**_MAJOR_MINOR, "weight": (integer, UINT16), "leafWeight": (integer, UINT16)}, "major", "minor"),
    ),
    "throttleReadBpsDevice": _THROTTLES,
    "throttleWriteBpsDevice": _THROTTLES,
    "throttleReadIOPSDevice": _THROTTLES,
    "throttleWriteIOPSDevice": _THROTTLES,
}

_CPU: dict[str, Rule] = {
    "shares": (integer, UINT64),
    "quota": (integer, INT64),
    "burst": (integer, UINT64),
    "period": (integer, UINT64),
    "realtimeRuntime": (integer, INT64),
    "realtimePeriod": (integer, UINT64),
    "cpus": TEXT,
    "mems": TEXT,
    "idle": (integer, INT64),
}

_MEMORY: dict[str, Rule] = {
    "limit": (integer, INT64),
    "reservation": (integer, INT64),
    "swap": (integer, INT64),
    "kernel": (integer, INT64),
    "kernelTCP": (integer, INT64),
    "swappiness": (integer, UINT64),
    "disableOOMKiller": BOOLEAN,
    "useHierarchy": BOOLEAN,
    "checkBeforeUpdate": BOOLEAN,
}

_DEVICE_RULE: dict[str, Rule] = {
    "allow": BOOLEAN,
    "type": (choice, ("", "a", "b", "c")),
    **_MAJOR_MINOR,
    "access": (made_of, "rwm"),
}

_NETWORK: dict[str, Rule] = {
    "classID": (integer, UINT32),
    "priorities": (items, shape({"name": TEXT, "priority": (integer, UINT32)}, "name", "priority")),
}

RESOURCES: dict[str, Rule] = {
    "devices": (items, shape(_DEVICE_RULE, "allow", whole=_rule_has_access)),
    "memory": shape(_MEMORY),
    "cpu": shape(_CPU),
    "pids": shape({"limit": (integer, INT64)}, "limit"),
    "blockIO": shape(_BLOCK_IO),
    "hugepageLimits": (items, shape({"pageSize": (page_size, None), "limit": (integer, UINT64)}, "pageSize", "limit")),
    "network": shape(_NETWORK),
    "rdma": (mapping, shape({"hcaHandles": (integer, UINT32), "hcaObjects": (integer, UINT32)})),
    "unified": (unified, TEXT),
}

_ACTION: Rule = (
    choice,
    (
        "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP", "SCMP_ACT_ERRNO", "SCMP_ACT_TRACE",
        "SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY",
    ),
)  # fmt: skip

_ARCHITECTURE: Rule = (
    choice,
    (
        "SCMP_ARCH_X86", "SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_ARM", "SCMP_ARCH_AARCH64", "SCMP_ARCH_LOONGARCH64",
        "SCMP_ARCH_M68K", "SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64", "SCMP_ARCH_MIPS64N32", "SCMP_ARCH_MIPSEL",
        "SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PPC", "SCMP_ARCH_PPC64", "SCMP_ARCH_PPC64LE",
        "SCMP_ARCH_S390", "SCMP_ARCH_S390X", "SCMP_ARCH_SH", "SCMP_ARCH_SHEB", "SCMP_ARCH_PARISC", "SCMP_ARCH_PARISC64",
        "SCMP_ARCH_RISCV64",
    ),
)  # fmt: skip

_SYSCALL_ARGUMENT: dict[str, Rule] = {
    "index": (integer, UINT32),
    "value": (integer, UINT64),
    "valueTwo": (integer, UINT64),
    "op": (choice, tuple("SCMP_CMP_" + name for name in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"))),
}


_SECCOMP: dict[str, Rule] = {
    "defaultAction": _ACTION,
    "defaultErrnoRet": (integer, UINT32),
    "flags": (items, (choice, tuple("SECCOMP_FILTER_FLAG_" + f for f in ("TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV")))),
    "listenerPath": TEXT,
    "listenerMetadata": TEXT,
    "architectures": (items, _ARCHITECTURE),
    "syscalls": (
        items,
        shape(
            {
                "names": (filled_texts, "must not be empty"),
                "action": _ACTION,
                "errnoRet": (integer, UINT32),
                "args": (items, shape(_SYSCALL_ARGUMENT, "index", "value", "op")),
            },
            "names",
            "action",
        ),
    ),
}

_DEVICE: dict[str, Rule] = {
    "type": (choice, ("c", "b", "u", "p")),
    "path": ABSOLUTE,
    **_MAJOR_MINOR,
    "fileMode": (file_mode, None),
    "uid": _ID,
    "gid": _ID,
}

_INTEL_RDT: dict[str, Rule] = {
    "closID": TEXT,
    "schemata": TEXTS,
    "l3CacheSchema": TEXT,
    "memBwSchema": (bandwidth_schema, None),
    "enableMonitoring": BOOLEAN,
}

MEMORY_POLICY_MODES = tuple(
    "MPOL_" + mode for mode in ("DEFAULT", "BIND", "INTERLEAVE", "WEIGHTED_INTERLEAVE", "PREFERRED", "PREFERRED_MANY", "LOCAL")
)
MEMORY_POLICY_FLAGS = ("MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES")
_MEMORY_POLICY: dict[str, Rule] = {
    "mode": (choice, MEMORY_POLICY_MODES),
    "nodes": TEXT,
    "flags": (items, (choice, MEMORY_POLICY_FLAGS)),
}

_OFFSET: Rule = shape({"secs": (integer, INT64), "nanosecs": (integer, UINT32)})

NAMESPACE_TYPES = ("mount", "pid", "network", "uts", "ipc", "user", "cgroup", "time")
# The recursive ones aren't in the schema; runc knows them, and containerd and Docker write them.
PROPAGATIONS = ("", "private", "shared", "slave", "unbindable", "rprivate", "rshared", "rslave", "runbindable")

LINUX: dict[str, Rule] = {
    "namespaces": (
        unique,
        (shape({"type": (choice, NAMESPACE_TYPES), "path": (absolute_or_empty, None)}, "type"), "type"),
    ),
    "uidMappings": _MAPPINGS,
    "gidMappings": _MAPPINGS,
    "timeOffsets": shape({"boottime": _OFFSET, "monotonic": _OFFSET}),
    "devices": (items, shape(_DEVICE, "type", "path", whole=_numbered)),
    "netDevices": (mapping, shape({"name": TEXT})),
    "cgroupsPath": TEXT,
    "resources": shape(RESOURCES),
    "rootfsPropagation": (choice, PROPAGATIONS),
    "seccomp": shape(_SECCOMP, "defaultAction"),
    "sysctl": TEXT_BY_NAME,
    "maskedPaths": (items, ABSOLUTE),
    "readonlyPaths": (items, ABSOLUTE),
    "mountLabel": TEXT,
    "intelRdt": shape(_INTEL_RDT),
    "memoryPolicy": shape(_MEMORY_POLICY),
    "personality": shape({"domain": (choice, ("LINUX", "LINUX32")), "flags": TEXTS}),
}

DOCUMENT: dict[str, Rule] = {
    "ociVersion": (semantic_version, None),
    "root": shape({"path": FILLED, "readonly": BOOLEAN}, "path"),
    "process": shape(PROCESS, "cwd"),
    "hostname": TEXT,
    "domainname": TEXT,
    "mounts": (items, shape(_MOUNT, "destination", whole=_mapped_both_ways)),
    "hooks": shape(dict.fromkeys(STAGES, _HOOKS)),
    "annotations": TEXT_BY_NAME,
    "linux": shape(LINUX),
}
