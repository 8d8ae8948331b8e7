"""What a door adds to a free route, and what a paid request costs over HTTP.

The middleware is measured in process: the same request to the same Starlette application with and without it, in turns.
Over HTTP the server (uvicorn, httptools, uvloop) has one core for itself and the load generator another; the figure to
trust is the server's processor time for one request, which other work on the machine disturbs least. Proofs are always
good here (see instant.py): a method's own work comes on top.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from bench.instant import credentials, slot
from bench.pinning import available
from coinslot.transports.asgi import App, Message, Scope
from coinslot.transports.starlette import CoinslotMiddleware

ROOT = Path(__file__).resolve().parent.parent
ROUNDS, TIMES = 15, 1500
CONNECTIONS = 64
# Enough for a few seconds at several thousand a second.
PAID = 3000
REPEATED = 10_000
TICKS_S = os.sysconf("SC_CLK_TCK")


async def _free(request: Request) -> PlainTextResponse:
    return PlainTextResponse("free")


def _scope(path: str) -> Scope:
    headers = [(b"host", b"api.example.com"), (b"user-agent", b"bench"), (b"accept", b"*/*")]
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": path,
        "raw_path": path.encode(), "query_string": b"page=1", "root_path": "", "scheme": "http", "headers": headers,
        "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 40000),
    }  # fmt: skip


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(_: Message) -> None:
    return


def _call(app: App, path: str) -> None:
    """One request by an application that waits for nothing: no event loop in the figures."""
    try:
        app(_scope(path), _receive, _send).send(None)  # type: ignore[attr-defined]  # it is a coroutine
    except StopIteration:
        return
    raise AssertionError("it waits for something")


def middleware_us() -> tuple[float, float]:
    """Microseconds of a free Starlette route: without the middleware, and what the middleware adds."""
    routes = [Route("/free", _free)]
    plain = Starlette(routes=routes)
    till = slot("memory:")
    prices = {"GET /paid/*": "0.01", "POST /v1/{name}/run": "0.05", "/free": None}
    wrapped = Starlette(routes=routes, middleware=[Middleware(CoinslotMiddleware, slot=till, routes=prices)])
    without: list[float] = []
    added: list[float] = []
    for _ in range(ROUNDS):
        spent = []
        for app in (plain, wrapped):
            begun = time.thread_time()
            for _ in range(TIMES):
                _call(app, "/free")
            spent.append((time.thread_time() - begun) / TIMES * 1e6)
        without.append(spent[0])
        added.append(spent[1] - spent[0])
    till.close()
    return statistics.median(without), statistics.median(added)


# --- over HTTP -----------------------------------------------------------------------------------


def _cores() -> tuple[int, int]:
    """One core for the server, another for the load (the same where there is only one)."""
    told = os.environ.get("BENCH_CORES", "")
    found = [int(one) for one in told.split(",") if one] or sorted(available())
    return found[0], found[-1]


def _on(core: int) -> dict[str, str]:
    """The environment of a process that shall pin itself to a core."""
    return {**os.environ, "BENCH_CORE": str(core)}


@contextmanager
def _server(store: str) -> Iterator[tuple[int, int]]:
    """A server's port and process id."""
    command = [sys.executable, "-m", "bench.paidserver", store]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=_on(_cores()[0]))
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["port"], process.pid
    finally:
        process.terminate()
        process.wait()


def _processor_s(pid: int) -> float:
    """Processor time of a process, all threads; 0 where the system doesn't tell."""
    path = Path(f"/proc/{pid}/stat")
    fields = path.read_text().rpartition(")")[2].split() if path.exists() else ["0"] * 13
    return (int(fields[11]) + int(fields[12])) / TICKS_S


def _load(server: tuple[int, int], requests: list[str], count: int, status: str) -> tuple[float, float]:
    """Requests a second, and the server's processor time for one in microseconds."""
    told = {"port": server[0], "connections": CONNECTIONS, "count": count, "requests": requests}
    before = _processor_s(server[1])
    done = subprocess.run([sys.executable, "-m", "bench.load"], input=json.dumps(told), text=True, cwd=ROOT, check=True,
                          capture_output=True, env=_on(_cores()[1]))  # fmt: skip
    found = json.loads(done.stdout)
    assert found["statuses"] == {status: count}, found["statuses"]
    return count / found["seconds"], (_processor_s(server[1]) - before) / count * 1e6


def _get(path: str, credential: str | None = None) -> str:
    paid = "" if credential is None else f"Authorization: {credential}\r\n"
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{paid}\r\n"


def _http_rows(name: str, store: str) -> list[dict[str, object]]:
    bought = [_get("/paid/report", one) for one in credentials("/paid/report", PAID)]
    with _server(store) as server:
        _load(server, [_get("/free")], 500, "200")  # warm
        found = {
            "a 402": _load(server, [_get("/paid/report")], REPEATED, "402"),
            "a first payment": _load(server, bought, PAID, "200"),
            "a re-presented payment": _load(server, bought, REPEATED, "200"),
        }
    made: list[dict[str, object]] = []
    for what, (rate, spent_us) in found.items():
        made.append(_row(f"HTTP, {name}: {what}", spent_us, "us"))
        made.append(_row(f"HTTP, {name}: {what}, per second", rate, "1/s"))
    return made


def _row(
    name: str, value: float, unit: str, peer: str | None = None, peer_value: float | None = None
) -> dict[str, object]:
    told = None if peer_value is None else round(peer_value, 1)
    ratio = None if peer_value is None else round(peer_value / value, 2)
    return {"name": name, "value": round(value, 1), "unit": unit, "peer": peer, "peer_value": told, "ratio": ratio}


def rows() -> list[dict[str, object]]:
    """One row per figure: name, value, unit, peer, peer_value, ratio."""
    without, added = middleware_us()
    with _server("none") as server:
        _load(server, [_get("/free")], 500, "200")
        rate, spent_us = _load(server, [_get("/free")], REPEATED, "200")
    made = [
        _row("Starlette middleware adds to a free route", added, "us", "the route without it", without),
        _row("HTTP, the server alone: a free route", spent_us, "us"),
        _row("HTTP, the server alone: a free route, per second", rate, "1/s"),
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, store in (("memory", "memory:"), ("SQLite FULL", f"sqlite:///{folder}/bench.sqlite")):
            made += _http_rows(name, store)
    return made


if __name__ == "__main__":
    for each in rows():
        print(f"{each['name']!s:<64}{each['value']!s:>9} {each['unit']}")
