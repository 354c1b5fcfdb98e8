"""linux.resources.blockIO: weights and throttles, for v1's blkio and v2's io controller."""

from __future__ import annotations

from aiorun.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiorun.cgroups.limits import Controller, Resources

# config.json's name, v1's file, v2's key in io.max
_THROTTLES = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
)


def set_v1(blkio: Controller, resources: Resources) -> None:
    """Raises CgroupError, also for the leaf weights: kernels since 5.0 have none."""
    bfq = "" if blkio.has("blkio.weight") else "bfq."  # the CFQ scheduler's files, or BFQ's
    block = resources["blockIO"]
    if block.get("weight"):
        blkio.set("blockIO.weight", block["weight"], f"blkio.{bfq}weight")
    if block.get("leafWeight"):
        blkio.set("blockIO.leafWeight", block["leafWeight"], "blkio.leaf_weight")
    for path, device in _devices(resources, "weightDevice"):
        for name, file in (("weight", f"blkio.{bfq}weight_device"), ("leafWeight", "blkio.leaf_weight_device")):
            if device.get(name):
                blkio.set(f"{path}.{name}", device[name], file, f"{device['major']}:{device['minor']} {device[name]}")
    for name, file, _ in _THROTTLES:
        for path, device in _devices(resources, name):
            blkio.set(f"{path}.rate", device["rate"], file, f"{device['major']}:{device['minor']} {device['rate']}")


def set_v2(io: Controller, resources: Resources) -> None:
    """Raises CgroupError, also for the leaf weights, which v2 doesn't have."""
    block = resources["blockIO"]
    bfq = io.has("io.bfq.weight")
    if block.get("weight"):
        if bfq:
            io.set("blockIO.weight", block["weight"], "io.bfq.weight")
        else:
            io.set("blockIO.weight", block["weight"], "io.weight", f"default {io_weight(block['weight'])}")
    if block.get("leafWeight"):
        raise CgroupError("set linux.resources.blockIO.leafWeight: this host has cgroup v2, which has no such limit")
    for path, device in _devices(resources, "weightDevice"):
        number = f"{device['major']}:{device['minor']}"
        if device.get("leafWeight"):
            raise CgroupError(f"set linux.resources.{path}.leafWeight: this host has cgroup v2, which has no such limit")
        if device.get("weight"):
            value = device["weight"] if bfq else io_weight(device["weight"])
            io.set(f"{path}.weight", device["weight"], "io.bfq.weight" if bfq else "io.weight", f"{number} {value}")
    for name, _, key in _THROTTLES:
        for path, device in _devices(resources, name):
            rate = device["rate"] or "max"  # v1's zero takes the limit away
            io.set(f"{path}.rate", device["rate"], "io.max", f"{device['major']}:{device['minor']} {key}={rate}")


def _devices(resources: Resources, name: str) -> Iterator[tuple[str, dict[str, int]]]:
    for index, device in enumerate(resources["blockIO"].get(name) or ()):
        yield f"blockIO.{name}[{index}]", device


def io_weight(weight: int) -> int:
    """io.weight (1 to 10000) for v1's blkio.weight (10 to 1000), linear as in runc."""
    return 1 + (weight - 10) * 9999 // 990
