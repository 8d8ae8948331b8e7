"""Flows and their drivers: the same flow, the same end, under threads and under asyncio."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot import drive
from coinslot.drive import (
    Flow,
    RealAsyncWorld,
    RealWorld,
    Rpc,
    Send,
    arm_failpoints,
    call,
    failpoint,
    now,
    random_bytes,
    rpc,
    run,
    run_async,
    send,
    sleep,
    wait,
)
from coinslot.errors import RpcRefused, RpcUnreachable, StoreBroken, StoreBusy, UsageError


class Told:
    """A world that answers from a script and remembers what it was asked; an exception in it is raised."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.asked: list[object] = []

    def next(self, asked: object) -> Any:
        """The next answer."""
        self.asked.append(asked)
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def rpc(self, effect: Rpc) -> object:
        """From the script."""
        return self.next((effect.method, effect.params))

    def send(self, effect: Send) -> object:
        """From the script."""
        return self.next(effect.request)

    def sleep(self, seconds: float) -> None:
        """From the script."""
        self.next(seconds)

    def now(self) -> float:
        """From the script."""
        return float(self.next("now"))

    def random(self, size: int) -> bytes:
        """From the script."""
        return bytes(self.next(size))


class AsyncTold(Told):
    """The same for asyncio."""

    async def rpc(self, effect: Rpc) -> object:
        """From the script."""
        await asyncio.sleep(0)
        return super().rpc(effect)

    async def send(self, effect: Send) -> object:
        """From the script."""
        await asyncio.sleep(0)
        return super().send(effect)

    async def sleep(self, seconds: float) -> None:  # type: ignore[override]  # the async driver awaits it
        """From the script."""
        await asyncio.sleep(0)
        super().sleep(seconds)


Driver = Callable[[Flow[Any], Told], Any]


def in_thread(flow: Flow[Any], world: Told) -> Any:
    """The synchronous driver."""
    return run(flow, world)


def in_loop(flow: Flow[Any], world: Told) -> Any:
    """The asynchronous driver."""
    return asyncio.run(run_async(flow, AsyncTold(*world.answers)))


both = pytest.mark.parametrize("driver", [in_thread, in_loop])


def tour() -> Flow[tuple[object, ...]]:
    """Every kind of effect once, one of them inside another flow."""

    def inner(url: str) -> Flow[int]:
        return int((yield from rpc(url, "eth_chainId", [])), 16)

    chain = yield from inner("http://x")
    sent = yield from send("request")
    done: Future[str] = Future()
    done.set_result("written")
    written = yield from wait(done)
    called = yield from call(lambda a, b: a + b, 2, 3)
    yield from sleep(0.5)
    return chain, sent, written, called, (yield from now()), (yield from random_bytes(2))


@both
def test_a_flow_ends_alike_under_both_drivers(driver: Driver) -> None:
    """Every effect is answered, in order, and the value of the flow comes out."""
    world = Told("0x2a", "response", None, 1.5, b"ab")
    assert driver(tour(), world) == (42, "response", "written", 5, 1.5, b"ab")


@given(st.lists(st.integers(-9, 9), max_size=8))
def test_any_sequence_of_answers_and_errors_ends_alike(script: list[int]) -> None:
    """Negative numbers are failures: the flow sees the same ones at the same places."""

    def flow() -> Flow[list[object]]:
        seen: list[object] = []
        for _ in script:
            try:
                seen.append((yield from send("x")))
            except ValueError as error:
                seen.append(str(error))
        return seen

    def answers() -> list[object]:
        return [ValueError(str(each)) if each < 0 else each for each in script]

    expected = [str(each) if each < 0 else each for each in script]
    assert in_thread(flow(), Told(*answers())) == expected
    assert in_loop(flow(), Told(*answers())) == expected


@both
def test_an_error_is_thrown_into_the_flow_at_the_yield(driver: Driver) -> None:
    """A flow handles a failed effect with plain try, may ask again, and its own error comes out."""

    def flow() -> Flow[object]:
        try:
            yield from rpc("http://x", "eth_call", [])
        except RpcUnreachable:
            again = yield from send("again")
        raise KeyError(again)

    with pytest.raises(KeyError, match="answered"):
        driver(flow(), Told(RpcUnreachable("gone"), "answered"))


