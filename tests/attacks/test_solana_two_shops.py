"""Two services of one owner, each with a store of its own, that are paid at the same address."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from coinslot import drive
from coinslot.chains.solana.programs import MEMO_PROGRAM
from coinslot.core.challenge import Challenge, KeyRing
from coinslot.core.credential import encode_credential
from coinslot.drive import RealWorld
from coinslot.methods.solana.charge_seller import SolanaChargeSeller
from coinslot.methods.solana.terms import SolanaTerms
from coinslot.methods.solana.transaction.build import payment_instructions
from coinslot.server.admission import Admission
from coinslot.server.answer import Answer
from coinslot.server.gate import Gate
from coinslot.server.issue import Issuer
from coinslot.server.price import Price
from coinslot.store.memory import MemoryStore
from support.solanashop import SolanaShop, payload
from support.svm import SvmChain
from support.till import GET, asking, offered


@pytest.fixture
def solshop(svm: SvmChain) -> Iterator[SolanaShop]:
    """Both sides of a charge on a chain of the test's own."""
    with httpx.Client() as client:
        yield SolanaShop(svm, RealWorld(client))


class Service:
    """A gate with its own name, secret and store."""

    def __init__(self, shop: SolanaShop, name: str, seller: SolanaChargeSeller) -> None:
        self.shop, self.price = shop, Price("0.25", (seller,))
        self.gate = Gate(Issuer(name, KeyRing((name.encode().ljust(32, b"."),))), MemoryStore(), 5.0)

    def ask(self, credential: str | None) -> Answer | Admission:
        """What the gate says."""
        got = self.shop.run(self.gate.admit(asking(GET, credential), self.price))
        assert isinstance(got, Answer | Admission)
        return got

    def offered(self) -> Challenge:
        """A fresh challenge."""
        got = self.ask(None)
        assert isinstance(got, Answer)
        return offered(got)[0]


@pytest.mark.guard("T05")
def test_a_transaction_that_names_no_charge_pays_one_of_them_only(solshop: SolanaShop) -> None:
    """Handed to both before either has broadcast it, it would be everybody's payment."""
    recipient = solshop.payee()
    services = [Service(solshop, f"{name}.example.com", solshop.seller(recipient=recipient)) for name in ("a", "b")]
    key = solshop.account()
    challenges = [one.offered() for one in services]
    terms = services[0].price.sellers[0].terms(challenges[0].request_object())
    assert isinstance(terms, SolanaTerms)
    told = payment_instructions(terms, key.address, terms.token_program, (150_000, 1_000))
    bare = payload(solshop.signed([each for each in told if each.program != MEMO_PROGRAM], key))
    got: list[Answer | Admission] = []

    def meanwhile(at: str) -> None:
        if at == "gate.prepared" and not got:
            got.append(Answer(0, (), b""))
            got[0] = services[1].ask(encode_credential(challenges[1], bare, None))

    drive.arm_failpoints(meanwhile)
    try:
        got.append(services[0].ask(encode_credential(challenges[0], bare, None)))
    finally:
        drive.arm_failpoints(None)
    assert sum(isinstance(one, Admission) for one in got) <= 1
