"""A fee sponsor can't be drained: nothing is smuggled past it, and what it takes costs it no more than it allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from solders.message import MessageAddressTableLookup, MessageHeader, MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey

from coinslot.chains.solana.ata import build_create_idempotent, derive_ata
from coinslot.chains.solana.budget import build_unit_limit, build_unit_price
from coinslot.chains.solana.ed25519 import SignedMessage, build_ed25519
from coinslot.chains.solana.instruction import Instruction, readonly, signer, writable, writable_signer
from coinslot.chains.solana.memo import Memo, build_memo
from coinslot.chains.solana.message import build_message, read_transaction, sign_partially
from coinslot.chains.solana.programs import (
    ATA_PROGRAM,
    BUDGET_PROGRAM,
    SYSTEM_PROGRAM,
    TOKEN_2022_PROGRAM,
    TOKEN_PROGRAM,
)
from coinslot.chains.solana.signature import Key
from coinslot.chains.solana.system import build_transfer
from coinslot.chains.solana.token import CloseAccount, TransferChecked, build_close_account, build_transfer_checked
from coinslot.core.challenge import Challenge
from coinslot.drive import RealWorld
from coinslot.errors import ChainError, Problem, RailUnavailable, VerificationFailed
from coinslot.intents.charge import Settled
from coinslot.method import Extras
from coinslot.methods.solana.charge_seller import SolanaChargeSeller
from coinslot.methods.solana.terms import SolanaTerms
from coinslot.methods.solana.tokens import PYUSD, USDC
from coinslot.methods.solana.transaction.build import payment_instructions
from support.solanashop import DOLLAR, SOL, SolanaShop, fresh_key, payload
from support.svm import SvmChain

NONCE = "SysvarRecentB1ockHashes11111111111111111111"
UNITS = (150_000, 1_000)


@pytest.fixture(scope="module")
def hall(shared_svm: SvmChain) -> Iterator[SolanaShop]:
    """One chain for all of this file."""
    with httpx.Client() as client:
        yield SolanaShop(shared_svm, RealWorld(client))


@dataclass(frozen=True)
class Case:
    """A sponsored charge of a quarter: most to the recipient, and two splits, of which one gets its account created."""

    shop: SolanaShop
    seller: SolanaChargeSeller
    challenge: Challenge
    sponsor: Key
    payer: Key
    thief: Key
    marked: str
    unmarked: str

    @property
    def terms(self) -> SolanaTerms:
        """What is asked."""
        terms = self.seller.terms(self.challenge.request_object())
        assert isinstance(terms, SolanaTerms)
        return terms

    @property
    def good(self) -> list[Instruction]:
        """What an honest payer signs."""
        return list(payment_instructions(self.terms, self.payer.address, TOKEN_PROGRAM, UNITS))

    def signed(self, instructions: list[Instruction], *keys: Key, payer: str | None = None) -> bytes:
        """By the payer, and whoever else."""
        message = build_message(payer or self.sponsor.address, instructions, self.shop.chain.blockhash())
        return sign_partially(message, [self.payer, *keys])

    def ata(self, who: Key | str, mint: str = USDC, program: str = TOKEN_PROGRAM) -> str:
        """Somebody's token account."""
        return derive_ata(who if isinstance(who, str) else who.address, mint, program)

    def check(self, raw: bytes) -> Any:
        """By the seller."""
        return self.shop.check(self.seller, self.challenge, payload(raw))


def make(shop: SolanaShop, **settings: Any) -> Case:
    """A fresh case on a chain."""
    seller, sponsor = shop.sponsored(create_split_accounts=True, **settings)
    marked, unmarked = fresh_key().address, shop.payee()
    challenge = shop.challenge(seller, splits=((marked, _dollars(50_000)), (unmarked, _dollars(25_000))))
    shop.chain.fund(sponsor.address, DOLLAR, "USDC")
    return Case(shop, seller, challenge, sponsor, shop.account(100), shop.account(), marked, unmarked)


def _dollars(units: int) -> Decimal:
    return Decimal(units) / DOLLAR


@pytest.fixture(scope="module")
def case(hall: SolanaShop) -> Case:
    """The same for all vectors: none of them gets anywhere."""
    return make(hall)


def inserted(*added: Callable[[Case], Instruction], at: int | None = None) -> Callable[[Case], bytes]:
    """The honest transaction with more instructions at its end, or elsewhere; the thief signs where it must."""

    def build(case: Case) -> bytes:
        instructions = case.good
        for made in added:
            instructions.insert(len(instructions) if at is None else at, made(case))
        signs = any(each.signer and each.address == case.thief.address for one in instructions for each in one.accounts)
        return case.signed(instructions, *([case.thief] if signs else []))

    return build


