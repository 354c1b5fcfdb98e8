"""Processes: clone, namespaces, pidfds, identity, capabilities, signals' dispositions, limits."""

from __future__ import annotations

import fcntl
import os

from aiorun.linux._call import Buffer, call, encode, libc_function
from aiorun.linux.numbers import CLONE3, MACHINE, NUMBER

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal  # the C module: signal itself brings enum

# clone(2), setns(2)
CLONE_NEWTIME, CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x80, 0x20000, 0x2000000, 0x4000000
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x8000000, 0x10000000, 0x20000000, 0x40000000
CLONE_PIDFD, CLONE_PARENT = 0x1000, 0x8000
_CLONE_INTO_CGROUP = 0x200000000
_SIGCHLD = 17
_EINVAL, _E2BIG, _ENOSYS = 22, 7, 38

_NS_GET_NSTYPE = 0xB703

# prctl(2)
_PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 4, 8, 24, 38, 47
_PR_CAP_AMBIENT_RAISE, _PR_CAP_AMBIENT_CLEAR_ALL = 2, 4
_PR_SET_CHILD_SUBREAPER = 36

_KEYCTL_JOIN_SESSION_KEYRING, _KEYCTL_SETPERM, _KEYCTL_DESCRIBE = 1, 5, 6


def clone(flags: int, *, cgroup: int = -1) -> tuple[int, int]:
    """fork with namespace flags and a pidfd: (pid, pidfd) in the parent, (0, -1) in the child. CLONE_PIDFD 5.2.

    The child is born into the v2 cgroup behind fd `cgroup` where the kernel can do that (clone3(2), CLONE_INTO_CGROUP 5.7),
    else it moves there as its first act. To be called with one thread alone. With CLONE_PARENT it is our parent's child.
    """
    pidfd = Buffer(b"\xff\xff\xff\xff")
    try:
        pid = _clone3(flags | CLONE_PIDFD, pidfd, cgroup)
    except OSError as error:
        if error.errno not in (_ENOSYS, _EINVAL, _E2BIG):  # seccomp profiles answer ENOSYS, since they can't look into the struct
            raise
        # x86-64 and aarch64 differ in the order of the last two arguments, which are 0 here: (flags, stack, parent_tid, …)
        pid = call(NUMBER["clone"], flags | CLONE_PIDFD | _SIGCHLD, 0, pidfd, 0, 0)
        if pid == 0 and cgroup >= 0:
            _move_into(cgroup)
    return (0, -1) if pid == 0 else (pid, pidfd.integer())


def _clone3(flags: int, pidfd: Buffer, cgroup: int) -> int:
    into = (_CLONE_INTO_CGROUP, cgroup) if cgroup >= 0 else (0, 0)
    # struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup
    exit_signal = 0 if flags & CLONE_PARENT else _SIGCHLD  # with CLONE_PARENT the parent's own is taken, and ours EINVAL
    words = (flags | into[0], pidfd.address, 0, 0, exit_signal, 0, 0, 0, 0, 0, into[1])
    return call(CLONE3, b"".join([word.to_bytes(8, "little") for word in words]), 8 * len(words))


