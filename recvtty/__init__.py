"""`recvtty`: the server at the other end of `aiorun create --console-socket`."""
