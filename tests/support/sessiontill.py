"""A gate that sells from channels of the toy method, and clients with a channel: no HTTP, and a clock that tests set.

    till = SessionTill(bank, alice, store)          # flavour="v1", min_delta=10, metering=Metering(...), charge=True
    buyer = till.buyer(deposit=10_000)              # a client whose channel is open, and a challenge that it echoes
    buyer.voucher(1_000)                            # a credential: "you may take 1000 in all"
    till.serve(buyer.voucher(1_000))                # the gate's answer, or that of a handler that ran

A request costs COST base units, and `till.runs` counts how often a handler ran. Fixtures are in
tillfixtures.py: `session_till` on a memory store, `session_store` and `disk_store_url` for stores of each kind.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from coinslot.core.challenge import Challenge, KeyRing
from coinslot.core.credential import encode_credential
from coinslot.core.receipt import Receipt, decode_receipt
from coinslot.drive import run
from coinslot.intents import acts, session
from coinslot.intents.acts import Act
from coinslot.method import Extras
from coinslot.server.admission import Admission, SessionAdmission
from coinslot.server.answer import Answer
from coinslot.server.delivery import Delivering
from coinslot.server.events import Event
from coinslot.server.gate import Gate
from coinslot.server.issue import Issuer
from coinslot.server.price import Amount, Metering, Price, Pricing
from coinslot.server.request import Incoming
from coinslot.store.channels import SessionStore
from coinslot.store.memory import MemoryStore
from support.patience import within
from support.sessiondesk import session_payer, session_seller
from support.till import REALM, SECRET, SetWorld, asking, first, offered, toy_seller
from support.toybank import Bank

PRICE = "0.001"
COST = 1_000
DEPOSIT = 10_000
WORDS = Incoming("GET", "/paid/words", "page=1")
HEAD = replace(WORDS, method="HEAD")
NETWORK = "toy:main"
# Longer than a store takes to keep an answer on a busy machine.
PATIENCE_S = within(30.0)


class Counting(Price):
    """A price that says of itself to be of a word, whoever counts them."""

    __slots__ = ()

    def _tariff(self) -> acts.Tariff:
        return acts.Tariff("word", self.deposit)


class SessionTill:
    """One gate, one price that channels pay (and charges, with `charge=True`), one payer."""

    def __init__(
        self,
        bank: Bank,
        wallet: Mapping[str, Any],
        store: SessionStore | None = None,
        *,
        price: Amount | Pricing = PRICE,
        metering: Metering | None = None,
        charge: bool = False,
        counting: bool = False,
        patience_s: float = 1.0,
        watched: bool = True,
        **table: Any,
    ) -> None:
        self.bank = bank
        self.wallet = wallet
        self.world = SetWorld()
        self.store: SessionStore = store if store is not None else MemoryStore()
        self.seller = session_seller(bank, **table)
        self.payer = session_payer(wallet)
        self.events: list[Event] = []
        self.gate = Gate(Issuer(REALM, KeyRing((SECRET,))), self.store, patience_s, self.events.append)
        sellers = (self.seller, toy_seller(bank)) if charge else (self.seller,)
        self.price = (Counting if counting else Price)(price, sellers, Extras(), metering=metering)
        self.runs = 0
        self._lock = threading.Lock()
        if watched:
            self.watch()

    def watch(self) -> None:
        """What a watcher does: it has just looked at every channel."""
        self.store.note_watched(self.seller.network).result()

    # --- what a door does

    def present(self, credential: str | None, request: Incoming = WORDS, **headers: str) -> Answer | Admission:
        """What the gate says."""
        return run(self.gate.admit(asking(request, credential, **headers), self.price), self.world)

    def answer(self, credential: str | None, request: Incoming = WORDS, **headers: str) -> Answer:
        """What the gate answers by itself."""
        got = self.present(credential, request, **headers)
        assert isinstance(got, Answer), got
        return got

    def admitted(self, credential: str, request: Incoming = WORDS, **headers: str) -> SessionAdmission:
        """The admission under which a handler would run now."""
        got = self.present(credential, request, **headers)
        assert isinstance(got, SessionAdmission), got
        return got

    def deliver(self, admission: Admission, body: bytes = b"words", status: int = 200) -> Answer:
        """What a door does with a handler's whole answer."""
        watching = Delivering(admission.receipt, admission.headers)
        headers = watching.begin(status, [("content-type", "text/plain")])
        watching.add(body)
        delivery = watching.finish()
        if delivery is None:
            self.gate.abandoned(admission)
        else:
            run(self.gate.delivered(admission, delivery), self.world)
        return Answer(status, headers, body)

    def serve(
        self,
        credential: str | None,
        request: Incoming = WORDS,
        *,
        handler: Callable[[], bytes] = lambda: b"words",
        status: int = 200,
        **headers: str,
    ) -> Answer:
        """The gate's answer, or that of a handler that ran."""
        got = self.present(credential, request, **headers)
        if isinstance(got, Answer):
            return got
        with self._lock:
            self.runs += 1
        return self.deliver(got, handler(), status)

    def again(self, credential: str, request: Incoming = WORDS, **headers: Any) -> Answer:
        """`serve`, once the answer before it is kept: that isn't waited for, and whoever comes meanwhile gets 409."""
        deadline = time.monotonic() + PATIENCE_S
        answer = self.serve(credential, request, **headers)
        while answer.status == 409 and time.monotonic() < deadline:
            time.sleep(0.005)
            answer = self.serve(credential, request, **headers)
        return answer

    # --- what a client does

    def challenge(self, request: Incoming = WORDS) -> Challenge:
        """The offer to pay from a channel, of a 402."""
        answer = self.answer(None, request)
        assert answer.status == 402, answer
        return next(one for one in offered(answer) if one.intent == session.INTENT)

    def open(
        self, deposit: int = DEPOSIT, first_units: int = 0, challenge: Challenge | None = None
    ) -> tuple[Buyer, str]:
        """A client that has signed an opening, and the credential that presents it. Nothing was sent."""
        found = challenge or self.challenge()
        move = run(self.payer.open(found, self.payer.terms(found), deposit, first_units), self.world)
        buyer = Buyer(self, move.held, found)
        return buyer, buyer.credential(move.payload)

    def buyer(self, deposit: int = DEPOSIT, first_units: int = 0) -> Buyer:
        """A client whose channel is open."""
        buyer, credential = self.open(deposit, first_units)
        answer = self.answer(credential, HEAD)
        assert answer.status == 204, answer
        return buyer


