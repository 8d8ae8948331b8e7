"""What a settler does by hand, one step at a time, on a till of Solana sessions (support/solanatill.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.programs import TOKEN_PROGRAM
from coinslot.drive import run
from coinslot.intents import session
from coinslot.intents.acts import JobOutcome, Sendable
from coinslot.server.settler import Policy
from support.solanatill import PYUSD, USDC, Buyer, SolanaTill

Tills = Callable[..., SolanaTill]


KINDS: dict[str, dict[str, Any]] = {
    "sponsored": {},
    "paying its own fee": {"sponsored": False},
    "signed for by us": {"operator": True},
    "token 2022": {"mint": PYUSD},
}


def bought(till: SolanaTill, times: int = 1, **changes: Any) -> Buyer:
    """A client that bought so often."""
    buyer = till.buyer(**changes)
    for _ in range(times):
        assert till.serve(buyer.pay()).status == 200
    return buyer


def settle_all(till: SolanaTill) -> Policy:
    """Settle whatever is owed, at once."""
    return Policy(settle_units=1)


Job = tuple[session.Channel, session.Close, bool]


def job(till: SolanaTill, buyer: Buyer, *, closes: bool) -> Job:
    """What a settler would plan now."""
    rules = till.seller.rules(till.seller.terms(buyer.request))
    record = buyer.record
    wanted = session.close(record, None, rules) if closes else session.settlement(record, rules)
    assert isinstance(wanted, session.Close)
    return record, wanted, closes


def made(till: SolanaTill, *jobs: Job) -> Sendable:
    """Signed, nothing sent."""
    return run(till.seller.pay_out(jobs), till.world)


def done(till: SolanaTill, *jobs: Job) -> list[JobOutcome]:
    """Sent, and what became of each."""
    sent = made(till, *jobs)
    run(till.seller.send(sent.raw), till.world)
    return [run(till.seller.paid_out(*one, sent), till.world) for one in jobs]


def lose_account(till: SolanaTill, owner: str) -> None:
    """The owner's token account is no more."""
    nothing = {"lamports": 0, "data": "", "owner": "11111111111111111111111111111111"}
    till.svm.rpc("surfnet_setAccount", derive_ata(owner, USDC, TOKEN_PROGRAM), nothing)
