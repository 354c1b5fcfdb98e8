"""exec --cgroup: cgroups below a container's own. Loaded where somebody asks for one."""

from __future__ import annotations

import os

from aiorun.errors import CgroupError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def sub_paths(paths: Mapping[str, str], asked: Sequence[str]) -> dict[str, str]:
    """`paths` of a container with those replaced that `asked` names: "PATH", or "CONTROLLER,…:PATH" as often as needed.

    Nothing is looked up. Raises UsageError, CgroupError, in runc's words.
    """
    found = dict(paths)
    for text in asked:
        controllers, colon, path = text.partition(":")
        if ":" in path:
            raise UsageError(f"invalid --cgroup argument: {text}")
        if not colon:
            if len(asked) != 1:
                raise UsageError(f"invalid --cgroup argument: {text} (missing <controller>: prefix)")
            return {name: _below(own, text) for name, own in paths.items()}
        for name in controllers.split(","):
            if name not in paths:
                raise CgroupError(f"unknown controller {name} in SubCgroupPaths")
            found[name] = _below(paths[name], path)
    return found


def _below(own: str, path: str) -> str:
    found = os.path.normpath(f"{own}/{path}")
    if found != own and not found.startswith(own + "/"):  # runc takes "../NAME-of-another" where NAME is this one's
        raise CgroupError(f"{path} is not a sub cgroup path")
    return found
