"""What happens to all containers of a supervisor, as one stream: one that lacks memory, one that is watched at work."""

import json
from pathlib import Path

import trio

import aiorun

HUNGRY = "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done"


async def main() -> None:
    spec = json.loads(Path("bundle/config.json").read_text())
    spec["process"]["terminal"] = False
    spec["process"]["args"] = ["sh", "-c", HUNGRY]
    spec["linux"]["resources"]["memory"] = {"limit": 16_000_000, "swap": 16_000_000}

    async def tell(events: aiorun.Events) -> None:
        async for event in events:
            match event:
                case aiorun.Oom(id=id):
                    print(id, "was out of memory")
                case aiorun.Exited(id=id, exit=exit):
                    print(id, "ended with", exit.status)
                case _:
                    print(event)

    async with trio.open_nursery() as nursery, aiorun.Runtime() as runtime:
        nursery.start_soon(tell, runtime.events())
        await runtime.run(spec, id="hungry", bundle="bundle")

        spec["process"]["args"] = ["sh", "-c", "while :; do :; done"]
        async with runtime.container("busy", spec=spec, bundle="bundle") as busy:
            await busy.start()
            await busy.update({"pids": {"limit": 10}, "cpu": {"quota": 50_000, "period": 100_000}})
            async with busy.events(stats_every=0.1) as events:
                async for event in events:
                    if isinstance(event, aiorun.Stats):
                        print(event.id, "has", event.processes, "process")
                        break
            await busy.pause()


trio.run(main)
