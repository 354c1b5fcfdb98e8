"""A supervisor's containers: made, found, run."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, cast

import trio
from trio.lowlevel import enable_ki_protection

from aiorun.errors import AiorunError, HookFailed, InvalidState, UsageError
from aiorun.launch.client import Launcher
from aiorun.runtime import status as states
from aiorun.runtime.create import Options, create
from aiorun.runtime.exec import prepare
from aiorun.runtime.process import open_init
from aiorun.spec import check, read, require_process, require_root
from aiorun.store import Store
from aiorun.supervise.attend import attend
from aiorun.supervise.container import Container
from aiorun.supervise.events import Created, Events, FailedHook, Hub, Started
from aiorun.supervise.exit import Result
from aiorun.supervise.images import Images, RestoreOptions, with_paths
from aiorun.supervise.streams import DEVNULL, PIPE, Stdio
from aiorun.trio_waiter import TrioWaiter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from aiorun.runtime.exec import ExecOptions, Prepared, Target
    from aiorun.spec.types import Process, Spec
    from aiorun.supervise.streams import Redirection, Size


_AT_ONCE = 32
"""Creations at a time: each has a dozen files open, and 1,024 are what a process may have as a rule. More aren't quicker."""


class CreateOptions(TypedDict, total=False):
    """What `Runtime.create` takes beside the id."""

    bundle: str | os.PathLike[str] | None
    spec: Mapping[str, object] | None
    stdin: Redirection
    stdout: Redirection
    stderr: Redirection
    terminal: Size | None
    no_pivot: bool
    no_new_keyring: bool


