"""A payment that its payer broadcast: taken once, for the challenge that it names, by what it really moved."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from coinslot.chains.solana.instruction import Instruction
from coinslot.chains.solana.memo import Memo, build_memo
from coinslot.chains.solana.signature import Key
from coinslot.chains.solana.system import build_transfer
from coinslot.core.challenge import Challenge
from coinslot.errors import RpcUnreachable, VerificationFailed
from coinslot.intents.charge import Settled
from coinslot.methods.solana.charge_seller import SolanaChargeSeller
from coinslot.methods.solana.terms import SolanaTerms
from coinslot.methods.solana.transaction.build import payment_instructions
from support.solanashop import SolanaShop, fresh_key

UNITS = (150_000, 1_000)


def honest(seller: SolanaChargeSeller, challenge: Challenge, key: Key) -> list[Instruction]:
    """What a payer broadcasts."""
    terms = seller.terms(challenge.request_object())
    assert isinstance(terms, SolanaTerms)
    return list(payment_instructions(terms, key.address, terms.token_program, UNITS))


def pushed(signature: str) -> dict[str, str]:
    """The payload of a push."""
    return {"type": "signature", "signature": signature}


@pytest.mark.spec("SCHG-058", "SCHG-059", "SCHG-115", "SCHG-168", "SCHG-169")
def test_a_pushed_payment_is_taken_when_it_is_confirmed(solshop: SolanaShop) -> None:
    """The client waits until it is, and only then presents it; the server takes no less."""
    seller = solshop.seller()
    solshop.chain.timing(confirm_ms=900)
    challenge = solshop.challenge(seller)
    shown = solshop.pay(solshop.payer(mode="push"), challenge)
    status = solshop.chain.rpc("getSignatureStatuses", [shown.reference])["value"][0]
    assert status["confirmationStatus"] in ("confirmed", "finalized")
    assert isinstance(solshop.through(seller, challenge, shown), Settled)


@pytest.mark.spec("SCHG-169", "SCHG-170")
def test_a_payment_that_is_not_confirmed_is_not_seen_yet(solshop: SolanaShop, monkeypatch: pytest.MonkeyPatch) -> None:
    """No proof yet, and none to be refused for good."""
    monkeypatch.setattr("coinslot.methods.solana.push.LANDED_WAIT_S", 0.0)
    seller, key = solshop.seller(), solshop.account()
    challenge = solshop.challenge(seller)
    solshop.chain.timing(confirm_ms=60_000)
    signature = solshop.send(honest(seller, challenge, key), key)
    with pytest.raises(RpcUnreachable, match="yet"):
        solshop.check(seller, challenge, pushed(signature))


@pytest.mark.spec("SCHG-068", "SCHG-069", "SCHG-112")
def test_a_signature_is_never_taken_where_the_server_pays_the_fee(solshop: SolanaShop) -> None:
    """Even one that pays."""
    seller, _ = solshop.sponsored()
    challenge = solshop.challenge(seller)
    key = solshop.account()
    plain = solshop.seller(recipient=seller.config.recipient)
    offer = solshop.offer(plain) | {"externalId": challenge.request_object()["externalId"]}
    same = solshop.challenge(plain, request=offer)
    signature = solshop.send(honest(plain, same, key), key)
    with pytest.raises(VerificationFailed, match="the server pays"):
        solshop.check(seller, challenge, pushed(signature))


@pytest.mark.guard("T05")
def test_a_payment_for_another_challenge_is_not_this_ones(solshop: SolanaShop) -> None:
    """Whoever sees it on the chain, and holds a challenge of equal terms, can't present it."""
    seller = solshop.seller()
    mine, theirs = solshop.challenge(seller), solshop.challenge(seller)
    shown = solshop.pay(solshop.payer(mode="push"), mine)
    with pytest.raises(VerificationFailed, match="external id"):
        solshop.check(seller, theirs, shown.payload, shown.source)
    assert isinstance(solshop.through(seller, mine, shown), Settled)


@pytest.mark.guard("T05")
def test_a_payment_without_a_memo_is_not_pushed(solshop: SolanaShop) -> None:
    """Nor where the seller gives no references at all."""
    seller, key = solshop.seller(), solshop.account()
    challenge = solshop.challenge(seller)
    bare = [each for each in honest(seller, challenge, key) if not each.program.startswith("Memo")]
    signature = solshop.send(bare, key)
    with pytest.raises(VerificationFailed, match="external id"):
        solshop.check(seller, challenge, pushed(signature))
    nameless = solshop.seller(reference=False, recipient=seller.config.recipient)
    with pytest.raises(VerificationFailed, match="without an external id"):
        solshop.check(nameless, solshop.challenge(nameless), pushed(signature))


