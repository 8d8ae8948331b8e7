"""The promise of a written operation is a Future like any other."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError, Future, InvalidStateError, wait
from functools import partial
from typing import Any

import pytest

from coinslot.store.promise import Promise

PATIENT_S = 10.0


def _note(called: list[int], number: int, _: Future[Any]) -> None:
    called.append(number)


def test_a_thread_that_waits_gets_the_result() -> None:
    """Also one that began to wait long before."""
    promise, got = Promise(), []
    threads = [threading.Thread(target=lambda: got.append(promise.result(PATIENT_S))) for _ in range(4)]
    for one in threads:
        one.start()
    assert promise.set_running_or_notify_cancel()
    promise.set_result("written")
    for one in threads:
        one.join(PATIENT_S)
    assert got == ["written"] * 4


def test_who_waits_too_short_a_time_is_told_so() -> None:
    """And the promise stands."""
    promise = Promise()
    with pytest.raises(TimeoutError):
        promise.result(0.01)
    promise.set_result(1)
    assert promise.result(0) == 1


def test_an_error_is_raised() -> None:
    """To whoever asks, however often."""
    promise = Promise()
    promise.set_exception(ValueError("no"))
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            promise.result()
    assert isinstance(promise.exception(), ValueError)


def test_a_promise_that_was_given_up_is_not_run() -> None:
    """And one that runs can't be given up."""
    given_up, running = Promise(), Promise()
    assert given_up.cancel()
    assert not given_up.set_running_or_notify_cancel()
    with pytest.raises(CancelledError):
        given_up.result()
    assert running.set_running_or_notify_cancel()
    assert running.running()
    assert not running.cancel()


def test_an_end_is_for_ever() -> None:
    """A second one is a mistake."""
    promise = Promise()
    promise.set_result(1)
    with pytest.raises(InvalidStateError):
        promise.set_result(2)
    with pytest.raises(InvalidStateError):
        promise.set_exception(ValueError())
    assert promise.result() == 1


def test_each_callback_is_called_once_whenever_it_came() -> None:
    """Before the end or after it, also while another thread brings the end about."""
    for _ in range(200):
        promise, start = Promise(), threading.Barrier(2)
        called: list[int] = []

        def end(promise: Promise = promise, start: threading.Barrier = start) -> None:
            start.wait()
            promise.set_result(1)

        thread = threading.Thread(target=end)
        thread.start()
        start.wait()
        for number in range(20):
            promise.add_done_callback(partial(_note, called, number))
        thread.join()
        assert sorted(called) == list(range(20))


def test_it_is_waited_for_like_any_other_future() -> None:
    """By the functions of the standard library."""
    first, second, plain = Promise(), Promise(), Future[int]()
    first.set_result(1)
    threading.Timer(0.01, second.set_result, [2]).start()
    threading.Timer(0.01, plain.set_result, [3]).start()
    assert wait([first, second, plain], PATIENT_S).not_done == set()

    async def wrapped() -> object:
        promise = Promise()
        threading.Timer(0.01, promise.set_result, [4]).start()
        return await asyncio.wait_for(asyncio.wrap_future(promise), PATIENT_S)

    assert asyncio.run(wrapped()) == 4