def swapped(choose: Callable[[Instruction], bool], change: Callable[[Case, Instruction], Instruction]) -> Any:
    """The honest transaction with its first such instruction changed."""

    def build(case: Case) -> bytes:
        instructions = case.good
        place = next(index for index, each in enumerate(instructions) if choose(each))
        instructions[place] = change(case, instructions[place])
        return case.signed(instructions)

    return build


def is_transfer(instruction: Instruction) -> bool:
    """A token transfer."""
    return instruction.program == TOKEN_PROGRAM


def is_create(instruction: Instruction) -> bool:
    """The creation of a token account."""
    return instruction.program == ATA_PROGRAM


def token(case: Case, data: bytes, *accounts: Any) -> Instruction:
    """An instruction of the token program."""
    return Instruction(TOKEN_PROGRAM, accounts, data)


def sponsors_transfer(case: Case) -> Instruction:
    """The sponsor's own dollars, to the thief."""
    return build_transfer_checked(
        TransferChecked(TOKEN_PROGRAM, case.ata(case.sponsor), USDC, case.ata(case.thief), case.sponsor.address, 1, 6)
    )


def sponsor_pays(case: Case, instruction: Instruction) -> Instruction:
    """The payment itself out of the sponsor's dollars."""
    _, mint, destination, _ = instruction.accounts
    return replace(
        instruction,
        accounts=(writable(case.ata(case.sponsor)), mint, destination, signer(case.sponsor.address)),
    )


def all_from_sponsor(case: Case) -> bytes:
    """Every leg out of the sponsor's dollars; the payer only signs a memo, to be a signer at all."""
    instructions = [sponsor_pays(case, each) if is_transfer(each) else each for each in case.good]
    memo = build_memo(Memo(case.terms.external_id or "", (case.payer.address,)))
    instructions = [each for each in instructions if each.program != memo.program] + [memo]
    return case.signed(instructions)


def with_lookup(case: Case) -> bytes:
    """The memo's account comes from a table."""
    made = _message(case, case.good)
    lookups = [MessageAddressTableLookup(Pubkey.from_string(case.thief.address), b"\x01", b"")]
    return _raw(case, _with(made, address_table_lookups=lookups))


def with_idle_account(case: Case) -> bytes:
    """A writable account that no instruction takes."""
    made = _message(case, case.good)
    readonly_count = made.header.num_readonly_unsigned_accounts
    at = len(made.account_keys) - readonly_count
    keys = list(made.account_keys)
    keys.insert(at, Pubkey.from_string(case.ata(case.sponsor)))
    moved = [
        type(each)(
            each.program_id_index + (each.program_id_index >= at),
            each.data,
            bytes(place + (place >= at) for place in each.accounts),
        )
        for each in made.instructions
    ]
    return _raw(case, _with(made, account_keys=keys, instructions=moved))


def with_idle_reader(case: Case) -> bytes:
    """An account that no instruction takes, without any right."""
    made = _message(case, case.good)
    head = made.header
    more = MessageHeader(
        head.num_required_signatures, head.num_readonly_signed_accounts, head.num_readonly_unsigned_accounts + 1
    )
    keys = [*made.account_keys, Pubkey.from_string(case.thief.address)]
    return _raw(case, _with(made, header=more, account_keys=keys))


def with_written_mint(case: Case) -> bytes:
    """A right to write the mint, which a transfer only reads."""
    instructions = case.good
    place = next(index for index, each in enumerate(instructions) if is_transfer(each))
    source, mint, destination, authority = instructions[place].accounts
    instructions[place] = replace(
        instructions[place], accounts=(source, writable(mint.address), destination, authority)
    )
    return case.signed(instructions)


def unsigned(case: Case) -> bytes:
    """Without the payer's signature."""
    message = build_message(case.sponsor.address, case.good, case.shop.chain.blockhash())
    return sign_partially(message, [])


def signed_by_another(case: Case) -> bytes:
    """The thief's signature in the payer's place."""
    raw = bytearray(case.signed(case.good))
    message = read_transaction(bytes(raw)).message
    raw[65:129] = case.thief.sign(message)
    return bytes(raw)


def filled_slot(case: Case) -> bytes:
    """Something stands in the sponsor's place already."""
    raw = bytearray(case.signed(case.good))
    raw[1:65] = bytes(range(64))
    return bytes(raw)


def other_order(case: Case) -> bytes:
    """The thief pays the fee, and the sponsor signs besides."""
    memo = build_memo(Memo(case.terms.external_id or "", (case.sponsor.address,)))
    instructions = [each for each in case.good if each.program != memo.program and not is_create(each)] + [memo]
    return case.signed(instructions, case.thief, payer=case.thief.address)


