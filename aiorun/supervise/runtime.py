"""A supervisor's containers: made, found, run."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from math import inf
from typing import TYPE_CHECKING, cast

import trio

from aiorun.errors import AiorunError
from aiorun.launch.client import Launcher
from aiorun.runtime.create import Options, create
from aiorun.runtime.process import open_init
from aiorun.spec import check, read, require_process, require_root, unsupported
from aiorun.store import Store
from aiorun.supervise.container import Container
from aiorun.supervise.exit import Result
from aiorun.supervise.streams import DEVNULL, PIPE, Stdio
from aiorun.trio_waiter import TrioWaiter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.lowlevel import FdStream

    from aiorun.spec.types import Process, Spec
    from aiorun.supervise.streams import Redirection, Size


class Runtime:
    """A supervisor's containers. `root` is the directory of their state, the same as the command line's `--root`.

    A Runtime has one launcher process, started with the first container and ended by `async with`'s end. Containers that were
    made with `create` and not deleted outlive it.
    """

    def __init__(self, root: str | os.PathLike[str] = "/run/aiorun") -> None:
        self._store = Store(os.path.abspath(root))
        self._waiter = TrioWaiter()
        self._launcher = Launcher(self._waiter)
        self._runs = 0

    async def __aenter__(self) -> Runtime:
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the launcher."""
        self._launcher.close()

    async def create(
        self,
        id: str,
        *,
        bundle: str | os.PathLike[str] | None = None,
        spec: Spec | None = None,
        stdin: Redirection = DEVNULL,
        stdout: Redirection = None,
        stderr: Redirection = None,
        terminal: Size | None = None,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
    ) -> Container:
        """Make a container whose program waits for `Container.start`.

        A cancel or an error leaves nothing: no process, mount, cgroup, directory or fd. What was made stays until `delete`,
        also when this process ends; `container` is the way to have it deleted.

        Args:
          bundle: the directory with config.json, which `spec` replaces if it's given; relative paths of it count from there.
          stdin, stdout, stderr: as `trio.run_process` has them: None is our own, PIPE makes a stream of the Container's,
            DEVNULL, an fd, something with a fileno(), or the path of a file, which is appended to. STDOUT for stderr.
          terminal: give the program a terminal of this size, `Container.terminal`, instead of the three.

        Raises InvalidSpec, UnsupportedSpec, ContainerExists, InitFailed and other AiorunErrors.
        """
        await trio.lowlevel.checkpoint()
        directory = os.path.abspath(bundle) if bundle is not None else "/"
        document = _with_terminal(_checked(read(directory) if spec is None else spec), terminal)
        options = Options(detached=False, no_pivot=no_pivot, no_new_keyring=no_new_keyring)
        with Stdio(stdin, stdout, stderr, terminal=bool(document["process"].get("terminal"))) as stdio:
            created = await create(
                self._store, id, document, directory, options, waiter=self._waiter, spawner=self._launcher, files=stdio.files
            )
            return Container(self._store, created.state, created.pidfd, spec=document, stdio=stdio)

    @asynccontextmanager
    async def container(self, id: str, *, grace: float = 0, **options: object) -> AsyncIterator[Container]:
        """A container that lasts as long as the block: `create`'s arguments; on every way out it is ended and deleted.

        With `grace` its program gets TERM, and KILL only that many seconds later; not so where we are cancelled.
        """
        container = await self.create(id, **options)  # type: ignore[arg-type]  # the same arguments, checked there
        try:
            yield container
            if grace:
                await container.stop(grace=grace)
        finally:
            with trio.CancelScope(shield=True):
                await container.aclose()

    async def load(self, id: str) -> Container:
        """A container that is there already, made by whomever. Raises ContainerNotFound."""
        await trio.lowlevel.checkpoint()
        with self._store.open(id) as directory:
            state = directory.read()
        return Container(self._store, state, open_init(state), spec=None, stdio=None)

    async def load_all(self) -> list[Container]:
        """All containers of the root; broken entries and those that are only being made are left out."""
        found = []
        for id in self._store.ids():
            try:
                found.append(await self.load(id))
            except AiorunError:
                continue
        return found

    async def run(
        self,
        spec: Spec | None = None,
        *,
        id: str | None = None,
        bundle: str | os.PathLike[str] | None = None,
        input: bytes = b"",
        capture_output: bool = False,
        timeout: float | None = None,
    ) -> Result:
        """A container from its creation to its end, deleted: like `trio.run_process`.

        `input` is its standard input. With `capture_output` what it says is in the Result, else it goes where ours goes.
        After `timeout` seconds it is killed with all its processes, and the Result says so.
        """
        self._runs += 1
        name = id or f"run-{os.getpid()}-{self._runs}-{os.urandom(4).hex()}"
        stdout = stderr = PIPE if capture_output else None
        said: dict[str, bytes] = {"stdout": b"", "stderr": b""}
        async with self.container(
            name, spec=spec, bundle=bundle, stdin=PIPE if input else DEVNULL, stdout=stdout, stderr=stderr
        ) as job:
            with trio.move_on_after(inf if timeout is None else timeout) as scope:
                await job.start()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_feed, job.stdin, input)
                    for which, stream in (("stdout", job.stdout), ("stderr", job.stderr)):
                        nursery.start_soon(_collect, stream, which, said)
                    await job.wait()
            if scope.cancelled_caught:
                await job.kill("KILL")
            exit = await job.wait()
        return Result(exit, said["stdout"], said["stderr"], scope.cancelled_caught)


async def run(
    spec: Spec | None = None,
    *,
    bundle: str | os.PathLike[str] | None = None,
    input: bytes = b"",
    capture_output: bool = False,
    timeout: float | None = None,
) -> Result:
    """`Runtime.run` with a Runtime of its own. For more than one container make a Runtime, which keeps its launcher."""
    async with Runtime() as runtime:
        return await runtime.run(spec, bundle=bundle, input=input, capture_output=capture_output, timeout=timeout)


def _checked(spec: Spec) -> Spec:
    check(spec)
    require_process(spec)
    require_root(spec)
    for fault in unsupported(spec):
        raise fault
    return spec


def _with_terminal(spec: Spec, size: Size | None) -> Spec:
    if size is None:
        return spec
    process = {**spec["process"], "terminal": True, "consoleSize": {"height": size.rows, "width": size.columns}}
    return {**spec, "process": cast("Process", process)}


async def _feed(stream: FdStream | None, input: bytes) -> None:
    if stream is not None:
        async with stream:
            try:
                await stream.send_all(input)
            except trio.BrokenResourceError:
                pass  # it doesn't read any more, which is its affair


async def _collect(stream: FdStream | None, which: str, said: dict[str, bytes]) -> None:
    """Read to the end. What came before a cancel is kept."""
    if stream is not None:
        async for chunk in stream:
            said[which] += chunk
