"""What the chain says afterwards: a payment is never called unpaid before it can never be paid any more."""

from __future__ import annotations

import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from coinslot.chains.solana.programs import TOKEN_2022_PROGRAM
from coinslot.chains.solana.token import TransferChecked, build_transfer_checked
from coinslot.drive import RealWorld, Rpc
from coinslot.errors import BadSignature, RpcUnreachable
from coinslot.intents.charge import Pending, Prepared, Refused, Settled
from coinslot.methods.solana.charge_seller import SolanaChargeSeller
from coinslot.methods.solana.terms import SolanaTerms
from coinslot.methods.solana.tokens import Token
from support.rpcfault import FaultyNode, answer, drop, edit
from support.solanashop import DOLLAR, SolanaShop, fee_config, fresh_key


def prepared_by(shop: SolanaShop, seller: SolanaChargeSeller) -> Prepared:
    """A payment that is about to be sent."""
    challenge = shop.challenge(seller)
    return shop.prepare(seller, shop.check(seller, challenge, shop.pay(shop.payer(), challenge).payload))


def long_ago(prepared: Prepared) -> Prepared:
    """The same, prepared so long ago that its blockhash should be past."""
    return replace(prepared, dead_after_s=time.time() - 100)


@pytest.mark.spec("SCHG-170", "SCHG-171")
def test_a_payment_counts_when_it_is_confirmed(solshop: SolanaShop) -> None:
    """Not when it is only processed."""
    solshop.chain.timing(confirm_ms=60_000)
    seller = solshop.seller()
    prepared = prepared_by(solshop, seller)
    assert isinstance(solshop.settle(seller, prepared), Pending)
    solshop.chain.timing(confirm_ms=0)
    assert isinstance(solshop.confirm(seller, prepared), Settled)


@pytest.mark.spec("CHG-024")
def test_a_careful_seller_waits_until_it_is_final(solshop: SolanaShop) -> None:
    """Thirty-two slots."""
    seller = solshop.seller(commitment="finalized")
    prepared = prepared_by(solshop, seller)
    assert isinstance(solshop.settle(seller, prepared), Pending)
    solshop.chain.running.advance_slots(33)
    assert isinstance(solshop.confirm(seller, prepared), Settled)


class Eager(RealWorld):
    """A node that shows transactions before they are final, whatever it is asked."""

    def rpc(self, effect: Rpc) -> object:
        """With another commitment than the one asked for."""
        if effect.method == "getTransaction":
            signature, config = effect.params
            assert isinstance(config, dict)
            effect = replace(effect, params=[signature, config | {"commitment": "confirmed"}])
        return super().rpc(effect)


@pytest.mark.spec("SCHG-170")
@pytest.mark.guard("T33")
def test_a_node_that_shows_too_much_is_not_believed_too_early(solshop: SolanaShop) -> None:
    """The status decides, too."""
    seller = solshop.seller(commitment="finalized")
    prepared = prepared_by(solshop, seller)
    with closing(Eager()) as world:
        shop = replace(solshop, world=world)
        assert isinstance(shop.settle(seller, prepared), Pending)
        solshop.chain.running.advance_slots(33)
        assert isinstance(shop.confirm(seller, prepared), Settled)


@pytest.mark.guard("F13")
def test_a_payment_that_never_landed_is_refused_once_it_never_can(solshop: SolanaShop) -> None:
    """Pending while its blockhash is good, and until the chain's own clock is past the margin."""
    seller = solshop.seller(lag_s=1)
    prepared = prepared_by(solshop, seller)
    solshop.chain.faults.never_land()
    assert isinstance(solshop.settle(seller, prepared), Pending)
    assert isinstance(solshop.confirm(seller, long_ago(prepared)), Pending)
    solshop.chain.running.advance_slots(200)
    assert isinstance(solshop.confirm(seller, prepared), Pending)
    assert isinstance(solshop.confirm(seller, long_ago(prepared)), Refused)


@pytest.mark.guard("F12", "F13")
@pytest.mark.parametrize("lagging", ["clock", "blockhash", "transaction"])
def test_a_node_that_lags_proves_nothing(solshop: SolanaShop, faulty_svm: FaultyNode, lagging: str) -> None:
    """Each of the three answers alone could come from a replica that has not seen what happened since."""
    seller = solshop.seller(lag_s=1, rpc_url=faulty_svm.url)
    prepared = long_ago(prepared_by(solshop, seller))
    solshop.chain.faults.never_land()
    solshop.run(seller.broadcast(prepared))
    solshop.chain.running.advance_slots(200)
    if lagging == "clock":
        faulty_svm.on("getBlockTime", answer(int(time.time()) - 1000))
    elif lagging == "blockhash":
        faulty_svm.on("isBlockhashValid", answer({"context": {"slot": 1}, "value": True}))
    else:
        found = [{"slot": 1, "confirmations": 1, "err": None, "confirmationStatus": "processed"}]
        faulty_svm.on("getSignatureStatuses", lambda ask: ask(), 1)
        faulty_svm.on("getSignatureStatuses", answer({"context": {"slot": 1}, "value": found}))
    assert isinstance(solshop.confirm(seller, prepared), Pending)
    faulty_svm.heal()
    assert isinstance(solshop.confirm(seller, prepared), Refused)


