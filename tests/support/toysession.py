"""Sessions of the toy method: payment channels at the toy bank, for tests of servers, clients and settlers.

    Slot(..., toy={"bank": bank.path, "recipient": "shop", "sessions": True})             # flavour "v2"
    Slot(..., toy={..., "sessions": True, "flavour": "v1", "min_delta": 100})

Flavours: "v2" has Rules(bits=96, lower=IGNORE, capture=SPENT), a descriptor in every payload, and a bank that forgets
closed channels; "v1" has Rules(bits=128, lower=REFUSE, capture=VOUCHER), none after opening, and a bank that remembers.
Faults are ordered at the bank (toybank.py); so is its clock, and `bank.set_grace(seconds)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import msgspec

from coinslot.drive import Flow, call
from coinslot.errors import (
    ConfigError,
)
from coinslot.method import SessionPayer, SessionSeller
from support.toybank import Bank
from support.toychannel import (
    PEGS,
)
from support.toyescrow import (
    FLAVOURS,
)
from support.toysessionpayer import ToySessionPayer
from support.toysessionseller import ToySessionSeller


class SellerSettings(Protocol):
    """What a seller of sessions needs of the settings in toy.py."""

    bank: str
    recipient: str
    currency: str
    sessions: bool
    flavour: str
    min_delta: int
    credit_units: int
    batch: int


class PayerSettings(Protocol):
    """What a payer needs of the settings in toy.py."""

    bank: str
    account: str
    secret: str
    signer_secret: str | None


class ToySessions:
    """See method.Sessions."""

    def sellers(self, accept: msgspec.Struct) -> Flow[Sequence[SessionSeller]]:
        """See method.py."""
        given = cast("SellerSettings", accept)
        if not given.sessions:
            return []
        if given.currency not in PEGS or given.flavour not in FLAVOURS:
            raise ConfigError("currency: coin or shell; flavour: v1 or v2")
        bank = Bank(given.bank)
        identity = yield from call(bank.identity)
        grace_s = yield from call(bank.grace)
        made = ToySessionSeller(
            bank,
            identity,
            grace_s,
            given.recipient,
            given.currency,
            given.flavour,
            given.min_delta,
            given.credit_units,
            given.batch,
        )
        return [made]

    def payers(self, wallet: msgspec.Struct) -> Flow[Sequence[SessionPayer]]:
        """See method.py."""
        given = cast("PayerSettings", wallet)
        bank = Bank(given.bank)
        identity = yield from call(bank.identity)
        grace_s = yield from call(bank.grace)
        signer_secret = given.signer_secret or given.secret
        return [ToySessionPayer(bank, identity, grace_s, given.account, given.secret, signer_secret)]