@pytest.mark.guard("T05")
@pytest.mark.parametrize("settings", [{"allow_plain_push": True, "reference": False}, {}])
def test_a_payment_is_never_older_than_its_offer(solshop: SolanaShop, settings: dict[str, Any]) -> None:
    """Where no reference of its own ties it to the offer, its slot does: an old one pays nothing new."""
    seller = solshop.seller(**settings)
    extras: dict[str, Any] = {} if settings else {"external_id": "the report"}
    key = solshop.account()
    first = solshop.challenge(seller, **extras)
    signature = solshop.send(honest(seller, first, key), key)
    solshop.chain.running.advance_slots(10)
    seller._looks.clear()
    later = solshop.challenge(seller, **extras)
    with pytest.raises(VerificationFailed, match="older"):
        solshop.check(seller, later, pushed(signature))
    assert solshop.check(seller, first, pushed(signature)).payer == key.address


@pytest.mark.guard("T05")
def test_without_a_slot_in_the_offer_nothing_plain_is_pushed(solshop: SolanaShop) -> None:
    """What can't be told apart from an old payment counts as one."""
    seller = solshop.seller(allow_plain_push=True, reference=False, recent_blockhash=False)
    challenge, key = solshop.challenge(seller), solshop.account()
    signature = solshop.send(honest(seller, challenge, key), key)
    with pytest.raises(VerificationFailed, match="older"):
        solshop.check(seller, challenge, pushed(signature))


@pytest.mark.guard("T05")
def test_a_pushed_payment_is_its_payers(solshop: SolanaShop) -> None:
    """The source names who paid."""
    seller = solshop.seller()
    challenge = solshop.challenge(seller)
    shown = solshop.pay(solshop.payer(mode="push"), challenge)
    with pytest.raises(VerificationFailed, match="source"):
        solshop.check(seller, challenge, shown.payload, fresh_key().address)


@pytest.mark.guard("T32")
def test_a_payment_that_failed_on_the_chain_is_none(solshop: SolanaShop) -> None:
    """Its instructions say all the right things."""
    seller = solshop.seller()
    challenge, key = solshop.challenge(seller), solshop.account(0)
    solshop.open_account(key.address)
    raw = solshop.signed(honest(seller, challenge, key), key)
    from base64 import b64encode

    config = {"encoding": "base64", "skipPreflight": True}
    signature = solshop.chain.rpc("sendTransaction", b64encode(raw).decode(), config)
    with pytest.raises(VerificationFailed, match="failed"):
        solshop.check(seller, challenge, pushed(signature))


@pytest.mark.spec("SCHG-036", "SCHG-113")
def test_every_leg_must_be_there(solshop: SolanaShop) -> None:
    """And whatever else the payer did at its own cost is passed over."""
    seller, key = solshop.seller(), solshop.account()
    challenge = solshop.challenge(seller, splits=((solshop.payee(), Decimal("0.05")),))
    built = honest(seller, challenge, key)
    with pytest.raises(VerificationFailed, match="no transfer to"):
        solshop.check(seller, challenge, pushed(solshop.send(built[:-1], key)))
    more = [build_memo(Memo("for the books")), build_transfer(key.address, fresh_key().address, 10**6), *built]
    assert solshop.check(seller, challenge, pushed(solshop.send(more, key))).payer == key.address


@pytest.mark.spec("SCHG-169")
def test_a_signature_of_nothing_is_not_seen(solshop: SolanaShop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be on its way: the client may come again, and is not asked to pay anew."""
    monkeypatch.setattr("coinslot.methods.solana.push.LANDED_WAIT_S", 0.0)
    seller = solshop.seller()
    unknown = "5" * 87
    with pytest.raises(RpcUnreachable):
        solshop.check(seller, solshop.challenge(seller), pushed(unknown))


def test_a_seller_may_take_pulled_payments_only(solshop: SolanaShop) -> None:
    """Modes are the seller's to choose."""
    seller = solshop.seller(modes=("pull",))
    challenge = solshop.challenge(seller)
    shown = solshop.pay(solshop.payer(mode="push"), challenge)
    with pytest.raises(VerificationFailed, match="push"):
        solshop.check(seller, challenge, shown.payload)


@pytest.mark.guard("T06")
def test_pull_and_push_of_one_transaction_are_one_proof(solshop: SolanaShop) -> None:
    """Whichever way it comes, and however its signature is spelt."""
    seller = solshop.seller()
    challenge = solshop.challenge(seller)
    shown = solshop.pay(solshop.payer(), challenge)
    pulled = solshop.check(seller, challenge, shown.payload)
    assert isinstance(solshop.settle(seller, solshop.prepare(seller, pulled)), Settled)
    other = solshop.check(seller, challenge, pushed(str(shown.reference)))
    assert pulled.proof == other.proof == f"{seller.config.asset.network}/tx/{shown.reference}"
    assert replace(other, evidence=None, budgets=()) == replace(pulled, evidence=None, recognised=other.recognised)