class Runtime:
    """A supervisor's containers. `root` is the directory of their state, the same as the command line's `--root`.

    With `systemd_cgroup` systemd makes their cgroups, and `linux.cgroupsPath` is `slice:prefix:name`.

    A Runtime has one launcher process, started with the first container and ended by `async with`'s end. Containers that were
    made with `create` and not deleted outlive it.
    """

    def __init__(self, root: str | os.PathLike[str] = "/run/aiorun", *, systemd_cgroup: bool = False) -> None:
        self._store = Store(os.path.abspath(root))
        self._waiter = TrioWaiter()
        self._launcher = Launcher(self._waiter)
        self._runs = 0
        self._closed = False
        self._systemd_cgroup = systemd_cgroup
        self._turns = trio.CapacityLimiter(_AT_ONCE)
        self._hub = Hub()

    async def __aenter__(self) -> Runtime:
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.close()

    @enable_ki_protection
    def close(self) -> None:
        """End the launcher and the streams of events. No container can be created any more; those there are can be used."""
        self._closed = True
        self._launcher.close()
        self._hub.close()

    @enable_ki_protection
    async def create(
        self,
        id: str,
        *,
        bundle: str | os.PathLike[str] | None = None,
        spec: Mapping[str, object] | None = None,
        stdin: Redirection = DEVNULL,
        stdout: Redirection = None,
        stderr: Redirection = None,
        terminal: Size | None = None,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
    ) -> Container:
        """Make a container whose program waits for `Container.start`. A checkpoint.

        A cancel or an error leaves nothing: no process, mount, cgroup, directory or fd. What was made stays until `delete`,
        also when this process ends; `container` is the way to have it deleted.

        Args:
          bundle: the directory with config.json; relative paths of that count from there.
          spec: a dict like config.json, which is then not read.
          stdin, stdout, stderr: as `trio.run_process` has them: None is our own, PIPE makes a stream of the Container's,
            DEVNULL, an fd, something with a fileno(), or the path of a file, which is appended to. STDOUT for stderr.
          terminal: give the program a terminal of this size, `Container.terminal`, instead of the three.

        Raises InvalidSpec, UnsupportedSpec, InvalidId, ContainerExists, InitFailed, HookFailed and other AiorunErrors.
        """
        await trio.lowlevel.checkpoint()
        document, directory = _document(bundle, spec, terminal)
        systemd = self._systemd_cgroup
        rootless = os.geteuid() != 0 and not systemd  # then without a cgroup, unless it's one's own to make
        options = Options(
            detached=False, no_pivot=no_pivot, no_new_keyring=no_new_keyring, rootless=rootless, systemd_cgroup=systemd
        )
        # A hook may wait for another container, which must not have to wait for the hook.
        async with nullcontext() if document.get("hooks") else self._turns:
            if self._closed:
                raise InvalidState(f'create "{id}": the Runtime is closed')
            return await self._create(id, document, directory, options, stdin, stdout, stderr)

    async def _create(
        self, id: str, document: Spec, directory: str, options: Options, *redirections: Redirection, images: Images | None = None
    ) -> Container:
        arguments = (self._store, id, document, directory, options)
        with Stdio(*redirections, terminal=document["process"].get("terminal", False)) as stdio:
            doing: Any = {"waiter": self._waiter, "spawner": self._launcher, "files": stdio.files}
            try:
                created = await (create(*arguments, **doing) if images is None else images.restore(*arguments, **doing))
            except HookFailed as failure:
                self._hub.tell(FailedHook(id, str(failure)))
                raise
            self._hub.tell(Created(id))
            if images is not None:
                self._hub.tell(Started(id))
            container = Container(
                self._store, created.state, created.pidfd, spec=document, waiter=self._waiter, hub=self._hub, prepare=self.prepare
            )
            try:
                container.take_streams(stdio)
            except BaseException:
                await container.aclose()
                raise
            return container

    @enable_ki_protection
    async def restore(
        self,
        id: str,
        images: str | os.PathLike[str],
        *,
        bundle: str | os.PathLike[str] | None = None,
        spec: Mapping[str, object] | None = None,
        stdin: Redirection = DEVNULL,
        stdout: Redirection = None,
        stderr: Redirection = None,
        **options: Unpack[RestoreOptions],
    ) -> Container:
        """Make a container from what `Container.checkpoint` saved in the directory `images`. It runs. A checkpoint of trio's.

        `bundle` or `spec` is what it was made from. What it had as pipes for standard streams is replaced by the three, which are
        as `create` has them; one with a terminal has it again as `Container.terminal`. A cancel or an error leaves nothing.
        Raises CriuError, and what `create` raises.
        """
        await trio.lowlevel.checkpoint()
        document, directory = _document(bundle, spec, None)
        chosen = Options(detached=False, systemd_cgroup=self._systemd_cgroup)
        async with nullcontext() if document.get("hooks") else self._turns:
            if self._closed:
                raise InvalidState(f'restore "{id}": the Runtime is closed')
            return await self._create(
                id, document, directory, chosen, stdin, stdout, stderr, images=Images(with_paths(images, options))
            )

    def container(self, id: str, *, grace: float = 0, **options: Unpack[CreateOptions]) -> ContainerBlock:
        """`async with runtime.container("id", …) as job`: a container that lasts as long as the block.

        The arguments are `create`'s. On every way out it is ended and deleted, also where we are cancelled or interrupted.
        With `grace` its program gets TERM at the end of the block, and KILL only that many seconds later; not so after an
        error or a cancel.
        """
        return ContainerBlock(self, id, grace, options)

    def events(self, *, stats_every: float | None = None) -> Events:
        """What happens from now on to the containers that this Runtime made or loaded: `async for event in runtime.events()`.

        With `stats_every` there is a Stats of each of them that lives, so many seconds apart. A reader that is too slow gets a
        Missed in place of what it missed. Any number of streams may be read at once; each has all events.
        """
        return self._hub.open(stats_every=stats_every)

    async def load(self, id: str) -> Container:
        """A container that is there already, made by whomever. A checkpoint. Raises ContainerNotFound, InvalidId, AiorunError.

        Its streams are None. `Container.close` lets go of it again.
        """
        await trio.lowlevel.checkpoint()
        return self._load(id)

    def _load(self, id: str) -> Container:
        with self._store.open(id) as directory:
            state = directory.read()
        return Container(
            self._store, state, open_init(state), spec=None, waiter=self._waiter, hub=self._hub, prepare=self.prepare
        )

    async def load_all(self) -> list[Container]:
        """All containers of the root; broken entries and those that are only being made are left out. A checkpoint."""
        await trio.lowlevel.checkpoint()
        found = []
        for id in self._store.ids():
            try:
                container = self._load(id)
            except AiorunError:
                continue
            if container.status == states.CREATING:
                container.close()
            else:
                found.append(container)
        return found

    @enable_ki_protection
    async def run(
        self,
        spec: Mapping[str, object] | None = None,
        *,
        id: str | None = None,
        bundle: str | os.PathLike[str] | None = None,
        input: bytes = b"",
        capture_output: bool = False,
        timeout: float | None = None,
    ) -> Result:
        """A container from its creation to its end, deleted: like `trio.run_process`.

        `input` is its standard input. With `capture_output` what it says is in the Result, else it goes where ours goes.
        After `timeout` seconds from its start it is killed with all its processes, and the Result says so.
        Raises what `create` and `Container.start` raise; UsageError for a spec with a terminal, which takes `container`.
        """
        self._runs += 1
        name = id or f"run-{os.getpid()}-{self._runs}-{os.urandom(4).hex()}"
        stdin, output = PIPE if input else DEVNULL, PIPE if capture_output else None
        async with self.container(name, spec=spec, bundle=bundle, stdin=stdin, stdout=output, stderr=output) as job:
            if job.terminal is not None:
                raise UsageError("run a container with process.terminal: nobody would serve its terminal")

            async def kill() -> None:
                await job.kill("KILL", all=True)

            return await attend(job, kill, input=input, timeout=timeout)

    async def prepare(self, target: Target, options: ExecOptions, files: Mapping[str, int]) -> Prepared:
        """For `Container.process`."""
        async with self._turns:
            if self._closed:
                raise InvalidState(f'execute in "{target.state.id}": the Runtime is closed')
            return await prepare(target, options, waiter=self._waiter, spawner=self._launcher, files=files)


