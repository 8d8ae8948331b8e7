"""What the gate answers when it does not let a request in: status, problem, headers, and nothing moved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from coinslot.core import credential as credential_module
from coinslot.core.canonical import MAX_WIRE_BYTES, base64url_encode
from coinslot.core.challenge import KeyRing
from coinslot.core.header import MAX_FIELD_BYTES
from coinslot.drive import run
from coinslot.errors import PaymentInsufficient, RpcUnreachable, StoreBroken, StoreBusy
from coinslot.intents.charge import Budget, Checked, Recognised
from coinslot.server.answer import EXPOSED, Answer
from coinslot.server.events import Offered
from coinslot.server.events import Refused as RefusedEvent
from coinslot.server.request import Incoming
from coinslot.store.futures import failed
from coinslot.store.memory import MemoryStore
from coinslot.store.protocol import Query, Stage
from support.strike import struck_at
from support.till import GET, Till, asking, first, offered, problem, rewritten, token_of
from support.toy import ToySeller
from support.toybank import Bank


@pytest.mark.spec("CORE-001", "CORE-002", "CORE-012", "CORE-048", "CORE-110", "CORE-111")
@pytest.mark.guard("T39")
def test_a_402_has_a_challenge_and_is_not_stored(till: Till) -> None:
    """Problem body, a Payment challenge, no-store, and headers that a browser's script may read."""
    forged = rewritten(till.bought(), {"payer": "alice", "signature": "00"})
    for credential, slug in ((None, "payment-required"), ("Payment ???", "malformed-credential"),
                             (forged, "verification-failed")):  # fmt: skip
        answer = till.answer(credential)
        (challenge,) = offered(answer)
        members = problem(answer)
        assert answer.status == members["status"] == 402
        assert members["slug"] == slug
        assert members["challengeId"] == challenge.id
        assert first(answer, "content-type") == "application/problem+json"
        assert first(answer, "cache-control") == "no-store"
        assert first(answer, "access-control-expose-headers") == ", ".join(EXPOSED)
        assert first(answer, "payment-receipt") is None
    assert len({offered(till.answer(None))[0].id for _ in range(3)}) == 3


@pytest.mark.spec("CORE-091", "CORE-092", "CORE-104")
def test_an_unpaid_request_leaves_no_trace(till: Till) -> None:
    """No row, no entry, no call to the bank; nobody needs an account to ask or to pay."""
    till.bank.order("down", 1000)
    assert till.answer(None).status == 402
    assert till.store.payments(Query()).result() == []
    assert till.store.entries(None, 10).result() == []
    till.bank.heal("down")
    assert till.serve(till.bought()).status == 200


@pytest.mark.spec("CORE-001")
def test_a_method_this_route_does_not_take_is_400(till: Till) -> None:
    """No challenge: paying one would not help a client that chose wrongly."""
    answer = till.answer(rewritten(till.bought(), method="card"))
    assert (answer.status, problem(answer)["slug"]) == (400, "method-unsupported")
    assert "toy/charge" in problem(answer)["detail"]
    assert not offered(answer)


@pytest.mark.guard("T40")
def test_several_credentials_are_400(till: Till) -> None:
    """Two headers, or two in one: nobody guesses which was meant, and neither is taken."""
    one, two = till.bought(), till.bought()
    for values in ((one, two), (f"{one}, {two}",), (one, one)):
        request = replace(GET, headers={"authorization": values})
        answer = run(till.gate.admit(request, till.price), till.world)
        assert isinstance(answer, Answer)
        assert answer.status == 400
        assert not offered(answer)
    assert till.bank.submissions() == 0


def test_another_scheme_is_not_ours(till: Till) -> None:
    """A Basic or Bearer header beside the credential does not disturb it."""
    request = replace(GET, headers={"authorization": ("Basic YTpi", till.bought(), "Bearer Payment")})
    assert not isinstance(run(till.gate.admit(request, till.price), till.world), Answer)


