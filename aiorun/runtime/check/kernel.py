"""What the kernel has: each thing is tried, no version is compared."""

from __future__ import annotations

import os

from aiorun.linux import mount, probe, process
from aiorun.linux.process import CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER
from aiorun.plan.namespaces import FLAGS
from aiorun.runtime.check.finding import ABSENT, NEEDED, OK, Finding, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_EPERM, _EINVAL, _ENOSPC, _ENODEV = 1, 22, 28, 19
_CLONE_NEWTIME = 0x80

# Without these aiorun has another way, slower or with less to offer.
_SPARED = {
    "clone3": "a container's first process moves into its cgroup by itself",
    "openat2": "paths below the root are walked step by step",
    "close_range": "files are closed one by one",
    "mount_setattr": "mount options are set by remounting, and recursive ones can't be",
}
# The types that mounts[] of a default document have, and the namespaces in which they are to be had.
_FILE_SYSTEMS = {
    "proc": CLONE_NEWNS | CLONE_NEWPID,
    "tmpfs": CLONE_NEWNS,
    "devpts": CLONE_NEWNS,
    "mqueue": CLONE_NEWNS | CLONE_NEWIPC,
    "sysfs": CLONE_NEWNS | CLONE_NEWNET,
    "cgroup2": CLONE_NEWNS | CLONE_NEWCGROUP,
}


def look() -> Iterator[Finding]:
    yield from _calls()
    users = _namespace_errno("user")
    yield from _namespaces(users)
    yield _root_mount()
    yield from _file_systems(users)
    yield from _keyrings()
    yield from _seccomp()
    yield from _security_modules()
    yield _resctrl()


def _calls() -> Iterator[Finding]:
    missing = probe.missing_calls()
    for name in missing:
        found = f"there is no {name}" + (f": {_SPARED[name]}" if name in _SPARED else "")
        remedy = "a newer kernel (5.12 has all), or a seccomp filter around aiorun that lets it through"
        yield Finding(f"system call {name}", found, ABSENT if name in _SPARED else NEEDED, remedy)
    if not missing:
        yield Finding("system calls", "all that aiorun makes are there")


def _nothing() -> None:
    pass


def _namespace_errno(kind: str) -> int:
    """How the making of such a namespace fails; for who isn't root, inside a user namespace."""
    if kind == "time":  # clone(2) has no room for its flag
        return probe.errno_of(lambda: process.unshare(_CLONE_NEWTIME), _own_users())
    return probe.errno_of(_nothing, FLAGS[kind] | (0 if kind == "user" else _own_users()))


def _own_users() -> int:
    return 0 if os.geteuid() == 0 else CLONE_NEWUSER


def _namespaces(users: int) -> Iterator[Finding]:
    errnos = {kind: users if kind == "user" else _namespace_errno(kind) for kind in sorted(FLAGS)}
    there = [kind for kind, errno in errnos.items() if not errno]
    if there:
        yield Finding("namespaces", ", ".join(there))
    for kind, errno in errnos.items():
        if errno:
            yield Finding(f"namespace {kind}", f"can't be made: {words(errno)}", ABSENT, _namespace_remedy(kind, errno))


def _namespace_remedy(kind: str, errno: int) -> str:
    if errno == _ENOSPC:
        return f"sysctl user.max_{'mnt' if kind == 'mount' else 'net' if kind == 'network' else kind}_namespaces=10000"
    if errno == _EINVAL:
        return "a kernel that is built with it"
    if kind != "user":
        return "run aiorun as root, or outside of the container that keeps it from it"
    for name in ("kernel.unprivileged_userns_clone=1", "kernel.apparmor_restrict_unprivileged_userns=0"):
        path, _, wanted = name.partition("=")
        if _first_line(f"/proc/sys/{path.replace('.', '/')}") not in ("", wanted):
            return f"sysctl {name}"
    return "allow it: outside of a container that keeps it from it, or by the security module's rules"


def _file_systems(users: int) -> Iterator[Finding]:
    if _own_users() and users:
        return  # that there are no user namespaces says it
    there = []
    for kind, flags in _FILE_SYSTEMS.items():
        errno = probe.errno_of(lambda kind=kind: probe.make_file_system(kind), flags | _own_users())  # type: ignore[misc]
        if errno:
            yield Finding(f"file system {kind}", f"can't be mounted: {words(errno)}", ABSENT, _mount_remedy(kind, errno))
        else:
            there.append(kind)
    yield Finding("file systems", ", ".join(there) or "none can be mounted", OK if there else ABSENT)


def _mount_remedy(kind: str, errno: int) -> str:
    if errno == _ENODEV:
        return f"load the kernel's module for it: modprobe {kind}"
    if kind in ("proc", "sysfs") and errno == _EPERM:
        return f"the host's {kind} is partly covered, as in a container: run that one with unmasked paths"
    return "run aiorun as root, or outside of the container that keeps it from it"


def _root_mount() -> Finding:
    """A container's first process makes its mounts private to it, from / on. mount_namespaces(7)."""
    errno = probe.errno_of(lambda: mount.mount(None, "/", None, mount.MS_SLAVE | mount.MS_REC), CLONE_NEWNS | _own_users())
    if errno == _EINVAL:
        remedy = "in a chroot: mount --bind DIRECTORY DIRECTORY before chroot DIRECTORY"
        return Finding("root mount", "/ is not a mount point", NEEDED, remedy)
    return Finding("root mount", "/ is a mount point")


def _keyrings() -> Iterator[Finding]:
    errno = probe.errno_of(lambda: process.join_session_keyring("aiorun-check"))
    if errno:
        yield Finding("keyrings", f"none can be made: {words(errno)}", ABSENT, "--no-new-keyring, if create fails for it")
    else:
        yield Finding("keyrings", "a container gets its own")


def _seccomp() -> Iterator[Finding]:
    actions = _first_line("/proc/sys/kernel/seccomp/actions_avail")
    if actions:
        yield Finding("seccomp", actions)
    else:
        yield Finding("seccomp", "this kernel has no filters", ABSENT, "a kernel that is built with CONFIG_SECCOMP_FILTER")


def _security_modules() -> Iterator[Finding]:
    if _first_line("/sys/module/apparmor/parameters/enabled") == "Y":
        yield Finding("AppArmor", "enabled")
    else:
        yield Finding("AppArmor", "not enabled", ABSENT, "leave process.apparmorProfile out, or start the kernel with apparmor=1")
    mode = _first_line("/sys/fs/selinux/enforce")
    if mode:
        yield Finding("SELinux", "enforcing" if mode == "1" else "permissive")
    else:
        yield Finding("SELinux", "not enabled", ABSENT, "leave process.selinuxLabel and linux.mountLabel out")


def _resctrl() -> Finding:
    if os.path.exists("/sys/fs/resctrl/schemata"):
        return Finding("resctrl", "mounted")
    remedy = "mount -t resctrl resctrl /sys/fs/resctrl, on a processor that has Intel RDT or AMD PQoS"
    return Finding("resctrl", "not mounted", ABSENT, remedy)


def _first_line(path: str) -> str:
    """Of a file in /proc or /sys; empty where there's none."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return ""
