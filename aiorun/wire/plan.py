"""A plan: what the parent does around the clone, and what the init does after it."""

from __future__ import annotations

from aiorun.wire.ops import OPERATIONS, Operation
from aiorun.wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Plan(Record):
    """Made by `aiorun.plan`, executed by `aiorun.init`, carried in between by `aiorun.launch`."""

    clone_flags: int  # CLONE_NEW* of the namespaces that are made anew
    join_pid: str  # name of the file of a pid namespace to be joined before the clone; empty: none
    opens: tuple[tuple[str, str, str], ...]  # (name, path, JSON path) of the host's files that the parent opens for the init
    preserve: int  # fds after 2 that are the program's
    operations: tuple[Operation, ...]


def encode(plan: Plan) -> dict[str, Any]:
    """What a launcher needs of the plan, as plain JSON values."""
    operations = [[type(step).__name__, *(getattr(step, name) for name in step.fields)] for step in plan.operations]
    return {"clone_flags": plan.clone_flags, "join_pid": plan.join_pid, "preserve": plan.preserve, "operations": operations}


def decode(document: dict[str, Any]) -> Plan:
    """The reverse. Raises KeyError, TypeError for what isn't a plan."""
    operations = tuple(OPERATIONS[name](*(_tuples(value) for value in values)) for name, *values in document["operations"])
    return Plan(int(document["clone_flags"]), str(document["join_pid"]), (), int(document["preserve"]), operations)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