@pytest.mark.guard("F12")
def test_a_replica_may_lag_as_long_as_the_owner_says(solshop: SolanaShop, faulty_svm: FaultyNode) -> None:
    """A transaction counts as dead only so long after its time has passed."""
    seller = solshop.seller(lag_s=30, rpc_url=faulty_svm.url)
    prepared = long_ago(prepared_by(solshop, seller))
    assert prepared.dead_after_s is not None
    solshop.chain.faults.never_land()
    solshop.run(seller.broadcast(prepared))
    solshop.chain.running.advance_slots(200)
    faulty_svm.on("getBlockTime", answer(int(prepared.dead_after_s) + 20))
    assert isinstance(solshop.confirm(seller, prepared), Pending)
    faulty_svm.heal()
    assert isinstance(solshop.confirm(seller, prepared), Refused)


class Forgetful(RealWorld):
    """A node that looks into its history only where it is told to."""

    def rpc(self, effect: Rpc) -> object:
        """The status of a signature is lost after minutes."""
        told = super().rpc(effect)
        if effect.method == "getSignatureStatuses" and effect.params[1] == {"searchTransactionHistory": False}:
            assert isinstance(told, dict)
            return told | {"value": [None]}
        return told


@pytest.mark.guard("F13")
def test_late_questions_search_the_history(solshop: SolanaShop) -> None:
    """A node forgets recent statuses after minutes; a payment from before is found all the same."""
    seller = solshop.seller()
    prepared = prepared_by(solshop, seller)
    solshop.run(seller.broadcast(prepared))
    with closing(Forgetful()) as world:
        shop = replace(solshop, world=world)
        assert isinstance(shop.confirm(seller, prepared), Pending)
        assert isinstance(shop.confirm(seller, long_ago(prepared)), Settled)


@pytest.mark.guard("F11")
@pytest.mark.parametrize("silent", ["getSignatureStatuses", "getTransaction"])
def test_a_node_that_is_silent_is_no_answer(solshop: SolanaShop, faulty_svm: FaultyNode, silent: str) -> None:
    """The gate then asks again."""
    seller = solshop.seller(rpc_url=faulty_svm.url)
    prepared = prepared_by(solshop, seller)
    solshop.run(seller.broadcast(prepared))
    faulty_svm.on(silent, drop)
    with pytest.raises(RpcUnreachable):
        solshop.confirm(seller, prepared)
    faulty_svm.heal()
    faulty_svm.on("getTransaction", answer(None))
    assert isinstance(solshop.confirm(seller, prepared), Pending)
    faulty_svm.heal()
    assert isinstance(solshop.confirm(seller, prepared), Settled)


@pytest.mark.guard("F11")
def test_sending_twice_pays_once(solshop: SolanaShop) -> None:
    """As after a lost answer: the chain takes the same bytes once."""
    seller = solshop.seller()
    prepared = prepared_by(solshop, seller)
    solshop.chain.faults.lose_answer()
    with pytest.raises(RpcUnreachable):
        solshop.run(seller.broadcast(prepared))
    assert isinstance(solshop.settle(seller, prepared), Settled)
    assert solshop.held(seller.config.recipient) == DOLLAR // 4 + 1


@pytest.mark.guard("T32")
def test_success_that_moved_less_is_no_payment(solshop: SolanaShop) -> None:
    """A token begins to take a fee between offer and transfer: the instructions are right, the balance isn't."""
    mint = solshop.set_mint(fresh_key().address, fee_config(0))
    recipient, key = fresh_key().address, solshop.account(0)
    solshop.mint_to(recipient, mint, 1)
    solshop.mint_to(key.address, mint, 10 * DOLLAR)
    seller = solshop.seller(currency=mint, recipient=recipient)
    payer = solshop.payer(key)
    known = {**payer.config.tokens, mint: Token(TOKEN_2022_PROGRAM, 6, "FEE")}
    payer = replace(payer, config=replace(payer.config, tokens=known))
    challenge = solshop.challenge(seller)
    prepared = solshop.prepare(seller, solshop.check(seller, challenge, solshop.pay(payer, challenge).payload))
    solshop.set_mint(mint, fee_config(100))
    outcome = solshop.settle(seller, prepared)
    assert isinstance(outcome, Refused)
    assert "did not receive" in outcome.reason


@pytest.mark.guard("T32")
@pytest.mark.parametrize("currency", ["USDC", "sol"])
@pytest.mark.spec("SCHG-122", "SCHG-130", "SCHG-036")
def test_the_balances_decide(solshop: SolanaShop, faulty_svm: FaultyNode, currency: str) -> None:
    """A node that shows the right instructions and no rise of the recipient's balance shows no payment."""
    seller = solshop.seller(rpc_url=faulty_svm.url, currency=currency)
    challenge = solshop.challenge(seller)
    payer = solshop.payer()
    prepared = solshop.prepare(seller, solshop.check(seller, challenge, solshop.pay(payer, challenge).payload))
    solshop.run(seller.broadcast(prepared))

    def unmoved(told: dict[str, Any]) -> dict[str, Any]:
        meta = told["meta"]
        meta["postTokenBalances"], meta["postBalances"] = meta["preTokenBalances"], meta["preBalances"]
        return told

    faulty_svm.on("getTransaction", edit(unmoved))
    outcome = solshop.confirm(seller, prepared)
    assert isinstance(outcome, Refused)
    assert "did not receive" in outcome.reason


