"""The effects a flow may ask for, and the two drivers that carry them out.

A flow is a generator: it computes, yields what it needs from the world (an RPC answer, a durable write, the time) and
is sent the answer, as `httpx.Auth` flows do. Written once, it runs under `run` (threads) and `run_async` (asyncio).
An effect that fails is thrown into the flow at the yield, so a flow handles errors with plain `try`.

Flows call each other with `yield from`, and ask for effects through the typed helpers below:

    def chain_id(url: str) -> Flow[int]:
        answer = yield from rpc(url, "eth_chainId", [])
"""

from __future__ import annotations

import asyncio
import inspect
import os
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar, assert_never, cast

import httpx
import msgspec

from coinslot.core.canonical import nested_deeper
from coinslot.core.record import quick
from coinslot.errors import RpcRefused, RpcUnreachable, StoreBroken, UsageError

T = TypeVar("T")

# What `run_async` throws into a flow when its task is cancelled; named here so that flows need not know asyncio.
Cancelled = asyncio.CancelledError

# An RPC that takes longer than this is not answering; the caller decides what an absent answer means.
RPC_TIMEOUT_S = 20.0
# A store promises its own bounded wait (store/protocol.py); this is the belt to those braces.
STORE_WAIT_S = 30.0
# The largest JSON-RPC answer we read: receipts with many logs are tens of KiB; more is not for us.
RPC_ANSWER_BYTES = 8 * 1024 * 1024
# Deeper than any JSON-RPC result; a simulation's call trace is about twenty.
RPC_ANSWER_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Rpc:
    """One JSON-RPC call; answered with the `result` member."""

    url: str
    method: str
    params: Sequence[object]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Send:
    """Send one HTTP request through the door that runs the flow; answered with that door's response."""

    request: object


@quick
@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for a future of a store's committer thread."""

    future: Future[Any]


@dataclass(frozen=True, slots=True)
class Call:
    """Call a function of the user's; under asyncio it may return an awaitable."""

    function: Callable[..., object]
    arguments: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Sleep:
    """Let time pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Now:
    """Seconds since 1970 in UTC."""


@dataclass(frozen=True, slots=True)
class Random:
    """Bytes of cryptographic randomness."""

    size: int


_NOW = Now()

Effect: TypeAlias = Rpc | Send | Wait | Call | Sleep | Now | Random
Flow: TypeAlias = Generator[Effect, Any, T]


def rpc(url: str, method: str, params: Sequence[object], timeout_s: float = RPC_TIMEOUT_S) -> Flow[Any]:
    """Ask a node. Raises RpcUnreachable (not known whether it acted) or RpcRefused (it said no)."""
    return (yield Rpc(url, method, params, timeout_s))


def send(request: object) -> Flow[Any]:
    """Send an HTTP request through the door; raises whatever that door's client raises."""
    return (yield Send(request))


def wait(future: Future[T]) -> Flow[T]:
    """The result of a store operation. Raises StoreError."""
    if future.done():  # memory stores and cached reads: no need to leave the flow
        return future.result()
    return cast("T", (yield Wait(future)))


def call(function: Callable[..., object], *arguments: object) -> Flow[Any]:
    """The result of a user's function, awaited where it is asynchronous."""
    return (yield Call(function, arguments))


def sleep(seconds: float) -> Flow[None]:
    """Let time pass."""
    yield Sleep(seconds)


def now() -> Flow[float]:
    """Seconds since 1970 in UTC."""
    return cast("float", (yield _NOW))


def random_bytes(size: int) -> Flow[bytes]:
    """Cryptographic randomness."""
    return cast("bytes", (yield Random(size)))


# --- what carries the effects out ----------------------------------------------------------------


