"""config.json's file system → operations: the root, mounts[], what is masked and what is read-only."""

from __future__ import annotations

from aiorun.errors import InvalidSpec
from aiorun.plan.namespaces import outside
from aiorun.plan.options import ATIME, MS_BIND, NODEV, NODIRATIME, NOEXEC, NOSUID, PROPAGATION, RDONLY, Options
from aiorun.wire import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiorun.plan.host import Request
    from aiorun.spec.types import Linux, Mount, Spec

_MS_REC, _MS_SLAVE, _MS_SHARED, _MS_PRIVATE, _MS_UNBINDABLE = 16384, 1 << 19, 1 << 20, 1 << 18, 1 << 17

_UNLABELLED = ("proc", "sysfs", "mqueue")  # whose files SELinux labels by its own rules; with a context they can't be mounted


def absolute(path: str, base: str) -> str:
    """`path`, which is relative to `base` unless absolute."""
    return path if path.startswith("/") else f"{base.rstrip('/')}/{path}"


def clean(path: str) -> str:
    """A destination without `.`, `..` and doubled slashes, always absolute: for comparing, the kernel resolves it anew."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def initial_propagation(linux: Linux) -> int:
    """That of the whole tree while the container is built: as asked for, so that shared volumes reach the host, else slave."""
    asked = PROPAGATION.get(linux.get("rootfsPropagation") or "rslave", 0)
    if asked & _MS_UNBINDABLE:
        asked = _MS_PRIVATE  # nothing could be bound any more; it becomes unbindable at the end
    return asked | _MS_REC


def is_shared(linux: Linux) -> bool:
    """Whether the tree stays shared with the host while the container is built."""
    return bool(initial_propagation(linux) & _MS_SHARED)


def final_propagation(linux: Linux) -> Iterator[ops.Operation]:
    asked = linux.get("rootfsPropagation")
    if asked:
        if asked not in PROPAGATION:
            raise InvalidSpec("linux.rootfsPropagation", f'unknown propagation "{asked}"')
        yield ops.SetPropagation(PROPAGATION[asked], "linux.rootfsPropagation")


def compile_mounts(spec: Spec, request: Request) -> Iterator[ops.Operation]:
    """mounts[], in the order given; a read-only tmpfs is sealed only by `seal_mounts`, so that the later ones find room in it."""
    for index, mount in enumerate(spec.get("mounts") or []):
        yield from _compile_mount(mount, f"mounts[{index}]", spec, request)


def _compile_mount(mount: Mount, at: str, spec: Spec, request: Request) -> Iterator[ops.Operation]:
    kind = mount.get("type", "")
    options = Options(mount.get("options") or [], at, kind=kind)
    target = clean(mount["destination"])
    propagation = tuple(options.propagation)
    maps_ids = bool(options.map_ids or mount.get("uidMappings") or mount.get("gidMappings"))
    if maps_ids and (not options.bind or options.remount):
        raise InvalidSpec(at, "id-mapped mounts are only supported for bind mounts")
    if options.remount:
        flags = options.flags | (MS_BIND if options.bind else 0)
        yield ops.Remount(target, at, flags, options.text, options.set_all, options.clear_all, propagation)
    elif target == "/":
        raise InvalidSpec(f"{at}.destination", "must not be the root directory: that is root.path")
    elif options.bind:
        source = absolute(mount.get("source", ""), request.bundle)
        yield ops.Bind(
            source, target, at, options.recursive, options.set, options.clear, options.set_all, options.clear_all, propagation,
            no_symlinks=target in ("/proc", "/sys"), tree=at if maps_ids else "",
        )  # fmt: skip
    elif kind == "cgroup":
        yield from _compile_cgroup(target, at, options, spec, request)
    elif target == "/proc" and kind != "proc":
        raise InvalidSpec(at, '"/proc" cannot be covered by something that is not proc')
    else:
        sealed_later = _is_sealed_later(kind, target)
        parameters = tuple(item for item in options.parameters if not (sealed_later and item == ("ro", None)))
        attributes = options.set & ~RDONLY if sealed_later else options.set
        parameters += _context(spec) if kind not in _UNLABELLED else ()
        operation = ops.CopyUp if options.copy_up else ops.Mount
        yield operation(
            kind, mount.get("source", ""), target, at, parameters, attributes, options.clear, options.set_all, options.clear_all,
            propagation, no_symlinks=kind in ("proc", "sysfs"),
        )  # fmt: skip


def _context(spec: Spec) -> tuple[tuple[str, str | None], ...]:
    """linux.mountLabel as SELinux has it in a file system's options. mount(8), "context"."""
    label = spec.get("linux", {}).get("mountLabel")
    return (("context", label),) if label else ()


