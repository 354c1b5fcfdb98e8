"""The flags that checkpoint and restore have in common."""

from __future__ import annotations

import os

from aiorun.cli.flags import BOOL, STRINGS, Flag
from aiorun.errors import AiorunError, UsageError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from aiorun.cli.flags import Options

IMAGE_PATH = Flag(("image-path",), help="path for the criu image files (default: checkpoint in the current directory)")
WORK_PATH = Flag(("work-path",), help="path for saving work files and logs (default: beside the images)")
LAZY_PAGES = Flag(("lazy-pages",), BOOL, help="use userfaultfd to lazily restore memory pages")
IMAGE_FLAGS = (
    Flag(("tcp-established",), BOOL, help="allow open tcp connections"),
    Flag(("ext-unix-sk",), BOOL, help="allow external unix sockets"),
    Flag(("shell-job",), BOOL, help="allow shell jobs"),
    Flag(("file-locks",), BOOL, help="handle file locks, for safety"),
    Flag(("manage-cgroups-mode",), help="cgroups mode: 'soft' (default), 'full', 'strict' and 'ignore'"),
    Flag(("empty-ns",), STRINGS, help="create a namespace, but don't restore its properties"),
    Flag(("auto-dedup",), BOOL, help="enable auto deduplication of memory images"),
)


def image_options(options: Options) -> dict[str, Any]:
    """The fields of `ImageOptions`. Paths count from the caller's directory. Raises AiorunError."""
    try:
        work = options.string("work-path")
        fields: dict[str, Any] = {
            "images": os.path.abspath(options.string("image-path") or "checkpoint"),
            "work": os.path.abspath(work) if work else "",
        }
    except OSError as error:
        raise AiorunError(f"find the current directory for --image-path: {reason(error)}") from None
    for name in ("tcp-established", "ext-unix-sk", "shell-job", "file-locks", "auto-dedup", "lazy-pages"):
        fields[name.replace("-", "_")] = options.boolean(name)
    return {**fields, "manage_cgroups_mode": options.string("manage-cgroups-mode")}


def check_empty_namespaces(options: Options) -> None:
    """A network namespace, which is empty in any case, is the only one that criu can leave so. Raises UsageError."""
    for name in options.strings("empty-ns"):
        if name != "network":
            raise UsageError(f'namespace "{name}" is not supported')
