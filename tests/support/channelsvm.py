"""The test channel program on a bare LiteSVM: parties, tokens, and every instruction built by hand.

The bytes are written here again, from the published interface, so that a mistake in the product's own builders can't
hide behind the same mistake in the program's tests.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest
from solders.account import Account
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.clock import Clock
from solders.compute_budget import set_compute_unit_limit
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.transaction import Transaction, VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata, TransactionMetadata

from coinslot.devnet.channels.solana.program import PROGRAM_ID, TREASURY_OWNER, elf
from coinslot.devnet.svm.apart import Apart

PROGRAM = Pubkey.from_string(PROGRAM_ID)
TREASURY = Pubkey.from_string(TREASURY_OWNER)
SPL = Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
T22 = Pubkey.from_string("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
TOKEN_PROGRAMS = {"spl": SPL, "2022": T22}
ATA = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
SYSTEM = Pubkey.default()
RENT = Pubkey.from_string("SysvarRent111111111111111111111111111111111")
INSTRUCTIONS = Pubkey.from_string("Sysvar1nstructions1111111111111111111111111")
ED25519 = Pubkey.from_string("Ed25519SigVerify111111111111111111111111111")
LOOKUP_TABLES = Pubkey.from_string("AddressLookupTab1e1111111111111111111111111")
EVENT_AUTHORITY = Pubkey.find_program_address([b"event_authority"], PROGRAM)[0]

START_SLOT = 10_000
START_S = 1_800_000_000
GRACE_S = 900
WINDOW = 1500
LAMPORTS = 10**10
MOST_COMPUTE = 1_400_000  # units, of a transaction
DEPOSIT = 1_000_000
OPEN, SEALED, CLOSING, DISTRIBUTED = range(4)
READY, FROZEN = 1, 2  # states of a token account

Split = tuple[Pubkey, int]


class Refused(Exception):
    """A transaction failed. `code` is the program's own number, or None with the chain's word in `why`."""

    def __init__(self, code: int | None, why: str, index: int | None) -> None:
        super().__init__(why if code is None else f"{code} ({why})")
        self.code, self.why, self.index = code, why, index


@dataclass(frozen=True)
class Done:
    """A transaction that succeeded: what it cost to compute, and the events of our program."""

    units: int
    events: tuple[bytes, ...]


@dataclass(frozen=True)
class State:
    """A channel account, read."""

    status: int
    deposit: int
    settled: int
    paid_out: int
    closure_started_at: int
    withdrawn_at: int


def ata(owner: Pubkey, mint: Pubkey, program: Pubkey) -> Pubkey:
    """The associated token account of an owner."""
    return Pubkey.find_program_address([bytes(owner), bytes(program), bytes(mint)], ATA)[0]


def mint_bytes(authority: Pubkey, extensions: bytes = b"") -> bytes:
    """A mint with 6 decimals whose mint and freeze authority is one key, in the layout of both token programs."""
    base = struct.pack("<I32sQBBI32s", 1, bytes(authority), 2**63, 6, 1, 1, bytes(authority))
    return base + bytes(83) + b"\x01" + extensions if extensions else base


def account_bytes(mint: Pubkey, owner: Pubkey, units: int, state: int = READY, extensions: bytes = b"") -> bytes:
    """A token account in the layout of both token programs."""
    base = bytes(mint) + bytes(owner) + struct.pack("<Q", units) + bytes(36) + bytes([state]) + bytes(56)
    return base + b"\x02" + extensions if extensions else base


def extension(kind: int, length: int = 0) -> bytes:
    """One Token-2022 extension of so many zero bytes."""
    return struct.pack("<HH", kind, length) + bytes(length)


def read(key: Pubkey) -> AccountMeta:
    """An account that is only read."""
    return AccountMeta(key, False, False)


def write(key: Pubkey) -> AccountMeta:
    """An account that is written."""
    return AccountMeta(key, False, True)


def signs(meta: AccountMeta) -> AccountMeta:
    """The same account, signing."""
    return AccountMeta(meta.pubkey, True, meta.is_writable)


def call(number: int, data: bytes, *accounts: AccountMeta) -> Instruction:
    """An instruction of the channel program."""
    return Instruction(PROGRAM, bytes([number]) + data, list(accounts))


def preimage(splits: tuple[Split, ...]) -> bytes:
    """What `open` hashes and `distribute` reveals."""
    entries = b"".join(bytes(to) + struct.pack("<H", bps) for to, bps in splits)
    return struct.pack("<I", len(splits)) + entries


def ed25519(key: Keypair, message: bytes, offsets: tuple[int, ...] | None = None) -> Instruction:
    """The chain's signature check, in the one form that the program accepts unless `offsets` says another."""
    fields = offsets or (48, 0xFFFF, 16, 0xFFFF, 112, len(message), 0xFFFF)
    data = struct.pack("<BB7H", 1, 0, *fields) + bytes(key.pubkey()) + bytes(key.sign_message(message)) + message
    return Instruction(ED25519, data, [])