def _is_sealed_later(kind: str, target: str) -> bool:
    return kind == "tmpfs" or target == "/dev"


def seal_mounts(spec: Spec) -> Iterator[ops.Operation]:
    """Every read-only tmpfs, and /dev: all that was to be made in them is made. What a later mount covers has no name."""
    covers: list[str] = []
    operations = []
    mounts = spec.get("mounts") or []
    for index, mount in reversed(list(enumerate(mounts))):
        kind, target = mount.get("type", ""), clean(mount["destination"])
        options = Options(mount.get("options") or [], f"mounts[{index}]", kind=kind)
        if options.remount:
            continue
        covered = any(f"{target}/".startswith(f"{place}/") for place in covers)
        if options.set & RDONLY and _is_sealed_later(kind, target) and not options.bind and not covered:
            operations.append(ops.SealMount(target, f"mounts[{index}]"))
        covers.append(target)
    yield from reversed(operations)


def _compile_cgroup(target: str, at: str, options: Options, spec: Spec, request: Request) -> Iterator[ops.Operation]:
    """v2: the one file system. v1: a tmpfs with each hierarchy below it. In both only the container's own part is shown."""
    own_namespace = any(n["type"] == "cgroup" for n in spec.get("linux", {}).get("namespaces") or [])
    set_ = options.set | NOSUID | NODEV | NOEXEC
    propagation = tuple(options.propagation)
    if request.unified or request.outside:
        if own_namespace:
            yield ops.Mount("cgroup2", "cgroup", target, at, (), options.set, options.clear, propagation=propagation)
        elif request.outside:
            yield ops.Mask(target, at)  # CVE-2023-25809: what a bound /sys shows there may be the caller's to write
        else:
            yield ops.Bind(request.unified, target, at, False, options.set, options.clear, propagation=propagation)
        return
    yield ops.Mount("tmpfs", "tmpfs", target, at, (("mode", "755"), *_context(spec)), set_ & ~RDONLY, propagation=propagation)
    for hierarchy in request.hierarchies:
        place = f"{target.rstrip('/')}/{hierarchy.name}"
        if own_namespace:
            key, equals, value = hierarchy.options.partition("=")
            parameters: tuple[tuple[str, str | None], ...] = tuple((name, None) for name in hierarchy.options.split(","))
            if equals:
                parameters = (("none", None), (key, value))
            yield ops.Mount("cgroup", "cgroup", place, at, parameters, set_, propagation=propagation)
        else:
            readonly = 0 if hierarchy.joined else RDONLY
            yield ops.Bind(
                hierarchy.source, place, at, False, set_ | readonly, options.clear & (ATIME | NODIRATIME), propagation=propagation
            )
        for name in hierarchy.name.split(",") if "," in hierarchy.name else ():
            yield ops.MakeSymlink(hierarchy.name, f"{target.rstrip('/')}/{name}")
    if options.set & RDONLY:
        yield ops.SealMount(target, at)


def cgroup_owner(spec: Spec, uid_map: tuple[tuple[int, int, int], ...]) -> int:
    """Whose the container's v2 cgroup has to be outside, so that its user can make cgroups below; -1: nobody's.

    config-linux.md, "Cgroup ownership": of a container that may write to the cgroup mount of its own cgroup namespace.
    """
    namespaces = {entry["type"]: entry.get("path", "") for entry in spec.get("linux", {}).get("namespaces") or []}
    if namespaces.get("cgroup") != "" or namespaces.get("user"):  # of a namespace that is joined nobody knows the map
        return -1
    uid = spec["process"].get("user", {}).get("uid", 0)
    for index, mount in enumerate(spec.get("mounts") or []):
        if mount.get("type") == "cgroup" and clean(mount["destination"]) == "/sys/fs/cgroup":
            options = Options(mount.get("options") or [], f"mounts[{index}]", kind="cgroup")
            if not options.set & RDONLY:
                return outside(uid_map, uid, -1) if uid_map else uid
    return -1


def compile_protections(linux: Linux) -> Iterator[ops.Operation]:
    """readonlyPaths and maskedPaths, after the sysctls: /proc/sys is one of them."""
    for index, path in enumerate(linux.get("readonlyPaths") or []):
        yield ops.MakeReadonly(path, f"linux.readonlyPaths[{index}]")
    for index, path in enumerate(linux.get("maskedPaths") or []):
        yield ops.Mask(path, f"linux.maskedPaths[{index}]", linux.get("mountLabel", ""))
