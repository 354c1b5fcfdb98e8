"""Spec → Plan: pure, so that the whole translation is tested without root. No system call is made here."""

from __future__ import annotations

from aiorun.errors import InvalidSpec
from aiorun.plan.devices import compile_devices
from aiorun.plan.host import Hierarchy, Request
from aiorun.plan.mounts import (
    absolute,
    clean,
    compile_mounts,
    compile_protections,
    final_propagation,
    initial_propagation,
    is_shared,
    seal_mounts,
)
from aiorun.plan.namespaces import Namespaces, compile_names
from aiorun.plan.process import (
    compile_console,
    compile_execution,
    compile_identity,
    environment,
    filter_of,
    join_keyring,
    profile_of,
)
from aiorun.wire import ops
from aiorun.wire.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiorun.spec.types import Hook, Spec
    from aiorun.wire.plan import MappedTree

__all__ = ["Hierarchy", "Plan", "Request", "compile_plan", "hook_state", "rootfs"]


def compile_plan(spec: Spec, request: Request) -> Plan:
    """The plan of a container's init, as far as the user's program. Raises InvalidSpec for what doesn't fit together."""
    namespaces = Namespaces(spec)
    file_system = tuple(_file_system(spec, request, namespaces))
    filter = filter_of(spec)
    return Plan(
        clone_flags=namespaces.clone_flags,
        join_pid="ns:pid" if "pid" in namespaces.joined and not namespaces.needs_joiner else "",
        opens=namespaces.opens,
        preserve=request.preserve,
        operations=(
            *_surroundings(spec, request, namespaces),
            *file_system,
            *_inside(spec, request, namespaces, filter),
            *compile_execution(spec["process"], request.preserve, filter),
        ),
        uid_map=namespaces.map("uidMappings"),
        gid_map=namespaces.map("gidMappings"),
        joins=namespaces.joins(),
        trees=_trees(spec, namespaces, file_system),
        filter=profile_of(spec),
        sources=tuple(_sources(namespaces, file_system)),
    )


def _sources(namespaces: Namespaces, file_system: tuple[ops.Operation, ...]) -> Iterator[str]:
    """What the root of a user namespace needs of the host's files, and may not be able to reach."""
    if namespaces.has_users and "mount" in namespaces.new:
        for step in file_system:
            if isinstance(step, ops.OpenRoot) or (isinstance(step, ops.Bind) and not step.tree):
                yield step.source


def _trees(spec: Spec, namespaces: Namespaces, file_system: tuple[ops.Operation, ...]) -> tuple[MappedTree, ...]:
    binds = [step for step in file_system if isinstance(step, ops.Bind) and step.tree]
    if not binds:
        return ()
    from aiorun.plan.idmap import compile_trees

    return tuple(compile_trees(spec, namespaces, binds))


def rootfs(spec: Spec, bundle: str) -> str:
    """root.path as an absolute path, without dots."""
    return clean(absolute(spec.get("root", {"path": ""})["path"], bundle))


def _surroundings(spec: Spec, request: Request, namespaces: Namespaces) -> Iterator[ops.Operation]:
    net_devices = spec.get("linux", {}).get("netDevices")
    yield ops.NewSession()
    if request.little_memory:
        yield ops.CopyPages()
    yield from join_cgroups(request)
    yield from namespaces.enter()
    if not request.no_new_keyring:
        yield from join_keyring(spec["process"], request.id)
    yield from namespaces.join()
    if net_devices:
        from aiorun.plan.net_devices import compile_net_devices

        yield from compile_net_devices(net_devices, request, namespaces)


def join_cgroups(request: Request) -> Iterator[ops.Operation]:
    """Those that the init isn't born into."""
    for hierarchy in request.hierarchies:
        if hierarchy.joined:
            yield ops.JoinCgroup(hierarchy.source)
    if request.little_memory and request.unified:
        yield ops.JoinCgroup(request.unified, "cgroup.procs")


