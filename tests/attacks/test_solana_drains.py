"""What a payer can make a seller or a sponsor pay, again and again, or keep from its payee."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator

import httpx
import pytest

from coinslot import drive
from coinslot.chains.solana.address import address_bytes
from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.instruction import Instruction, signer, writable
from coinslot.chains.solana.message import build_message, sign_partially
from coinslot.chains.solana.programs import TOKEN_PROGRAM
from coinslot.chains.solana.signature import Key
from coinslot.chains.solana.token import (
    CloseAccount,
    TransferChecked,
    build_close_account,
    build_transfer_checked,
)
from coinslot.core.challenge import KeyRing
from coinslot.core.credential import encode_credential
from coinslot.devnet.channels.solana.program import TREASURY_OWNER
from coinslot.drive import RealWorld
from coinslot.methods.solana.tokens import USDC
from coinslot.server.answer import Answer
from coinslot.server.gate import Gate
from coinslot.server.issue import Issuer
from coinslot.server.price import Price
from coinslot.store.memory import MemoryStore
from support.solanashop import SolanaShop, fresh_key
from support.solanatill import COST, Buyer, SolanaTill, holding
from support.svm import SvmChain
from support.till import GET, REALM, SECRET, asking, offered

Tills = Callable[..., SolanaTill]
SET_AUTHORITY, OWNER = b"\x06", b"\x02"


def own_transaction(till: SolanaTill, key: Key, *instructions: Instruction) -> None:
    """What somebody sends at its own cost."""
    if till.svm.balance(key.address, "SOL") < 10**7:
        till.svm.fund(key.address, 10**7, "SOL")
    raw = sign_partially(build_message(key.address, instructions, till.svm.blockhash()), [key])
    till.svm.rpc("sendTransaction", base64.b64encode(raw).decode(), {"encoding": "base64"})


def put_aside(till: SolanaTill, buyer: Buyer, units: int) -> None:
    """Move tokens out of the buyer's own account to a friend."""
    friend = fresh_key().address
    till.svm.fund(friend, 1, "USDC")
    moved = TransferChecked(
        TOKEN_PROGRAM,
        derive_ata(buyer.key.address, USDC, TOKEN_PROGRAM),
        USDC,
        derive_ata(friend, USDC, TOKEN_PROGRAM),
        buyer.key.address,
        units,
        6,
    )
    own_transaction(till, buyer.key, build_transfer_checked(moved))


def close_account(till: SolanaTill, buyer: Buyer) -> None:
    """Close the buyer's empty token account: its rent goes to the buyer."""
    place = derive_ata(buyer.key.address, USDC, TOKEN_PROGRAM)
    own_transaction(
        till, buyer.key, build_close_account(CloseAccount(TOKEN_PROGRAM, place, buyer.key.address, buyer.key.address))
    )


@pytest.fixture
def solshop(svm: SvmChain) -> Iterator[SolanaShop]:
    """Both sides of a charge on a chain of the test's own."""
    with httpx.Client() as client:
        yield SolanaShop(svm, RealWorld(client))


@pytest.mark.guard("T31")
@pytest.mark.parametrize("sponsored", [True, False])
def test_a_payer_who_closes_its_token_account_earns_no_rent_by_that(solana_till: Tills, sponsored: bool) -> None:
    """Closed before the channel, made anew at our cost, closed again: two thousandths of a SOL for each channel."""
    till = solana_till(sponsored=sponsored)
    till.svm.fund(till.payee.address, 1, "USDC")
    till.svm.fund(TREASURY_OWNER, 1, "USDC")
    buyer = till.buyer()
    assert till.serve(buyer.pay()).status == 200
    put_aside(till, buyer, buyer.purse)
    close_account(till, buyer)
    before = till.svm.balance(till.payer.address, "SOL") + till.svm.balance(till.payee.address, "SOL")
    till.answer(buyer.close())
    till.settle()
    after = till.svm.balance(till.payer.address, "SOL") + till.svm.balance(till.payee.address, "SOL")
    assert after >= before - 200_000
    assert holding(till, till.payee.address) == COST + 1


@pytest.mark.guard("T28")
def test_a_payer_who_spoils_its_token_account_keeps_nothing_from_the_payee(solana_till: Tills) -> None:
    """Given away to somebody else, it can't take a refund; what was earned is paid all the same."""
    till = solana_till()
    buyer = till.buyer()
    assert till.serve(buyer.pay()).status == 200
    place = derive_ata(buyer.key.address, USDC, TOKEN_PROGRAM)
    gift = Instruction(
        TOKEN_PROGRAM,
        (writable(place), signer(buyer.key.address)),
        SET_AUTHORITY + OWNER + b"\x01" + address_bytes(fresh_key().address),
    )
    own_transaction(till, buyer.key, gift)
    till.answer(buyer.close())
    till.settle()
    till.world.at_s += 4_000
    till.watch()
    till.settle()
    assert holding(till, till.payee.address) == COST


@pytest.mark.guard("T30")
def test_a_payment_that_failed_on_the_chain_stays_drawn_from_the_sponsors_budget(solshop: SolanaShop) -> None:
    """It was good when it was tried out, and cost the sponsor its fee: a hundred of them would, too."""
    seller, sponsor = solshop.sponsored(sponsor_payer_daily="0.00003")
    gate = Gate(Issuer(REALM, KeyRing((SECRET,))), MemoryStore(), 5.0)
    price = Price("0.25", (seller,))
    thief, friend = solshop.account(1), solshop.payee()
    place, there = solshop.ata(thief.address), solshop.ata(friend)

    def drain(at: str) -> None:
        if at == "gate.prepared":
            told = TransferChecked(TOKEN_PROGRAM, place, USDC, there, thief.address, solshop.held(thief.address), 6)
            solshop.send([build_transfer_checked(told)], thief)

    purse = solshop.held(sponsor.address, "SOL")
    for turn in range(8):
        solshop.chain.fund(thief.address, 1_000_000 + turn, "USDC")
        unpaid = solshop.run(gate.admit(asking(GET, None), price))
        assert isinstance(unpaid, Answer)
        challenge = offered(unpaid)[0]
        shown = solshop.pay(solshop.payer(thief), challenge)
        drive.arm_failpoints(drain)
        try:
            solshop.run(gate.admit(asking(GET, encode_credential(challenge, shown.payload, shown.source)), price))
        finally:
            drive.arm_failpoints(None)
    assert purse - solshop.held(sponsor.address, "SOL") <= 30_000
