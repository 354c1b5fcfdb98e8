"""What a security module is to make of the program: AppArmor's profile, SELinux's label. proc_pid_attr(5)."""

from __future__ import annotations

import os

from aiorun.init import root
from aiorun.init.state import StepFailed
from aiorun.linux.file import PROC_SUPER_MAGIC, filesystem_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.init.state import Init
    from aiorun.wire import ops

_ENOENT, _EINVAL = 2, 22

# Of whose label: the files, of which the first that is there is taken, and what goes before the label.
_FILES = {
    "AppArmor": (("apparmor/exec", "exec"), "exec "),
    "SELinux": (("exec",), ""),
    "keyring": (("keycreate",), ""),
}


def set_label(init: Init, step: ops.SetLabel) -> None:
    files, before = _FILES[step.kind]
    for file in files:
        try:
            _write(init, file, before + step.label)
            return
        except OSError as error:
            if error.errno == _ENOENT and file != files[-1] and not _is_there(init, file):
                continue
            raise StepFailed(f"{step.complaint()}: write `/proc/self/attr/{file}`", error.errno or 0) from None


def _attribute(init: Init, file: str) -> int:
    """Of ourselves in the host's procfs, by number: there nothing is a link, or could lead to another file (CVE-2025-52881)."""
    return root.resolve(init.procfs, f"{os.readlink('self', dir_fd=init.procfs)}/attr/{file}", no_symlinks=True)


def _is_there(init: Init, file: str) -> bool:
    try:
        os.close(_attribute(init, file))
    except OSError:
        return False
    return True


def _write(init: Init, file: str, text: str) -> None:
    found = _attribute(init, file)
    try:
        if filesystem_type(found) != PROC_SUPER_MAGIC:  # CVE-2019-16884
            raise OSError(_EINVAL, os.strerror(_EINVAL))
        fd = root.reopen(init.procfs, found, os.O_WRONLY)
    finally:
        os.close(found)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
