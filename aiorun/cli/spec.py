"""aiorun spec: write a bundle's first config.json."""

from __future__ import annotations

import os

from aiorun.cli.command import Command
from aiorun.cli.flags import BOOL, Flag
from aiorun.cli.output import write
from aiorun.errors import AiorunError, reason
from aiorun.undo import Undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.cli.command import Context
    from aiorun.cli.flags import Options

COMMAND = Command(
    name="spec",
    flags=(
        Flag(("bundle", "b"), help="path to the root of the bundle directory"),
        Flag(("rootless",), BOOL, help="generate a configuration for a rootless container"),
    ),
    description="""\
The spec command writes a file named "config.json", the specification of a container, into the current directory or
the bundle given with --bundle. It never overwrites one that is there.

The file is a starting point, meant to be edited: process.args is the command to run ("sh" at first), root.path the
directory with the root file system ("rootfs"). A line "terminal": true gives the command a terminal of its own.

With --rootless the container maps its root to the caller, for those who may not be root on this host.
""",
    examples="""\
A bundle from the host's busybox, and a container that says hello:

    # mkdir -p hello/rootfs/bin && cd hello
    # cp /bin/busybox rootfs/bin/ && ln -s busybox rootfs/bin/sh && ln -s busybox rootfs/bin/echo
    # aiorun spec
    # sed -i 's;"sh";"echo", "hello";' config.json
    # aiorun run hello
""",
)


def run(options: Options, arguments: list[str], context: Context) -> int:
    from aiorun.spec.defaults import default_document
    from aiorun.wire.json import dumps_indented

    document = default_document(rootless=options.boolean("rootless"), uid=os.geteuid(), gid=os.getegid())
    _write_new(os.path.join(options.string("bundle"), "config.json"), dumps_indented(document, step="\t"))
    return 0


def _write_new(path: str, text: str) -> None:
    """Make the file `path` with what the umask leaves of mode 0666. Raises AiorunError, also where one is there."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        raise AiorunError("File config.json exists. Remove it first") from None
    except OSError as error:
        raise AiorunError(f'create "{path}": {reason(error)}') from None
    with Undo() as undo:
        undo.add(lambda: os.unlink(path))
        try:
            write(fd, text)
        except OSError as error:
            raise AiorunError(f'write "{path}": {reason(error)}') from None
        finally:
            os.close(fd)
        undo.commit()
