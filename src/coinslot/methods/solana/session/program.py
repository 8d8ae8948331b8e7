"""The ten instructions of the channel program, written and read to the last byte (SSES "Instructions").

     1 open            opens and funds a channel                    6 seal           freezes it after the grace period
     2 settle          raises what is settled, by a voucher         7 distribute     pays recipients, payee, and payer
     3 topUp           adds to the deposit                          8 withdrawPayer  gives the payer the rest
     4 settleAndSeal   the payee's end, with a voucher or none      9 reclaim        frees the account
     5 requestClose    the payer's wish to end                    228 emitEvent      the program's own, to itself

Every reader takes out of an instruction what is free in it, builds the instruction anew from that, and compares: so
whatever is derived (the channel, its escrow, token accounts, the event authority) is computed and never believed. The
program's id is always the caller's; a channel's money is moved by its own program only. T47
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from coinslot.chains.solana.address import is_on_curve
from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.instruction import (
    AccountMeta,
    Instruction,
    pack_u8,
    pack_u32,
    pack_u64,
    readonly,
    signer,
    unpack,
    writable,
    writable_signer,
)
from coinslot.chains.solana.programs import (
    ATA_PROGRAM,
    INSTRUCTIONS_SYSVAR,
    RENT_SYSVAR,
    SYSTEM_PROGRAM,
)
from coinslot.errors import BadTransaction, UsageError
from coinslot.methods.solana.session.channel import (
    ChannelAccount,
    Seeds,
    derive_channel,
    escrow_account,
    event_authority,
)
from coinslot.methods.solana.session.distribution import (
    Split,
    check_splits,
    distribution_hash,
    preimage,
    read_preimage,
)

_OPEN, _SETTLE, _TOP_UP, _SETTLE_AND_SEAL, _REQUEST_CLOSE = 1, 2, 3, 4, 5
_SEAL, _DISTRIBUTE, _WITHDRAW_PAYER, _RECLAIM, _EMIT_EVENT = 6, 7, 8, 9, 228
_OPEN_ACCOUNTS = 14
_OPEN_SPLITS_AT = 29
_DISTRIBUTE_ACCOUNTS = 11


@dataclass(frozen=True, slots=True)
class Open:
    """A channel opened: base units from the payer's token account, rent from `rent_payer`, who gets it back."""

    seeds: Seeds
    token_program: str
    rent_payer: str
    deposit_units: int
    grace_s: int
    splits: tuple[Split, ...] = ()


@dataclass(frozen=True, slots=True)
class Settle:
    """What a voucher says is settled; the voucher stands in the ed25519 instruction right before."""

    channel: str


@dataclass(frozen=True, slots=True)
class TopUp:
    """Base units added to an open channel by its payer."""

    channel: str
    payer: str
    mint: str
    token_program: str
    amount_units: int


@dataclass(frozen=True, slots=True)
class SettleAndSeal:
    """The payee's end of a channel; `has_voucher`: one stands in the ed25519 instruction right before."""

    channel: str
    payee: str
    has_voucher: bool


@dataclass(frozen=True, slots=True)
class RequestClose:
    """The payer asks to end a channel: from now the payee has the grace period to settle."""

    channel: str
    payer: str


@dataclass(frozen=True, slots=True)
class Seal:
    """Anybody freezes a channel whose grace period is over."""

    channel: str


@dataclass(frozen=True, slots=True)
class Distribute:
    """Anybody has what is settled paid out; on a sealed channel also the rest to the payer, and the escrow closed.

    `payee_account` and `treasury_account` are the token accounts of owners whom the instruction doesn't name.
    """

    channel: str
    payer: str
    rent_payer: str
    payee_account: str
    treasury_account: str
    mint: str
    token_program: str
    splits: tuple[Split, ...] = ()


@dataclass(frozen=True, slots=True)
class WithdrawPayer:
    """The payer takes what a sealed channel doesn't owe."""

    channel: str
    payer: str
    mint: str
    token_program: str


