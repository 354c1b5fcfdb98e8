"""A container's cgroup: what v1 and v2 have in common. `v1` and `v2` fill in the rest."""

from __future__ import annotations

import os
import time

from aiorun.cgroups import files
from aiorun.errors import CgroupError, reason
from aiorun.undo import Undo
from aiorun.wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from aiorun.cgroups.restore import Before
    from aiorun.cgroups.systemd import Unit
    from aiorun.waiter import Waiter

    Resources = Mapping[str, Any]  # linux.resources of a checked config.json

_KILL = 9
_BUSY = 16  # EBUSY
_REMOVE_SECONDS, _FREEZE_SECONDS, _QUIET_FREEZE_SECONDS = 1.0, 2.0, 0.1
_TRIES = 3  # of mkdir, while a delete beside us takes the parent away again
_PASSES = 3  # of KILL over a tree that goes on forking, before it's frozen for it


class Usage(Record):
    """What the processes of a cgroup used so far. None: this kernel or host doesn't tell."""

    cpu_seconds: float | None
    peak_memory_bytes: int | None


class Cgroup:
    """One container's cgroup, in as many hierarchies as the host has.

    `paths` are its directories, keyed by controller as runc's state.json has them ("" is the v2 hierarchy).
    """

    unit: Unit | None = None  # systemd's, which makes it around a process (`enclose`); None: we make it ourselves

    def __init__(self, paths: dict[str, str]) -> None:
        self.paths = paths
        self._made: list[str] = []
        self._before: Before | None = None

    # --- life

    def create(self) -> None:
        """Make all its directories, parents too. On an error nothing that was made is left.

        Raises CgroupError, also where the cgroup is there already and frozen or in use: limits that fit two
        containers don't exist, and who joins a frozen one hangs.
        """
        with Undo() as undo:
            for path, name in self._directories().items():
                self._make(name, path, undo)
            undo.commit()

    async def enclose(
        self,
        pid: int,
        resources: Resources,
        devices: Sequence[Mapping[str, Any]] | None,
        annotations: Mapping[str, str],
        waiter: Waiter,
    ) -> None:
        """Have systemd make it, around the process `pid`, with the limits that it keeps itself. Only where it has a `unit`.

        `annotations` are config.json's, which may have properties for the unit. `complete` makes what systemd doesn't.
        Raises CgroupError, InvalidSpec.
        """
        raise NotImplementedError

    def complete(self) -> None:
        """After `enclose`: make the directories of the controllers that systemd leaves alone. Raises CgroupError."""
        raise NotImplementedError

    async def inform(self, resources: Resources, waiter: Waiter) -> None:
        """After an `apply` with `update`: have systemd keep the same limits. Only where it has a `unit`. Raises CgroupError.

        systemd writes its own idea of them into the files, so that another `apply` has to follow.
        """
        raise NotImplementedError

    def _directories(self) -> dict[str, str]:
        """Each directory once, with its first controller (v1 mounts some together: cpu,cpuacct)."""
        found: dict[str, str] = {}
        for name, path in self.paths.items():
            found.setdefault(path, name)
        return found

    def _make(self, name: str, path: str, undo: Undo) -> None:
        raise NotImplementedError

    def _mkdir(self, path: str, undo: Undo) -> bool:
        """Make a directory, and its parents if need be; whether it wasn't there before."""
        for _ in range(_TRIES):
            try:
                os.mkdir(path, 0o755)
            except FileExistsError:
                return False
            except FileNotFoundError:
                self._mkdir(os.path.dirname(path), undo)
            except OSError as error:
                raise CgroupError(f"make cgroup {path}: {reason(error)}") from None
            else:
                self._made.append(path)
                undo.add(lambda: self._unmake(path))
                return True
        raise CgroupError(f"make cgroup {path}: its parent is removed each time it is made")

    def _unmake(self, path: str) -> None:
        self._made.remove(path)
        os.rmdir(path)

    def _refuse_used(self, path: str) -> None:
        """For a directory that was there before us: refuse it frozen or with processes in it. config-linux.md, cgroup path."""
        if pids := [pid for directory in files.tree(path) for pid in files.processes(directory)]:
            raise CgroupError(f"container's cgroup is not empty: {len(pids)} process(es) found in {path}")
        if self.frozen():
            raise CgroupError(f"container's cgroup unexpectedly frozen: {path}")

    def exists(self) -> bool:
        """Whether any of its directories is there."""
        return any(map(os.path.isdir, self.paths.values()))

    def give_to(self, uid: int) -> None:
        """Let a user of the host make cgroups below it, where the kernel allows that: on v2. Raises CgroupError."""

    def add(self, pid: int) -> None:
        """Move a process into it, in all hierarchies. Raises CgroupError."""
        for path in self._directories():
            try:
                files.write(f"{path}/cgroup.procs", str(pid))
            except OSError as error:
                raise CgroupError(f"put process {pid} into cgroup {path}: {reason(error)}") from None

    async def remove(self, waiter: Waiter) -> None:
        """Remove its directories, and child cgroups with them; gone already is fine.

        A process that was killed stays in its cgroup until it is dead: EBUSY is retried for up to a second.
        Raises CgroupError for a directory that is still in use then; the others are removed all the same.
        """
        left = list(self._directories())
        errors: dict[str, OSError] = {}

        def all_gone() -> bool:
            errors.clear()
            for path in left:
                if error := _rmdir(path):
                    errors[path] = error
            left[:] = errors
            return not any(error.errno == _BUSY for error in errors.values())

        await _until(waiter, all_gone, _REMOVE_SECONDS)
        for path in reversed(self._made):  # the parents that we made ourselves, unless someone else moved in
            _rmdir(path, recursive=False)
        self._made.clear()
        for path, error in errors.items():
            raise CgroupError(f"remove cgroup {path}: {reason(error)}")

    # --- limits: v1 and v2

    def apply(
        self,
        resources: Resources,
        devices: Sequence[Mapping[str, Any]] | None = None,
        *,
        update: bool = False,
        before: Before | None = None,
    ) -> None:
        """Set what `linux.resources` asks for. Zero means unset, -1 unlimited, as in runc.

        The device rules are completed by the default ones (`aiorun.cgroups.devices.device_rules`; `devices` is
        linux.devices), and left alone in an `update`: CRI's updates deny everything. `before` remembers what each limit
        was. Raises CgroupError that names the JSON path, the value and the file.
        """
        self._before = before
        self._apply(resources, devices, update=update)

    def _apply(self, resources: Resources, devices: Sequence[Mapping[str, Any]] | None, *, update: bool) -> None:
        raise NotImplementedError

    # --- processes

    def pids(self, *, recursive: bool = True) -> list[int]:
        """The pids in it and (`recursive`) in its child cgroups, as our pid namespace sees them. None once it's gone."""
        path = self._processes_path()
        directories = files.tree(path) if recursive else [path]
        return [pid for directory in directories for pid in files.processes(directory)]

    def _processes_path(self) -> str:
        raise NotImplementedError

    async def kill(self, signal: int, waiter: Waiter) -> None:
        """Send `signal` to every process in it. KILL reaches those that fork meanwhile, and those in a frozen cgroup."""
        if signal != _KILL:
            _send(signal, self.pids())
            return
        await self._kill_all(waiter)

    async def _kill_all(self, waiter: Waiter) -> None:
        sent: set[int] = set()
        passes = 0
        try:
            while pids := set(self.pids()) - sent:
                passes += 1
                if passes > _PASSES:  # they fork faster than we kill: a frozen process doesn't fork
                    await self._freeze_quietly(waiter)
                    pids = set(self.pids())
                _send(_KILL, pids)
                sent |= pids
        finally:
            if self.frozen():
                self.thaw_quietly()  # a frozen v1 process dies only once it is thawed

    async def _freeze_quietly(self, waiter: Waiter) -> None:
        try:
            await self._freeze(waiter, _QUIET_FREEZE_SECONDS)
        except CgroupError:
            pass  # no freezer, or the cgroup is gone: then the next pass sees it

    # --- freezer

    async def freeze(self, waiter: Waiter) -> None:
        """Stop all its processes where they are; returns when they have stopped. Raises CgroupError after 2 seconds."""
        stopped = False
        try:
            stopped = await self._freeze(waiter, _FREEZE_SECONDS)
        finally:
            if not stopped:  # cancelled, too: nobody knows then that someone has to thaw it
                self.thaw_quietly()
        if not stopped:
            raise CgroupError(f"freeze cgroup {self._freezer()}: its processes did not stop within {_FREEZE_SECONDS:g} seconds")

    async def _freeze(self, waiter: Waiter, seconds: float) -> bool:
        self._request_freeze()
        return await _until(waiter, self._has_stopped, seconds)

    def thaw_quietly(self) -> None:
        """`thaw`, where it's no fault that the cgroup is gone."""
        try:
            self.thaw()
        except CgroupError:
            pass  # gone meanwhile: nothing in it is frozen

    def thaw(self) -> None:
        """Let its processes go on. Raises CgroupError."""
        raise NotImplementedError

    def frozen(self) -> bool:
        """Whether it is frozen, or about to be. False where it isn't there, or its host has no freezer."""
        raise NotImplementedError

    def _freezer(self) -> str:
        raise NotImplementedError

    def _request_freeze(self) -> None:
        raise NotImplementedError

    def _has_stopped(self) -> bool:
        raise NotImplementedError

    def _toggle(self, file: str, value: str) -> None:
        verb = "freeze" if value in ("FROZEN", "1") else "thaw"
        try:
            files.write(f"{self._freezer()}/{file}", value)
        except OSError as error:
            raise CgroupError(f"{verb} cgroup {self._freezer()}: {reason(error)}") from None

    # --- what it used

    def oom_kills(self) -> int:
        """How many of its processes the kernel killed for want of memory."""
        raise NotImplementedError

    def usage(self) -> Usage:
        """CPU time and peak memory so far. Read it before the cgroup is removed."""
        raise NotImplementedError


def _send(signal: int, pids: list[int] | set[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal)
        except ProcessLookupError:
            pass
        except OSError as error:
            raise CgroupError(f"send signal {signal} to process {pid}: {reason(error)}") from None


def _rmdir(path: str, *, recursive: bool = True) -> OSError | None:
    """Remove a cgroup; the error if it could not be. rmdir(2) of a cgroup doesn't mind its files."""
    try:
        os.rmdir(path)
        return None
    except FileNotFoundError:
        return None
    except OSError as error:
        failure = error
    if not os.path.isdir(path):  # EROFS comes for a path that isn't there too
        return None
    if not recursive or failure.errno != _BUSY:
        return failure
    for child in files.children(path):
        if (child_failure := _rmdir(child)) is not None:
            return child_failure
    return _rmdir(path, recursive=False)


async def _until(waiter: Waiter, done: Callable[[], bool], seconds: float) -> bool:
    """Wait until `done()`, at most `seconds`: the kernel has no fd that tells. Whether it is done."""
    deadline = time.monotonic() + seconds
    pause = 0.0005
    while not done():
        if time.monotonic() >= deadline:
            return done()
        await waiter.sleep(pause)
        pause = min(pause * 2, 0.02)
    return True
