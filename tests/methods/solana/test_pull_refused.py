"""What a seller that sponsors nobody refuses of a signed transaction, by name."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from coinslot.chains.solana.address import address_text
from coinslot.chains.solana.ata import build_create_idempotent, derive_ata
from coinslot.chains.solana.instruction import Instruction, signer, writable
from coinslot.chains.solana.memo import Memo, build_memo
from coinslot.chains.solana.message import build_message, read_transaction
from coinslot.chains.solana.programs import SYSTEM_PROGRAM, TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from coinslot.chains.solana.signature import Key
from coinslot.chains.solana.system import build_transfer
from coinslot.chains.solana.token import TransferChecked, build_transfer_checked
from coinslot.core.challenge import Challenge
from coinslot.errors import MalformedCredential, VerificationFailed
from coinslot.intents.charge import Settled
from coinslot.methods.solana.charge_seller import SolanaChargeSeller
from coinslot.methods.solana.terms import SolanaTerms
from coinslot.methods.solana.tokens import PYUSD, USDC
from coinslot.methods.solana.transaction.build import payment_instructions
from support.solanashop import DOLLAR, SOL, SolanaShop, fresh_key, payload, raw_of

UNITS = (100_000, 1_000)


@dataclass(frozen=True)
class Case:
    """A charge of a quarter with one split, and its payer."""

    shop: SolanaShop
    seller: SolanaChargeSeller
    challenge: Challenge
    payer: Key

    @property
    def terms(self) -> SolanaTerms:
        """What is asked."""
        terms = self.seller.terms(self.challenge.request_object())
        assert isinstance(terms, SolanaTerms)
        return terms

    @property
    def good(self) -> list[Instruction]:
        """What an honest payer signs."""
        return list(payment_instructions(self.terms, self.payer.address, self.terms.token_program, UNITS))

    def transfer(self, place: int, **changes: Any) -> list[Instruction]:
        """The honest instructions with one transfer changed."""
        found = self.good
        at = [index for index, each in enumerate(found) if each.program == TOKEN_PROGRAM][place]
        terms, leg = self.terms, self.terms.legs[place]
        plain = TransferChecked(
            TOKEN_PROGRAM,
            self.shop.ata(self.payer.address),
            USDC,
            terms.destination(leg, TOKEN_PROGRAM),
            self.payer.address,
            leg.amount_units,
            6,
        )
        found[at] = build_transfer_checked(replace(plain, **changes))
        return found

    def check(self, instructions: list[Instruction], *keys: Key) -> Any:
        """By the seller."""
        raw = self.shop.signed(instructions, *(keys or (self.payer,)))
        return self.shop.check(self.seller, self.challenge, payload(raw))


@pytest.fixture
def case(solshop: SolanaShop) -> Case:
    """A fresh one."""
    seller = solshop.seller()
    challenge = solshop.challenge(seller, splits=((solshop.payee(), Decimal("0.05")),))
    return Case(solshop, seller, challenge, solshop.account())


DEVIATIONS: dict[str, tuple[Callable[[Case], list[Instruction]], str]] = {
    "less": (lambda c: c.transfer(0, amount_units=199_999), "not exactly 200000"),
    "more": (lambda c: c.transfer(0, amount_units=200_001), "not exactly 200000"),
    "less of a split": (lambda c: c.transfer(1, amount_units=49_999), "not exactly 50000"),
    "no split": (lambda c: c.good[:-1], "no transfer to"),
    "no primary": (lambda c: [c.good[-1]], "no transfer to"),
    "nothing": (lambda c: c.good[:2], "no transfer of the currency"),
    "to the owner's address": (
        lambda c: c.transfer(0, destination=c.terms.legs[0].recipient),
        "no transfer to",
    ),
    "to another's account": (lambda c: c.transfer(0, destination=c.shop.ata(c.shop.payee())), "no transfer to"),
    "another token": (lambda c: c.transfer(0, mint=PYUSD), "no transfer to"),
    "another token program": (lambda c: c.transfer(0, program=TOKEN_2022_PROGRAM), "no transfer to"),
    "lamports": (
        lambda c: [build_transfer(c.payer.address, c.terms.legs[0].recipient, 250_000)],
        "no transfer of the currency",
    ),
    "another source": (
        lambda c: c.transfer(0, source=derive_ata(c.payer.address, USDC, TOKEN_2022_PROGRAM)),
        "not the payer's own",
    ),
    "one transfer for two legs": (lambda c: c.transfer(1, amount_units=200_000), "not exactly 50000"),
    "an account for the recipient": (
        lambda c: [
            build_create_idempotent(c.payer.address, c.terms.legs[0].recipient, USDC, TOKEN_PROGRAM),
            *c.good,
        ],
        "doesn't name",
    ),
    "an account for itself": (
        lambda c: [build_create_idempotent(c.payer.address, c.payer.address, USDC, TOKEN_PROGRAM), *c.good],
        "doesn't name",
    ),
    "another memo": (lambda c: [*c.good, build_memo(Memo("mpp-AAAAAAAAAAAAAAAA"))], "not asked for"),
    "a program besides": (lambda c: [*c.good, Instruction(fresh_key().address, (), b"")], "no part of a payment"),
}


@pytest.mark.guard("T29", "T30", "T05")
@pytest.mark.spec("CHG-015", "CHG-016", "CHG-017", "SCHG-056", "SCHG-072", "SCHG-090", "SCHG-127", "SCHG-129")
@pytest.mark.spec("SCHG-130", "SCHG-131", "SCHG-134", "SCHG-161", "SCHG-199")
@pytest.mark.parametrize("name", DEVIATIONS)
def test_each_deviation_is_refused_by_name(case: Case, name: str) -> None:
    """One thing is wrong at a time."""
    build, reason = DEVIATIONS[name]
    with pytest.raises(VerificationFailed, match=reason):
        case.check(build(case))


NATIVE: dict[str, tuple[Callable[[Case, str], list[Instruction]], str]] = {
    "less": (lambda c, to: [build_transfer(c.payer.address, to, 199_999_999)], "not exactly 200000000"),
    "more": (lambda c, to: [build_transfer(c.payer.address, to, 200_000_001)], "not exactly 200000000"),
    "to somebody else": (lambda c, _: [build_transfer(c.payer.address, c.shop.payee("SOL"), 200_000_000)], "no trans"),
    "in two parts": (lambda c, to: [build_transfer(c.payer.address, to, 100_000_000)] * 2, "not exactly 200000000"),
    "nothing": (lambda *_: [], "no transfer to"),
    "dollars": (
        lambda c, to: [
            build_transfer_checked(
                TransferChecked(
                    TOKEN_PROGRAM, c.shop.ata(c.payer.address), USDC, c.shop.ata(to), c.payer.address, 200_000_000, 6
                )
            )
        ],
        "no transfer to",
    ),
}


@pytest.mark.spec("SCHG-120", "SCHG-121", "SCHG-122", "SCHG-123", "SCHG-126")
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("name", NATIVE)
def test_each_deviation_in_sol_is_refused_by_name(solshop: SolanaShop, name: str, place: int) -> None:
    """Of the recipient's part, which is what the split leaves, and of the split."""
    seller = solshop.seller(currency="sol")
    challenge = solshop.challenge(seller, "0.4", splits=((solshop.payee("SOL"), Decimal("0.2")),))
    case = Case(solshop, seller, challenge, solshop.account())
    build, reason = NATIVE[name]
    at = [n for n, each in enumerate(case.good) if each.program == SYSTEM_PROGRAM][place]
    wrong = build(case, case.terms.legs[place].recipient)
    with pytest.raises(VerificationFailed, match=reason):
        case.check([*case.good[:at], *wrong, *case.good[at + 1 :]])
    case.check(case.good)