class World(Protocol):
    """How a synchronous driver reaches the world. Tests and simulators bring their own."""

    def rpc(self, effect: Rpc) -> object:
        """Answer an Rpc."""

    def send(self, effect: Send) -> object:
        """Answer a Send."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""

    def now(self) -> float:
        """The time."""

    def random(self, size: int) -> bytes:
        """Randomness."""


class AsyncWorld(Protocol):
    """How an asynchronous driver reaches the world."""

    async def rpc(self, effect: Rpc) -> object:
        """Answer an Rpc."""

    async def send(self, effect: Send) -> object:
        """Answer a Send."""

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""

    def now(self) -> float:
        """The time."""

    def random(self, size: int) -> bytes:
        """Randomness."""


def _rpc_body(effect: Rpc) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": effect.method, "params": effect.params})


def _collect(effect: Rpc, content: bytearray, chunk: bytes) -> None:
    content += chunk
    if len(content) > RPC_ANSWER_BYTES:
        raise RpcUnreachable(f"{effect.method}: the answer is larger than {RPC_ANSWER_BYTES} bytes")


def _rpc_result(effect: Rpc, status: int, content: bytearray) -> object:
    if nested_deeper(content.decode("latin-1"), RPC_ANSWER_DEPTH):
        raise RpcUnreachable(f"{effect.method}: the answer is nested more than {RPC_ANSWER_DEPTH} deep")
    try:
        answer = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RpcUnreachable(f"{effect.method}: HTTP {status} without a JSON-RPC answer") from error
    if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
        problem = answer["error"]
        code = problem.get("code")
        message = str(problem.get("message", ""))[:500]
        raise RpcRefused(
            f"{effect.method}: {message}", code=code if isinstance(code, int) else 0, data=problem.get("data")
        )
    if status != 200 or not isinstance(answer, dict) or "result" not in answer:
        raise RpcUnreachable(f"{effect.method}: HTTP {status} without a result")
    return answer["result"]


_JSON = {"content-type": "application/json"}


class RealWorld:
    """The real clock, real randomness and RPC over HTTP; `send` belongs to the doors, which subclass this."""

    def __init__(self, client: httpx.Client | None = None) -> None:
        self._client = client
        self._pid = os.getpid()

    def rpc(self, effect: Rpc) -> object:
        """Call a node over a kept-alive connection; one per process, since a fork must not share sockets."""
        if self._client is None or self._pid != os.getpid():
            self._client, self._pid = httpx.Client(), os.getpid()
        content = bytearray()
        try:
            with self._client.stream(
                "POST", effect.url, content=_rpc_body(effect), headers=_JSON, timeout=effect.timeout_s
            ) as answer:
                for chunk in answer.iter_bytes():
                    _collect(effect, content, chunk)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise RpcUnreachable(f"{effect.method}: {type(error).__name__}") from error
        return _rpc_result(effect, answer.status_code, content)

    def close(self) -> None:
        """Close the connections to nodes; the next call opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def send(self, effect: Send) -> object:
        """Only a client's door can send."""
        raise UsageError("this driver has no HTTP door")

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)

    def now(self) -> float:
        """The wall clock."""
        return time.time()

    def random(self, size: int) -> bytes:
        """Randomness of the operating system."""
        return os.urandom(size)


class RealAsyncWorld:
    """RealWorld for asyncio: one RPC client per event loop."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def rpc(self, effect: Rpc) -> object:
        """Call a node over a kept-alive connection."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._client, self._loop = httpx.AsyncClient(), loop
        content = bytearray()
        try:
            async with self._client.stream(
                "POST", effect.url, content=_rpc_body(effect), headers=_JSON, timeout=effect.timeout_s
            ) as answer:
                async for chunk in answer.aiter_bytes():
                    _collect(effect, content, chunk)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise RpcUnreachable(f"{effect.method}: {type(error).__name__}") from error
        return _rpc_result(effect, answer.status_code, content)

    async def aclose(self) -> None:
        """Close the connections to nodes, if they belong to the running loop; the next call opens new ones."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.aclose()

    async def send(self, effect: Send) -> object:
        """Only a client's door can send."""
        raise UsageError("this driver has no HTTP door")

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)

    def now(self) -> float:
        """The wall clock."""
        return time.time()

    def random(self, size: int) -> bytes:
        """Randomness of the operating system."""
        return os.urandom(size)


# Not StoreBusy: the write may still happen.
_NO_ANSWER = "the store did not answer in time; what it was asked to write must be looked up again"


def _perform(effect: Effect, world: World) -> object:
    match effect:
        case Rpc():
            return world.rpc(effect)
        case Send():
            return world.send(effect)
        case Wait(future):
            try:
                return future.result(STORE_WAIT_S)
            except TimeoutError as error:
                if future.done():  # the store's own
                    raise
                raise StoreBroken(_NO_ANSWER) from error
        case Call(function, arguments):
            result = function(*arguments)
            if inspect.isawaitable(result):
                if inspect.iscoroutine(result):
                    result.close()
                raise UsageError(f"{function!r} is asynchronous and this door is not")
            return result
        case Sleep(seconds):
            world.sleep(seconds)
            return None
        case Now():
            return world.now()
        case Random(size):
            return world.random(size)
        case _:
            assert_never(effect)


