"""A hundred containers at once. They share one launcher; each has a cgroup, a process and an exit of its own."""

import json
from pathlib import Path

import trio

import aiorun


async def main() -> None:
    spec = json.loads(Path("bundle/config.json").read_text())
    spec["process"]["terminal"] = False
    squares: dict[int, int] = {}

    async def square(runtime: aiorun.Runtime, number: int) -> None:
        process = {**spec["process"], "args": ["sh", "-c", f"echo $(({number} * {number}))"]}
        result = await runtime.run({**spec, "process": process}, bundle="bundle", capture_output=True)
        squares[number] = int(result.stdout)

    async with aiorun.Runtime() as runtime, trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(square, runtime, number)
    print(len(squares), squares[12])


trio.run(main)
