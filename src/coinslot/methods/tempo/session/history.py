"""What an escrow told in the past: how a payer finds channels that its own store forgot, and a payee what it missed."""

from __future__ import annotations

from collections.abc import Mapping

from coinslot.chains.evm.address import parse_address
from coinslot.chains.evm.hexdata import parse_hex
from coinslot.chains.evm.rpc import MAX_LOGS, Log
from coinslot.drive import Flow, rpc
from coinslot.errors import RpcUnreachable, UsageError
from coinslot.methods.tempo.session.channel import ChannelRef, Descriptor, channel_ref
from coinslot.methods.tempo.session.escrow import V1, Escrow
from coinslot.methods.tempo.session.events import ChannelOpened, Event, read_events

_METHOD = "eth_getLogs"
# Public nodes refuse wider questions; an hour and a half of blocks.
BLOCKS_AT_ONCE = 10_000


def find_events(
    url: str,
    escrow: Escrow,
    blocks: tuple[int, int],
    *,
    channel_id: str | None = None,
    payer: str | None = None,
    payee: str | None = None,
) -> Flow[tuple[Event, ...]]:
    """The events of a channel, a payer or a payee (None: any) in these blocks, first and last included, in order.

    Raises RpcRefused, RpcUnreachable.
    """
    topics = [None, *(None if who is None else "0x" + who[2:].rjust(64, "0") for who in (channel_id, payer, payee))]
    found: list[Event] = []
    first, last = blocks
    while first <= last:
        until = min(first + BLOCKS_AT_ONCE - 1, last)
        asked = {"address": escrow.address, "topics": topics, "fromBlock": hex(first), "toBlock": hex(until)}
        answer = yield from rpc(url, _METHOD, [asked])
        told = read_events(escrow, _logs(answer))
        # A node that passes the filter over is not believed.
        found += [event for event in told if _about(event, channel_id, payer, payee)]
        first = until + 1
    return tuple(found)


def _about(event: Event, channel_id: str | None, payer: str | None, payee: str | None) -> bool:
    asked = zip((channel_id, payer, payee), (event.channel_id, event.payer, event.payee), strict=True)
    return all(wanted in (None, told) for wanted, told in asked)


def _logs(answer: object) -> tuple[Log, ...]:
    if not isinstance(answer, list) or len(answer) > MAX_LOGS:
        raise RpcUnreachable(f"{_METHOD}: logs are not a list of at most {MAX_LOGS}")
    try:
        return tuple(_log(each) for each in answer)
    except (UsageError, KeyError, TypeError) as error:
        raise RpcUnreachable(f"{_METHOD}: not a log") from error


def _log(fields: Mapping[str, object]) -> Log:
    topics = fields["topics"]
    if not isinstance(topics, list):
        raise UsageError("topics are not a list")
    return Log(
        parse_address(fields["address"]),
        tuple(parse_hex(topic, size=32) for topic in topics),
        parse_hex(fields["data"]),
    )


def channel_of(escrow: Escrow, opened: ChannelOpened) -> ChannelRef:
    """How to speak of a channel that an event tells of. Raises RpcUnreachable if its id is not that of its terms."""
    if escrow.version == V1:
        return ChannelRef(escrow, opened.channel_id)
    descriptor = Descriptor(
        payer=opened.payer,
        payee=opened.payee,
        operator=opened.operator,
        token=opened.token,
        salt=opened.salt,
        authorized_signer=opened.authorized_signer,
        expiring_nonce_hash=opened.expiring_nonce_hash,
    )
    ref = channel_ref(escrow, descriptor)
    if ref.id != opened.channel_id:  # T08
        raise RpcUnreachable("the node tells of a channel whose id is not that of its descriptor")
    return ref
