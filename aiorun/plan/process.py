"""config.json's process → the operations that make us it, from the capabilities to execve."""

from __future__ import annotations

from aiorun.errors import InvalidSpec
from aiorun.plan.capabilities import mask
from aiorun.wire import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiorun.spec.types import Capabilities, Process, Seccomp, Spec

# setrlimit(2), asm-generic/resource.h
RLIMITS = {
    f"RLIMIT_{name}": number
    for number, name in enumerate(
        "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME".split()
    )
}


def join_keyring(process: Process, id: str) -> Iterator[ops.Operation]:
    """The container's session keyring, which has the program's label."""
    label = process.get("selinuxLabel")
    if label:
        yield ops.SetLabel("keyring", label, "process.selinuxLabel")
    yield ops.JoinKeyring(f"_ses.{id}")
    if label:
        yield ops.SetLabel("keyring", "", "process.selinuxLabel")


def profile_of(spec: Spec) -> Seccomp | None:
    """linux.seccomp, if there is one."""
    return spec.get("linux", {}).get("seccomp") or None


def filter_of(spec: Spec) -> ops.LoadSeccomp | None:
    """The operation that loads it, which stands in one of two places. Raises InvalidSpec."""
    profile = profile_of(spec)
    if profile is None:
        return None
    from aiorun.plan.seccomp import compile_filter  # only here: many containers have none

    return compile_filter(profile, spec["process"])


def compile_identity(process: Process, filter: ops.LoadSeccomp | None = None) -> Iterator[ops.Operation]:
    """Privileges go down here, in the only order in which each step still has the rights it needs.

    Without no_new_privs a seccomp filter needs CAP_SYS_ADMIN, so that it comes before the capabilities go. With a listener it
    comes before the report to the parent, who has to hand that on.
    """
    user = process.get("user", {})
    for kind, member in (("AppArmor", "apparmorProfile"), ("SELinux", "selinuxLabel")):
        if process.get(member):
            yield ops.SetLabel(kind, str(process[member]), f"process.{member}")  # type: ignore[literal-required]
    if process.get("noNewPrivileges"):
        yield ops.SetNoNewPrivileges()
    if process.get("scheduler") or process.get("ioPriority"):
        from aiorun.plan.scheduling import compile_priorities

        yield from compile_priorities(process)
    sets = process.get("capabilities") or {}
    yield ops.DropBounding(mask(sets.get("bounding")))
    if not any(entry.startswith("HOME=") for entry in environment(process)):
        yield ops.SetHome(user.get("uid", 0))
    yield ops.ChangeDirectory(process["cwd"])
    yield ops.SetIds(user.get("uid", 0), user.get("gid", 0), tuple(user.get("additionalGids") or ()))
    yield ops.VerifyDirectory(process["cwd"])
    if filter and filter.privileged:
        yield filter
    yield compile_capabilities(sets)
    yield ops.FindProgram(process["args"][0], _path(process))
    if filter and filter.listener and not filter.privileged:
        yield filter


def compile_capabilities(sets: Capabilities) -> ops.SetCapabilities:
    """What the kernel can grant of the sets: each within those that it depends on. capset(2), capabilities(7)."""
    permitted, inheritable = mask(sets.get("permitted")), mask(sets.get("inheritable")) & mask(sets.get("bounding"))
    return ops.SetCapabilities(
        effective=mask(sets.get("effective")) & permitted,
        permitted=permitted,
        inheritable=inheritable,
        ambient=mask(sets.get("ambient")) & permitted & inheritable,
    )


def compile_console(process: Process, *, rows: int, columns: int, mount: bool) -> ops.MakeConsole:
    """The terminal, as large as consoleSize says, else as the caller's: `rows` and `columns`."""
    size = process.get("consoleSize") or {"height": rows, "width": columns}
    return ops.MakeConsole("console", size["height"], size["width"], process.get("user", {}).get("uid", 0), mount)


def compile_execution(process: Process, preserve: int, filter: ops.LoadSeccomp | None = None) -> Iterator[ops.Operation]:
    """The limits come late, since they would bite our own interpreter, and a seccomp filter that may last of all."""
    for index, limit in enumerate(process.get("rlimits") or []):
        at = f"process.rlimits[{index}]"
        if limit["type"] not in RLIMITS:
            raise InvalidSpec(f"{at}.type", f'unknown limit "{limit["type"]}"')
        yield ops.SetRlimit(RLIMITS[limit["type"]], limit["soft"], limit["hard"], at)
    yield ops.ShedOurs(preserve)
    if filter and not filter.privileged and not filter.listener:
        yield filter
    yield ops.Execute(tuple(process["args"]), environment(process))


def environment(process: Process) -> tuple[str, ...]:
    """Of a name that comes twice the last counts. An empty HOME is none, as in runc."""
    entries = {entry.partition("=")[0]: entry for entry in process.get("env") or []}
    return tuple(entry for entry in entries.values() if entry != "HOME=")


def _path(process: Process) -> str:
    paths = [entry[5:] for entry in process.get("env") or [] if entry.startswith("PATH=")]
    return paths[-1] if paths else ""
