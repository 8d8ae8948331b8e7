"""A fee sponsor can't be drained: nothing is smuggled past it, and what it takes costs it no more than it allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from solders.pubkey import Pubkey

from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.budget import build_unit_limit, build_unit_price
from coinslot.chains.solana.ed25519 import SignedMessage, build_ed25519
from coinslot.chains.solana.instruction import Instruction, readonly, signer, writable, writable_signer
from coinslot.chains.solana.memo import Memo, build_memo
from coinslot.chains.solana.programs import (
    BUDGET_PROGRAM,
    SYSTEM_PROGRAM,
    TOKEN_2022_PROGRAM,
    TOKEN_PROGRAM,
)
from coinslot.chains.solana.system import build_transfer
from coinslot.chains.solana.token import CloseAccount, TransferChecked, build_close_account, build_transfer_checked
from coinslot.errors import RailUnavailable, VerificationFailed
from coinslot.intents.charge import Settled
from coinslot.method import Extras
from coinslot.methods.solana.tokens import PYUSD, USDC
from support.solanashop import DOLLAR, SOL, SolanaShop, fresh_key
from support.solanasmuggling import (
    NONCE,
    Case,
    all_from_sponsor,
    create,
    dollars,
    filled_slot,
    inserted,
    is_create,
    is_transfer,
    make,
    nonce_advance,
    other_order,
    signed_by_another,
    sponsor_pays,
    sponsors_transfer,
    swapped,
    system,
    token,
    unsigned,
    with_idle_account,
    with_idle_reader,
    with_lookup,
    with_written_mint,
)


@pytest.fixture(scope="module")
def case(hall: SolanaShop) -> Case:
    """The same for all vectors: none of them gets anywhere."""
    return make(hall)


VECTORS: dict[str, tuple[Callable[[Case], bytes], str]] = {
    "lamports of the sponsor's": (
        inserted(lambda c: build_transfer(c.sponsor.address, c.thief.address, SOL)),
        "moves more",
    ),
    "lamports of the payer's": (
        inserted(lambda c: build_transfer(c.payer.address, c.thief.address, 1)),
        "moves more",
    ),
    "dollars of the sponsor's": (inserted(sponsors_transfer), "moves more"),
    "the payment from the sponsor": (all_from_sponsor, "sponsor is made to pay"),
    "one leg from the sponsor": (swapped(is_transfer, sponsor_pays), "several accounts pay"),
    "a transfer twice": (inserted(lambda c: next(each for each in c.good if is_transfer(each))), "moves more"),
    "closing the sponsor's account": (
        inserted(
            lambda c: build_close_account(
                CloseAccount(TOKEN_PROGRAM, c.ata(c.sponsor), c.thief.address, c.sponsor.address)
            )
        ),
        "not the data",
    ),
    "closing an account of the other program": (
        inserted(
            lambda c: build_close_account(
                CloseAccount(TOKEN_2022_PROGRAM, c.ata(c.sponsor), c.thief.address, c.sponsor.address)
            )
        ),
        "not the data",
    ),
    "a new owner": (
        inserted(
            lambda c: token(
                c,
                b"\x06\x02\x01" + bytes(Pubkey.from_string(c.thief.address)),
                writable(c.ata(c.sponsor)),
                signer(c.sponsor.address),
            )
        ),
        "not the data",
    ),
    "a delegate": (
        inserted(
            lambda c: token(
                c,
                b"\x04" + (2**64 - 1).to_bytes(8, "little"),
                writable(c.ata(c.sponsor)),
                readonly(c.thief.address),
                signer(c.sponsor.address),
            )
        ),
        "not the data",
    ),
    "an unchecked transfer": (
        inserted(
            lambda c: token(
                c,
                b"\x03" + (1).to_bytes(8, "little"),
                writable(c.ata(c.sponsor)),
                writable(c.ata(c.thief)),
                signer(c.sponsor.address),
            )
        ),
        "not the data",
    ),
    "burning": (
        inserted(
            lambda c: token(
                c,
                b"\x08" + (1).to_bytes(8, "little"),
                writable(c.ata(c.sponsor)),
                writable(USDC),
                signer(c.sponsor.address),
            )
        ),
        "not the data",
    ),
    "a new account at the sponsor's cost": (
        inserted(
            lambda c: system(
                0,
                SOL.to_bytes(8, "little") + bytes(8) + bytes(Pubkey.from_string(c.thief.address)),
                writable_signer(c.sponsor.address),
                writable_signer(c.thief.address),
            )
        ),
        "not the data",
    ),
    "the sponsor's account given away": (
        inserted(lambda c: system(1, bytes(Pubkey.from_string(TOKEN_PROGRAM)), writable_signer(c.sponsor.address))),
        "not the data",
    ),
    "space in the sponsor's account": (
        inserted(lambda c: system(8, (100).to_bytes(8, "little"), writable_signer(c.sponsor.address))),
        "not the data",
    ),
    "a durable nonce": (inserted(nonce_advance, at=0), "not the data"),
    "a withdrawal from a nonce": (
        inserted(
            lambda c: system(
                5,
                SOL.to_bytes(8, "little"),
                writable(c.ata(c.sponsor)),
                writable(c.thief.address),
                readonly(NONCE),
                readonly(SYSTEM_PROGRAM),
                signer(c.sponsor.address),
            )
        ),
        "not the data",
    ),
    "an account for the payer": (inserted(lambda c: create(c, c.payer.address)), "doesn't name"),
    "an account for the recipient": (inserted(lambda c: create(c, c.terms.legs[0].recipient)), "doesn't name"),
    "an account for an unmarked split": (inserted(lambda c: create(c, c.unmarked)), "doesn't name"),
    "an account for a stranger": (inserted(lambda c: create(c, fresh_key().address)), "doesn't name"),
    "an account of another token": (
        swapped(is_create, lambda c, _: create(c, c.marked, PYUSD, TOKEN_2022_PROGRAM)),
        "another token",
    ),
    "an account of another program": (
        swapped(is_create, lambda c, _: create(c, c.marked, USDC, TOKEN_2022_PROGRAM)),
        "another token",
    ),
    "an account twice": (inserted(lambda c: create(c, c.marked)), "created twice"),
    "an account at the payer's cost": (
        swapped(is_create, lambda c, _: create(c, c.marked, funder=c.payer.address)),
        "doesn't pay the fee",
    ),
    "an account that is not idempotent": (
        swapped(is_create, lambda c, each: replace(each, data=b"")),
        "not the data",
    ),
    "an account at a wrong place": (
        swapped(
            is_create,
            lambda c, each: replace(each, accounts=(each.accounts[0], writable(c.ata(c.thief)), *each.accounts[2:])),
        ),
        "not the one of this owner",
    ),
    "a table": (with_lookup, "looks accounts up"),
    "an idle account": (with_idle_account, "doesn't need"),
    "an idle account that is only read": (with_idle_reader, "doesn't need"),
    "a right to write": (with_written_mint, "doesn't need"),
    "one account more for a transfer": (
        swapped(is_transfer, lambda c, each: replace(each, accounts=(*each.accounts, writable(c.ata(c.sponsor))))),
        "takes 4 accounts",
    ),
    "a second signer": (
        inserted(lambda c: build_memo(Memo("hello", (c.thief.address,)))),
        "signed by others",
    ),
    "the sponsor says something": (
        swapped(
            lambda each: each.program.startswith("Memo"),
            lambda c, each: replace(each, accounts=(signer(c.sponsor.address),)),
        ),
        "besides the payer signs a memo",
    ),
    "something else is said": (inserted(lambda c: build_memo(Memo("another order"))), "not asked for"),
    "the same is said twice": (
        inserted(lambda c: build_memo(Memo(c.terms.external_id or ""))),
        "not asked for",
    ),
    "a high price": (
        swapped(lambda each: each.data[:1] == b"\x03", lambda c, _: build_unit_price(10**9)),
        "fee could be higher",
    ),
    "a high limit": (
        swapped(lambda each: each.data[:1] == b"\x02", lambda c, _: build_unit_limit(1_400_000)),
        "limit of compute units",
    ),
    "no limit": (
        swapped(lambda each: each.data[:1] == b"\x02", lambda c, _: build_unit_price(1_000)),
        "set twice",
    ),
    "two prices": (inserted(lambda c: build_unit_price(10**9)), "set twice"),
    "a larger heap": (
        inserted(lambda c: Instruction(BUDGET_PROGRAM, (), b"\x01" + (256 * 1024).to_bytes(4, "little"))),
        "not the data",
    ),
    "a signature to be verified": (
        inserted(lambda c: build_ed25519(SignedMessage(c.thief.address, bytes(64), b"x"))),
        "no part of a payment",
    ),
    "any other program": (
        inserted(lambda c: Instruction(c.thief.address, (writable(c.sponsor.address),), b"")),
        "no part of a payment",
    ),
    "no signature": (unsigned, "signature"),
    "another's signature": (signed_by_another, "signature"),
    "a full slot": (filled_slot, "none may be yet"),
    "another payer of the fee": (other_order, "signed by others"),
    "bytes at the end": (lambda c: c.signed(c.good) + b"\x00", "follow the end"),
    "another version": (
        lambda c: (raw := c.signed(c.good))[:129] + b"\x81" + raw[130:],
        "version",
    ),
}


@pytest.mark.guard("T30")
@pytest.mark.spec("SCHG-072", "SCHG-077", "SCHG-078", "SCHG-079", "SCHG-080", "SCHG-081", "SCHG-082", "SCHG-083")
@pytest.mark.spec("SCHG-087", "SCHG-117", "SCHG-198", "SCHG-199")
@pytest.mark.parametrize("name", VECTORS)
def test_nothing_is_smuggled_past_the_sponsor(case: Case, name: str) -> None:
    """Each deviation from the honest transaction is refused for its own reason, and nothing is signed."""
    build, reason = VECTORS[name]
    raw = build(case)
    assert len(raw) <= 1232
    with pytest.raises(VerificationFailed, match=reason):
        case.check(raw)


@pytest.mark.spec("SCHG-030", "SCHG-057", "SCHG-085", "SCHG-086", "SCHG-159")
def test_the_honest_transaction_is_sponsored(solshop: SolanaShop) -> None:
    """The legs are paid to the unit, the account is there, and the sponsor paid two signatures, the bid and a rent."""
    case = make(solshop)
    before = solshop.held(case.sponsor.address, "SOL")
    checked = case.check(case.signed(case.good))
    outcome = solshop.settle(case.seller, solshop.prepare(case.seller, checked))
    assert isinstance(outcome, Settled)
    paid = [solshop.held(leg.recipient) for leg in case.terms.legs]
    assert paid == [175_001, 50_000, 25_001]
    rent = solshop.chain.rpc("getMinimumBalanceForRentExemption", 165)
    assert before - solshop.held(case.sponsor.address, "SOL") == 10_000 + 150 + rent
    assert sum(budget.units for budget in checked.budgets) == 2 * (10_000 + 150 + rent)


@pytest.mark.guard("T30")
@pytest.mark.spec("SCHG-196")
def test_an_empty_sponsor_charges_nothing(solshop: SolanaShop) -> None:
    """503 and no signature leaves; the payer keeps its money."""
    sponsor = solshop.account(0, lamports=5 * SOL)
    seller = solshop.seller(fee_payer_key="0x" + sponsor.secret().hex())
    payer = solshop.payer()
    challenge = solshop.challenge(seller)
    shown = solshop.pay(payer, challenge)
    solshop.send([build_transfer(sponsor.address, fresh_key().address, 5 * SOL - 5_000)], sponsor)
    checked = solshop.check(seller, challenge, shown.payload)
    with pytest.raises(RailUnavailable, match="empty"):
        solshop.prepare(seller, checked)


@pytest.mark.spec("SCHG-196", "SCHG-197")
def test_a_sponsor_that_runs_low_lets_its_payers_pay_themselves(solshop: SolanaShop) -> None:
    """The offer says so before anybody signs."""
    sponsor = solshop.account(0, lamports=SOL // 1_000)
    seller = solshop.seller(fee_payer_key="0x" + sponsor.secret().hex())
    assert "feePayer" in seller.offer(dollars(250_000), Extras())["methodDetails"]
    offer = solshop.offer(seller)
    assert "feePayer" not in offer["methodDetails"]
    assert "feePayerKey" not in offer["methodDetails"]
    challenge = solshop.challenge(seller, request=offer)
    assert isinstance(solshop.through(seller, challenge, solshop.pay(solshop.payer(), challenge)), Settled)


@pytest.mark.spec("SCHG-118", "SCHG-192")
@pytest.mark.guard("T34")
@pytest.mark.parametrize("simulate", [True, False])
def test_a_payment_that_would_fail_is_never_sponsored(solshop: SolanaShop, simulate: bool) -> None:
    """Its payer spent the money after signing: simulation refuses, whatever is set for payments that aren't
    sponsored, and the sponsor pays nothing.
    """
    seller, sponsor = solshop.sponsored(simulate=simulate)
    key = solshop.account(1)
    challenge = solshop.challenge(seller)
    shown = solshop.pay(solshop.payer(key), challenge)
    elsewhere = solshop.payee()
    solshop.send(
        [
            build_transfer_checked(
                TransferChecked(
                    TOKEN_PROGRAM,
                    derive_ata(key.address, USDC, TOKEN_PROGRAM),
                    USDC,
                    derive_ata(elsewhere, USDC, TOKEN_PROGRAM),
                    key.address,
                    DOLLAR,
                    6,
                )
            )
        ],
        key,
    )
    before = solshop.held(sponsor.address, "SOL")
    with pytest.raises(VerificationFailed, match="hold enough"):
        solshop.prepare(seller, solshop.check(seller, challenge, shown.payload))
    assert solshop.held(sponsor.address, "SOL") == before


@pytest.mark.guard("T30")
def test_a_sponsor_that_changed_signs_nothing_for_the_old_one(solshop: SolanaShop) -> None:
    """The offer names the account that pays; another one does not take its place."""
    seller, _ = solshop.sponsored()
    challenge = solshop.challenge(seller)
    shown = solshop.pay(solshop.payer(), challenge)
    another, _ = solshop.sponsored(recipient=seller.config.recipient)
    for sponsor in (None, another.config.sponsor):
        other = replace(seller, config=replace(seller.config, sponsor=sponsor))
        with pytest.raises(RailUnavailable, match="any more"):
            solshop.check(other, challenge, shown.payload)
