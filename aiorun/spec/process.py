"""The process of an exec: from a file of its own or from the container's document, and what the caller changes of it."""

from __future__ import annotations

from aiorun.errors import InvalidSpec
from aiorun.spec.checks import members, shape
from aiorun.spec.document import content_of, value_of
from aiorun.spec.shapes import PROCESS
from aiorun.wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from aiorun.spec.types import Process, Spec

_SETS = ("bounding", "effective", "permitted")  # never inheritable: CVE-2022-29162
# What a process of its own has of the container's where it doesn't say. runc, newInitConfig
_INHERITED = (
    "capabilities", "rlimits", "apparmorProfile", "selinuxLabel", "scheduler", "ioPriority", "execCPUAffinity", "oomScoreAdj",
)  # fmt: skip


class Changes(Record):
    """What a caller says of the process by flags. None and what is empty leave it as it is; env, groups, capabilities add."""

    args: tuple[str, ...] = ()
    cwd: str = ""
    env: tuple[str, ...] = ()
    terminal: bool | None = None
    size: tuple[int, int] | None = None  # rows, columns
    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] = ()
    capabilities: tuple[str, ...] = ()
    no_new_privileges: bool | None = None
    apparmor: str = ""
    selinux_label: str = ""


def read_process(path: str) -> Process:
    """The process that the file at `path` holds, checked. Raises AiorunError, InvalidSpec."""
    return check_process(value_of(content_of(path, path), path))


def check_process(document: object) -> Process:
    """`document`, if it is a process as config.json may have one. Raises InvalidSpec, its paths from `process` on."""
    members({"process": document}, ({"process": shape(PROCESS, "cwd")}, ("process",), None))
    process: Any = document
    checked: Process = process
    return checked


def exec_process(spec: Spec, given: Process | None, changes: Changes) -> Spec:
    """The container's document `spec` with the process to be executed in place of its own.

    That is `given`, else the container's, which has no terminal then unless `changes` asks for one. Raises InvalidSpec.
    """
    own: dict[str, Any] = {**spec["process"]}
    if given is None:
        process = {**own, "args": [], "terminal": False}
    else:
        process = {**given}
        process |= {name: own[name] for name in _INHERITED if own.get(name) is not None and not process.get(name)}
        if "umask" in own.get("user", {}):
            process["user"] = {"umask": own["user"]["umask"], **process.get("user", {})}
    _change(process, changes)
    if not process.get("args"):
        raise InvalidSpec("", "process args cannot be empty")
    return {**spec, "process": check_process(process)}


def _change(process: dict[str, Any], changes: Changes) -> None:
    user = {**process.get("user", {})}
    for holder, name, value in (
        (process, "args", list(changes.args) or None),
        (process, "cwd", changes.cwd or None),
        (process, "terminal", changes.terminal),
        (process, "noNewPrivileges", changes.no_new_privileges),
        (process, "apparmorProfile", changes.apparmor or None),
        (process, "selinuxLabel", changes.selinux_label or None),
        (user, "uid", changes.uid),
        (user, "gid", changes.gid),
    ):
        if value is not None:
            holder[name] = value
    if changes.size:
        process["consoleSize"] = dict(zip(("height", "width"), changes.size))
    if changes.env:
        process["env"] = [*(process.get("env") or []), *changes.env]
    if changes.groups:
        user["additionalGids"] = [*(user.get("additionalGids") or []), *changes.groups]
    process["user"] = user
    if changes.capabilities:
        sets = process.get("capabilities") or {}
        process["capabilities"] = {**sets, **{name: [*(sets.get(name) or []), *changes.capabilities] for name in _SETS}}
