"""linux.namespaces, and the names and sysctls that need one of their own."""

from __future__ import annotations

from aiorun.errors import InvalidSpec
from aiorun.wire import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiorun.spec.types import Spec

# clone(2)
FLAGS = {
    "mount": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000,
    "user": 0x10000000, "pid": 0x20000000, "network": 0x40000000, "time": 0x80,
}  # fmt: skip

_IPC_SYSCTLS = frozenset({
    "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni",
    "kernel.shm_rmid_forced",
})  # fmt: skip


class Namespaces:
    """The namespaces of a Spec: which are new, and which are joined by path."""

    def __init__(self, spec: Spec) -> None:
        self.new: set[str] = set()
        self.joined: dict[str, tuple[str, str]] = {}  # type → (path, JSON path)
        for index, namespace in enumerate(spec.get("linux", {}).get("namespaces") or []):
            path = namespace.get("path", "")
            if path:
                self.joined[namespace["type"]] = path, f"linux.namespaces[{index}].path"
            else:
                self.new.add(namespace["type"])

    def private(self, kind: str) -> bool:
        """Whether the container has its own, or shares another's, but not the host's."""
        return kind in self.new or kind in self.joined

    @property
    def clone_flags(self) -> int:
        """The cgroup namespace is made later, once the init is in its cgroup."""
        return sum(FLAGS[kind] for kind in self.new if kind != "cgroup")

    @property
    def opens(self) -> tuple[tuple[str, str, str], ...]:
        return tuple((f"ns:{kind}", path, at) for kind, (path, at) in self.joined.items())

    def join(self) -> Iterator[ops.Operation]:
        """The pid namespace is joined before the clone, since only children enter it; the mount namespace last."""
        for kind in ("ipc", "uts", "network", "cgroup", "mount"):
            if kind in self.joined:
                path, at = self.joined[kind]
                yield ops.JoinNamespace(kind, FLAGS[kind], f"ns:{kind}", path, at)
        if "cgroup" in self.new:
            yield ops.UnshareCgroup()
        if "network" in self.new:
            yield ops.LoopbackUp()


def compile_names(spec: Spec, namespaces: Namespaces) -> Iterator[ops.Operation]:
    """hostname, domainname, linux.sysctl."""
    for member, make in (("hostname", ops.SetHostname), ("domainname", ops.SetDomainname)):
        name = spec.get(member)
        if name:
            if not namespaces.private("uts"):
                raise InvalidSpec(member, f"unable to set {member} without a private UTS namespace")
            yield make(str(name))
    for key, value in (spec.get("linux", {}).get("sysctl") or {}).items():
        _check_sysctl(key, namespaces)
        yield ops.WriteSysctl(_sysctl_path(key), value, f"linux.sysctl.{key}")


def _sysctl_path(key: str) -> str:
    """sysctl.d(5): the first separator says which of `.` and `/` separates; the other one is then part of a name."""
    dot, slash = key.find("."), key.find("/")
    if slash == -1 or -1 < dot < slash:
        return key.translate({ord("."): "/", ord("/"): "."})
    return key


def _check_sysctl(key: str, namespaces: Namespaces) -> None:
    """Only what a namespace of the container's own holds: the others are the host's."""
    at = f"linux.sysctl.{key}"
    if not {"", ".", ".."}.isdisjoint(_sysctl_path(key).split("/")):  # "net/../kernel/core_pattern" is the host's
        raise InvalidSpec(at, f'sysctl "{key}" is not a name')
    name = _sysctl_path(key).replace("/", ".")
    if name in _IPC_SYSCTLS or name.startswith("fs.mqueue."):
        needed = "ipc"
    elif name.startswith("net."):
        needed = "network"
    elif name == "kernel.domainname":
        needed = "uts"
    elif name == "kernel.hostname":
        raise InvalidSpec(at, f'sysctl "{key}" is not allowed as it conflicts with the OCI "hostname" field')
    else:
        raise InvalidSpec(at, f'sysctl "{key}" is not in a separate kernel namespace')
    if not namespaces.private(needed):
        raise InvalidSpec(at, f'sysctl "{key}" is not allowed in the hosts {needed} namespace')