def _message(case: Case, instructions: list[Instruction]) -> MessageV0:
    message = MessageV0.from_bytes(build_message(case.sponsor.address, instructions, case.shop.chain.blockhash())[1:])
    assert isinstance(message, MessageV0)
    return message


def _with(message: MessageV0, **changes: Any) -> MessageV0:
    parts: dict[str, Any] = {
        "header": message.header,
        "account_keys": message.account_keys,
        "recent_blockhash": message.recent_blockhash,
        "instructions": message.instructions,
        "address_table_lookups": message.address_table_lookups,
    } | changes
    return MessageV0(**parts)


def _raw(case: Case, message: MessageV0) -> bytes:
    return sign_partially(to_bytes_versioned(message), [case.payer])


def _create(case: Case, owner: str, mint: str = USDC, program: str = TOKEN_PROGRAM, funder: str = "") -> Instruction:
    return build_create_idempotent(funder or case.sponsor.address, owner, mint, program)


def _nonce_advance(case: Case) -> Instruction:
    accounts = (writable(case.thief.address), readonly(NONCE), signer(case.payer.address))
    return Instruction(SYSTEM_PROGRAM, accounts, (4).to_bytes(4, "little"))


def _system(kind: int, rest: bytes, *accounts: Any) -> Instruction:
    return Instruction(SYSTEM_PROGRAM, accounts, kind.to_bytes(4, "little") + rest)


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
            lambda c: _system(
                0,
                SOL.to_bytes(8, "little") + bytes(8) + bytes(Pubkey.from_string(c.thief.address)),
                writable_signer(c.sponsor.address),
                writable_signer(c.thief.address),
            )
        ),
        "not the data",
    ),
    "the sponsor's account given away": (
        inserted(lambda c: _system(1, bytes(Pubkey.from_string(TOKEN_PROGRAM)), writable_signer(c.sponsor.address))),
        "not the data",
    ),
    "space in the sponsor's account": (
        inserted(lambda c: _system(8, (100).to_bytes(8, "little"), writable_signer(c.sponsor.address))),
        "not the data",
    ),
    "a durable nonce": (inserted(_nonce_advance, at=0), "not the data"),
    "a withdrawal from a nonce": (
        inserted(
            lambda c: _system(
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
    "an account for the payer": (inserted(lambda c: _create(c, c.payer.address)), "doesn't name"),
    "an account for the recipient": (inserted(lambda c: _create(c, c.terms.legs[0].recipient)), "doesn't name"),
    "an account for an unmarked split": (inserted(lambda c: _create(c, c.unmarked)), "doesn't name"),
    "an account for a stranger": (inserted(lambda c: _create(c, fresh_key().address)), "doesn't name"),
    "an account of another token": (
        swapped(is_create, lambda c, _: _create(c, c.marked, PYUSD, TOKEN_2022_PROGRAM)),
        "another token",
    ),
    "an account of another program": (
        swapped(is_create, lambda c, _: _create(c, c.marked, USDC, TOKEN_2022_PROGRAM)),
        "another token",
    ),
    "an account twice": (inserted(lambda c: _create(c, c.marked)), "created twice"),
    "an account at the payer's cost": (
        swapped(is_create, lambda c, _: _create(c, c.marked, funder=c.payer.address)),
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


@pytest.mark.spec("SCHG-030", "SCHG-057", "SCHG-085", "SCHG-086", "SCHG-159", "SCHG-192")
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
@pytest.mark.spec("SCHG-071", "SCHG-196")
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
    assert "feePayer" in seller.offer(_dollars(250_000), Extras())["methodDetails"]
    offer = solshop.offer(seller)
    assert "feePayer" not in offer["methodDetails"]
    assert "feePayerKey" not in offer["methodDetails"]
    challenge = solshop.challenge(seller, request=offer)
    assert isinstance(solshop.through(seller, challenge, solshop.pay(solshop.payer(), challenge)), Settled)


@pytest.mark.spec("SCHG-118")
@pytest.mark.guard("T34")
def test_a_payment_that_would_fail_is_never_sponsored(solshop: SolanaShop) -> None:
    """Its payer spent the money after signing: simulation refuses, and the sponsor pays nothing."""
    seller, sponsor = solshop.sponsored()
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


# --- fuzzing -------------------------------------------------------------------------------------


@st.composite
def changes(draw: st.DrawFn) -> list[tuple[str, int, int, int, int]]:
    """A few edits: what, where, and three numbers to choose by."""
    kinds = st.sampled_from(["duplicate", "remove", "move", "account", "role", "data", "insert", "program", "budget"])
    numbers = st.integers(0, 2**16)
    return draw(st.lists(st.tuples(kinds, numbers, numbers, numbers, numbers), min_size=1, max_size=4))


def _pool(case: Case) -> list[str]:
    owners = [case.sponsor.address, case.payer.address, case.thief.address, case.marked, case.unmarked]
    owners.append(case.terms.legs[0].recipient)
    return owners + [case.ata(each) for each in owners] + [USDC, SYSTEM_PROGRAM, TOKEN_PROGRAM, ATA_PROGRAM]


def _nasty(case: Case) -> list[Instruction]:
    return [
        build_transfer(case.sponsor.address, case.thief.address, SOL),
        build_transfer(case.payer.address, case.sponsor.address, 10),
        sponsors_transfer(case),
        _create(case, case.thief.address),
        _create(case, case.marked),
        build_close_account(
            CloseAccount(TOKEN_PROGRAM, case.ata(case.sponsor), case.thief.address, case.sponsor.address)
        ),
        build_memo(Memo("", ())),
        build_memo(Memo(case.terms.external_id or "")),
        build_unit_price(10**7),
        build_unit_limit(400_000),
        _nonce_advance(case),
    ]


def mutated(case: Case, edits: list[tuple[str, int, int, int, int]]) -> list[Instruction]:
    """The honest instructions, edited."""
    found, pool, nasty = case.good, _pool(case), _nasty(case)
    for kind, where, one, two, three in edits:
        if not found:
            break
        at = where % len(found)
        each = found[at]
        if kind == "duplicate":
            found.insert(one % (len(found) + 1), each)
        elif kind == "remove":
            found.pop(at)
        elif kind == "move":
            found.insert(one % len(found), found.pop(at))
        elif kind == "insert":
            found.insert(at, nasty[one % len(nasty)])
        elif kind == "program":
            found[at] = replace(each, program=pool[one % len(pool)])
        elif kind == "budget":
            found.append(build_unit_price(one * 1_000) if two % 2 else build_unit_limit(one * 20))
        elif kind == "data" and each.data:
            place = one % len(each.data)
            found[at] = replace(each, data=each.data[:place] + bytes((two % 256,)) + each.data[place + 1 :])
        elif each.accounts:
            place = one % len(each.accounts)
            old = each.accounts[place]
            if kind == "account":
                new = replace(old, address=pool[two % len(pool)])
            else:
                new = replace(old, signer=bool(two % 2), writable=bool(three % 2))
            found[at] = replace(each, accounts=(*each.accounts[:place], new, *each.accounts[place + 1 :]))
    return found


@pytest.fixture(scope="module")
def fuzzed(hall: SolanaShop) -> Case:
    """A case whose payer has enough for every example that gets through."""
    case = make(hall)
    hall.chain.fund(case.payer.address, 1000 * DOLLAR, "USDC")
    hall.chain.fund(case.sponsor.address, 1000 * SOL, "SOL")
    return case


@pytest.mark.guard("T30")
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(edits=changes())
@example(edits=[("move", 0, 1, 0, 0)])  # the order of what it may cost means nothing: this one gets through
@example(edits=[("remove", 0, 0, 0, 0)])  # so does one that bids nothing
def test_whatever_is_sponsored_pays_exactly_and_costs_no_more_than_allowed(
    fuzzed: Case, edits: list[tuple[str, int, int, int, int]]
) -> None:
    """However the honest transaction is edited: if it is taken at all, it does what was asked on the real SVM."""
    case, shop = fuzzed, fuzzed.shop
    config = case.seller.config
    assert config.sponsor is not None
    shop.chain.running.advance_slots(1)  # a blockhash of its own: the same bytes again would be the same payment
    try:
        instructions = mutated(case, edits)
        message = build_message(case.sponsor.address, instructions, shop.chain.blockhash())
        wanted = read_transaction(sign_partially(message, [])).signers
        keys = [key for key in (case.payer, case.thief) if key.address in wanted]
        checked = case.check(sign_partially(message, keys))
        prepared = shop.prepare(case.seller, checked)
    except (Problem, ChainError, ValueError):
        return
    legs = [(leg.recipient, leg.amount_units) for leg in case.terms.legs]
    before = [shop.held(recipient) for recipient, _ in legs]
    purse, gold = shop.held(case.sponsor.address, "SOL"), shop.held(case.sponsor.address)
    event("sponsored")
    outcome = shop.settle(case.seller, prepared)
    cost = purse - shop.held(case.sponsor.address, "SOL")
    assert cost <= config.sponsor.max_fee_lamports + config.sponsor.rent_lamports
    assert cost <= max(budget.units for budget in checked.budgets)
    assert shop.held(case.sponsor.address) == gold
    if isinstance(outcome, Settled):
        assert [shop.held(recipient) - had for (recipient, _), had in zip(legs, before, strict=True)] == [
            units for _, units in legs
        ]