async def _perform_async(effect: Effect, world: AsyncWorld) -> object:
    match effect:
        case Rpc():
            return await world.rpc(effect)
        case Send():
            return await world.send(effect)
        case Wait(future):
            return await _arrival(future)
        case Call(function, arguments):
            result = function(*arguments)
            return await result if inspect.isawaitable(result) else result
        case Sleep(seconds):
            await world.sleep(seconds)
            return None
        case Now():
            return world.now()
        case Random(size):
            return world.random(size)
        case _:
            assert_never(effect)


class _Arrivals:
    """Wakes the tasks of one event loop whose futures other threads resolved: many at one signal, all by one timer.

    A store acknowledges dozens of writes at once; a signal for each, and a timer, would cost as much as the writes.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)  # F28: this stands in a dictionary for as long as its loop lives, and no longer
        self._arrived: deque[asyncio.Future[None]] = deque()
        self._signalled = False
        # Who waits and until when, the longest first, since all wait for as long.
        self._until_s: dict[asyncio.Future[None], float] = {}
        self._timed = False

    def expect(self, future: Future[Any], loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """What to await until it is done, or for as long as is waited for a store; say `over` then."""
        waiter: asyncio.Future[None] = loop.create_future()
        self._until_s[waiter] = loop.time() + STORE_WAIT_S
        if not self._timed:
            self._timed = True
            loop.call_later(STORE_WAIT_S, self._sweep, loop)
        future.add_done_callback(lambda _: self.tell(waiter))
        return waiter

    def over(self, waiter: asyncio.Future[None]) -> None:
        """Nobody awaits it any more."""
        del self._until_s[waiter]

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wake who has waited long enough, and come again when the next one has."""
        next_s = None
        for waiter, until_s in self._until_s.items():
            if until_s > loop.time():
                next_s = until_s
                break
            _end(waiter)
        self._timed = next_s is not None
        if next_s is not None:
            loop.call_at(next_s, self._sweep, loop)

    def tell(self, waiter: asyncio.Future[None]) -> None:
        """Wake one. Called from any thread."""
        self._arrived.append(waiter)
        if not self._signalled:  # set anew only after the deque was emptied, so none is forgotten
            self._signalled = True
            loop = self._loop()
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                if loop is not None:
                    loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._signalled = False
        while self._arrived:
            _end(self._arrived.popleft())


def _end(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


_arrivals: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Arrivals] = weakref.WeakKeyDictionary()


async def _arrival(future: Future[Any]) -> object:
    """The result of a future that another thread resolves. A cancellation leaves the future as it is."""
    if not future.done():
        loop = asyncio.get_running_loop()
        arrivals = _arrivals.get(loop)
        if arrivals is None:
            arrivals = _arrivals[loop] = _Arrivals(loop)
        waiter = arrivals.expect(future, loop)
        try:
            await waiter
        finally:
            arrivals.over(waiter)
        if not future.done():
            raise StoreBroken(_NO_ANSWER)
    return future.result()


def run(flow: Flow[T], world: World) -> T:
    """Drive a flow to its end in this thread. What is no Exception (Ctrl-C) closes the flow on its way out."""
    answer: object = None
    failure: BaseException | None = None
    try:
        while True:
            effect = flow.throw(failure) if failure is not None else flow.send(answer)
            answer, failure = None, None
            try:
                answer = _perform(effect, world)
            except Exception as error:  # broad on purpose: the flow decides what a failed effect means
                failure = error
    except StopIteration as end:
        return cast("T", end.value)
    finally:
        flow.close()


async def run_async(flow: Flow[T], world: AsyncWorld) -> T:
    """Drive a flow to its end on the running event loop. A cancellation is thrown into the flow first."""
    answer: object = None
    failure: BaseException | None = None
    try:
        while True:
            effect = flow.throw(failure) if failure is not None else flow.send(answer)
            answer, failure = None, None
            try:
                # The two effects of every request go past a coroutine each.
                if type(effect) is Wait:
                    answer = await _arrival(effect.future)
                elif effect is _NOW:
                    answer = world.now()
                else:
                    answer = await _perform_async(effect, world)
            except (Exception, asyncio.CancelledError) as error:  # broad on purpose, see run
                failure = error
    except StopIteration as end:
        return cast("T", end.value)
    finally:
        flow.close()


# --- named places where tests may strike ---------------------------------------------------------

_strike: Callable[[str], None] | None = None


def failpoint(name: str) -> None:
    """A named place between two steps that must survive a crash between them. Does nothing in production."""
    if _strike is not None:
        _strike(name)


def arm_failpoints(strike: Callable[[str], None] | None) -> None:
    """For tests: call `strike(name)` at every failpoint; None disarms. It may kill, raise or delay."""
    global _strike  # noqa: PLW0603 - one switch per process is the point
    _strike = strike
