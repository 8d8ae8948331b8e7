"""What an escrow tells: its events, read from a receipt. Those of other contracts or shapes are passed over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from coinslot.chains.evm.abi import decode_address, decode_uint256, event_topic, split_words
from coinslot.chains.evm.address import ZERO_ADDRESS
from coinslot.chains.evm.hexdata import to_hex
from coinslot.chains.evm.rpc import Log
from coinslot.errors import BadTransaction
from coinslot.methods.tempo.session.escrow import V1, V2, Escrow


@dataclass(frozen=True, slots=True)
class ChannelEvent:
    """What all of them tell: the channel's id as lower-case hex, and its two sides."""

    channel_id: str
    payer: str
    payee: str


@dataclass(frozen=True, slots=True)
class ChannelOpened(ChannelEvent):
    """A channel was opened. Operator and hash are those of v2 (the zero address and "" in v1)."""

    token: str
    authorized_signer: str
    salt: str
    deposit_units: int
    operator: str = ZERO_ADDRESS
    expiring_nonce_hash: str = ""


@dataclass(frozen=True, slots=True)
class Settled(ChannelEvent):
    """The payee was paid the difference up to a voucher."""

    cumulative_units: int
    delta_units: int
    settled_units: int


@dataclass(frozen=True, slots=True)
class ToppedUp(ChannelEvent):
    """The deposit grew."""

    additional_units: int
    deposit_units: int


@dataclass(frozen=True, slots=True)
class CloseRequested(ChannelEvent):
    """The payer may withdraw from `withdrawable_at` on, seconds since 1970."""

    withdrawable_at: int


@dataclass(frozen=True, slots=True)
class CloseRequestCancelled(ChannelEvent):
    """A top-up took the request back."""


@dataclass(frozen=True, slots=True)
class ChannelClosed(ChannelEvent):
    """The channel is gone: settled to the payee in all, and refunded to the payer."""

    settled_units: int
    refunded_units: int


Event: TypeAlias = ChannelOpened | Settled | ToppedUp | CloseRequested | CloseRequestCancelled | ChannelClosed
E = TypeVar("E", ChannelOpened, Settled, ToppedUp, CloseRequested, CloseRequestCancelled, ChannelClosed)
_Reader: TypeAlias = Callable[[tuple[str, str, str], bytes], Event]


def _numbers(kind: Callable[..., Event], count: int) -> _Reader:
    """The reader of an event whose data are `count` numbers."""

    def read(who: tuple[str, str, str], data: bytes) -> Event:
        return kind(*who, *(decode_uint256(word) for word in split_words(data, count)))

    return read


def _opened_v1(who: tuple[str, str, str], data: bytes) -> Event:
    token, signer, salt, deposit = split_words(data, 4)
    return ChannelOpened(*who, decode_address(token), decode_address(signer), to_hex(salt), decode_uint256(deposit))


def _opened_v2(who: tuple[str, str, str], data: bytes) -> Event:
    operator, token, signer, salt, nonce_hash, deposit = split_words(data, 6)
    return ChannelOpened(
        *who,
        token=decode_address(token),
        authorized_signer=decode_address(signer),
        salt=to_hex(salt),
        deposit_units=decode_uint256(deposit),
        operator=decode_address(operator),
        expiring_nonce_hash=to_hex(nonce_hash),
    )


def _readers(opened: str, read_opened: _Reader, uint: str) -> dict[bytes, _Reader]:
    who = "bytes32,address,address"
    return {
        event_topic(f"ChannelOpened({who},{opened})"): read_opened,
        event_topic(f"Settled({who},{uint},{uint},{uint})"): _numbers(Settled, 3),
        event_topic(f"TopUp({who},{uint},{uint})"): _numbers(ToppedUp, 2),
        event_topic(f"CloseRequested({who},uint256)"): _numbers(CloseRequested, 1),
        event_topic(f"CloseRequestCancelled({who})"): _numbers(CloseRequestCancelled, 0),
        event_topic(f"ChannelClosed({who},{uint},{uint})"): _numbers(ChannelClosed, 2),
    }


_READERS = {
    V1.name: _readers("address,address,bytes32,uint256", _opened_v1, "uint256"),
    V2.name: _readers("address,address,address,bytes32,bytes32,uint96", _opened_v2, "uint96"),
}
# Every event names channel, payer and payee as its topics.
_TOPICS = 4


def read_events(escrow: Escrow, logs: Sequence[Log]) -> tuple[Event, ...]:
    """The events that this escrow itself told, in order."""
    found = (_read(escrow, log) for log in logs if log.address == escrow.address)  # T32
    return tuple(event for event in found if event is not None)


def _read(escrow: Escrow, log: Log) -> Event | None:
    reader = _READERS[escrow.version.name].get(log.topics[0]) if len(log.topics) == _TOPICS else None
    if reader is None:
        return None
    try:
        who = (to_hex(log.topics[1]), decode_address(log.topics[2]), decode_address(log.topics[3]))
        return reader(who, log.data)
    except BadTransaction:
        return None  # an event of this name and another shape is not the escrow's we know


def events_of(escrow: Escrow, logs: Sequence[Log], kind: type[E], channel_id: str) -> tuple[E, ...]:
    """The events of one kind about one channel."""
    return tuple(
        event for event in read_events(escrow, logs) if isinstance(event, kind) and event.channel_id == channel_id
    )