def _file_system(spec: Spec, request: Request, namespaces: Namespaces) -> Iterator[ops.Operation]:
    """Everything before the pivot: here the host's paths and procfs are still in reach."""
    linux = spec.get("linux", {})
    private = namespaces.private("mount")
    if private:
        yield ops.SetPropagation(initial_propagation(linux))
    else:
        _refuse_mounts(spec)
    yield ops.OpenRoot(rootfs(spec, request.bundle), private, private and is_shared(linux))
    if private:
        yield from compile_mounts(spec, request)
    yield from compile_devices(spec)
    yield ops.MakeDirectory(spec["process"]["cwd"], "process.cwd")
    if _has_hooks(spec, "prestart", "createRuntime"):
        yield ops.AskForHooks()
    yield from _hooks(spec, request, "createContainer")
    if not private:
        yield ops.ChangeRoot()
    else:
        yield ops.MoveRoot() if request.no_pivot else ops.PivotRoot()


def _inside(spec: Spec, request: Request, namespaces: Namespaces, filter: ops.LoadSeccomp | None) -> Iterator[ops.Operation]:
    """Everything after the pivot, up to the program's start."""
    linux, process = spec.get("linux", {}), spec["process"]
    private = namespaces.private("mount")
    if request.console:
        yield compile_console(process, rows=request.rows, columns=request.columns, mount=private)
    if private:
        yield from seal_mounts(spec)
        if spec.get("root", {}).get("readonly"):
            yield ops.SealMount("/", "root.readonly")
    yield ops.SetUmask(process.get("user", {}).get("umask", 0o022))
    yield from compile_names(spec, namespaces)
    yield from compile_protections(linux)
    if private:
        yield from final_propagation(linux)  # after the protections: what is unbindable can't be bound on itself
    if linux.get("personality") or linux.get("memoryPolicy"):
        from aiorun.plan.scheduling import compile_domain

        yield from compile_domain(linux)
    yield from compile_identity(process, filter)
    yield ops.Report()
    yield ops.AwaitStart("fifo")
    yield from _hooks(spec, request, "startContainer")


def _refuse_mounts(spec: Spec) -> None:
    linux = spec.get("linux", {})
    for at, value in (
        ("mounts", spec.get("mounts")),
        ("linux.maskedPaths", linux.get("maskedPaths")),
        ("linux.readonlyPaths", linux.get("readonlyPaths")),
        ("linux.rootfsPropagation", linux.get("rootfsPropagation")),
        ("root.readonly", spec.get("root", {}).get("readonly")),
    ):
        if value:
            raise InvalidSpec(at, "not possible without a private mount namespace")


def _has_hooks(spec: Spec, *kinds: str) -> bool:
    hooks = spec.get("hooks") or {}
    return any(hooks.get(kind) for kind in kinds)


def _hooks(spec: Spec, request: Request, kind: str) -> Iterator[ops.Operation]:
    """Those that the init runs. One without an env gets the program's, as in runc; the caller's is not for it to see."""
    status = "created" if kind == "startContainer" else "creating"
    hooks: dict[str, list[Hook]] = {**(spec.get("hooks") or {})}  # type: ignore[dict-item]
    for index, hook in enumerate(hooks.get(kind) or []):
        env = hook.get("env")
        yield ops.RunHook(
            kind=kind,
            index=index,
            path=hook["path"],
            args=tuple(hook.get("args") or (hook["path"],)),
            env=environment(spec["process"]) if env is None else tuple(env),
            timeout=hook.get("timeout") or 0,
            state=hook_state(spec, request.id, request.bundle, status),
        )


def hook_state(spec: Spec, id: str, bundle: str, status: str) -> dict[str, object]:
    """The state that a hook reads, without the pid, which depends on who looks. runtime.md, "State"."""
    state: dict[str, object] = {"ociVersion": spec["ociVersion"], "id": id, "status": status, "bundle": bundle}
    if spec.get("annotations"):
        state["annotations"] = spec["annotations"]
    return state
