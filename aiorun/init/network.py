"""The host's network devices that a container takes over. Loaded for plans that have them alone."""

from __future__ import annotations

from aiorun.linux.netlink import Routes, index_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.init.state import Init
    from aiorun.wire import ops


def take_device(init: Init, step: ops.TakeDevice) -> None:
    index = index_of(step.moved_as)
    routes = Routes()
    try:
        _rename(routes, index, step)
        for address in step.addresses:
            routes.add_address(index, address)
        routes.set_up(index)
    finally:
        routes.close()


def _rename(routes: Routes, index: int, step: ops.TakeDevice) -> None:
    """One that was joined outlives our failure: the device is found there by the name that its owner knows, where it's free."""
    try:
        routes.rename(index, step.name)
    except OSError:
        try:
            routes.rename(index, step.source)
        except OSError:
            pass
        raise
