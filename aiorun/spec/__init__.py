"""config.json: its types, its checks, and its defaults.

Pure but for `read`, so the room runs on any system. The types of the document's parts are in `aiorun.spec.types`.
"""

from __future__ import annotations

from aiorun.spec.document import check, check_resources, parse, read, require_process, require_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.spec.defaults import OCI_VERSION, default_document
    from aiorun.spec.types import Linux, Mount, Process, Resources, Root, Spec

__all__ = [
    "OCI_VERSION",
    "Linux",
    "Mount",
    "Process",
    "Resources",
    "Root",
    "Spec",
    "check",
    "check_resources",
    "default_document",
    "parse",
    "read",
    "require_process",
    "require_root",
]


def __getattr__(name: str) -> object:
    """The types and the default document are loaded by those who ask for them: typing alone costs 8.7 ms."""
    if name in ("OCI_VERSION", "default_document"):
        from aiorun.spec import defaults

        return getattr(defaults, name)
    if name in __all__:
        from aiorun.spec import types

        return getattr(types, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
