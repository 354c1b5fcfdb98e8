"""What a supervisor may say of a checkpoint and of a restore. The names are those of the command line's flags."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from aiorun.runtime.create import Created, Options
    from aiorun.spec.types import Spec
    from aiorun.store import Store


class ImageOptions(TypedDict, total=False):
    """What both take. `work` is a directory for criu's logs, which else are beside the images."""

    work: str | os.PathLike[str]
    tcp_established: bool
    ext_unix_sk: bool
    shell_job: bool
    file_locks: bool
    auto_dedup: bool
    lazy_pages: bool
    manage_cgroups_mode: str


class CheckpointOptions(ImageOptions, total=False):
    """What `Container.checkpoint` takes beside the directory. `parent` is relative to that."""

    parent: str
    leave_running: bool
    pre_dump: bool
    tcp_skip_in_flight: bool
    link_remap: bool
    page_server: tuple[str, int]


class RestoreOptions(ImageOptions, total=False):
    """What `Runtime.restore` takes of criu's options."""

    lsm_profile: str
    lsm_mount_context: str


def with_paths(images: str | os.PathLike[str], options: ImageOptions) -> dict[str, Any]:
    """The fields of aiorun.runtime.criu.images.ImageOptions: both directories by their absolute paths."""
    work = options.get("work")
    return {**options, "images": os.path.abspath(images), "work": os.path.abspath(work) if work else ""}


class Images:
    """Images to make a container from. aiorun.runtime.restore is loaded only here: few supervisors have criu."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    async def restore(self, store: Store, id: str, spec: Spec, bundle: str, options: Options, **doing: Any) -> Created:
        """`aiorun.runtime.restore.restore`, with `create`'s arguments."""
        from aiorun.runtime import restore

        return await restore.restore(store, id, spec, bundle, options, restore.RestoreOptions(**self._fields), **doing)
