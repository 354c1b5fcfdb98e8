"""Supervisors as processes of their own: interrupted, killed, without root, without stdio, with threads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CommandLine
from tests.runtime.life import await_death, dead
from tests.supervise.conftest import Jobs, Leftovers
from tests.waiting import until

Supervise = Callable[..., subprocess.Popen[str]]
LeftoversNow = Callable[[], Leftovers]


@pytest.fixture
def supervise(supervisor: Callable[[str], list[str]], root_dir: Path, jobs: Jobs, tmp_path: Path) -> Iterator[Supervise]:
    """`supervise("…")` starts a program in which `runtime` is open, and `options` are the arguments for a new container.

    It begins when all is set up, and prints to a pipe. Whatever it leaves running is killed when the test is over.
    """
    started: list[subprocess.Popen[str]] = []

    def start(body: str, *args: str, head: str = "", **popen: Any) -> subprocess.Popen[str]:
        specs = tmp_path / f"specs-{len(started)}.json"
        specs.write_text(json.dumps([jobs(*(args or ("sleep", "1000"))) for _ in range(3)]))
        indented = "\n".join(f"        {line}" for line in body.splitlines())
        program = (
            f"{head}\nimport json\nspecs = json.load(open({str(specs)!r}))\n"
            f"def options(): return dict(spec=specs.pop(), bundle={str(jobs.bundle)!r})\n"
            f"async def main():\n    async with aiorun.Runtime(root={str(root_dir)!r}) as runtime:\n{indented}\n"
        )
        child = subprocess.Popen(
            supervisor(program), **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **popen}
        )
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.wait()
        for pipe in (child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()


def line_of(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        assert child.stderr is not None
        pytest.fail(f"the supervisor ended: {child.stderr.read()}")
    return line.strip()


BLOCK = """
async with runtime.container("job", stdout=aiorun.DEVNULL, **options()) as job:
    await job.start()
    print(job.pid, flush=True)
    await job.wait()
"""


@pytest.mark.parametrize("times", [1, 5])
def test_an_interrupt_ends_the_block_and_leaves_nothing(
    supervise: Supervise, leftovers: LeftoversNow, root_dir: Path, times: int
) -> None:
    before = leftovers()
    child = supervise(BLOCK)
    pid = int(line_of(child))
    for _ in range(times):  # an impatient person
        child.send_signal(signal.SIGINT)
    assert child.stderr is not None
    assert "KeyboardInterrupt" in child.stderr.read()
    assert child.wait() != 0
    assert dead(pid)
    assert os.listdir(root_dir) == []
    assert [left for left in before.left() if left[0] in ("container", "cgroup", "mount")] == []


def test_an_interrupt_at_any_moment_leaves_nothing(supervise: Supervise, leftovers: LeftoversNow, root_dir: Path) -> None:
    """Also in the middle of a line of ours: SIGALRM's handler is SIGINT's here, at moments that go through a whole life."""
    head = """
import signal
def interrupt_after(seconds):
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, seconds)
"""
    body = """
spec = options()
async def life():
    async with runtime.container("job", stdin=aiorun.PIPE, **spec) as job:
        await job.start()
        await job.stdin.aclose()
        await job.wait()
await life()
start = trio.current_time()
await life()
duration = trio.current_time() - start
interrupt_after(INDEX / 12 * duration)
try:
    await life()
    await trio.sleep_forever()
finally:
    signal.setitimer(signal.ITIMER_REAL, 0)
"""
    before = leftovers()
    for index in range(1, 13):
        child = supervise(body.replace("INDEX", str(index)), "cat", head=head)
        assert child.stderr is not None
        said = child.stderr.read()
        assert child.wait() != 0
        assert "KeyboardInterrupt" in said, said
        assert os.listdir(root_dir) == [], said
        assert [left for left in before.left() if left[0] in ("container", "cgroup", "mount")] == []


def test_a_killed_supervisor_leaves_what_is_created_and_delete_cleans_it_up(
    supervise: Supervise, aiorun: CommandLine, leftovers: LeftoversNow
) -> None:
    before = leftovers()
    child = supervise("""
one = await runtime.create("one", **options())
two = await runtime.create("two", **options())
await two.start()
os.kill(os.getpid(), 9)
""")
    assert child.wait() == -signal.SIGKILL
    assert (aiorun.state("one")["status"], aiorun.state("two")["status"]) == ("created", "running")
    pids = [aiorun.state(id)["pid"] for id in ("one", "two")]
    aiorun("start", "one", check=True)
    for id in ("one", "two"):
        aiorun("delete", "--force", id, check=True)
    for pid in pids:
        await_death(pid)
    assert [left for left in before.left() if left[0] in ("container", "cgroup", "mount")] == []


def test_inits_of_a_supervisor_killed_while_it_creates_end(
    supervise: Supervise, aiorun: CommandLine, leftovers: LeftoversNow, root_dir: Path, tmp_path: Path
) -> None:
    """It is in its createRuntime hook when we kill it; what is written down by then is enough for `delete --force`."""
    before = leftovers()
    reached = tmp_path / "reached"
    child = supervise(f"""
