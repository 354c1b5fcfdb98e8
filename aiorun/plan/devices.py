"""/dev: the default devices of the specification, linux.devices, and the links. config-linux.md, "Default Devices"."""

from __future__ import annotations

from aiorun.plan.mounts import clean
from aiorun.plan.options import Options
from aiorun.wire import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiorun.spec.types import Device, Spec

_S_IFCHR, _S_IFBLK, _S_IFIFO = 0o020000, 0o060000, 0o010000
_TYPES = {"c": _S_IFCHR, "u": _S_IFCHR, "b": _S_IFBLK, "p": _S_IFIFO}
_DEFAULTS = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("tty", 5, 0), ("random", 1, 8), ("urandom", 1, 9))
_LINKS = (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2"))


def compile_devices(spec: Spec) -> Iterator[ops.Operation]:
    """Nothing where /dev is the host's, bound."""
    if any(_is_bind_of_dev(index, mount) for index, mount in enumerate(spec.get("mounts") or [])):  # type: ignore[arg-type]
        return
    listed = spec.get("linux", {}).get("devices") or []
    taken = {clean(device["path"]) for device in listed}
    for name, major, minor in _DEFAULTS:
        if f"/dev/{name}" not in taken:
            yield ops.MakeDevice(f"/dev/{name}", _S_IFCHR | 0o666, major, minor, 0, 0, "default devices")
    for index, device in enumerate(listed):
        yield _compile_device(device, f"linux.devices[{index}]")
    yield ops.MakeSymlink("pts/ptmx", "/dev/ptmx", replace=True)
    for name, text in _LINKS:
        yield ops.MakeSymlink(text, f"/dev/{name}")
    yield ops.MakeSymlink("/proc/kcore", "/dev/core")


def _is_bind_of_dev(index: int, mount: dict[str, object]) -> bool:
    if clean(str(mount["destination"])) != "/dev":
        return False
    options: list[str] = mount.get("options") or []  # type: ignore[assignment]
    return Options(options, f"mounts[{index}]", kind=str(mount.get("type", ""))).bind


def _compile_device(device: Device, at: str) -> ops.MakeDevice:
    mode = device.get("fileMode", 0o666) & 0o7777 | _TYPES[device["type"]]
    major, minor = (0, 0) if device["type"] == "p" else (device.get("major", 0), device.get("minor", 0))
    return ops.MakeDevice(device["path"], mode, major, minor, device.get("uid", 0), device.get("gid", 0), at)
