"""aiorun checkpoint: save a running container's processes as they are."""

from __future__ import annotations

from aiorun.cli.command import Command
from aiorun.cli.criu_flags import IMAGE_FLAGS, IMAGE_PATH, LAZY_PAGES, WORK_PATH, check_empty_namespaces, image_options
from aiorun.cli.flags import BOOL, INT, Flag
from aiorun.console.signals import Interruptible
from aiorun.errors import UsageError
from aiorun.runtime.checkpoint import CheckpointOptions, checkpoint
from aiorun.store import Store
from aiorun.waiter import PollWaiter, drive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.cli.command import Context
    from aiorun.cli.flags import Options

COMMAND = Command(
    name="checkpoint",
    usage="<container-id>",
    arguments=(1, 1),
    flags=(
        IMAGE_PATH,
        WORK_PATH,
        Flag(("parent-path",), help="path for previous criu image files in pre-dump, relative to --image-path"),
        Flag(("leave-running",), BOOL, help="leave the process running after checkpointing"),
        *IMAGE_FLAGS,
        Flag(("tcp-skip-in-flight",), BOOL, help="skip in-flight TCP connections"),
        Flag(("link-remap",), BOOL, help="remap unlinked files back into the filesystem"),
        LAZY_PAGES,
        Flag(("status-fd",), INT, default=-1, help="criu writes \\0 to this FD once lazy-pages is ready"),
        Flag(("page-server",), help="ADDRESS:PORT of the page server"),
        Flag(("pre-dump",), BOOL, help="dump container's memory information only, leave the container running after this"),
    ),
    description="""\
The checkpoint command saves what a running container is: its processes with their memory and open files, as images of
criu, which has to be installed. The container is deleted then, unless --leave-running or --pre-dump is given. With
"aiorun restore" it goes on from there, on this host or on another one that has the same root file system.

If criu fails, the container goes on as if nothing had been; its log is dump.log, beside the images or in --work-path.
""",
    examples="""\
    # aiorun checkpoint --image-path saved web
    # aiorun restore --detach --image-path saved --bundle mybundle web
""",
)


def run(options: Options, arguments: list[str], context: Context) -> int:
    store = Store(context.root)
    store.open(arguments[0]).close()  # runc says that there is no such container before it looks at the flags
    check_empty_namespaces(options)
    chosen = CheckpointOptions(
        **image_options(options),
        parent=options.string("parent-path"),
        leave_running=options.boolean("leave-running"),
        pre_dump=options.boolean("pre-dump"),
        tcp_skip_in_flight=options.boolean("tcp-skip-in-flight"),
        link_remap=options.boolean("link-remap"),
        status_fd=options.integer("status-fd"),
        page_server=_page_server(options.string("page-server")),
    )
    waiter = Interruptible(PollWaiter())
    drive(checkpoint(store, arguments[0], chosen, waiter=waiter, warn=context.log.warning))
    return 0


def _page_server(text: str) -> tuple[str, int] | None:
    """An address and a port, of IPv6 too: "[::1]:27". Raises UsageError."""
    if not text:
        return None
    address, _, port = text.rpartition(":")
    bracketed = address.startswith("[") and address.endswith("]")
    if not address or not port or (":" in address and not bracketed):
        raise UsageError("Use --page-server ADDRESS:PORT to specify page server")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError("Invalid port number")
    return address.strip("[]"), int(port)
