"""What a container asks for of capabilities that we don't have."""

from __future__ import annotations

from aiorun.linux.process import get_permitted_set
from aiorun.plan import capabilities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.spec.types import Spec


def left_out(spec: Spec) -> list[str]:
    """A sentence for each capability that the container is going to lack. The specification wants them logged, no more.

    In a user namespace it has all that there are.
    """
    users = any(namespace["type"] == "user" for namespace in spec.get("linux", {}).get("namespaces") or [])
    return list(capabilities.left_out(spec["process"], -1 if users else get_permitted_set()))