@pytest.mark.spec("SCHG-089", "SCHG-160")
def test_a_payer_may_create_the_account_of_a_split_at_its_own_cost(case: Case) -> None:
    """Also where the offer doesn't ask for it."""
    create = build_create_idempotent(case.payer.address, case.terms.legs[1].recipient, USDC, TOKEN_PROGRAM)
    checked = case.check([create, *case.good])
    assert isinstance(case.shop.settle(case.seller, case.shop.prepare(case.seller, checked)), Settled)


@pytest.mark.spec("SCHG-125", "SCHG-133", "SCHG-124", "SCHG-132")
@pytest.mark.parametrize("currency", ["USDC", "sol"])
def test_one_transfer_never_pays_two_legs(solshop: SolanaShop, currency: str) -> None:
    """Two equal splits of one payee need two transfers, and one of their sum is none of them."""
    seller, payee = solshop.seller(currency=currency), solshop.payee("SOL" if currency == "sol" else "USDC")
    challenge = solshop.challenge(seller, splits=((payee, Decimal("0.05")), (payee, Decimal("0.05"))))
    terms = seller.terms(challenge.request_object())
    assert isinstance(terms, SolanaTerms)
    key = solshop.account()
    good = list(payment_instructions(terms, key.address, terms.token_program, UNITS))
    with pytest.raises(VerificationFailed, match="no transfer to"):
        solshop.check(seller, challenge, payload(solshop.signed(good[:-1], key)))
    legs = (terms.legs[0], replace(terms.legs[1], amount_units=2 * terms.legs[1].amount_units))
    joined = list(payment_instructions(replace(terms, legs=legs), key.address, terms.token_program, UNITS))
    with pytest.raises(VerificationFailed, match="not exactly"):
        solshop.check(seller, challenge, payload(solshop.signed(joined, key)))


