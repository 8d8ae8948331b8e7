"""Money out of channels: transactions of ours that settle or close them, and what became of each (SSES "Close").

    settle      open                    ed25519 voucher, settle
                closing, in time        ed25519 voucher, settleAndSeal: `settle` is for open channels only
    close       open; closing, in time  [token accounts], [ed25519 voucher], settleAndSeal, distribute
                closing, too late       [token accounts], seal, distribute
                sealed                  [token accounts], distribute
                open, no refund yet     [token accounts], [ed25519 voucher, settle], distribute, settleAndSeal

`settle` secures for the payee what a voucher says; the tokens leave the escrow when the channel is distributed. A
voucher goes in only where it says more than is settled, and before it expires.

Where somebody's token account can't take its share, nothing is given to the treasury that could reach it later:

    payee, recipient      missing: created       frozen, spoilt: the channel is sealed and waits
    payer, of the refund  missing, frozen: the payee is paid, the channel sealed, and the refund waits. A channel that
                          its payer is closing by itself can't be paid out in parts: sealed, it waits for a day for its
                          payer, who takes its refund or makes its account; then a missing one is created at our cost
                          spoilt by its owner: nothing could ever reach it, and the payee is not held up by that
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from coinslot.chains.solana.expiry import LIFE_S
from coinslot.chains.solana.instruction import Instruction
from coinslot.chains.solana.message import Transaction
from coinslot.chains.solana.rpc import (
    MAX_ACCOUNTS,
    Account,
    Commitment,
    accounts,
    balance,
    block_time,
    latest_blockhash,
    slot,
)
from coinslot.chains.solana.sending import Landed, await_slot, await_status, send_transaction, simulate
from coinslot.chains.solana.signature import Key
from coinslot.drive import Flow, failpoint, now
from coinslot.errors import BadTransaction, ChainError, RpcUnreachable, UsageError, VerificationFailed
from coinslot.intents.acts import Done, JobOutcome, Sendable
from coinslot.intents.charge import Refused
from coinslot.intents.session import Channel, Close
from coinslot.methods.solana.session.beneficiaries import (
    ESCROW,
    PAYER,
    Beneficiary,
    Trouble,
    beneficiaries,
    create,
    trouble,
)
from coinslot.methods.solana.session.channel import ChannelAccount, Status, escrow_account
from coinslot.methods.solana.session.landing import find_end
from coinslot.methods.solana.session.looking import own_state, read_states
from coinslot.methods.solana.session.lookups import plan_table, require_filled
from coinslot.methods.solana.session.parcel import Paper, Parcel, Seen, Step, fits, pack, read_parcel
from coinslot.methods.solana.session.program import (
    Seal,
    Settle,
    SettleAndSeal,
    build_distribute,
    build_seal,
    build_settle,
    build_settle_and_seal,
    distribute_of,
    read_distribute,
    read_seal,
    read_settle,
    read_settle_and_seal,
)
from coinslot.methods.solana.session.record import Recorded, recorded_of
from coinslot.methods.solana.session.voucher import (
    SignedVoucher,
    build_voucher_instruction,
    decode_voucher,
    read_voucher_instruction,
)

# Four settlements are 1,1xx bytes of the 1,232 that a transaction may have; what doesn't fit goes into the next.
BATCH = 4
# Compute units, about twice of what was measured; unused ones cost nothing but where a price is bid for them.
SETTLE_UNITS = 20_000
SEAL_UNITS = 20_000
DISTRIBUTE_UNITS = 150_000
SPLIT_UNITS = 30_000
CREATE_UNITS = 60_000
# Instructions that they call in turn: a token account is sized, made, and set up; a distribution moves a share for each
# or tells that it couldn't, and ends the escrow.
CREATE_CALLS = 5
DISTRIBUTE_CALLS = 10
SPLIT_CALLS = 2
# How long a transaction of a parcel is waited for before the next one is sent.
STEP_WAIT_S = 20.0
# The clock of the chain is an estimate of its validators: what expires within this time is taken for expired.
CHAIN_SKEW_S = 5
# How long what a payee is due waits for a payer that closed its token account and is closing its channel: each new
# account is 0.002 SOL for whoever it is made for, so nobody gets many of them in a day, nor without leaving a deposit.
REFUND_WAIT_S = 86_400
# What a node says where our account can't pay.
_POOR = frozenset({"AccountNotFound", "InsufficientFundsForFee", "InsufficientFundsForRent"})


@dataclass(frozen=True, slots=True)
class Till:
    """Who signs and pays for settlements: the payee's key, and the key that pays fees and rent of token accounts.

    `unit_price` is bid for a compute unit, in millionths of a lamport.
    """

    payee: Key = field(repr=False)
    payer: Key = field(repr=False)
    treasury_owner: str
    unit_price: int


Job = tuple[Channel, Close, bool]


@dataclass(frozen=True, slots=True)
class _Case:
    """A job, and its channel as the chain has it at `chain_s`; `closing_at_s`: since when we know it to be closing."""

    recorded: Recorded
    state: ChannelAccount
    close: Close
    closes: bool
    chain_s: float
    closing_at_s: float = 0.0

    @property
    def waits_for_payer(self) -> bool:
        """Whether its payer asked to close it so short a while ago that it may yet come for its refund."""
        since_s = max(self.closing_at_s, float(self.state.closure_started_at))
        return self.chain_s < since_s + REFUND_WAIT_S

    @property
    def voucher(self) -> SignedVoucher | None:
        """What raises the settled amount, if anything does (SSES-136). Raises VerificationFailed for another's voucher.

        Of a channel that we sign for the voucher itself says how far it goes: also one whose key we have changed.
        """
        if not self.close.raw:
            return None
        voucher = decode_voucher(self.close.raw)
        units = voucher.cumulative_units if self.recorded.operator else self.close.voucher_units
        if (voucher.channel_id, voucher.cumulative_units) != (self.recorded.id, units):  # T08
            raise VerificationFailed("the voucher on record is of another channel, or for another amount")
        if units <= self.state.settled_units or voucher.has_expired(self.chain_s, -CHAIN_SKEW_S):
            return None
        return voucher

    @property
    def in_time(self) -> bool:
        """Whether the payee may still seal by itself."""
        state = self.state
        if state.status is Status.OPEN:
            return True
        return state.status is Status.CLOSING and self.chain_s < state.closure_started_at + state.grace_s

    @property
    def settled_units(self) -> int:
        """What is settled once this was done."""
        voucher = self.voucher if self.in_time else None
        return self.state.settled_units if voucher is None else voucher.cumulative_units


def pay_out(url: str, till: Till, jobs: Sequence[Job], commitment: Commitment) -> Flow[Sendable]:
    """Signed transactions of these jobs, without those that the chain would refuse now. Nothing is sent.

    Raises UsageError for none or too many of them, VerificationFailed if the chain would refuse them, ChainError (also
    where our account can't pay: later it may be otherwise).
    """
    if not 0 < len(jobs) <= BATCH:
        raise UsageError(f"at most {BATCH} channels are settled at once, and at least 1")
    recorded = [recorded_of(channel.state, channel.id) for channel, _, _ in jobs]
    states = yield from read_states(url, recorded, commitment)
    recent = yield from latest_blockhash(url, commitment=commitment)
    at_s = yield from now()
    chain_s = yield from block_time(url, recent.slot)
    steps: list[Step] = []
    seen: dict[str, Seen] = {}
    reasons: list[str] = []
    for one, state, (channel, close, closes) in zip(recorded, states, jobs, strict=True):
        if state is None:
            reasons.append(f"{one.id}: the chain has no such channel any more")
            continue
        time_s = at_s if chain_s is None else float(chain_s)
        case = _Case(one, state, close, closes, time_s, channel.closing_at_s or 0.0)
        made, reason = yield from _steps(url, till, case, commitment)
        reasons += [f"{one.id}: {reason}"] if reason else []
        if made:
            steps += made
            seen[one.id] = Seen(state.deposit_units, state.settled_units)
    if not steps:
        raise VerificationFailed("; ".join(reasons))
    parcel = yield from _parcel(url, till, recorded[0].program, steps, (recent.blockhash, seen, commitment))
    return Sendable(parcel.reference, parcel.encode(), at_s + LIFE_S)


def drain(
    url: str, till: Till, found: Sequence[tuple[Recorded, ChannelAccount]], chain_s: float, commitment: Commitment
) -> Flow[int]:
    """Distribute channels that nobody can settle any more, one by one, and wait for it. How many. Raises ChainError.

    Only those that are sealed, or whose grace period is over: what the payee could still claim is left to its jobs.
    """
    count = 0
    for recorded, state in found:
        case = _Case(recorded, state, Close(0, b"", 0), True, chain_s)
        if case.in_time or state.status is Status.DISTRIBUTED:  # T28: nothing that is owed is given up here
            continue
        steps, reason = yield from _steps(url, till, case, commitment)
        if reason:
            continue
        recent = yield from latest_blockhash(url, commitment=commitment)
        parcel = yield from _parcel(url, till, recorded.program, steps, (recent.blockhash, {}, commitment))
        yield from send(url, parcel.encode(), commitment)
        count += 1
    return count


def _parcel(
    url: str, till: Till, program: str, steps: Sequence[Step], made_on: tuple[str, Mapping[str, Seen], Commitment]
) -> Flow[Parcel]:
    """These steps signed, and tried out as far as they can be before the first of them is there; with a lookup table
    where a payout names more accounts than fit (SSES-039). Raises VerificationFailed, ChainError, UsageError.
    """
    blockhash, seen, commitment = made_on
    paper = Paper(till.payer, till.payee, blockhash, till.unit_price)
    small = [step for step in steps if fits(step, paper)]
    if small:
        yield from _try(url, till, pack(small, paper)[0], commitment)
    if len(small) == len(steps):
        return Parcel(pack(steps, paper), seen)
    finalized = yield from slot(url, commitment="finalized")  # a slot that has a block, and 512 are remembered
    table, making = plan_table(program, steps, till.payer.address, finalized)
    first = pack(making, paper)
    yield from _try(url, till, first[0], commitment)
    return Parcel((*first, *pack(steps, replace(paper, tables=(table,)))), seen, (table,))


def _steps(url: str, till: Till, case: _Case, commitment: Commitment) -> Flow[tuple[list[Step], str]]:
    """What is to be done with one channel, in order; and why less than was asked for. Raises ChainError, UsageError."""
    program, status, voucher = case.recorded.program, case.state.status, case.voucher
    if status is Status.DISTRIBUTED:
        return [], "it is paid out already"
    if not case.closes and status is Status.OPEN:
        settle = build_settle(program, Settle(case.recorded.id))
        return ([], "nothing more is to be settled") if voucher is None else ([_voucher_step(voucher, settle)], "")
    sealing = [] if status is Status.SEALED else [_sealing(case, till)]
    if not case.closes:
        return (sealing, "") if voucher is not None and case.in_time else ([], "it is being closed")
    found = yield from _found(url, till, case, commitment)
    creating = [_create(till, case, each) for each, what in found if what is Trouble.MISSING and each.name != PAYER]
    for each, what in found:
        told = f"the {each.name}'s token account {each.account} {'' if what is None else what.value}"
        if each.name == PAYER and what in (Trouble.MISSING, Trouble.FROZEN):
            if status is Status.OPEN:
                return [*creating, *_merchants_first(case, till)], told
            nothing_due = case.settled_units == case.state.payout_watermark_units
            if what is Trouble.FROZEN or nothing_due or case.waits_for_payer:  # T31
                return sealing, told
            creating.append(_create(till, case, each))
        elif each.name != PAYER and what in (Trouble.FROZEN, Trouble.SPOILT):  # T28: it waits; else its share is lost
            return sealing, told
    return [*creating, *sealing, _distribution(case, till)], ""


def _distribution(case: _Case, till: Till) -> Step:
    recorded = case.recorded
    call = distribute_of(recorded.id, case.state, recorded.token_program, till.treasury_owner, recorded.splits)
    count = len(recorded.splits)
    units, calls = DISTRIBUTE_UNITS + SPLIT_UNITS * count, DISTRIBUTE_CALLS + SPLIT_CALLS * count
    return Step((build_distribute(recorded.program, call),), units, calls)


def _merchants_first(case: _Case, till: Till) -> list[Step]:
    """Pay the payee and the recipients out of an open channel, then seal it: only the refund is left to be paid."""
    program, channel, voucher = case.recorded.program, case.recorded.id, case.voucher
    steps = [] if voucher is None else [_voucher_step(voucher, build_settle(program, Settle(channel)))]
    if case.settled_units > case.state.payout_watermark_units:
        steps.append(_distribution(case, till))
    seal = build_settle_and_seal(program, SettleAndSeal(channel, till.payee.address, has_voucher=False))
    return [*steps, Step((seal,), SEAL_UNITS)]


def _sealing(case: _Case, till: Till) -> Step:
    program, channel = case.recorded.program, case.recorded.id
    if not case.in_time:
        return Step((build_seal(program, Seal(channel)),), SEAL_UNITS)
    voucher = case.voucher
    seal = build_settle_and_seal(program, SettleAndSeal(channel, till.payee.address, voucher is not None))
    return Step((seal,), SEAL_UNITS) if voucher is None else _voucher_step(voucher, seal)


def _voucher_step(voucher: SignedVoucher, call: Instruction) -> Step:
    """The program reads the instruction right before its own (SSES-158)."""
    return Step((build_voucher_instruction(voucher), call), SETTLE_UNITS)


def _create(till: Till, case: _Case, whose: Beneficiary) -> Step:
    return Step((create(whose, till.payer.address, case.recorded),), CREATE_UNITS, CREATE_CALLS)


def _found(url: str, till: Till, case: _Case, commitment: Commitment) -> Flow[list[tuple[Beneficiary, Trouble | None]]]:
    """What is wrong with the token accounts of the escrow and of those who are to be paid. Raises ChainError."""
    recorded = case.recorded
    place = escrow_account(recorded.id, recorded.seeds.mint, recorded.token_program)
    whose = [
        Beneficiary(ESCROW, recorded.id, place),
        *beneficiaries(recorded, case.state, case.settled_units, till.treasury_owner),
    ]
    found: list[Account | None] = []
    for first in range(0, len(whose), MAX_ACCOUNTS):
        asked = [each.account for each in whose[first : first + MAX_ACCOUNTS]]
        found += yield from accounts(url, asked, commitment=commitment)
    seen = [(each, trouble(recorded, each.owner, account)) for each, account in zip(whose, found, strict=True)]
    return [(each, what) for each, what in seen if (each.name, what) != (ESCROW, Trouble.MISSING)]


def _try(url: str, till: Till, raw: bytes, commitment: Commitment) -> Flow[None]:
    """That the first of them would succeed. Raises VerificationFailed, ChainError."""
    tried = yield from simulate(url, raw, commitment=commitment)
    failure = tried.failure
    if failure is None:
        return
    held = yield from balance(url, till.payer.address, commitment=commitment)
    if failure.kind in _POOR or not held:
        raise ChainError(f"{till.payer.address} can't pay the fee of settling: it holds {held} lamports")
    if failure.kind == "BlockhashNotFound":
        raise RpcUnreachable("the node that was asked doesn't know the blockhash of the other")
    raise VerificationFailed(f"the chain would refuse it: {failure.text}")


def send(url: str, raw: bytes, commitment: Commitment) -> Flow[None]:
    """Send a parcel, each transaction when the one before it is there. Sending it again does no harm. Raises
    ChainError: then only `paid_out` knows.
    """
    parcel, transactions = read_parcel(raw)
    landed_slot = 0
    for place, (each, transaction) in enumerate(zip(parcel.transactions, transactions, strict=True), start=1):
        if transaction.lookups:  # F11: what is written to a table can be looked up from the next slot on
            yield from await_slot(url, landed_slot + 1, commitment=commitment, wait_s=STEP_WAIT_S)
            yield from require_filled(url, parcel.tables, commitment)
        yield from send_transaction(url, each, commitment=commitment)
        failpoint("solana.sent")
        if place < len(transactions):
            status = yield from await_status(url, transaction.signature, commitment=commitment, wait_s=STEP_WAIT_S)
            landed_slot = status.slot


# --- what became of it ---------------------------------------------------------------------------


def paid_out(url: str, job: Job, sent: Sendable, commitment: Commitment) -> Flow[JobOutcome]:
    """What became of one job: by the transaction that ends it, and the channel's account after that. F12 T32

    Refused only if this parcel can never do it. Raises ChainError, LedgerError.
    """
    channel, _, closes = job
    recorded = recorded_of(channel.state, channel.id)
    parcel, transactions = read_parcel(sent.raw)
    told = _told(recorded, transactions)
    last = told.distributed if closes else told.settled
    final = last or told.sealed
    if final is None or recorded.id not in parcel.seen:
        return Refused("the chain would have refused it: it was left out")
    landed = yield from find_end(url, final.signature, final.blockhash, sent.dead_after_s, commitment)
    if not isinstance(landed, Landed):
        return landed
    if last is None:
        return Refused("it is sealed; it is paid out when everybody's token account can take it")
    seen = parcel.seen[recorded.id]
    settled = max(seen.settled_units, told.voucher_units)
    (account,) = yield from accounts(url, [recorded.id], commitment=commitment)
    if account is not None and account.slot < landed.slot:
        raise RpcUnreachable("the node that was asked has not seen the transaction yet")
    state = own_state(recorded, account)
    if state is not None:  # a drained channel stays until its address can be freed
        if state.settled_units < settled or (closes and state.status is not Status.DISTRIBUTED):  # T32
            raise RpcUnreachable("the channel does not show what the transaction did")
        settled = state.settled_units if closes else settled
    at_s = float(landed.block_time_s) if landed.block_time_s is not None else (yield from now())
    refunded = max(seen.deposit_units, 0 if state is None else state.deposit_units) - settled if closes else 0
    return Done(settled, refunded, closes, landed.transaction.signature, at_s)


@dataclass(frozen=True, slots=True)
class _Told:
    """What a parcel does with a channel: the transaction that settles it, that seals it, that distributes it, and what
    its voucher says (0: there is none)."""

    settled: Transaction | None = None
    sealed: Transaction | None = None
    distributed: Transaction | None = None
    voucher_units: int = 0


def _told(recorded: Recorded, transactions: Sequence[Transaction]) -> _Told:
    settled = sealed = distributed = None
    units = 0
    for transaction in transactions:
        for each in transaction.instructions:
            what = _name(recorded, each)
            settled = transaction if what == "settle" else settled
            sealed = transaction if what == "seal" else sealed
            if what is not None:  # what is paid out before a channel is sealed is not its end
                distributed = transaction if what == "distribute" else None
            units = max(units, _voucher_units(recorded, each))
    # a settlement of a closing channel is its sealing, with a voucher
    return _Told(settled or (sealed if units else None), sealed, distributed, units)


def _name(recorded: Recorded, each: Instruction) -> str | None:
    """What an instruction does with this channel. Ours are read as strictly as anybody's."""
    program = recorded.program
    for name, read in (
        ("settle", read_settle),
        ("seal", read_settle_and_seal),
        ("seal", read_seal),
        ("distribute", read_distribute),
    ):
        try:
            call = read(program, each)
        except BadTransaction:
            continue
        return name if call.channel == recorded.id else None
    return None


def _voucher_units(recorded: Recorded, each: Instruction) -> int:
    try:
        voucher = read_voucher_instruction(each)
    except BadTransaction:
        return 0
    return voucher.cumulative_units if voucher.channel_id == recorded.id else 0
