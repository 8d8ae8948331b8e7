"""Buyers that pay on every 402 and come again on everything else, against crashes, faults, expiry and lost answers.

The model is the buyer's view: what it presented for one logical request, and what it got. However the steps are
ordered, no logical request is paid twice, nothing is delivered unpaid or twice, and nothing is left locked.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from coinslot import drive
from coinslot.core.receipt import decode_receipt
from coinslot.server.answer import Answer
from coinslot.store.protocol import Query, Stage
from support.failpoints import FAILPOINTS
from support.strike import Struck
from support.till import UNITS, Till, first, problem, token_of
from support.toy import ToyTerms, cheque_body
from support.toybank import Bank, hash_of

POINTS = sorted(name for name in FAILPOINTS if name.startswith("gate."))
FAULTS = ["stuck", "lost-answer", "drop", "revert"]


@dataclass
class Purchase:
    """One logical request of a buyer: every credential it presented for it, and the whole answers that it got."""

    credentials: list[str]
    key: str | None
    answers: set[bytes] = field(default_factory=set)
    receipts: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)


class Buyers(RuleBasedStateMachine):
    """See above."""

    @initialize()
    def open_shop(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="coinslot-machine-"))
        self.bank = Bank(str(self.folder / "bank.db")).create()
        self.bank.open("shop", coin=0)
        secret = self.bank.open("alice", coin=10**9)
        self.secrets = [secret]
        self.till = Till(self.bank, {"bank": self.bank.path, "account": "alice", "secret": secret})
        self.purchases: list[Purchase] = []
        self.skew, self.runs = 0.0, 0

    def teardown(self) -> None:
        """In the end the network is well again, and every request ends: paid once and delivered."""
        if not hasattr(self, "till"):
            return
        for fault in (*FAULTS, "down"):
            self.bank.heal(fault)
        self.bank.release()
        for purchase in self.purchases:
            for _ in range(4):
                if not purchase.answers:
                    self.present(purchase)
            assert purchase.answers, "a request that never ends"
        self.check()
        self.till.store.close()
        shutil.rmtree(self.folder)

    # --- the buyer -----------------------------------------------------------------------------

    def reference(self, credential: str) -> str:
        given = token_of(credential)
        terms = self.till.payer.terms(given.challenge)
        assert isinstance(terms, ToyTerms)
        return hash_of(cheque_body(given.challenge, terms, "alice"))

    def paid(self, credential: str) -> bool:
        """The truth, from the bank's own books."""
        with self.bank._open() as db:
            query = "select 1 from cheque where hash = ? and state = 'settled'"
            return db.execute(query, (self.reference(credential),)).fetchone() is not None

    def present(self, purchase: Purchase, credential: str | None = None, *, fails: bool = False) -> None:
        """Present, take note of what comes back, and pay anew if it is a bill."""
        credential = credential or purchase.credentials[-1]
        delivered = bool(purchase.answers) and self.paid(credential)
        if purchase.key is None:
            got = self.till.present(credential)
        else:
            got = self.till.present(credential, idempotency_key=purchase.key)
        if not isinstance(got, Answer):
            self.runs += 1
            if fails:
                self.till.gate.abandoned(got)
                return
            got = self.till.deliver(got, f"goods {self.runs}".encode())
        assert got.status == 200 or not delivered, "what was delivered is not replayed"  # I5
        if got.status == 200:
            purchase.answers.add(got.body)
            purchase.receipts.add(decode_receipt(first(got, "payment-receipt") or "").reference)
        elif got.status == 402:
            assert not self.paid(credential), "a bill for what was paid"
            purchase.refused.add(credential)
            if credential == purchase.credentials[-1]:
                purchase.credentials.append(self.till.bought())
        else:
            assert got.status in (409, 503), problem(got)
        told = repr(got.headers) + repr(got.body)
        assert not any(each in told for each in self.secrets)  # I9
        assert credential.removeprefix("Payment ") not in told

    # --- what happens ---------------------------------------------------------------------------

    @rule(keyed=st.booleans())
    def want(self, keyed: bool) -> None:
        key = f"key-{len(self.purchases)}" if keyed else None
        self.purchases.append(Purchase([self.till.bought()], key))

    @precondition(lambda self: self.purchases)
    @rule(data=st.data(), fails=st.booleans())
    def come(self, data: st.DataObject, fails: bool) -> None:
        self.present(data.draw(st.sampled_from(self.purchases)), fails=fails)

    @precondition(lambda self: self.purchases)
    @rule(data=st.data())
    def replay_any(self, data: st.DataObject) -> None:
        """An old credential of the same request comes again: a retry that was on its way for long."""
        purchase = data.draw(st.sampled_from(self.purchases))
        self.present(purchase, data.draw(st.sampled_from(purchase.credentials)))

    @precondition(lambda self: self.purchases)
    @rule(data=st.data(), point=st.sampled_from(POINTS))
    def crash(self, data: st.DataObject, point: str) -> None:
        """The answer, or the process, is lost there."""

        def strike(name: str) -> None:
            if name == point:
                drive.arm_failpoints(None)
                raise Struck(name)

        drive.arm_failpoints(strike)
        try:
            self.present(data.draw(st.sampled_from(self.purchases)))
        except Struck:
            pass
        finally:
            drive.arm_failpoints(None)

    @rule(fault=st.sampled_from(FAULTS))
    def fault(self, fault: str) -> None:
        self.bank.order(fault)

    @rule(times=st.integers(1, 3))
    def silence(self, times: int) -> None:
        self.bank.order("down", times)

    @rule()
    def settle_what_is_stuck(self) -> None:
        self.bank.release()

    @rule()
    def resolve(self) -> None:
        self.till.resolve()

    @rule(seconds=st.sampled_from([60, 299, 400]))
    def wait(self, seconds: int) -> None:
        self.skew += seconds
        self.till.world.at_s += seconds
        self.bank.skew(self.skew)

    # --- what holds after every step ---------------------------------------------------------------

    @invariant()
    def check(self) -> None:
        if not hasattr(self, "till"):
            return
        settled = 0
        for purchase in self.purchases:
            paid = [each for each in purchase.credentials if self.paid(each)]
            settled += len(paid)
            assert len(paid) <= 1, "one request, paid twice"  # I2
            assert not purchase.answers or paid, "delivered and not paid"  # I1
            assert len(purchase.answers) <= 1, "two deliveries of one payment"  # I5
            assert not purchase.refused & set(paid), "a bill for what is paid by now"  # I2
            assert purchase.receipts <= {self.reference(each) for each in paid}  # I4
        assert self.bank.balance("shop") == UNITS * settled
        entries = self.till.store.entries(None, 1000).result()
        balances = self.till.store.balances().result()
        assert set(self.till.sums().values()) <= {0}  # I6
        assert sum(each.get("payee:shop", 0) for each in balances.values()) == UNITS * len(entries)
        on_record = {each.reference for each in entries}
        for payment in self.till.store.payments(Query(limit=1000)).result():
            assert not payment.leased, "locked and nobody works on it"  # I8
            if payment.stage in (Stage.SETTLED, Stage.DELIVERED):
                assert payment.receipt is not None
                assert payment.receipt.reference in on_record  # I4
        told = repr(self.till.events)
        assert not any(each in told for each in self.secrets)  # I9


Buyers.TestCase.settings = settings(settings.default, max_examples=60, stateful_step_count=30)
TestBuyers = Buyers.TestCase