@dataclass
class Buyer:
    """A client with one channel. It echoes `challenge` until it is given another."""

    till: SessionTill
    held: acts.Held
    challenge: Challenge

    def credential(self, payload: Mapping[str, Any], challenge: Challenge | None = None) -> str:
        """The header value that presents a payload."""
        return encode_credential(challenge or self.challenge, payload, self.till.payer.source())

    def voucher(self, total: int, act: Act = Act.VOUCHER, challenge: Challenge | None = None) -> str:
        """A credential with a signed total, above the deposit too."""
        raw = self.till.payer.sign(replace(self.held, deposit_units=max(total, self.held.deposit_units)), total)
        return self.credential(self.till.payer.payload(self.held, act, total, raw), challenge)

    def close(self, total: int) -> str:
        """A credential that asks to close."""
        return self.voucher(total, Act.CLOSE)

    def top_up(self, units: int) -> str:
        """A credential that adds to the deposit."""
        move = run(self.till.payer.top_up(self.challenge, self.held, units), self.till.world)
        return self.credential(move.payload)

    def ask_to_close(self) -> None:
        """Ask the chain to close the channel, without the server."""
        sent = run(self.till.payer.request_close(self.held), self.till.world)
        run(self.till.payer.send(sent.raw), self.till.world)

    @property
    def record(self) -> session.Channel:
        """The channel as the store has it."""
        found = self.till.store.find_channel(self.held.key).result()
        assert found is not None
        return found

    @property
    def sums(self) -> tuple[int, int, int]:
        """accepted, spent, settled."""
        found = self.record
        return found.accepted, found.spent, found.settled


def receipt_of(answer: Answer) -> Receipt:
    """The receipt of an answer, which must have one."""
    value = first(answer, "payment-receipt")
    assert value is not None, (answer.status, answer.body)
    return decode_receipt(value)
