"""The paying side: what it signs, what it doesn't, and what it says when it can't know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from coinslot.chains.solana.instruction import U64_MAX
from coinslot.chains.solana.memo import Memo
from coinslot.chains.solana.message import read_transaction
from coinslot.chains.solana.programs import TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from coinslot.errors import NoPayableOffer, PaymentOutcomeUnknown, UsageError
from coinslot.intents.charge import Settled
from coinslot.method import Fate, Sending
from coinslot.methods.solana.charge_payer import SolanaChargePayer
from coinslot.methods.solana.tokens import PYUSD, USDC
from coinslot.methods.solana.transaction.build import unit_limit
from coinslot.methods.solana.transaction.read import read_parts
from support.rpcfault import FaultyNode, answer, drop, drop_after
from support.solanashop import DOLLAR, SOL, SolanaShop, fresh_key, raw_of


def request(shop: SolanaShop, **details: Any) -> dict[str, Any]:
    """An offer in dollars of some server, with these details; None takes one out."""
    base: dict[str, Any] = {"network": "localnet", "decimals": 6, "tokenProgram": TOKEN_PROGRAM}
    return {
        "amount": "250000",
        "currency": USDC,
        "recipient": shop.payee(),
        "methodDetails": {name: value for name, value in (base | details).items() if value is not None},
    }


FOREIGN: dict[str, tuple[dict[str, Any], str]] = {
    "another cluster": ({"network": "devnet"}, "this wallet is on localnet"),
    "no cluster": ({"network": None}, "this wallet is on localnet"),
    "other decimals": ({"decimals": 9}, "has 6 decimals"),
    "another program": ({"tokenProgram": TOKEN_2022_PROGRAM}, "another token program"),
    "confidential": ({"confidential": True}, "not supported"),
}


@pytest.mark.guard("T07", "T29", "T47")
@pytest.mark.spec("SCHG-016", "SCHG-093", "SCHG-183", "SCHG-185")
@pytest.mark.parametrize("name", FOREIGN)
def test_what_it_does_not_know_is_not_signed(solshop: SolanaShop, name: str) -> None:
    """The cluster, the decimals and the program are its own knowledge, never the server's word."""
    details, reason = FOREIGN[name]
    challenge = solshop.challenge(solshop.seller(), request=request(solshop, **details))
    with pytest.raises(NoPayableOffer, match=reason):
        solshop.payer().terms(challenge)


@pytest.mark.guard("T47")
@pytest.mark.spec("SCHG-187")
def test_a_token_that_nobody_vouches_for_is_not_paid(solshop: SolanaShop) -> None:
    """Its owner can vouch for it, with its decimals and its program."""
    challenge = solshop.challenge(solshop.seller(), request=request(solshop) | {"currency": fresh_key().address})
    with pytest.raises(NoPayableOffer, match="neither pinned"):
        solshop.payer().terms(challenge)


@pytest.mark.guard("T47")
@pytest.mark.spec("SCHG-189")
def test_it_neither_sponsors_nor_pays_itself(solshop: SolanaShop) -> None:
    """A server that names the wallet in either place is up to something."""
    key = solshop.account()
    for change in ({"recipient": key.address}, {"methodDetails": {"feePayer": True, "feePayerKey": key.address}}):
        offer = request(solshop)
        offer["methodDetails"] |= change.pop("methodDetails", {})
        challenge = solshop.challenge(solshop.seller(), request=offer | change)
        with pytest.raises(NoPayableOffer, match="itself"):
            solshop.payer(key).terms(challenge)


@pytest.mark.spec("SCHG-020", "SCHG-021")
@pytest.mark.guard("T29")
def test_the_token_program_is_looked_up_where_the_server_is_silent(solshop: SolanaShop, faulty_svm: FaultyNode) -> None:
    """And what the chain says must be what is known of the token; else nothing is signed."""
    seller = solshop.seller()
    payer = solshop.payer(rpc_url=faulty_svm.url)
    offer = request(solshop, tokenProgram=None)
    raw = raw_of(solshop.pay(payer, solshop.challenge(seller, request=offer)))
    assert any(each.program == TOKEN_PROGRAM for each in read_transaction(raw).instructions)
    challenge = solshop.challenge(seller, request=offer)
    faulty_svm.on("getAccountInfo", answer({"context": {"slot": 1}, "value": None}))
    with pytest.raises(NoPayableOffer, match="can't be verified"):
        solshop.pay(payer, challenge)
    faulty_svm.heal()
    solshop.set_mint(USDC)
    with pytest.raises(NoPayableOffer, match="can't be verified"):
        solshop.pay(payer, challenge)