@pytest.mark.spec("CORE-074")
def test_a_credential_of_four_kilobytes_passes(till: Till) -> None:
    """And one of twelve."""
    for size in (4096, 12_000):
        credential = till.bought()
        payload = {**token_of(credential).payload_object(), "memo": "x" * (size * 3 // 4)}
        large = rewritten(credential, payload)
        assert len(large) > size
        assert till.serve(large).status == 200


JUNK = {
    "long": "Payment " + "A" * (MAX_WIRE_BYTES + 1),
    "longer": "Payment " + "A" * (4 * MAX_FIELD_BYTES),
    "parts": "x, " * MAX_FIELD_BYTES + "Payment AAAA",
    "deep": "Payment " + base64url_encode(b'{"challenge":' * 900),
    "list": "Payment " + base64url_encode(b"[" * 9000),
}


@pytest.mark.guard("T41")
@pytest.mark.parametrize("name", JUNK)
def test_junk_is_refused_before_anything_is_asked(till: Till, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """402, and neither a MAC was computed nor the store asked; what is too long is not even decoded."""
    asked: list[str] = []

    def spy(kind: object, what: str) -> None:
        real = getattr(kind, what)

        def noted(*given: object) -> object:
            asked.append(what)
            return real(*given)

        monkeypatch.setattr(kind, what, noted)

    spy(KeyRing, "issued")
    spy(MemoryStore, "find")
    spy(credential_module, "base64url_decode")
    answer = till.answer(JUNK[name])
    assert (answer.status, problem(answer)["slug"]) == (402, "malformed-credential")
    assert asked == ([] if name in ("long", "longer", "parts") else ["base64url_decode"])


# --- the store --------------------------------------------------------------------------------


class Failing(MemoryStore):
    """A memory store whose n-th write to come fails as a full disk or a busy file does, before or after it acts."""

    def __init__(self, error: Exception, *, at: str, acts: bool = False) -> None:
        super().__init__()
        self.error, self.at, self.acts = error, at, acts

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name in ("at", "error", "acts") or name != super().__getattribute__("at"):
            return found

        def broken(*given: object) -> object:
            if self.acts:
                found(*given)
            return failed(self.error)

        return broken


@pytest.mark.guard("F16")
@pytest.mark.parametrize("error", [StoreBusy("busy"), StoreBroken("disk full")], ids=["busy", "broken"])
@pytest.mark.parametrize("at", ["find", "claim", "prepare"])
def test_a_store_that_fails_before_the_broadcast_settles_nothing(
    bank: Bank, alice: dict[str, object], error: Exception, at: str
) -> None:
    """503 with Retry-After, no challenge, nothing at the bank; afterwards the same credential works."""
    store = Failing(error, at=at)
    till = Till(bank, alice, store)
    credential = till.bought()
    answer = till.answer(credential)
    assert (answer.status, problem(answer)["slug"]) == (503, "store-unavailable")
    assert first(answer, "retry-after") == "1"
    assert not offered(answer)
    assert bank.submissions() == 0
    store.at = ""
    assert till.serve(credential).status == 200
    assert bank.settled() == 1


@pytest.mark.guard("F10", "F11")
@pytest.mark.parametrize("acts", [False, True], ids=["not-written", "written"])
def test_a_store_that_fails_after_the_broadcast_leaves_it_to_the_resolver(
    bank: Bank, alice: dict[str, object], acts: bool
) -> None:
    """503 with the hash, no challenge; the resolver records it, once, and the same credential gets the goods."""
    store = Failing(StoreBroken("disk full"), at="settle", acts=acts)
    till = Till(bank, alice, store)
    credential = till.bought()
    answer = till.answer(credential)
    assert (answer.status, problem(answer)["slug"]) == (503, "payment-outcome-unknown")
    assert problem(answer)["reference"] == till.payment(credential).prepared.reference  # type: ignore[union-attr]
    assert not offered(answer)
    store.at = ""
    assert till.resolve() == 0
    assert till.payment(credential).stage is Stage.SETTLED
    assert till.serve(credential).status == 200
    assert bank.submissions() == 1
    assert set(till.sums().values()) == {0}


@pytest.mark.guard("F16")
def test_a_lease_that_could_not_be_dropped_is_dropped_later(bank: Bank, alice: dict[str, object]) -> None:
    """A busy store must not leave the payment locked for as long as this process lives."""
    refused: list[int] = []

    class Busy(MemoryStore):
        def release(self, lease: Any) -> Any:
            if len(refused) < 3:
                refused.append(1)
                return failed(StoreBusy("busy"))
            return super().release(lease)

    till = Till(bank, alice, Busy())
    credential = till.bought()
    till.gate.abandoned(till.admitted(credential))
    assert len(refused) == 3
    assert till.serve(credential).status == 200


def test_a_closed_store_stops_nobody_from_ending(till: Till) -> None:
    """Giving a payment back never fails: the handler's own error is what must be seen."""
    admission = till.admitted(till.bought())
    till.store.close()
    till.gate.abandoned(admission)
    assert till.answer(till.pay(till.challenge())).status == 503


# --- the network ------------------------------------------------------------------------------


@pytest.mark.parametrize("calls", [1, 2])
def test_a_network_that_cannot_be_asked_is_503_and_no_bill(till: Till, calls: int) -> None:
    """Before the broadcast: nothing was charged, and the same credential is good once it answers again."""
    credential = till.bought()
    till.bank.order("down", 1)
    if calls == 2:
        with struck_at("gate.claimed"):
            till.bank.heal("down")
            till.present(credential)
        till.bank.order("down", 1)
    answer = till.answer(credential)
    assert (answer.status, problem(answer)["slug"]) == (503, "payment-rail-unavailable")
    assert first(answer, "retry-after") == "5"
    assert not offered(answer)
    assert till.serve(credential).status == 200


def test_what_the_network_refuses_for_good_is_402(till: Till) -> None:
    """Nothing was paid, and a fresh challenge says how to."""
    till.bank.order("revert")
    answer = till.answer(till.bought())
    assert problem(answer)["slug"] == "verification-failed"
    assert offered(answer)
    assert till.bank.balance("shop") == 0


def test_who_has_too_little_is_told_before_anything_is_sent(bank: Bank) -> None:
    """402 payment-insufficient from the simulation; the claim is closed as failed."""
    secret = bank.open("bob", coin=1)
    till = Till(bank, {"bank": bank.path, "account": "bob", "secret": secret})
    credential = till.bought()
    answer = till.answer(credential)
    assert problem(answer)["slug"] == "payment-insufficient"
    assert bank.submissions() == 0
    assert till.payment(credential).stage is Stage.FAILED


class Refusing(ToySeller):
    """A seller whose method raises, after the broadcast, what would mean "not paid" before it."""

    at = ""
    error: Callable[[], Exception] = RuntimeError

    def broadcast(self, prepared: Any) -> Any:
        """Sends it, then raises."""
        yield from super().broadcast(prepared)
        if self.at == "broadcast":
            raise self.error()

    def confirm(self, prepared: Any) -> Any:
        """Raises."""
        if self.at == "confirm":
            raise self.error()
        return (yield from super().confirm(prepared))


@pytest.mark.guard("F11")
@pytest.mark.parametrize("at", ["broadcast", "confirm"])
def test_no_error_after_the_broadcast_is_a_bill(bank: Bank, alice: dict[str, object], at: str) -> None:
    """Whatever a method raises then: the chain decides, and meanwhile the answer is 503."""
    seller = Refusing(bank, "main", "shop", "coin")
    seller.at, seller.error = at, PaymentInsufficient
    till = Till(bank, alice, sellers=[seller])
    credential = till.bought()
    answer = till.serve(credential)
    assert answer.status == (200 if at == "broadcast" else 503)
    seller.at = ""
    assert till.serve(credential).status == 200
    assert bank.settled() == 1


class Budgeted(ToySeller):
    """A seller that pays a fee of 60 from a budget of 130 a day."""

    def check(self, recognised: Recognised) -> Any:
        """With a budget."""
        checked: Checked = yield from super().check(recognised)
        return replace(checked, budgets=(Budget(f"fees/{checked.payer}", 60, 130, 86_400),))


def test_a_budget_that_is_used_up_stops_the_next_payment(bank: Bank, alice: dict[str, object]) -> None:
    """Refused before anything moves; a payment that failed on the chain has drawn like any other."""
    till = Till(bank, alice, sellers=[Budgeted(bank, "main", "shop", "coin")])
    bank.order("revert")
    assert till.answer(till.bought()).status == 402
    assert till.serve(till.bought()).status == 200
    answer = till.answer(till.bought())
    assert (answer.status, problem(answer)["slug"]) == (402, "verification-failed")
    assert "budget" in problem(answer)["detail"]
    assert bank.submissions() == 2


# --- what is told -----------------------------------------------------------------------------


def test_the_observer_is_told_what_was_offered_and_refused(till: Till) -> None:
    """An offer names its methods and the reason, a refusal its status and the transaction."""
    till.answer(None)
    till.bank.order("stuck")
    credential = till.bought()
    till.answer(credential)
    assert till.events[0] == Offered("/paid/report", ("toy/charge",), "payment-required")
    reference = till.payment(credential).prepared.reference  # type: ignore[union-attr]
    assert till.events[-1] == RefusedEvent("/paid/report", 503, "payment-outcome-unknown", reference)


def test_what_a_pricing_function_raises_comes_out(bank: Bank, alice: dict[str, object]) -> None:
    """It is the seller's own error, not a refusal of ours; a RpcUnreachable of it is no free pass either."""

    def price(request: Incoming) -> str:
        raise LookupError(request.path)

    with pytest.raises(LookupError, match="report"):
        Till(bank, alice, price=price).present(None)

    def lost(request: Incoming) -> str:
        raise RpcUnreachable("oracle")

    with pytest.raises(RpcUnreachable):
        Till(bank, alice, price=lost).present(None)


def test_a_problem_is_json_with_a_type_of_the_document(till: Till) -> None:
    """RFC 9457: type, title, status, detail."""
    members = msgspec.json.decode(till.answer(None).body)
    assert members["type"] == "https://paymentauth.org/problems/payment-required"
    assert {"title", "status", "detail", "challengeId"} <= members.keys()


def test_an_observer_that_fails_costs_nobody_a_payment(bank: Bank, alice: dict[str, object]) -> None:
    """Its error comes out as the server's own, and the same credential is served as soon as it is mended."""
    till = Till(bank, alice)
    credential = till.bought()

    def broken(_: object) -> None:
        raise LookupError("the observer")

    gate = replace(till.gate, observe=broken)
    with pytest.raises(LookupError, match="observer"):
        run(gate.admit(asking(GET, credential), till.price), till.world)
    assert till.serve(credential).status == 200
    assert bank.settled() == 1
