"""What is installed and set up on the host: the interpreter, cgroups, helpers, systemd, a terminal."""

from __future__ import annotations

import os

from aiorun import cgroups
from aiorun.cgroups import files
from aiorun.cgroups.layout import UNIFIED
from aiorun.errors import AiorunError, reason
from aiorun.launch.sealed import describe
from aiorun.runtime.check.finding import ABSENT, NEEDED, OK, Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_EACCES = 13
_SECONDS = 10.0
# BPF_PROG_TYPE_CGROUP_DEVICE: r0 = 1; exit
_ALLOW_ALL = bytes.fromhex("b7000000010000009500000000000000")


def look(root: str, *, libseccomp: str) -> Iterator[Finding]:
    yield _user()
    yield _interpreter()
    yield _root_directory(root)
    yield from _cgroups()
    yield _libseccomp(libseccomp)
    yield from _id_helpers()
    yield _systemd()
    yield _criu()
    yield _program("ps", "what aiorun ps prints comes from it", "procps")
    yield _terminal()


def _user() -> Finding:
    uid = os.geteuid()
    if uid == 0:
        return Finding("user", "root")
    return Finding("user", f"user {uid}: containers have a user namespace")


def _interpreter() -> Finding:
    try:
        return Finding("interpreter", f"containers' first processes run from {describe()}")
    except AiorunError as error:
        remedy = "make /run writable for root, or /tmp executable, or allow executable memfds (sysctl vm.memfd_noexec=0)"
        return Finding("interpreter", str(error), NEEDED, remedy)


def _root_directory(root: str) -> Finding:
    try:
        if os.path.isdir(root):
            if not os.access(root, os.W_OK | os.X_OK):
                raise PermissionError(_EACCES, os.strerror(_EACCES))
        else:
            _try_to_make(root)
    except OSError as error:
        return Finding("root directory", f'"{root}": {reason(error)}', NEEDED, "name another one with --root")
    return Finding("root directory", root)


def _try_to_make(directory: str) -> None:
    """Make a directory where the first missing one would be, and remove it. Raises OSError."""
    there = os.path.dirname(directory)
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    trial = f"{there}/.aiorun-check-{os.urandom(6).hex()}"
    os.mkdir(trial, 0o700)
    os.rmdir(trial)


# --- cgroups


def _cgroups() -> Iterator[Finding]:
    try:
        host = cgroups.layout()
    except AiorunError as error:
        remedy = "mount -t cgroup2 cgroup2 /sys/fs/cgroup, or let systemd do it"
        yield Finding("cgroups", str(error), NEEDED, remedy)
        return
    controllers = set(_controllers(host))
    yield Finding("cgroups", f"{_version(host)}: {', '.join(sorted(controllers)) or 'no controller'}")
    for name in sorted(_names(host) - controllers):
        yield Finding(f"cgroup {name}", "there is no such controller", ABSENT, _controller_remedy(host, name))
    closed = _closed(host)
    if closed:
        remedy = "as root, or with a cgroup that systemd delegates to the user (Delegate=yes)"
        yield Finding("cgroup rights", f'no cgroup can be made in "{closed}"', ABSENT, remedy)


def _version(host: cgroups.Layout) -> str:
    return "v2" if host.version == cgroups.V2 else "v1 with v2 beside it" if UNIFIED in host.hierarchies else "v1"


def _names(host: cgroups.Layout) -> set[str]:
    """What a config.json may ask for, as this version calls it."""
    common = {"memory", "cpu", "cpuset", "pids", "hugetlb", "rdma", "devices"}
    return common | ({"io"} if host.version == cgroups.V2 else {"blkio", "freezer", "net_cls", "net_prio"})


def _controllers(host: cgroups.Layout) -> Iterator[str]:
    if host.version == cgroups.V1:
        yield from (name for name in host.hierarchies if name and "=" not in name)
        return
    yield from files.read_or(f"{host.hierarchies[UNIFIED].mount_point}/cgroup.controllers", "").split()
    from aiorun.linux.bpf import load_device_program

    try:
        os.close(load_device_program(_ALLOW_ALL))
        yield "devices"
    except OSError:
        pass


