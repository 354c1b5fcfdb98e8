"""linux.netDevices: what the init does with each device once it is in its network namespace. Loaded for these alone."""

from __future__ import annotations

from aiorun.errors import InvalidSpec
from aiorun.spec.checks import quoted
from aiorun.wire import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiorun.plan.host import Request
    from aiorun.plan.namespaces import Namespaces
    from aiorun.spec.types import NetDevice

_NAME_SIZE = 15  # IFNAMSIZ without its NUL


def compile_net_devices(devices: dict[str, NetDevice], request: Request, namespaces: Namespaces) -> Iterator[ops.Operation]:
    """Those of a network namespace of the container's own."""
    if not namespaces.private("network"):
        raise InvalidSpec("linux.netDevices", "not possible without a network namespace of the container's own")
    known = {device.name: device for device in request.net_devices}
    for number, (source, device) in enumerate(devices.items()):
        at = f"linux.netDevices[{quoted(source)}]"
        name = device.get("name") or source
        _check(source, at, template=False)
        _check(name, f"{at}.name" if device.get("name") else at, template=True)
        host = known.get(source)
        index, addresses = (host.index, host.addresses) if host else (0, ())
        yield ops.TakeDevice(source, index, f"{request.net_prefix}{number}", name, addresses, at)


def _check(name: str, at: str, *, template: bool) -> None:
    """A name that the kernel takes: dev_valid_name in net/core/dev.c. Of a template it takes one `%d`."""
    parts = name.split("%d") if template else [name]
    sound = len(name) <= _NAME_SIZE and name not in (".", "..") and name.isascii() and name.isprintable()
    if not sound or len(parts) > 2 or any(character in part for part in parts for character in "/: %"):
        raise InvalidSpec(at, f"{quoted(name)} is no name of a network device")
