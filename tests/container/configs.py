"""Changes to config.json that several tests make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.conftest import Change, Config, changed


def writable(change: Change = None) -> Callable[[Config], object]:
    """`change`, and a root file system that the container may write to."""

    def apply(config: Config) -> None:
        config["root"]["readonly"] = False
        changed(config, change)

    return apply


def mounting(
    destination: str, *, kind: str = "tmpfs", source: str = "tmpfs", options: str = "", also: Change = None
) -> Callable[[Config], object]:
    """One more mount, `options` with commas, on a writable root."""

    def apply(config: Config) -> None:
        config["root"]["readonly"] = False
        mount: dict[str, Any] = {"destination": destination, "type": kind, "source": source}
        config["mounts"].append({**mount, "options": options.split(",") if options else []})
        changed(config, also)

    return apply


def namespaces(**paths: str | None) -> Callable[[Config], object]:
    """Namespaces by type: a path to join, "" for a new one, None for the host's. Others stay."""

    def apply(config: Config) -> None:
        config["root"]["readonly"] = False
        kept = [entry for entry in config["linux"]["namespaces"] if entry["type"] not in paths]
        asked = [{"type": kind, "path": path} if path else {"type": kind} for kind, path in paths.items() if path is not None]
        config["linux"]["namespaces"] = kept + asked

    return apply


def both(*changes: Change) -> Callable[[Config], object]:
    """One change after another."""

    def apply(config: Config) -> None:
        for change in changes:
            changed(config, change)

    return apply
