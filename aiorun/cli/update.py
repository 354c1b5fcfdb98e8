"""aiorun update: change a container's limits."""

from __future__ import annotations

import os

from aiorun.cli.command import Command
from aiorun.cli.flags import INT, Flag
from aiorun.cli.sizes import decimal, ram_in_bytes
from aiorun.errors import AiorunError, UsageError, reason
from aiorun.runtime.update import update
from aiorun.spec import check_resources
from aiorun.store import Store
from aiorun.waiter import PollWaiter, drive
from aiorun.wire.json import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from aiorun.cli.command import Context
    from aiorun.cli.flags import Options
    from aiorun.spec.types import IntelRdt, Resources

COMMAND = Command(
    name="update",
    usage="<container-id>",
    arguments=(1, 1),
    flags=(
        Flag(
            ("resources", "r"),
            help="path to a file with the resources to change, in the form of config.json's linux.resources, or '-' for standard "
            "input; all other flags are ignored then",
        ),
        Flag(("blkio-weight",), INT, help="weight of block I/O, from 10 to 1000"),
        Flag(("cpu-period",), help="length of a period in microseconds, in which the CPU quota holds"),
        Flag(("cpu-quota",), help="CPU time in microseconds that the container has in each period; -1 for no limit"),
        Flag(("cpu-burst",), help="CPU time in microseconds that may be saved up for a burst"),
        Flag(("cpu-share",), help="share of CPU time, relative to other containers"),
        Flag(("cpu-rt-period",), help="length of a period in microseconds, in which the realtime limit holds"),
        Flag(("cpu-rt-runtime",), help="realtime CPU time in microseconds in each period"),
        Flag(("cpuset-cpus",), help="CPUs to use, such as 0-2,7"),
        Flag(("cpuset-mems",), help="memory nodes to use"),
        Flag(("cpu-idle",), help="1: run only what no other container wants of the CPUs; 0: as usual"),
        Flag(("memory",), help="limit of memory in bytes, or such as 64M; -1 for no limit"),
        Flag(("memory-reservation",), help="memory in bytes that is left to the container when it gets scarce (soft limit)"),
        Flag(("memory-swap",), help="limit of memory and swap together in bytes; -1 for unlimited swap"),
        Flag(("kernel-memory",), help="taken from old callers, and ignored"),
        Flag(("kernel-memory-tcp",), help="taken from old callers, and ignored"),
        Flag(("pids-limit",), INT, help="how many processes the container may have; -1 for no limit"),
        Flag(("l3-cache-schema",), help="schema of Intel RDT's L3 cache"),
        Flag(("mem-bw-schema",), help="schema of Intel RDT's memory bandwidth"),
    ),
    description="""\
The update command changes limits of a container that is created, running or paused. What isn't named stays as it is, and
so does what is 0. If one of the limits can't be set, none is changed. Device rules can't be changed.
""",
    examples="""\
    # aiorun update --memory 64M --pids-limit 20 web
    # echo '{"cpu": {"quota": 50000, "period": 100000}}' | aiorun update --resources - web
""",
)

_LIMIT = 16 * 2**20


def run(options: Options, arguments: list[str], context: Context) -> int:
    store = Store(context.root)
    store.open(arguments[0]).close()  # in runc's order: whether it is there, and then what is wrong with the rest
    changes = _from_file(options.string("resources")) if options.string("resources") else _from_flags(options)
    drive(update(store, arguments[0], changes, waiter=PollWaiter(), rdt=_schemata(options)))
    for name in ("kernel-memory", "kernel-memory-tcp"):
        if options.string(name):
            context.log.warning(f"--{name} is ignored: Linux has no such limit any more")
    return 0


def _from_file(path: str) -> Resources:
    """The checked resources in the file `path`, or at the standard input for "-". Raises AiorunError, InvalidSpec."""
    try:
        with open(0 if path == "-" else path, "rb", closefd=path != "-") as file:
            content = file.read(_LIMIT + 1)
    except OSError as error:
        raise AiorunError(f"open {path}: {reason(error)}") from None
    if len(content) > _LIMIT:
        raise AiorunError(f"read {path}: it is larger than {_LIMIT >> 20} MiB")
    try:
        document = loads(content)
    except ValueError as error:
        where, message = "standard input" if path == "-" else path, str(error)
        raise AiorunError(f"read the resources from {where}: {message[:1].lower()}{message[1:]}") from None
    return check_resources(document)


# flag, group, member, and how it's read
_FLAGS: tuple[tuple[str, str, str, Callable[[str], object]], ...] = (
    ("cpuset-cpus", "cpu", "cpus", str),
    ("cpuset-mems", "cpu", "mems", str),
    ("cpu-idle", "cpu", "idle", lambda text: decimal(text, signed=True)),
    ("cpu-burst", "cpu", "burst", decimal),
    ("cpu-period", "cpu", "period", decimal),
    ("cpu-rt-period", "cpu", "realtimePeriod", decimal),
    ("cpu-share", "cpu", "shares", decimal),
    ("cpu-quota", "cpu", "quota", lambda text: decimal(text, signed=True)),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime", lambda text: decimal(text, signed=True)),
    ("memory", "memory", "limit", lambda text: -1 if text == "-1" else ram_in_bytes(text)),
    ("memory-swap", "memory", "swap", lambda text: -1 if text == "-1" else ram_in_bytes(text)),
    ("memory-reservation", "memory", "reservation", lambda text: -1 if text == "-1" else ram_in_bytes(text)),
)


def _from_flags(options: Options) -> Resources:
    """The resources that the flags name. Raises UsageError in runc's words."""
    asked: dict[str, dict[str, object]] = {}
    for flag, group, member, read in _FLAGS:
        if text := options.string(flag):
            try:
                asked.setdefault(group, {})[member] = read(text)
            except ValueError as error:
                raise UsageError(f"invalid value for {flag}: {error}") from None
    for flag, group, member in (("blkio-weight", "blockIO", "weight"), ("pids-limit", "pids", "limit")):
        if options.integer(flag):
            asked[group] = {member: options.integer(flag)}
    return check_resources(asked)


def _schemata(options: Options) -> IntelRdt:
    """The schemata that the flags name. Raises AiorunError, in runc's words, where the processor or the host has none of it."""
    rdt: IntelRdt = {}
    if cache := options.string("l3-cache-schema"):
        _require("L3", "CAT: l3 cache")
        rdt["l3CacheSchema"] = cache
    if bandwidth := options.string("mem-bw-schema"):
        _require("MB", "MBA: memory bandwidth")
        rdt["memBwSchema"] = bandwidth
    return rdt


def _require(resource: str, what: str) -> None:
    if not os.path.isdir(f"/sys/fs/resctrl/info/{resource}"):
        raise AiorunError(f"Intel RDT/{what} schema is not enabled")
