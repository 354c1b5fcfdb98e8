"""A container in steps: created, started, talked to, stopped. Whatever happens, it's gone after its block."""

import json
from pathlib import Path

import trio

import aiorun

SCRIPT = "trap 'echo bye; exit 4' TERM; while read word; do echo you said $word; done"


async def main() -> None:
    spec = json.loads(Path("bundle/config.json").read_text())
    spec["process"]["terminal"] = False
    spec["process"]["args"] = ["sh", "-c", SCRIPT]
    async with aiorun.Runtime() as runtime:
        async with runtime.container(
            "talker", spec=spec, bundle="bundle", stdin=aiorun.PIPE, stdout=aiorun.PIPE, stderr="errors.log"
        ) as talker:
            assert talker.stdin is not None and talker.stdout is not None
            print(talker.status)
            await talker.start()
            await talker.stdin.send_all(b"hello\n")
            print(await talker.stdout.receive_some())
            print(talker.status)
            exit = await talker.stop(grace=10)
            print(await talker.stdout.receive_some(), exit.code)
        print(talker.status, await runtime.load_all())

        try:
            await runtime.create("broken", spec={**spec, "root": {"path": 5}}, bundle="bundle")
        except aiorun.InvalidSpec as error:
            print(error)


trio.run(main)