@pytest.mark.guard("T32")
def test_a_transaction_that_failed_on_the_chain_is_refused_for_good(solshop: SolanaShop) -> None:
    """Its payer moved the money between simulation and landing; the fee is gone, and nothing else."""
    seller, key = solshop.seller(), solshop.account(1)
    challenge = solshop.challenge(seller)
    checked = solshop.check(seller, challenge, solshop.pay(solshop.payer(key), challenge).payload)
    prepared = solshop.prepare(seller, checked)
    elsewhere = solshop.ata(solshop.payee())
    source, mint = solshop.ata(key.address), seller.config.asset.id
    program = seller.config.token_program or ""
    solshop.send(
        [build_transfer_checked(TransferChecked(program, source, mint, elsewhere, key.address, DOLLAR, 6))], key
    )
    outcome = solshop.settle(seller, prepared)
    assert isinstance(outcome, Refused)
    assert "failed" in outcome.reason
    assert solshop.held(seller.config.recipient) == 1


@pytest.mark.guard("T33")
@pytest.mark.parametrize("mode", ["pull", "push"])
def test_a_transaction_that_nobody_signed_is_no_answer(solshop: SolanaShop, faulty_svm: FaultyNode, mode: str) -> None:
    """A node that makes one up under a real signature proves nothing, neither a payment nor that there was none."""
    seller = solshop.seller(rpc_url=faulty_svm.url)
    challenge = solshop.challenge(seller)
    shown = solshop.pay(solshop.payer(mode=mode), challenge)
    asked: Callable[[], object] = lambda: solshop.check(seller, challenge, shown.payload)  # noqa: E731
    if mode == "pull":
        prepared = solshop.prepare(seller, solshop.check(seller, challenge, shown.payload))
        solshop.run(seller.broadcast(prepared))
        asked = lambda: solshop.confirm(seller, prepared)  # noqa: E731

    def forged(told: dict[str, Any]) -> dict[str, Any]:
        raw = bytearray(b64decode(told["transaction"][0]))
        at = raw.index(bytes((12,)) + (DOLLAR // 4).to_bytes(8, "little")) + 9
        raw[at] ^= 1
        return told | {"transaction": [b64encode(bytes(raw)).decode(), "base64"]}

    faulty_svm.on("getTransaction", edit(forged))
    with pytest.raises(BadSignature):
        asked()


@pytest.mark.guard("T33")
def test_anothers_payment_is_not_this_ones(solshop: SolanaShop) -> None:
    """What is on record under a payer's name is that payer's."""
    seller = solshop.seller()
    prepared = prepared_by(solshop, seller)
    solshop.run(seller.broadcast(prepared))
    outcome = solshop.confirm(seller, replace(prepared, payer=fresh_key().address))
    assert outcome == Refused("another account has paid")


def test_a_payment_is_confirmed_by_another_process_with_other_settings(solshop: SolanaShop) -> None:
    """All that is needed stands in the challenge: a seller that sponsors, or asks another price, still knows it."""
    seller = solshop.seller()
    prepared = prepared_by(solshop, seller)
    other, _ = solshop.sponsored(recipient=seller.config.recipient)
    solshop.run(other.broadcast(prepared))
    assert isinstance(solshop.confirm(other, prepared), Settled)


@pytest.mark.guard("T06")
def test_a_sponsored_transaction_is_the_proof_that_the_chain_shows(solshop: SolanaShop) -> None:
    """However often it is presented: the sponsor's signature is the same, and names it."""
    seller, _ = solshop.sponsored()
    challenge = solshop.challenge(seller)
    shown = solshop.pay(solshop.payer(), challenge)
    one, other = (solshop.check(seller, challenge, shown.payload) for _ in range(2))
    assert one.proof == other.proof
    outcome = solshop.settle(seller, solshop.prepare(seller, one))
    assert isinstance(outcome, Settled)
    assert one.proof.endswith(f"/tx/{outcome.reference}")
    assert solshop.chain.rpc("getSignatureStatuses", [outcome.reference])["value"][0] is not None


def test_terms_with_two_legs_into_one_account_count_both(solshop: SolanaShop) -> None:
    """The rise that is asked for is the sum of what is paid into an account."""
    seller = solshop.seller()
    challenge = solshop.challenge(seller, splits=((seller.config.recipient, Decimal("0.05")),))
    terms = seller.terms(challenge.request_object())
    assert isinstance(terms, SolanaTerms)
    assert isinstance(solshop.through(seller, challenge, solshop.pay(solshop.payer(), challenge)), Settled)
