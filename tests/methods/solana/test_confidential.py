"""Confidential charges, whose amounts are encrypted on the chain: never asked for, never paid, never taken.

What the document wants rejected under some condition is rejected here under every one.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from coinslot.chains.solana.address import address_bytes
from coinslot.chains.solana.instruction import Instruction, readonly, signer, writable, writable_signer
from coinslot.chains.solana.memo import Memo, build_memo
from coinslot.chains.solana.programs import SYSTEM_PROGRAM, TOKEN_2022_PROGRAM
from coinslot.chains.solana.signature import Key
from coinslot.errors import InvalidChallenge, NoPayableOffer, VerificationFailed
from coinslot.method import Extras
from coinslot.methods.solana.settings import KnownToken
from coinslot.methods.solana.tokens import PYUSD
from support.solanashop import DOLLAR, SOL, SolanaShop, fresh_key, raw_of

ZK_PROGRAM = "ZkE1Gama1Proof11111111111111111111111111111"
CONFIDENTIAL = 27  # the extension's instruction, then which of its own
TRANSFER, CONFIGURE, APPROVE, DEPOSIT, WITHDRAW, APPLY = 7, 2, 3, 5, 6, 8


class Bundle:
    """A payer who tries, and what it could present."""

    def __init__(self, shop: SolanaShop, sponsor: Key, recipient: str) -> None:
        self.shop, self.sponsor, self.recipient = shop, sponsor, recipient
        self.payer = shop.account(token="PYUSD")
        self.proof = fresh_key()

    def confidential(self, kind: int, mint: str = PYUSD, owner: str | None = None) -> Instruction:
        """An instruction of the extension."""
        source = self.shop.ata(self.payer.address, mint, TOKEN_2022_PROGRAM)
        destination = self.shop.ata(owner or self.recipient, mint, TOKEN_2022_PROGRAM)
        accounts = (
            writable(source),
            readonly(mint),
            writable(destination),
            readonly(self.proof.address),
            signer(self.payer.address),
        )
        return Instruction(TOKEN_2022_PROGRAM, accounts, bytes((CONFIDENTIAL, kind)) + bytes(36))

    def setup(self, funder: Key | None = None, owner: str = ZK_PROGRAM) -> Instruction:
        """The account that a proof is verified into."""
        data = bytes(4) + (10**6).to_bytes(8, "little") + (100).to_bytes(8, "little") + address_bytes(owner)
        payer = (funder or self.sponsor).address
        return Instruction(SYSTEM_PROGRAM, (writable_signer(payer), writable_signer(self.proof.address)), data)

    def close(self, to: Key | None = None) -> Instruction:
        """That account is closed, and its rent comes back."""
        owner = self.sponsor.address
        accounts = (writable(self.proof.address), writable((to or self.sponsor).address), signer(owner))
        return Instruction(ZK_PROGRAM, accounts, b"\x00")

    def signed(self, *instructions: Instruction, payer: Key | None = None) -> str:
        """By everybody but the sponsor, in base64."""
        pays = payer or self.sponsor
        known = (self.payer, self.proof, pays)
        needed = {one.address for each in instructions for one in each.accounts if one.signer} | {pays.address}
        keys = [key for key in known if key.address in needed and key is not self.sponsor]
        return b64encode(self.shop.signed(instructions, *keys, payer=pays.address)).decode()


BUNDLES: dict[str, Callable[[Bundle], Any]] = {
    "as it should be": lambda b: [b.signed(b.setup()), b.signed(b.confidential(TRANSFER), b.close())],
    "the transfer before its proof": lambda b: [b.signed(b.confidential(TRANSFER), b.close()), b.signed(b.setup())],
    "no transfer at the end": lambda b: [b.signed(b.setup()), b.signed(b.confidential(TRANSFER)), b.signed(b.setup())],
    "an account closed before its use": lambda b: [b.signed(b.setup(), b.close()), b.signed(b.confidential(TRANSFER))],
    "an account left behind": lambda b: [b.signed(b.setup()), b.signed(b.confidential(TRANSFER))],
    "rent for somebody else": lambda b: [b.signed(b.setup()), b.signed(b.confidential(TRANSFER), b.close(b.payer))],
    "another memo": lambda b: [b.signed(b.confidential(TRANSFER), build_memo(Memo("another order")))],
    "nothing": lambda b: [],
    "no list": lambda b: "AAAA",
    "no transaction": lambda b: [b.signed(b.setup()), "AAAA"],
    "too large": lambda b: [b64encode(bytes(1233)).decode()],
    "an account set up": lambda b: [b.signed(b.confidential(CONFIGURE))],
    "an account approved": lambda b: [b.signed(b.confidential(APPROVE))],
    "a deposit": lambda b: [b.signed(b.confidential(DEPOSIT))],
    "a withdrawal": lambda b: [b.signed(b.confidential(WITHDRAW))],
    "a balance applied": lambda b: [b.signed(b.confidential(APPLY))],
    "another mint": lambda b: [b.signed(b.confidential(TRANSFER, mint=fresh_key().address))],
    "another's account": lambda b: [b.signed(b.confidential(TRANSFER, owner=fresh_key().address))],
    "a proof that is nowhere": lambda b: [b.signed(b.confidential(TRANSFER))],
    "another funder": lambda b: [b.signed(b.setup(funder=b.payer))],
    "another program's account": lambda b: [b.signed(b.setup(owner=TOKEN_2022_PROGRAM))],
    "another payer of the fee": lambda b: [b.signed(b.confidential(TRANSFER), payer=b.payer)],
    "more than anybody would send": lambda b: [b.signed(b.confidential(TRANSFER))] * 16,
}


@pytest.mark.spec("SCHG-062", "SCHG-063", "SCHG-064", "SCHG-065", "SCHG-066", "SCHG-097", "SCHG-098", "SCHG-099")
@pytest.mark.spec("SCHG-109", "SCHG-135", "SCHG-136", "SCHG-137", "SCHG-138", "SCHG-139", "SCHG-140", "SCHG-141")
@pytest.mark.spec("SCHG-143", "SCHG-145", "SCHG-146", "SCHG-202", "SCHG-203", "SCHG-204", "SCHG-209")
@pytest.mark.parametrize("name", BUNDLES)
def test_no_bundle_is_taken(solshop: SolanaShop, name: str) -> None:
    """Whatever is in it: nothing is co-signed, nothing is sent, and nobody is admitted."""
    seller, sponsor = solshop.sponsored(currency="PYUSD")
    challenge = solshop.challenge(seller)
    bundle = Bundle(solshop, sponsor, seller.config.recipient)
    before = solshop.held(sponsor.address, "SOL")
    payload = {"type": "bundle", "transactions": BUNDLES[name](bundle)}
    with pytest.raises(VerificationFailed, match="bundle"):
        solshop.check(seller, challenge, payload)
    assert solshop.held(sponsor.address, "SOL") == before


@pytest.mark.spec("SCHG-042", "SCHG-043", "SCHG-060", "SCHG-093", "SCHG-104", "SCHG-105", "SCHG-106")
@pytest.mark.parametrize("currency", ["PYUSD", "USDC", "sol"])
def test_a_confidential_charge_is_never_offered_and_not_ours(solshop: SolanaShop, currency: str) -> None:
    """With splits or without, whatever is presented for it."""
    seller = solshop.seller(currency=currency)
    offer = solshop.offer(seller)
    assert "confidential" not in offer["methodDetails"]
    offer["methodDetails"]["confidential"] = True
    with pytest.raises(InvalidChallenge, match="confidential"):
        seller.terms(offer)
    plain = solshop.challenge(seller)
    shown = solshop.pay(solshop.payer(solshop.account(token=currency.replace("sol", "SOL"))), plain)
    with pytest.raises(InvalidChallenge, match="confidential"):
        solshop.check(seller, solshop.challenge(seller, request=offer), shown.payload)


@pytest.mark.spec("SCHG-045", "SCHG-047", "SCHG-048", "SCHG-093", "SCHG-094", "SCHG-095", "SCHG-096", "SCHG-190")
@pytest.mark.parametrize("hint", [{}, {"recipientElgamalPubkey": "AAAA"}, {"auditorElgamalPubkey": "AAAA"}])
def test_a_confidential_charge_is_never_paid(solshop: SolanaShop, hint: dict[str, str]) -> None:
    """Whatever the server says of keys and accounts: what can't be verified is not signed."""
    seller = solshop.seller(currency="PYUSD")
    offer = solshop.offer(seller)
    offer["methodDetails"] |= {"confidential": True} | hint
    payer = solshop.payer(solshop.account(token="PYUSD"))
    with pytest.raises(NoPayableOffer, match="confidential"):
        payer.terms(solshop.challenge(seller, request=offer))


def test_a_token_that_could_be_hidden_is_paid_in_the_open(solshop: SolanaShop) -> None:
    """The configuration of confidential transfers does a plain one no harm."""
    mint, recipient, key = fresh_key().address, fresh_key().address, solshop.account(0, lamports=SOL)
    solshop.set_mint(mint, (4, bytes(65)))
    for owner in (recipient, key.address):
        solshop.mint_to(owner, mint, DOLLAR)
    seller = solshop.seller(currency=mint, recipient=recipient)
    assert seller.offer(Decimal("0.25"), Extras())["currency"] == mint
    payer = solshop.payer(key, tokens=(KnownToken(mint=mint, decimals=6, token_2022=True),))
    challenge = solshop.challenge(seller)
    shown = solshop.pay(payer, challenge)
    assert len(raw_of(shown)) <= 1232
    solshop.through(seller, challenge, shown)
    assert solshop.chain.balance(recipient, mint) == DOLLAR + DOLLAR // 4
