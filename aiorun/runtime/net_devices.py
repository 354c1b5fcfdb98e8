"""linux.netDevices, our part: the devices of our network namespace, and their move into the container's."""

from __future__ import annotations

import os

from aiorun.errors import AiorunError, reason
from aiorun.linux.netlink import Routes, index_of
from aiorun.plan.host import NetDevice
from aiorun.wire.ops import TakeDevice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiorun.plan import Plan


def look_up(names: Iterable[str]) -> tuple[NetDevice, ...]:
    """What they are on this host. One that isn't there is left out: to move it is the error."""
    found = []
    routes = Routes()
    try:
        for name in names:
            try:
                index = index_of(name)
            except (OSError, ValueError):
                continue
            found.append(NetDevice(name, index, routes.addresses(index)))
    finally:
        routes.close()
    return tuple(found)


def prefix() -> str:
    """The beginning of names that no device has: in the container's namespace, which may be another's too, until it's renamed."""
    return f"mv{os.urandom(4).hex()}-"


def move(plan: Plan, pid: int, namespace: int) -> None:
    """Give the container its devices: to `namespace`, or where that is -1 to the one that its init `pid` was born into.

    No device is ever moved back, as specified: the kernel removes a virtual one with its namespace, and gives a real one back to
    the host. Raises AiorunError.
    """
    own = -1
    routes = Routes()
    try:
        if namespace < 0:
            own = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        for step in plan.operations:
            if type(step) is TakeDevice:
                _move(routes, step, own if namespace < 0 else namespace)
    except OSError as error:
        raise AiorunError(f"open the network namespace (linux.netDevices): {reason(error)}") from None
    finally:
        if own >= 0:
            os.close(own)
        routes.close()


def _move(routes: Routes, step: TakeDevice, namespace: int) -> None:
    try:
        routes.move(step.index or index_of(step.source), namespace, step.moved_as)
    except OSError as error:
        raise AiorunError(f'move the network device "{step.source}" ({step.at}): {reason(error)}') from None