class ContainerBlock:
    """What `Runtime.container` returns. A class: in contextlib's frames ^C may be raised before a generator's `finally` is."""

    def __init__(self, runtime: Runtime, id: str, grace: float, options: CreateOptions) -> None:
        self._runtime, self._id, self._grace, self._options = runtime, id, grace, options
        self._container: Container | None = None

    @enable_ki_protection
    async def __aenter__(self) -> Container:
        self._container = await self._runtime.create(self._id, **self._options)
        return self._container

    @enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._container is not None
        try:
            if self._grace and error is None:
                await self._container.stop(grace=self._grace)
        finally:
            await self._container.aclose()


async def run(
    spec: Mapping[str, object] | None = None,
    *,
    bundle: str | os.PathLike[str] | None = None,
    input: bytes = b"",
    capture_output: bool = False,
    timeout: float | None = None,
) -> Result:
    """`Runtime.run` with a Runtime of its own. For more than one container make a Runtime, which keeps its launcher."""
    async with Runtime() as runtime:
        return await runtime.run(spec, bundle=bundle, input=input, capture_output=capture_output, timeout=timeout)


def _document(
    bundle: str | os.PathLike[str] | None, spec: Mapping[str, object] | None, terminal: Size | None
) -> tuple[Spec, str]:
    """The checked document and the directory that its relative paths count from."""
    if bundle is None and spec is None:
        raise UsageError("make a container: neither a bundle nor a spec is given")
    directory = os.path.abspath(bundle) if bundle is not None else "/"
    document = read(directory) if spec is None else check(spec)
    return _with_terminal(_complete(document), terminal), directory


def _complete(spec: Spec) -> Spec:
    require_process(spec)
    require_root(spec)
    return spec


def _with_terminal(spec: Spec, size: Size | None) -> Spec:
    if size is None:
        return spec
    process = {**spec["process"], "terminal": True, "consoleSize": {"height": size.rows, "width": size.columns}}
    return {**spec, "process": cast("Process", process)}
