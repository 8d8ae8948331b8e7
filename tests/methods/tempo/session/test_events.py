"""Events of an escrow."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coinslot.chains.evm.rpc import Log
from coinslot.methods.tempo.session.escrow import V1, Escrow
from coinslot.methods.tempo.session.events import (
    ChannelClosed,
    ChannelOpened,
    CloseRequestCancelled,
    CloseRequested,
    Event,
    Settled,
    ToppedUp,
    events_of,
    read_events,
)
from support.tempochannel import BOTH, E1, E2, KEY, OPERATOR, PATH, PAYEE, SALT, event_log

ID = "0x" + "55" * 32
HASH = "0x" + "44" * 32
WHO = (ID, KEY.address, PAYEE)


def raw(text: str) -> bytes:
    """Bytes of hex."""
    return bytes.fromhex(text[2:])


def told(place: Escrow) -> list[tuple[Log, Event]]:
    """One of each, by the published interfaces."""
    uint = "uint256" if place.version == V1 else "uint96"
    if place.version == V1:
        opened = event_log(
            place, ID, "ChannelOpened", "address,address,bytes32,uint256", PATH, KEY.address, raw(SALT), 9
        )
        event = ChannelOpened(*WHO, PATH, KEY.address, SALT, 9)
    else:
        kinds = "address,address,address,bytes32,bytes32,uint96"
        opened = event_log(place, ID, "ChannelOpened", kinds, OPERATOR, PATH, KEY.address, raw(SALT), raw(HASH), 9)
        event = ChannelOpened(*WHO, PATH, KEY.address, SALT, 9, OPERATOR, HASH)
    return [
        (opened, event),
        (event_log(place, ID, "Settled", f"{uint},{uint},{uint}", 5, 2, 5), Settled(*WHO, 5, 2, 5)),
        (event_log(place, ID, "TopUp", f"{uint},{uint}", 4, 13), ToppedUp(*WHO, 4, 13)),
        (event_log(place, ID, "CloseRequested", "uint256", 1_800_000_900), CloseRequested(*WHO, 1_800_000_900)),
        (event_log(place, ID, "CloseRequestCancelled"), CloseRequestCancelled(*WHO)),
        (event_log(place, ID, "ChannelClosed", f"{uint},{uint}", 5, 8), ChannelClosed(*WHO, 5, 8)),
    ]


@pytest.mark.parametrize("place", BOTH)
def test_each_event_is_read(place: Escrow) -> None:
    """In order, all of their fields."""
    logs, events = zip(*told(place), strict=True)
    assert read_events(place, logs) == events


@pytest.mark.guard("T32")
@pytest.mark.parametrize("place", BOTH)
def test_only_the_escrow_itself_is_believed(place: Escrow) -> None:
    """Any contract can write these events; only the escrow's count."""
    logs = [replace(each, address=PATH) for each, _ in told(place)]
    assert read_events(place, logs) == ()


@pytest.mark.parametrize("place", BOTH)
def test_other_shapes_are_passed_over(place: Escrow) -> None:
    """Too few topics, more data, dirt above an address, events of the other protocol."""
    (other,) = [one for one in BOTH if one != place]
    opened = told(place)[0][0]
    same = [replace(each, address=place.address) for each, event in told(other)
            if not isinstance(event, CloseRequested | CloseRequestCancelled)]  # fmt: skip
    strange = [
        replace(opened, topics=opened.topics[:3]),
        replace(opened, topics=()),
        replace(opened, data=opened.data + bytes(32)),
        replace(opened, topics=(*opened.topics[:3], b"\x01" + opened.topics[3][1:])),
    ]
    assert read_events(place, [*same, *strange]) == ()


def test_events_are_found_by_kind_and_channel() -> None:
    """Others' are left out."""
    logs = [each for each, _ in told(E2)]
    assert events_of(E2, logs, Settled, ID) == (Settled(*WHO, 5, 2, 5),)
    assert events_of(E2, logs, Settled, HASH) == ()
    assert events_of(E1, logs, Settled, ID) == ()
