"""What a plan has to know beside the Spec: facts about the host, and what the caller asked for."""

from __future__ import annotations

from aiorun.wire.record import Record


class Hierarchy(Record):
    """One cgroup v1 hierarchy as a container sees it below its cgroup mount."""

    name: str  # of the directory: "memory", "cpu,cpuacct", "systemd"
    options: str  # of the mount: "memory", "cpu,cpuacct", "name=systemd"
    source: str  # the container's cgroup on the host
    joined: bool = True  # False: the caller's own, since he may not make any, and the init stays in it


class NetDevice(Record):
    """A network device of the host's that the container takes over."""

    name: str
    index: int
    addresses: tuple[str, ...]  # permanent ones of global scope: "10.0.0.1/24 brd 10.0.0.255"


class Request(Record):
    """Everything that isn't in config.json."""

    id: str
    bundle: str  # absolute
    hierarchies: tuple[Hierarchy, ...] = ()  # cgroup v1 and hybrid
    unified: str = ""  # cgroup v2 alone: the container's cgroup on the host
    outside: bool = False  # cgroup v2 alone, and the caller may not make any: the init stays in the caller's
    little_memory: bool = False  # so little that the init must neither be born in its cgroup nor copy its pages there
    console: bool = False  # a file "console" is handed to the init
    rows: int = 0  # of the caller's terminal, where config.json has no consoleSize
    columns: int = 0
    no_pivot: bool = False
    no_new_keyring: bool = False
    preserve: int = 0
    net_devices: tuple[NetDevice, ...] = ()  # of linux.netDevices those that are there
    net_prefix: str = "mv-"  # of the names that they have on their way
