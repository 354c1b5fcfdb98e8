"""The plan of a restore: an init that makes ready what criu has to find, and then becomes criu.

It has a mount namespace of its own, so that nothing of what it mounts is seen or left outside, and it is in the container's
cgroup, which criu's children, the container's processes, inherit.
"""

from __future__ import annotations

from aiorun.errors import InvalidSpec
from aiorun.plan import join_cgroups, rootfs
from aiorun.plan.mounts import compile_mounts
from aiorun.plan.namespaces import FLAGS, Namespaces
from aiorun.wire import ops
from aiorun.wire.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiorun.plan.host import Request
    from aiorun.spec.types import Spec

CRIU = "criu"
"""The name of the file that is criu's end of the socket; as a program's argument its number is 3."""

EXTERNAL = {"network": "net", "pid": "pid"}
"""Namespaces that criu leaves alone if they were the container's by path, with criu's names for them."""

_MS_SLAVE, _MS_REC = 1 << 19, 16384


def compile_restore(spec: Spec, request: Request, *, program: str, env: tuple[str, ...]) -> Plan:
    """The plan of the init that becomes criu. Raises InvalidSpec for what criu can't restore."""
    namespaces = Namespaces(spec)
    if "cgroup" in namespaces.joined:
        raise InvalidSpec(namespaces.joined["cgroup"][1], "criu cannot restore into a cgroup namespace that is there already")
    if spec.get("linux", {}).get("netDevices"):
        raise InvalidSpec("linux.netDevices", "criu cannot restore network devices of the host")
    opens = tuple(entry for entry in namespaces.opens if entry[0].removeprefix("ns:") in EXTERNAL)
    handed_on = (CRIU, *(name for name, _, _ in opens))
    root = rootfs(spec, request.bundle)
    return Plan(
        clone_flags=FLAGS["mount"],
        join_pid="",
        opens=opens,
        preserve=0,
        operations=(
            *join_cgroups(request),
            ops.JoinKeyring(f"_ses.{request.id}"),
            ops.SetPropagation(_MS_SLAVE | _MS_REC),
            ops.OpenRoot(root, True),
            *_mount_points(spec, request),
            ops.CloseRoot(root),
            ops.OpenRoot(root, True),
            ops.FindProgram(program, "", "criu"),
            ops.Report(),
            ops.HandOn(handed_on),
            ops.ShedOurs(len(handed_on)),
            ops.Execute((program, "swrk", "3"), env),
        ),
    )


def joined(spec: Spec) -> Iterator[tuple[str, str]]:
    """(criu's name, path) of each namespace that criu joins by itself."""
    names = {"mount": "mnt", "network": "net"}
    for kind, (path, _) in Namespaces(spec).joined.items():
        if kind not in EXTERNAL:
            yield names.get(kind, kind), path


def _mount_points(spec: Spec, request: Request) -> Iterator[ops.Operation]:
    """What mounts[] has to be mounted on. A bind is mounted for it, since the next mount's place may be in it; what is below
    another file system comes with that, or out of the images."""
    covered: list[str] = []
    for step in compile_mounts(spec, request):
        if not isinstance(step, (ops.Mount, ops.Bind)) or any(step.target.startswith(f"{place}/") for place in covered):
            continue
        if isinstance(step, ops.Bind):
            yield ops.Bind(step.source, step.target, step.at, step.recursive, no_symlinks=step.no_symlinks)
        else:
            covered.append(step.target)
            yield ops.MakeDirectory(step.target, step.at)
