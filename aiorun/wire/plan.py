"""A plan: what the parent does around the clone, and what the init does after it."""

from __future__ import annotations

from aiorun.wire.ops import OPERATIONS, JoinNamespace, Operation
from aiorun.wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    IdMap = tuple[tuple[int, int, int], ...]


class MappedTree(Record):
    """A copy of the host's mounts at `source` whose ids are mapped: made before the clone, and the init's file `name`.

    `recursive`: with the mounts below; `map_all`: those are mapped, too. The map is that of the user namespace `users`, a file of
    the plan's opens, or (first id of the files, first id as it shows, how many).
    """

    name: str
    source: str
    at: str
    recursive: bool
    map_all: bool
    users: str
    uid_map: IdMap
    gid_map: IdMap


class Plan(Record):
    """Made by `aiorun.plan`, executed by `aiorun.init`, carried in between by `aiorun.launch`."""

    clone_flags: int  # CLONE_NEW* of the namespaces that are made anew
    join_pid: str  # name of the file of a pid namespace to be joined before the clone; empty: none
    opens: tuple[tuple[str, str, str], ...]  # (name, path, JSON path) of the host's files that the parent opens for the init
    preserve: int  # fds after 2 that are the program's
    operations: tuple[Operation, ...]
    uid_map: IdMap = ()  # of a new user namespace: (first id inside, first id outside, how many)
    gid_map: IdMap = ()
    joins: tuple[JoinNamespace, ...] = ()  # made before the clone, by a joiner: a process of their own
    trees: tuple[MappedTree, ...] = ()
    sources: tuple[str, ...] = ()  # the host's paths that the parent finds for the init of a user namespace (protocol.Found)
    filter: Mapping[str, Any] | None = None  # linux.seccomp, which the parent makes the file "seccomp" of


def encode(plan: Plan) -> dict[str, Any]:
    """What a launcher needs of the plan, as plain JSON values."""
    return {
        "clone_flags": plan.clone_flags,
        "join_pid": plan.join_pid,
        "preserve": plan.preserve,
        "operations": [_encode_step(step) for step in plan.operations],
        "joins": [_encode_step(step) for step in plan.joins],
        "trees": [[getattr(tree, name) for name in tree.fields] for tree in plan.trees],
    }


def _encode_step(step: Operation) -> list[Any]:
    return [type(step).__name__, *(getattr(step, name) for name in step.fields)]


def decode(document: dict[str, Any]) -> Plan:
    """The reverse. Raises KeyError, TypeError for what isn't a plan."""
    operations, joins = (tuple(map(_decode_step, document[member])) for member in ("operations", "joins"))
    trees = tuple(MappedTree(*map(_tuples, values)) for values in document["trees"])
    flags, preserve = int(document["clone_flags"]), int(document["preserve"])
    return Plan(flags, str(document["join_pid"]), (), preserve, operations, joins=joins, trees=trees)


def _decode_step(step: list[Any]) -> Any:
    name, *values = step
    return OPERATIONS[name](*(_tuples(value) for value in values))


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