@dataclass(frozen=True, slots=True)
class Reclaim:
    """Anybody has the account of a drained channel freed; its rent goes back to who paid it."""

    channel: str
    rent_payer: str


@dataclass(frozen=True, slots=True)
class EmitEvent:
    """The program telling an event to itself, so that it stands in the chain's record; nobody else can."""

    event: bytes


def build_open(program: str, call: Open) -> Instruction:
    """Open a channel. Raises UsageError for what the program would refuse whatever the chain's state."""
    seeds = call.seeds
    channel = derive_channel(program, seeds)
    _require(call.deposit_units > 0, "the deposit of a channel is not zero")
    _require(call.grace_s > 0, "the grace period of a channel is not zero")
    _require(seeds.payer != seeds.payee, "payer and payee of a channel differ")
    _require(is_on_curve(seeds.authorized_signer), "no key exists for the authorized signer")  # T15
    check_splits(call.splits, channel)
    numbers = pack_u64(seeds.salt) + pack_u64(call.deposit_units) + pack_u32(call.grace_s) + pack_u64(seeds.open_slot)
    accounts = (
        writable_signer(seeds.payer),
        writable_signer(call.rent_payer),
        readonly(seeds.payee),
        readonly(seeds.mint),
        readonly(seeds.authorized_signer),
        writable(channel),
        writable(derive_ata(seeds.payer, seeds.mint, call.token_program)),
        writable(escrow_account(channel, seeds.mint, call.token_program)),
        readonly(call.token_program),
        readonly(SYSTEM_PROGRAM),
        readonly(RENT_SYSVAR),
        readonly(ATA_PROGRAM),
        readonly(event_authority(program)),
        readonly(program),
    )
    return _instruction(program, _OPEN, accounts, numbers + preimage(call.splits))


def read_open(program: str, instruction: Instruction) -> Open:
    """Exactly an open of the channel that its own parameters name. Raises BadTransaction."""
    addresses = _called(program, instruction, "open", _OPEN, _OPEN_ACCOUNTS)
    data = instruction.data
    payer, rent_payer, payee, mint, authorized_signer = addresses[:5]
    call = Open(
        Seeds(payer, payee, mint, authorized_signer, salt=unpack(data, 1, 8), open_slot=unpack(data, 21, 8)),
        token_program=addresses[8],
        rent_payer=rent_payer,
        deposit_units=unpack(data, 9, 8),
        grace_s=unpack(data, 17, 4),
        splits=read_preimage(data[_OPEN_SPLITS_AT:]),
    )
    _match("open", instruction, lambda: build_open(program, call))
    return call


def build_settle(program: str, call: Settle) -> Instruction:
    """Settle by a voucher; `voucher.build_voucher_instruction` stands right before. Raises UsageError."""
    return _instruction(program, _SETTLE, (writable(call.channel), readonly(INSTRUCTIONS_SYSVAR)))


def read_settle(program: str, instruction: Instruction) -> Settle:
    """Exactly a settle. Raises BadTransaction."""
    channel, _ = _called(program, instruction, "settle", _SETTLE, 2)
    call = Settle(channel)
    _match("settle", instruction, lambda: build_settle(program, call))
    return call


def build_top_up(program: str, call: TopUp) -> Instruction:
    """Add to a deposit. Raises UsageError."""
    _require(call.amount_units > 0, "a top-up is not zero")
    accounts = (
        writable_signer(call.payer),
        writable(call.channel),
        *_between(call.channel, call.payer, call.mint, call.token_program, payer_first=True),
    )
    return _instruction(program, _TOP_UP, accounts, pack_u64(call.amount_units))


def read_top_up(program: str, instruction: Instruction) -> TopUp:
    """Exactly a top-up out of the payer's own token account. Raises BadTransaction."""
    payer, channel, _, _, mint, token_program = _called(program, instruction, "topUp", _TOP_UP, 6)
    call = TopUp(channel, payer, mint, token_program, unpack(instruction.data, 1, 8))
    _match("topUp", instruction, lambda: build_top_up(program, call))
    return call


