"""linux.namespaces, and the names and sysctls that need one of their own."""

from __future__ import annotations

from aiorun.errors import InvalidSpec
from aiorun.wire import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiorun.spec.types import IdMapping, Linux, Spec, TimeOffset
    from aiorun.wire.plan import Plan

# clone(2)
FLAGS = {
    "mount": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000,
    "user": 0x10000000, "pid": 0x20000000, "network": 0x40000000, "time": 0x80,
}  # fmt: skip

# Below /proc/PID/ns, where that isn't the type. namespaces(7)
FILES = {"mount": "mnt", "network": "net"}

_IPC_SYSCTLS = frozenset({
    "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni",
    "kernel.shm_rmid_forced",
})  # fmt: skip


def root_outside(plan: Plan, uid: int, gid: int) -> tuple[int, int]:
    """User and group that a container's root is outside; of a caller `uid` that isn't root, who can give it nothing, his own."""
    if not plan.uid_map or uid != 0:
        return uid, gid
    return outside(plan.uid_map, 0, uid), outside(plan.gid_map, 0, gid)


def outside(maps: tuple[tuple[int, int, int], ...], id: int, default: int) -> int:
    """What the id `id` of a user namespace with these maps is outside; `default` where it's nothing. user_namespaces(7)."""
    for first_inside, first_outside, count in maps:
        if first_inside <= id < first_inside + count:
            return first_outside + id - first_inside
    return default


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
        self._linux = spec.get("linux", {})
        _check_maps(self._linux, self)
        _check_offsets(self._linux, self)

    def private(self, kind: str) -> bool:
        """Whether the container has its own, or shares another's, but not the host's."""
        return kind in self.new or kind in self.joined

    @property
    def clone_flags(self) -> int:
        """Some are made later: that of cgroups once the init is in its own, that of time together with its clocks, that of IPC by
        the user namespace's root, where there is one."""
        later = {"cgroup", "time", "ipc" if self.has_users else ""}
        return sum(FLAGS[kind] for kind in self.new - later)

    @property
    def has_users(self) -> bool:
        """Whether the init is in another user namespace than its parent."""
        return self.private("user")

    def map(self, member: str) -> tuple[tuple[int, int, int], ...]:
        """What is to be written to a new user namespace's uid_map or gid_map."""
        if "user" not in self.new:
            return ()
        maps: list[IdMapping] = self._linux.get(member) or []  # type: ignore[assignment]  # a TypedDict wants its keys spelt out
        return tuple((entry["containerID"], entry["hostID"], entry["size"]) for entry in maps)

    @property
    def needs_joiner(self) -> bool:
        """Whether namespaces have to be joined before the clone: those that are then made belong to the user namespace that is
        joined, and in a new one there's no right any more to join those of another."""
        return "user" in self.joined or ("user" in self.new and bool(self.joined.keys() - {"mount"}))

    def joins(self) -> tuple[ops.JoinNamespace, ...]:
        """What a joiner joins, in the order of SPEC: those of another owner before the user namespace, the others after it, which
        shows when it's tried. The mount namespace is the init's affair: until then it needs the host's paths."""
        if not self.needs_joiner:
            return ()
        return tuple(
            self._join(kind) for kind in ("pid", "ipc", "uts", "network", "time", "cgroup", "user") if kind in self.joined
        )

    def _join(self, kind: str) -> ops.JoinNamespace:
        path, at = self.joined[kind]
        return ops.JoinNamespace(kind, FLAGS[kind], f"ns:{kind}", path, at)

    @property
    def opens(self) -> tuple[tuple[str, str, str], ...]:
        return tuple((f"ns:{kind}", path, at) for kind, (path, at) in self.joined.items())

    def join(self) -> Iterator[ops.Operation]:
        """The pid namespace is joined before the clone, since only children enter it; the mount namespace last."""
        for kind in ("mount",) if self.needs_joiner else ("ipc", "uts", "network", "cgroup", "time", "mount"):
            if kind in self.joined:
                yield self._join(kind)
        if "cgroup" in self.new:
            yield ops.UnshareCgroup()
        if "network" in self.new:
            yield ops.LoopbackUp()

    def enter(self) -> Iterator[ops.Operation]:
        """What has to be done while we still are the caller's user, and the step into the user namespace."""
        if "time" in self.new:
            yield ops.MakeTimeNamespace(self._offsets, "linux.timeOffsets")
        if self.has_users:
            yield ops.BecomeRoot("linux.namespaces")
            if "ipc" in self.new:
                yield ops.UnshareIpc()

    @property
    def _offsets(self) -> tuple[tuple[str, int, int], ...]:
        offsets: dict[str, TimeOffset] = self._linux.get("timeOffsets") or {}  # type: ignore[assignment]
        return tuple(
            (clock, offsets[clock].get("secs", 0), offsets[clock].get("nanosecs", 0))
            for clock in ("monotonic", "boottime")
            if clock in offsets
        )


def _check_maps(linux: Linux, namespaces: Namespaces) -> None:
    """In runc's words."""
    for member, ids in (("uidMappings", "uid"), ("gidMappings", "gid")):
        if "user" in namespaces.new and not linux.get(member):
            raise InvalidSpec(f"linux.{member}", f"user namespaces enabled, but no {ids} mappings found")
        if linux.get(member) and not namespaces.private("user"):
            raise InvalidSpec(
                f"linux.{member}", "user namespace mappings specified, but user namespace isn't enabled in the config"
            )


def _check_offsets(linux: Linux, namespaces: Namespaces) -> None:
    if not linux.get("timeOffsets") or "time" in namespaces.new:
        return
    if "time" in namespaces.joined:
        why = "time namespace enabled, but both namespace path and time offsets specified -- you may only provide one"
    else:
        why = "time namespace offsets specified, but time namespace isn't enabled in the config"
    raise InvalidSpec("linux.timeOffsets", why)


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
