"""What a paying client reads of an answer that is paid while it comes, whatever HTTP library brings it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import suppress

from coinslot.client.owing import LEAVE_MOST_S
from coinslot.client.presenting import Tapped
from coinslot.drive import AsyncWorld, Cancelled, World, run, run_async


def tapped(chunks: Iterable[bytes], tap: Tapped, world: World) -> Iterator[bytes]:
    """The answer without what is for us in it; between two chunks it is paid. Raises PaymentError."""
    try:
        for chunk in chunks:
            passed = run(tap.feed(chunk), world)
            if passed:
                yield passed
            tap.overdue()
        run(tap.end(), world)
    except BaseException as error:  # broken off: not every reader closes it then
        broken_off(tap, error)  # F03
        raise
    rest = tap.finish()
    if rest:
        yield rest


def broken_off(tap: Tapped, error: BaseException) -> None:
    """The answer ended before its end: by its reader's wish, or by no wish of his."""
    if isinstance(error, Exception) and not isinstance(error.__cause__, Cancelled):
        tap.lose()
    tap.finish()


async def left(tap: Tapped, world: AsyncWorld) -> None:
    """After its reader left an answer: what is to be paid for it, in some seconds at most. F29"""
    with suppress(TimeoutError):
        async with asyncio.timeout(LEAVE_MOST_S):
            await run_async(tap.leave(), world)