@pytest.mark.spec("SCHG-038", "SCHG-039", "SCHG-040", "SCHG-200")
def test_the_servers_blockhash_is_used_while_it_is_good(solshop: SolanaShop) -> None:
    """A stale one, one that nobody knows, or none: then one of its own node."""
    payer, seller = solshop.payer(), solshop.seller()
    offered = solshop.chain.blockhash()
    solshop.chain.running.advance_slots(3)

    def used(blockhash: str | None) -> str:
        challenge = solshop.challenge(seller, request=request(solshop, recentBlockhash=blockhash))
        return read_transaction(raw_of(solshop.pay(payer, challenge))).blockhash

    assert used(offered) == offered
    assert used(None) != offered
    assert used(fresh_key().address) != offered
    solshop.chain.running.expire_blockhashes()
    assert used(offered) != offered


@pytest.mark.spec("SCHG-014", "SCHG-030", "SCHG-032", "SCHG-083", "SCHG-085", "SCHG-086", "SCHG-157", "SCHG-159")
@pytest.mark.spec("SCHG-160", "SCHG-161", "SCHG-167", "SCHG-090", "SCHG-087", "SCHG-158")
@pytest.mark.parametrize("sponsored", [True, False])
def test_it_signs_exactly_what_is_asked(solshop: SolanaShop, sponsored: bool) -> None:
    """One transfer for each leg, an account only where the offer marks it, the memos, and what it may cost."""
    sponsor, marked, plain, key = fresh_key().address, fresh_key().address, solshop.payee(), solshop.account()
    details: dict[str, Any] = {"feePayer": True, "feePayerKey": sponsor} if sponsored else {}
    shares: list[Mapping[str, Any]] = [
        {"recipient": marked, "amount": "100", "memo": "fee", "ataCreationRequired": True},
        {"recipient": plain, "amount": "50"},
    ]
    offer = request(solshop, splits=shares, **details) | {"externalId": "order-1"}
    challenge = solshop.challenge(solshop.seller(), request=offer)
    transaction = read_transaction(raw_of(solshop.pay(solshop.payer(key, max_rent="0.01"), challenge)))
    parts = read_parts(transaction)
    owners = (offer["recipient"], marked, plain)
    assert [(each.destination, each.amount_units) for each in parts.transfers] == [
        (solshop.ata(owner), units) for owner, units in zip(owners, (249_850, 100, 50), strict=True)
    ]
    assert {(each.source, each.authority, each.mint) for each in parts.transfers} == {
        (solshop.ata(key.address), key.address, USDC)
    }
    funder = sponsor if sponsored else key.address
    assert [(each.owner, each.funder, each.mint) for each in parts.creates] == [(marked, funder, USDC)]
    assert parts.memos == (Memo("order-1"), Memo("fee"))
    assert transaction.payer == funder
    assert transaction.unsigned == ((sponsor,) if sponsored else ())
    assert parts.unit_limit is not None
    assert parts.unit_price == 1_000
    assert transaction.version == 0


@pytest.mark.parametrize("drawn", [0, 2**16 - 1, 2**32 - 1])
@pytest.mark.parametrize("splits", range(9))
def test_deployed_servers_broadcast_what_it_signs(solshop: SolanaShop, splits: int, drawn: int) -> None:
    """They take 200,000 compute units at most; with everything that the document allows it may be more."""
    shares = [{"recipient": fresh_key().address, "amount": "1"} for _ in range(splits)]
    offer = request(solshop, **({"splits": shares} if shares else {})) | {"externalId": "mpp-" + "a" * 16}
    payer = solshop.payer(fresh_key())
    terms = payer.terms(solshop.challenge(solshop.seller(), request=offer))
    assert 12_000 * (splits + 1) < unit_limit(terms, drawn) <= 200_000
    large = replace(terms, external_id="x" * 566)
    assert 200_000 < unit_limit(large, drawn) < 400_000 + 110_000 * splits


