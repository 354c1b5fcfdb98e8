"""aiorun restore: a container that goes on from a checkpoint."""

from __future__ import annotations

from aiorun.cli import bundle as bundles
from aiorun.cli.command import Command
from aiorun.cli.criu_flags import IMAGE_FLAGS, IMAGE_PATH, LAZY_PAGES, WORK_PATH, check_empty_namespaces, image_options
from aiorun.cli.flags import Flag
from aiorun.cli.shared_flags import BUNDLE, CONSOLE_SOCKET, DETACH, NO_PIVOT, NO_SUBREAPER, PID_FILE
from aiorun.console.signals import Interruptible
from aiorun.launch.spawn import HereSpawner
from aiorun.runtime.create import Options as CreateOptions
from aiorun.runtime.restore import RestoreOptions, restore_detached, restore_foreground
from aiorun.store import Store
from aiorun.waiter import PollWaiter, drive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.cli.command import Context
    from aiorun.cli.flags import Options

COMMAND = Command(
    name="restore",
    usage="<container-id>",
    arguments=(1, 1),
    flags=(
        CONSOLE_SOCKET,
        IMAGE_PATH,
        WORK_PATH,
        *IMAGE_FLAGS,
        BUNDLE,
        DETACH,
        PID_FILE,
        NO_SUBREAPER,
        NO_PIVOT,
        LAZY_PAGES,
        Flag(("lsm-profile",), help="specify an LSM profile to be used during restore in the form of TYPE:NAME"),
        Flag(("lsm-mount-context",), help="specify an LSM mount context to be used during restore"),
    ),
    description="""\
The restore command makes a container from the images that "aiorun checkpoint" saved, and lets its processes go on from
there. The bundle has to be the one that the container had: its config.json says which mounts and cgroups it gets, and
its root file system has to hold the files that the processes had open. criu has to be installed.

It waits until the program exits, deletes the container, and exits with the program's status; with --detach it returns
once the program runs. criu's log is restore.log, beside the images or in --work-path.
""",
    examples="""\
    # aiorun restore --detach --image-path saved --bundle mybundle web
""",
)


def run(options: Options, arguments: list[str], context: Context) -> int:
    check_empty_namespaces(options)
    checkpoint = RestoreOptions(
        **image_options(options),
        lsm_profile=options.string("lsm-profile"),
        lsm_mount_context=options.string("lsm-mount-context"),
    )
    pid_file = bundles.absolute(options.string("pid-file"))
    bundle = bundles.enter(options)
    spec = bundles.load(bundle)
    chosen = CreateOptions(
        console_socket=options.string("console-socket"), pid_file=pid_file, systemd_cgroup=context.systemd_cgroup
    )
    store, waiter, spawner = Store(context.root), Interruptible(PollWaiter()), HereSpawner()
    if options.boolean("detach"):
        drive(restore_detached(store, arguments[0], spec, bundle, chosen, checkpoint, waiter=waiter, spawner=spawner))
        return 0
    subreaper = not options.boolean("no-subreaper")
    return drive(
        restore_foreground(
            store, arguments[0], spec, bundle, chosen, checkpoint,
            waiter=waiter, spawner=spawner, subreaper=subreaper, warn=context.log.warning,
        )
    )  # fmt: skip