spec = options()
spec["spec"]["hooks"] = {{"createRuntime": [{{"path": "/bin/sh", "args": ["sh", "-c", "touch {reached}; exec sleep 1000"]}}]}}
await runtime.create("job", **spec)
""")
    until(reached.exists, "the hook to run")
    state = json.loads((root_dir / "job" / "state.json").read_text())
    hook = next(pid for pid in _children(child.pid) if Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
    child.kill()
    child.wait()
    await_death(state["pid"])
    os.kill(hook, signal.SIGKILL)
    aiorun("delete", "--force", "job", check=True)
    assert [left for left in before.left() if left[0] in ("container", "cgroup", "mount")] == []


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_restarted_supervisor_finds_its_containers_again(supervise: Supervise, root_dir: Path) -> None:
    first = supervise("""
job = await runtime.create("job", **options())
await job.start()
print(job.pid, flush=True)
await trio.sleep_forever()
""")
    pid = int(line_of(first))
    second = supervise("""
[job] = await runtime.load_all()
print(job.pid, job.status, flush=True)
async with trio.open_nursery() as nursery:
    async def wait():
        exit = await job.wait()
        print(exit.known, exit.code, exit.signal, flush=True)
    nursery.start_soon(wait)
    await job.stop(grace=0)
await job.delete()
""")
    assert line_of(second) == f"{pid} running"
    assert line_of(second) == "False None None"  # not its child: it's another one's to say how it ended
    assert second.wait() == 0
    assert os.listdir(root_dir) == []


def test_containers_are_children_of_the_process_whatever_thread_runs_trio(supervise: Supervise) -> None:
    child = supervise(
        """
async def one(number):
    spec = options()
    async with runtime.container(f"job-{number}", **spec) as job:
        await job.start()
        exit = await job.stop(grace=0)
        print(exit.known, exit.signal, flush=True)
async with trio.open_nursery() as nursery:
    for number in range(3):
        nursery.start_soon(one, number)
""",
        head="""
import threading
for _ in range(10):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
run = trio.run
def in_thread(main):
    thread = threading.Thread(target=run, args=(main,))
    thread.start()
    thread.join()
trio.run = in_thread
""",
    )
    assert [line_of(child) for _ in range(3)] == ["True 9"] * 3
    assert child.wait() == 0


@pytest.mark.parametrize("closed", [(0,), (1,), (0, 1, 2), (0, 2)], ids=str)
def test_a_supervisor_without_stdio_hands_none_of_its_files_to_the_program(
    supervise: Supervise, tmp_path: Path, closed: tuple[int, ...]
) -> None:
    """The numbers that are free become those of trio's and of our own files: a program must never be given one."""
    result = tmp_path / "result"

    def close() -> None:
        for fd in closed:
            os.close(fd)

    child = supervise(
        f"""
spec = options()
async with runtime.container("job", stdin=None, stdout={str(result)!r}, stderr=None, **spec) as job:
    await job.start()
    await job.wait()
async with runtime.container("again", stdin=None, stdout=None, stderr=aiorun.STDOUT, **options()) as job:
    await job.start()
    exit = await job.wait()
os._exit(exit.status)
""",
        "sh", "-c", "for fd in 0 1 2; do readlink /proc/self/fd/$fd; done",
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        preexec_fn=close,
    )  # fmt: skip
    assert child.wait() == 0
    assert result.read_text().split()[::2] == ["/dev/null", "/dev/null"]


def test_a_supervisor_without_root_is_told_so_and_leaves_nothing(supervise: Supervise, root_dir: Path) -> None:
    child = supervise("""
os.setresuid(65534, 65534, 65534)
try:
    await runtime.create("job", **options())
except aiorun.AiorunError as error:
    print(error, flush=True)
""")
    assert line_of(child) == "linux.namespaces: rootless container requires user namespaces"
    assert child.wait() == 0
    assert not root_dir.exists()


def test_the_interrupt_of_a_terminal_reaches_the_supervisor_alone(
    supervisor: Callable[[str], list[str]], terminal: Callable[..., Any], jobs: Jobs, root_dir: Path, tmp_path: Path
) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(jobs("sleep", "1000")))
    program = f"""
import json, signal
async def main():
    async with aiorun.Runtime(root={str(root_dir)!r}) as runtime:
        spec = json.load(open({str(spec)!r}))
        async with runtime.container("job", spec=spec, bundle={str(jobs.bundle)!r}) as job:
            await job.start()
            with trio.open_signal_receiver(signal.SIGINT) as signals:
                print("ready", runtime._launcher._running.pidfd, flush=True)
                async for _ in signals:
                    break
            launcher = runtime._launcher._running
            print(job.status, aiorun.Runtime.__name__, flush=True)
        async with runtime.container("again", spec=spec, bundle={str(jobs.bundle)!r}):
            print(runtime._launcher._running is launcher, flush=True)
"""
    front = terminal(supervisor(program))
    assert front.readline().startswith(b"ready")
    front.write(b"\x03")
    said = front.readline().strip()
    assert said.removeprefix(b"^C") == b"running Runtime"
    assert front.readline().strip() == b"True"
    assert front.wait() == 0
