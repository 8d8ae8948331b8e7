"""Whatever a server plays, in any order: one credential, one payment, and an honest end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import httpx
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from coinslot.client.events import Paid, Presented
from coinslot.client.wallet import wallet
from coinslot.errors import NoPayableOffer, PaymentOutcomeUnknown, PaymentRefused, PolicyRefused
from support.doors import Door
from support.shop import Shop
from support.site import Reply, Seen, Site
from support.toybank import Bank

MOVES = (
    "honest ask dear junk plain-402 lost half busy-409 busy-503 final-409 error-500 login-401 redirect-302 redirect-307"
).split()
# Enough for the long search.
FUNDS = 10**15


@dataclass
class Stage:
    """A site that plays a script; after its end it is honest."""

    shop: Shop
    script: list[str]

    def __call__(self, seen: Seen) -> Reply:
        """The next move. Credentials are taken to the bank first, so that every move may have cost money."""
        move = self.script.pop(0) if self.script else "honest"
        self.shop.price = "2" if move == "dear" else "0.01"
        reply = self.shop(seen)
        name, _, code = move.partition("-")
        if name in ("ask", "dear"):
            return self.shop.ask()
        if name == "busy":
            return Reply(int(code), b"", (("Retry-After", "0"),))
        if name == "redirect":
            return Reply(int(code), b"", (("Location", "/next"),))
        if name in ("plain", "final", "error", "login"):
            return Reply(int(code), b"{}")
        if name == "junk":
            return Reply(402, b"\xff{", (("WWW-Authenticate", 'Payment id="'), ("Payment-Receipt", "\xe9")))
        return replace(reply, drop={"lost": "all", "half": "body"}.get(name))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, Site, dict[str, object]]]:
    """One bank, one site and one wallet for all examples."""
    bank = Bank(str(tmp_path_factory.mktemp("bank") / "bank.db")).create()
    bank.open("shop")
    alice: dict[str, object] = {"bank": bank.path, "account": "alice", "secret": bank.open("alice", coin=FUNDS)}
    played = Stage(Shop(bank), [])
    with Site(played) as site:
        yield played, site, alice


@pytest.mark.guard("T46", "F03", "F14")
@pytest.mark.parametrize("kind", ["httpx", "httpx-async", "requests"])
@settings(max_examples=max(20, settings().max_examples // 5))  # each is a dozen requests
@given(script=st.lists(st.sampled_from(MOVES), max_size=6))
def test_any_server_is_paid_once_and_the_end_is_honest(
    stage: tuple[Stage, Site, dict[str, object]], kind: str, script: Sequence[str]
) -> None:
    """At most one credential and one payment. Once it has left, the end is a note, a refusal or "unknown", with the
    reference; never an ordinary error that hides what was paid.
    """
    played, site, alice = stage
    bank = played.shop.bank
    played.script[:] = script
    before, settled = len(site.seen), bank.settled()
    outcome: object
    try:
        outcome = Door(kind, wallet(toy=alice)).get(site.url).payment
    except (PaymentRefused, PaymentOutcomeUnknown, PolicyRefused, NoPayableOffer) as error:
        outcome = error
    except (httpx.HTTPError, requests.RequestException) as error:
        outcome = error
    credentials = {seen.credential for seen in site.seen[before:] if seen.credential}
    assert len(credentials) <= 1
    assert bank.settled() - settled <= len(credentials)
    if credentials:
        assert isinstance(outcome, Paid | Presented | PaymentRefused | PaymentOutcomeUnknown), outcome
        assert outcome.reference
    else:
        assert not isinstance(outcome, Paid | Presented | PaymentRefused | PaymentOutcomeUnknown)
