"""What the chain says of channels: their state, and what became of a transaction that changed it. All flows.

A receipt alone shows too little (a success may have moved nothing), and a balanced node may answer the next question
from a replica that is behind. So each confirmation needs three things that agree: the receipt, the escrow's event in
it, and the channel's state read at the receipt's own block. F12 T32
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from coinslot.chains.evm.abi import (
    WORD,
    decode_address,
    decode_uint256,
    encode_call,
    encode_uint256,
    split_words,
)
from coinslot.chains.evm.address import ZERO_ADDRESS
from coinslot.chains.evm.rpc import POLL_S, Receipt, eth_call, get_block
from coinslot.drive import Flow, now, sleep
from coinslot.errors import (
    BadTransaction,
    ChannelFinalized,
    ChannelNotFound,
    RpcRefused,
    RpcUnreachable,
    UsageError,
    VerificationFailed,
)
from coinslot.methods.tempo.session.channel import ChannelRef, Descriptor, expected_signer
from coinslot.methods.tempo.session.escrow import CLOSE_GRACE_S, V1, V2, Escrow
from coinslot.methods.tempo.session.events import ChannelClosed, ChannelOpened, E, Settled, ToppedUp, events_of

T = TypeVar("T")

# A replica that lags shows a block within one or two more.
READ_WAIT_S = 2.0
# Channels in one question; an answer of that many is 64 KB of hex at most.
MAX_BATCH = 100
_V1_WORDS, _V2_WORDS = 8, 3


@dataclass(frozen=True, slots=True)
class ChannelState:
    """Amounts of a channel in base units. `close_requested_at` is seconds since 1970, 0 for "nobody asked".

    A v2 channel that was closed is forgotten by the chain: it looks like one that never was.
    """

    deposit_units: int
    settled_units: int
    close_requested_at: int
    finalized: bool

    @property
    def exists(self) -> bool:
        """Whether the chain knows such a channel."""
        return self.deposit_units > 0 or self.finalized

    @property
    def withdrawable_at(self) -> int | None:
        """When the payer may take the rest back, by the chain's clock; None where it didn't ask to."""
        return self.close_requested_at + CLOSE_GRACE_S if self.close_requested_at else None


@dataclass(frozen=True, slots=True)
class ChainChannel:
    """A channel as the chain knows it: its state, and who is part of it (v2: as the id commits to)."""

    channel: ChannelRef
    state: ChannelState
    payer: str
    payee: str
    operator: str
    token: str
    authorized_signer: str

    @property
    def signer(self) -> str:
        """Whose vouchers count (TSES-130). Raises VerificationFailed for a channel of nobody."""
        return expected_signer(self.payer, self.authorized_signer)


# --- asking --------------------------------------------------------------------------------------


def read_channel(url: str, channel: ChannelRef, *, block: int | None = None) -> Flow[ChainChannel]:
    """A channel at the newest block or at `block`. Raises ChannelNotFound, RpcRefused, RpcUnreachable."""
    found = yield from _read_channel(url, channel, block)
    if not found.state.exists:
        raise ChannelNotFound("the chain knows no such channel", channel_id=channel.id)
    return found


def _read_channel(url: str, channel: ChannelRef, block: int | None) -> Flow[ChainChannel]:
    signature = "getChannel(bytes32)" if channel.escrow.version == V1 else "getChannelState(bytes32)"
    call = encode_call(signature, bytes.fromhex(channel.id[2:]))
    answer = yield from eth_call(url, channel.escrow.address, call, block=block)
    if channel.escrow.version == V1:
        return _answered(lambda: _v1_channel(channel, split_words(answer, _V1_WORDS)))
    state = _answered(lambda: _v2_state(split_words(answer, _V2_WORDS)))
    return _described(channel, channel.required_descriptor(), state)


def read_states(
    url: str, escrow: Escrow, channel_ids: Sequence[str], *, block: int | None = None
) -> Flow[tuple[ChannelState, ...]]:
    """The states of many channels of one escrow, in order, in one question.

    Raises UsageError beyond MAX_BATCH, RpcRefused, RpcUnreachable.
    """
    if len(channel_ids) > MAX_BATCH:
        raise UsageError(f"more than {MAX_BATCH} channels in one question")
    v1 = escrow.version == V1
    ids = b"".join(bytes.fromhex(channel_id[2:]) for channel_id in channel_ids)
    arguments = encode_uint256(WORD) + encode_uint256(len(channel_ids)) + ids
    call = encode_call("getChannelsBatch(bytes32[])" if v1 else "getChannelStatesBatch(bytes32[])", arguments)
    answer = yield from eth_call(url, escrow.address, call, block=block)
    state, width = (_v1_state, _V1_WORDS) if v1 else (_v2_state, _V2_WORDS)
    return _answered(lambda: tuple(state(row) for row in _rows(answer, len(channel_ids), width)))


def _answered(read: Callable[[], T]) -> T:
    """What was read from an answer; an answer of another shape is none."""
    try:
        return read()
    except (BadTransaction, UsageError) as error:
        raise RpcUnreachable(f"the state of a channel: {error}") from None


def _rows(answer: bytes, count: int, width: int) -> list[tuple[bytes, ...]]:
    words = split_words(answer, 2 + count * width)
    if (decode_uint256(words[0]), decode_uint256(words[1])) != (WORD, count):
        raise BadTransaction("not a list of as many channels as were asked for")
    return [words[at : at + width] for at in range(2, len(words), width)]


def _v1_channel(channel: ChannelRef, words: tuple[bytes, ...]) -> ChainChannel:
    payer, payee, token, authorized_signer = (decode_address(word) for word in words[2:6])
    return ChainChannel(channel, _v1_state(words), payer, payee, ZERO_ADDRESS, token, authorized_signer)


def _v1_state(words: tuple[bytes, ...]) -> ChannelState:
    finalized, closing = decode_uint256(words[0]), decode_uint256(words[1])
    deposit, settled = decode_uint256(words[6]), decode_uint256(words[7])
    if finalized > 1 or closing >= 2**64 or not settled <= deposit <= V1.max_units:
        raise BadTransaction("no state that a channel can be in")
    return ChannelState(deposit, settled, closing, bool(finalized))


def _v2_state(words: tuple[bytes, ...]) -> ChannelState:
    settled, deposit, closing = (decode_uint256(word) for word in words)
    if closing >= 2**32 or not settled <= deposit <= V2.max_units:
        raise BadTransaction("no state that a channel can be in")
    return ChannelState(deposit, settled, closing, False)


def _described(channel: ChannelRef, descriptor: Descriptor, state: ChannelState) -> ChainChannel:
    return ChainChannel(
        channel,
        state,
        descriptor.payer,
        descriptor.payee,
        descriptor.operator,
        descriptor.token,
        descriptor.authorized_signer,
    )


# --- confirming ----------------------------------------------------------------------------------


def confirm_opened(url: str, receipt: Receipt, channel: ChannelRef, deposit_units: int) -> Flow[ChainChannel]:
    """The channel that a mined transaction opened, as the chain has it in that block (TSES-095 to TSES-102).

    Raises VerificationFailed (it did not open this channel), ChannelFinalized (its payer closes it already),
    RpcUnreachable (not known yet: ask again with the same receipt).
    """
    opened = _one_event(receipt, channel, ChannelOpened)
    if opened.deposit_units != deposit_units:
        raise VerificationFailed("the channel was opened with another deposit")
    found = yield from _read_pinned(url, receipt, channel)
    if found.state.deposit_units < deposit_units:
        raise RpcUnreachable("the node tells of a channel that its own state doesn't hold")
    if (opened.payer, opened.payee) != (found.payer, found.payee):
        raise RpcUnreachable("the node's event and state name different sides of the channel")
    require_usable(found)
    return found


def require_usable(found: ChainChannel) -> None:
    """That a channel can still be paid from. Raises ChannelFinalized. T27"""
    if found.state.finalized:
        raise ChannelFinalized("the channel was closed", channel_id=found.channel.id)
    if found.state.close_requested_at:  # T27 TSES-102 TSES-122
        raise ChannelFinalized("the payer asked the chain to close the channel", channel_id=found.channel.id)


def confirm_topped_up(url: str, receipt: Receipt, channel: ChannelRef, additional_units: int) -> Flow[ChainChannel]:
    """The channel after a mined top-up of so much (TSES-111 to TSES-114). Raises as `confirm_opened` does."""
    events = _events(receipt, channel, ToppedUp)
    adding = [event for event in events if event.additional_units == additional_units]
    if not adding:
        raise VerificationFailed("the transaction did not add this amount to this channel")
    found = yield from _read_pinned(url, receipt, channel)
    if found.state.deposit_units < adding[0].deposit_units and not found.state.finalized:
        raise RpcUnreachable("the node tells of a top-up that its own state doesn't hold")
    require_usable(found)
    return found


def confirm_settled(url: str, receipt: Receipt, channel: ChannelRef, cumulative_units: int) -> Flow[ChainChannel]:
    """The channel after a mined settlement of so much. Raises VerificationFailed, RpcUnreachable."""
    settled = _events(receipt, channel, Settled)
    if max((event.settled_units for event in settled), default=0) < cumulative_units:
        raise VerificationFailed("the transaction did not settle this amount of this channel")
    found = yield from _read_pinned(url, receipt, channel)
    if found.state.exists and found.state.settled_units < cumulative_units:
        raise RpcUnreachable("the node tells of a settlement that its own state doesn't hold")
    return found


def confirm_closed(url: str, receipt: Receipt, channel: ChannelRef) -> Flow[ChannelClosed]:
    """What a mined close (or withdrawal) paid to both sides. Raises VerificationFailed, RpcUnreachable."""
    closed = _one_event(receipt, channel, ChannelClosed)
    found = yield from _read_pinned(url, receipt, channel)
    if found.state.exists and not found.state.finalized:
        raise RpcUnreachable("the node tells of a close that its own state doesn't know")
    return closed


def _events(receipt: Receipt, channel: ChannelRef, kind: type[E]) -> tuple[E, ...]:
    if not receipt.succeeded:
        raise VerificationFailed("the transaction was reverted")
    return events_of(channel.escrow, receipt.logs, kind, channel.id)  # T32


def _one_event(receipt: Receipt, channel: ChannelRef, kind: type[E]) -> E:
    events = _events(receipt, channel, kind)
    if len(events) != 1:  # T32
        raise VerificationFailed("the escrow tells nothing of this channel in the transaction's receipt")
    return events[0]


def _read_pinned(url: str, receipt: Receipt, channel: ChannelRef) -> Flow[ChainChannel]:
    """The channel at the receipt's block, asked again while a replica doesn't have that block. F12"""
    deadline = (yield from now()) + READ_WAIT_S
    while True:
        try:
            found = yield from _read_channel(url, channel, receipt.block_number)  # F12
            block = yield from get_block(url, receipt.block_number)
            if block is not None and block.hash == receipt.block_hash:  # T33
                return found
            reason: Exception | None = None
        except (RpcRefused, RpcUnreachable) as error:
            reason = error
        if (yield from now()) >= deadline:
            raise RpcUnreachable("the node does not show the block of the transaction") from reason
        yield from sleep(POLL_S)
