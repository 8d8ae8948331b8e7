"""Our transactions on a running chain: sent, confirmed, read back, refused with their reasons."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from coinslot.chains.solana import budget, memo, rpc, sending, system
from coinslot.chains.solana.address import address_bytes
from coinslot.chains.solana.answers import Failure
from coinslot.chains.solana.ata import build_create_idempotent, derive_ata
from coinslot.chains.solana.ed25519 import SignedMessage, build_ed25519
from coinslot.chains.solana.instruction import Instruction
from coinslot.chains.solana.message import Version, build_message, sign_partially, with_signature
from coinslot.chains.solana.programs import TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from coinslot.chains.solana.signature import Key
from coinslot.chains.solana.token import (
    CloseAccount,
    TransferChecked,
    build_close_account,
    build_transfer_checked,
)
from coinslot.chains.solana.tokens import ExtensionKind, TokenState
from coinslot.drive import RealWorld, run
from coinslot.errors import RpcRefused, RpcUnreachable
from support.svm import SvmChain

USDC = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
PYUSD = "2b1kV6DkPAnxd5ixfnxCpjxmKwqjjaYmCZfHsFu24GXo"
SOL = 10**9


@pytest.fixture
def world() -> Iterator[RealWorld]:
    """Real HTTP."""
    world = RealWorld()
    yield world
    world.close()


def person(svm: SvmChain, *, lamports: int = 0, **units: int) -> Key:
    """A new key that holds lamports and base units of tokens."""
    key = Key(os.urandom(32))
    if lamports:
        svm.fund(key.address, lamports, "SOL")
    for symbol, amount in units.items():
        svm.fund(key.address, amount, symbol)
    return key


def transfer(of: Key, to: str, mint: str, units: int, program: str = TOKEN_PROGRAM) -> Instruction:
    """Tokens from one's associated account to another's."""
    own, other = derive_ata(of.address, mint, program), derive_ata(to, mint, program)
    return build_transfer_checked(TransferChecked(program, own, mint, other, of.address, units, 6))


def sent(svm: SvmChain, world: RealWorld, payer: Key, *instructions: Instruction) -> str:
    """Sent by its payer and confirmed; the signature."""
    recent = run(rpc.latest_blockhash(svm.rpc_url), world)
    raw = sign_partially(build_message(payer.address, instructions, recent.blockhash), [payer])
    signature = run(sending.send_transaction(svm.rpc_url, raw), world)
    assert run(sending.await_status(svm.rpc_url, signature), world).failure is None
    return signature


@pytest.mark.parametrize("version", ["legacy", 0])
@pytest.mark.parametrize(
    ("symbol", "mint", "program"), [("USDC", USDC, TOKEN_PROGRAM), ("PYUSD", PYUSD, TOKEN_2022_PROGRAM)]
)
def test_a_sponsored_transfer_lands_and_is_read_back(
    svm: SvmChain, world: RealWorld, version: Version, symbol: str, mint: str, program: str
) -> None:
    """The payer of the tokens holds no lamport; the receiver's account is created on the way."""
    url, alice, shop = svm.rpc_url, person(svm, **{symbol: 5_000_000}), person(svm, lamports=SOL)
    bob = Key(os.urandom(32)).address
    instructions = [
        budget.build_unit_limit(200_000),
        budget.build_unit_price(1000),
        build_create_idempotent(shop.address, bob, mint, program),
        transfer(alice, bob, mint, 1_250_000, program),
        memo.build_memo(memo.Memo("order 7")),
    ]
    recent = run(rpc.latest_blockhash(url), world)
    partial = sign_partially(build_message(shop.address, instructions, recent.blockhash, version), [alice])
    bobs = derive_ata(bob, mint, program)
    trial = run(sending.simulate(url, partial, watch=[bobs]), world)
    assert trial.failure is None
    assert trial.units is not None
    assert trial.accounts[0] is not None
    assert trial.accounts[0].owner == program

    signature = run(sending.send_transaction(url, with_signature(partial, shop)), world)
    assert run(sending.await_status(url, signature), world).reached("confirmed")
    landed = run(sending.get_transaction(url, signature), world)
    assert landed is not None
    assert landed.failure is None
    assert landed.transaction.raw == with_signature(partial, shop)
    assert landed.fee_lamports >= 10_000
    assert landed.lamports_before[0] - landed.lamports_after[0] > landed.fee_lamports  # and the rent of bob's account
    after = {each.account: each for each in landed.tokens_after}
    assert (after[bobs].amount_units, after[bobs].owner, after[bobs].mint) == (1_250_000, bob, mint)
    assert bobs not in {each.account for each in landed.tokens_before}

    found = run(rpc.token_account(url, bobs), world)
    assert found is not None
    assert (found.owner, found.mint, found.amount_units, found.state) == (bob, mint, 1_250_000, TokenState.INITIALIZED)
    kinds = [each.kind for each in found.extensions]
    assert kinds == ([ExtensionKind.IMMUTABLE_OWNER] if program == TOKEN_2022_PROGRAM else [])
    known = run(rpc.mint(url, mint), world)
    assert known is not None
    assert (known.program, known.decimals) == (program, 6)


