"""What doors.py measures over HTTP: `python -m bench.paidserver STORE` serves a tiny API behind the ASGI middleware.

uvicorn with httptools and uvloop, one process. STORE is a store's URL, or "none" for the API without the middleware.
Prints one line of JSON with its port when it answers.
"""

from __future__ import annotations

import json
import socket
import sys

import uvicorn

from bench.instant import slot
from bench.pinning import pin_as_told
from coinslot.transports.asgi import App, CoinslotMiddleware, Receive, Scope, Send

BODY = b'{"answer": 42}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]


async def api(scope: Scope, receive: Receive, send: Send) -> None:
    """The same small answer to everything."""
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


def main() -> None:
    """Serve until SIGTERM."""
    pin_as_told()
    store = sys.argv[1]
    app: App = api if store == "none" else CoinslotMiddleware(api, slot(store), {"GET /paid/*": "0.01", "/free": None})
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    bound.listen(512)
    settings = uvicorn.Config(app, http="httptools", loop="uvloop", ws="none", lifespan="off", log_level="error",
                              access_log=False)  # fmt: skip
    print(json.dumps({"port": bound.getsockname()[1]}), flush=True)
    uvicorn.Server(settings).run(sockets=[bound])


if __name__ == "__main__":
    main()
