"""Requests paid from channels: over HTTP with pre-signed vouchers, on several stores and behind several doors.

The server has one core for itself and the load generator another. 64 connections send a voucher after the other, each
from a channel of its own. The figure to trust is the server's processor time for one request, all its threads.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from bench import sessionsteps
from bench.doors import ROOT, _cores, _on, _processor_s
from bench.sessionrig import TEMPO, challenge, rig_of, unit_units
from bench.store import _postgres
from coinslot.server.price import Metering
from coinslot.store.channels import ChannelQuery
from coinslot.store.open import open_store

CONNECTIONS = 64
# For each connection: a second or two in all where all goes well.
EACH, EACH_GATE, EACH_MEASURED, WARM = 50, 30, 150, 10
# Runs of what has a line; the one in the middle counts.
RUNS = 3
PATH, STREAM = "/paid/report", "/stream/tokens"
# The first token of a large model takes a tenth of a second and more.
FIRST_TOKEN_S = 0.05
STREAMS = 60
PROCESSES = (1, 2, 4)


def _row(
    name: str, value: float, unit: str, peer: str | None = None, peer_value: float | None = None
) -> dict[str, object]:
    ratio = None if peer_value is None else round(peer_value / value, 2)
    told = None if peer_value is None else round(peer_value, 1)
    return {"name": name, "value": round(value, 2 if unit == "x" else 1), "unit": unit, "peer": peer,
            "peer_value": told, "ratio": ratio}  # fmt: skip


def signed(
    path: str, each: int, metering: Metering | None = None, units: int = 1, method: str = TEMPO
) -> list[list[str]]:
    """For each connection the requests that it sends, paid from a channel of its own."""
    rig = rig_of(method)
    offered, step = challenge(rig, path, metering), units * unit_units()
    return [
        [f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {one}\r\n\r\n"
         for one in owner.vouchers(offered, step, each)]
        for owner in rig.purses(CONNECTIONS)
    ]  # fmt: skip


@dataclass(frozen=True)
class Serving:
    """A server that runs."""

    port: int
    pid: int


@contextmanager
def serving(
    kind: str,
    store: str = "memory:",
    channels: int = CONNECTIONS,
    other: str = "",
    *,
    method: str = TEMPO,
    pinned: bool = True,
) -> Iterator[Serving]:
    """A server of its own process."""
    command = [sys.executable, "-m", "bench.sessionserver", method, kind, store, str(channels), other]
    place = _on(_cores()[0]) if pinned else {**os.environ, "BENCH_CORE": ",".join(map(str, set(_cores())))}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=place)
    try:
        assert process.stdout is not None
        yield Serving(json.loads(process.stdout.readline())["port"], process.pid)
    finally:
        process.terminate()
        process.wait()


@dataclass(frozen=True)
class Measured:
    """What 64 connections saw, and what the servers used."""

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    answers: int


def load(servers: Sequence[Serving], lists: Sequence[Sequence[str]]) -> Measured:
    """Send them all; every answer must be 200."""
    told = json.dumps({"ports": [one.port for one in servers], "lists": lists})
    before = sum(_processor_s(one.pid) for one in servers)
    done = subprocess.run([sys.executable, "-m", "bench.load"], input=told, text=True, cwd=ROOT, check=True,
                          capture_output=True, env=_on(_cores()[1]))  # fmt: skip
    found, count = json.loads(done.stdout), sum(map(len, lists))
    assert found["statuses"] == {"200": count}, found["statuses"]
    used = sum(_processor_s(one.pid) for one in servers) - before
    return Measured(count / found["seconds"], found["p50_ms"], found["p99_ms"], used / count * 1e6, count)


def _told(name: str, found: Measured, beside: Measured | None = None) -> list[dict[str, object]]:
    free = ("unpaid", beside.cpu_us) if beside else (None, None)
    made = [
        _row(f"{name}: cpu", found.cpu_us, "us", *free),
        _row(f"{name}: p50", found.p50_ms, "ms"),
        _row(f"{name}: p99", found.p99_ms, "ms"),
        _row(f"{name}: requests", found.per_s, "1/s"),
    ]
    if beside:
        made.append(_row(f"{name}: requests, of unpaid ones", found.per_s / beside.per_s, "part"))
        made[-1]["value"] = round(found.per_s / beside.per_s, 3)
    return made


def measured(
    lists: Sequence[Sequence[str]], kind: str, store: str = "memory:", other: str = "", *, method: str = TEMPO
) -> Measured:
    """One kind of server: warm first, then all the rest of the lists."""
    with serving(kind, store, other=other, method=method) as server:
        load([server], [one[:WARM] for one in lists])
        return load([server], [one[WARM:] for one in lists])


def middling(runs: Sequence[Measured]) -> Measured:
    """The one in the middle by requests a second: a machine that others share is slow for seconds at a time."""
    return sorted(runs, key=lambda one: one.per_s)[len(runs) // 2]


def durable(name: str, lists: Sequence[Sequence[str]], folder: str, method: str = TEMPO) -> Iterator[dict[str, object]]:
    """The raw door on memory, then raw and middleware on SQLite FULL, beside the same route unpaid."""
    free = middling([measured(lists, "free", method=method) for _ in range(RUNS)])
    yield from _told(f"{name}, unpaid", free)
    yield from _told(f"{name}, raw ASGI, memory", measured(lists, "raw", method=method), free)
    for kind, door in (("raw", "raw ASGI"), ("middleware", "middleware")):
        stores = [f"sqlite:///{folder}/{method}-{kind}-{number}.db" for number in range(RUNS)]
        found = middling([measured(lists, kind, store, method=method) for store in stores])
        yield from _told(f"{name}, {door}, SQLite FULL", found, free)


def over_http(folder: str) -> Iterator[dict[str, object]]:
    """Each door on SQLite FULL, and the raw one on memory, beside the same route unpaid."""
    lists = signed(PATH, WARM + EACH_MEASURED)
    yield from durable("sessions", lists, folder)
    plain = measured(lists, "starlette-free")
    yield from _told("sessions, unpaid Starlette", plain)
    behind = measured(lists, "starlette", f"sqlite:///{folder}/starlette.db")
    yield from _told("sessions, Starlette, SQLite FULL", behind, plain)
    with serving("free", pinned=False) as api:
        some = [one[: WARM + EACH_GATE] for one in lists]
        through = measured(some, "gate", f"sqlite:///{folder}/gate.db", f"http://127.0.0.1:{api.port}")
    yield from _told("sessions, coinslot gate, SQLite FULL", through)


def processes() -> Iterator[dict[str, object]]:
    """One PostgreSQL, and 1, 2 and 4 servers on it: each answer was paid, whoever gave it."""
    with _postgres() as postgres:
        if postgres is None:
            return
        for number in PROCESSES:
            lists = signed(PATH, 2 * EACH)
            first, second = [one[:EACH] for one in lists], [one[EACH:] for one in lists]
            with _emptied(postgres) as url, ExitStack() as stack:
                servers = [stack.enter_context(serving("raw", url, pinned=False))]
                servers += [stack.enter_context(serving("raw", url, 0, pinned=False)) for _ in range(number - 1)]
                load(servers, first)
                found = load(servers[1:] + servers[:1], second)  # the same channels at other servers
                spent = _spent(url)
            name = f"sessions, PostgreSQL, {number} processes"
            yield from _told(name, found)
            lost = 2 * found.answers * unit_units() - spent
            yield _row(f"{name}: lost or doubled updates", abs(lost) / unit_units(), "")


@contextmanager
def _emptied(url: str) -> Iterator[str]:
    """A database of its own on that server."""
    import psycopg

    name = f"bench{time.time_ns()}"
    with psycopg.connect(url, autocommit=True) as line:
        line.execute(f"CREATE DATABASE {name}")
    yield url.rpartition("/")[0] + f"/{name}" + ("" if "?" not in url else "?" + url.partition("?")[2])


def _spent(url: str) -> int:
    with closing(open_store(url)) as store:
        return sum(one.spent for one in store.list_channels(ChannelQuery(limit=CONNECTIONS + 1)).result())


# --- the first byte ------------------------------------------------------------------------------


def _first_byte_ms(server: Serving, requests: Sequence[str]) -> float:
    """The median time until the first event is there, one stream after the other."""
    took = []
    with socket.create_connection(("127.0.0.1", server.port), 10) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for one in requests:
            begun = time.perf_counter()
            line.sendall(one.encode("ascii"))
            seen = b""
            while b"data: token 0" not in seen:
                seen += _received(line, seen)
            took.append(time.perf_counter() - begun)
            while not seen.endswith(b"0\r\n\r\n"):
                seen += _received(line, seen)
    return statistics.median(took) * 1000


def _received(line: socket.socket, seen: bytes) -> bytes:
    more = line.recv(65536)
    if not more or (seen and not seen.startswith(b"HTTP/1.1 200")):
        raise RuntimeError(f"no stream: {(seen + more)[:300]!r}")
    return more


def first_bytes(folder: str) -> Iterator[dict[str, object]]:
    """A paid stream of events beside a free one, for a handler that answers at once and for one that thinks."""
    requests = signed(STREAM, 2 * STREAMS, Metering("token"), 3)[0]
    for first_s, name in ((0.0, "at once"), (FIRST_TOKEN_S, f"first token after {FIRST_TOKEN_S * 1000:.0f} ms")):
        store = f"sqlite:///{folder}/stream{first_s}.db"
        with serving("stream-free", other=str(first_s)) as plain, serving("stream", store, 1, str(first_s)) as paid:
            _first_byte_ms(plain, requests[:5])
            _first_byte_ms(paid, requests[:5])
            free_ms = _first_byte_ms(plain, requests[5:STREAMS])
            paid_ms = _first_byte_ms(paid, requests[5:STREAMS])
        yield _row(f"time to the first event, {name}: free", free_ms, "ms")
        yield _row(f"time to the first event, {name}: paid", paid_ms, "ms")
        yield _row(f"time to the first event, {name}: paid to free", paid_ms / free_ms, "x")


def rows() -> Iterator[dict[str, object]]:
    """One row per figure: name, value, unit, peer, peer_value, ratio (how many times the unpaid one's time is ours)."""
    rig = rig_of(TEMPO)
    with tempfile.TemporaryDirectory() as folder:
        yield from over_http(folder)
        for row in sessionsteps.steps(rig):
            yield _row(*row)
        for kind, url in (("memory", "memory:"), ("SQLite FULL", f"sqlite:///{folder}/far.db")):
            with closing(open_store(url)) as store:
                for row in sessionsteps.far(rig, f"sessions, {kind}", store):
                    yield _row(*row)
        for kind, url in (("memory", "memory:"), ("SQLite FULL", f"sqlite:///{folder}/metering.db")):
            with closing(open_store(url)) as store:
                for row in sessionsteps.metering(rig, f"sessions, {kind}", store):
                    yield _row(*row)
        yield from first_bytes(folder)
    yield from processes()


if __name__ == "__main__":
    for each in rows():
        print(f"{each['name']!s:<64}{each['value']!s:>9} {each['unit']}")