def _controller_remedy(host: cgroups.Layout, name: str) -> str:
    if host.version == cgroups.V2 and name == "devices":
        return "run aiorun as root on a kernel with CONFIG_CGROUP_BPF"
    if name not in [line.split("\t")[0] for line in files.read_or("/proc/cgroups", "").splitlines()]:
        return "a kernel that is built with it"
    if host.version == cgroups.V2:
        return "start the kernel without cgroup_disable and cgroup_no_v1 for it, and don't mount it as cgroup v1"
    return f"mkdir -p /sys/fs/cgroup/{name} && mount -t cgroup -o {name} {name} /sys/fs/cgroup/{name}"


def _closed(host: cgroups.Layout) -> str:
    """A directory in which a container's cgroup would have to be made, and can't be; empty if there's none."""
    for path in cgroups.locate(host, None, "check").paths.values():
        if not os.access(os.path.dirname(path), os.W_OK):
            return os.path.dirname(path)
    return ""


# --- what is installed


def _libseccomp(version: str) -> Finding:
    if version:
        return Finding("libseccomp", version)
    return Finding("libseccomp", "not installed", ABSENT, "apt-get install libseccomp2 (dnf install libseccomp)")


def _id_helpers() -> Iterator[Finding]:
    for name in ("newuidmap", "newgidmap"):
        yield _program(name, "needed where a user other than root maps more ids than his own", "uidmap")
    if os.geteuid() == 0:
        return
    import pwd

    user = pwd.getpwuid(os.geteuid()).pw_name
    for path in ("/etc/subuid", "/etc/subgid"):
        if not any(line.split(":")[0] in (user, str(os.geteuid())) for line in files.read_or(path, "").splitlines()):
            remedy = f"as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
            yield Finding(path, f"gives {user} no ids: a container has {user} alone", ABSENT, remedy)


def _program(name: str, what_for: str, package: str) -> Finding:
    path = _find(name)
    if path:
        return Finding(name, path)
    return Finding(name, f"not installed; {what_for}", ABSENT, f"apt-get install {package}")


def _find(name: str) -> str:
    for directory in os.environ.get("PATH", _PATH).split(":") + _PATH.split(":"):
        path = f"{directory}/{name}"
        if path.startswith("/") and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return ""


def _systemd() -> Finding:
    from aiorun.cgroups.systemd.bus import check_running, connect
    from aiorun.waiter import PollWaiter, drive

    try:
        check_running()
        drive(connect(PollWaiter(), user=os.geteuid() != 0)).close()
    except AiorunError as error:
        return Finding("systemd", str(error), ABSENT, "do without --systemd-cgroup: aiorun makes the cgroups itself")
    return Finding("systemd", "answers")


def _criu() -> Finding:
    path = _find("criu")
    if not path:
        return Finding("criu", "not installed; checkpoint and restore need it", ABSENT, "apt-get install criu")
    from aiorun.linux.program import run_program
    from aiorun.waiter import PollWaiter, drive

    try:
        ending = drive(run_program(PollWaiter(), path, (path, "check"), (f"PATH={_PATH}",), stdin=b"", timeout=_SECONDS))
    except OSError as error:
        return Finding("criu", f"{path}: {reason(error)}", ABSENT, "see that it can be executed")
    if not ending.status:
        return Finding("criu", path)
    said = ending.errors.decode("utf-8", "replace").strip().splitlines()
    return Finding("criu", f"{path} can't be used here: {said[0] if said else 'it says nothing'}", ABSENT, "see criu check")


def _terminal() -> Finding:
    for fd in (2, 1, 0):
        if os.isatty(fd):
            return Finding("terminal", "aiorun has one")
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        remedy = 'a config.json with "terminal": true needs recvtty or an engine at --console-socket'
        return Finding("terminal", "aiorun has none here", ABSENT, remedy)
    return Finding("terminal", "/dev/tty", OK)
