"""Tempo charges through the gate: one payment, one delivery, whatever the node does and whoever asks again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coinslot.core.canonical import Json, encode_object
from coinslot.core.receipt import decode_receipt
from coinslot.methods.tempo.charge_payer import TempoChargePayer
from coinslot.methods.tempo.charge_seller import TempoChargeSeller
from coinslot.server.admission import Admission
from coinslot.server.answer import Answer
from coinslot.server.price import Price
from coinslot.server.resolver import resolve_round
from coinslot.store.protocol import Stage
from support.chargeshop import ChargeTill, presented
from support.rpcfault import FaultyNode, answer, drop, drop_after
from support.temposhop import DOLLAR, Shop
from support.till import first, rewritten

QUARTER = DOLLAR // 4


@pytest.mark.spec("TCHG-064")
@pytest.mark.parametrize("mode", ["pull", "push"])
def test_a_payment_buys_one_answer_and_its_replay(shop: Shop, mode: str) -> None:
    """Admitted once with a receipt that names the transaction; the same credential then gets the stored answer."""
    till = ChargeTill(shop, shop.seller())
    challenge = till.offered()
    shown = shop.pay(shop.payer(mode=mode), challenge)
    admission = till.ask(presented(challenge, shown))
    assert isinstance(admission, Admission)
    receipt = decode_receipt(admission.receipt.encode())
    assert (receipt.method, receipt.reference) == ("tempo", shown.reference)
    till.deliver(admission)
    again = till.ask(presented(challenge, shown))
    assert isinstance(again, Answer)
    assert (again.status, again.body) == (200, b"goods")
    assert first(again, "payment-receipt") == admission.receipt.encode()


@pytest.mark.guard("T06")
def test_a_pulled_transaction_can_not_be_pushed_and_a_pushed_one_not_pulled(shop: Shop) -> None:
    """One challenge is used by one proof; the transaction is used on both ways."""
    till = ChargeTill(shop, shop.seller())
    for mode in ("pull", "push"):
        challenge = till.offered()
        payer = shop.payer(mode="pull")
        shown = shop.pay(payer, challenge)
        if mode == "push":
            shop.chain.rpc("eth_sendRawTransactionSync", shown.payload["signature"])
        pulled = presented(challenge, shown)
        pushed = rewritten(pulled, {"type": "hash", "hash": shown.reference})
        first_, second = (pulled, pushed) if mode == "pull" else (pushed, pulled)
        assert isinstance(till.ask(first_), Admission)
        assert till.refused(second)["slug"] == "challenge-used"


@pytest.mark.guard("T06")
def test_one_transaction_pays_no_two_challenges_even_where_nothing_binds_it(shop: Shop) -> None:
    """A seller's own memo binds to no challenge; the proof is taken once all the same."""
    till = ChargeTill(shop, shop.seller(memo="0x" + "22" * 32))
    one, other = till.offered(), till.offered()
    shown = shop.pay(shop.payer(), one)
    assert isinstance(till.ask(presented(one, shown)), Admission)
    assert till.refused(presented(other, shown)) == {
        **till.refused(presented(other, shown)),
        "slug": "challenge-used",
        "status": 409,
        "fresh": False,
    }


@pytest.mark.spec("TCHG-065")
def test_a_refused_payment_gets_a_problem_and_a_fresh_challenge_and_no_receipt(shop: Shop) -> None:
    """Nothing was paid, so the client may pay the fresh one."""
    till = ChargeTill(shop, shop.seller())
    challenge = till.offered()
    shown = shop.pay(shop.payer(), challenge)
    broken = rewritten(presented(challenge, shown), {"type": "transaction", "signature": "0x76c0"})
    assert till.refused(broken)["slug"] == "verification-failed"
    assert till.refused(broken)["fresh"]


@pytest.mark.spec("TCHG-026", "TCHG-027")
@pytest.mark.parametrize("missing", ["challenge", "payload"])
def test_a_credential_without_its_parts_is_malformed(shop: Shop, missing: str) -> None:
    """Both the echo and the proof are needed."""
    till = ChargeTill(shop, shop.seller())
    challenge = till.offered()
    shown = shop.pay(shop.payer(), challenge)
    members: dict[str, Json] = {"challenge": challenge.echo(), "payload": dict(shown.payload), "source": shown.source}
    whole = encode_object(members)
    del members[missing]
    assert till.refused(f"Payment {encode_object(members)}")["slug"] == "malformed-credential"
    assert isinstance(till.ask(f"Payment {whole}"), Admission)


