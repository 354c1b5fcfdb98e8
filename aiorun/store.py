"""The container's directory below the root: state.json, exec.fifo, and the lock that an id is.

`ROOT/ID/` (0711) is made by mkdir, which is what decides between two creates. state.json is whole or absent: written to another
name and renamed. config.json is what the container was made from, whole before there is a state. Changes are made under flock of
the directory, which is never held while waiting.

Who removes a container leaves the mark `removing` there before anything else, and holds its lock until all is gone. So whoever
creates or starts it meanwhile learns that the other one has won, and of two deletes the second waits.
"""

from __future__ import annotations

import fcntl
import os

from aiorun.errors import AiorunError, ContainerExists, ContainerNotFound, InvalidId, InvalidState, reason
from aiorun.linux.pidfd import start_time
from aiorun.undo import Undo
from aiorun.wire.json import dumps, loads
from aiorun.wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_STATE, _NEXT_STATE, _CONFIG, FIFO = "state.json", ".state.json", "config.json", "exec.fifo"
_REMOVING = "removing"
# A delete that is killed on the way can be done again: what it needs goes last.
_NOTIFY = "notify"  # a directory of its own, since the container has it as a mount
_REMOVED_LAST = {_STATE: 1, _REMOVING: 2}
_FILE_LIMIT = 1 << 27  # more than any checked config.json has as ASCII
_ID_LIMIT = 1024
_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")
NEVER_EXECD = 0x40  # PF_FORKNOEXEC, linux/sched.h: set from fork to execve


class State(Record):
    """What is remembered of a container. `pid` 0: no init yet. `status` is creating, created, or running for one that
    criu has restored, which never exec'd: the rest is seen."""

    oci_version: str
    id: str
    bundle: str
    rootfs: str
    created: str  # RFC 3339 with nanoseconds, UTC
    owner: int  # uid
    status: str = "creating"
    pid: int = 0
    start_time: int = 0
    cgroup_paths: dict[str, str] = {}
    unit: dict[str, Any] = {}  # systemd's, where that made the cgroup: aiorun.cgroups.systemd.Unit
    private_pid_namespace: bool = True
    annotations: dict[str, str] = {}
    hooks: dict[str, Any] = {}
    updated: dict[str, Any] = {}  # of linux.resources: what `update` has changed since
    external_descriptors: list[str] = []  # what 0, 1 and 2 are, as /proc/PID/fd shows them: for a checkpoint's pipes
    no_new_keyring: bool = False
    resctrl: dict[str, str] = {}  # the aiorun.cgroups.resctrl.Group

    def replace(self, **changes: Any) -> State:
        return State(**{**self.__dict__, **changes})


def check_id(id: str) -> None:
    """Raises InvalidId for what can't be the name of a directory, in runc's words."""
    if not id:
        raise InvalidId("container id cannot be empty")
    if not _ID_CHARACTERS.issuperset(id) or id in (".", "..") or len(id) > _ID_LIMIT:
        raise InvalidId("invalid container ID format")


class Store:
    """The containers below one root directory."""

    def __init__(self, root: str) -> None:
        self.root = root

    def make(self, id: str) -> Directory:
        """Take the id. Raises InvalidId, ContainerExists, AiorunError."""
        check_id(id)
        path = f"{self.root}/{id}"
        try:
            try:
                os.mkdir(path, 0o711)
            except FileNotFoundError:
                self._make_root()
                os.mkdir(path, 0o711)
        except FileExistsError:
            raise ContainerExists(id) from None
        except OSError as error:
            raise AiorunError(f'make the directory "{path}": {reason(error)}') from None
        with Undo() as undo:
            undo.add(lambda: os.rmdir(path))
            directory = Directory(self.root, id)
            undo.add(directory.close)
            directory.open_to_init()
            undo.commit()
        return directory

    def _make_root(self) -> None:
        os.makedirs(self.root, 0o700, exist_ok=True)
        if os.path.dirname(self.root) == os.environ.get("XDG_RUNTIME_DIR"):
            os.chmod(self.root, 0o1700)  # basedir-spec: what isn't sticky there may be tidied up after six hours

    def open(self, id: str) -> Directory:
        """The directory of an id that is taken. Raises InvalidId, ContainerNotFound."""
        check_id(id)
        return Directory(self.root, id)

    def notify_directory(self, id: str) -> str:
        """Where the proxy of NOTIFY_SOCKET listens for container `id`, if it was created with one."""
        return f"{self.root}/{id}/{_NOTIFY}"

    def ids(self) -> list[str]:
        """All ids that are taken, sorted. Raises AiorunError."""
        try:
            return sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise AiorunError(f'read the directory "{self.root}": {reason(error)}') from None