def _move_into(cgroup: int) -> None:
    fd = os.open("cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=cgroup)
    os.write(fd, b"0")
    os.close(fd)


def unshare(flags: int) -> None:
    """unshare(2)."""
    call(NUMBER["unshare"], flags)


def setns(fd: int, kind: int) -> None:
    """Join the namespace behind `fd`, which must be of `kind` (CLONE_NEW*). setns(2)."""
    call(NUMBER["setns"], fd, kind)


def namespace_type(fd: int) -> int:
    """The CLONE_NEW* of the namespace behind `fd`; 0 if it is none. ioctl_ns(2), NS_GET_NSTYPE, Linux 4.11."""
    try:
        return fcntl.ioctl(fd, _NS_GET_NSTYPE)
    except OSError:
        return 0


def set_dumpable(dumpable: bool) -> None:
    """PR_SET_DUMPABLE: without it nobody but root may trace us or look into our /proc. CVE-2016-9962."""
    call(NUMBER["prctl"], _PR_SET_DUMPABLE, int(dumpable), 0, 0, 0)


def set_child_subreaper(on: bool) -> None:
    """PR_SET_CHILD_SUBREAPER: orphaned descendants become our children."""
    call(NUMBER["prctl"], _PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)


def keep_capabilities(keep: bool) -> None:
    """PR_SET_KEEPCAPS: the permitted set survives setuid."""
    call(NUMBER["prctl"], _PR_SET_KEEPCAPS, int(keep), 0, 0, 0)


def set_no_new_privileges() -> None:
    """PR_SET_NO_NEW_PRIVS."""
    call(NUMBER["prctl"], _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def drop_from_bounding_set(capability: int) -> None:
    """PR_CAPBSET_DROP. EINVAL: the kernel doesn't know the capability."""
    call(NUMBER["prctl"], _PR_CAPBSET_DROP, capability, 0, 0, 0)


def clear_ambient_set() -> None:
    """PR_CAP_AMBIENT_CLEAR_ALL."""
    call(NUMBER["prctl"], _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)


def raise_ambient(capability: int) -> None:
    """PR_CAP_AMBIENT_RAISE; it must be permitted and inheritable."""
    call(NUMBER["prctl"], _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)


def _capability_header() -> Buffer:
    return Buffer((0x20080522).to_bytes(4, "little") + bytes(4))  # _LINUX_CAPABILITY_VERSION_3, ourselves


def get_permitted_set() -> int:
    """The permitted capabilities as a bit mask. capget(2)."""
    content = Buffer(24)
    call(NUMBER["capget"], _capability_header(), content)
    return content.integer(4) & 0xFFFFFFFF | (content.integer(16) & 0xFFFFFFFF) << 32


def set_capability_sets(*, effective: int, permitted: int, inheritable: int) -> None:
    """The three sets as bit masks. capset(2)."""
    words = [mask >> shift & 0xFFFFFFFF for shift in (0, 32) for mask in (effective, permitted, inheritable)]
    content = b"".join([word.to_bytes(4, "little") for word in words])
    call(NUMBER["capset"], _capability_header(), content)


def raise_effective_set() -> None:
    """All that is permitted is in effect. capget(2), capset(2)."""
    content = Buffer(24)
    call(NUMBER["capget"], _capability_header(), content)
    words = bytes(content)  # effective, permitted, inheritable; twice
    call(NUMBER["capset"], _capability_header(), words[4:8] + words[4:12] + words[16:20] + words[16:])


def set_groups(groups: tuple[int, ...]) -> None:
    """The supplementary groups. setgroups(2)."""
    content = b"".join(group.to_bytes(4, "little") for group in groups)
    call(NUMBER["setgroups"], len(groups), content)


def set_gid(gid: int) -> None:
    """Real, effective and saved group id. setresgid(2)."""
    call(NUMBER["setresgid"], gid, gid, gid)


def set_uid(uid: int) -> None:
    """Real, effective and saved user id. setresuid(2)."""
    call(NUMBER["setresuid"], uid, uid, uid)


def set_hostname(name: str) -> None:
    """sethostname(2)."""
    encoded = encode(name)
    call(NUMBER["sethostname"], encoded, len(encoded), path=name)


def set_domainname(name: str) -> None:
    """setdomainname(2)."""
    encoded = encode(name)
    call(NUMBER["setdomainname"], encoded, len(encoded), path=name)


def set_rlimit(resource: int, soft: int, hard: int, *, pid: int = 0) -> None:
    """Both values of a limit, of another process too; 2**64-1 is no limit. prlimit(2)."""
    call(NUMBER["prlimit64"], pid, resource, soft.to_bytes(8, "little") + hard.to_bytes(8, "little"), 0)


def join_session_keyring(name: str) -> None:
    """A new session keyring `name`, which its owner may search. keyctl(2), keyrings(7)."""
    ring = call(NUMBER["keyctl"], _KEYCTL_JOIN_SESSION_KEYRING, encode(name), path=name)
    description = Buffer(512)
    call(NUMBER["keyctl"], _KEYCTL_DESCRIBE, ring, description, 512)
    permissions = int(bytes(description).split(b"\0", 1)[0].split(b";")[3], 16)
    call(NUMBER["keyctl"], _KEYCTL_SETPERM, ring, permissions | 0x80000)  # KEY_USR_SEARCH, as runc does


_LEAVE = libc_function("_exit")  # looked up before the clone, where it's cheaper
_SA_RESTORER = 0x04000000
_KERNELS_OWN = (32, 33)  # the C library hides them, and Python with it: nptl(7)


def _set_action(signal: int, handler: int, restorer: int) -> None:
    flags = _SA_RESTORER if restorer else 0
    if MACHINE == "x86_64":
        words = (handler, flags, restorer, 0)
    else:
        words = (handler, flags, 0, 0)  # aarch64 has no sa_restorer: (handler, flags, mask)
    action = b"".join([word.to_bytes(8, "little") for word in words])
    call(NUMBER["rt_sigaction"], signal, action, 0, 8)


def default_signals() -> None:
    """Every signal at its default, once another program is executed, and none blocked. rt_sigaction(2), rt_sigprocmask(2).

    execve(2) itself resets what is caught; what is ignored stays so: by our caller, or SIGPIPE and SIGXFSZ by Python.
    """
    for signal in range(1, 65):
        if signal in _KERNELS_OWN or _signal.getsignal(signal) is _signal.SIG_IGN:
            _set_action(signal, 0, 0)
    call(NUMBER["rt_sigprocmask"], 2, bytes(8), 0, 8)  # SIG_SETMASK


def exit_on(signals: tuple[int, ...]) -> None:
    """Make each of `signals` end the process at once, also PID 1 of a namespace, which the default would spare.

    The handler is libc's _exit itself: a Python handler would run between two instructions of the interpreter only,
    and never before a blocking open returns.
    """
    for signal in signals:
        _set_action(signal, _LEAVE, _LEAVE)  # x86-64 wants a restorer; nothing ever returns to it


def execve(path: str, args: tuple[str, ...], env: tuple[str, ...]) -> None:
    """Become another program. The arrays are laid out here, since os.execve takes env as a mapping. execve(2)."""
    arguments, environment = [[encode(text) + b"\0" for text in texts] for texts in (args, env)]
    strings = Buffer(b"".join(arguments + environment))
    arguments_at = strings.address
    environment_at = arguments_at + sum(map(len, arguments))
    call(NUMBER["execve"], encode(path), _array(arguments, arguments_at), _array(environment, environment_at), path=path)


def _array(strings: list[bytes], address: int) -> bytes:
    """The addresses of strings that lie one after another from `address` on, and NULL."""
    words = []
    for string in strings:
        words.append(address.to_bytes(8, "little"))
        address += len(string)
    return b"".join(words) + bytes(8)


def get_rlimit(resource: int, *, pid: int = 0) -> tuple[int, int]:
    """(soft, hard) of a limit, of another process too; 2**64-1 is no limit. prlimit(2)."""
    limits = Buffer(16)
    call(NUMBER["prlimit64"], pid, resource, 0, limits)
    content = bytes(limits)
    return int.from_bytes(content[:8], "little"), int.from_bytes(content[8:], "little")