@pytest.mark.guard("F11")
def test_an_answer_lost_after_the_node_took_it_costs_nobody_a_second_payment(shop: Shop, faulty: FaultyNode) -> None:
    """503 with the hash and no fresh challenge; the same credential is admitted once the node speaks again."""
    till = ChargeTill(shop, shop.seller(rpc_url=faulty.url))
    challenge = till.offered()
    header = presented(challenge, shop.pay(shop.payer(), challenge))
    faulty.on("eth_sendRawTransactionSync", drop_after)
    faulty.on("eth_getTransactionReceipt", answer(None))
    told = till.refused(header)
    assert (told["status"], told["slug"], told["fresh"]) == (503, "payment-outcome-unknown", False)
    faulty.heal()
    assert isinstance(till.ask(header), Admission)
    seller = till.price.sellers[0]
    assert isinstance(seller, TempoChargeSeller)
    assert shop.held(seller.config.recipient) == QUARTER


@pytest.mark.guard("F11")
def test_the_resolver_finds_the_end_without_the_client(shop: Shop, faulty: FaultyNode) -> None:
    """By its hash, from the record."""
    seller = shop.seller(rpc_url=faulty.url)
    till = ChargeTill(shop, seller)
    challenge = till.offered()
    faulty.on("eth_sendRawTransactionSync", drop_after)
    faulty.on("eth_getTransactionReceipt", answer(None))
    till.refused(presented(challenge, shop.pay(shop.payer(), challenge)))
    faulty.heal()
    shop.run(resolve_round(till.store, [seller]))
    payment = till.store.find(challenge.id).result()
    assert payment is not None
    assert payment.stage is Stage.SETTLED


def test_a_node_that_is_away_charges_nothing(shop: Shop, faulty: FaultyNode) -> None:
    """503, nothing claimed for good, and the same credential pays later."""
    till = ChargeTill(shop, shop.seller(rpc_url=faulty.url))
    challenge = till.offered()
    header = presented(challenge, shop.pay(shop.payer(), challenge))
    faulty.on("eth_simulateV1", drop)
    assert till.refused(header)["status"] == 503
    faulty.heal()
    assert isinstance(till.ask(header), Admission)


@pytest.mark.guard("T31")
@pytest.mark.spec("TCHG-075")
def test_a_payer_that_used_up_its_budget_is_not_sponsored(shop: Shop) -> None:
    """The next payment of the same payer is refused, another payer's is not; nothing is broadcast."""
    sponsor = shop.account()
    probe = shop.seller(fee_payer_key=sponsor.secret().hex())
    key = shop.account(dollars=1)
    tx = shop.transaction(shop.payer(key), shop.challenge(probe))
    units = -(-tx.gas_limit * tx.max_fee_per_gas // 10**12)
    daily = f"{units * 3 // 2 // DOLLAR}.{units * 3 // 2 % DOLLAR:06d}"
    seller = shop.seller(fee_payer_key=sponsor.secret().hex(), sponsor_payer_daily=daily)
    till = ChargeTill(shop, seller)

    def buy(payer: TempoChargePayer) -> str:
        challenge = till.offered()
        return presented(challenge, shop.pay(payer, challenge))

    assert isinstance(till.ask(buy(shop.payer(key))), Admission)
    assert "budget" in till.refused(buy(shop.payer(key)))["detail"]
    assert isinstance(till.ask(buy(shop.payer())), Admission)
    assert shop.held(seller.config.recipient) == 2 * QUARTER


@pytest.mark.guard("T05")
def test_a_hash_seen_on_the_chain_buys_nothing_for_an_observer(shop: Shop) -> None:
    """With its own challenge and its own name, or the payer's; the payer is still served."""
    till = ChargeTill(shop, shop.seller())
    mine, theirs = till.offered(), till.offered()
    shown = shop.pay(shop.payer(mode="push"), mine)
    for source in (shown.source, f"did:pkh:eip155:42431:{shop.account(dollars=0).address}"):
        assert till.refused(presented(theirs, replace(shown, source=source)))["slug"] == "verification-failed"
    assert isinstance(till.ask(presented(mine, shown)), Admission)


def test_a_price_of_zero_is_admitted_once(shop: Shop) -> None:
    """The receipt refers to the challenge, since nothing is on the chain."""
    till = ChargeTill(shop, shop.seller())
    till.price = Price("0", till.price.sellers)
    challenge = till.offered()
    shown = shop.pay(shop.payer(shop.account(dollars=0)), challenge)
    admission = till.ask(presented(challenge, shown))
    assert isinstance(admission, Admission)
    assert admission.receipt.reference == challenge.id
