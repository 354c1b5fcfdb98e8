"""Containers in a user namespace of their own: bundles whose files are the mapped root's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import Bundles, Change, Config, changed

FIRST, COUNT = 100000, 65536  # what the container's ids are outside


def mapped(config: Config) -> None:
    """A new user namespace with FIRST as its root."""
    config["root"]["readonly"] = False
    config["linux"]["namespaces"].append({"type": "user"})
    for member in ("uidMappings", "gidMappings"):
        config["linux"][member] = [{"containerID": 0, "hostID": FIRST, "size": COUNT}]


def joining(pid: int, *names: str) -> Change:
    """The user namespace of the process `pid`, and these others of it: by their names in /proc/PID/ns."""

    def apply(config: Config) -> None:
        types = {"net": "network", "mnt": "mount"}
        paths = {types.get(name, name): f"/proc/{pid}/ns/{name}" for name in ("user", *names)}
        others = [entry for entry in config["linux"]["namespaces"] if entry["type"] not in paths]
        config["linux"]["namespaces"] = others + [{"type": kind, "path": path} for kind, path in paths.items()]
        if "uts" in names:
            config.pop("hostname", None)

    return apply


class MappedBundles(Bundles):
    """Bundles as ever, but in a user namespace unless `change` says other things of it."""

    def __call__(self, change: Change = None, *, args: list[str] | None = None, terminal: bool = False) -> Path:
        def both(config: Config) -> None:
            mapped(config)
            changed(config, change)

        made = super().__call__(both, args=args, terminal=terminal)
        for path in everything(made / "rootfs"):
            os.chown(path, FIRST, FIRST, follow_symlinks=False)
        return made


def everything(top: Path) -> Iterator[Path]:
    yield top
    for directory, directories, files in os.walk(top):
        for name in (*directories, *files):
            yield Path(directory, name)