@dataclass(frozen=True)
class Opening:
    """A channel and its parties: everything that any instruction about it needs."""

    payer: Keypair
    rent_payer: Keypair
    payee: Keypair
    signer: Keypair
    mint: Pubkey
    program: Pubkey
    salt: int = 7
    deposit: int = DEPOSIT
    grace_s: int = GRACE_S
    open_slot: int = START_SLOT
    splits: tuple[Split, ...] = ()

    @property
    def seeds(self) -> list[bytes]:
        """Of the channel's address."""
        parties = (self.payer.pubkey(), self.payee.pubkey(), self.mint, self.signer.pubkey())
        return [b"channel", *map(bytes, parties), struct.pack("<Q", self.salt), struct.pack("<Q", self.open_slot)]

    @property
    def address(self) -> Pubkey:
        """The channel account."""
        return Pubkey.find_program_address(self.seeds, PROGRAM)[0]

    def tokens(self, owner: Pubkey) -> Pubkey:
        """The token account of an owner, in the channel's token."""
        return ata(owner, self.mint, self.program)

    @property
    def escrow(self) -> Pubkey:
        """Where the deposit lies."""
        return self.tokens(self.address)

    def open(self) -> Instruction:
        """Instruction 1."""
        data = struct.pack("<QQIQ", self.salt, self.deposit, self.grace_s, self.open_slot) + preimage(self.splits)
        payer = self.payer.pubkey()
        return call(
            1,
            data,
            signs(write(payer)),
            signs(write(self.rent_payer.pubkey())),
            read(self.payee.pubkey()),
            read(self.mint),
            read(self.signer.pubkey()),
            write(self.address),
            write(self.tokens(payer)),
            write(self.escrow),
            *map(read, (self.program, SYSTEM, RENT, ATA, EVENT_AUTHORITY, PROGRAM)),
        )

    def voucher(self, units: int, expires_at: int = 0) -> bytes:
        """The 50 bytes that the authorized signer signs."""
        return b"\x56\x01" + bytes(self.address) + struct.pack("<Qq", units, expires_at)

    def check(self, units: int, expires_at: int = 0) -> Instruction:
        """The signature check that goes before a settlement."""
        return ed25519(self.signer, self.voucher(units, expires_at))

    def settle(self) -> Instruction:
        """Instruction 2."""
        return call(2, b"", write(self.address), read(INSTRUCTIONS))

    def top_up(self, units: int) -> Instruction:
        """Instruction 3."""
        payer = self.payer.pubkey()
        accounts = (write(self.address), write(self.tokens(payer)), write(self.escrow), read(self.mint))
        return call(3, struct.pack("<Q", units), signs(write(payer)), *accounts, read(self.program))

    def settle_and_seal(self, has_voucher: int = 0) -> Instruction:
        """Instruction 4."""
        payee = signs(read(self.payee.pubkey()))
        return call(4, bytes([has_voucher]), payee, write(self.address), read(INSTRUCTIONS))

    def request_close(self) -> Instruction:
        """Instruction 5."""
        return call(5, b"", signs(read(self.payer.pubkey())), write(self.address))

    def seal(self) -> Instruction:
        """Instruction 6."""
        return call(6, b"", write(self.address))

    def distribute(self, treasury: Pubkey = TREASURY) -> Instruction:
        """Instruction 7."""
        payer = self.payer.pubkey()
        written = (self.address, payer, self.rent_payer.pubkey(), self.escrow)
        paid = map(self.tokens, (payer, self.payee.pubkey(), treasury))
        fixed = map(read, (self.mint, self.program, EVENT_AUTHORITY, PROGRAM))
        tail = (write(self.tokens(to)) for to, _ in self.splits)
        return call(7, preimage(self.splits), *map(write, written), *map(write, paid), *fixed, *tail)

    def withdraw(self) -> Instruction:
        """Instruction 8."""
        payer = self.payer.pubkey()
        accounts = map(write, (self.address, self.escrow, self.tokens(payer)))
        return call(8, b"", signs(read(payer)), *accounts, read(self.mint), read(self.program))

    def reclaim(self) -> Instruction:
        """Instruction 9."""
        return call(9, b"", write(self.address), write(self.rent_payer.pubkey()))


