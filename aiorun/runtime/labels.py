"""Whether this host has what labels ask for. Whoever asks for one that nobody heeds would be without what it is to protect."""

from __future__ import annotations

import os

from aiorun.errors import InvalidSpec
from aiorun.linux.file import filesystem_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.spec.types import Spec

_SELINUX_MAGIC = 0xF97CFF8C  # linux/magic.h
_PLACES = ("/sys/fs/selinux", "/selinux")


def require_modules(spec: Spec) -> None:
    """Raises InvalidSpec, in runc's words, for a label of a security module that is off."""
    process = spec["process"]
    if process.get("apparmorProfile") and not has_apparmor():
        raise InvalidSpec("process.apparmorProfile", "apparmor: config provided but apparmor not supported")
    for at, label in (("process.selinuxLabel", process.get("selinuxLabel")), ("linux.mountLabel", _mount_label(spec))):
        if label and not has_selinux():
            raise InvalidSpec(at, "selinux label is specified in config, but selinux is disabled or not supported")


def _mount_label(spec: Spec) -> str:
    return spec.get("linux", {}).get("mountLabel", "")


def has_apparmor() -> bool:
    """As runc finds it out."""
    try:
        with open("/sys/module/apparmor/parameters/enabled", "rb") as file:
            return file.read(1) == b"Y" and os.path.exists("/sys/kernel/security/apparmor")
    except OSError:
        return False


def has_selinux() -> bool:
    """Whether its file system is mounted, which it is where it's on."""
    for place in _PLACES:
        try:
            if filesystem_of(place)[0] == _SELINUX_MAGIC:
                return True
        except OSError:
            pass
    return False
