"""uid_map and gid_map of a new user namespace, written from outside. user_namespaces(7)."""

from __future__ import annotations

import os
import stat

from aiorun.errors import AiorunError, reason
from aiorun.linux.program import run_program
from aiorun.plan.namespaces import outside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiorun.waiter import Waiter
    from aiorun.wire.plan import Plan

    Maps = tuple[tuple[int, int, int], ...]

_DIRECTORIES = ("/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin")  # engines call us without a PATH
_SECONDS = 30.0  # that newuidmap may take: it asks whatever name service the host has


async def write_maps(waiter: Waiter, pid: int, plan: Plan) -> None:
    """Give the user namespace of the process `pid` the plan's maps. Raises AiorunError.

    root writes them. Another user may map his own id alone, and is forbidden setgroups(2) for that; for more there are
    newuidmap(1) and newgidmap(1), which give what /etc/subuid and /etc/subgid grant.
    """
    await _write(waiter, pid, "gid", plan.gid_map, os.getegid())
    await _write(waiter, pid, "uid", plan.uid_map, os.geteuid())


def give_pipes(pid: int, files: Mapping[str, int]) -> None:
    """Let the root of the process's user namespace open /dev/stdout and its kind, where they are pipes: none that it may take.

    As runc, whose own pipes these are in a `run` and an `exec`. Files stay whose they are.
    """
    if os.geteuid() != 0:
        return
    with open(f"/proc/{pid}/uid_map") as file:  # as we see it: (first id inside, first id outside, how many)
        maps = tuple(tuple(int(word) for word in line.split()) for line in file)
    root = outside(maps, 0, -1)  # type: ignore[arg-type]
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        fd = files.get(name, number)
        try:
            if stat.S_ISFIFO(os.fstat(fd).st_mode):
                os.fchown(fd, root, -1)
        except OSError:
            pass  # closed, or nobody's to give


async def _write(waiter: Waiter, pid: int, kind: str, maps: Maps, own: int) -> None:
    at = f"linux.{kind}Mappings"
    if os.geteuid() != 0 and not (len(maps) == 1 and maps[0][1:] == (own, 1)):
        await _run_mapping_tool(waiter, pid, f"new{kind}map", maps, at)
        return
    try:
        if os.geteuid() != 0 and kind == "gid":
            _write_file(f"/proc/{pid}/setgroups", "deny")
        _write_file(f"/proc/{pid}/{kind}_map", "".join(f"{inside} {outside} {count}\n" for inside, outside, count in maps))
    except OSError as error:
        raise AiorunError(f"write the {kind} map ({at}): {reason(error)}") from None


def _write_file(path: str, text: str) -> None:
    """In one write(2), as the kernel wants it."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


async def _run_mapping_tool(waiter: Waiter, pid: int, name: str, maps: Maps, at: str) -> None:
    path = next((path for path in (f"{directory}/{name}" for directory in _DIRECTORIES) if os.access(path, os.X_OK)), "")
    if not path:
        raise AiorunError(
            f"write the maps of a user namespace ({at}): {name} is not installed, and only one's own id can do without"
        )
    arguments = (name, str(pid), *(str(number) for entry in maps for number in entry))
    try:
        ended = await run_program(waiter, path, arguments, (), stdin=b"", timeout=_SECONDS)
    except OSError as error:
        raise AiorunError(f'run "{path}" ({at}): {reason(error)}') from None
    if ended.status:
        said = ended.errors.decode("utf-8", "replace").strip().replace("\n", "; ")
        raise AiorunError(f'run "{path}" ({at}): {said or f"exit status {ended.status}"}')
