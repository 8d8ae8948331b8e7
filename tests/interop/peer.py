"""The Python peer as a long-running process: one JSON object a line in, one a line out, by {id, op, args}.

Runs under its own interpreter; it imports nothing of coinslot.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from datetime import timedelta
from typing import Any

import uvicorn
from mpp.client import Mpp as Client  # type: ignore[import-not-found]  # of the peer's own environment
from mpp.methods.tempo import TempoAccount  # type: ignore[import-not-found]
from mpp.methods.tempo import client as paying
from mpp.methods.tempo import server as selling
from mpp.server import Mpp as Server  # type: ignore[import-not-found]
from mpp.server import Request, Response

_servers: dict[str, tuple[uvicorn.Server, asyncio.Task[None], dict[str, int]]] = {}


async def serve(args: dict[str, Any]) -> dict[str, str]:
    """A server of this peer: `charge` settings, `routes` by "METHOD /path" with their options."""
    charge = dict(args["charge"])
    if "fee_payer" in charge:
        charge["fee_payer"] = TempoAccount.from_key(charge["fee_payer"])
    mpp = Server(
        methods=selling.charge(rpc_url=args["rpc_url"], **charge),
        realm=args["realm"],
        secret_key=args["secret_key"],
        requires_auth=args.get("requires_auth", False),
    )
    hits: dict[str, int] = {}

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        options = args["routes"].get(f"{scope['method']} {scope['path']}")
        response = Response(404, None, "nothing here") if options is None else await answer(scope, body, dict(options))
        raw = [(name.lower(), value) for name, value in response.headers.raw]
        await send({"type": "http.response.start", "status": response.status, "headers": raw})
        await send({"type": "http.response.body", "body": response.body or b""})

    async def answer(scope: dict[str, Any], body: bytes, options: dict[str, Any]) -> Response:
        if "expires_in" in options:
            options["expires_in"] = timedelta(seconds=options["expires_in"])
        if options.pop("bind_body", False):
            options["body"] = body
        headers = [(name.decode(), value.decode()) for name, value in scope["headers"]]
        query = scope["query_string"].decode()
        url = f"http://{dict(headers)['host']}{scope['path']}{'?' + query if query else ''}"
        result = await mpp.charge(**options)(Request(scope["method"], url, headers, body or None))
        if result.status != 200:
            return result.challenge
        hits[scope["path"]] = hits.get(scope["path"], 0) + 1
        return result.with_receipt(Response.json({"path": scope["path"], "body": body.decode()}))

    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", ws="none"))
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    task = asyncio.create_task(server.serve(sockets=[bound]))
    while not server.started:
        await asyncio.sleep(0.01)
    _servers[url] = (server, task, hits)
    return {"url": url}


async def pay(args: dict[str, Any]) -> dict[str, Any]:
    """One request by this peer's client."""
    method = paying.charge(
        account=TempoAccount.from_key(args["key"]), rpc_url=args["rpc_url"], chain_id=args["chain_id"]
    )
    async with Client(methods=[method]) as client:
        body = args.get("body")
        response = await client.fetch(
            args["url"],
            method=args.get("method", "GET"),
            headers=args.get("headers", {}),
            content=None if body is None else body.encode(),
            timeout=30,
        )
    return {"status": response.status_code, "headers": dict(response.headers), "body": response.text}


async def hits(args: dict[str, Any]) -> dict[str, int]:
    """How often each path of a server was delivered."""
    return _servers[args["url"]][2]


OPS = {"serve": serve, "pay": pay, "hits": hits}


async def answer_line(line: str) -> None:
    """One order, one answer."""
    order = json.loads(line)
    try:
        reply = {"id": order["id"], "value": await OPS[order["op"]](order["args"])}
    except Exception as error:
        cause = f" ({error.__cause__!r})" if error.__cause__ else ""
        reply = {"id": order["id"], "error": f"{type(error).__name__}: {error}{cause}"}
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()


async def main() -> None:
    """Until standard input ends."""
    loop = asyncio.get_running_loop()
    running = set()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        task = asyncio.create_task(answer_line(line))
        running.add(task)
        task.add_done_callback(running.discard)


asyncio.run(main())
