"""Solana charges from offer to receipt on the local chain: every token, every way, both versions of transactions."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from coinslot.chains.solana.message import read_transaction
from coinslot.chains.solana.programs import TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from coinslot.chains.solana.sending import get_transaction
from coinslot.chains.solana.tokens import ExtensionKind
from coinslot.errors import ChainError, InvalidChallenge, UsageError
from coinslot.intents.charge import Settled
from coinslot.method import Extras
from coinslot.methods.solana.charge_seller import SolanaChargeSeller
from coinslot.methods.solana.memo import is_reference
from coinslot.methods.solana.settings import KnownToken
from coinslot.methods.solana.tokens import PYUSD, USDC
from coinslot.methods.solana.transaction.read import find_parts
from support.rpcfault import FaultyNode, drop
from support.solanashop import DOLLAR, SOL, SolanaShop, fee_config, fresh_key, payload, raw_of, rebuilt

QUARTER = {"USDC": DOLLAR // 4, "PYUSD": DOLLAR // 4, "sol": SOL // 4}
HELD_AS = {"sol": "SOL"}


@pytest.mark.spec("SCHG-052", "SCHG-053", "SCHG-055", "SCHG-056", "SCHG-114", "SCHG-153", "SCHG-154", "SCHG-155")
@pytest.mark.spec("SCHG-070", "SCHG-076", "SCHG-165", "SCHG-166", "SCHG-156")
@pytest.mark.parametrize("mode", ["pull", "push"])
@pytest.mark.parametrize("currency", ["USDC", "PYUSD", "sol"])
def test_a_charge_is_paid_to_the_unit(solshop: SolanaShop, currency: str, mode: str) -> None:
    """In SOL, in a token and in one of Token-2022; the receipt names the transaction and the challenge."""
    name = HELD_AS.get(currency, currency)
    seller = solshop.seller(currency=currency)
    had = solshop.held(seller.config.recipient, name)
    challenge = solshop.challenge(seller)
    shown = solshop.pay(solshop.payer(solshop.account(token=name), mode=mode), challenge)
    outcome = solshop.through(seller, challenge, shown)
    assert isinstance(outcome, Settled), outcome
    assert outcome.reference == shown.reference
    assert outcome.extra["challengeId"] == challenge.id
    assert solshop.held(seller.config.recipient, name) - had == QUARTER[currency]


@pytest.mark.spec("SCHG-054", "SCHG-057", "SCHG-074", "SCHG-075", "SCHG-162", "SCHG-163", "SCHG-164")
@pytest.mark.parametrize("currency", ["USDC", "PYUSD", "sol"])
@pytest.mark.parametrize("mode", ["pull", "push"])
def test_a_sponsored_payer_needs_no_lamports(solshop: SolanaShop, currency: str, mode: str) -> None:
    """It leaves the first slot empty, whatever way it prefers; the sponsor fills it and pays."""
    name = HELD_AS.get(currency, currency)
    seller, sponsor = solshop.sponsored(currency=currency)
    had = solshop.held(seller.config.recipient, name)
    key = solshop.account(5, lamports=0) if currency == "USDC" else solshop.account(5, token=name)
    challenge = solshop.challenge(seller)
    shown = solshop.pay(solshop.payer(key, mode=mode), challenge)
    told = read_transaction(raw_of(shown))
    assert (told.payer, told.unsigned) == (sponsor.address, (sponsor.address,))
    assert str(shown.reference).startswith("cosigned:")
    assert isinstance(solshop.through(seller, challenge, shown), Settled)
    assert solshop.held(seller.config.recipient, name) - had == QUARTER[currency]


@pytest.mark.spec("SCHG-031", "SCHG-032", "SCHG-036", "SCHG-037", "SCHG-089", "SCHG-121", "SCHG-123", "SCHG-124")
@pytest.mark.spec("SCHG-128", "SCHG-131", "SCHG-132", "SCHG-157", "SCHG-158", "SCHG-160")
@pytest.mark.parametrize("sponsored", [False, True])
@pytest.mark.parametrize("currency", ["USDC", "PYUSD", "sol"])
def test_splits_are_paid_one_by_one(solshop: SolanaShop, currency: str, sponsored: bool) -> None:
    """Two to the same payee, one to somebody whose account is made on the way; the recipient gets the rest."""
    name = HELD_AS.get(currency, currency)
    seller = solshop.seller(currency=currency, create_split_accounts=True)
    if sponsored:
        seller, _ = solshop.sponsored(currency=currency, create_split_accounts=True)
    twice, fresh = solshop.payee(name), fresh_key().address
    others = [seller.config.recipient, twice, fresh]
    had = [solshop.held(each, name) for each in others]
    splits = ((twice, Decimal("0.05")), (twice, Decimal("0.05")), (fresh, Decimal("0.01")))
    challenge = solshop.challenge(seller, splits=splits)
    flags = [each.get("ataCreationRequired") for each in challenge.request_object()["methodDetails"]["splits"]]
    assert flags == [None, None, None if currency == "sol" else True]
    shown = solshop.pay(solshop.payer(solshop.account(token=name), max_rent="0.01"), challenge)
    assert isinstance(solshop.through(seller, challenge, shown), Settled)
    unit = QUARTER[currency] * 4 // 100
    gained = [solshop.held(each, name) - was for each, was in zip(others, had, strict=True)]
    assert gained == [14 * unit, 10 * unit, unit]


@pytest.mark.guard("T29")
@pytest.mark.parametrize("sponsored", [False, True])
def test_a_token_with_harmless_extensions_is_paid(solshop: SolanaShop, sponsored: bool) -> None:
    """Those of a real dollar token of Token-2022, on its real program: a fee of zero, no hook, powers of its issuer."""
    mint = solshop.set_mint(
        fresh_key().address,
        (ExtensionKind.MINT_CLOSE_AUTHORITY, bytes(32)),
        (ExtensionKind.PERMANENT_DELEGATE, bytes(range(32))),
        fee_config(0),
        (ExtensionKind.CONFIDENTIAL_TRANSFER_MINT, bytes(65)),
        (ExtensionKind.TRANSFER_HOOK, bytes(64)),
        (ExtensionKind.METADATA_POINTER, bytes(64)),
    )
    recipient, other, key = fresh_key().address, fresh_key().address, solshop.account(0, lamports=SOL)
    for owner in (recipient, key.address):
        solshop.mint_to(owner, mint, DOLLAR)
    settings: dict[str, Any] = {
        "currency": mint,
        "recipient": recipient,
        "trusted_extensions": ("permanentDelegate",),
        "create_split_accounts": True,
    }
    seller = solshop.sponsored(**settings)[0] if sponsored else solshop.seller(**settings)
    tokens = (KnownToken(mint=mint, decimals=6, token_2022=True),)
    payer = solshop.payer(key, tokens=tokens, max_rent="0.01")
    challenge = solshop.challenge(seller, splits=((other, Decimal("0.05")),))
    shown = solshop.pay(payer, challenge)
    checked = solshop.check(seller, challenge, shown.payload)
    outcome = solshop.settle(seller, solshop.prepare(seller, checked))
    assert isinstance(outcome, Settled), outcome
    assert (solshop.held(recipient, mint), solshop.held(other, mint)) == (DOLLAR + 200_000, 50_000)
    if sponsored:  # the account of a token with extensions is larger, and its rent within what was set aside
        landed = solshop.run(get_transaction(solshop.chain.rpc_url, outcome.reference))
        assert landed.lamports_before[0] - landed.lamports_after[0] <= checked.budgets[0].units


@pytest.mark.parametrize("sponsored", [False, True])
def test_a_legacy_transaction_is_taken_as_well(solshop: SolanaShop, sponsored: bool) -> None:
    """Many wallets still write them."""
    seller = solshop.sponsored()[0] if sponsored else solshop.seller()
    key = solshop.account()
    challenge = solshop.challenge(seller)
    raw = raw_of(solshop.pay(solshop.payer(key), challenge))
    legacy = rebuilt(raw, read_transaction(raw).instructions, key, version="legacy")
    assert read_transaction(legacy).version == "legacy"
    checked = solshop.check(seller, challenge, payload(legacy))
    assert isinstance(solshop.settle(seller, solshop.prepare(seller, checked)), Settled)


def test_the_sponsor_may_be_the_recipient(solshop: SolanaShop) -> None:
    """In SOL it then receives the price less the fee, and that counts as paid."""
    sponsor = solshop.account(0, lamports=10 * SOL)
    seller = solshop.seller(currency="sol", recipient=sponsor.address, fee_payer_key="0x" + sponsor.secret().hex())
    challenge = solshop.challenge(seller)
    assert isinstance(solshop.through(seller, challenge, solshop.pay(solshop.payer(), challenge)), Settled)


@pytest.mark.spec("SCHG-014")
def test_what_the_server_wants_said_is_on_the_chain(solshop: SolanaShop) -> None:
    """The external id, and the memo of a split."""
    seller, payee = solshop.seller(), solshop.payee()
    request = solshop.offer(seller, external_id="order 17", splits=((payee, Decimal("0.05")),))
    request["methodDetails"]["splits"][0]["memo"] = "platform fee"
    challenge = solshop.challenge(seller, request=request)
    outcome = solshop.through(seller, challenge, solshop.pay(solshop.payer(), challenge))
    assert isinstance(outcome, Settled)
    assert outcome.extra["externalId"] == "order 17"
    landed = solshop.run(get_transaction(solshop.chain.rpc_url, outcome.reference))
    assert [memo.text for memo in find_parts(landed.transaction).memos] == ["order 17", "platform fee"]


# --- offers --------------------------------------------------------------------------------------


@pytest.mark.spec("SCHG-006", "SCHG-008", "SCHG-009", "SCHG-018", "SCHG-022", "SCHG-023", "SCHG-026")
@pytest.mark.parametrize(
    ("currency", "written", "details"),
    [
        ("USDC", USDC, {"decimals": 6, "tokenProgram": TOKEN_PROGRAM}),
        ("PYUSD", PYUSD, {"decimals": 6, "tokenProgram": TOKEN_2022_PROGRAM}),
        ("sol", "sol", {}),
    ],
)
def test_an_offer_says_what_is_asked(solshop: SolanaShop, currency: str, written: str, details: dict[str, Any]) -> None:
    """Base units as text, the mint and not its symbol, and nothing that is for the other kind."""
    offer = solshop.seller(currency=currency).offer(Decimal("0.25"), Extras(description="a report"))
    assert (offer["amount"], offer["currency"]) == (str(QUARTER[currency]), written)
    assert offer["methodDetails"] == {"network": "localnet"} | details
    assert offer["description"] == "a report"


@pytest.mark.spec("SCHG-024", "SCHG-025")
def test_an_offer_is_completed_with_what_the_moment_knows(solshop: SolanaShop) -> None:
    """Who pays the fee, a blockhash that is good, and a reference that no other offer has."""
    seller, sponsor = solshop.sponsored()
    one, other = solshop.offer(seller), solshop.offer(seller)
    details = one["methodDetails"]
    assert (details["feePayer"], details["feePayerKey"]) == (True, sponsor.address)
    assert solshop.chain.rpc("isBlockhashValid", details["recentBlockhash"])["value"]
    assert is_reference(one["externalId"])
    assert one["externalId"] != other["externalId"]
    assert seller.terms(one).amount_units == DOLLAR // 4


def test_an_offer_keeps_the_external_id_of_its_route(solshop: SolanaShop) -> None:
    """And options take out what they are about."""
    seller = solshop.seller(reference=False, recent_blockhash=False)
    assert solshop.offer(seller, external_id="order-1")["externalId"] == "order-1"
    assert "externalId" not in solshop.offer(seller)
    assert "recentBlockhash" not in solshop.offer(seller)["methodDetails"]


def test_one_look_serves_many_offers(solshop: SolanaShop, faulty_svm: FaultyNode) -> None:
    """A flood of unpaid requests is no flood of questions to the node; a node that is away is no reason not to sell."""
    seller = solshop.seller(rpc_url=faulty_svm.url)
    faulty_svm.calls.clear()
    for _ in range(20):
        solshop.offer(seller)
    assert len(faulty_svm.calls) == 2
    other = solshop.seller(rpc_url=faulty_svm.url)
    faulty_svm.on("getLatestBlockhash", drop)
    offer = solshop.offer(other)
    assert "recentBlockhash" not in offer["methodDetails"]
    assert is_reference(offer["externalId"])


@pytest.mark.spec("SCHG-007", "SCHG-033", "SCHG-034", "SCHG-035")
@pytest.mark.parametrize(
    ("price", "shares"),
    [("0", []), ("20000000000000", []), ("1", ["1"]), ("1", ["0.5", "0.6"]), ("1", ["0.01"] * 9), ("1", ["0"])],
)
def test_what_no_client_may_pay_is_never_offered(solshop: SolanaShop, price: str, shares: list[str]) -> None:
    """A price of zero, one beyond u64, splits that leave nothing, too many of them."""
    splits = tuple((fresh_key().address, Decimal(share)) for share in shares)
    with pytest.raises(UsageError):
        solshop.seller().offer(Decimal(price), Extras(splits=splits))


@pytest.mark.guard("T28")
@pytest.mark.spec("SCHG-088", "SCHG-194")
@pytest.mark.parametrize("what", ["closed", "frozen"])
def test_a_recipient_that_can_not_be_paid_any_more_is_not_offered(solshop: SolanaShop, what: str) -> None:
    """Its token account is closed, or frozen by the token's issuer: nobody is asked to pay into it."""
    seller = solshop.seller()
    place = solshop.ata(seller.config.recipient)
    if what == "closed":
        solshop.wipe(place)
    else:
        solshop.patch(place, 108, b"\x02")
    with pytest.raises(ChainError, match="account"):
        solshop.offer(seller)


