"""aiorun create: a container whose program waits for `start`."""

from __future__ import annotations

import os

from aiorun.cli import bundle as bundles
from aiorun.cli.command import Command, ignores_cgroup_permissions
from aiorun.cli.shared_flags import CREATE_FLAGS
from aiorun.console.signals import Interruptible
from aiorun.launch.spawn import HereSpawner
from aiorun.runtime.create import Options as CreateOptions
from aiorun.runtime.create import create
from aiorun.store import Store
from aiorun.waiter import PollWaiter, drive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.cli.command import Context
    from aiorun.cli.flags import Options
    from aiorun.spec.types import Spec

COMMAND = Command(
    name="create",
    usage="<container-id>",
    arguments=(1, 1),
    flags=CREATE_FLAGS,
    failure="aiorun create failed: ",
    description="""\
The create command makes a container from a bundle, which is a directory with a specification file named
"config.json" and a root file system. Everything of the container is there after it, and its first process waits just
before the program: "aiorun start" lets the program begin.

A created container is detached. If its config.json has "terminal": true, somebody else has to receive the terminal:
give the path of a socket at which recvtty or an engine listens with --console-socket.
""",
    examples="""\
A container with a terminal, which recvtty receives in another window:

    # recvtty mybundle/tty.sock

    # aiorun create --bundle mybundle --console-socket tty.sock web
    # aiorun start web
""",
)


def run(options: Options, arguments: list[str], context: Context) -> int:
    chosen, spec, bundle = prepare(options, context)
    waiter = Interruptible(PollWaiter())
    drive(
        create(Store(context.root), arguments[0], spec, bundle, chosen, waiter=waiter, spawner=context.log.traced(HereSpawner()))
    )
    return 0


def prepare(options: Options, context: Context) -> tuple[CreateOptions, Spec, str]:
    """What create and run take from their flags, the checked config.json, and the bundle, which we are in from here on."""
    pid_file = bundles.absolute(options.string("pid-file"))
    bundle = bundles.enter(options)
    spec = bundles.load(bundle)
    if context.log.debugging:
        _warn(spec, context)
    chosen = CreateOptions(
        console_socket=options.string("console-socket"),
        pidfd_socket=options.string("pidfd-socket"),
        pid_file=pid_file,
        no_pivot=options.boolean("no-pivot"),
        no_new_keyring=options.boolean("no-new-keyring"),
        notify_socket=os.environ.get("NOTIFY_SOCKET", ""),
        systemd_cgroup=context.systemd_cgroup,
        preserve=bundles.preserved(options, spec),
        rootless=ignores_cgroup_permissions(context),
    )
    return chosen, spec, bundle


def _warn(spec: Spec, context: Context) -> None:
    """Of what is left out, as the specification wants it."""
    from aiorun.runtime.capabilities import left_out

    for sentence in left_out(spec):
        context.log.warning(sentence)
