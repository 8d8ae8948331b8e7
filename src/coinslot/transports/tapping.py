"""What a paying client reads of an answer that is paid while it comes, whatever HTTP library brings it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from coinslot.client.presenting import Tapped
from coinslot.drive import World, run


def tapped(chunks: Iterable[bytes], tap: Tapped, world: World) -> Iterator[bytes]:
    """The answer without what is for us in it; between two chunks it is paid. Raises PaymentError."""
    try:
        for chunk in chunks:
            passed = run(tap.feed(chunk), world)
            if passed:
                yield passed
            tap.overdue()
        run(tap.end(), world)
    except BaseException:  # broken off: not every reader closes it then
        tap.finish()  # F03
        raise
    rest = tap.finish()
    if rest:
        yield rest