def test_what_happened_to_an_account_is_told(svm: SvmChain, world: RealWorld) -> None:
    """Balances, its transactions, the slot, the time, and that a node knows its own chain."""
    url, alice, bob = svm.rpc_url, person(svm, lamports=SOL), person(svm)
    rent = run(rpc.minimum_balance(url, 0), world)
    signature = sent(svm, world, alice, system.build_transfer(alice.address, bob.address, rent))
    assert run(rpc.balance(url, bob.address), world) == rent
    (told,) = run(sending.signatures_for_address(url, bob.address), world)
    assert (told.signature, told.failure) == (signature, None)
    assert run(rpc.slot(url), world) >= told.slot
    assert run(rpc.block_time(url, told.slot), world) is not None
    assert run(rpc.block_height(url), world) > 0
    assert run(rpc.genesis_hash(url), world) == run(rpc.genesis_hash(url), world)
    found = run(rpc.accounts(url, [bob.address, Key(os.urandom(32)).address]), world)
    assert found[0] is not None
    assert (found[0].lamports, found[0].data, found[1]) == (rent, b"", None)


def test_a_refusal_says_which_instruction_and_why(svm: SvmChain, world: RealWorld) -> None:
    """Before sending, by the trial run; the second of the instructions, in the program's own code."""
    url, alice = svm.rpc_url, person(svm, lamports=SOL, USDC=5)
    bob = person(svm, USDC=1).address
    recent = run(rpc.latest_blockhash(url), world)
    instructions = [memo.build_memo(memo.Memo("x")), transfer(alice, bob, USDC, 6)]
    raw = sign_partially(build_message(alice.address, instructions, recent.blockhash), [alice])
    with pytest.raises(RpcRefused) as caught:
        run(sending.send_transaction(url, raw), world)
    assert sending.preflight_failure(caught.value) == Failure("Custom", 1, 1)  # the token program: insufficient funds
    trial = run(sending.simulate(url, raw, verify_signatures=True), world)
    assert trial.failure == Failure("Custom", 1, 1)
    assert trial.logs
    signature = run(sending.send_transaction(url, raw, skip_preflight=True), world)
    status = run(sending.await_status(url, signature), world)
    assert status.failure == Failure("Custom", 1, 1)


def test_sending_the_same_bytes_again_does_no_harm(svm: SvmChain, world: RealWorld) -> None:
    """The chain takes them once, and we say so instead of raising."""
    url, alice, bob = svm.rpc_url, person(svm, lamports=SOL), person(svm, lamports=SOL)
    recent = run(rpc.latest_blockhash(url), world)
    message = build_message(alice.address, [system.build_transfer(alice.address, bob.address, 7)], recent.blockhash)
    raw = sign_partially(message, [alice])
    first = run(sending.send_transaction(url, raw), world)
    run(sending.await_status(url, first), world)
    assert run(sending.send_transaction(url, raw), world) == first
    assert svm.balance(bob.address, "SOL") == SOL + 7