@dataclass
class Svm:
    """A chain of its own with the channel program, a crank that pays fees, and the treasury."""

    chain: LiteSVM = field(default_factory=LiteSVM)
    apart: Apart = field(default_factory=Apart)
    crank: Keypair = field(default_factory=Keypair)
    treasury: Pubkey = TREASURY

    def __post_init__(self) -> None:
        """Install the program and set the clock."""
        self.chain.add_program(PROGRAM, elf(str(self.treasury)))
        self.chain.airdrop(self.crank.pubkey(), 10**13)
        self.slot, self.now_s = START_SLOT, START_S
        self.at(START_SLOT, START_S)

    def at(self, slot: int, now_s: int) -> None:
        """Set the clock."""
        self.slot, self.now_s = slot, now_s
        self.chain.set_clock(Clock(slot, 0, 0, 0, now_s))

    def later(self, slots: int = 0, seconds: int = 0) -> None:
        """Move the clock on."""
        self.at(self.slot + slots, self.now_s + seconds)

    def person(self) -> Keypair:
        """Somebody with lamports."""
        key = Keypair()
        self.chain.airdrop(key.pubkey(), LAMPORTS)
        return key

    def put(self, at: Pubkey, owner: Pubkey, data: bytes) -> None:
        """Place an account."""
        self.chain.set_account(at, Account(10**7, data, owner))

    def mint(self, program: Pubkey, extensions: bytes = b"") -> Pubkey:
        """A new token; the crank may mint and freeze it."""
        key = Keypair().pubkey()
        self.put(key, program, mint_bytes(self.crank.pubkey(), extensions))
        return key

    def hold(self, of: Opening, owner: Pubkey, units: int = 0, state: int = READY, extensions: bytes = b"") -> Pubkey:
        """Give an owner a token account with so many units."""
        at = of.tokens(owner)
        self.put(at, of.program, account_bytes(of.mint, owner, units, state, extensions))
        return at

    def channel(self, program: Pubkey, **terms: object) -> Opening:
        """Parties with token accounts, and the terms of a channel between them, not opened yet."""
        payer, rent_payer, payee, signer = (self.person() for _ in range(4))
        base = Opening(payer, rent_payer, payee, signer, self.mint(program), program, open_slot=self.slot)
        planned = replace(base, **terms)  # type: ignore[arg-type]
        self.hold(planned, planned.payer.pubkey(), min(max(planned.deposit, DEPOSIT) * 2, 2**64 - 1))
        for owner in (planned.payee.pubkey(), self.treasury, *(to for to, _ in planned.splits)):
            self.hold(planned, owner)
        return planned

    def opened(self, program: Pubkey, **terms: object) -> Opening:
        """An open channel."""
        planned = self.channel(program, **terms)
        self.send(planned.open(), planned.payer, planned.rent_payer)
        return planned

    def send(self, *what: Instruction | Keypair) -> Done:
        """One transaction of these instructions, signed by these keys and the crank. Raises Refused."""
        instructions = [part for part in what if isinstance(part, Instruction)]
        keys = {key.pubkey(): key for key in what if isinstance(key, Keypair)} | {self.crank.pubkey(): self.crank}
        blockhash = self._fresh_blockhash()
        message = Message.new_with_blockhash(instructions, self.crank.pubkey(), blockhash)
        return self._run(Transaction(list(keys.values()), message, blockhash))

    def send_with_table(self, what: Instruction) -> Done:
        """One instruction with more accounts than a transaction has room for: they come out of a lookup table."""
        addresses = [meta.pubkey for meta in what.accounts]
        key = Keypair().pubkey()
        state = struct.pack("<IQQBB32sH", 1, 2**64 - 1, self.slot - 1, 0, 1, bytes(key), 0)
        self.put(key, LOOKUP_TABLES, state + b"".join(map(bytes, addresses)))
        table = AddressLookupTableAccount(key, addresses)
        blockhash = self._fresh_blockhash()
        budget = set_compute_unit_limit(MOST_COMPUTE)
        message = MessageV0.try_compile(self.crank.pubkey(), [budget, what], [table], blockhash)
        return self._run(VersionedTransaction(message, [self.crank]))

    def _fresh_blockhash(self) -> Hash:
        """A new one, so that the same transaction can come twice."""
        self.chain.expire_blockhash()
        return self.chain.latest_blockhash()

    def _run(self, transaction: Transaction | VersionedTransaction) -> Done:
        """Send it, and read what came of it."""
        result = self.apart(self.chain.send_transaction, transaction)
        if isinstance(result, FailedTransactionMetadata):
            raise _refused(result)
        assert isinstance(result, TransactionMetadata)
        keys_of = transaction.message.account_keys
        inner = [made.instruction() for group in result.inner_instructions() for made in group]
        # programs never come out of a table; what does has an index beyond the message's own keys
        named = [one for one in inner if one.program_id_index < len(keys_of)]
        events = tuple(bytes(one.data) for one in named if keys_of[one.program_id_index] == PROGRAM)
        return Done(result.compute_units_consumed(), events)

    def settle(self, of: Opening, units: int) -> Done:
        """Settle with a good voucher."""
        return self.send(of.check(units), of.settle())

    def sealed(self, of: Opening, units: int = 0) -> Opening:
        """The channel, sealed by its payee with so much settled."""
        if units:
            self.send(of.check(units), of.settle_and_seal(1), of.payee)
        else:
            self.send(of.settle_and_seal(), of.payee)
        return of

    def state(self, of: Opening) -> State | None:
        """The channel account, or None when it is gone."""
        account = self.chain.get_account(of.address)
        if account is None or not account.data:
            return None
        data = bytes(account.data)
        return State(data[3], *struct.unpack_from("<QQQqq", data, 12))

    def edit(self, of: Opening, at: int, new: bytes) -> None:
        """Overwrite bytes of the channel account, past any rule of the program."""
        account = self.chain.get_account(of.address)
        assert account is not None
        data = bytearray(account.data)
        data[at : at + len(new)] = new
        self.chain.set_account(of.address, Account(account.lamports, bytes(data), account.owner))

    def units(self, of: Opening, owner: Pubkey) -> int:
        """What an owner holds of the channel's token."""
        account = self.chain.get_account(of.tokens(owner))
        return struct.unpack_from("<Q", bytes(account.data), 64)[0] if account and account.data else 0

    def lamports(self, key: Pubkey) -> int:
        """What a key holds of the chain's own money."""
        return self.chain.get_balance(key) or 0