class Directory:
    """One container's directory, by fd. Owns the fd: to be closed."""

    def __init__(self, root: str, id: str) -> None:
        self.id = id
        self.path = f"{root}/{id}"
        try:
            self.fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise ContainerNotFound(id) from None
        except OSError as error:
            raise AiorunError(f'open the directory "{self.path}": {reason(error)}') from None

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def open_to_init(self) -> None:
        """Mode 0711, whatever the umask: the init opens the fifo as the container's user. Raises AiorunError."""
        try:
            os.chmod(self.fd, 0o711)
        except OSError as error:
            raise AiorunError(f'change the mode of the directory "{self.path}": {reason(error)}') from None

    def locked(self) -> Lock:
        """A block in which nobody else changes this container."""
        return Lock(self.fd)

    def read(self) -> State:
        """The state. Raises ContainerNotFound while it is only being made or removed, AiorunError if it can't be understood."""
        try:
            content = self._read_file(_STATE)
        except FileNotFoundError:
            raise ContainerNotFound(self.id) from None
        except OSError as error:
            raise AiorunError(f'open "{self.path}/{_STATE}": {reason(error)}') from None
        try:
            return State(**loads(content))
        except (ValueError, TypeError, AttributeError) as error:
            raise AiorunError(f'read "{self.path}/{_STATE}": {error}') from None

    def write(self, state: State) -> None:
        """Make `state` the state, whole or not at all. To be called within `locked`. Raises InvalidState, AiorunError."""
        self.check_not_removing()
        try:
            self._write_file(_NEXT_STATE, state.__dict__)
            os.rename(_NEXT_STATE, _STATE, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except OSError as error:
            raise AiorunError(f'write "{self.path}/{_STATE}": {reason(error)}') from None

    def read_config(self) -> dict[str, Any]:
        """The checked config.json that the container was made from, whatever its bundle has by now.

        Raises ContainerNotFound or InvalidState if it was removed meanwhile, AiorunError.
        """
        try:
            document = loads(self._read_file(_CONFIG))
        except OSError as error:
            if not _exists(_STATE, self.fd):
                raise ContainerNotFound(self.id) from None
            self.check_not_removing()
            raise AiorunError(f'open "{self.path}/{_CONFIG}": {reason(error)}') from None
        except ValueError as error:
            raise AiorunError(f'read "{self.path}/{_CONFIG}": {error}') from None
        if not isinstance(document, dict):
            raise AiorunError(f'read "{self.path}/{_CONFIG}": not a document')
        return document

    def write_config(self, document: object) -> None:
        """Keep config.json for exec and its kind, once, before there is a state: so that no `state` or `kill` has to read it.

        Raises AiorunError.
        """
        try:
            self._write_file(_CONFIG, document)
        except OSError as error:
            raise AiorunError(f'write "{self.path}/{_CONFIG}": {reason(error)}') from None

    def _read_file(self, name: str) -> bytes:
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd), "rb") as file:
            return file.read(_FILE_LIMIT)

    def _write_file(self, name: str, document: object) -> None:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self.fd)
        try:
            content = memoryview(dumps(document).encode())
            while content:
                content = content[os.write(fd, content) :]
        finally:
            os.close(fd)

    def check_not_removing(self) -> None:
        """Raises InvalidState once somebody removes the container, or has removed it. To be called within `locked`."""
        if os.fstat(self.fd).st_nlink == 0 or _exists(_REMOVING, self.fd):
            raise InvalidState("the container is being deleted")

    def mark_removing(self) -> int:
        """Take the right to remove the container: an fd, which holds it; -1 while another one has it.

        To be called within `locked`. Raises ContainerNotFound once it is removed, AiorunError.
        """
        try:
            fd = os.open(_REMOVING, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self.fd)
        except FileNotFoundError:
            raise ContainerNotFound(self.id) from None
        except OSError as error:
            raise AiorunError(f'make "{self.path}/{_REMOVING}": {reason(error)}') from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return -1
        return fd

    def make_fifo(self, uid: int, gid: int) -> int:
        """exec.fifo, 0622, the container's root's; an O_PATH fd of it for the init. Raises AiorunError."""
        try:
            os.mkfifo(FIFO, 0o622, dir_fd=self.fd)
            os.chmod(FIFO, 0o622, dir_fd=self.fd)  # whatever the umask was
            if (uid, gid) != (os.geteuid(), os.getegid()):
                os.chown(FIFO, uid, gid, dir_fd=self.fd)
            return os.open(FIFO, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
        except OSError as error:
            raise AiorunError(f'make the fifo "{self.path}/{FIFO}": {reason(error)}') from None

    def open_fifo(self) -> int:
        """exec.fifo for reading, at once, whether or not an init waits at it. Raises FileNotFoundError once it's gone."""
        return os.open(FIFO, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)

    def remove_fifo(self) -> None:
        """Somebody has started the container: nobody will again. Raises InvalidState if it's being deleted. Within `locked`."""
        self.check_not_removing()
        _unlink(FIFO, self.fd)

    def remove(self) -> None:
        """Free the id: all files, and the directory. One that is gone already is fine. Within `locked`. Raises AiorunError."""
        if os.fstat(self.fd).st_nlink == 0:
            return  # and whoever has made another one of this name keeps it
        try:
            for name in sorted(os.listdir(self.fd), key=lambda name: _REMOVED_LAST.get(name, 0)):
                if name == _NOTIFY:
                    self._remove_notify()
                else:
                    _unlink(name, self.fd)
            os.rmdir(self.path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise AiorunError(f'remove the directory "{self.path}": {reason(error)}') from None

    def make_notify(self) -> None:
        """The directory of NOTIFY_SOCKET's proxy, which the container has at /run/notify. Raises AiorunError."""
        try:
            os.mkdir(_NOTIFY, 0o755, dir_fd=self.fd)
            os.chmod(_NOTIFY, 0o755, dir_fd=self.fd)  # whatever the umask was
        except OSError as error:
            raise AiorunError(f'make the directory "{self.path}/{_NOTIFY}": {reason(error)}') from None

    def _remove_notify(self) -> None:
        fd = os.open(_NOTIFY, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            for name in os.listdir(fd):
                _unlink(name, fd)
        finally:
            os.close(fd)
        os.rmdir(_NOTIFY, dir_fd=self.fd)


class Lock:
    """flock of a directory. flock(2): it goes with the process, so that a SIGKILL leaves none behind."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *_error: object) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)


def _exists(name: str, directory: int) -> bool:
    return os.access(name, os.F_OK, dir_fd=directory, follow_symlinks=False)


def _unlink(name: str, directory: int) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass


def identity(state: State) -> tuple[str, bool] | None:
    """(state letter, whether it never exec'd) of the container's init, None if that process is gone.

    pid and start time are compared: a pid that was taken by somebody else isn't ours (signals to a reused pid).
    """
    if not state.pid:
        return None
    try:
        started, letter, flags = start_time(state.pid)
    except (ProcessLookupError, ValueError):
        return None
    return (letter, bool(flags & NEVER_EXECD)) if started == state.start_time else None


def read_all(store: Store) -> Iterator[tuple[str, State | AiorunError]]:
    """Each id with its state, or with what is wrong with it. One that goes meanwhile is left out."""
    for id in store.ids():
        try:
            with store.open(id) as directory:
                yield id, directory.read()
        except ContainerNotFound:
            continue
        except AiorunError as error:
            yield id, error
