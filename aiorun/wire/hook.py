"""What is said of a hook that failed, by the init and by the runtime alike."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Ending(Protocol):
        status: int
        signal: int
        timed_out: bool
        output: bytes
        errors: bytes


def fault(ending: Ending, *, timeout: int) -> str:
    """Why the hook counts as failed, with what it said, in runc's words; empty if it went well."""
    if ending.timed_out:
        why = f"hook ran past specified timeout of {timeout:.1f}s"
    elif ending.signal:
        why = f"signal: {ending.signal}"
    elif ending.status:
        why = f"exit status {ending.status}"
    else:
        return ""
    output, errors = (text.decode("utf-8", "replace").strip() for text in (ending.output, ending.errors))
    return f"{why}, stdout: {output}, stderr: {errors}"
