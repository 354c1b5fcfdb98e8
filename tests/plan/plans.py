"""Plans of documents, and questions to them."""

from __future__ import annotations

import json
from typing import Any

from aiorun.plan import Plan, Request, compile_plan
from aiorun.spec import check, default_document
from aiorun.wire.ops import Operation

REQUEST = Request(id="x", bundle="/bundle")


def document(**linux: object) -> dict[str, Any]:
    """runc's default document as a checked Spec's JSON, with other members of `linux`."""
    made: dict[str, Any] = json.loads(json.dumps(default_document(cgroup2=False)))
    made["linux"] |= linux
    return made


def plan(made: dict[str, Any], **request: Any) -> Plan:
    """The plan of a document, for a request that differs from the plain one as said. Raises InvalidSpec."""
    return compile_plan(check(made), Request(**{**REQUEST.__dict__, **request}))


def steps(made: dict[str, Any], kind: type[Operation] | None = None, **request: Any) -> list[Any]:
    """The operations of a document's plan; those of one kind."""
    operations = plan(made, **request).operations
    return [step for step in operations if kind is None or type(step) is kind]


def order(made: dict[str, Any], **request: Any) -> list[str]:
    """The names of the operations of a document's plan."""
    return [type(step).__name__ for step in steps(made, **request)]
