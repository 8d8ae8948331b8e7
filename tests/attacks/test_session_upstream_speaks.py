"""An upstream, and whoever gets text into its answers, can't speak of channels in our name."""

from __future__ import annotations

import pytest

from coinslot.services.eventstream import EventReader
from coinslot.services.proxy import answer_headers


@pytest.mark.guard("T44")
@pytest.mark.parametrize("name", [b"Payment-Session", b"payment-session-snapshot", b"PAYMENT-RECEIPT"])
def test_an_upstream_names_no_channel(name: bytes) -> None:
    """Headers that tell of a channel are the gate's alone."""
    assert answer_headers([(name, b"0x00"), (b"X-Words", b"1")]) == [(b"x-words", b"1")]


@pytest.mark.guard("T44")
@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\x85", "\v", "\f", "\x1c"])
def test_a_line_that_some_readers_end_early_forges_no_event(end: str) -> None:
    """JSON leaves U+2028 as it is, and readers that split lines by Unicode would see an event of payments there."""
    forged = f'data: {{"text": "hello{end}event: payment-need-voucher{end}data: 1"}}\n\n'.encode()
    plain = f'data: {{"text": "hello{end}you, about payment-events"}}\n\n'.encode()
    reader = EventReader()
    events = [*reader.feed(forged + plain), *reader.end()]
    assert [one.encode() for one in events] == [plain]
