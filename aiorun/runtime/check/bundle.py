"""What a bundle asks for: which of the host's findings it needs, and what of its own isn't there."""

from __future__ import annotations

import os

from aiorun import cgroups
from aiorun.errors import AiorunError, InvalidSpec, reason
from aiorun.plan import rootfs
from aiorun.plan.mounts import absolute
from aiorun.plan.options import Options
from aiorun.runtime.capabilities import left_out
from aiorun.runtime.check.finding import ABSENT, NEEDED, Finding
from aiorun.runtime.check.program import look_for_program
from aiorun.runtime.compile import compile_for
from aiorun.runtime.create import Options as CreateOptions
from aiorun.spec import read, require_process, require_root
from aiorun.waiter import PollWaiter, drive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiorun.spec.types import Spec

# member of linux.resources → the controller, in v1's words
_CONTROLLERS = {
    "memory": "memory", "pids": "pids", "hugepageLimits": "hugetlb", "rdma": "rdma", "blockIO": "blkio", "devices": "devices",
}  # fmt: skip
_SPECIAL = {"cpu": {"cpus": "cpuset", "mems": "cpuset"}, "network": {"classID": "net_cls", "priorities": "net_prio"}}
_V2 = {"blkio": "io"}

# a property → what of the host it needs
_PROPERTIES = {
    ("linux", "seccomp"): ("seccomp", "libseccomp"),
    ("linux", "intelRdt"): ("resctrl",),
    ("linux", "mountLabel"): ("SELinux",),
    ("process", "selinuxLabel"): ("SELinux",),
    ("process", "apparmorProfile"): ("AppArmor",),
}


def look(bundle: str, *, systemd_cgroup: bool = False) -> tuple[list[Finding], dict[str, tuple[str, ...]]]:
    """What is wrong with the bundle, and what it needs: names of the host's findings with the JSON paths that ask for them."""
    try:
        spec = read(bundle)
        require_process(spec)
        require_root(spec)
    except InvalidSpec as fault:
        return [Finding("config.json", str(fault), NEEDED, "correct it", (fault.path,))], {}
    except AiorunError as fault:
        return [Finding("config.json", str(fault), NEEDED, "aiorun spec writes one to begin with")], {}
    driver: dict[str, tuple[str, ...]] = {"systemd": ("--systemd-cgroup",)} if systemd_cgroup else {}
    options = CreateOptions(systemd_cgroup=systemd_cgroup)
    try:
        _, cgroup = drive(compile_for("check", spec, bundle, options, console=False, waiter=PollWaiter()))
    except InvalidSpec as fault:
        return [Finding("config.json", str(fault), NEEDED, "correct it", (fault.path,))], {}
    except AiorunError:  # no cgroups at all, or no systemd: the host's findings say it
        return [], driver
    found = [*_cgroup(spec, cgroup), *_root(spec, bundle), *_paths(spec, bundle), *_capabilities(spec)]
    return found, {**needs(spec), **driver}


def needs(spec: Spec) -> dict[str, tuple[str, ...]]:
    """The host's findings that the document asks for by their names, each with the JSON paths of who asks."""
    found: dict[str, tuple[str, ...]] = {}
    for name, at in (*_namespaces(spec), *_mounts(spec), *_limits(spec), *_properties(spec)):
        found[name] = (*found.get(name, ()), at)
    return found


def _namespaces(spec: Spec) -> Iterator[tuple[str, str]]:
    for index, namespace in enumerate(spec.get("linux", {}).get("namespaces") or []):
        if not namespace.get("path"):
            yield f"namespace {namespace['type']}", f"linux.namespaces[{index}]"


def _mounts(spec: Spec) -> Iterator[tuple[str, str]]:
    for index, mount in enumerate(spec.get("mounts") or []):
        options = Options(mount.get("options") or [], f"mounts[{index}]", kind=mount.get("type", ""))
        if not options.bind and not options.remount:
            kind = mount.get("type", "")
            yield f"file system {'cgroup2' if kind == 'cgroup' and _is_v2() else kind}", f"mounts[{index}]"


def _limits(spec: Spec) -> Iterator[tuple[str, str]]:
    resources = spec.get("linux", {}).get("resources") or {}
    for group, value in resources.items():
        at = f"linux.resources.{group}"
        if group in _SPECIAL and isinstance(value, dict):
            for member, asked in value.items():
                if asked:
                    name = _SPECIAL[group].get(member, group)
                    yield _controller(name), f"{at}.{member}"
        elif group in _CONTROLLERS and value:
            yield _controller(_CONTROLLERS[group]), at


def _controller(name: str) -> str:
    return f"cgroup {_V2.get(name, name) if _is_v2() else name}"


def _is_v2() -> bool:
    return cgroups.layout().version == cgroups.V2


def _properties(spec: Spec) -> Iterator[tuple[str, str]]:
    for (holder, name), needed in _PROPERTIES.items():
        if spec.get(holder, {}).get(name):  # type: ignore[attr-defined]  # a TypedDict wants its keys spelt out
            for finding in needed:
                yield finding, f"{holder}.{name}"


# --- what of its own is missing


def _cgroup(spec: Spec, cgroup: cgroups.Cgroup) -> Iterator[Finding]:
    if not spec.get("linux", {}).get("cgroupsPath") or not cgroup.exists():
        return
    pids = cgroup.pids()
    if pids:
        found = f"has {len(pids)} process(es) of another container"
        yield Finding("cgroup", found, NEEDED, "end that one, or choose another path", ("linux.cgroupsPath",))


def _root(spec: Spec, bundle: str) -> Iterator[Finding]:
    path = rootfs(spec, bundle)
    at = ("root.path",)
    if not os.path.isdir(path):
        yield Finding("root file system", f'"{path}" is not a directory', NEEDED, "put the container's files there", at)
    elif os.path.realpath(path) != path:
        yield Finding("root file system", f'"{path}" leads over a symbolic link', NEEDED, f'say "{os.path.realpath(path)}"', at)
    else:
        yield from look_for_program(spec, path)


def _paths(spec: Spec, bundle: str) -> Iterator[Finding]:
    """The host's files that the document names."""
    for index, mount in enumerate(spec.get("mounts") or []):
        at = f"mounts[{index}]"
        if Options(mount.get("options") or [], at, kind=mount.get("type", "")).bind:
            yield from _there("source of a bind mount", absolute(mount.get("source", ""), bundle), f"{at}.source")
    for index, namespace in enumerate(spec.get("linux", {}).get("namespaces") or []):
        if namespace.get("path"):
            yield from _there(f"namespace {namespace['type']}", namespace["path"], f"linux.namespaces[{index}].path")
    for kind, hooks in (spec.get("hooks") or {}).items():
        for index, hook in enumerate(hooks if isinstance(hooks, list) and kind != "startContainer" else ()):
            yield from _there(f"{kind} hook", hook["path"], f"hooks.{kind}[{index}].path", os.X_OK)


def _there(what: str, path: str, at: str, mode: int = os.F_OK) -> Iterator[Finding]:
    try:
        os.stat(path)
    except OSError as error:
        yield Finding(what, f'"{path}": {reason(error)}', NEEDED, "make it, or correct the path", (at,))
        return
    if not os.access(path, mode):
        yield Finding(what, f'"{path}" can\'t be executed', NEEDED, f"chmod +x {path}", (at,))


def _capabilities(spec: Spec) -> Iterator[Finding]:
    sentences = left_out(spec)
    if sentences:
        found = f"{len(sentences)} can't be granted, and are left out: {'; '.join(sentences)}"
        yield Finding("capabilities", found, ABSENT, "leave them out of the document, or run aiorun with more rights")