@pytest.mark.guard("T28")
def test_a_split_that_nobody_could_receive_is_not_offered(solshop: SolanaShop) -> None:
    """Its payee has no token account, and the seller does not let it be created."""
    splits = ((fresh_key().address, Decimal("0.05")),)
    with pytest.raises(ChainError, match="payee of a split"):
        solshop.offer(solshop.seller(), splits=splits)
    assert solshop.offer(solshop.seller(create_split_accounts=True), splits=splits)


@pytest.mark.guard("T29")
def test_a_token_that_begins_to_take_a_fee_is_not_offered_any_more(solshop: SolanaShop) -> None:
    """What was harmless when the seller was made is looked at again."""
    seller = solshop.seller(currency="PYUSD")
    solshop.set_mint(PYUSD, fee_config(100))
    with pytest.raises(ChainError, match="transfer fee"):
        solshop.offer(seller)


# --- requests that come back ---------------------------------------------------------------------


@pytest.mark.guard("T07", "T29")
@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"network": "devnet"}, "another cluster"),
        ({"network": "mainnet"}, "another cluster"),
        ({"decimals": 9}, "decimals"),
        ({"tokenProgram": TOKEN_2022_PROGRAM}, "token program"),
        ({"tokenProgram": None}, "token program"),
    ],
)
def test_a_request_for_another_cluster_or_token_is_not_ours(
    solshop: SolanaShop, change: dict[str, Any], word: str
) -> None:
    """However it was bound."""
    seller = solshop.seller()
    offer = solshop.offer(seller)
    offer["methodDetails"] = {k: v for k, v in (offer["methodDetails"] | change).items() if v is not None}
    with pytest.raises(InvalidChallenge, match=word):
        seller.terms(offer)


@pytest.mark.guard("T07")
def test_a_request_in_another_currency_is_not_ours(solshop: SolanaShop) -> None:
    """A dollar token is not another one."""
    seller, other = solshop.seller(), solshop.seller(currency="PYUSD")
    with pytest.raises(InvalidChallenge, match="currency"):
        seller.terms(solshop.offer(other))
    with pytest.raises(InvalidChallenge):
        seller.terms({"amount": "1"})


@pytest.mark.guard("F28")
def test_a_seller_remembers_only_so_many_looks(solshop: SolanaShop, monkeypatch: pytest.MonkeyPatch) -> None:
    """F28: routes with ever new splits don't fill the memory."""
    monkeypatch.setattr("coinslot.methods.solana.charge_seller.MAX_LOOKS", 2)
    seller = solshop.seller(create_split_accounts=True)
    assert isinstance(seller, SolanaChargeSeller)
    for _ in range(4):
        offer = seller.offer(Decimal(1), Extras(splits=((fresh_key().address, Decimal("0.1")),)))
        solshop.run(seller.complete(offer))
    assert len(seller._looks) <= 2
