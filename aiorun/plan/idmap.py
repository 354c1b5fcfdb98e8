"""Mounts whose ids are mapped: mounts[].uidMappings and gidMappings, the options idmap and ridmap. config.md, "Mounts".

Loaded for documents that have one alone.
"""

from __future__ import annotations

from aiorun.errors import InvalidSpec
from aiorun.plan.options import Options
from aiorun.wire.plan import MappedTree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aiorun.plan.namespaces import Namespaces
    from aiorun.spec.types import Linux, Mount, Spec
    from aiorun.wire.ops import Bind
    from aiorun.wire.plan import IdMap


def compile_trees(spec: Spec, namespaces: Namespaces, binds: Iterable[Bind]) -> Iterator[MappedTree]:
    """What is copied and mapped before the clone, with the caller's rights, for those of `binds` that name a `tree`."""
    mounts = {f"mounts[{index}]": mount for index, mount in enumerate(spec.get("mounts") or [])}
    for bind in binds:
        if not bind.tree:
            continue
        mount = mounts[bind.at]
        map_all = Options(mount.get("options") or [], bind.at, kind=mount.get("type", "")).map_ids == "ridmap"
        users, uid_map, gid_map = _maps(mount, bind.at, spec.get("linux", {}), namespaces)
        yield MappedTree(bind.tree, bind.source, bind.at, bind.recursive, map_all, users, uid_map, gid_map)


def _maps(mount: Mount, at: str, linux: Linux, namespaces: Namespaces) -> tuple[str, IdMap, IdMap]:
    """The mount's own maps, or else those of the container: what its new one has, or the file of one that it joins."""
    for holder in (mount, linux if "user" in namespaces.new else {}):
        uids, gids = holder.get("uidMappings"), holder.get("gidMappings")
        if uids and gids:
            own = tuple(tuple((m["containerID"], m["hostID"], m["size"]) for m in maps) for maps in (uids, gids))
            return "", own[0], own[1]
    if "user" in namespaces.joined:
        return "ns:user", (), ()
    raise InvalidSpec(at, "id-mapped mounts need uidMappings and gidMappings, or a user namespace of the container")
