"""The names of capabilities. capabilities(7); the numbers are linux/capability.h's."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aiorun.spec.types import Process

NAMES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST "
    "NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE "
    "SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM "
    "BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
).split()
_BITS = {f"CAP_{name}": 1 << number for number, name in enumerate(NAMES)}


def mask(names: Iterable[str] | None) -> int:
    """The set as a bit mask. A name that we don't know is left out: since 1.1 the specification wants a warning at most."""
    found = 0
    for name in names or ():
        found |= _BITS.get(name, 0)
    return found


def left_out(process: Process, held: int) -> Iterator[str]:
    """A sentence for each capability that can't be granted, by a caller with the set `held`. config.md, "Linux Process"."""
    sets = process.get("capabilities") or {}
    permitted, inheritable = mask(sets.get("permitted")), mask(sets.get("inheritable")) & mask(sets.get("bounding"))
    within = {"bounding": held, "permitted": held, "effective": permitted & held}
    within |= {"inheritable": inheritable & held, "ambient": permitted & inheritable & held}
    for name, grantable in within.items():
        asked: list[str] = sets.get(name) or []  # type: ignore[assignment]  # a TypedDict wants its keys spelt out
        for index, capability in enumerate(asked):
            bit = _BITS.get(capability, 0)
            if not bit & grantable:
                why = "cannot be granted" if bit else "is unknown"
                yield f'process.capabilities.{name}[{index}]: capability "{capability}" {why}'
