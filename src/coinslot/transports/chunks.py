"""Answers that are paid piece by piece and are no events: files, audio, lines of text.

    chunks(meter(request), pieces)                          a unit for each byte
    chunks(meter(request), pieces, units_of=lambda _: 1)    a unit for each piece

Each piece is charged before it is sent. Inside such an answer nothing can be asked of the client: on a channel that
runs dry it waits for a voucher, and then it breaks off with StreamDry, for half of it must not look whole. The receipt
in its header tells how the channel stood when it began.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable

from coinslot.transports.metering import Metered
from coinslot.transports.sse import in_threads

UnitsOf = Callable[[bytes], int]


def chunks(metered: Metered, pieces: Iterable[bytes], units_of: UnitsOf = len) -> Generator[bytes]:
    """The answer, for servers with threads. Raises StreamDry, ChannelFinalized, ChannelNotFound, StoreError."""
    source = iter(pieces)
    try:
        for piece in source:
            metered.sync.charge(units_of(piece))
            yield piece
        metered.sync.finish()
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            close()


async def achunks(
    metered: Metered, pieces: AsyncIterable[bytes] | Iterable[bytes], units_of: UnitsOf = len
) -> AsyncGenerator[bytes]:
    """The answer, for event loops; pieces that are not asynchronous are made in threads. Raises as `chunks`."""
    source = aiter(pieces if isinstance(pieces, AsyncIterable) else in_threads(pieces))
    try:
        async for piece in source:
            await metered.asynchronous.charge(units_of(piece))
            yield piece
        await metered.asynchronous.finish()
    finally:
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()