def build_settle_and_seal(program: str, call: SettleAndSeal) -> Instruction:
    """End a channel, the payee signing. Raises UsageError."""
    accounts = (signer(call.payee), writable(call.channel), readonly(INSTRUCTIONS_SYSVAR))
    return _instruction(program, _SETTLE_AND_SEAL, accounts, pack_u8(int(call.has_voucher)))


def read_settle_and_seal(program: str, instruction: Instruction) -> SettleAndSeal:
    """Exactly a settleAndSeal. Raises BadTransaction."""
    payee, channel, _ = _called(program, instruction, "settleAndSeal", _SETTLE_AND_SEAL, 3)
    call = SettleAndSeal(channel, payee, unpack(instruction.data, 1, 1) == 1)
    _match("settleAndSeal", instruction, lambda: build_settle_and_seal(program, call))
    return call


def build_request_close(program: str, call: RequestClose) -> Instruction:
    """Ask to end a channel, the payer signing. Raises UsageError."""
    return _instruction(program, _REQUEST_CLOSE, (signer(call.payer), writable(call.channel)))


def read_request_close(program: str, instruction: Instruction) -> RequestClose:
    """Exactly a requestClose. Raises BadTransaction."""
    payer, channel = _called(program, instruction, "requestClose", _REQUEST_CLOSE, 2)
    call = RequestClose(channel, payer)
    _match("requestClose", instruction, lambda: build_request_close(program, call))
    return call


def build_seal(program: str, call: Seal) -> Instruction:
    """Freeze a channel after its grace period. Raises UsageError."""
    return _instruction(program, _SEAL, (writable(call.channel),))


def read_seal(program: str, instruction: Instruction) -> Seal:
    """Exactly a seal. Raises BadTransaction."""
    (channel,) = _called(program, instruction, "seal", _SEAL, 1)
    call = Seal(channel)
    _match("seal", instruction, lambda: build_seal(program, call))
    return call


def distribute_of(
    channel: str, account: ChannelAccount, token_program: str, treasury_owner: str, splits: tuple[Split, ...]
) -> Distribute:
    """The distribution of a channel as the chain has it. Raises UsageError for splits that aren't the channel's own."""
    _require(distribution_hash(splits) == account.distribution_hash, "these are not the splits of this channel")
    seeds = account.seeds
    return Distribute(
        channel,
        seeds.payer,
        account.rent_payer,
        payee_account=derive_ata(seeds.payee, seeds.mint, token_program),
        treasury_account=derive_ata(treasury_owner, seeds.mint, token_program),
        mint=seeds.mint,
        token_program=token_program,
        splits=splits,
    )


def build_distribute(program: str, call: Distribute) -> Instruction:
    """Pay out. A token account that is missing forfeits its share: create it first. Raises UsageError."""
    check_splits(call.splits, call.channel)
    mint, token_program = call.mint, call.token_program
    accounts = (
        writable(call.channel),
        writable(call.payer),
        writable(call.rent_payer),
        writable(escrow_account(call.channel, mint, token_program)),
        writable(derive_ata(call.payer, mint, token_program)),
        writable(call.payee_account),
        writable(call.treasury_account),
        readonly(mint),
        readonly(token_program),
        readonly(event_authority(program)),
        readonly(program),
        *(writable(derive_ata(split.recipient, mint, token_program)) for split in call.splits),
    )
    return _instruction(program, _DISTRIBUTE, accounts, preimage(call.splits))


def read_distribute(program: str, instruction: Instruction) -> Distribute:
    """Exactly a distribute; whose the payee's and the treasury's accounts are is not known. Raises BadTransaction."""
    splits = read_preimage(instruction.data[1:])
    count = _DISTRIBUTE_ACCOUNTS + len(splits)
    addresses = _called(program, instruction, "distribute", _DISTRIBUTE, count)
    channel, payer, rent_payer, _, _, payee_account, treasury_account, mint, token_program = addresses[:9]
    call = Distribute(channel, payer, rent_payer, payee_account, treasury_account, mint, token_program, splits)
    _match("distribute", instruction, lambda: build_distribute(program, call))
    return call


