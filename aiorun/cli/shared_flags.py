"""Flags that more than one command has, each written once, in runc's words where these say enough."""

from __future__ import annotations

from aiorun.cli.flags import BOOL, INT, Flag

BUNDLE = Flag(("bundle", "b"), help="path to the root of the bundle directory, defaults to the current directory")
CONSOLE_SOCKET = Flag(
    ("console-socket",),
    help="path to an AF_UNIX socket which will receive a file descriptor referencing the master end of the console's "
    "pseudoterminal; a relative path counts from the bundle",
)
PIDFD_SOCKET = Flag(
    ("pidfd-socket",),
    help="path to an AF_UNIX socket which will receive a file descriptor referencing the init process",
)
PID_FILE = Flag(("pid-file",), help="specify the file to write the process id to")
NO_PIVOT = Flag(
    ("no-pivot",),
    BOOL,
    help="do not use pivot root to jail process inside rootfs: for a rootfs on top of a ramdisk",
)
NO_NEW_KEYRING = Flag(
    ("no-new-keyring",),
    BOOL,
    help="do not create a new session keyring for the container, which then inherits the caller's",
)
PRESERVE_FDS = Flag(
    ("preserve-fds",),
    INT,
    help="pass N additional file descriptors to the container (stdio + $LISTEN_FDS + N in total)",
)
DETACH = Flag(("detach", "d"), BOOL, help="detach from the container's process")
NO_SUBREAPER = Flag(("no-subreaper",), BOOL, help="disable the use of the subreaper used to reap reparented processes")
FORMAT = Flag(("format", "f"), default="table", help="select one of: table or json")

# What create takes, and run besides its own. runc create --help
CREATE_FLAGS = (BUNDLE, CONSOLE_SOCKET, PIDFD_SOCKET, PID_FILE, NO_PIVOT, NO_NEW_KEYRING, PRESERVE_FDS)