@pytest.mark.guard("T30")
def test_a_delegate_does_not_pay_with_anothers_money(case: Case) -> None:
    """Whoever may spend from somebody's account pays by its own name, or not at all."""
    owner = case.shop.account()
    approve = Instruction(
        TOKEN_PROGRAM,
        (writable(case.shop.ata(owner.address)), writable(case.payer.address), signer(owner.address)),
        b"\x04" + DOLLAR.to_bytes(8, "little"),
    )
    case.shop.send([approve], owner)
    with pytest.raises(VerificationFailed, match="not the payer's own"):
        case.check([*case.transfer(0, source=case.shop.ata(owner.address))])


@pytest.mark.guard("T16")
@pytest.mark.parametrize("sponsored", [False, True])
def test_a_key_that_signs_everything_signs_nothing(solshop: SolanaShop, sponsored: bool) -> None:
    """A key of small order, for which one signature fits every message: lax libraries take it, the chain does not."""
    weak, lax = bytes((1, *bytes(31))), bytes((1, *bytes(63)))
    payer = address_text(weak)
    solshop.chain.fund(payer, SOL, "SOL")
    solshop.chain.fund(payer, DOLLAR, "USDC")
    seller = solshop.sponsored()[0] if sponsored else solshop.seller()
    challenge = solshop.challenge(seller)
    terms = seller.terms(challenge.request_object())
    assert isinstance(terms, SolanaTerms)
    built = payment_instructions(terms, payer, terms.token_program, UNITS)
    message = build_message(terms.fee_payer or payer, built, solshop.chain.blockhash())
    Ed25519PublicKey.from_public_bytes(weak).verify(lax, message)
    raw = bytes((1 + sponsored,)) + bytes(64 * sponsored) + lax + message
    with pytest.raises(VerificationFailed, match="signature"):
        solshop.check(seller, challenge, payload(raw))


@pytest.mark.spec("SCHG-056")
@pytest.mark.guard("T30")
def test_nobody_else_has_to_sign(case: Case) -> None:
    """Neither besides the payer nor before it."""
    other = case.shop.account()
    with pytest.raises(VerificationFailed, match="signed by others"):
        case.check(case.good, other, case.payer)


@pytest.mark.guard("T32")
@pytest.mark.parametrize("currency", ["USDC", "sol"])
def test_a_payer_that_is_the_payee_moves_nothing(solshop: SolanaShop, currency: str) -> None:
    """A transfer to oneself looks like a payment and is none."""
    key = solshop.account()
    seller = solshop.seller(currency=currency, recipient=key.address)
    challenge = solshop.challenge(seller)
    terms = seller.terms(challenge.request_object())
    assert isinstance(terms, SolanaTerms)
    built = list(payment_instructions(terms, key.address, terms.token_program, UNITS))
    with pytest.raises(VerificationFailed, match="pays itself"):
        solshop.check(seller, challenge, payload(solshop.signed(built, key)))


@pytest.mark.guard("T05")
def test_the_source_must_be_who_pays(case: Case) -> None:
    """The address itself, or its DID on this network; nobody else, and not on another network."""
    raw = case.shop.signed(case.good, case.payer)
    network = case.seller.config.asset.network
    for source in (None, case.payer.address, f"did:pkh:{network}:{case.payer.address}"):
        case.shop.check(case.seller, case.challenge, payload(raw), source)
    mainnet = "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"
    for source in (fresh_key().address, f"did:pkh:{mainnet}:{case.payer.address}", "did:key:z6Mk"):
        with pytest.raises(VerificationFailed, match="source"):
            case.shop.check(case.seller, case.challenge, payload(raw), source)


@pytest.mark.guard("T05", "T35")
def test_a_transaction_that_is_there_already_pays_only_the_challenge_it_names(solshop: SolanaShop) -> None:
    """With the reference of this challenge it is this payment; without, it could be any other."""
    named, nameless = solshop.seller(), solshop.seller(reference=False)
    for plain, tried in ((named, True), (nameless, True), (nameless, False)):
        seller = replace(plain, config=replace(plain.config, simulate=tried))
        challenge = solshop.challenge(seller)
        raw = raw_of(solshop.pay(solshop.payer(), challenge))
        solshop.chain.rpc("sendTransaction", b64encode(raw).decode(), {"encoding": "base64"})
        checked = solshop.check(seller, challenge, payload(raw))
        if seller.config.reference:
            assert isinstance(solshop.settle(seller, solshop.prepare(seller, checked)), Settled)
        else:
            with pytest.raises(VerificationFailed, match="on the chain already"):
                solshop.prepare(seller, checked)