def _refused(result: FailedTransactionMetadata) -> Refused:
    """The failure, taken apart."""
    error = result.err()
    inner = getattr(error, "err", error)
    code = getattr(inner, "code", None)
    return Refused(code if isinstance(code, int) else None, str(inner), getattr(error, "index", None))


@contextmanager
def refused(code: int) -> Iterator[None]:
    """The transaction inside is refused with exactly this number of the program."""
    with pytest.raises(Refused) as caught:
        yield
    assert caught.value.code == code, caught.value


@contextmanager
def refused_by_chain(word: str) -> Iterator[None]:
    """The transaction inside is refused in the chain's own words."""
    with pytest.raises(Refused) as caught:
        yield
    assert caught.value.code is None, caught.value
    assert word in caught.value.why


def replace_account(what: Instruction, index: int, key: Pubkey) -> Instruction:
    """The instruction with another account at one place."""
    accounts = list(what.accounts)
    accounts[index] = AccountMeta(key, accounts[index].is_signer, accounts[index].is_writable)
    return Instruction(what.program_id, what.data, accounts)


def unsigned(what: Instruction, index: int = 0) -> Instruction:
    """The instruction without the signature of one account."""
    accounts = list(what.accounts)
    accounts[index] = AccountMeta(accounts[index].pubkey, False, accounts[index].is_writable)
    return Instruction(what.program_id, what.data, accounts)


def with_data(what: Instruction, data: bytes) -> Instruction:
    """The instruction with other data."""
    return Instruction(what.program_id, data, what.accounts)


def distribution_hash(splits: tuple[Split, ...]) -> bytes:
    """The commitment of a channel to its splits."""
    return hashlib.sha256(preimage(splits)).digest()
