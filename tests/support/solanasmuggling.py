"""An honest transaction that asks to be sponsored, and every way to smuggle something past the sponsor with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from solders.message import MessageAddressTableLookup, MessageHeader, MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey

from coinslot.chains.solana.ata import build_create_idempotent, derive_ata
from coinslot.chains.solana.instruction import Instruction, readonly, signer, writable
from coinslot.chains.solana.memo import Memo, build_memo
from coinslot.chains.solana.message import build_message, read_transaction, sign_partially
from coinslot.chains.solana.programs import (
    ATA_PROGRAM,
    SYSTEM_PROGRAM,
    TOKEN_PROGRAM,
)
from coinslot.chains.solana.signature import Key
from coinslot.chains.solana.token import TransferChecked, build_transfer_checked
from coinslot.core.challenge import Challenge
from coinslot.methods.solana.charge_seller import SolanaChargeSeller
from coinslot.methods.solana.terms import SolanaTerms
from coinslot.methods.solana.tokens import USDC
from coinslot.methods.solana.transaction.build import payment_instructions
from support.solanashop import DOLLAR, SolanaShop, fresh_key, payload

NONCE = "SysvarRecentB1ockHashes11111111111111111111"


UNITS = (150_000, 1_000)


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
    challenge = shop.challenge(seller, splits=((marked, dollars(50_000)), (unmarked, dollars(25_000))))
    shop.chain.fund(sponsor.address, DOLLAR, "USDC")
    return Case(shop, seller, challenge, sponsor, shop.account(100), shop.account(), marked, unmarked)


def dollars(units: int) -> Decimal:
    return Decimal(units) / DOLLAR


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


def create(case: Case, owner: str, mint: str = USDC, program: str = TOKEN_PROGRAM, funder: str = "") -> Instruction:
    return build_create_idempotent(funder or case.sponsor.address, owner, mint, program)


def nonce_advance(case: Case) -> Instruction:
    accounts = (writable(case.thief.address), readonly(NONCE), signer(case.payer.address))
    return Instruction(SYSTEM_PROGRAM, accounts, (4).to_bytes(4, "little"))


def system(kind: int, rest: bytes, *accounts: Any) -> Instruction:
    return Instruction(SYSTEM_PROGRAM, accounts, kind.to_bytes(4, "little") + rest)
