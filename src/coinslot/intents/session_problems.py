"""What a server answers when a channel refuses: the problem of each refusal."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from coinslot.errors import (
    AmountExceedsDeposit,
    ChannelFinalized,
    ChannelNotFound,
    DeltaTooSmall,
    InsufficientBalance,
    KeyReused,
    PaymentInFlight,
    Problem,
    SessionProblem,
    VerificationFailed,
)
from coinslot.intents.session import Refused, Why

_PROBLEMS: Mapping[Why, tuple[type[SessionProblem], str]] = MappingProxyType(
    {
        Why.NOT_FOUND: (ChannelNotFound, "no channel of this id is known here"),
        Why.CLOSING: (ChannelFinalized, "closing this channel was asked for; it takes no more vouchers"),
        Why.CLOSED: (ChannelFinalized, "this channel is closed"),
        Why.LOWER: (DeltaTooSmall, "a higher voucher was accepted before"),
        Why.EQUAL: (DeltaTooSmall, "this voucher was accepted before"),
        Why.DELTA: (DeltaTooSmall, "the voucher adds less than the least step"),
        Why.DEPOSIT: (AmountExceedsDeposit, "the voucher says more than the channel's deposit"),
    }
)
# What passes by itself: nothing was charged, and the same is good in a moment.
_SOON: Mapping[Why, str] = MappingProxyType(
    {
        # Its payer may have seen it on the chain before we did.
        Why.OPENING: "the opening of this channel is still being settled",  # F01
        Why.CROWDED: "too many keyed requests of this channel run; nothing was charged",
        Why.RESERVED: "a stream on this channel still runs",
    }
)


def problem_of(refused: Refused) -> Problem:
    """The problem that says why. Its channel is named, and for a balance what is missing."""
    channel_id = None if refused.channel is None else refused.channel.id
    if refused.why is Why.BALANCE:
        return InsufficientBalance(channel_id=channel_id, required_top_up=refused.missing_units)
    if refused.why is Why.KEY_REUSED:
        return KeyReused()
    if refused.why in _SOON:
        return PaymentInFlight(_SOON[refused.why], retry_after_s=1)
    if refused.why is Why.AHEAD:
        return VerificationFailed("the voucher allows more than this request costs; sign for its price")
    kind, detail = _PROBLEMS[refused.why]
    return kind(detail, channel_id=channel_id)