def test_an_answer_that_was_lost_is_found_by_its_signature(svm: SvmChain, world: RealWorld) -> None:
    """The transaction had landed."""
    url, alice, bob = svm.rpc_url, person(svm, lamports=SOL), person(svm, lamports=SOL)
    recent = run(rpc.latest_blockhash(url), world)
    message = build_message(alice.address, [system.build_transfer(alice.address, bob.address, 7)], recent.blockhash)
    raw = sign_partially(message, [alice])
    svm.faults.lose_answer()
    with pytest.raises(RpcUnreachable):
        run(sending.send_transaction(url, raw), world)
    signature = run(sending.send_transaction(url, raw), world)
    assert run(sending.await_status(url, signature), world).failure is None
    assert svm.balance(bob.address, "SOL") == SOL + 7


def test_an_old_blockhash_is_no_longer_good(svm: SvmChain, world: RealWorld) -> None:
    """Said by the node before and at sending."""
    url, alice = svm.rpc_url, person(svm, lamports=SOL)
    recent = run(rpc.latest_blockhash(url), world)
    assert run(rpc.is_blockhash_valid(url, recent.blockhash), world)
    svm.rpc("svm_expireBlockhashes")
    assert not run(rpc.is_blockhash_valid(url, recent.blockhash), world)
    message = build_message(alice.address, [memo.build_memo(memo.Memo("late"))], recent.blockhash)
    with pytest.raises(RpcRefused) as caught:
        run(sending.send_transaction(url, sign_partially(message, [alice])), world)
    assert sending.preflight_failure(caught.value) == Failure("BlockhashNotFound")


def test_the_runtime_verifies_the_messages_that_we_put_before_it(svm: SvmChain, world: RealWorld) -> None:
    """The precompile takes our layout, and refuses a signature over something else."""
    alice = person(svm, lamports=SOL)
    message = os.urandom(50)
    sent(svm, world, alice, build_ed25519(SignedMessage(alice.address, alice.sign(message), message)))
    recent = run(rpc.latest_blockhash(svm.rpc_url), world)
    wrong = build_ed25519(SignedMessage(alice.address, alice.sign(b"other"), message))
    raw = sign_partially(build_message(alice.address, [wrong], recent.blockhash), [alice])
    trial = run(sending.simulate(svm.rpc_url, raw, verify_signatures=True), world)
    assert trial.failure is not None
    assert trial.failure.instruction == 0


def test_an_empty_account_is_closed_and_its_rent_comes_back(svm: SvmChain, world: RealWorld) -> None:
    """And is gone then."""
    url, alice = svm.rpc_url, person(svm, lamports=SOL)
    account = derive_ata(alice.address, USDC, TOKEN_PROGRAM)
    sent(svm, world, alice, build_create_idempotent(alice.address, alice.address, USDC, TOKEN_PROGRAM))
    before = run(rpc.balance(url, alice.address), world)
    sent(svm, world, alice, build_close_account(CloseAccount(TOKEN_PROGRAM, account, alice.address, alice.address)))
    assert run(rpc.balance(url, alice.address), world) == before + run(rpc.minimum_balance(url, 165), world) - 5000
    assert run(rpc.token_account(url, account), world) is None


def test_accounts_of_a_program_are_found_on_the_chain(svm: SvmChain, world: RealWorld) -> None:
    """Token accounts by owner: bytes 32 to 64."""
    alice = person(svm, USDC=5)
    from_owner = rpc.Memcmp(32, address_bytes(alice.address))
    (found,) = run(rpc.program_accounts(svm.rpc_url, TOKEN_PROGRAM, size=165, where=[from_owner]), world)
    assert found.address == derive_ata(alice.address, USDC, TOKEN_PROGRAM)
