"""Our instructions on the local chain's channel program: what we compute beforehand is what it does."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from coinslot.chains.solana import rpc, sending
from coinslot.chains.solana.ata import build_create_idempotent, derive_ata
from coinslot.chains.solana.budget import build_unit_limit
from coinslot.chains.solana.instruction import Instruction
from coinslot.chains.solana.message import build_message, read_transaction, sign_partially, with_signature
from coinslot.chains.solana.programs import TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from coinslot.chains.solana.signature import Key
from coinslot.devnet.channels.solana.program import TREASURY_OWNER
from coinslot.drive import RealWorld, run
from coinslot.errors import RpcRefused
from coinslot.methods.solana.session import program as calls
from coinslot.methods.solana.session.channel import ChannelAccount, Seeds, Status, derive_channel, read_channel
from coinslot.methods.solana.session.distribution import Split, distribution_hash, dust, payouts
from coinslot.methods.solana.session.escrow import CHANNEL_PROGRAM, OPEN_SLOT_WINDOW
from coinslot.methods.solana.session.program_errors import ProgramError
from coinslot.methods.solana.session.voucher import SignedVoucher, build_voucher_instruction, sign_voucher
from support.svm import SvmChain

SOL = 10**9
TOKENS = {
    "USDC": ("EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v", TOKEN_PROGRAM),
    "PYUSD": ("2b1kV6DkPAnxd5ixfnxCpjxmKwqjjaYmCZfHsFu24GXo", TOKEN_2022_PROGRAM),
}
PURSE = 10_000_000


class Relation:
    """A payer without a lamport, the server's operator who pays for all of it, a payee, two recipients."""

    def __init__(self, svm: SvmChain, world: RealWorld, symbol: str) -> None:
        self.svm, self.world, self.sent = svm, world, 0
        self.mint, self.tokens = TOKENS[symbol]
        self.payer, self.operator, self.payee, self.signer = (Key(os.urandom(32)) for _ in range(4))
        svm.fund(self.payer.address, PURSE, symbol)
        svm.fund(self.operator.address, SOL, "SOL")
        self.splits = tuple(Split(Key(os.urandom(32)).address, share) for share in (333, 2_500))
        slot = run(rpc.slot(svm.rpc_url), world)
        self.seeds = Seeds(self.payer.address, self.payee.address, self.mint, self.signer.address, 42, slot)
        self.channel = derive_channel(CHANNEL_PROGRAM, self.seeds)

    def send(self, *instructions: Instruction, signers: tuple[Key, ...] = ()) -> None:
        """Signed by these, co-signed and paid by the operator, and confirmed. Raises RpcRefused."""
        recent = run(rpc.latest_blockhash(self.svm.rpc_url), self.world)
        self.sent += 1  # the same bytes over the same blockhash would be the same transaction, and done already
        told_apart = (build_unit_limit(1_000_000 + self.sent), *instructions)
        raw = sign_partially(build_message(self.operator.address, told_apart, recent.blockhash), signers)
        name = run(sending.send_transaction(self.svm.rpc_url, with_signature(raw, self.operator)), self.world)
        assert run(sending.await_status(self.svm.rpc_url, name), self.world).failure is None
        landed = run(sending.get_transaction(self.svm.rpc_url, name), self.world)
        assert landed is not None
        assert landed.transaction.instructions == read_transaction(raw).instructions

    def refused(self, *instructions: Instruction, signers: tuple[Key, ...] = ()) -> int | None:
        """The program's code for refusing them."""
        with pytest.raises(RpcRefused) as caught:
            self.send(*instructions, signers=signers)
        failure = sending.preflight_failure(caught.value)
        assert failure is not None
        return failure.code

    def opened(self, units: int = 1_000_000, grace_s: int = 900) -> None:
        """With this deposit."""
        call = calls.Open(self.seeds, self.tokens, self.operator.address, units, grace_s, self.splits)
        self.send(calls.build_open(CHANNEL_PROGRAM, call), signers=(self.payer,))

    def state(self) -> ChannelAccount | None:
        """As the chain has it."""
        found = run(rpc.account(self.svm.rpc_url, self.channel), self.world)
        return None if found is None else read_channel(CHANNEL_PROGRAM, found)

    def voucher(self, units: int, expires_at: int = 0) -> SignedVoucher:
        """Signed by the authorized signer."""
        return sign_voucher(self.signer, self.channel, units, expires_at)

    def settle(self, units: int) -> tuple[Instruction, Instruction]:
        """Both instructions."""
        settle = calls.build_settle(CHANNEL_PROGRAM, calls.Settle(self.channel))
        return build_voucher_instruction(self.voucher(units)), settle

    def distribute(self) -> tuple[Instruction, ...]:
        """Every missing account created, then everybody paid."""
        state = self.state()
        assert state is not None
        owners = [self.payee.address, TREASURY_OWNER, self.payer.address, *(one.recipient for one in self.splits)]
        create = [build_create_idempotent(self.operator.address, each, self.mint, self.tokens) for each in owners]
        call = calls.distribute_of(self.channel, state, self.tokens, TREASURY_OWNER, self.splits)
        return (*create, calls.build_distribute(CHANNEL_PROGRAM, call))

    def has(self, owner: str) -> int:
        """Base units of an owner; 0 where it has no account."""
        account = derive_ata(owner, self.mint, self.tokens)
        found = run(rpc.token_account(self.svm.rpc_url, account), self.world)
        return 0 if found is None else found.amount_units


