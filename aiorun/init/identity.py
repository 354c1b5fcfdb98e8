"""Who the process is: namespaces, names, ids, capabilities, limits, working directory."""

from __future__ import annotations

import os

from aiorun.init import root
from aiorun.init.state import StepFailed
from aiorun.linux import interface, memory, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.init.state import Init
    from aiorun.wire import ops

_EINVAL, _EPERM, _ENOSYS, _EROFS = 22, 1, 38, 30
_LAST_CAPABILITY = 63
_NULL = os.makedev(1, 3)


def join_namespace(init: Init, step: ops.JoinNamespace) -> None:
    fd = init.files.pop(step.fd)
    process.setns(fd, step.flag)
    os.close(fd)


def copy_pages(init: Init, step: ops.CopyPages) -> None:
    memory.copy_shared_pages(init.procfs)


def join_cgroup(init: Init, step: ops.JoinCgroup) -> None:
    fd = os.open(f"{step.source}/{step.file}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"0")
    finally:
        os.close(fd)


def unshare_cgroup(init: Init, step: ops.UnshareCgroup) -> None:
    process.unshare(process.CLONE_NEWCGROUP)


def new_session(init: Init, step: ops.NewSession) -> None:
    os.setsid()


def join_keyring(init: Init, step: ops.JoinKeyring) -> None:
    try:
        process.join_session_keyring(step.name)
    except OSError as error:
        if error.errno != _ENOSYS:  # a kernel without keyrings has no caller's keyring to protect either
            raise


def loopback_up(init: Init, step: ops.LoopbackUp) -> None:
    interface.set_up("lo")


def set_hostname(init: Init, step: ops.SetHostname) -> None:
    process.set_hostname(step.name)


def set_domainname(init: Init, step: ops.SetDomainname) -> None:
    process.set_domainname(step.name)


def write_sysctl(init: Init, step: ops.WriteSysctl) -> None:
    found = root.resolve(init.procfs, f"sys/{step.path}", no_symlinks=True)  # CVE-2025-52881
    try:
        fd = root.reopen(init.procfs, found, os.O_WRONLY)
    finally:
        os.close(found)
    try:
        os.write(fd, step.value.encode())
    finally:
        os.close(fd)


def set_no_new_privileges(init: Init, step: ops.SetNoNewPrivileges) -> None:
    process.set_no_new_privileges()


def set_umask(init: Init, step: ops.SetUmask) -> None:
    os.umask(step.mask)


def drop_bounding(init: Init, step: ops.DropBounding) -> None:
    for capability in range(_LAST_CAPABILITY + 1):
        if not step.keep >> capability & 1:
            try:
                process.drop_from_bounding_set(capability)
            except OSError as error:
                if error.errno == _EINVAL:
                    return  # the kernel's last one was before this
                raise


def change_directory(init: Init, step: ops.ChangeDirectory) -> None:
    try:
        fd = root.resolve(init.root, step.target)
        try:
            os.fchdir(fd)
        finally:
            os.close(fd)
    except PermissionError:
        init.directory_pending = step.target  # an NFS with root_squash, a FUSE of the user's


def verify_directory(init: Init, step: ops.VerifyDirectory) -> None:
    if init.directory_pending:
        fd = root.resolve(init.root, init.directory_pending)
        os.fchdir(fd)
        os.close(fd)
    if not os.getcwd().startswith("/"):  # getcwd(3): "(unreachable)" before a directory outside our root
        raise StepFailed(
            "current working directory is outside of container mount namespace root -- possible container breakout detected"
        )


def set_ids(init: Init, step: ops.SetIds) -> None:
    process.keep_capabilities(True)
    _give_stdio_to(init, step.uid)
    set_groups(init, step.groups)
    process.set_gid(step.gid)
    process.set_uid(step.uid)
    process.set_dumpable(False)  # prctl(2): a change of ids makes it what fs.suid_dumpable says


def set_groups(init: Init, groups: tuple[int, ...]) -> None:
    """The supplementary groups. Where a user namespace forbids to set them, none may be asked for. user_namespaces(7), "deny"."""
    try:
        process.set_groups(groups)
    except PermissionError as error:
        if not _may_not_set_groups(init):
            raise
        if groups:
            raise StepFailed("cannot set any additional groups in a rootless container (process.user.additionalGids)") from error


def _may_not_set_groups(init: Init) -> bool:
    fd = os.open("self/setgroups", os.O_RDONLY | os.O_CLOEXEC, dir_fd=init.procfs)
    try:
        return os.read(fd, 16).strip() == b"deny"
    finally:
        os.close(fd)


def _give_stdio_to(init: Init, uid: int) -> None:
    """Let the user open /dev/stdout and its kind, which are its 0, 1, 2 again. As in runc, /dev/null isn't touched."""
    for fd in (0, 1, 2):
        try:
            found = os.fstat(fd)
            if found.st_rdev == _NULL:
                _take_own_null(init, fd)
            elif found.st_uid != uid:
                os.fchown(fd, uid, -1)
        except OSError as error:
            if error.errno not in (_EINVAL, _EPERM, _EROFS, 9):  # not ours to give, or not there
                raise


def _take_own_null(init: Init, fd: int) -> None:
    """The container's /dev/null for the host's, which no checkpoint could keep: it's on none of the container's mounts."""
    if init.root < 0:
        return
    try:
        found = root.resolve(init.root, "/dev/null", no_symlinks=True)
        try:
            if os.fstat(found).st_rdev == _NULL:
                null = root.reopen(init.procfs, found, os.O_RDWR)
                os.dup2(null, fd)
                os.close(null)
        finally:
            os.close(found)
    except OSError:
        pass  # a container without one keeps ours


def set_capabilities(init: Init, step: ops.SetCapabilities) -> None:
    process.keep_capabilities(False)
    ours = process.get_permitted_set()  # what isn't ours to give is left out: config.md, "Linux Process", since 1.1
    process.set_capability_sets(
        effective=step.effective & ours, permitted=step.permitted & ours, inheritable=step.inheritable & ours
    )
    process.clear_ambient_set()
    for capability in range(_LAST_CAPABILITY + 1):
        if step.ambient & ours & 1 << capability:
            process.raise_ambient(capability)
    process.set_dumpable(False)  # as after the ids


def set_rlimit(init: Init, step: ops.SetRlimit) -> None:
    process.set_rlimit(step.resource, step.soft, step.hard)
