"""A container that is there, and one more process for it → Plan: join what its init has, become the process, execute."""

from __future__ import annotations

from aiorun.plan.namespaces import FILES, FLAGS
from aiorun.plan.process import compile_console, compile_execution, compile_identity, filter_of, join_keyring, profile_of
from aiorun.wire import ops
from aiorun.wire.plan import Plan
from aiorun.wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiorun.spec.types import Spec

_AT = "linux.namespaces"
# setns(2): the pid namespace before the clone, since only children enter it; the mount namespace after all others. A joiner tries
# those of another owner before the user namespace, and the others after it.
_BY_ITSELF = ("ipc", "uts", "network", "time", "cgroup", "mount")
_BY_JOINER = ("pid", "ipc", "uts", "network", "time", "cgroup", "user")


class ExecRequest(Record):
    """Everything that isn't in the document: the container as it runs, and what the caller asked for."""

    id: str
    pid: int  # of the container's init
    namespaces: tuple[str, ...]  # the types in which its namespace isn't ours
    cgroups: tuple[tuple[str, str, str], ...] = ()  # (directory, file, where that was said) for the process to join by itself
    rootfs: str = ""
    little_memory: bool = False  # see Request
    console: bool = False
    rows: int = 0
    columns: int = 0
    no_new_keyring: bool = False
    preserve: int = 0


def compile_exec(spec: Spec, request: ExecRequest) -> Plan:
    """The plan of `spec["process"]`, which is no longer the document's own but the one to execute. Raises InvalidSpec."""
    filter = filter_of(spec)
    return Plan(
        clone_flags=0,
        join_pid="ns:pid" if "pid" in request.namespaces and "user" not in request.namespaces else "",
        opens=tuple((f"ns:{kind}", _path(request, kind), _AT) for kind in request.namespaces),
        preserve=request.preserve,
        operations=(
            *_surroundings(spec, request),
            *_inside(spec, request, filter),
            *compile_execution(spec["process"], request.preserve, filter),
        ),
        joins=tuple(_join(request, _BY_JOINER)) if "user" in request.namespaces else (),
        filter=profile_of(spec),
    )


def _join(request: ExecRequest, kinds: tuple[str, ...]) -> Iterator[ops.JoinNamespace]:
    for kind in kinds:
        if kind in request.namespaces:
            yield ops.JoinNamespace(kind, FLAGS[kind], f"ns:{kind}", _path(request, kind), _AT)


def _path(request: ExecRequest, kind: str) -> str:
    return f"/proc/{request.pid}/ns/{FILES.get(kind, kind)}"


def _surroundings(spec: Spec, request: ExecRequest) -> Iterator[ops.Operation]:
    """As of a container's init, but the container's own instead of new ones."""
    yield from _affinity(spec, "initial")
    yield ops.NewSession()
    if request.little_memory:
        yield ops.CopyPages()
    for directory, file, at in request.cgroups:
        yield ops.JoinCgroup(directory, file, at)
    yield from _affinity(spec, "final")
    has_users = "user" in request.namespaces
    if has_users:
        yield ops.BecomeRoot(_AT)
    if not request.no_new_keyring:
        yield from join_keyring(spec["process"], request.id)
    yield from _join(request, ("mount",) if has_users else _BY_ITSELF)


def _inside(spec: Spec, request: ExecRequest, filter: ops.LoadSeccomp | None) -> Iterator[ops.Operation]:
    process = spec["process"]
    if "mount" in request.namespaces:
        yield ops.OpenRoot("/", bind=False)  # setns(2): the root is that of the namespace from here on
    else:
        yield ops.OpenRoot(request.rootfs, bind=False)
        yield ops.ChangeRoot()
    if request.console:
        yield compile_console(process, rows=request.rows, columns=request.columns, mount=False)
    yield ops.SetUmask(process.get("user", {}).get("umask", 0o022))
    linux = spec.get("linux", {})
    if linux.get("personality") or linux.get("memoryPolicy"):
        from aiorun.plan.scheduling import compile_domain

        yield from compile_domain(linux)
    yield from compile_identity(process, filter)
    yield ops.Report()


def _affinity(spec: Spec, when: str) -> Iterator[ops.Operation]:
    if spec["process"].get("execCPUAffinity"):
        from aiorun.plan.scheduling import compile_affinity

        yield from compile_affinity(spec["process"], when)