def test_equal_payments_are_different_transactions(solshop: SolanaShop) -> None:
    """Also where the server gives no external id, and on one blockhash."""
    payer, seller = solshop.payer(), solshop.seller()
    offer = request(solshop, recentBlockhash=solshop.chain.blockhash())
    shown = {solshop.pay(payer, solshop.challenge(seller, request=offer)).reference for _ in range(8)}
    assert len(shown) == 8


@pytest.mark.parametrize(
    ("dollars", "lamports", "currency", "word"),
    [(0, SOL, "USDC", "0.25 USDC are needed"), (5, 1_000, "USDC", "lamports"), (0, SOL // 5, "sol", "lamports")],
)
def test_what_it_does_not_hold_it_does_not_sign(
    solshop: SolanaShop, dollars: int, lamports: int, currency: str, word: str
) -> None:
    """Neither the payment nor the fee."""
    key = solshop.account(dollars, lamports=max(lamports, 890_880))
    if lamports < 890_880:
        solshop.chain.rpc("svm_setAccount", key.address, {"lamports": lamports})
    seller = solshop.seller(currency=currency)
    with pytest.raises(NoPayableOffer, match=word):
        solshop.pay(solshop.payer(key), solshop.challenge(seller))


def test_a_frozen_account_pays_nothing(solshop: SolanaShop) -> None:
    """It is told before anything is signed."""
    key = solshop.account()
    solshop.patch(solshop.ata(key.address), 108, b"\x02")
    with pytest.raises(NoPayableOffer, match="needed"):
        solshop.pay(solshop.payer(key), solshop.challenge(solshop.seller()))


def test_the_network_may_not_cost_more_than_its_owner_allows(solshop: SolanaShop) -> None:
    """Rent of accounts that the offer wants created is part of that."""
    payee = fresh_key().address
    seller = solshop.seller(create_split_accounts=True)
    challenge = solshop.challenge(seller, splits=((payee, Decimal("0.05")),))
    with pytest.raises(NoPayableOffer, match="max_fee"):
        solshop.pay(solshop.payer(max_fee="0.001", max_rent="0.01"), challenge)


def test_what_does_not_fit_into_a_transaction_is_not_signed(solshop: SolanaShop) -> None:
    """Eight splits with long memos are too much for 1232 bytes."""
    shares = [{"recipient": solshop.payee(), "amount": "1", "memo": "m" * 300} for _ in range(4)]
    challenge = solshop.challenge(solshop.seller(), request=request(solshop, splits=shares))
    with pytest.raises(NoPayableOffer, match="1232"):
        solshop.pay(solshop.payer(), challenge)


@pytest.mark.parametrize("sponsored", [False, True])
def test_as_many_splits_as_there_may_be_fit(solshop: SolanaShop, sponsored: bool) -> None:
    """Nine transfers in one transaction, and as many compute units as they need."""
    seller = solshop.sponsored()[0] if sponsored else solshop.seller()
    splits = tuple((solshop.payee(), Decimal("0.01")) for _ in range(8))
    challenge = solshop.challenge(seller, splits=splits)
    assert isinstance(solshop.through(seller, challenge, solshop.pay(solshop.payer(), challenge)), Settled)
    assert [solshop.held(payee) for payee, _ in splits] == [10_001] * 8


def test_terms_of_another_challenge_are_not_paid(solshop: SolanaShop) -> None:
    """What the purse judged is what is signed."""
    seller, payer = solshop.seller(), solshop.payer()
    one, other = solshop.challenge(seller), solshop.challenge(seller, "0.5")
    with pytest.raises(UsageError, match="not those"):
        solshop.run(payer.pay(one, payer.terms(other)))


# --- push ----------------------------------------------------------------------------------------


@pytest.mark.guard("F11")
@pytest.mark.parametrize("lost", ["sendTransaction", "getSignatureStatuses"])
def test_a_lost_answer_is_looked_up_and_not_paid_again(solshop: SolanaShop, faulty_svm: FaultyNode, lost: str) -> None:
    """The signature was known before it was sent: it is found on the chain, and presented."""
    seller = solshop.seller()
    payer = solshop.payer(mode="push", rpc_url=faulty_svm.url)
    challenge = solshop.challenge(seller)
    faulty_svm.on(lost, drop_after, 1)
    shown = solshop.pay(payer, challenge)
    assert isinstance(solshop.through(seller, challenge, shown), Settled)
    assert faulty_svm.calls.count("sendTransaction") == 1
    assert solshop.held(seller.config.recipient) == DOLLAR // 4 + 1


@pytest.mark.guard("F11", "F13")
def test_what_was_sent_and_is_not_seen_is_unknown(
    solshop: SolanaShop, faulty_svm: FaultyNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the signature; only a chain that proves that it never landed makes it nothing."""
    monkeypatch.setattr("coinslot.chains.solana.sending.CONFIRM_WAIT_S", 0.0)
    monkeypatch.setattr("coinslot.methods.solana.charge_payer.CONFIRM_WAIT_S", 0.0)
    seller = solshop.seller()
    payer = solshop.payer(mode="push", rpc_url=faulty_svm.url)
    challenge = solshop.challenge(seller)
    solshop.chain.faults.never_land(2)
    with pytest.raises(PaymentOutcomeUnknown) as unknown:
        solshop.pay(payer, challenge)
    assert unknown.value.reference

    def later(ask: Any) -> Any:
        told = ask()
        solshop.chain.running.advance_slots(250)
        return told

    faulty_svm.on("sendTransaction", later)
    with pytest.raises(NoPayableOffer, match="nothing moved"):
        solshop.pay(payer, challenge)


@pytest.mark.guard("F13")
def test_what_is_past_and_not_final_proves_nothing(
    solshop: SolanaShop, faulty_svm: FaultyNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No new block takes the blockhash any more; one that nobody has seen yet may have."""
    monkeypatch.setattr("coinslot.chains.solana.sending.CONFIRM_WAIT_S", 0.0)
    monkeypatch.setattr("coinslot.methods.solana.charge_payer.CONFIRM_WAIT_S", 0.0)
    payer = solshop.payer(mode="push", rpc_url=faulty_svm.url)
    solshop.chain.faults.never_land(1)

    def later(ask: Any) -> Any:
        told = ask()
        solshop.chain.running.advance_slots(250)
        return told

    faulty_svm.on("sendTransaction", later)
    faulty_svm.on("getBlockHeight", lambda ask: 1)
    with pytest.raises(PaymentOutcomeUnknown):
        solshop.pay(payer, solshop.challenge(solshop.seller()))


@pytest.mark.guard("F13")
def test_a_node_that_is_away_proves_nothing(
    solshop: SolanaShop, faulty_svm: FaultyNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even that nothing was paid."""
    monkeypatch.setattr("coinslot.methods.solana.charge_payer.CONFIRM_WAIT_S", 0.0)
    payer = solshop.payer(mode="push", rpc_url=faulty_svm.url)
    challenge = solshop.challenge(solshop.seller())
    solshop.chain.faults.never_land()
    faulty_svm.on("getBlockHeight", drop)
    with pytest.raises(PaymentOutcomeUnknown):
        solshop.pay(payer, challenge)


def test_a_push_that_is_refused_before_it_is_sent_moved_nothing(solshop: SolanaShop) -> None:
    """The node tried it out: the recipient has no account."""
    seller = solshop.seller()
    challenge = solshop.challenge(seller)
    solshop.wipe(solshop.ata(seller.config.recipient))
    with pytest.raises(NoPayableOffer, match="refused"):
        solshop.pay(solshop.payer(mode="push"), challenge)


def signed(solshop: SolanaShop, payer: SolanaChargePayer) -> Sending:
    """A payment that was signed, and not sent."""
    challenge = solshop.challenge(solshop.seller())
    sending = solshop.run(payer.pay(challenge, payer.terms(challenge))).sending
    assert isinstance(sending, Sending)
    return sending


@pytest.mark.guard("F03", "F14")
def test_what_landed_is_not_sent_again(solshop: SolanaShop, faulty_svm: FaultyNode) -> None:
    """However long ago: the chain is asked first."""
    payer = solshop.payer(mode="push", rpc_url=faulty_svm.url)
    sending = signed(solshop, payer)
    solshop.run(payer.send(sending, again=False))
    solshop.chain.running.advance_slots(400)
    solshop.run(payer.send(sending, again=True))
    assert faulty_svm.calls.count("sendTransaction") == 1


def test_what_was_written_down_only_is_sent_then(solshop: SolanaShop) -> None:
    """Its owner died before it could."""
    payer = solshop.payer(mode="push")
    before = solshop.held(payer.config.account)
    solshop.run(payer.send(signed(solshop, payer), again=True))
    assert before - solshop.held(payer.config.account) == DOLLAR // 4


@pytest.mark.guard("F12")
def test_a_refusal_of_what_may_have_been_sent_proves_nothing(solshop: SolanaShop) -> None:
    """Tried out now it fails; passed on before, it may still land."""
    seller, payer = solshop.seller(), solshop.payer(mode="push")
    challenge = solshop.challenge(seller)
    sending = solshop.run(payer.pay(challenge, payer.terms(challenge))).sending
    solshop.wipe(solshop.ata(seller.config.recipient))
    with pytest.raises(PaymentOutcomeUnknown):
        solshop.run(payer.send(sending, again=True))


@pytest.mark.guard("F13")
def test_what_was_never_sent_is_dead_in_the_end(solshop: SolanaShop) -> None:
    """When the finalized chain is past its blockhash."""
    payer = solshop.payer(mode="push")
    sending = signed(solshop, payer)
    solshop.chain.running.advance_slots(250)
    with pytest.raises(NoPayableOffer, match="nothing moved"):
        solshop.run(payer.send(sending, again=True))


@pytest.mark.guard("F12", "F13")
def test_the_chain_says_what_became_of_it_and_nothing_is_sent(solshop: SolanaShop, faulty_svm: FaultyNode) -> None:
    """Not there while it may be taken; dead when it can't be any more; landed, however long ago."""
    payer = solshop.payer(mode="push", rpc_url=faulty_svm.url)
    sending, never = signed(solshop, payer), signed(solshop, payer)
    assert solshop.run(payer.look(sending)) is Fate.OPEN
    solshop.run(payer.send(sending, again=False))
    solshop.chain.running.advance_slots(400)
    assert solshop.run(payer.look(sending)) is Fate.LANDED
    assert solshop.run(payer.look(never)) is Fate.DEAD
    assert faulty_svm.calls.count("sendTransaction") == 1


def test_a_wallet_pays_a_token_that_its_owner_vouches_for(solshop: SolanaShop) -> None:
    """With the decimals and the program that the owner says."""
    from coinslot.methods.solana.settings import KnownToken

    mint = solshop.set_mint(fresh_key().address, decimals=2)
    recipient, key = fresh_key().address, solshop.account(0)
    for owner in (recipient, key.address):
        solshop.mint_to(owner, mint, 1_000)
    seller = solshop.seller(currency=mint, recipient=recipient)
    payer = solshop.payer(key, tokens=(KnownToken(mint=mint, decimals=2, token_2022=True, symbol="BEAN"),))
    challenge = solshop.challenge(seller)
    assert payer.terms(challenge).asset.symbol == "BEAN"
    assert isinstance(solshop.through(seller, challenge, solshop.pay(payer, challenge)), Settled)


def test_amounts_up_to_the_last_unit_are_signed(solshop: SolanaShop) -> None:
    """u64 is the whole range."""
    seller = solshop.seller()
    offer = request(solshop) | {"amount": str(U64_MAX)}
    payer = solshop.payer()
    terms = payer.terms(solshop.challenge(seller, request=offer))
    assert terms.amount_units == U64_MAX
    with pytest.raises(NoPayableOffer, match="needed"):
        solshop.pay(payer, solshop.challenge(seller, request=offer))
    assert replace(terms, amount_units=1).mint == USDC != PYUSD
