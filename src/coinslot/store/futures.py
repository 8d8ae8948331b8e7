"""Futures that are done already: flows take their result without leaving (drive.wait)."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TypeVar

from coinslot.store.promise import Promise

T = TypeVar("T")


def done(value: T) -> Future[T]:
    """A future with a result."""
    future = Promise()
    future.set_result(value)
    return future


def failed(error: Exception) -> Future[T]:
    """A future that raises."""
    future: Future[T] = Future()
    future.set_exception(error)
    return future