@pytest.fixture
def world() -> Iterator[RealWorld]:
    """Real HTTP."""
    world = RealWorld()
    yield world
    world.close()


@pytest.fixture(params=list(TOKENS))
def relation(request: pytest.FixtureRequest, svm: SvmChain, world: RealWorld) -> Relation:
    """On either token program."""
    return Relation(svm, world, request.param)


def test_a_channel_lives_as_the_bytes_say(relation: Relation) -> None:
    """Opened, settled, topped up, paid out by parts, ended by the payee, and freed; every unit where we computed it."""
    relation.opened()
    state = relation.state()
    assert state is not None
    assert (state.seeds, state.status, state.deposit_units, state.settled_units) == (relation.seeds, 0, 1_000_000, 0)
    assert (state.rent_payer, state.grace_s) == (relation.operator.address, 900)
    assert state.distribution_hash == distribution_hash(relation.splits)

    relation.send(*relation.settle(100_001))
    relation.send(*relation.distribute())
    first = payouts(relation.splits, 100_001, 0)
    assert relation.has(relation.payee.address) == first.payee_units
    assert tuple(relation.has(one.recipient) for one in relation.splits) == first.recipients

    more = calls.TopUp(relation.channel, relation.payer.address, relation.mint, relation.tokens, 500_000)
    relation.send(calls.build_top_up(CHANNEL_PROGRAM, more), signers=(relation.payer,))
    end = calls.SettleAndSeal(relation.channel, relation.payee.address, has_voucher=True)
    treasury = relation.has(TREASURY_OWNER)
    relation.send(
        build_voucher_instruction(relation.voucher(1_234_567)),
        calls.build_settle_and_seal(CHANNEL_PROGRAM, end),
        signers=(relation.payee,),
    )
    relation.send(*relation.distribute())
    whole = payouts(relation.splits, 1_234_567, 0)
    assert relation.has(relation.payee.address) == whole.payee_units
    assert tuple(relation.has(one.recipient) for one in relation.splits) == whole.recipients
    assert relation.has(relation.payer.address) == PURSE - 1_234_567
    assert relation.has(TREASURY_OWNER) == treasury + dust(relation.splits, 1_234_567)

    state = relation.state()
    assert state is not None
    assert (state.status, state.settled_units) == (Status.DISTRIBUTED, 1_234_567)
    reclaim = calls.build_reclaim(CHANNEL_PROGRAM, calls.Reclaim(relation.channel, relation.operator.address))
    assert relation.refused(reclaim) == ProgramError.CHANNEL_CLOSE_TOO_EARLY
    relation.svm.rpc("svm_advanceSlots", OPEN_SLOT_WINDOW + 1)
    relation.send(reclaim)
    assert relation.state() is None


def test_a_payer_gets_out_without_the_payee(relation: Relation) -> None:
    """Asked to close, waited, sealed by anybody, taken back; what was settled is still paid."""
    relation.opened(grace_s=60)
    relation.send(*relation.settle(7))
    close = calls.build_request_close(CHANNEL_PROGRAM, calls.RequestClose(relation.channel, relation.payer.address))
    relation.send(close, signers=(relation.payer,))
    state = relation.state()
    assert state is not None
    assert (state.status, state.closure_started_at > 0) == (Status.CLOSING, True)
    seal = calls.build_seal(CHANNEL_PROGRAM, calls.Seal(relation.channel))
    assert relation.refused(seal) == ProgramError.SEAL_GRACE_PERIOD_NOT_ELAPSED
    relation.svm.rpc("svm_warpSeconds", 61)
    relation.send(seal)
    back = calls.WithdrawPayer(relation.channel, relation.payer.address, relation.mint, relation.tokens)
    relation.send(calls.build_withdraw_payer(CHANNEL_PROGRAM, back), signers=(relation.payer,))
    assert relation.has(relation.payer.address) == PURSE - 7
    state = relation.state()
    assert state is not None
    assert (state.status, state.payer_withdrawn_at > 0) == (Status.SEALED, True)
    relation.send(*relation.distribute())
    assert relation.has(relation.payee.address) == payouts(relation.splits, 7, 0).payee_units
    assert relation.has(relation.payer.address) == PURSE - 7


@pytest.mark.guard("T13")
def test_the_program_refuses_what_we_refuse(relation: Relation) -> None:
    """A foreign signer, too much, too little, too late; each by its own number."""
    relation.opened()
    relation.send(*relation.settle(500))
    settle = relation.settle(0)[1]
    foreign = sign_voucher(relation.payer, relation.channel, 600)
    elsewhere = sign_voucher(relation.signer, relation.payee.address, 600)
    at_s = run(rpc.block_time(relation.svm.rpc_url, relation.seeds.open_slot), relation.world)
    assert at_s is not None
    expected = [
        (foreign, ProgramError.VOUCHER_SIGNER_MISMATCH),
        (elsewhere, ProgramError.VOUCHER_CHANNEL_MISMATCH),
        (relation.voucher(500), ProgramError.VOUCHER_WATERMARK_NOT_MONOTONIC),
        (relation.voucher(1_000_001), ProgramError.VOUCHER_OVER_DEPOSIT),
        (relation.voucher(600, at_s - 1), ProgramError.VOUCHER_EXPIRED),
    ]
    for voucher, code in expected:
        assert relation.refused(build_voucher_instruction(voucher), settle) == code
    assert relation.refused(settle) == ProgramError.MISSING_ED25519_VERIFICATION