@both
def test_an_error_that_nobody_handles_comes_out(driver: Driver) -> None:
    """With the flow's clean-up done."""
    cleaned = []

    def flow() -> Flow[None]:
        try:
            yield from sleep(1)
        finally:
            cleaned.append(True)

    with pytest.raises(OSError, match="down"):
        driver(flow(), Told(OSError("down")))
    assert cleaned == [True]


@both
def test_stop_iteration_of_an_effect_does_not_end_the_flow(driver: Driver) -> None:
    """A user's function that calls next() on nothing fails; it doesn't look like a result."""

    def flow() -> Flow[str]:
        yield from call(lambda: next(iter(())))
        return "done"

    with pytest.raises(RuntimeError):
        driver(flow(), Told())


def test_ctrl_c_closes_the_flow_and_passes_through() -> None:
    """What is no Exception isn't the flow's to handle, but its clean-up runs at once, not at some collection."""
    cleaned = []

    def flow() -> Flow[None]:
        try:
            yield from sleep(1)
        except Exception:
            cleaned.append("handled")
        finally:
            cleaned.append("closed")

    with pytest.raises(KeyboardInterrupt):
        run(flow(), Told(KeyboardInterrupt()))
    assert cleaned == ["closed"]


def test_a_cancellation_is_thrown_into_the_flow() -> None:
    """So that a paid request that is cancelled can say what it was about; then it passes on."""
    seen = []

    def flow() -> Flow[None]:
        try:
            yield from sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def main() -> None:
        task = asyncio.create_task(run_async(flow(), RealAsyncWorld()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert seen == ["cancelled"]


def test_a_cancelled_wait_does_not_cancel_the_write() -> None:
    """A store's step goes on to its end, whoever stops waiting for it."""
    written: Future[str] = Future()

    async def main() -> None:
        task = asyncio.create_task(run_async(wait(written), RealAsyncWorld()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert not written.cancelled()
    assert written.set_running_or_notify_cancel()


async def double(number: int) -> int:
    """A user's asynchronous function."""
    await asyncio.sleep(0)
    return number * 2


def test_asynchronous_functions_need_the_asynchronous_driver() -> None:
    """Awaited there; refused by name in a synchronous door, without a warning about a coroutine nobody awaited."""
    assert in_loop(call(double, 21), Told()) == 42
    with pytest.raises(UsageError, match="double"):
        in_thread(call(double, 21), Told())

    class Awaitable:
        def __await__(self) -> Iterator[None]:
            yield

    with pytest.raises(UsageError, match="asynchronous"):
        in_thread(call(Awaitable), Told())


@both
def test_a_store_s_result_and_error_arrive(driver: Driver) -> None:
    """From another thread, while the flow waits; also a TimeoutError of the store's own."""
    for outcome in ("written", StoreBusy("full"), TimeoutError("the store's own")):
        future: Future[str] = Future()
        finish = (future.set_exception, outcome) if isinstance(outcome, Exception) else (future.set_result, outcome)
        timer = threading.Timer(0.01, finish[0], [finish[1]])
        timer.start()
        if isinstance(outcome, Exception):
            with pytest.raises(type(outcome), match=str(outcome)):
                driver(wait(future), Told())
        else:
            assert driver(wait(future), Told()) == outcome
        timer.join()


@both
def test_a_store_that_never_answers_is_an_unknown_outcome(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write may still happen, so it is not StoreBusy, which promises that nothing changed."""
    monkeypatch.setattr(drive, "STORE_WAIT_S", 0.01)
    future: Future[str] = Future()
    with pytest.raises(StoreBroken, match="looked up"):
        driver(wait(future), Told())
    assert not future.cancelled()


@both
def test_what_is_already_there_needs_no_driver(driver: Driver) -> None:
    """A finished future is read in place: the hot path of memory stores yields nothing."""
    done: Future[int] = Future()
    done.set_result(7)
    with pytest.raises(StopIteration) as end:
        next(wait(done))
    assert end.value.value == 7
    assert driver(wait(done), Told()) == 7


@both
def test_what_is_no_effect_is_told(driver: Driver) -> None:
    """A flow that yields anything else gets no silent None."""

    def flow() -> Flow[object]:
        return (yield "something else")  # type: ignore[misc]

    with pytest.raises(AssertionError):
        driver(flow(), Told())


# --- the real world ------------------------------------------------------------------------------


class Node(BaseHTTPRequestHandler):
    """Answers a JSON-RPC call as its method's name says."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """One call."""
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answers: dict[str, Callable[[], tuple[int, object]]] = {
            "echo": lambda: (200, {"result": asked["params"]}),
            "null": lambda: (200, {"result": None}),
            "refuse": lambda: (200, {"error": {"code": -32000, "message": "nonce too low", "data": "0x01"}}),
            "refuse500": lambda: (500, {"error": {"code": "x", "message": 7}}),
            "busy": lambda: (429, {"result": "0x0"}),
            "empty": lambda: (200, {}),
            "list": lambda: (200, []),
            "html": lambda: (502, "<html>"),
            "deep": lambda: (200, "[" * 100_000),
            "huge": lambda: (200, '"' + "x" * (drive.RPC_ANSWER_BYTES + 1)),
        }
        status, told = answers[asked["method"]]()
        body = (told if isinstance(told, str) else json.dumps(told)).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silence."""


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a node on loopback."""
    monkeypatch.setattr(drive, "RPC_ANSWER_BYTES", 300_000)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Node)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # readers that stop early are expected
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/key-in-the-path"
    server.shutdown()
    server.server_close()
    thread.join()


def really_in_thread(flow: Flow[Any]) -> Any:
    """The synchronous driver in the real world."""
    world = RealWorld()
    try:
        return run(flow, world)
    finally:
        world.close()


def really_in_loop(flow: Flow[Any]) -> Any:
    """The asynchronous driver in the real world."""

    async def main() -> Any:
        world = RealAsyncWorld()
        try:
            return await run_async(flow, world)
        finally:
            await world.aclose()

    return asyncio.run(main())


real = pytest.mark.parametrize("driver", [really_in_thread, really_in_loop])


@real
def test_an_rpc_call_is_answered_or_refused(driver: Callable[[Flow[Any]], Any], node: str) -> None:
    """A result is a result, also null; a JSON-RPC error is RpcRefused with its code and data, whatever the status."""
    assert driver(rpc(node, "echo", ["0x1", {"a": True}])) == ["0x1", {"a": True}]
    assert driver(rpc(node, "null", [])) is None
    with pytest.raises(RpcRefused, match="nonce too low") as caught:
        driver(rpc(node, "refuse", []))
    assert (caught.value.code, caught.value.data) == (-32000, "0x01")
    with pytest.raises(RpcRefused) as caught:
        driver(rpc(node, "refuse500", []))
    assert caught.value.code == 0


@real
@pytest.mark.parametrize("method", ["busy", "empty", "list", "html", "deep", "huge"])
def test_anything_else_is_no_answer(driver: Callable[[Flow[Any]], Any], node: str, method: str) -> None:
    """Whether the node acted is then unknown; and the message doesn't carry a URL that may hold a key."""
    with pytest.raises(RpcUnreachable, match=method) as caught:
        driver(rpc(node, method, []))
    assert "key-in-the-path" not in str(caught.value)


@real
@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://", "nonsense", "http://[", "ftp://x/"])
def test_a_node_that_isn_t_there_is_no_answer(driver: Callable[[Flow[Any]], Any], url: str) -> None:
    """Refused connections and impossible URLs alike."""
    with pytest.raises(RpcUnreachable, match="eth_call"):
        driver(rpc(url, "eth_call", []))


@real
def test_clock_and_randomness_are_real(driver: Callable[[Flow[Any]], Any]) -> None:
    """The wall clock, and different bytes each time."""

    def flow() -> Flow[tuple[float, bytes, bytes]]:
        yield from sleep(0)
        return (yield from now()), (yield from random_bytes(16)), (yield from random_bytes(16))

    at_s, one, other = driver(flow())
    assert abs(at_s - time.time()) < 60
    assert len(one) == len(other) == 16
    assert one != other


@real
def test_only_doors_send(driver: Callable[[Flow[Any]], Any]) -> None:
    """A world without an HTTP door says so."""
    with pytest.raises(UsageError, match="door"):
        driver(send("request"))


def test_failpoints_do_nothing_until_armed() -> None:
    """And strike by name once they are."""
    struck: list[str] = []
    failpoint("before")
    arm_failpoints(struck.append)
    try:
        failpoint("here")
    finally:
        arm_failpoints(None)
    failpoint("after")
    assert struck == ["here"]