def build_withdraw_payer(program: str, call: WithdrawPayer) -> Instruction:
    """Take back the rest, the payer signing. Raises UsageError."""
    accounts = (
        signer(call.payer),
        writable(call.channel),
        *_between(call.channel, call.payer, call.mint, call.token_program, payer_first=False),
    )
    return _instruction(program, _WITHDRAW_PAYER, accounts)


def read_withdraw_payer(program: str, instruction: Instruction) -> WithdrawPayer:
    """Exactly a withdrawPayer. Raises BadTransaction."""
    payer, channel, _, _, mint, token_program = _called(program, instruction, "withdrawPayer", _WITHDRAW_PAYER, 6)
    call = WithdrawPayer(channel, payer, mint, token_program)
    _match("withdrawPayer", instruction, lambda: build_withdraw_payer(program, call))
    return call


def build_reclaim(program: str, call: Reclaim) -> Instruction:
    """Free a drained channel's account. Raises UsageError."""
    return _instruction(program, _RECLAIM, (writable(call.channel), writable(call.rent_payer)))


def read_reclaim(program: str, instruction: Instruction) -> Reclaim:
    """Exactly a reclaim. Raises BadTransaction."""
    channel, rent_payer = _called(program, instruction, "reclaim", _RECLAIM, 2)
    call = Reclaim(channel, rent_payer)
    _match("reclaim", instruction, lambda: build_reclaim(program, call))
    return call


def build_emit_event(program: str, call: EmitEvent) -> Instruction:
    """An event as the program tells it to itself. Raises UsageError."""
    return _instruction(program, _EMIT_EVENT, (signer(event_authority(program)),), call.event)


def read_emit_event(program: str, instruction: Instruction) -> EmitEvent:
    """An event of the program's own, as it stands among a transaction's inner instructions. Raises BadTransaction."""
    _called(program, instruction, "emitEvent", _EMIT_EVENT, 1)
    call = EmitEvent(instruction.data[1:])
    _match("emitEvent", instruction, lambda: build_emit_event(program, call))
    return call


# --- what they have in common ----------------------------------------------------------------------


def _instruction(program: str, number: int, accounts: tuple[AccountMeta, ...], arguments: bytes = b"") -> Instruction:
    return Instruction(program, accounts, bytes((number,)) + arguments)


def _between(channel: str, payer: str, mint: str, token_program: str, *, payer_first: bool) -> tuple[AccountMeta, ...]:
    """The accounts by which money goes between a payer and the escrow: from, to, mint, token program."""
    own = writable(derive_ata(payer, mint, token_program))
    escrow = writable(escrow_account(channel, mint, token_program))
    pair = (own, escrow) if payer_first else (escrow, own)
    return (*pair, readonly(mint), readonly(token_program))


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise UsageError(otherwise)


def _called(program: str, instruction: Instruction, name: str, number: int, count: int) -> tuple[str, ...]:
    """The addresses, if this is that instruction of that program with so many accounts."""
    if instruction.program != program:  # T47
        raise BadTransaction(f"{name}: another program is called")
    if instruction.data[:1] != bytes((number,)):
        raise BadTransaction(f"{name}: this is another instruction")
    if len(instruction.accounts) != count:  # T31
        raise BadTransaction(f"{name}: takes {count} accounts")
    return tuple(account.address for account in instruction.accounts)


def _match(name: str, found: Instruction, build: Callable[[], Instruction]) -> None:
    """That an instruction is the one that its own parameters build, its roles at least those it needs."""
    try:
        built = build()
    except UsageError as error:
        raise BadTransaction(f"{name}: {error}") from error
    if found.data != built.data:  # T31
        raise BadTransaction(f"{name}: this is not the data of that instruction")
    for given, wanted in zip(found.accounts, built.accounts, strict=True):
        if given.address != wanted.address:  # T31
            raise BadTransaction(f"{name}: an account is not the one it must be")
        if (wanted.signer and not given.signer) or (wanted.writable and not given.writable):
            raise BadTransaction(f"{name}: an account doesn't have the role it needs")
