"""Terminals: the console socket's receiving side, and the relay between a terminal and a container's master.

    with console.Listener("tty.sock") as listener:
        received = await console.receive(waiter, await listener.accept(waiter))

`relay`, `signals` and `terminal` are what a foreground command is made of. Each module is imported by who needs it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.console.listener import Listener, Received, receive
else:

    def __getattr__(name):
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from aiorun.console import listener

        return getattr(listener, name)


__all__ = ["Listener", "Received", "receive"]