@pytest.mark.guard("T05")
def test_a_sponsored_transaction_that_is_there_already_pays_nothing_else(solshop: SolanaShop) -> None:
    """Another process of the same sponsor may have sent it, for another challenge of equal terms."""
    seller, _ = solshop.sponsored(reference=False)
    one, other = solshop.challenge(seller), solshop.challenge(seller)
    shown = solshop.pay(solshop.payer(), one)
    assert isinstance(solshop.through(seller, one, shown), Settled)
    with pytest.raises(VerificationFailed, match="on the chain already"):
        solshop.prepare(seller, solshop.check(seller, other, shown.payload))


@pytest.mark.spec("SCHG-119", "SCHG-193")
@pytest.mark.parametrize("simulate", [True, False])
def test_a_stale_blockhash_is_refused_before_anything_is_sent(solshop: SolanaShop, simulate: bool) -> None:
    """The payer may sign a fresh one."""
    seller = solshop.seller(simulate=simulate)
    challenge = solshop.challenge(seller)
    shown = solshop.pay(solshop.payer(), challenge)
    checked = solshop.check(seller, challenge, shown.payload)
    solshop.chain.running.expire_blockhashes()
    with pytest.raises(VerificationFailed, match="blockhash"):
        solshop.prepare(seller, checked)


@pytest.mark.spec("SCHG-119")
def test_a_payment_that_would_fail_is_not_broadcast(solshop: SolanaShop) -> None:
    """The recipient's account was closed meanwhile: the payer keeps its fee."""
    seller = solshop.seller()
    challenge = solshop.challenge(seller)
    checked = solshop.check(seller, challenge, solshop.pay(solshop.payer(), challenge).payload)
    solshop.wipe(solshop.ata(seller.config.recipient))
    with pytest.raises(VerificationFailed, match="would fail"):
        solshop.prepare(seller, checked)


@pytest.mark.spec("CHG-009", "SCHG-051", "SCHG-052", "SCHG-053", "SCHG-054", "SCHG-059", "SCHG-061", "SCHG-109")
@pytest.mark.parametrize(
    ("payload_", "error", "word"),
    [
        ({}, MalformedCredential, "type"),
        ({"type": "hash"}, MalformedCredential, "type"),
        ({"type": None, "transaction": ""}, MalformedCredential, "type"),
        ({"type": "transaction"}, MalformedCredential, "base64"),
        ({"type": "transaction", "transaction": 1}, MalformedCredential, "base64"),
        ({"type": "transaction", "transaction": ""}, MalformedCredential, "base64"),
        ({"type": "transaction", "transaction": "AAA"}, MalformedCredential, "base64"),
        ({"type": "transaction", "transaction": "AAAA_-=="}, MalformedCredential, "base64"),
        ({"type": "transaction", "transaction": "AB=="}, MalformedCredential, "base64"),
        ({"type": "transaction", "transaction": "A" * 1648}, MalformedCredential, "1232"),
        ({"type": "transaction", "transaction": "AAAA"}, VerificationFailed, "transaction"),
        ({"type": "signature"}, MalformedCredential, "signature"),
        ({"type": "signature", "signature": "1" * 87}, MalformedCredential, "signature"),
        ({"type": "signature", "signature": 5}, MalformedCredential, "signature"),
        ({"type": "bundle", "transactions": ["AAAA"]}, VerificationFailed, "bundle"),
    ],
)
def test_a_payload_that_is_none_is_refused(
    solshop: SolanaShop, payload_: dict[str, Any], error: type[Exception], word: str
) -> None:
    """Malformed where it can't be read, and a bundle is for charges that we don't make."""
    seller = solshop.seller()
    with pytest.raises(error, match=word):
        solshop.check(seller, solshop.challenge(seller), payload_)


def test_a_seller_that_only_takes_signatures_takes_no_transaction(solshop: SolanaShop) -> None:
    """Modes are the seller's to choose."""
    seller = solshop.seller(modes=("push",))
    challenge = solshop.challenge(seller)
    shown = solshop.pay(solshop.payer(), challenge)
    assert read_transaction(raw_of(shown)).unsigned == ()
    with pytest.raises(VerificationFailed, match="pull"):
        solshop.check(seller, challenge, shown.payload)
