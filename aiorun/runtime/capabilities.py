"""What a container asks for of capabilities that we don't have."""

from __future__ import annotations

from aiorun.linux.process import get_permitted_set
from aiorun.plan import capabilities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.spec.types import Spec


def left_out(spec: Spec) -> list[str]:
    """A sentence for each capability that the container is going to lack. The specification wants them logged, no more."""
    return list(capabilities.left_out(spec["process"], get_permitted_set()))
